r"""Motion by mean curvature.

.. math:: u_t = |\nabla u| \operatorname{div}\left(\frac{\nabla u}{|\nabla u|}\right)

Every level set moves towards its centre of curvature, at a speed that does not depend on contrast.
A circle shrinks as :math:`r^2 = r_0^2 - 2T`, a sphere as :math:`r^2 = r_0^2 - 4T`, and a straight
edge does not move. The flow commutes with increasing transformations of the intensities. It is not
in divergence form and does not conserve the mean.

Sources: Osher & Sethian 1988 (doi:10.1016/0021-9991(88)90002-2); Alvarez, Lions & Morel 1992
(doi:10.1137/0729052).
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_diffusion.models.base import Model
from napari_diffusion.operators.curvature import LevelSetCurvature
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.features import Features


@dataclass(frozen=True, kw_only=True)
class MeanCurvature(Model):
    """Moves outlines at the speed of their curvature, independently of contrast."""

    name = "mean-curvature"
    title = "Mean curvature"
    summary = (
        "Smooths outlines, not intensities: small things shrink away, straight edges of any "
        "contrast stay."
    )
    references = ("alvarez1992", "osher1988")
    conservative = False

    def operator(self, f: Features) -> LevelSetCurvature:
        """Return curvature motion with g = 1."""
        return LevelSetCurvature(f.grad2(0.0), Diffusivity())
