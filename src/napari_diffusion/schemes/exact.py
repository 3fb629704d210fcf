r"""Solution of linear diffusion on the grid that is exact in time, :math:`u(T) = e^{TA} u(0)`.

:math:`A` is a sum of second differences, one per axis, which commute. The exponential along axis
i, with :math:`t = T/h_i^2`, is either

- a convolution with the discrete Gaussian :math:`e^{-2t} I_n(2t)`, mirrored at the border
  (Lindeberg 1990), or
- a factor :math:`\exp(-2t\,(1-\cos(\pi k/n)))` on the cosine transform.

Both are exact for the mirrored border and any spacing. The convolution is local, and faster for
sigma up to some tens of voxels. Neither applies between walls, where the engine runs the
Chebyshev series of the same exponential.
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

#: Largest sigma [voxel] of the convolution. For larger ones the cosine transform is faster
#: (measured, docs/develop/decisions.md).
MAX_CONVOLUTION_SIGMA = 24.0
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

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """Return a single stage."""
        return (Stage(0.0, time, time),) if time > 0 else ()

    def with_steps(self, time: float, count: int) -> None:
        """Return None: there are no steps to refine."""

    def tail(self, dtype: np.dtype[Any]) -> float:
        """Return the truncated weight of a kernel: a quarter of the epsilon of ``dtype``."""
        return MACHINE_EPSILON[dtype.itemsize] / 4

    def taps(
        self, time: float, grid: Grid, dtype: np.dtype[Any]
    ) -> list[NDArray[np.floating]] | None:
        """Return the half kernel of the convolution for each axis, truncated by `tail`.

        None if the cosine transform is faster.
        """
        tail = self.tail(dtype)
        sigmas = [math.sqrt(2 * time) / h for h in grid.spacing]
        axes = list(zip(sigmas, grid.shape, strict=True))
        if max((s for s, n in axes if n > 1), default=0.0) > MAX_CONVOLUTION_SIGMA:
            return None
        return [gaussian_taps(s, n, tail).astype(dtype) for s, n in axes]


def transform(
    part: NDArray[np.floating], axis: int, time: float, spacing: float
) -> NDArray[np.floating]:
    r"""Solve linear diffusion along one axis by the cosine transform.

    The factor of wave number k is :math:`\exp(-2t(1-\cos(\pi k/n)))` with :math:`t = T/h^2`. Axes
    commute and can be solved one after the other.
    """
    from scipy.fft import dct, idct

    n = part.shape[axis]
    rate = 2 / spacing**2 * (1 - np.cos(np.pi * np.arange(n) / n))
    spectrum = dct(part, 2, axis=axis, norm="ortho")
    factor = np.exp(-time * rate).astype(part.dtype)
    spectrum *= factor.reshape([-1 if i == axis else 1 for i in range(part.ndim)])
    result: NDArray[np.floating] = idct(spectrum, 2, axis=axis, norm="ortho", overwrite_x=True)
    return result
