"""The compiled backend: numba's kernels under the names of `backends.base.Backend`.

numba and the kernels are imported at their first use.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Hashable, Sequence
from functools import cached_property, lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends import spectra
from napari_diffusion.backends.base import Backend, CompletionMark, DiffusivityFunction, Tensors
from napari_diffusion.backends.reference import stages as specification
from napari_diffusion.backends.reference.stages import STORED_TYPES
from napari_diffusion.backends.reference.tensor import (
    CELL_FRACTION,
    QUANTISATION_STEPS,
    ROUNDING_FACTOR,
    axis_count,
    cell_counts,
    entries,
)
from napari_diffusion.core.arrays import Bytes, Field, OpenFaces, Stored


class NumbaBackend(Backend):
    """Compiled kernels; the methods pass them flat views of C-contiguous (C, Z, Y, X) fields."""

    name = "compiled"
    max_axes = 3
    calls_functions = False
    max_chunk_voxels = 1 << 21
    fuses_products = True
    libraries = ("numba",)

    def tensor_bytes(self, axes: int) -> int:
        """Two 64-bit words."""
        return 16

    def kernel_key(self, calls: Hashable, dtype: np.dtype[Any]) -> Hashable:
        """Kernels are compiled for each combination of calls and data type."""
        # Up to three axes are padded to three, and channels are looped over: both do not matter.
        return calls, str(dtype)

    def is_compiling(self) -> bool:
        """Whether any thread is compiling a kernel at this moment; does not import numba."""
        jit: Any = sys.modules.get("napari_diffusion.backends.numba.jit")
        # The function is missing while another thread is importing the module.
        return hasattr(jit, "is_compiling") and bool(jit.is_compiling())

    @classmethod
    def obstacle(cls) -> str | None:
        """See `Backend.obstacle`; numba is only imported if a file may set its variables."""
        missing = super().obstacle()
        if missing is None and Path(".numba_config.yaml").exists():
            import_module("numba.core.config")
        if missing is None and _is_switched_off():
            return "numba's compiler is switched off (NUMBA_DISABLE_JIT)"
        return missing

    def completion_mark(self, key: str) -> CompletionMark | None:
        """See `Backend.completion_mark`."""
        from napari_diffusion.backends.numba import jit

        return jit.completion_mark(key)

    @cached_property
    def _stages(self) -> ModuleType:
        """Kernels of the scalar stages."""
        return import_module("napari_diffusion.backends.numba.stages")

    @cached_property
    def _stored_faces(self) -> ModuleType:
        """Kernels with diffusivities that are stored at the faces."""
        return import_module("napari_diffusion.backends.numba.stored_faces")

    @cached_property
    def _min_max(self) -> ModuleType:
        """Kernel of min/max curvature."""
        return import_module("napari_diffusion.backends.numba.min_max")

    @cached_property
    def _fourth_order(self) -> ModuleType:
        """Kernels of fourth order."""
        return import_module("napari_diffusion.backends.numba.fourth_order")

    @cached_property
    def _features(self) -> ModuleType:
        """Kernels of the features."""
        return import_module("napari_diffusion.backends.numba.features")

    @cached_property
    def _tensor(self) -> ModuleType:
        """Kernels of the tensor models."""
        return import_module("napari_diffusion.backends.numba.tensor")

    @cached_property
    def _sheets(self) -> ModuleType:
        """Kernel of membrane-enhancing diffusion."""
        return import_module("napari_diffusion.backends.numba.sheets")

    @cached_property
    def _spectra(self) -> ModuleType:
        """Kernels of the diffusivities of tensor models."""
        return import_module("napari_diffusion.backends.numba.spectra")

    @cached_property
    def _selling(self) -> ModuleType:
        """Kernels of Selling's stencil."""
        return import_module("napari_diffusion.backends.numba.selling")

    def diffusivity(self, code: int | DiffusivityFunction, q: Field) -> None:
        """See `reference.stages.diffusivity`."""
        if callable(code):
            specification.diffusivity(code, q)
        else:
            self._stages.diffusivity(code, _flat(q))

    def step(
        self,
        u: Field,
        out: Field,
        lo: int,
        hi: int,
        a: Field,
        b: Field,
        momentum: float,
        code: int | DiffusivityFunction,
        g: Field | None,
        k: Field | None,
        start: int,
        faces: OpenFaces | None,
        w: Field,
    ) -> None:
        """See `reference.stages.step`."""
        flat_u, flat_out, values, flat_faces = (
            _flat(u),
            _flat(out),
            (_flat(g), _flat(k)),
            _flat(faces),
        )
        m = u.dtype.type(momentum)
        self._stages.step(
            flat_u, flat_out, u.shape, lo, hi, a, b, m, code, *values, start, flat_faces, w
        )

    def gradient_step(
        self,
        u: Field,
        out: Field,
        lo: int,
        hi: int,
        a: Field,
        b2: Field,
        momentum: float,
        code: int | DiffusivityFunction,
        k2: float,
        cap: float,
        s2: Field,
        k: Field | None,
        start: int,
        faces: OpenFaces | None,
        w: Field,
    ) -> None:
        """See `reference.stages.gradient_step`."""
        flat_u, flat_out, flat_faces = _flat(u), _flat(out), _flat(faces)
        values = _flat(s2), _flat(k)
        t = u.dtype.type
        settings = t(momentum), code, t(k2), t(cap)
        self._stages.gradient_step(
            flat_u, flat_out, u.shape, lo, hi, a, b2, *settings, *values, start, flat_faces, w
        )

    def min_max(
        self,
        u: Field,
        out: Field,
        previous: Field | None,
        lo: int,
        hi: int,
        momentum: float,
        ball: NDArray[np.int64],
        radius: float,
        spacing: Sequence[float],
        faces: OpenFaces | None,
    ) -> None:
        """See `reference.min_max.min_max`."""
        inverse = np.array([1 / h for h in spacing], u.dtype)
        reach = np.array([math.ceil(radius / h) for h in spacing])
        m, ways = u.dtype.type(momentum), (ball, reach, u.dtype.type(radius), inverse)
        # One kernel for both: without momentum, nothing is added.
        flat = _flat(u), _flat(out), _flat(u if previous is None else previous)
        self._min_max.min_max(*flat, u.shape, lo, hi, m, *ways, _flat(faces))

    def fourth_order_step(
        self,
        u: Field,
        out: Field,
        lo: int,
        hi: int,
        factors: Field,
        momentum: float,
        g: Field,
        start: int,
        faces: OpenFaces | None,
    ) -> None:
        """See `reference.fourth_order.fourth_order_step`."""
        m, values = u.dtype.type(momentum), (_flat(g), start)
        self._fourth_order.fourth_order_step(
            _flat(u), _flat(out), u.shape, lo, hi, factors, m, *values, _flat(faces)
        )

    def curvature2(
        self,
        u: Field,
        start: int,
        lo: int,
        hi: int,
        b: Field,
        w: Field,
        faces: OpenFaces | None,
        out: Field,
    ) -> None:
        """See `reference.fourth_order.curvature2`."""
        self._fourth_order.curvature2(
            _flat(u), u.shape, start, lo, hi, b, w, _flat(faces), _flat(out)
        )

    def face_diffusivities(
        self,
        u: Field,
        lo: int,
        hi: int,
        b2: Field,
        code: int | DiffusivityFunction,
        k2: float,
        s2: Field,
        k: Field | None,
        start: int,
        axes: Sequence[int],
        faces: OpenFaces | None,
        w: Field,
        out: Stored,
    ) -> None:
        """See `reference.stages.face_diffusivities`."""
        values, settings = (_flat(s2), _flat(k), start), (code, u.dtype.type(k2))
        self._stored_faces.face_diffusivities(
            _flat(u), u.shape, lo, hi, b2, *settings, *values, axes, _flat(faces), w, _flat(out)
        )

    def face_step(
        self,
        u: Field,
        out: Field,
        stored: Stored,
        axes: Sequence[int],
        lo: int,
        hi: int,
        a: Field,
        momentum: float,
        faces: OpenFaces | None,
    ) -> None:
        """See `reference.stages.face_step`."""
        if not axes:
            axes, stored = (0,), np.zeros((1, *u.shape[1:]), STORED_TYPES[u.dtype])
        m, is_walled = u.dtype.type(momentum), None if faces is None else True
        self._stored_faces.face_step(
            _flat(u),
            _flat(out),
            u.shape,
            _flat(stored),
            _slots(tuple(axes)),
            lo,
            hi,
            a,
            m,
            is_walled,
        )

    def grad2(
        self,
        u: Field,
        start: int,
        lo: int,
        hi: int,
        b2: Field,
        w: Field,
        faces: OpenFaces | None,
        out: Field,
    ) -> None:
        """See `reference.features.grad2`."""
        self._features.grad2(_flat(u), u.shape, start, lo, hi, b2, w, _flat(faces), _flat(out))

    def neighbours(
        self,
        u: Field,
        lo: int,
        hi: int,
        share: Field,
        faces: OpenFaces | None,
        mean: Field,
        deviation: Field,
    ) -> None:
        """See `reference.features.neighbours`."""
        main = int(np.argmax(share))
        self._features.neighbours(
            _flat(u), u.shape, lo, hi, share, main, _flat(faces), _flat(mean), _flat(deviation)
        )

    def smooth(self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
        """See `reference.features.smooth`."""
        self._features.smooth(_flat(u), u.shape, lo, hi, *taps, None, _flat(out))

    def smooth_differences(
        self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field
    ) -> None:
        """See `reference.features.smooth_differences`."""
        self._features.smooth(_flat(u), u.shape, lo, hi, *taps, True, _flat(out))

    def reciprocals(
        self,
        middle: Field,
        difference: Field,
        lowest: Field,
        starts: NDArray[np.intp],
        offset: Field,
        out: Field,
    ) -> None:
        """See `reference.features.reciprocals`."""
        pieces = _flat(middle), _flat(difference), _flat(lowest)
        self._features.reciprocals(*pieces, starts, offset, _flat(out))

    def count_invalid(self, u: Field, start: int, stop: int, limit: float) -> int:
        """See `reference.features.count_invalid`."""
        return int(self._features.count_invalid(_flat(u), start, stop, u.dtype.type(limit)))

    def derivative(
        self,
        u: Field,
        start: int,
        lo: int,
        hi: int,
        axis: int,
        order: int,
        spacing: float,
        faces: OpenFaces | None,
        out: Field,
    ) -> None:
        """See `reference.tensor.derivative`."""
        scale = u.dtype.type(0.5 / spacing if order == 1 else 1 / spacing**2)
        self._tensor.derivative(
            _flat(u), u.shape, start, lo, hi, axis, order == 1, scale, _flat(faces), _flat(out)
        )

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
        """See `reference.features.structure`."""
        pairs, scale = _pairs(tuple(axes)), _central(tuple(spacing), u.dtype)
        self._features.structure(
            _flat(u), u.shape, start, planes, lo, hi, pairs, scale, *taps, w, _flat(out)
        )

    def eigenvalues(self, matrix: Field) -> Field:
        """See `reference.tensor.eigenvalues`."""
        mu = np.empty((axis_count(matrix), *matrix.shape[1:]), matrix.dtype)
        self._tensor.eigenvalues(_rows(matrix), _rows(mu))
        return mu

    def spectrum(
        self, name: str, parameters: Sequence[float], mu: Field, extra: Sequence[Field]
    ) -> Field | None:
        """Call the kernel of `numba.spectra` with this name."""
        numbers = spectra.numbers(name, parameters, mu.dtype)
        if numbers is None:
            return None
        kernel = getattr(self._spectra, name)
        lam = np.empty(mu.shape, mu.dtype)
        kernel(_rows(mu), *map(_flat, extra), *numbers, _rows(lam))
        return lam

    def vessels(
        self, hessian: Field, scale: float, gamma: float, bright: bool, total: Field, best: Field
    ) -> None:
        """See `reference.tensor.vessels`."""
        t = hessian.dtype.type
        strength = t(min(1 / gamma, float(np.finfo(t).max)))
        self._tensor.vessels(_rows(hessian), t(scale), bright, strength, _rows(total), _flat(best))

    def sheets(
        self,
        hessian: Field,
        slopes: Field,
        first: int,
        scale: float,
        slope_scale: float,
        gamma: float,
        bright: bool,
        total: Field,
        best: Field,
    ) -> None:
        """See `reference.sheets.sheets`."""
        t = hessian.dtype.type
        factors, strength = (t(scale), t(slope_scale)), t(min(1 / gamma, float(np.finfo(t).max)))
        start = first * math.prod(hessian.shape[2:])
        self._sheets.sheets(
            _rows(hessian),
            _rows(slopes),
            start,
            *factors,
            bright,
            strength,
            _rows(total),
            _flat(best),
        )

    def tensors(self, space: Sequence[int]) -> Tensors:
        """Two 64-bit words per voxel; see `numba.tensor`."""
        return self.empty((2, *space), np.uint64)

    def cell_tensors(self, space: Sequence[int]) -> Tensors:
        """Four 32-bit words per cell; see `numba.tensor`."""
        return self.empty((4, *cell_counts(space)), np.uint32)

    def average(
        self, below: Tensors | None, d: Tensors, cells: Tensors, planes: int, start: int
    ) -> None:
        """See `reference.tensor.average`."""
        shape = d.shape[1], planes, *d.shape[2:]
        planes_below = 0 if below is None else below.shape[1]
        low = d if below is None else below
        self._tensor.average(_flat(low), planes_below, _flat(d), _flat(cells), shape, start)

    def compose(
        self,
        matrix: Field,
        mu: Field,
        lam: Sequence[Field],
        largest: float,
        axes: Sequence[int],
        d: Tensors,
        start: int,
    ) -> None:
        """See `reference.tensor.compose`."""
        rows: Any = lam
        if not (isinstance(lam, np.ndarray) and lam.shape == mu.shape):
            rows = np.stack([np.broadcast_to(row, matrix.shape[1:]) for row in lam])
        if rows.dtype != mu.dtype:
            rows = rows.astype(mu.dtype)
        volume = d.size // len(d)
        scale, first = mu.dtype.type(ROUNDING_FACTOR / largest), start * (volume // d.shape[1])
        matrices = _rows(matrix), _rows(mu), _rows(rows)
        self._tensor.compose(*matrices, scale, _numbers(tuple(axes)), _flat(d), first, volume)

    def tensor_step(
        self,
        u: Field,
        out: Field,
        d: Tensors,
        lo: int,
        hi: int,
        scale: float,
        spacing: Sequence[float],
        momentum: float,
        faces: OpenFaces | None,
    ) -> None:
        """See `reference.tensor.tensor_step`."""
        # Two means over four edges each.
        k = _per_entry(scale / (16 * CELL_FRACTION), tuple(spacing), u.dtype)
        self._tensor.step(
            _flat(u), _flat(out), _flat(d), u.shape, lo, hi, k, u.dtype.type(momentum), _flat(faces)
        )

    def incident(
        self,
        d: Tensors,
        lo: int,
        hi: int,
        scale: float,
        spacing: Sequence[float],
        faces: OpenFaces | None,
        out: Bytes,
    ) -> None:
        """See `reference.selling.incident`."""
        self._selling.incident(
            _flat(d),
            d.shape,
            lo,
            hi,
            _per_entry(scale, tuple(spacing), np.dtype(np.float64)),
            _flat(faces),
            _flat(out),
        )

    def selling_step(
        self,
        u: Field,
        out: Field,
        d: Tensors,
        weight: Bytes,
        lo: int,
        hi: int,
        scale: float,
        spacing: Sequence[float],
        faces: OpenFaces | None,
    ) -> None:
        """See `reference.selling.selling_step`."""
        k = _per_entry(scale, tuple(spacing), np.dtype(np.float64))
        self._selling.step(
            _flat(u), _flat(out), _flat(d), _flat(weight), u.shape, lo, hi, k, _flat(faces)
        )


def _is_switched_off() -> bool:
    """Whether numba returns every function as it is, which would take hours; imports no numba."""
    config: Any = getattr(sys.modules.get("numba"), "config", None)
    if config is not None:
        return bool(config.DISABLE_JIT)
    text = os.environ.get("NUMBA_DISABLE_JIT", "")
    return text.isdecimal() and int(text) != 0


def _rows(array: Any) -> Any:
    """View of shape (entries, voxels)."""
    return array.reshape(len(array), -1)


@lru_cache(maxsize=256)
def _per_entry(scale: float, spacing: tuple[float, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Factor per entry that turns a stored integer into ``scale D_ij / (h_i h_j)``.

    Cached, because the steps of a run repeat; nobody writes to it. So are the next ones.
    """
    unit = scale / QUANTISATION_STEPS
    factors = [unit / spacing[i] / spacing[j] for i, j in entries(len(spacing))]
    return np.array(factors).astype(dtype)


@lru_cache(maxsize=64)
def _central(spacing: tuple[float, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Factors of central differences."""
    return np.array([0.5 / h for h in spacing], dtype)


@lru_cache(maxsize=64)
def _numbers(axes: tuple[int, ...]) -> NDArray[np.intp]:
    """Axes as an array."""
    return np.array(axes)


@lru_cache(maxsize=64)
def _pairs(axes: tuple[int, ...]) -> NDArray[np.intp]:
    """Axes of the entries of a symmetric matrix."""
    return np.array([(axes[i], axes[j]) for i, j in entries(len(axes))])


@lru_cache(maxsize=64)
def _slots(axes: tuple[int, ...]) -> NDArray[np.intp]:
    """Numbers of the axes along which diffusivities are stored; 0 for an axis of one voxel."""
    # Along such an axis there are no differences: any stored numbers will do.
    return np.array([axes.index(axis) if axis in axes else 0 for axis in range(3)])


def _flat(array: Any) -> Any:
    """Flat view of a contiguous array; the kernel would write into a copy to no effect."""
    if array is None:
        return None
    assert array.flags.c_contiguous
    return array.reshape(-1)
