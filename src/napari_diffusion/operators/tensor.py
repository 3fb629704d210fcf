r"""Operators with a diffusion tensor, :math:`u_t = \operatorname{div}(D\,\nabla u)`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.grid import Grid


@dataclass(frozen=True)
class DiffusionTensor:
    r"""Diffusion tensor :math:`D = \sum_i \lambda_i v_i v_i^T` at the voxels, with the eigenvectors :math:`v_i` of a symmetric matrix.

    ``matrix`` has its entries along the first axis (diagonal, then upper triangle). ``spectrum`` turns its eigenvalues, largest first,
    into the :math:`\lambda_i`, given ``extra`` fields at the same voxels. ``maxima`` bounds the sorted :math:`\lambda_i`, largest first; a
    grid of more axes than entries repeats the last.
    """

    matrix: NDArray[np.floating]
    spectrum: Callable[..., Sequence[NDArray[np.floating]]]
    maxima: tuple[float, ...] = (1.0,)
    extra: tuple[NDArray[np.floating], ...] = ()

    @property
    def maximum(self) -> float:
        """Bound of the largest eigenvalue."""
        return self.maxima[0]

    def max_step(self, grid: Grid) -> float:
        r"""Stable step of both stencils, :math:`1/(2\,\mathrm{tr}\,D')` with :math:`D'_{ij} = d_{ij}/(h_i h_j)`.

        The trace is largest when the largest eigenvalues lie along the finest axes (von Neumann's trace inequality).
        """
        fine = sorted(
            (1 / h**2 for n, h in zip(grid.shape, grid.spacing, strict=True) if n > 1), reverse=True
        )
        bounds = itertools.chain(self.maxima, itertools.repeat(self.maxima[-1]))
        total = sum(a * b for a, b in zip(fine, bounds, strict=False))
        return 1 / (2 * total) if total > 0 else math.inf
