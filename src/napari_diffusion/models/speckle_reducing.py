r"""Speckle reducing anisotropic diffusion, in any number of dimensions.

.. math:: u_t = \operatorname{div}(c(q)\,\nabla u), \qquad
   c = \left(1 + \frac{q^2 - q_0^2}{q_0^2\,(1 + q_0^2)}\right)^{-1} \text{ in } [0, 1], \qquad
   q^2 = \frac{\langle u^2 \rangle}{\langle u \rangle^2} - 1

with averages over the 2N neighbours of a voxel in N dimensions. Speckle is multiplicative: its
standard deviation is ``q0`` times the local mean. The local coefficient of variation q thus
separates speckle from edges at any brightness. Intensities must be linear and positive; undo a
logarithmic compression first. q is 0 where all neighbours are equal, also where they are zero, and
at most `MAX_Q` where they vary about a mean of zero; the sign of the mean is ignored. Scaling the
image scales the result. ``q0`` is constant during a run, although the speckle decreases.

Source: Yu & Acton 2002 (doi:10.1109/TIP.2002.804276); the local statistics in N-D follow Krissian
et al. 2007.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.divergence import VoxelDiffusivity
from napari_diffusion.operators.features import Features

#: Largest coefficient of variation. That of positive intensities is far smaller.
MAX_Q = 1e9
#: Largest value of 1/q0, and of q/q0, whose square does not overflow in float32.
MAX_FACTOR, MAX_RATIO = 1e27, 1e18


@dataclass(frozen=True, kw_only=True)
class SpeckleReducing(Model):
    """Smooths multiplicative noise of a known level and keeps stronger changes."""

    name = "speckle-reducing"
    title = "Speckle reducing"
    summary = (
        "Smooths speckle, whose noise grows with brightness, and keeps edges: ultrasound, radar, "
        "OCT, in linear intensities."
    )
    references = ("yu2002", "krissian2007")
    offset_invariant = False

    q0: float = param(
        0.3,
        "Speckle level: standard deviation of the noise as a share of the local mean.",
        gt=0,
        suggest="speckle",
    )

    def operator(self, f: Features) -> VoxelDiffusivity:
        """Return c = (1 + q0²) / (q0² + (q/q0)²), at most 1."""
        mean, q = f.neighbours()
        np.abs(mean, out=mean)
        # The first bound limits q, the second makes 0/0 zero.
        np.maximum(mean, q / MAX_Q, out=mean)
        q /= np.maximum(mean, np.finfo(mean.dtype).tiny, out=mean)
        q *= min(1 / self.q0, MAX_FACTOR)
        c = f.average(np.square(np.minimum(q, MAX_RATIO, out=q), out=q))
        # Numerator and denominator are divided by the larger one of 1 and q0², which may be huge.
        a = self.q0 * self.q0
        low, scale = min(a, 1.0), 1 / max(a, 1.0)
        np.maximum(c, 1, out=c)
        c *= scale
        c += low
        np.divide(low + scale, c, out=c)
        return VoxelDiffusivity(np.minimum(c, 1, out=c))
