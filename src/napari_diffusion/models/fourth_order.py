r"""Diffusion of fourth order.

.. math:: u_t = -\ell^2 \sum_{i,j} \partial_{ij} \bigl(g(|D^2 u_\sigma|)\,\partial_{ij} u\bigr),
   \qquad |D^2 u|^2 = \sum_{i,j} (\partial_{ij} u)^2

Where Perona-Malik diffusion makes an image constant in pieces, this one makes it linear in pieces:
a slope stays a slope, and does not break into steps. Curvatures beyond ``kappa``, as at edges,
are kept.

The time T is in length², as that of all models: the ``length`` :math:`\ell` turns the time of the
equation, :math:`\ell^2 T` [length⁴], into one. Waves of the wavelength :math:`2\pi\ell` are
smoothed as by linear diffusion over T, finer ones faster, coarser ones more slowly. With one unit
of time, previews, strengths and the conversion of units need no exception.

There is no extremum principle: beside an edge, the result may leave the range of the input by a few
per cent of the step. The mean, and the mean slope, are kept.

Sources: Lysaker, Lundervold & Tai 2003 (doi:10.1109/TIP.2003.819229), with another g; You & Kaveh
2000 (doi:10.1109/83.869184), with the Laplacian.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.diffusivity import CODES, Diffusivity
from napari_diffusion.operators.divergence import CurvatureDiffusivity
from napari_diffusion.operators.features import Features


@dataclass(frozen=True, kw_only=True)
class FourthOrder(Model):
    """Smooths curvatures below ``kappa``, so that slopes stay slopes, and keeps edges."""

    name = "fourth-order"
    title = "Fourth order"
    summary = "Smooths to slopes instead of steps, and keeps edges; for shading and gentle relief."
    references = ("lysaker2003", "you2000")
    keeps_extrema = False

    kappa: float = param(
        10.0,
        "Curvature threshold: sharper bends of the intensity count as edges and are kept.",
        unit="intensity/length^2",
        gt=0,
        suggest="threshold",
    )
    diffusivity: str = param(
        "rational", "How smoothing falls off with the curvature.", choices=tuple(CODES)[1:]
    )
    sigma: float = param(
        1.0,
        "Gaussian before taking the curvature, at the scale of the noise.",
        unit="length",
        ge=0,
        suggest="scale",
        label="Pre-smoothing σ",
    )
    length: float = param(
        1.0,
        "Scale at which smoothing is as fast as linear diffusion; finer detail is smoothed faster.",
        unit="length",
        gt=0,
        suggest="voxels",
    )

    def operator(self, f: Features) -> CurvatureDiffusivity:
        """Return g of the second derivatives at the voxels."""
        g = Diffusivity(self.diffusivity)
        values = f.apply(g, f.curvature2(self.sigma, self.kappa))
        # Errors are half as large as those of gradients for "rational", and equal for "weickert"
        # (tests/schemes/test_tolerance.py).
        return CurvatureDiffusivity(values, self.length, 0.5 * g.error_factor**1.25)
