"""Skewness and kurtosis of the noise, and the level of noise that has them."""

import math

import numpy as np
import pytest

from helpers.noisy import evidence, white
from napari_diffusion.estimation.noise.evidence import robust_deviation
from napari_diffusion.estimation.noise.kinds import estimate_noise
from napari_diffusion.estimation.noise.moments import departure_moments, level_factor

#: Deviation and skewness of the logarithm of an exponential variable.
LOG_DEVIATION, LOG_SKEWNESS = math.pi / math.sqrt(6), -1.14
SHAPES = {2: (300, 300), 3: (28, 56, 56)}


def logarithm(shape, seed=0):
    """Logarithm of speckle of one look."""
    return np.log(np.random.default_rng(seed).exponential(1.0, shape))


def test_moments_of_departures_are_those_of_the_noise():
    """A sum of k exponentials has the skewness 2/sqrt(k) and the kurtosis 3 + 6/k.

    Departures from a local mean, which contains the voxel, have nearly all of it.
    """
    data = np.random.default_rng(3).gamma(16, 1.0, (200, 200))
    skewness, kurtosis = departure_moments(evidence(data))
    assert skewness == pytest.approx(0.5, abs=0.1)
    assert 3.1 < kurtosis < 3.4
    assert departure_moments(evidence(-data)) == pytest.approx((-skewness, kurtosis))
    gaussian = departure_moments(evidence(white((200, 200))))
    assert gaussian == pytest.approx((0.0, 3.0), abs=0.1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_spikes_count_where_noise_has_them(seed):
    """The flattest quarter of a volume of skewed noise has fewer spikes: -0.9 to -1.0."""
    skewness, kurtosis = departure_moments(evidence(logarithm(SHAPES[3], seed)))
    assert skewness == pytest.approx(LOG_SKEWNESS, abs=0.09)
    assert kurtosis == pytest.approx(5.2, abs=0.3)


@pytest.mark.parametrize("axis_count", [2, 3])
def test_factor_is_that_of_second_differences(axis_count):
    """Of the logarithm of speckle, the median is 6 % (2-D) and 3 % (3-D) below the deviation."""
    own = evidence(logarithm(SHAPES[axis_count]))
    ratio = LOG_DEVIATION / robust_deviation(own.residual)
    assert level_factor(5.4, axis_count) == pytest.approx(ratio, rel=0.012)
    assert ratio > 1.025


def test_factor_of_gaussian_noise_is_one_and_that_of_light_tails_is_below():
    assert level_factor(3.0, 3) == 1
    assert level_factor(1.8, 2) < 1


@pytest.mark.parametrize("axis_count", [2, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_level_of_skewed_noise_is_its_deviation(axis_count, sign):
    """Without the factor it is 3 to 5 % low."""
    noise = estimate_noise(evidence(sign * logarithm(SHAPES[axis_count])), "gaussian")
    assert noise.sigma == pytest.approx(LOG_DEVIATION, rel=0.02)
