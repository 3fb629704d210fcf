"""Where correlations of neighbours come from: the noise, detail of the picture, or undecided."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage

import napari_diffusion as nd
from helpers import noise_scenes
from helpers.noise_cases import CASES
from helpers.noisy import blocks, evidence, shared_by_smoothing, smooth_scene, white
from napari_diffusion.estimation.noise.correlations import (
    Correlations,
    _explained,
    band_variance,
    measure_correlations,
    residual_variance,
)
from napari_diffusion.estimation.noise.evidence import local_quantities
from napari_diffusion.estimation.noise.kinds import estimate_noise

BY_NAME = {case.name: case for case in CASES}


def blurred(shape, width, seed=1):
    """Noise blurred over ``width`` voxels, of unit standard deviation."""
    field = scipy.ndimage.gaussian_filter(white(shape, seed), width, mode="wrap")
    return field / field.std()


@pytest.mark.parametrize("axis_count", [2, 3])
@pytest.mark.parametrize("width", [0.0, 0.5, 0.8])
def test_energy_of_noise_in_the_band_and_the_residual_is_known(width, axis_count):
    """Both variances follow from the correlations; 160 000 voxels measure them to 2 %."""
    shape = (400, 400) if axis_count == 2 else (54, 54, 54)
    field = blurred(shape, width) if width else white(shape)
    local = local_quantities(field, np.ones(shape, bool), tuple(range(axis_count)))
    along = (shared_by_smoothing(width) if width else (),) * axis_count
    inside = (slice(8, -8),) * axis_count
    assert np.mean(local.residual[inside] ** 2) == pytest.approx(residual_variance(along), rel=0.05)
    assert np.mean(local.activity[inside]) == pytest.approx(band_variance(along), rel=0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("shape", [(256, 256), (36, 64, 64)], ids=["2-D", "3-D"])
def test_blurred_noise_in_calm_places_is_the_noise(shape, seed):
    scene = 60.0 * (np.indices(shape)[-1] > shape[-1] // 2)
    noise = estimate_noise(evidence(scene + 8 * blurred(shape, 0.7, seed)))
    assert noise.origin == "noise"
    assert noise.sigma == pytest.approx(8, rel=0.04)
    assert noise.correlation == pytest.approx(shared_by_smoothing(0.7)[0], abs=0.04)


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_blurred_texture_is_detail(seed):
    """Texture over 1.5 voxels under weak white noise: its variogram grows beyond four voxels."""
    image = 20 * blurred((200, 200), 1.5, seed) + 2 * white((200, 200), seed + 10)
    noise = estimate_noise(evidence(image))
    assert noise.origin == "detail"
    assert noise.other_sigma == 0
    assert noise.sigma == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("seed", [50, 60, 61, 302])
def test_noise_over_more_than_four_voxels_is_told_from_detail(seed):
    """Blurred over 1.2 voxels: its variogram still grows at four voxels, and hardly beyond."""
    case = BY_NAME["folds, blurred 1.2"]
    noise = estimate_noise(evidence(case.noisy(seed).astype(float)))
    assert noise.origin == "noise"
    assert noise.sigma == pytest.approx(16, rel=0.25)
    assert noise.correlation == pytest.approx(math.exp(-1 / (4 * 1.2**2)), abs=0.05)


@pytest.mark.parametrize("width", [1.0, 1.2, 1.5])
@pytest.mark.parametrize("name", ["tissue", "membranes", "filaments", "wide folds"])
def test_blurred_pictures_are_detail(name, width):
    """A point spread of one voxel makes pictures as smooth as such noise."""
    clean = BY_NAME[name].clean()
    image = scipy.ndimage.gaussian_filter(clean, width) + 2e-3 * np.ptp(clean) * white(clean.shape)
    assert estimate_noise(evidence(image)).origin != "noise"


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("width", [1.8, 2.5])
def test_texture_slightly_coarser_than_its_blur_is_detail(width, seed):
    """Folds behind a Gaussian of 1.2 voxels gain a third of their variogram beyond four voxels."""
    folds = noise_scenes.folds((28, 56, 56), seed, width, 0.7)()
    image = scipy.ndimage.gaussian_filter(folds, 1.2)
    assert estimate_noise(evidence(image)).origin == "detail"


def test_energy_that_wide_noise_does_not_explain_is_detail():
    """Twice the energy in the coarser band, with the same variogram."""
    data = evidence(BY_NAME["folds, blurred 1.2"].noisy(61).astype(float))
    assert measure_correlations(data).origin == "noise"
    assert measure_correlations(replace(data, activity=2 * data.activity)).origin == "detail"


def test_short_axes_do_not_show_wide_noise():
    """Pairs of voxels eight apart are few along fifteen voxels."""
    case = BY_NAME["folds, blurred 1.2"]
    image = case.noisy(50).astype(float)
    assert estimate_noise(evidence(image[:15])).origin == "detail"
    assert evidence(image[:15]).far == ()
    assert len(evidence(image[:16]).far) == 3


def test_white_noise_has_no_correlations():
    noises = [estimate_noise(evidence(white((90, 90), seed))) for seed in range(10)]
    assert {noise.origin for noise in noises} == {"none"}
    assert all(noise.correlations == () and noise.alternative is None for noise in noises)


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_as_fine_as_voxels_leave_two_levels(seed):
    """The level is the lower one; the alternative has the correlations and the higher one."""
    noise = estimate_noise(evidence(BY_NAME["A folds, white noise"].noisy(seed).astype(float)))
    assert noise.origin == "undecided"
    assert noise.other_sigma > noise.sigma
    other = noise.alternative
    assert other.origin == "noise"
    assert other.sigma == pytest.approx(noise.other_sigma)
    assert other.error / other.sigma == pytest.approx(noise.error / noise.sigma)
    assert other.alternative is None


def test_level_of_shared_noise_that_depends_on_intensity_is_accurate():
    """The ratio of the level to the residual is that of the same voxels.

    With the residual of the darkest voxels, the level was 1.7 times too high.
    """
    image = smooth_scene(low=20.0) * (1 + 0.2 * blurred((256, 256), 0.7, 5))
    measured = measure_correlations(evidence(image))
    along = (shared_by_smoothing(0.7),) * 2
    assert measured.ratio == pytest.approx(residual_variance(along) ** -0.5, rel=0.1)
    noise = estimate_noise(evidence(image))
    assert (noise.kind, noise.origin) == ("speckle", "noise")
    assert noise.speckle == pytest.approx(0.2, rel=0.06)


def test_correlations_with_a_large_error_are_not_those_of_noise():
    """Every second plane is another picture: planes three apart agree, by chance."""
    image = (blocks((96, 96)) + 4 * white((96, 96))).reshape(16, 24, 24)
    measured = measure_correlations(evidence(image))
    assert measured.error > 1
    assert measured.origin == "undecided"


def test_undecided_suggestion_keeps_the_lower_level_and_covers_both():
    """The interval contains those of both levels; the choice is that of the lower level."""
    image = BY_NAME["A folds, white noise"].noisy(0)[:, :60, :60]
    result = nd.suggest(image, nd.PeronaMalik(), thorough=False)
    noise = result.noise
    assert noise.origin == "undecided"
    text = next(text for text in result.warnings if "no calm place" in text)
    assert f"{noise.sigma:.3g} or {noise.other_sigma:.3g}" in text
    assert "careful" in text
    clean = BY_NAME["A folds, white noise"].clean()[:, :60, :60]
    filtered = nd.diffuse(image, result.model, time=result.time)
    gain = 10 * np.log10(np.mean((image - clean) ** 2) / np.mean((filtered - clean) ** 2))
    low, high = result.gain_interval
    assert low <= gain <= high
    assert gain > 0


@pytest.mark.parametrize("seed", [3, 4])
def test_noise_of_limited_bandwidth_is_no_detail(seed):
    """Its variogram rises above its end before, and grows by 0.1 over the last voxel.

    Taken for detail or undecided, the level was 0.3 and 0.55 of the true one.
    """
    case = BY_NAME["k-space filled with zeros, factors (1, 1.33, 1.33)"]
    noise = estimate_noise(evidence(case.noisy(seed).astype(float)))
    assert noise.origin == "noise"
    assert noise.sigma == pytest.approx(14, rel=0.1)


def test_calm_voxels_that_are_too_few_for_correlations_do_not_hide_them():
    """Few flat voxels are explained by the correlations of more, unless they would show them."""
    along = ((0.3, -0.2, 0.1),) * 2
    before = Correlations(along, 8.0, 1.8, 0.04, "undecided")
    field = 8 * blurred((200, 200), 0.0)
    measured = evidence(field)
    calm = replace(measured, activity=np.full_like(measured.residual, 64 * band_variance(along)))
    for count, energy, origin in ((400, 1.0, "noise"), (400, 2.1, None), (30_000, 1.0, None)):
        flat = np.arange(measured.residual.size) < count
        own = replace(calm, activity=energy * calm.activity)
        explained = _explained(own, flat, before)
        assert (None if explained is None else explained.origin) == origin
    detail = replace(before, origin="detail")
    assert _explained(calm, np.arange(measured.residual.size) < 400, detail) is None
