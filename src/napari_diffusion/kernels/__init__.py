"""The only loops over voxels, in two backends with the same functions: ``compiled`` (numba, up to three axes) and ``reference`` (NumPy)."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.kernels import reference

BACKENDS = ("compiled", "reference")
Field = NDArray[np.floating]
Faces = NDArray[np.uint8] | None
Function = reference.Function


class Backend(Protocol):
    """What a backend can do; `reference` documents each function."""

    name: str

    def diffusivity(self, code: int | Function, q: Field) -> None:
        """g(q) in place."""

    def step(
        self,
        u: Field,
        out: Field,
        lo: int,
        hi: int,
        a: Field,
        b: Field,
        momentum: float,
        code: int | Function,
        g: Field | None,
        g_start: int,
        faces: Faces,
        w: Field,
    ) -> None:
        """One stage."""

    def gradient_step(
        self,
        u: Field,
        out: Field,
        lo: int,
        hi: int,
        a: Field,
        b2: Field,
        momentum: float,
        code: int | Function,
        k2: float,
        cap: float,
        s2: Field,
        s2_start: int,
        faces: Faces,
        w: Field,
    ) -> None:
        """One stage whose diffusivity sees the whole gradient."""

    def grad2(self, u: Field, start: int, lo: int, hi: int, b2: Field, w: Field, faces: Faces, out: Field) -> None:
        """Squared gradient."""

    def neighbours(self, u: Field, lo: int, hi: int, share: Field, faces: Faces, mean: Field, variance: Field) -> None:
        """Mean and variance of the neighbours."""

    def smooth(self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
        """Separable convolution."""

    def count_unusable(self, u: Field, start: int, stop: int, limit: float) -> int:
        """Number of values to refuse."""
        ...


class _Compiled:
    """Hands the compiled kernels flat views; fields are C-contiguous with shape (C, Z, Y, X)."""

    name = "compiled"

    def __init__(self, steps: ModuleType, features: ModuleType) -> None:
        self._steps, self._features = steps, features

    def diffusivity(self, code: int | Function, q: Field) -> None:
        if callable(code):
            reference.diffusivity(code, q)
        else:
            self._steps.diffusivity(code, _flat(q))

    def step(
        self,
        u: Field,
        out: Field,
        lo: int,
        hi: int,
        a: Field,
        b: Field,
        momentum: float,
        code: int | Function,
        g: Field | None,
        g_start: int,
        faces: Faces,
        w: Field,
    ) -> None:
        flat_g = None if g is None else _flat(g)
        m = u.dtype.type(momentum)
        self._steps.step(_flat(u), _flat(out), u.shape, lo, hi, a, b, m, code, flat_g, g_start, _flat(faces), w)

    def gradient_step(
        self,
        u: Field,
        out: Field,
        lo: int,
        hi: int,
        a: Field,
        b2: Field,
        momentum: float,
        code: int | Function,
        k2: float,
        cap: float,
        s2: Field,
        s2_start: int,
        faces: Faces,
        w: Field,
    ) -> None:
        t = u.dtype.type
        numbers = t(momentum), code, t(k2), t(cap)
        self._steps.gradient_step(_flat(u), _flat(out), u.shape, lo, hi, a, b2, *numbers, _flat(s2), s2_start, _flat(faces), w)

    def grad2(self, u: Field, start: int, lo: int, hi: int, b2: Field, w: Field, faces: Faces, out: Field) -> None:
        self._features.grad2(_flat(u), u.shape, start, lo, hi, b2, w, _flat(faces), _flat(out))

    def neighbours(self, u: Field, lo: int, hi: int, share: Field, faces: Faces, mean: Field, variance: Field) -> None:
        self._features.neighbours(_flat(u), u.shape, lo, hi, share, _flat(faces), _flat(mean), _flat(variance))

    def smooth(self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
        self._features.smooth(_flat(u), u.shape, lo, hi, *taps, _flat(out))

    def count_unusable(self, u: Field, start: int, stop: int, limit: float) -> int:
        return int(self._features.count_unusable(_flat(u), start, stop, u.dtype.type(limit)))


def get(name: str | None, axes: int) -> Backend:
    """Return the backend for ``axes`` diffusing axes; ``None`` takes the compiled one where it can run."""
    if name is not None and name not in BACKENDS:
        raise ValueError(f"There is no backend named {name!r}; the backends are {', '.join(BACKENDS)}.")
    if axes > 3 and name == "compiled":
        raise ValueError(f"The compiled backend runs 1 to 3 diffusing axes, got {axes}; leave backend=None.")
    if axes > 3 or name == "reference":
        return _reference()
    return _compiled() or _reference()


@cache
def _compiled() -> Backend | None:
    if importlib.util.find_spec("numba") is None:
        warnings.warn("numba is not installed: the NumPy kernels do the work, several times slower.", RuntimeWarning, stacklevel=2)
        return None
    from napari_diffusion.kernels import compiled, compiled_features

    return _Compiled(compiled, compiled_features)


@cache
def _reference() -> Backend:
    backend: Any = reference
    backend.name = "reference"
    return backend


def _flat(array: Any) -> Any:
    """Flat view without a copy (a copy would lose what the kernel writes)."""
    if array is None:
        return None
    flat = array.view()
    flat.shape = (-1,)
    return flat
