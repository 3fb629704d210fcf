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

from napari_diffusion.features import gaussian_taps
from napari_diffusion.grid import Grid
from napari_diffusion.schemes.base import Scheme, Stage

#: Above this sigma [voxel] the cosine transform is faster than the convolution (measured, docs/develop/decisions.md).
LARGEST_CONVOLUTION = 24.0


@dataclass(frozen=True)
class Exact(Scheme):
    """Exact in time, for models with a constant diffusivity."""

    name = "exact"
    order = 99
    monotone = True

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """One stage."""
        return (Stage(0.0, time, time),) if time > 0 else ()

    def tail(self, dtype: np.dtype[Any]) -> float:
        """Weight that may be cut off a kernel: less than the rounding of ``dtype``."""
        return float(np.finfo(str(dtype)).eps) / 4

    def taps(self, time: float, grid: Grid, dtype: np.dtype[Any]) -> list[NDArray[np.floating]] | None:
        """Half kernels of the convolution for each axis, cut below the rounding of ``dtype``; ``None`` where the transform is faster."""
        tail = self.tail(dtype)
        sigmas = [math.sqrt(2 * time) / h for h in grid.spacing]
        if max((s for s, n in zip(sigmas, grid.shape, strict=True) if n > 1), default=0.0) > LARGEST_CONVOLUTION:
            return None
        return [gaussian_taps(s, n, tail).astype(dtype) for s, n in zip(sigmas, grid.shape, strict=True)]


def transform(u: NDArray[np.floating], time: float, grid: Grid, threads: int) -> NDArray[np.floating]:
    """Solve by the cosine transform: ``u`` has shape (C, *space) and is overwritten."""
    from scipy.fft import dctn, idctn

    axes = [i + 1 for i, n in enumerate(grid.shape) if n > 1]
    spectrum = dctn(u, 2, axes=axes, norm="ortho", overwrite_x=True, workers=threads)
    for axis in axes:
        n, h = grid.shape[axis - 1], grid.spacing[axis - 1]
        rate = 2 / h**2 * (1 - np.cos(np.pi * np.arange(n) / n))
        spectrum *= np.exp(-time * rate).astype(u.dtype).reshape([-1 if i == axis else 1 for i in range(u.ndim)])
    result: NDArray[np.floating] = idctn(spectrum, 2, axes=axes, norm="ortho", overwrite_x=True, workers=threads)
    return result
