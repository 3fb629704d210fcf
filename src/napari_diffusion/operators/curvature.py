"""Motion of level sets by their curvature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.divergence import BoundedOperator


@dataclass(frozen=True)
class LevelSetCurvature(BoundedOperator):
    r"""Motion of level sets, not in divergence form: :math:`u_t = |\nabla u| \operatorname{div}(g(|\nabla u|)\,\nabla u/|\nabla u|)`.

    .. math:: u_t = \sum_{\text{faces}} \frac{g}{h_i^2} \min\Bigl(\frac{|\nabla u|}{|\nabla u|_{face}}, C\Bigr)\,\delta_i u

    with :math:`|\nabla u|^2` at the voxels in ``values``. The ratio is 1 where the image is smooth. Limited to C = ``maximum`` it leaves
    weights that are positive and bounded, so that steps up to :math:`1/(2C\sum_i h_i^{-2})` keep the extremum principle.
    """

    values: NDArray[np.floating]
    diffusivity: Diffusivity
    maximum: float = 2.0
