r"""Hybrid diffusion, a continuous switch between edge- and coherence-enhancing diffusion.

It is edge-enhancing on sheets and in flat regions, and coherence-enhancing along tubes:

.. math:: \lambda_i = (1 - \varepsilon)\,\lambda^c_i + \varepsilon\,\lambda^e_i, \qquad
   \varepsilon = \exp\frac{\mu_2\,(h^2(\xi - |\xi|) - 2\mu_3)}{2 h^4}, \qquad
   \xi = \frac{\mu_1}{a + \mu_2} - \frac{\mu_2}{a + \mu_3}

with the eigenvalues :math:`\mu_1 \ge \mu_2 \ge \mu_3` of the structure tensor, ``contrast`` h,
``coherence`` c and Weickert diffusivity g. The edge-enhancing diffusivities are
:math:`\lambda^e_1 = g(|\nabla u_\sigma|)` and :math:`\lambda^e_{2,3} = 1`. The coherence-enhancing
ones are :math:`\lambda^c_{1,2} = \alpha` and
:math:`\lambda^c_3 = \alpha + (1-\alpha)\exp(-\ln 2\; c^2 (a+\mu_3)^4/\mu_2^4)`.
The published :math:`a = \alpha` has no unit; :math:`a = \alpha\kappa^2` is a squared gradient.
In 2-D the two eigenvalues are :math:`\mu_2` and :math:`\mu_3`, and the first fraction is one.

Source: Mendrik et al. 2009 (doi:10.1109/TMI.2009.2022368).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.diffusivity import Diffusivity, bounded_square, quotient
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.tensor import DiffusionTensor


@dataclass(frozen=True, kw_only=True)
class Hybrid(Model):
    """Smooths along tubes, within sheets and in flat regions."""

    name = "hybrid"
    title = "Hybrid"
    summary = "Follows tubes where there are tubes, and keeps edges and surfaces elsewhere."
    truncation_gain = 1e3  # the exponential of a product of squared gradients

    kappa: float = param(
        10.0,
        "Edge threshold: gradient at which the flux is largest.",
        unit="intensity/length",
        gt=0,
        suggest="threshold",
    )
    contrast: float = param(
        10.0,
        "Tube contrast: gradient from which tubes are followed.",
        unit="intensity/length",
        gt=0,
        suggest="threshold",
    )
    sigma: float = param(
        1.0, "Smoothing before the gradient is read.", unit="length", ge=0, suggest="scale"
    )
    rho: float = param(
        1.0,
        "Size of the neighbourhood whose direction is averaged.",
        unit="length",
        ge=0,
        suggest="voxels",
    )
    coherence: float = param(15.0, "How straight a tube must be to be followed.", gt=0)
    alpha: float = param(0.01, "Smoothing across a tube, as a share of that along it.", gt=0, le=1)

    def operator(self, f: Features) -> DiffusionTensor:
        """Return the tensor with the eigenvectors of the structure tensor."""
        edge = f.grad2(self.sigma).copy()
        return DiffusionTensor(f.structure(self.sigma, self.rho), self.spectrum, extra=(edge,))

    def spectrum(self, mu: np.ndarray, grad2: np.ndarray) -> list[np.ndarray]:
        """Return the mixed diffusivities along the eigenvectors."""
        edge = Diffusivity("weickert", self.kappa).of(grad2)
        if len(mu) == 1:
            return [edge]
        mu, h2 = np.maximum(mu, 0), self.contrast * self.contrast
        a = self.alpha * bounded_square(self.kappa, mu.dtype)
        tube = quotient(mu[-2], a + mu[-1], 1e9)  # bounded, so that no product overflows
        xi = (quotient(mu[-3], a + mu[-2], 1e9) if len(mu) > 2 else 1.0) - tube
        edges = np.maximum(-xi, 0) + quotient(mu[-1], h2, 1e18)
        share = np.exp(-np.minimum(quotient(mu[-2], h2, 1e18) * edges, 80))
        straight = math.log(2) * min(self.coherence, 1e12) ** 2
        exponent = straight / np.square(np.square(np.maximum(tube, 1e-3)))
        along = self.alpha + (1 - self.alpha) * np.exp(-np.minimum(exponent, 80))
        coherent, along = (1 - share) * self.alpha, (1 - share) * along + share
        return [coherent + share * edge, *[coherent + share] * (len(mu) - 2), along]
