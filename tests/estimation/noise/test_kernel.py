"""The Stein kernel of a noise: E[n g(n)] = E[kernel(n) g'(n)] for every smooth function g."""

import numpy as np
import pytest
import scipy.special

from napari_diffusion.estimation.noise.kinds import Noise

COUNT = 400_000
#: Functions and their derivatives, some of them as a filter that keeps spikes responds.
FUNCTIONS = {
    "step": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "kept spikes": (lambda z: np.maximum(z - 1, 0), lambda z: (z > 1).astype(float)),
    "kept holes": (lambda z: np.minimum(z + 1, 0), lambda z: (z < -1).astype(float)),
    "square": (np.square, lambda z: 2 * z),
}


def sides(z, kernel, function):
    """Both sides of the identity for values of unit variance."""
    g, derivative = FUNCTIONS[function]
    return float(np.mean(z * g(z))), float(np.mean(kernel * derivative(z)))


def standardised(values):
    return (values - values.mean()) / values.std()


def skewed(z, kind="gaussian", **own):
    return Noise(
        kind, 1.0, 0.01, skewness=float(np.mean(z**3)), kurtosis=float(np.mean(z**4)), **own
    )


@pytest.mark.parametrize("function", list(FUNCTIONS))
@pytest.mark.parametrize("looks", [3, 12])
def test_kernel_of_speckle_is_exact(function, looks):
    """For gamma-distributed values it is q² m x; 1 would be off by up to a third."""
    z = standardised(np.random.default_rng(0).gamma(looks, 1 / looks, COUNT))
    noise = skewed(z, "speckle", speckle=looks**-0.5)
    left, right = sides(z, noise.kernel(np.ones(COUNT), z), function)
    assert right == pytest.approx(left, rel=0.03, abs=0.02)
    if function == "kept spikes":
        assert sides(z, np.ones(COUNT), function)[1] < 0.85 * left


@pytest.mark.parametrize("function", list(FUNCTIONS))
@pytest.mark.parametrize("looks", [1, 3])
def test_kernel_of_logarithms_is_nearly_exact(function, looks):
    """The polynomial of second degree is within 4 % of the identity, where 1 is off by 40 %."""
    z = standardised(np.log(np.random.default_rng(1).gamma(looks, 1.0, COUNT)))
    left, right = sides(z, skewed(z).kernel(np.zeros(COUNT), z), function)
    assert right == pytest.approx(left, rel=0.04, abs=0.02)
    if function == "kept holes":
        assert sides(z, np.ones(COUNT), function)[1] < 0.75 * left


@pytest.mark.parametrize("function", list(FUNCTIONS))
def test_kernel_of_uniform_noise_is_exact(function):
    """It is (3 - x²)/2; 1 would be off by a quarter for a filter that keeps far values."""
    z = np.sqrt(12) * (np.random.default_rng(5).random(COUNT) - 0.5)
    kernel = skewed(z).kernel(np.zeros(COUNT), z)
    np.testing.assert_allclose(kernel, (3 - z**2) / 2, atol=0.03)
    left, right = sides(z, kernel, function)
    assert right == pytest.approx(left, rel=0.03, abs=0.02)
    if function == "kept spikes":
        assert sides(z, np.ones(COUNT), function)[1] > 1.25 * left


def test_kernel_of_logarithms_has_a_square():
    """Holes of three deviations and more: the line alone is a tenth too low there."""
    z = standardised(np.log(np.random.default_rng(1).gamma(1, 1.0, COUNT)))
    deep = z < -3
    left = float(np.mean(z * np.minimum(z + 3, 0)))
    right = float(np.mean(skewed(z).kernel(np.zeros(COUNT), z) * deep))
    assert right == pytest.approx(left, rel=0.05)


@pytest.mark.parametrize("function", ["step", "square"])
@pytest.mark.parametrize("photons", [4.0, 20.0])
def test_kernel_of_photons_is_the_mean_of_count_and_mean(function, photons):
    z = (np.random.default_rng(2).poisson(photons, COUNT) - photons) / np.sqrt(photons)
    noise = Noise("poisson", np.sqrt(photons), 0.01, gain=1.0, offset=0.0)
    kernel = noise.kernel(np.full(COUNT, photons), z)
    np.testing.assert_allclose(kernel, np.maximum(1 + z / 2 / np.sqrt(photons), 0))
    left, right = sides(z, kernel, function)
    assert right == pytest.approx(left, rel=0.03, abs=0.02)


@pytest.mark.parametrize("photons", [0.05, 0.5])
def test_kernel_of_coarse_counts_is_the_count(photons):
    """A filter that keeps single photons keeps all noise: the kernel then has its variance."""
    counts = np.random.default_rng(3).poisson(photons, COUNT).astype(float)
    noise = Noise("poisson", np.sqrt(photons), 0.01, gain=1.0)
    z = (counts - photons) / np.sqrt(photons)
    kernel = noise.kernel(np.full(COUNT, photons), z, is_coarse=True)
    np.testing.assert_allclose(kernel * photons, counts, atol=1e-9)
    assert np.mean(kernel[counts > 0]) * np.mean(counts > 0) == pytest.approx(1, rel=0.02)


def test_kernel_of_gaussian_noise_is_one():
    z = np.random.default_rng(4).normal(size=1000)
    for noise in (Noise("gaussian", 1.0, 0.01), Noise("rician", 1.0, 0.01, skewness=0.6)):
        np.testing.assert_array_equal(noise.kernel(z, z), 1)


def test_kernel_is_never_negative():
    z = np.linspace(-6, 6, 101)
    for skewness in (-1.5, -0.5, 0.5, 3.0):
        noise = Noise("gaussian", 1.0, 0.01, skewness=skewness, kurtosis=3 + 1.5 * skewness**2)
        assert noise.kernel(z, z).min() >= 0


def test_moments_of_logarithms_are_those_of_the_theory():
    """Guards the tests above: the logarithm of an exponential has the skewness -1.14."""
    z = standardised(np.log(np.random.default_rng(1).gamma(1, 1.0, COUNT)))
    exact = scipy.special.polygamma(2, 1) / scipy.special.polygamma(1, 1) ** 1.5
    assert np.mean(z**3) == pytest.approx(float(exact), abs=0.02)
