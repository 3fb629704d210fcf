r"""Diffusion of magnitude images with Rician noise, with removal of their bias.

.. math:: v = M^2, \qquad v_t = \operatorname{div}(c\,\nabla v), \qquad
   c = \frac{4 s^2\,(\langle v \rangle - s^2)}{\operatorname{Var}(v)} \text{ in } [0, 1], \qquad
   u(T) = \sqrt{\max(v(T) - 2 s^2, 0)}

with the image M, and mean and variance over the 2N neighbours of a voxel in N dimensions. M is the
magnitude of a complex signal of amplitude A. Its real and imaginary parts have Gaussian noise of
standard deviation s (``sigma_noise``). Therefore :math:`\langle M^2 \rangle = A^2 + 2 s^2` and
:math:`\operatorname{Var}(M^2) = 4 s^2 (\langle M^2 \rangle - s^2)`. The coefficient c is 1 where
the variance is at most that of noise. Where all neighbours are equal, c is 1 if they exceed the
mean of noise alone, and else 0. The bias is subtracted at the end of a run with a time above 0.
Sources: Krissian & Aja-Fernández 2009 (doi:10.1109/TIP.2009.2025553); moments from Henkelman 1985.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.models.base import Model, param
from napari_diffusion.operators.base import largest_factor
from napari_diffusion.operators.divergence import VoxelDiffusivity
from napari_diffusion.operators.features import Features

#: Largest ratio of two deviations, and the smallest share of the largest intensity that counts.
MAX_RATIO, SHARE = 1e9, 1e-4


@dataclass(frozen=True, kw_only=True)
class Rician(Model):
    """Smooths magnitude images without the bias of their noise."""

    name = "rician"
    title = "Rician"
    summary = (
        "Smooths magnitude images such as MRI where the signal is weak, and takes out the bias of "
        "their noise."
    )
    references = ("krissian2009", "henkelman1985")
    conservative = False
    offset_invariant = False
    is_for_magnitudes = True
    removes_bias = True

    sigma_noise: float = param(
        10.0,
        "Noise: standard deviation of its real and imaginary part.",
        unit="intensity",
        gt=0,
        suggest="noise",
    )

    def encode(self, u: NDArray[np.floating]) -> None:
        """Square the magnitude; refuse magnitudes and noise whose squares underflow."""
        smallest = float(np.finfo(u.dtype).tiny) ** 0.5 / SHARE
        if self.sigma_noise < smallest and 0 < max(u.max(initial=0), -u.min(initial=0)) < smallest:
            raise ValueError(
                f"Rician: image and noise are below {smallest:.2g}; rescale them, because their "
                f"squares underflow in {u.dtype}."
            )
        np.square(u, out=u)

    def decode(self, u: NDArray[np.floating]) -> None:
        """Subtract the bias 2s² of the noise and take the square root."""
        u -= 2 * self._bounded_noise(u.dtype) ** 2
        np.sqrt(np.maximum(u, 0, out=u), out=u)

    def operator(self, f: Features) -> VoxelDiffusivity:
        """Return the ratio of the noise variance to the local variance of v, between 0 and 1."""
        mean, q = f.neighbours()
        noise = self._bounded_noise(mean.dtype)
        # Standard deviation of the noise in v: 2 s sqrt(<v> - s²), and 0 at the noise floor.
        expected = f.average(mean)
        expected -= noise**2
        np.sqrt(np.maximum(expected, 0, out=expected), out=expected)
        expected *= 2 * noise
        # The ratio of both deviations is bounded, so that its square is finite; 0/0 is zero.
        below = q / MAX_RATIO
        q /= np.maximum(np.maximum(expected, below, out=below), np.finfo(q.dtype).tiny, out=below)
        c = f.average(np.square(q, out=q))
        np.divide(1, np.maximum(c, 1, out=c), out=c)
        c *= expected > 0
        return VoxelDiffusivity(c, error_factor=20.0)  # measured; c has a kink where it is 1

    def _bounded_noise(self, dtype: np.dtype[np.floating]) -> float:
        """Return s, bounded so that its square is finite; it is then far above all magnitudes."""
        return min(self.sigma_noise, largest_factor(dtype))
