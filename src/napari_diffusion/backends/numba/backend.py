"""The only loops over voxels, in two backends with the same functions: ``compiled`` (numba, up to three axes) and ``reference`` (NumPy)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.numba import features, stages
from napari_diffusion.backends.protocol import DiffusivityFunction, Tensors
from napari_diffusion.backends.reference import stages as specification
from napari_diffusion.backends.reference.tensor import STEPS, axis_count, entries
from napari_diffusion.core.arrays import Bytes, Field, OpenFaces


class NumbaBackend:
    """Hands the compiled kernels flat views; fields are C-contiguous with shape (C, Z, Y, X)."""

    name = "compiled"

    @cached_property
    def _tensor(self) -> ModuleType:
        """Kernels of the tensor models, loaded when one runs."""
        return import_module("napari_diffusion.backends.numba.tensor")

    @cached_property
    def _selling(self) -> ModuleType:
        return import_module("napari_diffusion.backends.numba.selling")

    def diffusivity(self, code: int | DiffusivityFunction, q: Field) -> None:
        if callable(code):
            specification.diffusivity(code, q)
        else:
            stages.diffusivity(code, _flat(q))

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
        g_start: int,
        faces: OpenFaces | None,
        w: Field,
    ) -> None:
        flat_g = None if g is None else _flat(g)
        m = u.dtype.type(momentum)
        stages.step(
            _flat(u), _flat(out), u.shape, lo, hi, a, b, m, code, flat_g, g_start, _flat(faces), w
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
        s2_start: int,
        faces: OpenFaces | None,
        w: Field,
    ) -> None:
        t = u.dtype.type
        numbers = t(momentum), code, t(k2), t(cap)
        stages.gradient_step(
            _flat(u),
            _flat(out),
            u.shape,
            lo,
            hi,
            a,
            b2,
            *numbers,
            _flat(s2),
            s2_start,
            _flat(faces),
            w,
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
        features.grad2(_flat(u), u.shape, start, lo, hi, b2, w, _flat(faces), _flat(out))

    def neighbours(
        self,
        u: Field,
        lo: int,
        hi: int,
        share: Field,
        faces: OpenFaces | None,
        mean: Field,
        variance: Field,
    ) -> None:
        features.neighbours(
            _flat(u), u.shape, lo, hi, share, _flat(faces), _flat(mean), _flat(variance)
        )

    def smooth(self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
        features.smooth(_flat(u), u.shape, lo, hi, *taps, _flat(out))

    def count_invalid(self, u: Field, start: int, stop: int, limit: float) -> int:
        return int(features.count_invalid(_flat(u), start, stop, u.dtype.type(limit)))

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
        pairs = np.array([(axes[i], axes[j]) for i, j in entries(len(axes))])
        scale = np.array([0.5 / h for h in spacing], u.dtype)
        features.structure(
            _flat(u), u.shape, start, planes, lo, hi, pairs, scale, *taps, w, _flat(out)
        )

    def eigenvalues(self, matrix: Field) -> Field:
        mu = np.empty((axis_count(matrix), *matrix.shape[1:]), matrix.dtype)
        self._tensor.eigenvalues(_rows(matrix), _rows(mu))
        return mu

    def vessels(
        self, hessian: Field, scale: float, gamma: float, bright: bool, total: Field, best: Field
    ) -> None:
        t = hessian.dtype.type
        strength = t(min(1 / gamma, float(np.finfo(t).max)))
        self._tensor.vessels(_rows(hessian), t(scale), bright, strength, _rows(total), _flat(best))

    def tensors(self, space: Sequence[int]) -> Tensors:
        return np.empty((2, *space), np.uint64)

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
        values = np.stack([np.broadcast_to(row, matrix.shape[1:]) for row in lam]).astype(
            mu.dtype, copy=False
        )
        plane = math.prod(d.shape[2:])
        scale, where = mu.dtype.type(STEPS / largest), np.array(axes)
        self._tensor.compose(
            _rows(matrix),
            _rows(mu),
            _rows(values),
            scale,
            where,
            _flat(d),
            start * plane,
            d[0].size,
        )

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
        k = _per_entry(scale / 128, spacing).astype(u.dtype)
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
        self._selling.incident(
            _flat(d), d.shape, lo, hi, _per_entry(scale, spacing), _flat(faces), _flat(out)
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
        k = _per_entry(scale, spacing)
        self._selling.step(
            _flat(u), _flat(out), _flat(d), _flat(weight), u.shape, lo, hi, k, _flat(faces)
        )


def _rows(array: Any) -> Any:
    """View of shape (entries, voxels)."""
    return array.reshape(len(array), -1)


def _per_entry(scale: float, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Factor that turns a stored entry into one of ``scale D / (h_i h_j)``."""
    return np.array([scale / STEPS / spacing[i] / spacing[j] for i, j in entries(len(spacing))])


def _flat(array: Any) -> Any:
    """Flat view of a contiguous array; a copy would lose what the kernel writes."""
    if array is None:
        return None
    assert array.flags.c_contiguous
    return array.reshape(-1)
