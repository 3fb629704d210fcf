r"""Coherence-enhancing diffusion.

.. math:: u_t = \operatorname{div}(D\,\nabla u), \qquad \lambda_i = \alpha + (1 - \alpha)\,
   \exp\Bigl(-\Bigl(\frac{\lambda_c^2 + c\,\mu_i}{\mu_1 - \mu_i}\Bigr)^2\Bigr)

The diffusion tensor D has the eigenvectors of the structure tensor
:math:`J = G_\rho * (\nabla u_\sigma \nabla u_\sigma^T)`. The eigenvalues of J are
:math:`\mu_1 \ge \mu_2 \ge \dots`. Diffusion is strong along lines and within sheets; elsewhere the
diffusivity is :math:`\alpha`. The contrast :math:`\lambda_c` (``kappa``) is a gradient
[intensity/length]. Structures of much smaller gradient remain nearly unchanged. Where
:math:`\mu_i = \mu_1`, the diffusivity is :math:`\alpha`; it is continuous there.

With the ``selectivity`` c = 0 this is the published model. Across a thin tube :math:`\mu_1` and
:math:`\mu_2` differ by a tenth, since the voxels have no circular symmetry. In a strong tube that
tenth exceeds :math:`\lambda_c^2`, and the published model smooths across the tube. With c > 0 it
only follows directions whose :math:`\mu_i` is small beside :math:`\mu_1`, as along a line.

Source: Weickert 1999 (doi:10.1023/A:1008009714131); in 3-D, Fehrenbach & Mirebeau 2014
(doi:10.1007/s10851-013-0446-3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_diffusion.models.base import Model, ThresholdMap, param, threshold_map
from napari_diffusion.operators.features import Features, gradient_unit, in_gradient_unit
from napari_diffusion.operators.tensor import DiffusionTensor, beyond_rounding


@dataclass(frozen=True, kw_only=True)
class CoherenceEnhancing(Model):
    """Smooths along lines and within sheets, and closes their gaps."""

    name = "coherence-enhancing"
    title = "Coherence-enhancing"
    summary = "Smooths only along fibres, vessels and membranes, and closes gaps in them."
    references = ("weickert1999", "fehrenbach2014")
    for_thin_structure = True

    kappa: float = param(
        5.0,
        "Contrast: gradient of the faintest structure to follow.",
        unit="intensity/length",
        gt=0,
        suggest="threshold",
    )
    sigma: float = param(
        0.7, "Pre-smoothing σ: before taking the gradient.", unit="length", ge=0, suggest="scale"
    )
    rho: float = param(
        2.0,
        "Neighbourhood over which directions are averaged.",
        unit="length",
        ge=0,
        suggest="voxels",
    )
    alpha: float = param(
        0.01, "Smoothing where there is no structure, as a share of that along one.", gt=0, le=1
    )
    selectivity: float = param(
        1.0,
        "Weight of a gradient along a direction against following it; 0 as published.",
        ge=0,
        le=100,
        absent=0.0,
    )
    kappa_map: ThresholdMap | None = threshold_map("kappa")

    def operator(self, f: Features) -> DiffusionTensor:
        """Return the tensor with the eigenvectors of the structure tensor."""
        unit = gradient_unit(self.kappa)
        matrix = f.relative(f.structure(self.sigma, self.rho, unit), self.kappa_map)
        maxima = (1.0,) * (len(f.axes) - 1) + (self.alpha,)
        kappa = in_gradient_unit(matrix.dtype, self.kappa)
        kernel = "coherence", (*kappa, self.alpha, self.selectivity)
        return DiffusionTensor(matrix, self.spectrum, maxima, (), unit, 2.7, kernel)

    def spectrum(self, mu: np.ndarray) -> list[np.ndarray]:
        """Return the diffusivities along the eigenvectors; they are alpha where all mu agree."""
        (kappa,) = in_gradient_unit(mu[0].dtype, self.kappa)
        square, diffusivities = kappa**2, [np.full_like(mu[0], self.alpha)]
        for m in mu[1:]:
            gap = np.maximum(beyond_rounding(mu[0] - m, mu[0]), square / 9)
            # Ratios above 9 give exp(-81), which is negligible; larger ones would only be slow.
            ratio = np.minimum((square + self.selectivity * beyond_rounding(m, mu[0])) / gap, 9)
            diffusivities.append(self.alpha + (1 - self.alpha) * np.exp(-np.square(ratio)))
        return diffusivities
