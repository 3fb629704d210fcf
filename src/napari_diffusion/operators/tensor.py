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
    r"""Diffusion tensor :math:`D = \sum_i \lambda_i v_i v_i^T` at the voxels.

    The :math:`v_i` are the eigenvectors of a symmetric matrix, such as the structure tensor.

    Attributes
    ----------
    matrix
        Entries of the symmetric matrix along the first axis: diagonal, then upper triangle.
    spectrum
        Function of the eigenvalues of ``matrix``, largest first, and of ``extra``. It returns
        the :math:`\lambda_i` in the same order.
    maxima
        Upper bounds of the sorted :math:`\lambda_i`, largest first. The last bound holds for all
        further axes of the grid.
    extra
        Further arguments of ``spectrum``: fields at the same voxels.
    """

    matrix: NDArray[np.floating]
    spectrum: Callable[..., Sequence[NDArray[np.floating]]]
    maxima: tuple[float, ...] = (1.0,)
    extra: tuple[NDArray[np.floating], ...] = ()

    @property
    def maximum(self) -> float:
        """Upper bound of the largest eigenvalue."""
        return self.maxima[0]

    def max_step(self, grid: Grid) -> float:
        r"""Return the largest stable step [length²] of both tensor stencils.

        It is :math:`1/(2\,\mathrm{tr}\,D')` with :math:`D'_{ij} = d_{ij}/(h_i h_j)`. The trace is
        largest if the largest eigenvalues belong to the finest axes (von Neumann's trace
        inequality).
        """
        axes = zip(grid.shape, grid.spacing, strict=True)
        finest_first = sorted((1 / h**2 for n, h in axes if n > 1), reverse=True)
        bounds = itertools.chain(self.maxima, itertools.repeat(self.maxima[-1]))
        total = sum(a * b for a, b in zip(finest_first, bounds, strict=False))
        return 1 / (2 * total) if total > 0 else math.inf
