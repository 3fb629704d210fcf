r"""The exact solution in time of linear diffusion on the grid, :math:`u(T) = e^{TA} u(0)`.

:math:`A` is the sum of one second difference per axis, these commute, and each exponential is a convolution with the discrete Gaussian
:math:`e^{-2t} I_n(2t)`, :math:`t = T/h_i^2`, mirrored at the border (Lindeberg 1990), or a factor
:math:`\exp(-2t\,(1-\cos(\pi k/n)))` on the cosine transform. Both are exact for the stated border and spacing; the convolution is faster
up to sigma of some tens of voxels and only it is local. Between walls neither holds; there the engine runs the Chebyshev series of the
same exponential.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.grid import Grid
from napari_diffusion.operators.smoothing import gaussian_taps
from napari_diffusion.schemes.base import Scheme, Stage

#: Above this sigma [voxel] the cosine transform is faster than the convolution (measured, docs/develop/decisions.md).
LARGEST_CONVOLUTION = 24.0
#: Rounding of float32 and float64, by their size.
EPS = {np.dtype(kind).itemsize: float(np.finfo(kind).eps) for kind in (np.float32, np.float64)}


@dataclass(frozen=True)
class Exact(Scheme):
    """Exact in time, for models with a constant diffusivity."""

    name = "exact"
    order = math.inf
    monotone = True

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """One stage."""
        return (Stage(0.0, time, time),) if time > 0 else ()

    def with_steps(self, time: float, count: int) -> None:
        """There is nothing to refine."""

    def tail(self, dtype: np.dtype[Any]) -> float:
        """Weight that may be cut off a kernel: less than the rounding of ``dtype``."""
        return EPS[dtype.itemsize] / 4

    def taps(
        self, time: float, grid: Grid, dtype: np.dtype[Any]
    ) -> list[NDArray[np.floating]] | None:
        """Half kernels of the convolution for each axis, cut below the rounding of ``dtype``; ``None`` where the transform is faster."""
        tail = self.tail(dtype)
        sigmas = [math.sqrt(2 * time) / h for h in grid.spacing]
        if (
            max((s for s, n in zip(sigmas, grid.shape, strict=True) if n > 1), default=0.0)
            > LARGEST_CONVOLUTION
        ):
            return None
        return [
            gaussian_taps(s, n, tail).astype(dtype) for s, n in zip(sigmas, grid.shape, strict=True)
        ]


def transform(
    part: NDArray[np.floating], axis: int, time: float, spacing: float
) -> NDArray[np.floating]:
    r"""Solve along one axis by the cosine transform, :math:`\exp(-2t(1-\cos(\pi k/n)))`, :math:`t = T/h^2`; the axes commute."""
    from scipy.fft import dct, idct

    n = part.shape[axis]
    rate = 2 / spacing**2 * (1 - np.cos(np.pi * np.arange(n) / n))
    spectrum = dct(part, 2, axis=axis, norm="ortho")
    spectrum *= (
        np.exp(-time * rate)
        .astype(part.dtype)
        .reshape([-1 if i == axis else 1 for i in range(part.ndim)])
    )
    result: NDArray[np.floating] = idct(spectrum, 2, axis=axis, norm="ortho", overwrite_x=True)
    return result
