r"""Min/max curvature flow.

.. math:: u_t = |\nabla u|\,F, \qquad F = \begin{cases}
   \max(\kappa, 0) & \bar u < u_\perp \\ \min(\kappa, 0) & \bar u > u_\perp \end{cases}, \qquad
   \kappa = \operatorname{div}\left(\frac{\nabla u}{|\nabla u|}\right)

with the mean :math:`\bar u` over the ball of the given ``radius``, and the mean :math:`u_\perp` at
this distance across the gradient. Things smaller than the radius vanish as by mean curvature.
Outlines of larger things stop moving once they are smooth on the scale of the radius. The flow
does not depend on contrast, and does not conserve the mean.

`backends.reference.min_max` has the discrete form. In 3-D, ITK takes :math:`u_\perp` from four
points whose places depend on the order of the axes; here three pairs of points treat all axes
alike. In 2-D the two points are those of ITK, with interpolation instead of the nearest pixel.

Source: Malladi & Sethian 1996 (doi:10.1006/gmip.1996.0011).
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.curvature import OneSidedCurvature, one_sided_curvature
from napari_diffusion.operators.features import Features


@dataclass(frozen=True, kw_only=True)
class MinMaxCurvature(Model):
    """Removes what is smaller than the radius, and then stops."""

    name = "min-max-curvature"
    title = "Min/max curvature"
    summary = (
        "Smooths outlines up to the scale of the radius, and then stops: small things vanish, "
        "larger ones keep their size."
    )
    references = ("malladi1996",)
    conservative = False
    rounding_gain = 200.0  # single voxels at the steep switch between both signs (58 measured)

    radius: float = param(
        2.0,
        "Radius of the surroundings: smaller things vanish, and outlines stop when smooth on it.",
        unit="length",
        gt=0,
        suggest="voxels",
    )

    def operator(self, f: Features) -> OneSidedCurvature:
        """Return curvature motion of one sign at each voxel."""
        return one_sided_curvature(f, self.radius)
