"""The only loops over voxels, in two backends with the same functions: ``compiled`` (numba, up to three axes) and ``reference`` (NumPy)."""

from __future__ import annotations

import importlib.util
import math
import sys
import warnings
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.kernels import reference
from napari_diffusion.kernels.reference_tensor import STEPS, axes_of, entries

BACKENDS = ("compiled", "reference")
Field = NDArray[np.floating]
Bytes = NDArray[np.uint8]
Faces = Bytes | None
Function = reference.Function
#: What `Backend.tensors` makes; only its backend knows what is in it.
Tensors = NDArray[Any]


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

    def derivative(self, u: Field, start: int, lo: int, hi: int, axis: int, order: int, spacing: float, faces: Faces, out: Field) -> None:
        """First or second derivative along one axis."""

    def structure(
        self,
        u: Field,
        start: int,
        planes: int,
        lo: int,
        hi: int,
        axes: Sequence[int],
        spacing: Sequence[float],
        taps: Sequence[Field],
        w: Field,
        out: Field,
    ) -> None:
        """Structure tensor where every face is open."""

    def eigenvalues(self, matrix: Field) -> Field:
        """Eigenvalues of symmetric matrices."""
        ...

    def vessels(self, hessian: Field, scale: float, gamma: float, bright: bool, total: Field, best: Field) -> None:
        """Sum of Hessians by the power of their vesselness."""

    def tensors(self, space: Sequence[int]) -> Tensors:
        """Store for one tensor a voxel."""
        ...

    def compose(self, matrix: Field, mu: Field, lam: Sequence[Field], largest: float, axes: Sequence[int], d: Tensors, start: int) -> None:
        """Store tensors with given eigenvalues."""

    def tensor_step(
        self, u: Field, out: Field, d: Tensors, lo: int, hi: int, scale: float, spacing: Sequence[float], momentum: float, faces: Faces
    ) -> None:
        """One stage of a tensor model."""

    def incident(self, d: Tensors, lo: int, hi: int, scale: float, spacing: Sequence[float], faces: Faces, out: Bytes) -> None:
        """Sum of the weights of a voxel in Selling's stencil, as a byte."""

    def selling_step(
        self, u: Field, out: Field, d: Tensors, weight: Bytes, lo: int, hi: int, scale: float, spacing: Sequence[float], faces: Faces
    ) -> None:
        """One explicit step of a tensor model with non-negative weights."""


