r"""Announcement of what a choice gains, with an interval.

The estimated error :math:`\hat e` of a result, its divergence and the unfiltered error
:math:`e_0` depend on the noise variance. With the relative error :math:`\delta` of this variance
and the scatter :math:`\epsilon` of the estimate,

.. math:: e = \hat e + \delta\,(2d - v) + \epsilon, \qquad
          \mathrm{gain} = 10 \log_{10} \frac{e_0 (1 + \delta)}{e}, \qquad e \ge r,

where v is the noise variance and d the divergence term of `risk.sure`. The error cannot be smaller
than the noise r that is left in the result. Both errors are taken to be normal, and the interval
holds the middle of the distribution of the gain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_diffusion.estimation.risk import Sums, sure, total

#: Error of a noise level that its scatter does not show: flat places are not quite flat, and were
#: selected.
LEVEL_ERROR = 0.008
#: The same for the error of noise that neighbours share, and of noise that depends on intensity.
MODEL_ERROR = 0.03
#: Error of the estimate for skewed noise, relative to the variance, for a skewness of 1. Measured:
#: 0.2 for the logarithm of speckle, with a skewness of -0.9.
SKEWNESS_ERROR = 0.15
#: Quantiles of the gain that bound the interval.
QUANTILES = (0.05, 0.95)
#: Number of samples of the distribution.
SAMPLES = 2001
#: Share of the response to the probe that is certainly left in the result.
CERTAIN_SHARE = 0.5
#: Largest response, relative to the noise, that is taken for noise that is left.
MAX_LEFT = 0.15
#: Smallest error, as a share of the unfiltered one.
SMALLEST_ERROR = 1e-3
#: Smallest distance of the limits from the gain [dB].
MIN_MARGIN_DB = 0.1


@dataclass(frozen=True)
class Announcement:
    """Expected gain in signal-to-noise ratio.

    Attributes
    ----------
    gain
        Central estimate [dB].
    interval
        Lower and upper limit [dB].
    """

    gain: float
    interval: tuple[float, float]

    def joined(self, other: Announcement) -> Announcement:
        """Return this gain with an interval that contains both intervals."""
        low = min(self.interval[0], other.interval[0])
        high = max(self.interval[1], other.interval[1])
        return Announcement(self.gain, (low, high))


def announce(
    parts: Sequence[Sums], level_error: float, skewness: float, coverage: float
) -> Announcement:
    """Announce the gain of a result.

    Parameters
    ----------
    parts
        Sums of the patches at the chosen parameters.
    level_error
        Relative error of the noise level.
    skewness
        Skewness of the noise. Stein's estimate holds for Gaussian noise.
    coverage
        Share of the image that the patches cover.
    """
    sums = total(parts)
    count = sums.voxels
    error, unfiltered = sure(sums), sums.unfiltered / count
    variance, divergence = sums.variance / count, sums.divergence / count
    # Mean of chi-squared terms, and of products of noise and error.
    scatter = math.sqrt((2 * variance**2 + 4 * variance * max(error, 0.0)) / count)
    scatter = math.hypot(scatter, _sampling_error(parts) * math.sqrt(max(0.0, 1 - coverage)))
    scatter = math.hypot(scatter, SKEWNESS_ERROR * skewness**2 * variance)
    left = sums.response_squared / count
    rng = np.random.default_rng(0)
    delta, epsilon = rng.normal(size=(2, SAMPLES))
    delta = np.maximum(2 * level_error * delta, -0.9)
    errors = error + delta * (2 * divergence - variance) + scatter * epsilon
    # Where gradients are steepened, the response exceeds the noise that is left.
    floor = CERTAIN_SHARE * left if left < MAX_LEFT * variance else 0.0
    possible = errors > floor
    if possible.sum() < SAMPLES // 50:  # the level is wrong, or next to nothing is left
        errors, delta = np.full(1, max(floor, SMALLEST_ERROR * unfiltered)), np.zeros(1)
    else:
        errors, delta = errors[possible], delta[possible]
    gains = 10 * np.log10(unfiltered * (1 + delta) / errors)
    low, gain, high = (float(g) for g in np.quantile(gains, (QUANTILES[0], 0.5, QUANTILES[1])))
    return Announcement(gain, (min(low, gain - MIN_MARGIN_DB), max(high, gain + MIN_MARGIN_DB)))


def _sampling_error(parts: Sequence[Sums]) -> float:
    """Standard error of the mean risk from its scatter between patches [intensity²]."""
    risks = np.array([sure(part) for part in parts if part.voxels])
    return float(risks.std(ddof=1) / math.sqrt(len(risks))) if len(risks) > 1 else 0.0
