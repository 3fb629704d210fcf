"""Diffusion of fourth order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.grid import Grid
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scalar import ChunkStep, ValuedOperator


@dataclass(frozen=True)
class CurvatureDiffusivity(ValuedOperator):
    r"""Diffusion of second derivatives, with a diffusivity g at the voxels.

    .. math:: u_t = -\ell^2 \sum_{i,j} \partial_{ij} (g\,\partial_{ij} u)

    The discrete operator is minus the gradient of the energy

    .. math:: \frac{\ell^2}{2} \Bigl(\sum_{i,x} g\,(\delta_{ii} u)^2
       + 2 \sum_{i<j,\,cells} \bar g\,(\delta_{ij} u)^2\Bigr)

    with second differences :math:`\delta_{ii}` at the voxels, and :math:`\delta_{ij}` in the cells
    of four voxels, whose diffusivities have the mean :math:`\bar g`. Differences through the border
    or a closed face are left out. So linear images are at rest, up to the border. With
    :math:`g \le 1`, the eigenvalues are at least :math:`-16\,\ell^2 (\sum_i h_i^{-2})^2`.

    Attributes
    ----------
    values
        Diffusivity at the voxels, between 0 and 1.
    length
        Length :math:`\ell`.
    error_factor
        Error of a second-order scheme, see `Operator`.
    """

    converges = True
    kernel = "fourth_order_step"
    diffusivity = Diffusivity()
    values: NDArray[np.floating]
    length: float = 1.0
    error_factor: float = 1.0
    maximum: float = 1.0

    def max_step(self, grid: Grid) -> float:
        r"""Return the largest stable step [length²], :math:`2/(16\,\ell^2 (\sum h_i^{-2})^2)`."""
        root = self.length * grid.inverse_square_sum
        return 1 / (8 * root * root) if root * root > 0 else np.inf

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage."""
        assert step.values is not None
        grid = step.grid
        h = np.array(
            [h if n > 1 else np.inf for n, h in zip(grid.shape, grid.spacing, strict=True)]
        )
        factor = np.sqrt(step.stage.step) * self.length / h**2
        step.backend.fourth_order_step(
            step.u,
            step.out,
            step.start,
            step.stop,
            np.multiply.outer(factor, factor).astype(step.u.dtype),
            step.stage.momentum,
            step.values,
            step.first,
            step.grid.open_faces,
        )

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return the values."""
        return self.values
