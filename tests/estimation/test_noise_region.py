"""Noise that is measured at a place that the user points at, in an image full of texture."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import napari_diffusion as nd

SHAPES = [(128, 136), (32, 40, 44)]


def texture(shape, seed=0):
    """Texture as fine as the voxels, and a corner without it; also return the corner."""
    detail = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 0.7)
    corner = np.zeros(shape, bool)
    corner[tuple(slice(0, n // 3) for n in shape)] = True
    clean = 100 + 40 * detail / detail.std()
    clean[corner] = 100
    return clean, corner


def noise_like(clean, sigma, seed=5):
    # The texture has the seeds from 0, and must not be the noise.
    return sigma * np.random.default_rng(1000 + seed).normal(size=clean.shape)


def error(result, clean):
    return np.mean((result - clean) ** 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [8.0, 20.0])
def test_level_is_that_of_the_region_within_its_error(shape, sigma):
    """The whole image shows the texture: more than three standard errors too much."""
    clean, corner = texture(shape)
    noisy = clean + noise_like(clean, sigma)
    noise = nd.suggest(noisy, nd.Linear(), noise_region=corner).noise
    assert abs(noise.sigma - sigma) < 3 * noise.error
    assert noise.error == pytest.approx(sigma / np.sqrt(2 * corner.sum()), rel=0.15)
    whole = nd.suggest(noisy, nd.Linear()).noise
    assert whole.sigma - sigma > 3 * whole.error


def test_error_is_that_of_repeated_noise():
    """Over 60 samples of noise, the level scatters by its standard error, and has no bias."""
    clean, corner = texture((64, 64))
    levels, errors = [], []
    for seed in range(60):
        noise = nd.suggest(
            clean + noise_like(clean, 10.0, seed), nd.Linear(), fwhm=1.0, noise_region=corner
        ).noise
        levels.append(noise.sigma)
        errors.append(noise.error)
    assert np.std(levels) == pytest.approx(np.mean(errors), rel=0.3)  # 3 of its standard errors
    assert np.mean(levels) == pytest.approx(10, abs=3 * np.mean(errors) / np.sqrt(60))


@pytest.mark.parametrize(("shape", "seed"), [(SHAPES[0], 0), (SHAPES[0], 1), (SHAPES[1], 0)])
def test_time_is_within_a_tenth_of_a_decibel_of_the_best(shape, seed):
    """With the level of the whole image, the texture would be lost."""
    clean, corner = texture(shape, seed)
    noisy = clean + noise_like(clean, 20.0, seed)
    suggestion = nd.suggest(noisy, nd.PeronaMalik(), noise_region=corner)
    times = suggestion.time * np.geomspace(0.3, 3, 25)
    errors = [error(nd.diffuse(noisy, suggestion.model, time=t), clean) for t in times]
    own = error(nd.diffuse(noisy, suggestion.model, time=suggestion.time), clean)
    assert 10 * np.log10(own / min(errors)) < 0.1
    model, time = nd.suggest(noisy, nd.PeronaMalik())
    assert error(nd.diffuse(noisy, model, time=time), clean) > 1.03 * own


def test_noise_that_neighbours_share_is_that_of_the_region():
    """Fine texture and shared noise look alike; in the region, it is noise."""
    clean, corner = texture((160, 160))
    shared = gaussian_filter(np.random.default_rng(2).normal(size=clean.shape), 0.8)
    noisy = clean + 15 * shared / shared.std()
    noise = nd.suggest(noisy, nd.Linear(), noise_region=corner).noise
    assert abs(noise.sigma - 15) < 3 * noise.error
    assert noise.error > 1.3 * 15 / np.sqrt(2 * corner.sum())  # fewer independent values


def test_uneven_background_is_no_noise():
    clean, corner = texture((128, 128))
    ramp = 60 * np.add(*np.indices(clean.shape)) / 128
    suggestion = nd.suggest(
        clean + ramp + noise_like(clean, 10.0), nd.Linear(), noise_region=corner
    )
    assert suggestion.noise.sigma == pytest.approx(10, rel=0.05)
    assert not any("contains structure" in text for text in suggestion.warnings)


def test_hot_pixels_in_the_region_do_not_count():
    clean, corner = texture((128, 128))
    noisy = clean + noise_like(clean, 10.0)
    noisy[5:40:6, 3:40:7] = 5000
    noise = nd.suggest(noisy, nd.Linear(), noise_region=corner).noise
    assert noise.sigma == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("offset", [0, 200])
def test_air_around_a_magnitude_image_is_rician(offset):
    """Its values scatter by 0.655 of the noise. With an offset, they are no magnitudes."""
    clean, corner = texture(SHAPES[1])
    rng = np.random.default_rng(11)
    real, imaginary = 10 * rng.normal(size=(2, *clean.shape))
    clean[corner] = 0
    magnitude = np.hypot(10 * clean + real, imaginary) + offset
    noise = nd.suggest(magnitude, nd.Linear(), noise_region=corner).noise
    assert noise.kind == ("gaussian" if offset else "rician")
    assert abs(noise.sigma - (6.55 if offset else 10)) < 3 * noise.error
    plain = nd.suggest(magnitude, nd.Linear(), noise="gaussian", noise_region=corner).noise
    assert abs(plain.sigma - 6.55) < 3 * plain.error


def test_the_report_names_the_region():
    clean, corner = texture((128, 128))
    suggestion = nd.suggest(clean + noise_like(clean, 10.0), nd.Linear(), noise_region=corner)
    assert f"from {corner.sum()} voxels of the noise region" in suggestion.report
    assert "taken to be the same outside" in suggestion.report
    assert not any("contains structure" in text for text in suggestion.warnings)


def test_region_with_structure_is_warned_about():
    clean, corner = texture((128, 128))
    clean[10:30, 10:30] += 60
    suggestion = nd.suggest(clean + noise_like(clean, 10.0), nd.Linear(), noise_region=corner)
    assert any("noise region contains structure" in text for text in suggestion.warnings)


def test_region_outside_the_mask_and_beside_nan_is_measured():
    clean, corner = texture((128, 128))
    noisy = clean + noise_like(clean, 10.0)
    noisy[3, 4:9] = np.nan
    noise = nd.suggest(noisy, nd.Linear(), mask=~corner, noise_region=corner).noise
    assert abs(noise.sigma - 10) < 3 * noise.error


def test_small_region_of_a_large_image_is_not_missed():
    """A lattice of patches over the whole image would not meet it."""
    clean, _ = texture((40, 300, 300))
    place = np.zeros(clean.shape, bool)
    place[17:23, 201:213, 50:62] = True
    clean[place] = 100
    noise = nd.suggest(clean + noise_like(clean, 10.0), nd.Linear(), noise_region=place).noise
    assert abs(noise.sigma - 10) < 3 * noise.error


def test_frames_channels_and_other_images():
    clean, corner = texture((96, 100))
    frames = np.stack([clean + noise_like(clean, level, int(level)) for level in (8.0, 12.0)])
    noise = nd.suggest(frames, nd.Linear(), axes=(1, 2), noise_region=corner).noise
    assert noise.sigma == pytest.approx(np.sqrt((64 + 144) / 2), rel=0.05)
    # A region in one frame only: its level holds for all.
    one = np.stack([np.zeros_like(corner), corner])
    noise = nd.suggest(frames, nd.Linear(), axes=(1, 2), noise_region=one).noise
    assert noise.sigma == pytest.approx(12, rel=0.05)
    colours = np.moveaxis(frames, 0, -1)
    noise = nd.suggest(colours, nd.Linear(), channel_axis=-1, noise_region=corner).noise
    assert noise.sigma == pytest.approx(np.sqrt((64 + 144) / 2), rel=0.05)
    noise = nd.suggest(frames[0], nd.Linear(), others=[frames[1]], noise_region=corner).noise
    assert noise.sigma == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize(
    ("region", "kind", "message"),
    [
        (np.ones((20, 21)), TypeError, "noise_region must be bool, got dtype float64"),
        (np.ones((20, 20), bool), ValueError, r"noise_region must have the shape .*\(20, 21\)"),
        (np.zeros((20, 21), bool), ValueError, "has 0 voxels that can be used, and 200"),
        (np.eye(20, 21) > 0, ValueError, "has 20 voxels that can be used, and 200"),
    ],
)
def test_region_that_cannot_be_used_is_refused_in_a_sentence(region, kind, message):
    image = np.random.default_rng(0).normal(size=(20, 21))
    with pytest.raises(kind, match=message):
        nd.suggest(image, nd.Linear(), noise_region=region)


def test_constant_region_shows_no_noise():
    image, region = np.random.default_rng(0).normal(size=(60, 600)), np.zeros((60, 600), bool)
    region[:20, :20] = True
    image[region] = 7
    with pytest.raises(ValueError, match="No noise can be measured in the noise region"):
        nd.suggest(image, nd.Linear(), noise_region=region)
