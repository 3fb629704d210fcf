"""The kinds of noise: told apart, with their levels and correlations, from the image alone."""

import numpy as np
import pytest
import scipy.ndimage

from helpers.noisy import evidence, scene, shared_by_smoothing, white
from napari_diffusion.estimation.noise import gather
from napari_diffusion.estimation.noise_kinds import estimate_noise


def test_poisson_line_is_found():
    """32 classes of some thousand residuals tell the variance to 3 %; slope and level are told together, which takes twice of it."""
    image = 3.0 * np.random.default_rng(0).poisson(scene() / 3.0) + 5 * white((256, 256))
    noise = estimate_noise(evidence(image))
    assert noise.kind == "poisson"
    assert noise.gain == pytest.approx(3.0, rel=0.1)
    levels = np.array([50.0, 150.0])
    np.testing.assert_allclose(noise.variance(levels), 25 + 3 * levels, rtol=0.1)


def test_poisson_line_is_found_in_the_dark():
    """Blurred spots: three fifths have less than a photon, whose noise is no bell; they may not outvote the rest."""
    y, x = np.indices((300, 300)) % 60 - 30
    clean = 250 * np.exp(-(x**2 + y**2) / 128)
    image = 7.0 * np.random.default_rng(0).poisson(clean / 7.0) + 2 * white(clean.shape)
    noise = estimate_noise(evidence(image), "poisson")
    assert noise.gain == pytest.approx(7.0, rel=0.1)


def test_speckle_is_found():
    image = scene(low=20.0) * np.random.default_rng(0).gamma(25, 1 / 25, (256, 256))
    noise = estimate_noise(evidence(image))
    assert noise.kind == "speckle"
    assert noise.speckle == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("low", [0.0, 60.0], ids=["with background", "without"])
def test_rician_noise_is_found(low):
    """In the dark its deviation is 0.655 of that of the parts; the estimate is of the parts."""
    clean = np.maximum(scene(low=low) - (0 if low else 90), low)
    image = np.hypot(clean + 12 * white(clean.shape, 1), 12 * white(clean.shape, 2))
    noise = estimate_noise(evidence(image), "rician")
    assert noise.sigma == pytest.approx(12, rel=0.05)
    dark, bright = noise.variance(noise.sigma * np.array([1.2533, 40.0]))
    assert dark == pytest.approx(0.4292 * noise.sigma**2, rel=0.05)
    assert bright == pytest.approx(noise.sigma**2, rel=0.01)


def interpolated(shape, along):
    """White noise at half a voxel's distance, linearly interpolated."""
    noise = white(shape)
    for axis in along:
        noise = noise + np.roll(noise, 1, axis)
    return noise / noise.std()


@pytest.mark.parametrize("shape", [(256, 256), (48, 48, 48)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("width", [0.5, 0.8])
def test_smoothed_noise_keeps_its_level(shape, width):
    """Second differences alone would find a fifth of it and less. Flat places are where such noise is weak by chance: that takes 10 %."""
    noise = scipy.ndimage.gaussian_filter(white(shape), width)
    noise *= 8 / noise.std()
    found = estimate_noise(evidence(scene(shape) + noise))
    assert found.sigma == pytest.approx(8, rel=0.12)
    expected = shared_by_smoothing(width)
    for along in found.correlations:
        np.testing.assert_allclose(
            along, expected, atol=0.06
        )  # 0.02 of chance, and what the flat places take


def test_noise_that_was_interpolated_along_one_axis():
    """There neighbours share half of it; along the other they share nothing."""
    found = estimate_noise(evidence(scene() + 8 * interpolated((256, 256), [1])))
    assert found.sigma == pytest.approx(8, rel=0.1)
    assert [along[0] for along in found.correlations] == pytest.approx([0, 0.5], abs=0.06)
    assert found.correlation == pytest.approx(0.5, abs=0.06)


def test_busy_images_are_read_where_they_are_calm():
    """Detail everywhere but in a twentieth: the noise is that of the calm part, which a quarter of the image would triple."""
    detail = 60 * scipy.ndimage.gaussian_filter(white((300, 300), 4), 1.2) / 0.235
    detail[:70, :70] = detail[0, 0]
    found = estimate_noise(evidence(detail + 4 * white(detail.shape)))
    assert found.kind == "gaussian"
    assert found.sigma == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("sigma", [3.0, 25.0])
def test_gaussian_noise_is_not_taken_for_another(sigma):
    assert estimate_noise(evidence(scene() + sigma * white((256, 256)))).kind == "gaussian"


@pytest.mark.parametrize("shape", [(8192,), (90, 90), (20, 20, 20)], ids=str)
def test_standard_error_is_honest(shape):
    """The scatter of 40 estimates is known to 11 %; it lies within 0.6 and 1.4 of what each says of itself."""
    found = [
        estimate_noise(gather([white(shape, seed)], [np.ones(shape, bool)], [(1.0,) * len(shape)]))
        for seed in range(40)
    ]
    scatter = np.std([one.sigma for one in found]) / np.mean([one.error for one in found])
    assert 0.6 < scatter < 1.4
