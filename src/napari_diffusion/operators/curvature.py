"""Motion of level sets by their curvature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.divergence import BoundedOperator


@dataclass(frozen=True)
class LevelSetCurvature(BoundedOperator):
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

    values: NDArray[np.floating]
    diffusivity: Diffusivity
    maximum: float = 2.0
