r"""Operators with a scalar diffusivity g in divergence form.

.. math:: u_t = \operatorname{div}(g\,\nabla u)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scalar import ChunkStep, ScalarOperator, ValuedOperator


@dataclass(frozen=True)
class ConstantDiffusivity(ScalarOperator):
    r"""Constant diffusivity: :math:`u_t = g\,\Delta u`."""

    is_linear = True
    takes_stacks = True
    has_voxel_conductance = True
    diffusivity = Diffusivity()
    maximum: float = 1.0

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage with g at every face."""
        step.with_diffusivity(self.diffusivity, self.maximum)

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return g everywhere."""
        return np.full((features.hi - features.lo, *features.u.shape[2:]), self.maximum)


@dataclass(frozen=True)
class FaceDiffusivity(ScalarOperator):
    r"""Diffusivity of the difference across each face.

    The flux through a face of axis i is :math:`g(|\partial_i u|)\,\partial_i u`. All channels share
    the diffusivity of :math:`s^2 = \sum_c w_c (\partial_i u_c)^2`.
    """

    takes_stacks = True
    diffusivity: Diffusivity
    maximum: float = 1.0

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage with g of each face's difference."""
        step.with_diffusivity(self.diffusivity)

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return g of the gradient magnitude."""
        return features.apply(self.diffusivity, features.grad2(0.0))


@dataclass(frozen=True)
class VoxelDiffusivity(ValuedOperator):
    """Diffusivity at the voxels; a face uses the mean of its two voxels (Weickert 1998).

    Attributes
    ----------
    values
        Diffusivity at the voxels, between 0 and ``maximum``.
    """

    converges = True
    takes_stacks = True
    has_voxel_conductance = True
    diffusivity = Diffusivity()
    values: NDArray[np.floating]
    maximum: float = 1.0

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage with the mean of both voxels at each face."""
        step.with_diffusivity(self.diffusivity)

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return the values."""
        return self.values


@dataclass(frozen=True)
class GradientDiffusivity(ValuedOperator):
    r"""Diffusivity of the whole gradient at each face.

    The flux through a face of axis i is :math:`c\,g(|\nabla u|)\,\partial_i u` with the bound
    :math:`c` = ``maximum``. The derivative along axis i is the difference across the face itself;
    the transverse derivatives are those of the two voxels. A step edge thus has its whole gradient
    at one face. With gradients of voxels, it would spread over several faces.

    Attributes
    ----------
    values
        :math:`|\nabla u|^2` at the voxels [intensity²/length²].
    diffusivity
        The diffusivity g.
    """

    converges = True
    takes_stacks = True
    kernel = "gradient_step"
    values: NDArray[np.floating]
    diffusivity: Diffusivity
    maximum: float = 1.0

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage with g of the whole gradient at each face."""
        step.with_full_gradient(self.diffusivity, self.maximum)

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return c g of the gradient magnitude."""
        conductance: NDArray[np.floating] = self.maximum * features.apply(
            self.diffusivity, self.values
        )
        return conductance
