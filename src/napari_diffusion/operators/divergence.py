r"""Operators in divergence form with a scalar diffusivity, :math:`u_t = \operatorname{div}(g\,\nabla u)`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.grid import Grid
from napari_diffusion.operators.diffusivity import Diffusivity


class BoundedOperator:
    """Base of the coefficients: what bounds the explicit step."""

    #: Largest weight with which a voxel moves towards a neighbour, times h^2: g for the models in divergence form.
    maximum: float

    def max_step(self, grid: Grid) -> float:
        """Largest explicit step [length²] that keeps the extremum principle."""
        return grid.max_step(self.maximum)


@dataclass(frozen=True)
class ConstantDiffusivity(BoundedOperator):
    r"""The same diffusivity everywhere: :math:`u_t = g\,\Delta u`."""

    maximum: float = 1.0


@dataclass(frozen=True)
class FaceDiffusivity(BoundedOperator):
    r"""Diffusivity of each face difference: flux :math:`g(|\partial_i u|)\,\partial_i u` through the faces of axis :math:`i`.

    Channels are coupled: every channel flows with the :math:`g` of :math:`s^2 = \sum_c w_c (\partial_i u_c)^2`.
    """

    diffusivity: Diffusivity
    maximum: float = 1.0


@dataclass(frozen=True)
class VoxelDiffusivity(BoundedOperator):
    """Diffusivity given at the voxels; a face uses the mean of its two voxels (Weickert 1998)."""

    values: NDArray[np.floating]
    maximum: float = 1.0


@dataclass(frozen=True)
class GradientDiffusivity(BoundedOperator):
    r"""Diffusivity of the whole gradient at each face: flux :math:`c\,g(|\nabla u|)\,\partial_i u` with the bound :math:`c` = ``maximum``.

    ``values`` is :math:`|\nabla u|^2` at the voxels, from which a face takes the derivatives across it; that along it is its own. A step
    edge therefore has the gradient of its one face, while a mean of two voxels would see it smeared over both.
    """

    values: NDArray[np.floating]
    diffusivity: Diffusivity
    maximum: float = 1.0
