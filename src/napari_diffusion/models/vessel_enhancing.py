r"""Vessel-enhancing diffusion.

.. math:: \lambda_{along} = 1 + (\omega - 1)\,S, \qquad
   \lambda_{across} = 1 + (\varepsilon - 1)\,S, \qquad S = \min(1, V/c)^{1/s}

with the sensitivity s and Frangi's vesselness V (`backends.reference.tensor.vesselness`), the
maximum over three scales. ``clear`` c = 1 is the published model, in which thin vessels leak
through their flanks. Two details differ. `VESSELNESS_OFFSET` limits the slope at V = 0. The
anisotropy is reduced where the axis has nearly the curvature of another direction. The eigenvectors
of the sum of the Hessians weighted by :math:`V^4` change continuously. Without curvature D = I.

Source: Manniesing, Viergever & Niessen 2006 (doi:10.1016/j.media.2006.06.003); Frangi et al. 1998.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.features import Features, gradient_unit
from napari_diffusion.operators.hessians import three_scales, vessels
from napari_diffusion.operators.tensor import SteepTensor

#: Offset of the vesselness before the root, which is infinitely steep at zero.
VESSELNESS_OFFSET = 0.01


@dataclass(frozen=True, kw_only=True)
class VesselEnhancing(Model):
    """Smooths along vessels, evenly elsewhere, and hardly across a vessel."""

    name = "vessel-enhancing"
    title = "Vessel-enhancing"
    summary = "Smooths along bright or dark vessels and around them, but hardly across them."
    references = ("manniesing2006", "frangi1998")
    for_thin_structure = True
    truncation_gain = 3e3  # a small difference decides whether a faint vessel is one
    rounding_gain = 50.0  # exponentials of ratios of curvatures, over a small vesselness

    gamma: float = param(
        5.0, "Contrast of a faint vessel.", unit="intensity", gt=0, suggest="noise"
    )
    sigma: float = param(
        1.0, "Radius of the thinnest vessels.", unit="length", gt=0, suggest="voxels"
    )
    thickest: float = param(
        3.0, "Radius of the thickest vessels.", unit="length", gt=0, suggest="voxels"
    )
    polarity: str = param(
        "bright", "Brightness of vessels beside their surroundings.", choices=("bright", "dark")
    )
    omega: float = param(
        3.0, "Smoothing along a vessel, as a multiple of that outside.", ge=1, le=1000
    )
    epsilon: float = param(
        0.003, "Smoothing across a vessel, as a share of that outside.", gt=0, le=1
    )
    sensitivity: float = param(5.0, "Weight of faint vessels beside clear ones.", ge=1, le=100)
    clear: float = param(
        0.05, "Vesselness that counts in full; 1 as published.", ge=0.001, le=1, absent=1.0
    )

    def with_max_diffusivity(self, limit: float) -> Self:
        """Return the model with an ``omega`` of at most ``limit``."""
        return replace(self, omega=max(min(self.omega, limit), 1.0))

    def operator(self, f: Features) -> SteepTensor:
        """Return the tensor with the eigenvectors of the weighted sum of Hessians."""
        total, best = vessels(f, three_scales(self.sigma, self.thickest), self.gamma, self.polarity)
        maxima = (self.omega, *[1.0] * (len(f.axes) - 1))
        unit = gradient_unit(self.gamma) / f.grid.finest
        numbers = self.omega, self.epsilon, self.sensitivity, self.clear, VESSELNESS_OFFSET
        kernel = "vessel", (float(self.polarity == "bright"), *numbers)
        return SteepTensor(total, self.spectrum, maxima, (best,), unit, 1.2, kernel)

    def spectrum(self, mu: np.ndarray, vessel: np.ndarray) -> list[np.ndarray]:
        """Return the diffusivities: about omega along a clear vessel, about epsilon across it."""
        last = len(mu) - 1
        # Axis of the vessel, and the next larger curvature. Two equal ones define no direction.
        axis, other = (0, min(1, last)) if self.polarity == "bright" else (last, max(last - 1, 0))
        largest = np.maximum(np.abs(mu[other]), 1e-30)
        distinct = 1 - np.square(np.minimum(np.abs(mu[axis]), largest) / largest)
        limited = np.minimum(vessel, self.clear), self.clear
        root, top = (np.expm1(np.log1p(v / VESSELNESS_OFFSET) / self.sensitivity) for v in limited)
        share = distinct * (root / float(top))
        along, across = (1 + (limit - 1) * share for limit in (self.omega, self.epsilon))
        return [along if i == axis else across for i in range(len(mu))]
