"""The noise of a series: read from what changes between frames, which leaves the picture out, where that is the better witness."""

import nibabel
import numpy as np
import pytest
import scipy.ndimage
from skimage.filters import threshold_otsu

import napari_diffusion as nd
from helpers.noisy import evidence, scene, shared_by_smoothing, steps, white
from napari_diffusion.estimation.noise_kinds import estimate_noise
from napari_diffusion.io import samples

SHAPE = (256, 256)


def texture(seed=4):
    """Detail as fine as a microscope's, in every voxel."""
    detail = scipy.ndimage.gaussian_filter(white(SHAPE, seed), 0.7)
    return 100 + 30 * detail / detail.std()


def series(clean, sigma, width=0.0):
    """Two frames of a picture in noise that may be smooth."""
    noise = (
        scipy.ndimage.gaussian_filter(white((2, *SHAPE)), (0, width, width))
        if width
        else white((2, *SHAPE))
    )
    return clean + sigma * noise / noise.std()


def found(frames, **options):
    return nd.suggest(frames.astype("f4"), nd.Linear(), axes=(1, 2), **options)


@pytest.mark.parametrize("width", [0.0, 0.6, 1.0])
def test_a_texture_that_stays_is_no_noise(width):
    frames = series(texture(), 5.0, width)
    assert estimate_noise(evidence(frames[0])).sigma > 10
    noise = found(frames).noise
    assert noise.sigma == pytest.approx(
        5, rel=0.03 if width < 1 else 0.06
    )  # of which second differences keep a twelfth of the variance
    expected = shared_by_smoothing(width) if width else ()
    for along in noise.correlations:
        np.testing.assert_allclose(along, expected, atol=0.03)
    assert bool(noise.correlations) is bool(width)


def test_grey_levels_do_not_hide_the_correlation():
    """Rounded to whole numbers, which are half of this noise; the rounding is one more noise, white and of 1/sqrt(12)."""
    shared = np.array(shared_by_smoothing(0.6))
    noise = found(np.round(series(texture(), 2.0, 0.6))).noise
    for along in noise.correlations:
        np.testing.assert_allclose(along, shared * 4 / (4 + 1 / 12), atol=0.03)
    assert noise.sigma == pytest.approx(np.sqrt(4 + 1 / 12), rel=0.03)


def test_what_moves_does_not_count():
    """A disc of ten noise levels moves by a fifth of its width over a texture that stays."""
    y, x = np.indices(SHAPE)
    discs = [50 * (np.hypot(y - 90, x - at) < 25) for at in (80, 90)]
    assert found(series(texture() + np.stack(discs), 5.0)).noise.sigma == pytest.approx(5, rel=0.05)


def test_where_one_frame_is_empty_there_is_no_change():
    frames = series(texture(), 5.0)
    frames[1, :128] = 0
    assert found(frames).noise.sigma == pytest.approx(5, rel=0.05)


def test_other_pictures_are_looked_at_one_by_one():
    """Their difference has the details of both."""
    frames = series(np.stack([texture(4), texture(5)]), 5.0)
    assert not found(frames).noise.between_frames


def test_one_picture_twice_is_one_picture():
    frame = steps(SHAPE) + 5 * white(SHAPE)
    twice = found(np.stack([frame, frame])).noise
    assert twice.sigma == pytest.approx(5, rel=0.05)
    assert not twice.between_frames


def test_photon_noise_of_a_texture():
    """The variance of what changes in classes of equal mean; that of a frame has the texture's on top."""
    clean = np.maximum(scene(low=60.0) + texture() / 2 - 50, 0)
    noise = found(
        3.0 * np.random.default_rng(0).poisson(clean / 3.0, (2, *SHAPE)), noise="poisson"
    ).noise
    assert noise.gain == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(noise.variance(np.array([80.0, 120.0])), [240, 360], rtol=0.1)


def test_a_running_mean_does_not_hide_noise_that_one_frame_shows():
    """The mean of three frames differs from the next one by two of four frames: a third of its noise is in the difference."""
    frames = scene() + 5 * white((6, *SHAPE))
    running = (frames[:-2] + frames[1:-1] + frames[2:]) / 3
    assert found(running).noise.sigma == pytest.approx(5 / np.sqrt(3), rel=0.05)


def test_speckle_that_stays_is_speckle_still():
    """Where nothing moves, coherent imaging shows the same speckle again, and a little noise of the detector."""
    grain = scipy.ndimage.gaussian_filter(white(SHAPE, 5), 0.7)
    noise = found(series(scene(low=20.0) * (1 + 0.2 * grain / grain.std()), 0.5)).noise
    assert noise.kind == "speckle"
    assert noise.speckle == pytest.approx(0.2, rel=0.1)


def test_the_report_says_so():
    said = found(series(texture(), 5.0, 0.6))
    assert "changes between frames" in said.reasons[0]
    assert not any(
        "texture" in text for text in said.warnings
    )  # as it would go, were the noise read from one frame


def test_what_goes_from_a_scan_of_voxel_sized_folds_is_noise():
    """Two volumes of one head: their noise is independent, so the second tells gains, and what both removed parts share is picture.

    The largest gain of 456 settings of four models is 0.30 dB, but then 85 % of what goes is folds, which are as fine and weak as the noise
    (`tests/benchmarks/residuals.py`). Parameters from single volumes lost 2.75 dB.
    """
    scan = np.asarray(nibabel.load(samples.mri_file()).dataobj, np.float32)
    head = scan.mean(-1) > threshold_otsu(scan.mean(-1))
    found = nd.suggest(scan, axes=(0, 1, 2), spacing=(2, 2, 2.2))
    filtered = nd.diffuse(scan, found.model, time=found.time, axes=(0, 1, 2), spacing=(2, 2, 2.2))
    removed, noise = (
        (scan - filtered)[head],
        np.square(scan[..., 0] - scan[..., 1])[head].mean() / 2,
    )
    left = np.square(filtered[..., 0] - scan[..., 1])[head].mean() - noise
    assert 10 * np.log10(noise / left) > 0.1
    assert np.square(removed[:, 0] - removed[:, 1]).mean() / 2 > 0.4 * np.square(removed).mean()
    assert any("Detail is spared" in text for text in found.warnings)
