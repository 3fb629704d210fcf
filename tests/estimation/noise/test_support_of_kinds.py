"""Kinds of noise that the variances do not support are refused, and the others recognised."""

import dataclasses

import numpy as np
import pytest

from helpers import noise_models
from helpers.noise_cases import CASES
from helpers.noisy import evidence, patch_of, smooth_scene, white
from napari_diffusion.estimation.measurement.noise import measure_noise
from napari_diffusion.estimation.noise import kinds
from napari_diffusion.estimation.noise.kinds import KINDS, Noise, estimate_noise

BY_NAME = {case.name: case for case in CASES}


def of_levels(deviation_at, seed=1):
    """Evidence of flat steps with white noise whose deviation depends on the level of the step."""
    steps = 60 + 20 * (np.indices((256, 256))[1] // 32)
    return evidence(steps + deviation_at(steps) * white(steps.shape, seed))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("kind", "deviation_at"),
    [
        ("gaussian", lambda level: 9.0 + 0 * level),
        ("poisson", lambda level: np.sqrt(2.0 * (level - 40))),
        ("speckle", lambda level: 0.12 * level),
    ],
    ids=["gaussian", "poisson", "speckle"],
)
def test_kind_is_recognised_on_steps(kind, deviation_at, seed):
    assert estimate_noise(of_levels(deviation_at, seed)).kind == kind


@pytest.mark.parametrize("seed", range(3))
def test_rician_noise_is_recognised(seed):
    """Half of the picture is dark, where the deviation is 0.655 of that elsewhere."""
    clean = np.maximum(smooth_scene() - 90, 0)
    image = np.hypot(clean + 12 * white(clean.shape, seed), 12 * white(clean.shape, seed + 20))
    noise = estimate_noise(evidence(image))
    assert noise.kind == "rician"
    assert noise.sigma == pytest.approx(12, rel=0.05)


def line(gain, offset, sigma=5.0):
    return Noise("poisson", sigma, 0.1, gain=gain, offset=offset)


def classes_of(means, deviations):
    return kinds._Classes(np.array(means), np.array(deviations), np.full(len(means), 300.0))


def test_line_needs_a_positive_variance_and_growth():
    """Variances from 25 to 25 (1 + g): a growth of half their median is the least."""
    means = [10.0, 20.0, 30.0]
    classes = classes_of(means, [5.0, 5.0, 5.0])
    for growth, is_supported in ((0.0, False), (0.49, False), (0.51, True)):
        gain = 25 * growth / 20
        assert kinds._is_supported(line(gain, 25 - 10 * gain), classes) is is_supported
    assert not kinds._is_supported(line(5.0, -51.0), classes)  # variance -1 at the mean 10
    assert kinds._is_supported(line(5.0, -49.0), classes)


def test_rician_noise_needs_growth():
    """Far above the noise, the variance of magnitudes is that of Gaussian noise."""
    rician = Noise("rician", 5.0, 0.1)
    assert kinds._is_supported(rician, classes_of([6.3, 40.0], [3.3, 5.0]))
    assert not kinds._is_supported(rician, classes_of([40.0, 90.0], [5.0, 5.0]))


