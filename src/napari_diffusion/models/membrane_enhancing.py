r"""Membrane-enhancing diffusion.

.. math:: \lambda_{within} = \alpha + (1 - \alpha)\,S, \qquad \lambda_{across} = \alpha, \qquad
   S = \min(1, P/c)

with the sheetness P (`backends.reference.sheets.sheetness`), the maximum over three scales.
Diffusion is strong within bright or dark sheets of the given thickness, and closes their holes.
Across them and elsewhere the diffusivity is :math:`\alpha`. The normal of a sheet is an eigenvector
of the sum of the Hessians weighted by :math:`P^4`, which changes continuously. Where this sum
defines no normal, :math:`D = \alpha I`. In 2-D the sheets are lines.

The ratio of curvatures is that of Frangi et al. 1998 (doi:10.1007/BFb0056195), for plates instead
of tubes. Diffusion only where there is structure follows Weickert 1999
(doi:10.1023/A:1008009714131).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.features import Features, gradient_unit
from napari_diffusion.operators.hessians import sheets, three_scales
from napari_diffusion.operators.tensor import DiffusionTensor


@dataclass(frozen=True, kw_only=True)
class MembraneEnhancing(Model):
    """Smooths within membranes only, and closes their holes."""

    name = "membrane-enhancing"
    title = "Membrane-enhancing"
    summary = "Smooths only within bright or dark membranes, and closes holes in them."
    references = ("frangi1998", "weickert1999")
    for_thin_structure = True
    rounding_gain = 10.0  # ratios of curvatures near zero, over a small sheetness

    gamma: float = param(
        5.0, "Contrast of a faint membrane.", unit="intensity", gt=0, suggest="noise"
    )
    sigma: float = param(
        1.0, "Half thickness of the thinnest membranes.", unit="length", gt=0, suggest="voxels"
    )
    thickest: float = param(
        2.0, "Half thickness of the thickest membranes.", unit="length", gt=0, suggest="voxels"
    )
    polarity: str = param(
        "bright", "Brightness of membranes beside their surroundings.", choices=("bright", "dark")
    )
    alpha: float = param(
        0.01, "Smoothing across membranes and elsewhere, as a share of that within.", gt=0, le=1
    )
    clear: float = param(0.1, "Sheetness that counts in full.", ge=0.001, le=1)

    def operator(self, f: Features) -> DiffusionTensor:
        """Return the tensor with the eigenvectors of the weighted sum of Hessians."""
        total, best = sheets(f, three_scales(self.sigma, self.thickest), self.gamma, self.polarity)
        maxima = (1.0,) * (len(f.axes) - 1) + (self.alpha,)
        unit = gradient_unit(self.gamma) / f.grid.finest
        return DiffusionTensor(total, self.spectrum, maxima, (best,), unit)

    def spectrum(self, mu: np.ndarray, sheet: np.ndarray) -> list[np.ndarray]:
        """Return the diffusivities: alpha along the normal, up to one within a sheet."""
        normal = len(mu) - 1 if self.polarity == "bright" else 0
        others = [i for i in range(len(mu)) if i != normal]
        size = np.maximum(np.abs(mu[normal]), np.finfo(mu[0].dtype).tiny)
        ratio = reduce(np.maximum, [np.abs(mu[i]) for i in others]) / size if others else 0.0
        # Two equal curvatures define no normal.
        distinct = 1 - np.square(np.minimum(ratio, 1))
        rise = np.minimum(sheet / self.clear, 1)
        share = distinct * np.square(rise) * (3 - 2 * rise)
        within = self.alpha + (1 - self.alpha) * share
        return [np.full_like(within, self.alpha) if i == normal else within for i in range(len(mu))]
