r"""Announcement of what a choice gains, with an interval.

Two things are known of the error e of a result. **Stein's estimate** :math:`\hat e` depends on the
variance v of the noise. With the relative error :math:`\delta` of this variance and the scatter
:math:`\epsilon` of the estimate,

.. math:: e = \hat e + \delta\,(2d - v) + \epsilon, \qquad
          \mathrm{gain} = 10 \log_{10} \frac{e_0 + \delta v}{e},

where d is the divergence term of `risk.sure` and :math:`e_0` the error of the image itself. Where a
filter gains more than 10 dB, the error is a few per cent of v, and so is :math:`\delta`.

**At the least error**, the noise that is left and the picture that is removed are in balance. The
noise r that is left is known from the response to the probe, and :math:`\delta` hardly changes it.
The error was 1.6 r on the calm images of the tests, with a spread of a fifth.

Both are combined by Bayes' rule on a grid of e and :math:`\delta`. The balance does not always
hold, so that e may have any other value with a small probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.risk import Sums, sure, total

#: Error of a noise level that its scatter does not show. Flat places are not quite flat.
LEVEL_ERROR = 0.008
#: The same for noise that neighbours share, that depends on the intensity, and that depends on the
#: place or has a pattern.
SHARED_ERROR, KIND_ERROR, PLACE_ERROR = 0.04, 0.08, 0.06
#: Relative error of the level from which on the image has no calm place, and the factor on it.
BUSY_ERROR, BUSY_FACTOR = 0.025, 1.7
#: Largest error of the estimate for skewed noise, relative to the variance, which a skewness of 1
#: has. Measured: 0.06 for the logarithm of speckle, whose level is 3 % low.
SKEWNESS_ERROR = 0.07
#: Share of the energy of hot and dead voxels that belongs to others, which were not noticed.
MISSED_IMPULSES = 0.03
#: Share of that energy in the error of the image from which on it counts.
MIN_IMPULSES = 0.02
#: Error relative to the noise that is left, at the least error, and the spread of its logarithm.
BALANCE, BALANCE_SPREAD = 1.65, 0.17
#: Probability that the error is another one, where the noise is plain, and elsewhere.
OTHER, OTHER_ELSEWHERE = 0.15, 0.5
#: Quantile of the gain at the lower limit, where the noise is plain, and elsewhere.
TAIL, TAIL_ELSEWHERE = 0.1, 0.05
#: Least distance of the limits from the gain [dB].
MARGIN_DB = 0.15
#: Numbers of values of the error and of the level, and least error relative to the unfiltered one.
ERRORS, LEVELS, LEAST_ERROR = 300, 81, 1e-4


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


def level_error(noise: Noise) -> float:
    """Relative error of a noise level, with what its scatter does not show."""
    own = noise.error / noise.sigma
    if _is_busy(noise):
        own *= BUSY_FACTOR
    shared = SHARED_ERROR if noise.origin == "noise" else 0.0
    kind = KIND_ERROR if noise.kind != "gaussian" else 0.0
    place = PLACE_ERROR if noise.level_map or noise.pattern else 0.0
    return math.hypot(own, LEVEL_ERROR, shared, kind, place)


def _is_busy(noise: Noise) -> bool:
    is_white = noise.kind == "gaussian" and noise.origin != "noise"
    return is_white and noise.error > BUSY_ERROR * noise.sigma


def _is_plain(noise: Noise) -> bool:
    """Whether the noise is white, Gaussian, the same everywhere, and seen in calm places."""
    is_patterned = noise.level_map is not None or noise.pattern is not None
    is_white = noise.kind == "gaussian" and noise.origin != "noise"
    return is_white and not is_patterned and not _is_busy(noise) and not noise.is_skewed


def announce(
    parts: Sequence[Sums], noise: Noise, coverage: float, is_least: bool = True
) -> Announcement:
    """Announce the gain of a result.

    Parameters
    ----------
    parts
        Sums of the patches at the chosen parameters.
    noise
        The noise of the image.
    coverage
        Share of the image that the patches cover.
    is_least
        Whether the parameters are those of the least error, so that noise and picture balance.
    """
    sums = total(parts)
    count = sums.voxels
    unfiltered, variance = sums.unfiltered / count, sums.variance / count
    left = sums.response_squared / count
    impulses = unfiltered - variance
    has_impulses = impulses > MIN_IMPULSES * unfiltered
    is_plain = _is_plain(noise) and not has_impulses
    scatter = math.hypot(
        # Mean of chi-squared terms, and of products of noise and error.
        math.sqrt((2 * variance**2 + 4 * variance * max(sure(sums), 0.0)) / count),
        _sampling_error(parts) * math.sqrt(max(0.0, 1 - coverage)),
        SKEWNESS_ERROR * min(noise.skewness**2, 1.0) * variance,
        MISSED_IMPULSES * impulses,
    )
    low = math.log(max(0.3 * left, LEAST_ERROR * unfiltered))
    logs = np.linspace(low, math.log(max(3 * unfiltered, 2 * left)), ERRORS)[:, None]
    other = OTHER if is_plain else OTHER_ELSEWHERE
    if has_impulses or not is_least:
        other = 1.0
    prior = other / (logs[-1, 0] - low) + (1 - other) * _normal(
        logs, math.log(BALANCE * max(left, LEAST_ERROR * unfiltered)), BALANCE_SPREAD
    )
    delta = np.maximum(2 * level_error(noise) * _normal_quantiles(LEVELS), -0.9)[None]
    errors = np.exp(logs)
    # The grid of errors must not be coarser than the scatter.
    scatters = np.hypot(scatter, (logs[1, 0] - logs[0, 0]) * errors)
    expected = sure(sums) + delta * (2 * sums.divergence / count - variance)
    weights = prior * np.exp(_log_likelihood(errors, expected, scatters))
    gains = 10 * np.log10(np.maximum(unfiltered + delta * variance, 1e-12 * unfiltered) / errors)
    tail = TAIL if is_plain else TAIL_ELSEWHERE
    low, gain, high = _quantiles(gains, weights, (tail, 0.5, 1 - tail))
    return Announcement(gain, (low - MARGIN_DB, high + MARGIN_DB))


def _log_likelihood(errors: FloatArray, expected: FloatArray, scatters: FloatArray) -> FloatArray:
    """Logarithm of the likelihood of errors; its largest value is 0."""
    logs = -0.5 * ((errors - expected) / scatters) ** 2 - np.log(scatters)
    return np.asarray(logs - logs.max())


def _normal(values: FloatArray, mean: float, deviation: float) -> FloatArray:
    """Normal density."""
    squares = ((values - mean) / deviation) ** 2
    return np.asarray(np.exp(-squares / 2) / (deviation * math.sqrt(2 * math.pi)))


def _normal_quantiles(count: int) -> FloatArray:
    """Return equally probable values of a standard normal variable."""
    from scipy.special import ndtri

    return np.asarray(ndtri((np.arange(count) + 0.5) / count))


def _quantiles(
    values: FloatArray, weights: FloatArray, shares: Sequence[float]
) -> tuple[float, ...]:
    """Weighted quantiles."""
    order = np.argsort(values, axis=None)
    sums = np.cumsum(weights.ravel()[order])
    places = np.searchsorted(sums, np.array(shares) * sums[-1])
    return tuple(float(values.ravel()[order[min(k, len(order) - 1)]]) for k in places)


def _sampling_error(parts: Sequence[Sums]) -> float:
    """Standard error of the mean risk from its scatter between patches [intensity²]."""
    risks = np.array([sure(part) for part in parts if part.voxels])
    return float(risks.std(ddof=1) / math.sqrt(len(risks))) if len(risks) > 1 else 0.0
