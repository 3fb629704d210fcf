r"""Variance stabilisation of photon counts: the generalised Anscombe transform and its inverse.

A value is :math:`x = a\,p + o + n` with p photons (Poisson), the gain a, the offset o, and Gaussian
read noise n of standard deviation s. Then

.. math:: D(x) = \frac{2}{a} \sqrt{\max\bigl(a\,(x - o) + \tfrac38 a^2 + s^2,\, 0\bigr)}

has noise of a standard deviation of nearly 1, whatever the intensity. The mean of D is not D of the
mean. The exact unbiased inverse is the function that returns the mean of x for the mean of D:

.. math:: I: E[D \mid \lambda] \mapsto a\,\lambda + o

with the mean number of photons :math:`\lambda`. At one photon, the algebraic inverse of D would be
18 % too small. The usual closed form of I is off by 0.4 %, and by 3 % with a read noise of one
photon.

Sources: Anscombe 1948 (doi:10.1093/biomet/35.3-4.246); Murtagh, Starck & Bijaoui 1995; Mäkitalo &
Foi 2011 (doi:10.1109/TIP.2010.2056693), 2013 (doi:10.1109/TIP.2012.2202675).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field

#: Mean number of photons up to which the inverse is tabulated, and the number of its nodes, which
#: are uniform in the square root. Between the nodes, the error is below 1e-5 photons.
TABULATED, NODES = 400.0, 800
#: Nodes of the integral over the read noise, and its bounds in standard deviations.
READ_NODES, READ_BOUND = 1601, 8.0
#: Largest read noise [photons]. Far above it, rounding errors of the table would matter.
LARGEST_READ_NOISE = 1e4
#: Largest rounding error of the transform and its inverse, as a share of the range of an image.
LARGEST_ERROR = 0.01
#: Values that are transformed at once.
BLOCK = 1 << 16


def stabilise(u: Field, gain: float, offset: float, read_noise: float) -> None:
    """Replace intensities by D(x), in place.

    Parameters
    ----------
    u
        The intensities.
    gain
        Intensity per photon.
    offset
        Intensity without light.
    read_noise
        Standard deviation of the Gaussian part of the noise [intensity].
    """
    scale, shift = 4 / gain, 4 * (0.375 + (read_noise / gain) ** 2 - offset / gain)
    with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses values without an end
        for part in _parts(u):
            values = part * scale + shift
            part[...] = np.sqrt(np.maximum(values, 0, out=values), out=values)


def resolves(
    low: Any, high: Any, dtype: np.dtype[Any], gain: float, offset: float, read_noise: float
) -> Any:
    r"""Whether images with these extrema keep their values: the transform and its inverse.

    Rounding errors :math:`\epsilon` of :math:`D` change a value by
    :math:`2 \epsilon a\,(p + \tfrac38 + s^2/a^2)`. An image of one value is always kept.

    Parameters
    ----------
    low, high
        Smallest and largest intensity of an image, or of several ones.
    dtype
        Data type of the computation.
    gain, offset, read_noise
        As `stabilise`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        high, spread = np.asarray(high, float), np.asarray(high, float) - np.asarray(low, float)
        level = (high - offset) / gain + 0.375 + (read_noise / gain) ** 2
        error = 2 * float(np.finfo(dtype).eps) * gain * level
        return (spread == 0) | ((level > 0) & (error <= LARGEST_ERROR * spread))


def restore(u: Field, gain: float, offset: float, read_noise: float) -> None:
    """Replace means of D by the means of the intensities, in place; arguments as `stabilise`.

    Below the mean of D without light, the inverse continues as a straight line. Averages of the
    background are then unbiased too.
    """
    ratio = read_noise / gain
    nodes, corrections, slope = _table(ratio)
    last = len(nodes) - 1
    for part in _parts(u):
        d = part.astype(float)
        correction = np.interp(d, nodes, corrections)
        far = d > nodes[last]
        correction[far] *= np.square(nodes[last] / d[far])
        photons = d * d / 4 - 0.125 - ratio**2 + correction
        below = d < nodes[0]
        photons[below] = slope * (d[below] - nodes[0])
        part[...] = gain * photons + offset


def _parts(u: Field) -> list[Any]:
    """Views of a contiguous field, small enough that temporary arrays stay in the cache."""
    flat = u.reshape(-1)
    assert np.may_share_memory(flat, u) or not u.size
    return [flat[start : start + BLOCK] for start in range(0, flat.size, BLOCK)]


@lru_cache(maxsize=16)
def _table(ratio: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    r"""Return means of D, what is missing in :math:`D^2/4 - 1/8 - \sigma^2`, and the first slope.

    ``ratio`` is the read noise :math:`\sigma` in photons.
    """
    photons = np.square(np.linspace(0, math.sqrt(TABULATED), NODES))
    mean = expected(photons, ratio)
    return (
        mean,
        photons - (np.square(mean) / 4 - 0.125 - ratio**2),
        float((photons[1] - photons[0]) / (mean[1] - mean[0])),
    )


def expected(photons: NDArray[np.float64], ratio: float) -> NDArray[np.float64]:
    r"""Return :math:`E[D \mid \lambda]` for mean numbers of photons.

    Parameters
    ----------
    photons
        Mean numbers of photons :math:`\lambda`.
    ratio
        Read noise in photons.
    """
    top = float(photons.max(initial=0))
    counts = np.arange(int(top + 12 * math.sqrt(top) + 30), dtype=float)
    level = 0.375 + ratio**2
    if ratio == 0:
        values = 2 * np.sqrt(counts + level)
    else:
        places = np.linspace(-READ_BOUND, READ_BOUND, READ_NODES)
        weights = np.exp(-np.square(places) / 2)
        weights /= weights.sum()
        arguments = np.maximum(counts[:, None] + ratio * places + level, 0)
        values = 2 * np.sqrt(arguments) @ weights
    logarithms = np.cumsum(np.log(np.maximum(counts, 1)))  # of the factorials
    rates = np.maximum(photons, 1e-300)[:, None]
    shares = np.exp(counts * np.log(rates) - rates - logarithms)
    return np.asarray(shares @ values)
