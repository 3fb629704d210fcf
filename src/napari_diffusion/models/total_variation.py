r"""Total variation flow.

.. math:: u_t = \operatorname{div}\left(
   \frac{\kappa\,\nabla u}{\sqrt{|\nabla u|^2 + (\epsilon\kappa)^2}}\right)

The flux does not exceed ``kappa`` at any edge. A plateau loses height at a rate proportional to its
ratio of surface to volume, and its edges do not move. ``time`` T [length²] is defined as for the
other models. The literature uses :math:`u_t = \operatorname{div}(\nabla u/|\nabla u|)`, whose time
is :math:`t_{TV} = \kappa T` [intensity·length]. ``epsilon`` limits the diffusivity in flat regions
to :math:`1/\epsilon`, and thereby the number of steps. Gradients below :math:`\epsilon\kappa` are
smoothed as by linear diffusion.

Sources: Rudin, Osher & Fatemi 1992 (doi:10.1016/0167-2789(92)90242-F); Andreu, Ballester, Caselles
& Mazón 2001 (the flow).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from napari_diffusion.models.base import Model, ThresholdMap, param, threshold_map
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.divergence import GradientDiffusivity
from napari_diffusion.operators.features import Features


@dataclass(frozen=True, kw_only=True)
class TotalVariation(Model):
    """Flattens regions and keeps edges sharp; objects fade in proportion to surface per volume."""

    name = "total-variation"
    title = "Total variation"
    summary = (
        "Flattens regions and keeps their edges sharp; a thing fades at a rate of its surface per "
        "volume."
    )
    rounding_gain = 2.0  # of diffusivities that are stored in 16 bits, the last one changes
    references = ("rudin1992", "andreu2001")

    kappa: float = param(
        10.0,
        "Edge threshold: the largest flux, at any edge.",
        unit="intensity/length",
        gt=0,
        suggest="flux",
    )
    epsilon: float = param(
        0.01,
        "Flatness: gradients below this share of the threshold are smoothed linearly.",
        gt=0,
        le=1,
    )
    kappa_map: ThresholdMap | None = threshold_map("kappa")

    def with_max_diffusivity(self, limit: float) -> Self:
        """Return the flow with an ``epsilon`` of at least 1/``limit``."""
        return replace(self, epsilon=max(self.epsilon, min(1 / limit, 1.0)))

    def operator(self, f: Features) -> GradientDiffusivity:
        """Return the diffusivity 1/sqrt(s²/kappa² + epsilon²).

        It is 1/epsilon times the charbonnier diffusivity with the threshold epsilon kappa.
        """
        return GradientDiffusivity(
            f.grad2(0.0),
            Diffusivity("charbonnier", self.epsilon * self.kappa, self.kappa_map),
            maximum=1 / self.epsilon,
        )
