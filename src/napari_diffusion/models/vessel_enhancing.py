r"""Vessel-enhancing diffusion.

.. math:: \lambda_{along} = 1 + (\omega - 1)\,V^{1/s}, \qquad \lambda_{across} = 1 + (\varepsilon - 1)\,V^{1/s}

with Frangi's vesselness V (`kernels.reference_tensor`), the largest of three scales, and the eigenvectors of the scale-normalised Hessians
summed times :math:`V^4`: nearly those of the best scale, but they do not jump. The stable step is :math:`\omega` times shorter.

Source: Manniesing, Viergever & Niessen 2006 (doi:10.1016/j.media.2006.06.003); Frangi et al. 1998.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.tensor import DiffusionTensor

#: Vesselness too faint to count.
FAINT = 0.01


@dataclass(frozen=True, kw_only=True)
class VesselEnhancing(Model):
    """Smooths along vessels, evenly elsewhere, and hardly across a vessel."""

    name = "vessel-enhancing"
    title = "Vessel-enhancing"
    summary = "Strengthens and connects bright or dark vessels and smooths what is around them."
    rounding_gain = 10.0  # exponentials of ratios of curvatures, times omega

    gamma: float = param(
        5.0, "Contrast of a faint vessel.", unit="intensity", gt=0, suggest="noise"
    )
    sigma: float = param(1.0, "Radius of the thinnest vessels.", unit="length", gt=0)
    thickest: float = param(3.0, "Radius of the thickest vessels.", unit="length", gt=0)
    polarity: str = param(
        "bright",
        "Whether vessels are brighter or darker than what is around them.",
        choices=("bright", "dark"),
    )
    omega: float = param(
        10.0, "Smoothing along a vessel, as a multiple of that outside.", ge=1, le=1000
    )
    epsilon: float = param(
        0.01, "Smoothing across a vessel, as a share of that outside.", gt=0, le=1
    )
    sensitivity: float = param(5.0, "How readily a faint vessel counts as one.", ge=1, le=100)

    def with_max_diffusivity(self, most: float) -> Self:
        """Return the model with an ``omega`` of at most ``most``."""
        return replace(self, omega=max(min(self.omega, most), 1.0))

    def operator(self, f: Features) -> DiffusionTensor:
        """Return the tensor with the eigenvectors of the Hessian at the scale that looks most like a vessel."""
        scales = np.geomspace(self.sigma, max(self.sigma, self.thickest), 3)
        total, best = f.vessels([float(sigma) for sigma in scales], self.gamma, self.polarity)
        return DiffusionTensor(
            total, self.spectrum, (self.omega, *[1.0] * (len(f.axes) - 1)), extra=(best,)
        )

    def spectrum(self, mu: np.ndarray, vessel: np.ndarray) -> list[np.ndarray]:
        """Return the diffusivities: omega along the least curvature, epsilon across; the root, steep at zero, begins at FAINT."""
        root, start = (vessel + FAINT) ** (1 / self.sensitivity), FAINT ** (1 / self.sensitivity)
        first, second = (
            (mu[0], mu[min(1, len(mu) - 1)])
            if self.polarity == "bright"
            else (mu[-1], mu[max(len(mu) - 2, 0)])
        )
        clear = 1 - np.square(
            np.minimum(np.abs(first) / np.maximum(np.abs(second), 1e-30), 1)
        )  # two equal ones have no direction
        share = clear * (root - start) / (1 - start)
        along, least = 1 + (self.omega - 1) * share, 0 if self.polarity == "bright" else len(mu) - 1
        return [along if i == least else 1 + (self.epsilon - 1) * share for i in range(len(mu))]