@pytest.mark.parametrize("seed", range(5))
def test_small_image_of_steps_has_gaussian_noise(seed):
    """Two classes of equal deviation, which differ from the level of the flattest places."""
    index = np.indices((60, 60))
    blocks = 40 + 60 * ((index // 12).sum(0) % 3)
    assert estimate_noise(evidence(blocks + 8 * white((60, 60), seed))).kind == "gaussian"


def test_kind_that_fits_badly_is_refused():
    """Deviations that jump up and down with the mean are of no kind."""
    noise = estimate_noise(of_levels(lambda level: np.where(level // 20 % 2, 4.0, 16.0)))
    assert noise.kind == "gaussian"


@pytest.mark.parametrize("seed", [0, 1])
def test_head_in_exact_zeros_has_gaussian_noise_of_its_level(seed):
    """Noise of 6 that neighbours share: a line through its classes gave a level of 300."""
    case = BY_NAME["B head in exact zeros, noise shared by neighbours"]
    patch = patch_of(case.noisy(seed)[None])
    ((noise,),) = measure_noise([patch], None, "auto").values()
    assert noise.kind == "gaussian"
    assert noise.sigma == pytest.approx(6, rel=0.2)


@pytest.mark.parametrize("name", ["camera with offset", "photons, thick slices"])
def test_photon_noise_depends_on_intensity(name):
    """Two photons per unit and read noise: the root mean square is within a fifth of the truth."""
    case = BY_NAME[name]
    noise = estimate_noise(evidence_of(case, 0))
    error = case.noisy(0) - case.clean()
    assert noise.kind in ("poisson", "speckle")
    assert noise.sigma == pytest.approx(np.sqrt(np.mean(error**2)), rel=0.2)


def evidence_of(case, seed):
    from napari_diffusion.estimation.noise.evidence import gather
    from napari_diffusion.estimation.noise.values import carries_noise

    image = case.noisy(seed).astype(float)
    return gather([image], [carries_noise(image[None])], [case.spacing])


@pytest.mark.parametrize("kind", KINDS)
def test_scaled_noise_has_the_scaled_variance(kind):
    """Of every kind, the deviation of noise times a factor is the factor times the deviation."""
    noise = Noise(kind, 4.0, 0.2, gain=0.3, offset=7.0, speckle=0.1, other_sigma=5.0)
    twice = noise.scaled(2.0)
    means = np.array([30.0, 80.0, 200.0])
    if kind == "rician":  # a function of the mean over the level
        np.testing.assert_allclose(twice.variance(2 * means), 4 * noise.variance(means))
    else:
        np.testing.assert_allclose(twice.variance(means), 4 * noise.variance(means))
    assert (twice.sigma, twice.error, twice.other_sigma) == (8.0, 0.4, 10.0)
    gaussian = twice.as_gaussian()
    np.testing.assert_array_equal(gaussian.variance(means), 64.0)


def test_line_through_impulses_is_not_extrapolated():
    """One bright voxel far above the classes leaves the level as it is."""
    image = noise_models.poisson(0.6, 20, 2)(smooth_scene(low=20.0), np.random.default_rng(3))
    plain = estimate_noise(evidence(image), "poisson")
    image[100:104, 100:104] = 1e5
    assert estimate_noise(evidence(image), "poisson").sigma == pytest.approx(plain.sigma, rel=0.1)


def test_alternative_is_the_noise_of_the_other_level():
    noise = Noise("gaussian", 2.0, 0.1, ((0.5,),), origin="undecided", other_sigma=3.0)
    other = noise.alternative
    assert (other.sigma, other.error, other.origin) == (3.0, pytest.approx(0.15), "noise")
    assert dataclasses.replace(noise, other_sigma=0.0).alternative is None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("coils", "sigma"), [(4, 14.0), (8, 22.0)])
def test_magnitudes_of_several_coils_are_recognised(coils, sigma, seed):
    """The background has the least mean possible, and 0.7 of the deviation elsewhere.

    The level of the background alone, 0.7 of that in the head, was taken for Gaussian noise.
    """
    case = BY_NAME[f"{coils} coils, sum of squares"]
    noise = estimate_noise(evidence(case.noisy(seed + 4).astype(float)))
    if noise.kind == "rician":
        assert noise.coils == coils
        assert noise.sigma == pytest.approx(sigma, rel=0.12)
    deviation = float(np.sqrt(noise.variance(np.array(200.0))))
    assert deviation == pytest.approx(sigma, rel=0.25)


def test_coils_follow_from_the_mean_of_the_background():
    """Magnitudes without signal, of 1 to 32 coils, and half of the image with signal."""
    for coils in (1, 4, 16):
        signal = np.where(np.arange(200) < 80, 400.0, 0.0)
        rng = np.random.default_rng(coils)
        parts = 12 * rng.normal(size=(2 * coils, 200, 200))
        parts[0] += signal
        noise = estimate_noise(evidence(np.sqrt(np.square(parts).sum(0))), "rician")
        assert noise.coils == coils
