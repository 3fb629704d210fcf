r"""Hybrid diffusion: edge-enhancing on sheets and in flat regions, coherence-enhancing on tubes.

.. math:: \lambda_i = (1 - \varepsilon)\,\lambda^c_i + \varepsilon\,\lambda^e_i, \qquad
   \varepsilon = \exp\frac{\mu_2\,(h^2(\xi - |\xi|) - 2\mu_3)}{2 h^4}, \qquad
   \xi = \frac{\mu_1}{a + \mu_2} - \frac{\mu_2}{a + \mu_3}

with the eigenvalues :math:`\mu_1 \ge \mu_2 \ge \mu_3` of the structure tensor, ``contrast`` h,
``coherence`` c and Weickert diffusivity g. Edge-enhancing: :math:`\lambda^e_1 = g(|\nabla
u_\sigma|)`, :math:`\lambda^e_{2,3} = 1`. Coherence-enhancing: :math:`\lambda^c_{1,2} = \alpha`,
:math:`\lambda^c_3 = \alpha + (1-\alpha)\exp(-\ln 2\; c^2 (a+\mu_3)^4/\mu_2^4)` with :math:`a =
\alpha\kappa^2`; the published :math:`a = \alpha` has no unit. In 2-D the eigenvalues are
:math:`\mu_2`, :math:`\mu_3`, and the first fraction is one. ``kappa_map`` holds for h, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_diffusion.backends.reference.tensor import MAX_STRAIGHTNESS
from napari_diffusion.models.base import Model, ThresholdMap, param, threshold_map
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.features import Features, gradient_unit
from napari_diffusion.operators.tensor import DiffusionTensor, resolved


@dataclass(frozen=True, kw_only=True)
class Hybrid(Model):
    """Smooths along tubes, within sheets and in flat regions."""

    name = "hybrid"
    title = "Hybrid"
    summary = "Follows tubes where there are tubes, and keeps edges and surfaces elsewhere."
    references = ("mendrik2009",)
    truncation_gain = 1e3  # the exponential of a product of squared gradients

    kappa: float = param(
        10.0,
        "Edge threshold: steeper changes of intensity count as edges and are kept.",
        unit="intensity/length",
        gt=0,
        suggest="threshold",
    )
    contrast: float = param(
        10.0,
        "Tube contrast: gradient above which tubes are followed.",
        unit="intensity/length",
        gt=0,
        suggest="threshold",
    )
    sigma: float = param(
        1.0, "Pre-smoothing σ: before taking the gradient.", unit="length", ge=0, suggest="scale"
    )
    rho: float = param(
        1.0,
        "Neighbourhood over which directions are averaged.",
        unit="length",
        ge=0,
        suggest="voxels",
    )
    coherence: float = param(15.0, "Straightness above which a tube is followed.", gt=0)
    alpha: float = param(0.01, "Smoothing across a tube, as a share of that along it.", gt=0, le=1)
    kappa_map: ThresholdMap | None = threshold_map("kappa")

    def operator(self, f: Features) -> DiffusionTensor:
        """Return the tensor with the eigenvectors of the structure tensor."""
        unit = gradient_unit(self.kappa, self.contrast)
        grad2 = f.relative(f.grad2(self.sigma, unit), self.kappa_map)
        matrix = f.relative(f.structure(self.sigma, self.rho, unit), self.kappa_map)
        kernel = "hybrid", (self.kappa / unit, self.contrast / unit, self.coherence, self.alpha)
        return DiffusionTensor(matrix, self.spectrum, (1.0,), (grad2,), unit, 5.0, kernel)

    def spectrum(self, mu: np.ndarray, grad2: np.ndarray) -> list[np.ndarray]:
        """Return the mixed diffusivities along the eigenvectors."""
        unit = gradient_unit(self.kappa, self.contrast)
        kappa, h = self.kappa / unit, self.contrast / unit
        edge = Diffusivity("weickert", kappa).of(grad2)
        if len(mu) == 1:
            return [edge]
        mu, h2, a = resolved(mu, h * h, self.alpha * kappa * kappa)
        tube = mu[-2] / (a + mu[-1])
        xi = (mu[-3] / (a + mu[-2]) if len(mu) > 2 else 1.0) - tube
        share = np.exp(-np.minimum(mu[-2] / h2 * (np.maximum(-xi, 0) + mu[-1] / h2), 80))
        fourth = np.square(np.square(np.maximum(tube, 1e-3)))
        exponent = math.log(2) * min(self.coherence, MAX_STRAIGHTNESS) ** 2 / fourth
        along = self.alpha + (1 - self.alpha) * np.exp(-np.minimum(exponent, 80))
        low, tail = (1 - share) * self.alpha, (1 - share) * along + share
        return [low + share * edge, *[low + share] * (len(mu) - 2), tail]
