r"""Speckle reducing anisotropic diffusion, in any number of dimensions.

.. math:: u_t = \operatorname{div}(c(q)\,\nabla u), \qquad
   c = \left(1 + \frac{q^2 - q_0^2}{q_0^2\,(1 + q_0^2)}\right)^{-1} \text{ in } [0, 1], \qquad
   q^2 = \frac{\langle u^2 \rangle}{\langle u \rangle^2} - 1

with averages over the 2N neighbours of a voxel in N dimensions. Speckle is multiplicative: its
standard deviation is ``q0`` times the local mean. The local coefficient of variation q thus
separates speckle from edges at any brightness. Intensities must be linear and positive; undo a
logarithmic compression first. c is 0 where the neighbours vary and their mean is zero, and the sign
of the mean is ignored. Scaling the image scales the result. ``q0`` is constant during a run,
although the speckle decreases.

Source: Yu & Acton 2002 (doi:10.1109/TIP.2002.804276); the local statistics in N-D follow Krissian
et al. 2007.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.divergence import VoxelDiffusivity
from napari_diffusion.operators.features import Features


@dataclass(frozen=True, kw_only=True)
class SpeckleReducing(Model):
    """Smooths multiplicative noise of a known level and keeps stronger changes."""

    name = "speckle-reducing"
    title = "Speckle reducing"
    summary = (
        "Smooths speckle, whose noise grows with brightness, and keeps edges: ultrasound, radar, "
        "OCT, in linear intensities."
    )
    offset_invariant = False

    q0: float = param(
        0.3,
        "Speckle level: standard deviation of the noise as a share of the local mean.",
        gt=0,
        suggest="speckle",
    )

    def operator(self, f: Features) -> VoxelDiffusivity:
        """Return c = q0²(1 + q0²) / (q0⁴ + q²), at most 1."""
        mean, q2 = f.neighbours()
        np.square(mean, out=mean)
        mean += np.finfo(mean.dtype).tiny  # so that 0/0 is 0
        with np.errstate(over="ignore"):
            q2 /= mean
        a = self.q0**2
        c = f.average(q2)
        c += a * a
        np.divide(a * (1 + a), c, out=c)
        return VoxelDiffusivity(np.minimum(c, 1, out=c))
