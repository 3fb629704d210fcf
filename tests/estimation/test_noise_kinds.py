"""Kind, level and correlations of the noise, estimated from the image alone."""

import numpy as np
import pytest
import scipy.ndimage

from helpers.noise_cases import CASES
from helpers.noisy import evidence, shared_by_smoothing, smooth_scene, white
from napari_diffusion.estimation.noise.evidence import gather
from napari_diffusion.estimation.noise.kinds import estimate_noise


def test_poisson_gain_and_offset_are_accurate():
    """A class of some thousand residuals has a variance error of 3 %; 32 classes fit a line.

    The joint fit of slope and offset doubles the errors.
    """
    image = 3.0 * np.random.default_rng(0).poisson(smooth_scene() / 3.0) + 5 * white((256, 256))
    noise = estimate_noise(evidence(image))
    assert noise.kind == "poisson"
    assert noise.gain == pytest.approx(3.0, rel=0.1)
    levels = np.array([50.0, 150.0])
    np.testing.assert_allclose(noise.variance(levels), 25 + 3 * levels, rtol=0.1)


def test_poisson_gain_is_accurate_in_the_dark():
    """Blurred spots: three fifths of the voxels have less than a photon.

    Their noise is not normal, and must not dominate the fit.
    """
    y, x = np.indices((300, 300)) % 60 - 30
    clean = 250 * np.exp(-(x**2 + y**2) / 128)
    image = 7.0 * np.random.default_rng(0).poisson(clean / 7.0) + 2 * white(clean.shape)
    noise = estimate_noise(evidence(image), "poisson")
    assert noise.gain == pytest.approx(7.0, rel=0.1)


def test_speckle_level_is_accurate():
    image = smooth_scene(low=20.0) * np.random.default_rng(0).gamma(25, 1 / 25, (256, 256))
    noise = estimate_noise(evidence(image))
    assert noise.kind == "speckle"
    assert noise.speckle == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("low", [0.0, 60.0], ids=["with background", "without"])
def test_rician_level_is_accurate(low):
    """The level is that of the real and the imaginary part.

    In the dark, the deviation of the magnitude is 0.655 of it.
    """
    clean = np.maximum(smooth_scene(low=low) - (0 if low else 90), low)
    image = np.hypot(clean + 12 * white(clean.shape, 1), 12 * white(clean.shape, 2))
    noise = estimate_noise(evidence(image), "rician")
    assert noise.sigma == pytest.approx(12, rel=0.05)
    dark, bright = noise.variance(noise.sigma * np.array([1.2533, 40.0]))
    assert dark == pytest.approx(0.4292 * noise.sigma**2, rel=0.05)
    assert bright == pytest.approx(noise.sigma**2, rel=0.01)


def interpolated(shape, along):
    """White noise, linearly interpolated half a voxel away along some axes."""
    noise = white(shape)
    for axis in along:
        noise = noise + np.roll(noise, 1, axis)
    return noise / noise.std()


@pytest.mark.parametrize("shape", [(256, 256), (48, 48, 48)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("width", [0.5, 0.8])
def test_smoothed_noise_keeps_its_level(shape, width):
    """Second differences alone would give a fifth of the level, or less.

    The flattest voxels are those where smooth noise is weak by chance, which takes 10 % of the
    level. Correlations scatter by 0.02, and are smaller in the flattest voxels.
    """
    correlated = scipy.ndimage.gaussian_filter(white(shape), width)
    correlated *= 8 / correlated.std()
    noise = estimate_noise(evidence(smooth_scene(shape) + correlated))
    assert noise.sigma == pytest.approx(8, rel=0.12)
    expected = shared_by_smoothing(width)
    for along in noise.correlations:
        np.testing.assert_allclose(along, expected, atol=0.06)


def test_noise_interpolated_along_one_axis_is_correlated_along_it():
    """Neighbours have the correlation 1/2 along this axis, and 0 along the other."""
    noise = estimate_noise(evidence(smooth_scene() + 8 * interpolated((256, 256), [1])))
    assert noise.sigma == pytest.approx(8, rel=0.1)
    assert [along[0] for along in noise.correlations] == pytest.approx([0, 0.5], abs=0.06)
    assert noise.correlation == pytest.approx(0.5, abs=0.06)


def test_busy_image_is_measured_where_it_is_calm():
    """All but a twentieth of the image is detail; the level is that of the calm part.

    The flattest quarter of the image would give three times this level.
    """
    detail = 60 * scipy.ndimage.gaussian_filter(white((300, 300), 4), 1.2) / 0.235
    detail[:70, :70] = detail[0, 0]
    noise = estimate_noise(evidence(detail + 4 * white(detail.shape)))
    assert noise.kind == "gaussian"
    assert noise.sigma == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("sigma", [3.0, 25.0])
def test_gaussian_noise_is_recognised(sigma):
    assert estimate_noise(evidence(smooth_scene() + sigma * white((256, 256)))).kind == "gaussian"


@pytest.mark.parametrize("shape", [(8192,), (90, 90), (20, 20, 20)], ids=str)
def test_standard_error_agrees_with_the_scatter(shape):
    """The scatter of 40 estimates is 0.6 to 1.4 times their standard error; it is known to 11 %."""
    valid, spacing = np.ones(shape, bool), (1.0,) * len(shape)
    noises = [estimate_noise(gather([white(shape, k)], [valid], [spacing])) for k in range(40)]
    scatter = np.std([n.sigma for n in noises]) / np.mean([n.error for n in noises])
    assert 0.6 < scatter < 1.4


def test_noise_shared_over_more_than_a_voxel_has_no_kind():
    """Its second differences are a hundred times smaller, so that edges among them decide.

    This noise was taken for Rician noise of twice its level.
    """
    case = next(case for case in CASES if case.name == "folds, blurred 1.2")
    noise = estimate_noise(evidence(case.noisy(8).astype(float)))
    assert noise.origin == "noise"
    assert noise.kind == "gaussian"
    assert noise.sigma == pytest.approx(16, rel=0.2)
