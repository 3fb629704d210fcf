"""Kinds of noise that the variances do not support are refused, and the others recognised."""

import dataclasses
import math
import types

import numpy as np
import pytest
import scipy.ndimage

from helpers import noise_models
from helpers.noise_cases import CASES
from helpers.noisy import evidence, patch_of, smooth_scene, white
from napari_diffusion.estimation.measurement.noise import measure_noise
from napari_diffusion.estimation.noise import kinds
from napari_diffusion.estimation.noise.classes import Classes, classes_by_mean
from napari_diffusion.estimation.noise.evidence import relative_error
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


def classes_of(means, deviations, error=0.0):
    voxels, errors = np.full(len(means), 300.0), np.full(len(means), error)
    return Classes(np.array(means), np.array(deviations), voxels, errors)


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


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("camera with offset", 0),
        ("camera with offset", 7),
        ("camera with offset", 14),
        ("photons, thick slices", 0),
        ("cut off below 0", 6),
    ],
)
def test_noise_that_grows_with_brightness_has_its_level(name, seed):
    """The root mean square is within a fifth of the truth.

    In two of them, a hundred voxels of two or three bright classes are calm. The level was 0.66 to
    0.8 of the truth where these were taken for edges, or fitted by the dark class alone.
    """
    case = BY_NAME[name]
    noise = estimate_noise(evidence_of(case, seed))
    clean = case.clean()
    error = case.noisy(seed) - clean
    assert noise.kind in ("poisson", "speckle", "rician")
    level = np.sqrt(np.mean(noise.variance(clean)))
    assert level == pytest.approx(np.sqrt(np.mean(error**2)), rel=0.2)


@pytest.mark.parametrize("seed", [4, 7])
def test_camera_with_columns_has_photon_noise(seed):
    """Nearly all classes are dark, and two bright ones have a hundred calm voxels or more."""
    noise = estimate_noise(evidence_of(BY_NAME["sCMOS, offsets of columns"], seed))
    assert noise.kind == "poisson"


@pytest.mark.parametrize("name", ["coins, blurred 0.8", "cells, strong noise", "wide folds"])
@pytest.mark.parametrize("seed", [0, 10])
def test_noise_of_one_level_stays_gaussian(name, seed):
    """Coins have relief in their bright classes, whose deviations are twice those of the others."""
    assert estimate_noise(evidence_of(BY_NAME[name], seed)).kind == "gaussian"


def test_standard_error_of_a_class_is_no_misfit():
    """A deviation of exp(0.3) times the modelled one, known to 0.2, has a misfit of 0.1."""
    noise, deviations = Noise("gaussian", 5.0, 0.1), [5 * math.exp(0.3)]
    for error, misfit in ((0.0, 0.3), (0.2, 0.1), (0.4, 0.0)):
        classes = classes_of([1], deviations, error)
        assert kinds._misfit(noise, classes, 5.0) == pytest.approx(misfit, abs=1e-5)


@pytest.mark.parametrize(("signs", "misfit"), [((1, 1, 1, 1), 0.2), ((1, -1, 1, -1), 0.0)])
def test_uncertain_classes_of_similar_mean_count_together(signs, misfit):
    """Four classes known to 0.2 are together known to 0.1, and chance has both signs."""
    noise = Noise("gaussian", 5.0, 0.1)
    deviations = 5 * np.exp(0.3 * np.array(signs))
    classes = classes_of(range(4), deviations, 0.2)
    assert kinds._misfit(noise, classes, 5.0) == pytest.approx(misfit, abs=1e-5)
    certain = classes_of(range(4), deviations, 0.1)
    assert kinds._misfit(noise, certain, 5.0) == pytest.approx(0.2, abs=1e-5)


@pytest.mark.parametrize("dark_classes", [1, 8])
def test_line_passes_between_bright_classes_of_a_hundred_voxels(dark_classes):
    """Known to 0.2, they have deviations of 7.3 and 5.4; the dark ones agree to a hundredth."""
    dark = np.linspace(100, 102, dark_classes)
    means = np.array([*dark, 142.0, 150.0])
    deviations = np.array([*np.linspace(2.50, 2.52, dark_classes), 7.3, 5.4])
    error = np.array([*[0.02] * dark_classes, 0.22, 0.22])
    voxels = np.array([*[480.0] * dark_classes, 83.0, 83.0])
    slope, intercept = kinds._fit_line(Classes(means, deviations, voxels, error))
    line = np.sqrt(intercept + slope * 146)
    assert line == pytest.approx(6.3, rel=0.1)


def test_error_of_a_class_is_that_of_its_calm_voxels():
    """All voxels count whose activity noise explains: three fifths of this image, not a quarter."""
    classes = classes_by_mean(of_levels(lambda level: 9.0 + 0 * level))
    assert len(classes.error) == len(classes.mean) >= 8
    counts = classes.voxels * 500 / (500 - classes.voxels)
    expected = [relative_error(round(count), 2) for count in counts]
    np.testing.assert_allclose(classes.error, expected)
    assert counts.sum() > 0.5 * 256**2


@pytest.mark.parametrize(
    ("slope", "error", "chosen"),
    [(1.03, 0.0, "speckle"), (1.06, 0.0, "poisson"), (1.3, 0.3, "poisson")],
    ids=["misfit 0.015", "misfit 0.03", "other level"],
)
def test_simplest_of_equal_kinds_states_the_same_level(slope, error, chosen):
    """Most voxels are in a dark class, which speckle and the line fit equally.

    In the bright class the line has ``slope`` times the deviation of the speckle. A standard error
    can hide the misfit, but not the level.
    """
    means = np.array([10.0, 100.0])
    dark, bright = 1.0, (10.0 * slope) ** 2
    gain = (bright - dark) / 90
    fits = [
        Noise("poisson", 5.0, 0.1, gain=gain, offset=dark - 10 * gain),
        Noise("speckle", 5.0, 0.1, speckle=0.1),
    ]
    classes = classes_of(means, [1.0, 10 * slope], error)
    image = types.SimpleNamespace(mean=np.repeat(means, (900, 100)))
    assert kinds._simplest(fits, image, classes, 5.0).kind == chosen


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


@pytest.mark.parametrize("seed", range(3))
def test_single_class_of_fine_anatomy_is_no_evidence(seed):
    """A dark background with noise of 4, and a small object with relief of 80, as fine as voxels.

    Without a limit for two classes, a line through both makes the noise three times too strong.
    """
    shape = (24, 56, 56)
    _, y, x = np.indices(shape) - 28
    relief = scipy.ndimage.gaussian_filter(white(shape, 7), 0.45)
    clean = np.where((abs(y) < 6) & (abs(x) < 6), 320 + 80 * relief / relief.std(), 12)
    noise = estimate_noise(evidence(clean + 4 * white(shape, seed)))
    assert noise.kind == "gaussian"
    assert noise.sigma == pytest.approx(4, rel=0.1)


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


@pytest.mark.parametrize("jump", [50.0, 80.0, 200.0])
def test_edges_of_a_small_bright_object_are_not_noise_that_grows_with_brightness(jump):
    """In a small image, all bright classes are edges; noise of 10 was taken for 17 to 88."""
    shape = (8, 40, 40)
    distance = sum(
        ((x - n / 2) / (n / 3)) ** 2 for x, n in zip(np.indices(shape), shape, strict=True)
    )
    for seed in range(3):
        image = 100 + jump * (distance < 1) + np.random.default_rng(seed).normal(0, 10, shape)
        noise = estimate_noise(evidence(image))
        assert noise.kind == "gaussian"
        assert noise.sigma == pytest.approx(10, rel=0.1)
