r"""Diffusion of magnitude images with Rician noise, with removal of their bias.

.. math:: v = M^2, \qquad v_t = \operatorname{div}(c\,\nabla v), \qquad
   c = \frac{4 s^2\,(\langle v \rangle - s^2)}{\operatorname{Var}(v)} \text{ in } [0, 1], \qquad
   u(T) = \sqrt{\max(v(T) - 2 s^2, 0)}

with the image M, and mean and variance over the 2N neighbours of a voxel in N dimensions. M is the
magnitude of a complex signal of amplitude A. Its real and imaginary parts have Gaussian noise of
standard deviation s (``sigma_noise``). Therefore :math:`\langle M^2 \rangle = A^2 + 2 s^2` and
:math:`\operatorname{Var}(M^2) = 4 s^2 (\langle M^2 \rangle - s^2)`. The coefficient c is 1 where
the variance is at most that of noise, and small where it is much larger. The bias of the magnitude
is largest for weak signals. It is subtracted at the end of a run with a time above 0.

Sources: Krissian & Aja-Fernández 2009 (doi:10.1109/TIP.2009.2025553); moments from Henkelman 1985.
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
    summary = (
        "Smooths magnitude images such as MRI where the signal is weak, and takes out the bias of "
        "their noise."
    )
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
        """Subtract the bias 2s² of the noise and take the square root."""
        u -= 2 * self.sigma_noise**2
        np.sqrt(np.maximum(u, 0, out=u), out=u)

    def operator(self, f: Features) -> VoxelDiffusivity:
        """Return the ratio of the noise variance to the local variance of v, between 0 and 1."""
        mean, variance = (f.average(values) for values in f.neighbours())
        s2 = self.sigma_noise**2
        mean -= s2
        mean *= 4 * s2
        # The lower bound makes 0/0 zero. Without variation, c is 1 above the noise floor.
        np.maximum(variance, np.finfo(variance.dtype).tiny, out=variance)
        with np.errstate(over="ignore"):
            mean /= variance
        return VoxelDiffusivity(np.clip(mean, 0, 1, out=mean))
