r"""How good a filtered image is, without the clean one.

**Monte-Carlo SURE** (Stein 1981; Ramani, Blu & Unser 2008) is an unbiased estimate of the mean squared error for independent Gaussian noise
of variance :math:`\sigma_i^2` at voxel i,

.. math:: \mathrm{SURE} = \frac1n\sum_i\Bigl[(u_i - f_i)^2 - \sigma_i^2
          + \frac{2}{\varepsilon}\,\sigma_i b_i\,\bigl(u_i(f + \varepsilon\sigma b) - u_i(f)\bigr)\Bigr], \qquad b_i = \pm 1

from one extra filtering of the image with a probe b added. With variances that follow the local mean it serves Poisson, speckle and Rician
noise too, whose error it takes against the noise-free mean. The same two images say how much noise is left: the probe is a noise that is
known.

**Decorrelation** (Mrázek & Navara 2003) asks for the removed part to be uncorrelated with the result; it needs not know the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
#: Size of the probe in units of the noise (Ramani et al. 2008: anything small will do).
EPSILON = 0.1


class Sums(NamedTuple):
    """Sums over the voxels that count: their number, of the noise variance, the squared change, the divergence, the squared response."""

    number: float
    variance: float
    squared: float
    divergence: float
    response: float
    removed: float
    result: float
    result_squared: float
    product: float


@dataclass(frozen=True)
class Probe:
    """One piece of image with what its risk is computed from; fields ``(C, *space)``.

    ``deviation`` is the standard deviation of the noise [intensity], 0 where a voxel does not count; ``signs`` are the ±1 of the probe.
    """

    image: Array
    deviation: Array
    signs: Array

    @property
    def disturbed(self) -> Array:
        """The image with the probe added."""
        return np.asarray(self.image + (EPSILON * self.deviation * self.signs).astype(self.image.dtype))

    def sums(self, result: Array, disturbed: Array) -> Sums:
        """Sums that the risk is made of, of the result and of the result of the disturbed image."""
        counts, image = self.deviation > 0, self.image
        if not counts.all():  # elsewhere there may be anything, NaN too
            image, result, disturbed = (np.where(counts, part, 0) for part in (image, result, disturbed))
        removed, response = result - image, (disturbed - result) / EPSILON
        sums = (
            self.deviation**2,
            removed**2,
            response * self.deviation * self.signs,
            response**2,
            removed,
            result,
            result**2,
            removed * result,
        )
        return Sums(float(counts.sum()), *(float(part.sum()) for part in sums))


def make_signs(shape: tuple[int, ...], seed: int) -> Array:
    """Return the ±1 of a probe, the same for the same seed."""
    return np.random.default_rng(seed).choice(np.array([-1.0, 1.0], np.float32), shape)


def sure(sums: Sums) -> float:
    """Estimated mean squared error [intensity²]."""
    return (sums.squared - sums.variance + 2 * sums.divergence) / sums.number


def noise_left(sums: Sums) -> float:
    """Share of the noise's standard deviation that is left in the result."""
    return math.sqrt(sums.response / sums.variance)


def correlation(sums: Sums) -> float:
    """Magnitude of the correlation between what was removed and what is left; 1 where nothing was removed or nothing is left."""
    n = sums.number
    covariance = sums.product - sums.removed * sums.result / n
    both = (sums.squared - sums.removed**2 / n) * (sums.result_squared - sums.result**2 / n)
    return abs(covariance) / math.sqrt(both) if both > 0 else 1.0