class _Compiled:
    """Hands the compiled kernels flat views; fields are C-contiguous with shape (C, Z, Y, X)."""

    name = "compiled"

    def __init__(self, steps: ModuleType, features: ModuleType) -> None:
        self._steps, self._features = steps, features

    @cached_property
    def _tensor(self) -> Any:
        """Kernels of the tensor models, loaded when one runs."""
        from napari_diffusion.kernels import compiled_tensor

        return compiled_tensor

    @cached_property
    def _selling(self) -> Any:
        from napari_diffusion.kernels import compiled_selling

        return compiled_selling

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

    def derivative(self, u: Field, start: int, lo: int, hi: int, axis: int, order: int, spacing: float, faces: Faces, out: Field) -> None:
        scale = u.dtype.type(0.5 / spacing if order == 1 else 1 / spacing**2)
        self._tensor.derivative(_flat(u), u.shape, start, lo, hi, axis, order == 1, scale, _flat(faces), _flat(out))

    def structure(
        self,
        u: Field,
        start: int,
        planes: int,
        lo: int,
        hi: int,
        axes: Sequence[int],
        spacing: Sequence[float],
        taps: Sequence[Field],
        w: Field,
        out: Field,
    ) -> None:
        pairs = np.array([(axes[i], axes[j]) for i, j in entries(len(axes))])
        scale = np.array([0.5 / h for h in spacing], u.dtype)
        self._features.structure(_flat(u), u.shape, start, planes, lo, hi, pairs, scale, *taps, w, _flat(out))

    def eigenvalues(self, matrix: Field) -> Field:
        mu = np.empty((axes_of(matrix), *matrix.shape[1:]), matrix.dtype)
        self._tensor.eigenvalues(_rows(matrix), _rows(mu))
        return mu

    def vessels(self, hessian: Field, scale: float, gamma: float, bright: bool, total: Field, best: Field) -> None:
        t = hessian.dtype.type
        strength = t(min(1 / gamma, float(np.finfo(t).max)))
        self._tensor.vessels(_rows(hessian), t(scale), bright, strength, _rows(total), _flat(best))

    def tensors(self, space: Sequence[int]) -> Tensors:
        return np.empty((2, *space), np.uint64)

    def compose(self, matrix: Field, mu: Field, lam: Sequence[Field], largest: float, axes: Sequence[int], d: Tensors, start: int) -> None:
        values = np.stack([np.broadcast_to(row, matrix.shape[1:]) for row in lam]).astype(mu.dtype, copy=False)
        plane = math.prod(d.shape[2:])
        scale, where = mu.dtype.type(STEPS / largest), np.array(axes)
        self._tensor.compose(_rows(matrix), _rows(mu), _rows(values), scale, where, _flat(d), start * plane, d[0].size)

    def tensor_step(
        self, u: Field, out: Field, d: Tensors, lo: int, hi: int, scale: float, spacing: Sequence[float], momentum: float, faces: Faces
    ) -> None:
        k = _per_entry(scale / 128, spacing).astype(u.dtype)
        self._tensor.step(_flat(u), _flat(out), _flat(d), u.shape, lo, hi, k, u.dtype.type(momentum), _flat(faces))

    def incident(self, d: Tensors, lo: int, hi: int, scale: float, spacing: Sequence[float], faces: Faces, out: Bytes) -> None:
        self._selling.incident(_flat(d), d.shape, lo, hi, _per_entry(scale, spacing), _flat(faces), _flat(out))

    def selling_step(
        self, u: Field, out: Field, d: Tensors, weight: Bytes, lo: int, hi: int, scale: float, spacing: Sequence[float], faces: Faces
    ) -> None:
        k = _per_entry(scale, spacing)
        self._selling.step(_flat(u), _flat(out), _flat(d), _flat(weight), u.shape, lo, hi, k, _flat(faces))


def get(name: str | None, axes: int) -> Backend:
    """Return the backend for ``axes`` diffusing axes; ``None`` takes the compiled one where it can run."""
    if name is not None and name not in BACKENDS:
        raise ValueError(f"There is no backend named {name!r}; the backends are {', '.join(BACKENDS)}.")
    if axes > 3 and name == "compiled":
        raise ValueError(f"The compiled backend runs 1 to 3 diffusing axes, got {axes}; leave backend=None.")
    if axes > 3 or name == "reference":
        return _reference()
    return _compiled() or _reference()


def compiling() -> bool:
    """Whether a kernel is being compiled at this moment, in whichever thread; it never loads the compiler."""
    jit: Any = sys.modules.get(f"{__name__}.jit")
    return hasattr(jit, "compiling") and bool(jit.compiling())  # another thread may be in the middle of importing it


def mark(what: str) -> Path | None:
    """Return the file whose existence says that all kernels for something have been compiled; ``None`` where none is kept."""
    if _compiled() is None:
        return None
    from napari_diffusion.kernels import jit

    return jit.mark(what)


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


def _rows(array: Any) -> Any:
    """View of shape (entries, voxels)."""
    return array.reshape(len(array), -1)


def _per_entry(scale: float, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Factor that turns a stored entry into one of ``scale D / (h_i h_j)``."""
    return np.array([scale / STEPS / spacing[i] / spacing[j] for i, j in entries(len(spacing))])


def _flat(array: Any) -> Any:
    """Flat view without a copy (a copy would lose what the kernel writes)."""
    if array is None:
        return None
    flat = array.view()
    flat.shape = (-1,)
    return flat
