r"""Solution of linear diffusion on the grid that is exact in time, :math:`u(T) = e^{TA} u(0)`.

:math:`A` is a sum of second differences, one per axis, which commute. The exponential along axis
i, with :math:`t = T/h_i^2`, is either

- a convolution with the discrete Gaussian :math:`e^{-2t} I_n(2t)`, mirrored at the border
  (Lindeberg 1990), or
- a factor :math:`\exp(-2t\,(1-\cos(\pi k/n)))` on the cosine transform.

With a fidelity length :math:`\ell`, the source :math:`(f - u)/\ell^2` has the rate
:math:`r = 1/\ell^2`, and the factor of an eigenvalue :math:`-\lambda` of A is

.. math:: \varphi(\lambda) = 1 - \frac{\lambda}{\lambda + r}\bigl(1 - e^{-(\lambda + r)T}\bigr),

which tends to that of Tikhonov smoothing, :math:`1/(1 + \ell^2\lambda)`. It is no product over the
axes, so the cosine transform is taken along all of them.

Both are exact for the mirrored border and any spacing. The convolution is local, and faster for
sigma up to some tens of voxels. Neither applies between walls, where the Chebyshev series of the
same function is summed (`operators.smoothing`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.base import Operator
from napari_diffusion.operators.diffusivity import LINEAR
from napari_diffusion.operators.smoothing import (
    chebyshev_stage,
    gaussian_taps,
    heat_series_weights,
    held_factor,
    held_series_weights,
)
from napari_diffusion.operators.stepper import StageContext
from napari_diffusion.schemes.base import Scheme

#: Largest sigma [voxel] of the convolution. For larger ones the cosine transform is faster
#: (measured, docs/develop/decisions.md).
MAX_CONVOLUTION_SIGMA = 24.0
#: Slabs of a cosine transform for each thread; a transform needs scratch of twice its slab.
TRANSFORM_SLABS = 8
#: Machine epsilon of float32 and float64, by item size.
MACHINE_EPSILON = {
    np.dtype(kind).itemsize: float(np.finfo(kind).eps) for kind in (np.float32, np.float64)
}


@dataclass(frozen=True)
class Exact(Scheme):
    """Exact integration in time, for models with a constant diffusivity."""

    name = "exact"
    order = math.inf
    monotone = True
    references = ("lindeberg1990",)
    is_direct = True
    solves_fidelity = True

    def refusal(self, operator: Operator, grid: Grid, strict: bool) -> str | None:
        """Return why there is no exact solution."""
        if not operator.is_linear:
            return "its diffusivity is not constant"
        # The series between walls is positive only up to rounding.
        if strict and grid.open_faces is not None:
            return "strict=True with walls needs steps"
        return None

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """Return a single stage."""
        return (Stage(0.0, time, time),) if time > 0 else ()

    def stage_count(self, time: float, max_step: float, tolerance: float) -> int:
        """Return 1, and 0 for the time 0."""
        return int(time > 0)

    def tail(self, dtype: np.dtype[Any]) -> float:
        """Return the truncated weight of a kernel: a quarter of the epsilon of ``dtype``."""
        return MACHINE_EPSILON[dtype.itemsize] / 4

    def taps(
        self, time: float, grid: Grid, dtype: np.dtype[Any]
    ) -> tuple[NDArray[np.floating], ...] | None:
        """Return the half kernel of the convolution for each axis, truncated by `tail`.

        None if the cosine transform is faster.
        """
        return _taps(time, grid.shape, grid.spacing, dtype, self.tail(dtype))

    def kernels(
        self, stages: Sequence[Stage], grid: Grid, dtype: np.dtype[Any], has_walls: bool
    ) -> tuple[str, ...]:
        """Return the kernels of the convolution or the series; none for a cosine transform.

        A run that may have walls may have none.
        """
        stage = stages[0]
        if stage.rate or self.taps(stage.step, grid, dtype) is None:
            return ()
        return ("smooth_differences", "step") if has_walls else ("smooth_differences",)

    def reach(
        self,
        stages: Sequence[Stage],
        operator: Operator,
        feature_reach: Sequence[int],
        grid: Grid,
        dtype: np.dtype[Any],
    ) -> list[int]:
        """Return the radius of the Gaussian, the degree of the series, or the whole axis."""
        if not stages:
            return [0] * len(grid.shape)
        time, rate = sum(stage.step for stage in stages), stages[0].rate
        taps = None if rate else self.taps(time, grid, dtype)
        reach = [n - 1 for n in grid.shape] if taps is None else [len(w) - 1 for w in taps]
        if grid.open_faces is None:
            return reach
        # A frame of a run that may have walls may have none, and is then solved without a series.
        degree = len(self.series_weights(time, rate, grid, dtype)) - 1
        return [max(degree, r) for r in reach]

    def field_count(self, stages: Sequence[Stage], is_copied: bool, has_walls: bool) -> int:
        """Return the number of fields: the series between walls needs three."""
        return 3 + is_copied if has_walls else super().field_count(stages, is_copied, has_walls)

    def scratch_planes(
        self,
        stages: Sequence[Stage],
        grid: Grid,
        dtype: np.dtype[Any],
        chunk: int,
        channels: int,
        threads: int,
    ) -> int:
        """Return the planes of slabs of transforms or channels, or of the terms of a series."""
        edges = 3 * channels
        series = 2 * chunk * channels * (grid.open_faces is not None)
        rate, time = stages[0].rate if stages else 0.0, sum(stage.step for stage in stages)
        if rate or self.taps(time, grid, dtype) is None:
            slab = -(-grid.shape[0] // (TRANSFORM_SLABS * threads))
            return edges + max(series, 2 * channels * slab + 4 * bool(rate))
        return edges + max(series, chunk * channels * (channels > 1))

    def fields_at_end(self, is_copied: bool, has_walls: bool) -> int:
        """Return 2 for the series of a copied input, which is alive to the end."""
        return 1 + (has_walls and is_copied)

    @property
    def reads_ahead(self) -> bool:
        """The solution needs no field of its own."""
        return False

    def solve(self, stage: Stage, u: Field, out: Field, context: StageContext) -> None:
        """Compute the solution at the end of a stage."""
        grid = context.grid
        if grid.open_faces is not None:
            weights = self.series_weights(stage.step, stage.rate, grid, u.dtype)
            self._series(weights, u, out, context)
            return
        if stage.rate:
            solve_held(stage.step, stage.rate, u, out, context)
            return
        taps = self.taps(stage.step, grid, u.dtype)
        if taps is None:
            np.copyto(out, u)
            _transform_axes(stage.step, out, context)
        else:
            _convolve(taps, u, out, context)

    def series_weights(
        self, time: float, rate: float, grid: Grid, dtype: np.dtype[Any]
    ) -> NDArray[np.float64]:
        """Return the weights of the Chebyshev series of the solution between walls."""
        tail = self.tail(dtype)
        if rate:
            return held_series_weights(time, rate, grid, tail)
        return heat_series_weights(time, grid, tail)

    def _series(
        self, weights: NDArray[np.float64], u: Field, out: Field, context: StageContext
    ) -> None:
        """Sum a Chebyshev series of the operator between walls, with these weights."""
        grid = context.grid
        h = np.array(grid.spacing)
        np.copyto(out, u)
        initial, previous = u, u
        fields = [context.new_field(u, out)] if len(weights) > 1 else []
        fields += [context.new_field(u, out, *fields)] if len(weights) > 2 else []
        for k in range(1, len(weights)):
            momentum, tau = chebyshev_stage(k, grid)
            a, weight = (tau / h**2).astype(u.dtype), u.dtype.type(weights[k])
            term = fields[(k - 1) % 2]
            if momentum and previous is not term:
                np.copyto(term, previous)

            def work(
                lo: int,
                hi: int,
                u: Field = u,
                term: Field = term,
                a: Field = a,
                momentum: float = momentum,
                weight: Any = weight,
            ) -> None:
                context.backend.step(
                    u,
                    term,
                    lo,
                    hi,
                    a,
                    a,
                    momentum,
                    LINEAR,
                    None,
                    None,
                    0,
                    grid.open_faces,
                    context.weights,
                )
                # Added as a difference, so that a voxel without open faces keeps every bit.
                out[:, lo:hi] += weight * (term[:, lo:hi] - initial[:, lo:hi])

            context.run_on_slabs(work, u, quiet=True)
            context.slabs.report(k / (len(weights) - 1))
            previous, u = u, term


@functools.lru_cache(maxsize=64)
def _taps(
    time: float,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    dtype: np.dtype[Any],
    tail: float,
) -> tuple[NDArray[np.floating], ...] | None:
    """Return the result of `Exact.taps`. Nobody writes to it."""
    sigmas = [math.sqrt(2 * time) / h for h in spacing]
    axes = list(zip(sigmas, shape, strict=True))
    if max((s for s, n in axes if n > 1), default=0.0) > MAX_CONVOLUTION_SIGMA:
        return None
    return tuple(gaussian_taps(s, n, tail).astype(dtype) for s, n in axes)


def _convolve(taps: Sequence[Field], u: Field, out: Field, context: StageContext) -> None:
    """Convolve ``u`` into ``out``, with one half kernel per axis; constants keep every bit."""

    def work(lo: int, hi: int) -> None:
        slab = out[:, lo:hi]
        contiguous = slab.flags.c_contiguous
        part = slab if contiguous else context.scratch.take("part", slab.shape, u.dtype)
        context.backend.smooth_differences(u, lo, hi, taps, part)
        if part is not slab:
            slab[...] = part

    context.run_on_slabs(work, u)


def _transform_axes(time: float, out: Field, context: StageContext) -> None:
    """Apply the exact solution to ``out`` in place, by cosine transforms axis by axis."""
    spacing = context.grid.spacing

    def solve(part: Field, axis: int) -> Field:
        return transform(part, axis + 1, time, spacing[axis])

    _along_axes(solve, out, context, 0.0, 1.0)


def solve_held(time: float, rate: float, u: Field, out: Field, context: StageContext) -> None:
    """Compute the exact solution with a fidelity length, by cosine transforms of all axes.

    The difference to the first voxel of each channel is transformed, so that a constant channel
    keeps every bit. Slabs and axes are those of the solution without a fidelity length.
    """
    from scipy.fft import dct, idct

    grid = context.grid
    first = u[(slice(None), *[slice(1)] * len(grid.shape))]
    np.subtract(u, first, out=out)

    def forward(part: Field, axis: int) -> Field:
        return np.asarray(dct(part, 2, axis=axis + 1, norm="ortho"))

    def backward(part: Field, axis: int) -> Field:
        return np.asarray(idct(part, 2, axis=axis + 1, norm="ortho"))

    rates = [
        2 / h**2 * (1 - np.cos(np.pi * np.arange(n) / n))
        for n, h in zip(grid.shape, grid.spacing, strict=True)
    ]

    def multiply(lo: int, hi: int) -> None:
        for plane in range(lo, hi):  # in float64, and a plane at a time
            eigenvalues = functools.reduce(np.add.outer, rates[1:]) + rates[0][plane]
            out[:, plane] *= held_factor(eigenvalues, time, rate).astype(out.dtype)

    _along_axes(forward, out, context, 0.0, 0.5)
    context.run_on_slabs(multiply, out, quiet=True)
    _along_axes(backward, out, context, 0.5, 1.0)
    out += first


def _along_axes(
    solve: Callable[[Field, int], Field],
    out: Field,
    context: StageContext,
    begin: float,
    end: float,
) -> None:
    """Replace ``out`` by ``solve`` of its parts and of each axis, one axis after the other.

    ``begin`` and ``end`` are the shares of the stage that are done before and after.
    """
    grid, slabs = context.grid, context.slabs
    axes = [i for i, n in enumerate(grid.shape) if n > 1]
    for number, axis in enumerate(axes):
        # Slabs are cut along another axis; a single axis is transformed in one piece.
        across = next((i for i in axes if i != axis), axis)
        planes = out.shape[across + 1] if across != axis else 1
        height = max(1, planes // (TRANSFORM_SLABS * slabs.threads))

        def work(
            lo: int, hi: int, axis: int = axis, across: int = across, planes: int = planes
        ) -> None:
            part = out if planes == 1 else out[(slice(None),) * (across + 1) + (slice(lo, hi),)]
            part[...] = solve(part, axis)

        slabs.run(work, planes, height, quiet=True)
        slabs.report(begin + (end - begin) * (number + 1) / len(axes))


def transform(
    part: NDArray[np.floating], axis: int, time: float, spacing: float
) -> NDArray[np.floating]:
    r"""Solve linear diffusion along one axis by the cosine transform.

    The factor of wave number k is :math:`\exp(-2t(1-\cos(\pi k/n)))` with :math:`t = T/h^2`. Axes
    commute and can be solved one after the other. The difference to the first voxel of each line
    is transformed, so that a constant line keeps every bit.
    """
    from scipy.fft import dct, idct

    n = part.shape[axis]
    rate = 2 / spacing**2 * (1 - np.cos(np.pi * np.arange(n) / n))
    first = part[tuple(slice(0, 1) if i == axis else slice(None) for i in range(part.ndim))]
    spectrum = dct(part - first, 2, axis=axis, norm="ortho", overwrite_x=True)
    factor = np.exp(-time * rate).astype(part.dtype)
    spectrum *= factor.reshape([-1 if i == axis else 1 for i in range(part.ndim)])
    result: NDArray[np.floating] = idct(spectrum, 2, axis=axis, norm="ortho", overwrite_x=True)
    result += first
    return result
