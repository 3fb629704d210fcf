r"""How good a filtered image is, without the clean one.

**Monte-Carlo SURE** (Stein 1981; Ramani, Blu & Unser 2008) is an unbiased estimate of the mean squared error for Gaussian noise
of variance :math:`\sigma_i^2` at voxel i,

.. math:: \mathrm{SURE} = \frac1n\sum_i\Bigl[(u_i - f_i)^2 - \sigma_i^2
          + \frac{2}{\varepsilon}\,\sigma_i b_i\,\bigl(u_i(f + \varepsilon\sigma b) - u_i(f)\bigr)\Bigr]

from one extra filtering of the image with a probe b added, which has the covariance C of the noise, so that the last part has the mean
:math:`2\operatorname{tr}(C\,\partial u/\partial f)`: signs :math:`b_i = \pm 1` for white noise, and numbers whose neighbours are
correlated where those of the noise are. With variances that follow the local mean it serves Poisson, speckle and Rician
noise too, whose error it takes against the noise-free mean. The same two images say how much noise is left: the probe is a noise that is
known. With a probe as strong as the noise they say what was removed: what changes in it with the noise is noise, the rest is picture.

**Decorrelation** (Mrázek & Navara 2003) asks for the removed part to be uncorrelated with the result. **J-invariance** (Batson & Royer
2019) hides voxels from the filter and looks how well the filter tells them. Neither needs to know the noise, as long as it is white.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.estimation.noise import coloured

Array = NDArray[np.floating]
#: Size of the probe in units of the noise (Ramani et al. 2008: anything small will do).
EPSILON = 0.1
#: Share of noise in what is removed below which a choice is not careful. For the EPI of docs/automatic.md it is estimated so where a second
#: volume, whose noise is another one, tells 0.5: filters with a threshold below the noise change with twice the noise.
MIN_NOISE_SHARE = 0.7


class Sums(NamedTuple):
    """Sums over the voxels that count: of 1, variance, squared change, divergence, squared response, and so on; and over hidden ones.

    ``driven`` is of the squares of what changes in the removed part with another noise. ``changes`` and ``losses`` are of the magnitudes of
    that and of the removed part; ``on_structure`` holds the sums over structure alone.
    """

    number: float
    variance: float
    squared: float
    divergence: float
    response: float
    driven: float
    removed: float
    result: float
    result_squared: float
    product: float
    hidden: float
    missed: float
    changes: float
    losses: float
    on_structure: Sums | None = None


def total(parts: Sequence[Sums]) -> Sums:
    """Sums over several pieces together."""
    on_structure = [part.on_structure for part in parts if part.on_structure is not None]
    numbers = (sum(column) for column in zip(*(part[:-1] for part in parts), strict=True))
    return Sums._make((*numbers, total(on_structure) if on_structure else None))


@dataclass(frozen=True)
class Probe:
    """One piece of image with what its risk is computed from; fields ``(C, *space)``.

    ``deviation`` is the standard deviation of the noise [intensity], 0 where a voxel does not count. ``other`` is the second image that is
    filtered beside the first: with ``pattern`` times `EPSILON` noise levels added, or with the voxels of ``hidden`` replaced. ``structure``
    marks what is to be told apart; a third image has ``pattern`` at full strength then, and tells the share of noise in what is removed.
    """

    image: Array
    deviation: Array
    pattern: Array
    other: Array
    hidden: NDArray[np.bool_] | None = None
    structure: NDArray[np.bool_] | None = None

    @property
    def images(self) -> tuple[Array, ...]:
        """All images that are to be filtered: two, or three."""
        louder = () if self.structure is None else (self.image + self.deviation * self.pattern,)
        return (self.image, self.other, *louder)

    def sums(self, result: Array, other: Array, louder: Array | None = None) -> Sums:
        """Sums that the risk is made of, from the results of all `images`."""
        counts = self.deviation > 0
        on_structure = (
            None
            if self.structure is None
            else self._over(counts & self.structure, result, other, louder)
        )
        return self._over(counts, result, other, louder)._replace(on_structure=on_structure)

    def _over(
        self, counts: NDArray[np.bool_], result: Array, other: Array, louder: Array | None
    ) -> Sums:
        image, louder = self.image, result if louder is None else louder
        if not counts.all():  # elsewhere there may be anything, NaN too
            image, result, other, louder = (
                np.where(counts, part, 0) for part in (image, result, other, louder)
            )
        deviation = self.deviation * counts
        removed, response, added = (
            result - image,
            (other - result) / EPSILON,
            deviation * self.pattern,
        )
        driven = louder - result - added
        hidden = counts & False if self.hidden is None else counts & self.hidden
        sums = (
            counts,
            deviation**2,
            removed**2,
            response * added,
            response**2,
            driven**2,
            removed,
            result,
            result**2,
            removed * result,
            hidden,
            (other - image)[hidden] ** 2,
            np.abs(driven),
            np.abs(removed),
        )
        return Sums._make((*(float(part.sum()) for part in sums), None))


def disturbed(
    image: Array,
    deviation: Array,
    seed: int,
    correlations: Sequence[Sequence[Sequence[float]]] = (),
) -> Probe:
    """Probe for SURE, the same for the same seed; ``correlations`` of neighbours are of every channel along every axis."""
    rng = np.random.default_rng(seed)
    pattern = rng.choice(np.array([-1, 1], image.dtype), image.shape)
    for channel, own in enumerate(correlations):
        if any(own):
            pattern[channel] = coloured(rng.normal(size=image.shape[1:]), own)
    return Probe(image, deviation, pattern, image + image.dtype.type(EPSILON) * deviation * pattern)


def hiding(image: Array, deviation: Array) -> Probe:
    """Probe for J-invariance: every third voxel along every axis is hidden, and replaced by the mean of its neighbours."""
    from scipy import ndimage

    hidden = np.ones(image.shape, bool)
    around = np.zeros(image.shape, image.dtype)
    axes = [axis for axis, n in enumerate(image.shape) if axis and n > 2]
    for axis in axes:
        place = np.arange(image.shape[axis]) % 3 == 1
        hidden &= place.reshape([-1 if i == axis else 1 for i in range(image.ndim)])
        # A mirror without a twin: at a border the neighbour stands in for the one that is missing, not the voxel itself.
        around += ndimage.correlate1d(
            image, np.array([0.5, 0, 0.5]) / len(axes), axis, mode="mirror"
        )
    return Probe(
        image,
        deviation,
        np.zeros_like(image),
        np.where(hidden & (deviation > 0), around, image),
        hidden,
    )


def sure(sums: Sums) -> float:
    """Estimated mean squared error [intensity²]."""
    return (sums.squared - sums.variance + 2 * sums.divergence) / sums.number


def mean_squared_error(sums: Sums) -> float:
    """Estimated mean squared error [intensity²], with either probe."""
    return miss(sums) - sums.variance / sums.number if sums.hidden else sure(sums)


def noise_left(sums: Sums) -> float:
    """Share of the noise's standard deviation that is left in the result; NaN where voxels were hidden instead."""
    return math.nan if sums.hidden else math.sqrt(sums.response / sums.variance)


