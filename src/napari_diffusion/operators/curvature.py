"""Motion of level sets by their curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scalar import ChunkStep, ValuedOperator

#: Effective speed of the motion, as a share of the bound of its weights. The weights are 1 where
#: the image is smooth, and reach their bound of 2 at single voxels.
SPREAD_SHARE = 0.5


@dataclass(frozen=True)
class LevelSetCurvature(ValuedOperator):
    r"""Curvature motion of level sets, which is not in divergence form.

    .. math:: u_t = |\nabla u| \operatorname{div}\left(
       g(|\nabla u|)\,\frac{\nabla u}{|\nabla u|}\right)

    It is discretised as

    .. math:: u_t = \sum_{\text{faces}} \frac{g}{h_i^2}
       \min\Bigl(\frac{|\nabla u|}{|\nabla u|_{face}}, C\Bigr)\,\delta_i u.

    The ratio of gradients is 1 where the image is smooth. Limiting it to C keeps the weights
    positive and bounded. Steps up to :math:`1/(2C\sum_i h_i^{-2})` therefore satisfy the extremum
    principle.

    Attributes
    ----------
    values
        :math:`|\nabla u|^2` at the voxels [intensity²/length²].
    diffusivity
        The diffusivity g.
    maximum
        The limit C of the ratio.
    """

    kernel = "gradient_step"
    compares_gradients = True
    takes_stacks = True
    values: NDArray[np.floating]
    diffusivity: Diffusivity
    maximum: float = 2.0

    @property
    def spread(self) -> float:
        """Largest diffusivity at which a disturbance spreads in practice."""
        return self.maximum * SPREAD_SHARE

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage with limited ratios of gradients."""
        step.with_full_gradient(self.diffusivity, cap=self.maximum)

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return g of the gradient magnitude."""
        return features.apply(self.diffusivity, self.values)

    def stage_calls(self, strict: bool, is_stored: bool) -> tuple[Any, ...]:
        """Return the kernel, the diffusivity and the limit."""
        return (*super().stage_calls(strict, is_stored), bool(self.maximum))
