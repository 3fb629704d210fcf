r"""Diffusion of magnitudes with Rician noise, unbiased at the end.

.. math:: v = M^2, \qquad v_t = \operatorname{div}(c\,\nabla v), \qquad
   c = \frac{4 s^2\,(\langle v \rangle - s^2)}{\operatorname{Var}(v)} \text{ in } [0, 1], \qquad u(T) = \sqrt{\max(v(T) - 2 s^2, 0)}

with mean and variance over the 2N neighbours. The magnitude M of a complex signal of amplitude A with Gaussian noise s in both parts
has :math:`\langle M^2 \rangle = A^2 + 2 s^2` and :math:`\operatorname{Var}(M^2) = 4 s^2 (\langle M^2 \rangle - s^2)`: noise diffuses,
what varies more than noise does not, and the bias of the magnitude, largest where the signal is weak, is removed at the end (for any
time above 0).

Sources: Krissian & Aja-Fernández 2009 (doi:10.1109/TIP.2009.2025553); the moments are Henkelman's 1985.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.divergence import VoxelDiffusivity
from napari_diffusion.operators.features import Features


@dataclass(frozen=True, kw_only=True)
class Rician(Model):
    """Smooths magnitude images without the bias of their noise."""

    name = "rician"
    title = "Rician"
    summary = "Smooths magnitude images such as MRI where the signal is weak, and takes out the bias of their noise."
    conservative = False
    offset_invariant = False

    sigma_noise: float = param(
        10.0,
        "Noise: standard deviation of its real and imaginary part.",
        unit="intensity",
        gt=0,
        suggest="noise",
    )

    def encode(self, u: NDArray[np.floating]) -> None:
        """Square the magnitude."""
        np.square(u, out=u)

    def decode(self, u: NDArray[np.floating]) -> None:
        """Take out the noise's share and the root."""
        u -= 2 * self.sigma_noise**2
        np.sqrt(np.maximum(u, 0, out=u), out=u)

    def operator(self, f: Features) -> VoxelDiffusivity:
        """Return the share of the local variance that noise explains, at most 1."""
        mean, variance = (f.average(values) for values in f.neighbours())
        s2 = self.sigma_noise**2
        mean -= s2
        mean *= 4 * s2
        # At least tiny, so that 0/0 is 0; where nothing varies, a signal above the noise floor is all noise.
        np.maximum(variance, np.finfo(variance.dtype).tiny, out=variance)
        with np.errstate(over="ignore"):
            mean /= variance
        return VoxelDiffusivity(np.clip(mean, 0, 1, out=mean))