def noise_share(sums: Sums) -> float:
    r"""Share of noise in what is removed, by squares; NaN where nothing is.

    With noise n' like that of the image, and :math:`r(f) = u(f) - f`, it is
    :math:`\sum (r(f + n') - r(f))^2 / \sum r(f)^2`: 1 for a filter that leaves the picture alone. It takes a probe with ``structure``.
    """
    return min(1.0, sums.driven / sums.squared) if sums.squared > 0 else math.nan


def typical_share(sums: Sums) -> float:
    """As `noise_share`, by magnitudes: few voxels from which much is removed, such as those beside an edge, do not decide it."""
    return min(1.0, (sums.changes / sums.losses) ** 2) if sums.losses > 0 else math.nan


def careful(sums: Sums) -> float:
    """`sure` where mostly noise (`MIN_NOISE_SHARE`) is removed from structure; elsewhere more than without a filter, the more the less is noise."""
    share = math.nan if sums.on_structure is None else noise_share(sums.on_structure)
    return (
        sums.variance / sums.number * (1 + MIN_NOISE_SHARE - share)
        if share < MIN_NOISE_SHARE
        else sure(sums)
    )


def correlation(sums: Sums) -> float:
    """Magnitude of the correlation between what was removed and what is left; 1 where nothing was removed or nothing is left."""
    n = sums.number
    covariance = sums.product - sums.removed * sums.result / n
    both = (sums.squared - sums.removed**2 / n) * (sums.result_squared - sums.result**2 / n)
    return abs(covariance) / math.sqrt(both) if both > 0 else 1.0


def miss(sums: Sums) -> float:
    """Mean squared miss of hidden voxels [intensity²]: the error of the filter plus the variance of the noise."""
    return sums.missed / sums.hidden if sums.hidden else math.inf


#: What may be minimised: by name, the number and the probe that it needs.
CRITERIA = {"sure": sure, "decorrelation": correlation, "j-invariance": miss}
