"""The OpenCL kernels under the names of `backends.base.Backend`; fields are `DeviceArray`s.

Every call computes all planes of a field: a device needs no slabs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_diffusion.backends import spectra
from napari_diffusion.backends.base import Backend, DiffusivityFunction, Tensors
from napari_diffusion.backends.opencl.arrays import DeviceArray
from napari_diffusion.backends.opencl.queue import Queue
from napari_diffusion.backends.reference import stages as specification
from napari_diffusion.backends.reference.stages import STORED_TYPES
from napari_diffusion.backends.reference.tensor import (
    CELL_FRACTION,
    QUANTISATION_STEPS,
    ROUNDING_FACTOR,
    axis_count,
    cell_counts,
    entries,
    hessian_factors,
)
from napari_diffusion.core.arrays import Field, OpenFaces, Stored

#: Planes through which a work item of the tensor stencil passes, as in `tensors.cl`.
TENSOR_PLANES = 8


class OpenCLBackend(Backend):
    """Kernels on a device.

    Parameters
    ----------
    queue
        The queue of the device.
    """

    name = "opencl"
    max_axes = 3
    calls_functions = False
    max_chunk_voxels = 1 << 62
    fuses_products = True
    takes_whole_fields = True
    libraries = ("pyopencl",)

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def load(self, array: Any) -> Any:
        """Copy an array to the device."""
        return array if isinstance(array, DeviceArray) else self._queue.load(array)

    def fetch(self, array: Any) -> Any:
        """Copy an array from the device."""
        return array.fetch() if isinstance(array, DeviceArray) else array

    def finish(self) -> None:
        """Wait until all kernels have run."""
        self._queue.finish()

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Allocate an array on the device."""
        return self._queue.empty(shape, dtype)

    def contiguous(self, array: Any) -> Any:
        """Return the array, which is contiguous."""
        return array

    def tensor_bytes(self, axes: int) -> int:
        """Two 64-bit words, as those of the compiled backend."""
        return 16

    def _run(self, file: str, kernel: str, u: Any, items: Sequence[int], *arguments: Any) -> None:
        """Run a kernel of a file for the data type of ``u``."""
        text = self._queue.source(file, u.dtype)
        self._queue.launch(text, kernel, items, *arguments)

    def diffusivity(self, code: int | DiffusivityFunction, q: Field) -> None:
        """See `reference.stages.diffusivity`."""
        if callable(code):
            values = self.fetch(q)
            specification.diffusivity(code, values)
            q[...] = values
            return
        self._run("features", "diffusivity", q, (q.size,), code, np.int64(q.size), q)

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
        assert not callable(code)
        m, walls = u.dtype.type(momentum), (faces, faces is not None)
        if g is not None or code == 0:
            a = a * u.dtype.type(1 if g is None else 0.5)  # a face takes the mean of two g
            values = (g, g is not None)
            self._run("faces", "voxel_step", u, _items(u), u, out, *u.shape, *a, m, *values, *walls)
            return
        settings = code, k, k is not None, *walls, self._queue.constant(w)
        self._run(
            "faces", "face_difference_step", u, _items(u), u, out, *u.shape, *a, *b, m, *settings
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
        t = u.dtype.type
        values = (s2, k, k is not None, faces, faces is not None, self._queue.constant(w))
        settings = t(momentum), code, t(k2), t(cap)
        self._run(
            "gradients", "gradient_step", u, _items(u),
            u, out, *u.shape, *a, *b2, *settings, *values,
        )  # fmt: skip

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
        values = (s2, k, k is not None, faces, faces is not None, self._queue.constant(w))
        for number, axis in enumerate(axes):
            settings = axis, b2[axis], code, u.dtype.type(k2)
            self._run(
                "gradients", "face_diffusivities", u, _items(s2),
                u, *u.shape, *settings, *values, out[number],
            )  # fmt: skip

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
            axes = (0,)
            stored = self.load(np.zeros((1, *u.shape[1:]), STORED_TYPES[u.dtype]))
        # Along an axis of a single voxel there are no differences: any stored numbers will do.
        g = [stored[axes.index(axis) if axis in axes else 0] for axis in range(3)]
        m = u.dtype.type(momentum)
        self._run(
            "gradients", "face_step", u, _items(u),
            u, out, *u.shape, *g, *a, m, faces is not None,
        )  # fmt: skip

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
        values = self._queue.constant(w), faces, faces is not None
        self._run("fourth_order", "curvature2", u, _items(out), u, *u.shape, *b, *values, out)

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
        t = u.dtype.type
        straight = [factors[i, i] for i in range(3)]
        mixed = [t(0.5) * factors[i, j] for i, j in ((0, 1), (0, 2), (1, 2))]
        values = t(momentum), g, faces, faces is not None
        self._run(
            "fourth_order", "fourth_order_step", u, _items(u),
            u, out, *u.shape, *straight, *mixed, *values,
        )  # fmt: skip

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
        walls = faces, faces is not None
        self._run(
            "features", "squared_gradient", u, _items(out),
            u, *u.shape, *b2, self._queue.constant(w), *walls, out,
        )  # fmt: skip

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
        main, walls = int(np.argmax(share)), (faces, faces is not None)
        self._run(
            "features", "neighbours", u, _items(u),
            u, *u.shape, *share, main, *walls, mean, deviation,
        )  # fmt: skip

    def smooth(self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
        """See `reference.features.smooth`."""
        self._convolve(u, enumerate(taps), False, out)

    def smooth_differences(
        self, u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field
    ) -> None:
        """See `reference.features.smooth_differences`."""
        self._convolve(u, enumerate(taps), True, out)

    def _convolve(self, u: Any, axes: Any, differ: bool, out: Any) -> None:
        """Convolve along pairs of an axis and its half kernel, one after the other."""
        passes = [(axis, half) for axis, half in axes if len(half) > 1]
        for number, (axis, half) in enumerate(passes):
            target = out if number == len(passes) - 1 else self.empty(u.shape, u.dtype)
            settings = axis, self._queue.constant(half), len(half) - 1, differ
            self._run("features", "convolve", u, _items(u), u, *u.shape, *settings, target)
            u = target
        if not passes:
            out[...] = u

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
        scale = [u.dtype.type(0.5 / h) for h in spacing]
        # In the order of the compiled kernel, which convolves along y last.
        passes = [(axis, taps[axis]) for axis in (0, 2, 1)]
        for number, (i, j) in enumerate(entries(len(axes))):
            a, b = axes[i], axes[j]
            product = self.empty((1, *u.shape[1:]), u.dtype)
            factors = a, b, scale[a], scale[b], self._queue.constant(w)
            self._run("features", "product", u, _items(product), u, *u.shape, *factors, product)
            self._convolve(product, passes, False, out[number : number + 1])

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
        settings = axis, order == 1, scale, faces, faces is not None
        self._run("features", "derivative", u, _items(u), u, *u.shape, *settings, out)

    def reciprocals(
        self,
        middle: Field,
        difference: Field,
        lowest: Field,
        starts: Any,
        offset: Field,
        out: Field,
    ) -> None:
        """See `reference.features.reciprocals`."""
        n, pieces = len(offset), len(starts) - 1
        piece = np.repeat(np.arange(pieces, dtype=np.int32), np.diff(starts))
        rows = [self._queue.load(part) for part in (middle, difference, lowest, piece, offset)]
        size = np.int64(out.size)
        self._run("features", "reciprocals", out, (out.size,), *rows, n, pieces, size, out)

    def add_difference(
        self, out: Field, field: Field, other: Field, share: float, lo: int, hi: int, scratch: Any
    ) -> None:
        """See `Backend.add_difference`."""
        factor, size = out.dtype.type(share), np.int64(out.size)
        self._run("features", "add_difference", out, (out.size,), out, field, other, factor, size)

    def eigenvalues(self, matrix: Field) -> Field:
        """See `reference.tensor.eigenvalues`."""
        count = axis_count(matrix)
        mu: Field = self.empty((count, *matrix.shape[1:]), matrix.dtype)
        if count == 1:
            mu[...] = matrix
            return mu
        size = mu.size // count
        name = f"eigenvalues_{count}"
        self._run("tensors", name, mu, (size,), matrix, mu, np.int64(size))
        return mu

    def vessels(
        self, hessian: Field, scale: float, gamma: float, bright: bool, total: Field, best: Field
    ) -> None:
        """See `reference.tensor.vessels`."""
        scaled = hessian * hessian.dtype.type(scale)
        self._add_vessels(scaled, gamma, bright, total, best)

    def open_vessels(
        self,
        fields: Sequence[Field],
        start: int,
        lo: int,
        hi: int,
        axes: Sequence[int],
        spacing: Sequence[float],
        scales: Sequence[float],
        gamma: float,
        bright: bool,
        total: Field,
        best: Field,
    ) -> bool:
        """See `Backend.open_vessels`."""
        total[...] = best[...] = 0
        pairs = [(axes[i], axes[j]) for i, j in entries(len(axes))]
        for u, scale in zip(fields, scales, strict=True):
            scaled = self.empty(total.shape, u.dtype)
            factors = hessian_factors(scale, tuple(axes), tuple(spacing), u.dtype)
            for number, (pair, factor) in enumerate(zip(pairs, factors, strict=True)):
                values = *u.shape, *pair, factor, scaled[number]
                self._run("features", "hessian_entry", u, _items(u), u, *values)
            self._add_vessels(scaled, gamma, bright, total, best)
        return True

    def _add_vessels(
        self, scaled: Field, gamma: float, bright: bool, total: Field, best: Field
    ) -> None:
        """Add scaled Hessians by their vesselness."""
        t, mu = scaled.dtype.type, self.eigenvalues(scaled)
        strength, axes = t(min(1 / gamma, float(np.finfo(t).max))), len(mu)
        ends = (0, axes - 1) if bright else (axes - 1, 0)
        vessel: Any = self.empty(best.shape, scaled.dtype)
        settings = t(1 if bright else -1), strength, vessel, best, np.int64(vessel.size)
        arguments = scaled, mu, axes, *ends, *settings
        self._run("tensors", "vesselness", vessel, (vessel.size,), *arguments)
        sizes = np.int64(vessel.size), np.int64(scaled.size)
        self._run("tensors", "add_weighted", vessel, (scaled.size,), scaled, vessel, total, *sizes)

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
        strength, axes = t(min(1 / gamma, float(np.finfo(t).max))), len(slopes)
        scaled, volume = hessian * t(scale), math.prod(hessian.shape[1:])
        mu = self.eigenvalues(scaled)
        ends = (0, axes - 1) if bright else (axes - 1, 0)
        sheet: Any = self.empty(hessian.shape[1:], hessian.dtype)
        settings = t(1 if bright else -1), strength, t(slope_scale)
        arguments = scaled, mu, axes, *ends, slopes, *settings, sheet, best, np.int64(volume)
        self._run("spectra", "sheetness", sheet, (volume,), *arguments)
        sizes = np.int64(volume), np.int64(scaled.size)
        self._run("spectra", "add_sheets", sheet, (scaled.size,), scaled, sheet, total, *sizes)

    def spectrum(
        self, name: str, parameters: Sequence[float], mu: Field, extra: Sequence[Field]
    ) -> Field | None:
        """Call the kernel of this name, with the arguments of that of `numba.spectra`."""
        numbers = spectra.numbers(name, parameters, mu.dtype)
        if numbers is None:
            return None
        lam: Field = self.empty(mu.shape, mu.dtype)
        size = lam.size // len(lam)
        self._run("spectra", name, mu, (size,), mu, len(mu), *extra, *numbers, lam, np.int64(size))
        return lam

    def cell_tensors(self, space: Sequence[int]) -> Tensors:
        """Four 32-bit words per cell; see `numba.tensor`."""
        cells: Tensors = self.empty((4, *cell_counts(space)), np.uint32)
        return cells

    def average(
        self, below: Tensors | None, d: Tensors, cells: Tensors, planes: int, start: int
    ) -> None:
        """See `reference.tensor.average`."""
        text = self._queue.source("tensors", np.dtype(np.float32))
        self._queue.launch(text, "average", _items(cells[0]), d, cells, *d.shape[1:])

    def tensors(self, space: Sequence[int]) -> Tensors:
        """Two 64-bit words per voxel; see `numba.tensor`."""
        tensors: Tensors = self.empty((2, *space), np.uint64)
        return tensors

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
        count, size = len(lam), math.prod(matrix.shape[1:])
        rows = self.empty((count, *matrix.shape[1:]), mu.dtype)
        for row, values in zip(rows, lam, strict=True):
            row[...] = values
        end = mu.dtype.type(ROUNDING_FACTOR / largest), d, np.int64(size)
        if count == 1:
            arguments: Sequence[Any] = (rows, end[0], axes[0], *end[1:])
        elif count == 2:
            arguments = (matrix, mu, rows, end[0], *axes, *end[1:])
        else:
            arguments = (matrix, mu, rows, *end)
        self._run("tensors", f"compose_{count}", mu, (size,), *arguments)

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
        unit, t = scale / (16 * CELL_FRACTION) / QUANTISATION_STEPS, u.dtype.type
        k = [t(unit / spacing[i] / spacing[j]) for i, j in entries(len(spacing))]
        if faces is not None:
            values = (*u.shape, *k, t(momentum), faces)
            self._run("tensors", "walled_tensor_step", u, _items(u), u, out, d, *values)
            return
        channels, nz, ny, nx = u.shape
        items = nx, ny, channels * -(-nz // TENSOR_PLANES)
        self._run("tensors", "tensor_step", u, items, u, out, d, *u.shape, *k, t(momentum))


def _items(u: Any) -> tuple[int, int, int]:
    """Return the number of work items along x, y, and the planes of all channels."""
    return u.shape[-1], u.shape[-2], math.prod(u.shape[:-2])
