"""The generalised Anscombe transform and its inverse against sums over counts of photons."""

import numpy as np
import pytest
from scipy import integrate, stats

from napari_diffusion.core.transforms.anscombe import expected, restore, stabilise

RATES = np.array([0.0, 0.3, 1.0, 5.0, 30.0, 100.0, 390.0, 410.0, 1e3, 1e4, 1e5])


def mean_of_transform(rate, ratio):
    """E[D] as a sum over counts, and an adaptive integral over the read noise."""
    low, high = (int(stats.poisson.ppf(p, rate)) for p in (1e-13, 1 - 1e-13))
    counts = np.arange(max(low - 2, 0), high + 3)
    level = 0.375 + ratio**2

    def of_count(count):
        if ratio == 0:
            return 2 * np.sqrt(count + level)
        start = max(-9.0, -(count + level) / ratio)

        def density(n):
            return 2 * np.sqrt(max(count + ratio * n + level, 0)) * stats.norm.pdf(n)

        return integrate.quad(density, start, 9, limit=200)[0]

    if rate > 25 and ratio > 0:  # the integrand is smooth there
        n, w = np.polynomial.hermite_e.hermegauss(40)
        values = 2 * np.sqrt(np.maximum(counts[:, None] + ratio * n + level, 0)) @ (w / w.sum())
    else:
        values = np.array([of_count(count) for count in counts])
    return float(stats.poisson.pmf(counts, rate) @ values)


@pytest.mark.parametrize("ratio", [0.0, 0.4, 2.0, 20.0])
def test_inverse_is_unbiased(ratio):
    """It returns the mean for the mean of the transform: to 0.05 % from 0.3 photons on.

    The bound of a filter is 0.5 % from 1 photon on.
    """
    gain, offset = 2.5, 100.0
    means = np.array([mean_of_transform(rate, ratio) for rate in RATES])
    restore(means, gain, offset, ratio * gain)
    photons = (means - offset) / gain
    np.testing.assert_allclose(photons, RATES, rtol=5e-4, atol=1e-4)


def test_algebraic_inverse_would_be_biased():
    """By more than 10 % at one photon."""
    mean = mean_of_transform(1.0, 0.0)
    assert mean**2 / 4 - 0.375 < 0.9


@pytest.mark.parametrize(("ratio", "bound"), [(0.0, 0.07), (1.0, 0.07), (5.0, 0.03)])
def test_noise_is_uniform(ratio, bound):
    """Its standard deviation is 1 from 4 photons on, or from a read noise of one photon on."""
    rng, gain, offset = np.random.default_rng(3), 4.0, 50.0
    for rate in (0.5, 1.0, 4.0, 20.0, 300.0):
        if ratio == 0 and rate < 4:
            continue
        values = gain * rng.poisson(rate, 200_000) + offset
        values = values + ratio * gain * rng.normal(size=values.size)
        stabilise(values, gain, offset, ratio * gain)
        assert values.std() == pytest.approx(1, abs=bound)


def test_inverse_is_increasing_and_continuous():
    """Over the nodes of its table, and beyond its ends."""
    for ratio in (0.0, 0.5, 4.0):
        d = np.linspace(0, 60, 200_001)
        values = d.copy()
        restore(values, 1.0, 0.0, ratio)
        steps = np.diff(values)
        assert steps.min() > 0
        assert steps.max() < 1.1 * 60 / 2 * (d[1] - d[0])


def test_unit_of_intensity_and_offset_do_not_matter():
    u = np.random.default_rng(0).normal(30, 10, 1000)
    scaled = 7 * u + 12
    stabilise(u, 2.0, 5.0, 3.0)
    stabilise(scaled, 14.0, 47.0, 21.0)
    np.testing.assert_allclose(scaled, u, rtol=1e-12)
    restore(u, 2.0, 5.0, 3.0)
    restore(scaled, 14.0, 47.0, 21.0)
    np.testing.assert_allclose(scaled, 7 * u + 12, rtol=1e-12)


def test_expectation_without_light_is_that_of_the_read_noise():
    assert expected(np.zeros(1), 0.0)[0] == pytest.approx(2 * np.sqrt(0.375), rel=1e-14)
