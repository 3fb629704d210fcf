r"""Total variation flow.

.. math:: u_t = \operatorname{div}\left(\frac{\kappa\,\nabla u}{\sqrt{|\nabla u|^2 + (\epsilon\kappa)^2}}\right)

The flux never exceeds ``kappa``, however steep an edge: a plateau loses height in proportion to its boundary over its volume and its edges
stay where they are. ``time`` [length²] is that of every model; the literature's time of :math:`u_t = \operatorname{div}(\nabla
u/|\nabla u|)` is :math:`t_{TV} = \kappa T` [intensity·length]. ``epsilon`` bounds the diffusivity by :math:`1/\epsilon` where the image is
flat, and with it the number of steps: gradients below :math:`\epsilon\kappa` are smoothed as by linear diffusion.

Sources: Rudin, Osher & Fatemi 1992 (doi:10.1016/0167-2789(92)90242-F); Andreu, Ballester, Caselles & Mazón 2001 (the flow).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.divergence import GradientDiffusivity
from napari_diffusion.operators.features import Features


@dataclass(frozen=True, kw_only=True)
class TotalVariation(Model):
    """Flattens regions while their edges stay sharp; a thing fades in proportion to its surface per volume."""

    name = "total-variation"
    title = "Total variation"
    summary = "Flattens regions and keeps their edges sharp; a thing fades at a rate of its surface per volume."

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

    def with_max_diffusivity(self, most: float) -> Self:
        """Return the flow with an ``epsilon`` of 1/``most`` or more."""
        return replace(self, epsilon=max(self.epsilon, min(1 / most, 1.0)))

    def operator(self, f: Features) -> GradientDiffusivity:
        """Return 1/sqrt(s²/kappa² + epsilon²): the charbonnier diffusivity at epsilon kappa, 1/epsilon times."""
        return GradientDiffusivity(
            f.grad2(0.0),
            Diffusivity("charbonnier", self.epsilon * self.kappa),
            maximum=1 / self.epsilon,
        )
