r"""Skewness, kurtosis and Stein kernel of the noise, and what they mean for its level.

The level of noise is measured by the median of second differences. For a residual r with the excess
kurtosis :math:`\gamma`, the Edgeworth expansion of its distribution moves the median of
:math:`|r|/\sigma` by :math:`-\gamma\,(3m - m^3)/24` from its value m = 0.6745 for normal noise. The
logarithm of speckle of one look has a kurtosis of 5.4: in 3-D, the median is 3 % low.

The Stein kernel of noise with the density p is :math:`\tau(x) = \int_x^\infty y\,p(y)\,dy / p(x)`.
In classes of values, both integrals are sums over a sample.
"""

from __future__ import annotations

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.evidence import (
    BAND_VARIANCE,
    MAX_DEPARTURE,
    Evidence,
    robust_deviation,
)

#: Median of ``|x|`` of a standard normal variable.
_MEDIAN = 0.6745
#: Number of the outermost values that the first class of the kernel has, and the growth of the
#: number from class to class towards the median.
OUTERMOST, CLASS_GROWTH = 20, 1.5
#: Sum of the fourth powers of the weights (1, -2, 1)/sqrt(6) of a second difference.
_FOURTH_POWERS = 0.5


def departure_moments(evidence: Evidence) -> tuple[float, float]:
    """Skewness and kurtosis of the values about the local mean in calm voxels.

    They are 0 and 3 for Gaussian noise. Departures are limited to `MAX_DEPARTURE` standard
    deviations.
    """
    ratios = np.clip(_departures(evidence), -MAX_DEPARTURE, MAX_DEPARTURE)
    if not ratios.size:
        return 0.0, 3.0
    return float(np.mean(ratios**3)), float(np.mean(ratios**4))


def measure_kernel(evidence: Evidence) -> tuple[tuple[float, float], ...]:
    """Stein kernel of the noise, relative to its variance, at some departures in growing order.

    The departures are the means of classes, of which those far from the median are small. The
    result is empty with less than two classes on either side.
    """
    ratios = np.sort(_departures(evidence))
    growing = np.cumsum(OUTERMOST * CLASS_GROWTH ** np.arange(64)).astype(int)
    growing = growing[growing <= ratios.size // 2]
    if growing.size < 2:
        return ()
    first = np.concatenate([[0], growing, (ratios.size - growing)[::-1], [ratios.size]])
    # The integral over x of the tail beyond x, from the lowest value to the bounds of the classes.
    bounds = np.append(ratios, ratios[-1])[first]
    beyond = np.append(np.cumsum(ratios[::-1])[::-1], 0.0)[first]
    integral = np.append(0.0, np.cumsum(ratios**2))[first] + bounds * beyond
    counts = np.diff(first)
    sums = np.diff(np.append(0.0, np.cumsum(ratios))[first])
    pairs = zip(sums[counts > 0], np.diff(integral)[counts > 0], counts[counts > 0], strict=True)
    return tuple((float(s / n), max(float(v / n), 0.0)) for s, v, n in pairs)


def _departures(evidence: Evidence) -> FloatArray:
    """Departures from the local mean [standard deviation].

    All voxels count whose activity noise explains: in the flattest quarter, noise with spikes has
    fewer of them.
    """
    flat = evidence.calm()
    band = BAND_VARIANCE.get(evidence.axis_count, BAND_VARIANCE[3])
    flat = evidence.widened(flat, band * robust_deviation(evidence.residual[flat]) ** 2)
    values = evidence.departure[flat]
    scale = float(values.std()) if values.size else 0.0
    return np.asarray((values - values.mean()) / scale) if scale > 0 else np.zeros(0)


def level_factor(kurtosis: float, axis_count: int) -> float:
    """Deviation of white noise, over that which the median of its second differences gives.

    Parameters
    ----------
    kurtosis
        Kurtosis of the noise; 3 for Gaussian noise.
    axis_count
        Number of axes along which the differences are taken. Every one halves the excess.
    """
    excess = (kurtosis - 3) * _FOURTH_POWERS**axis_count
    return 1 / (1 - excess * (3 - _MEDIAN**2) / 24)
