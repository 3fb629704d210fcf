r"""Linear diffusion, the heat equation.

.. math:: u_t = \Delta u, \qquad u(T) = G_{\sqrt{2T}} * u(0)

:math:`G_\sigma` is the Gaussian of standard deviation :math:`\sigma`. The smoothing is isotropic in
physical units for any voxel shape.

Sources: Iijima 1962; Koenderink 1984.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_diffusion.models.base import Model
from napari_diffusion.operators.divergence import ConstantDiffusivity
from napari_diffusion.operators.features import Features


@dataclass(frozen=True, kw_only=True)
class Linear(Model):
    """Heat equation: Gaussian smoothing, the same in every direction and everywhere."""

    name = "linear"
    title = "Linear"
    summary = "Gaussian smoothing, the same in every direction and everywhere."
    references = ("iijima1962", "koenderink1984")
    isotropic = True

    def operator(self, f: Features) -> ConstantDiffusivity:
        """Return g = 1 everywhere."""
        return ConstantDiffusivity()
