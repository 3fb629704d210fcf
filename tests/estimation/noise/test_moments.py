"""Skewness and kurtosis of the noise, and the level of noise that has them."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.special

from helpers.noisy import evidence, white
from napari_diffusion.estimation.noise.evidence import robust_deviation
from napari_diffusion.estimation.noise.kinds import Noise, estimate_noise
from napari_diffusion.estimation.noise.moments import (
    departure_moments,
    level_factor,
    measure_kernel,
)

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


def test_measured_kernel_is_that_of_the_noise():
    """Of the logarithm of an exponential; the polynomial is 6 % low at four deviations.

    With the density exp(t - e^t), the integral of the tail beyond x is E1(s) + (x + c) exp(-s).
    Here s = e^x, and c is Euler's constant.
    """
    own = evidence(logarithm((60, 60, 60)))
    z = np.array([-4.0, -3.0, -2.0, -1.0, 0.0, 1.0])
    x = LOG_DEVIATION * z - np.euler_gamma
    s = np.exp(x)
    tail = scipy.special.exp1(s) + (x + np.euler_gamma) * np.exp(-s)
    exact = tail / (s * np.exp(-s)) / LOG_DEVIATION**2
    kernel = np.interp(z, *zip(*measure_kernel(own), strict=True))
    np.testing.assert_allclose(kernel, exact, rtol=0.1)
    skewness, kurtosis = departure_moments(own)
    polynomial = Noise("gaussian", 1.0, 0.01, skewness=skewness, kurtosis=kurtosis)
    assert polynomial.kernel(z, z)[0] < 0.95 * exact[0]


def test_skewed_noise_has_its_measured_kernel_and_gaussian_noise_has_none():
    noise = estimate_noise(evidence(logarithm(SHAPES[3])), "gaussian")
    z, kernel = np.transpose(noise.measured_kernel)
    np.testing.assert_array_equal(noise.kernel(z, z), kernel)
    assert noise.scaled(2.0).measured_kernel == noise.measured_kernel
    assert estimate_noise(evidence(white(SHAPES[3])), "gaussian").measured_kernel == ()


def test_far_spikes_keep_their_weight():
    """E[z g(z)] of a filter that keeps spikes beyond five deviations; departures have no limit.

    The classes hold all values of the sample, so that both sides agree to the width of a class.
    """
    z = np.sort((logarithm((400_000,)) + np.euler_gamma) / LOG_DEVIATION)
    own = dataclasses.replace(
        evidence(white((10, 10))),
        residual=z,
        mean=z,
        departure=z,
        activity=np.zeros(z.size),
        axis_count=1,
    )
    kernel = np.interp(z, *zip(*measure_kernel(own), strict=True))
    kept = np.minimum(z + 5, 0)
    assert np.mean(kernel * (z < -5)) == pytest.approx(np.mean(z * kept), rel=0.1)
