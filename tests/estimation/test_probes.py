"""Probes allow for grey levels, quiet and constant places, impulses, and a local level."""

import dataclasses
import math

import numpy as np
import pytest

import napari_diffusion as nd
from helpers import noise_models
from helpers.noise_cases import CASES
from helpers.noisy import blocks, noise_probe, patch_of, smooth_scene, white
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.noise.level_map import LevelMap
from napari_diffusion.estimation.noise.patterns import Rings, Stripes
from napari_diffusion.estimation.probes import QUIET_FLOOR, make_probe
from napari_diffusion.estimation.risk import EPSILON, noise_share, sure

BY_NAME = {case.name: case for case in CASES}
UNIT = Noise("gaussian", 1.0, 0.01)


def probe_of(image, noise=UNIT, **options):
    return make_probe(patch_of(image[None], **options), [noise], "sure", 0)


@pytest.mark.parametrize("step", [0.5, 2.0, 5.0])
def test_values_of_coarse_grey_levels_are_spread(step):
    """Over one level, uniformly: the variance grows by a twelfth of its square."""
    image = step * np.round(white((120, 120)) * 4 + 30)
    probe = probe_of(image)
    spread = probe.image[0] - image
    assert np.abs(spread).max() <= step / 2 * (1 + 1e-5)
    assert spread.std() == pytest.approx(step / math.sqrt(12), rel=0.02)
    np.testing.assert_allclose(probe.deviation, math.sqrt(1 + step**2 / 12), rtol=1e-6)
    again = probe_of(image)
    np.testing.assert_array_equal(probe.image, again.image)


@pytest.mark.parametrize("step", [0.0, 0.4])
def test_values_of_fine_grey_levels_are_kept(step):
    image = white((60, 60)) if step == 0 else step * np.round(white((60, 60)) / step * 3)
    probe = probe_of(image)
    np.testing.assert_array_equal(probe.image[0], image.astype("f4"))
    np.testing.assert_array_equal(probe.deviation, 1)


def test_level_of_a_probe_follows_the_map():
    """The deviation is the level of the noise times the factor at every voxel."""
    level_map = LevelMap((0.5, 1.0, 2.0, 1.0), (2, 2))
    noise = dataclasses.replace(UNIT, sigma=3.0, level_map=level_map)
    factors = level_map.on((0, 0), (60, 80), (60, 80))
    image = 3 * factors * white((60, 80))
    np.testing.assert_allclose(probe_of(image, noise).deviation[0], 3 * factors, rtol=1e-6)


def test_quiet_places_have_their_own_level():
    """Around an object, a reconstruction leaves a hundredth of the noise."""
    inside = np.hypot(*(np.indices((160, 160)) - 80)) < 50
    image = np.where(inside, 100.0, 0.0) + np.where(inside, 1.0, 0.01) * white(inside.shape)
    deviation = probe_of(image).deviation[0]
    assert (deviation[10:25, 10:25] < 0.03).all()
    assert (deviation[70:90, 70:90] == 1).all()


def test_constant_places_count_as_free_of_noise():
    """Voxels outside a mask do not count at all."""
    image = np.zeros((60, 60))
    image[:, :30] = white((60, 30))
    inside = np.ones((60, 60), bool)
    inside[:10] = False
    deviation = probe_of(image, inside=inside).deviation[0]
    assert (deviation[10:, 35:] > 0).all()
    assert (deviation[10:, 35:] <= QUIET_FLOOR**2).all()
    assert not deviation[:10, 35:].any()


def test_smearing_into_exact_zeros_counts_as_error():
    """A bright head in zeros, and a filter that moves its border by one voxel.

    The error is that of the voxels beside the border, as the truth has it. Counted over the noisy
    voxels alone, the filter would seem to gain.
    """
    head = np.zeros((90, 90))
    head[20:70, 20:70] = 100.0
    image = head + np.where(head > 0, 1.0, 0) * white((90, 90))
    smeared = head.copy()
    smeared[19, 20:70] = 60.0
    probe = probe_of(image)
    sums = probe.sums(smeared.astype("f4")[None], smeared.astype("f4")[None])
    counted = probe.deviation[0] > 0
    assert counted.all()
    error = np.mean((smeared - head) ** 2)
    assert sure(sums) == pytest.approx(error, abs=0.05 * error)
    inside_alone = dataclasses.replace(probe, deviation=probe.deviation * (head > 0))
    assert sure(inside_alone.sums(smeared[None], smeared[None])) < 0.1


def test_smearing_decides_the_time():
    """Linear diffusion of a head in zeros stops before its border is smeared.

    Over all voxels, the choice is not worse than the unfiltered image.
    """
    inside = np.hypot(*(np.indices((96, 96)) - 48)) < 32
    clean = np.where(inside, 300.0, 0)
    image = (clean + np.where(inside, 10.0, 0) * white(inside.shape)).astype("f4")
    result = nd.suggest(image, nd.Linear())
    filtered = nd.diffuse(image, result.model, time=result.time)
    assert np.mean((filtered - clean) ** 2) <= 1.02 * np.mean((image - clean) ** 2)


# Impulses


def salted(seed=0, share=0.01):
    """Steps with noise of 5, and hot and dead voxels."""
    add = noise_models.impulses(noise_models.white(5), share / 2, share / 2, 400)
    clean = blocks((120, 120))
    return clean, add(clean, np.random.default_rng(seed))


def impulses_of(clean, image):
    return (np.abs(image - clean) > 30)[None]


def test_impulses_count_as_unfiltered_error():
    """The error of the image itself is the variance and the squares of its impulses."""
    clean, image = salted()
    impulses = impulses_of(clean, image)
    noise = Noise("gaussian", 5.0, 0.1)
    probe = make_probe(patch_of(image[None], impulses=impulses), [noise], "sure", 0)
    truth = np.sum((image - clean) ** 2)
    assert probe.unfiltered == pytest.approx(truth, rel=0.1)
    without = make_probe(patch_of(image[None]), [noise], "sure", 0)
    assert without.unfiltered < 0.3 * truth


def test_removed_impulses_are_noise():
    """The reference has no impulses: a filter that returns it has no error but the noise."""
    clean, image = salted()
    noise = Noise("gaussian", 5.0, 0.1)
    patch = patch_of(image[None], impulses=impulses_of(clean, image))
    probe = make_probe(patch, [noise], "sure", 0)
    probe = dataclasses.replace(probe, structure=probe.deviation > 0)
    result = probe.reference
    same = [result + (other - probe.image) for other in probe.images[1:]]
    sums = probe.sums(result, *same)
    assert sums.error_squared == 0
    assert sums.removed_squared > 0
    assert noise_share(sums) == 1


def test_report_names_impulses_and_what_replaces_them():
    """1 % hot and dead voxels; most of what is removed is noise, and the gain is announced."""
    clean, image = salted()
    result = nd.suggest(image.astype("f4"), nd.PeronaMalik(), thorough=False)
    text = next(text for text in result.warnings if "hot or dead" in text)
    assert 'impulses, set to "mask"' in text
    assert float(text.split(" %")[0]) == pytest.approx(1, abs=0.3)
    assert result.noise_share >= 0.8
    filtered = nd.diffuse(image, result.model, time=result.time)
    gain = 10 * np.log10(np.mean((image - clean) ** 2) / np.mean((filtered - clean) ** 2))
    assert result.gain_interval[0] - 0.5 <= gain <= result.gain_interval[1] + 0.5


def test_noise_is_measured_without_masked_impulses():
    """The level is that of the noise, and nothing is named: the run replaces the voxels."""
    clean, image = salted()
    result = nd.suggest(image.astype("f4"), nd.Linear(), thorough=False, impulses="mask")
    assert result.noise.sigma == pytest.approx(5, rel=0.06)
    assert not any("hot or dead" in text for text in result.warnings)
    assert not any("hot" in text for text in nd.suggest(clean + 5 * white((120, 120))).warnings)


# Windows


def test_share_of_noise_is_that_of_the_halves():
    """All of the left half is removed, and only picture from the right half, of equal energy.

    The share of noise is one half. It stays so where the response to the noise is stronger than
    what is removed, but for the windows at the middle. Over the whole image, the share would be 1.
    """
    shape, left = (1, 80, 80), np.arange(80) < 40
    image = np.sign(white(shape))
    probe = noise_probe(image, np.ones(shape), 0)
    probe = dataclasses.replace(probe, structure=np.ones(shape, bool))
    result = np.zeros(shape)

    def share(window, strength):
        own = dataclasses.replace(probe, window=window)
        response = strength * np.where(left, np.sign(white(shape, 2)), 0)
        change = response + probe.pattern
        return noise_share(own.sums(result, result + EPSILON * change, result + change))

    assert share((5, 5), 1.0) == pytest.approx(0.5, rel=1e-12)
    assert share((5, 5), 0.5) == pytest.approx(0.125, rel=1e-12)
    assert share((5, 5), 4.0) == pytest.approx(0.5 + 2 / 80, rel=1e-12)
    assert share((), 4.0) == 1


@pytest.mark.parametrize("rounded", [True, False], ids=["rounded", "not rounded"])
def test_rounded_twin_announces_the_same_gain(rounded):
    """Noise of 0.76 levels: announced gains of both twins are within 0.4 dB of the true gain."""
    clean = smooth_scene((140, 140)) / 4
    image = clean + 0.76 * white(clean.shape, 5)
    image = np.round(image) if rounded else image
    result = nd.suggest(image.astype("f4"), nd.PeronaMalik(), thorough=False)
    filtered = nd.diffuse(image, result.model, time=result.time)
    gain = 10 * np.log10(np.mean((image - clean) ** 2) / np.mean((filtered - clean) ** 2))
    low, high = result.gain_interval
    assert low - 0.4 <= gain <= high + 0.4


LOG_SPECKLE = Noise("gaussian", np.pi / math.sqrt(6), 0.01, skewness=-1.14, kurtosis=5.4)


def test_estimated_error_is_unbiased_for_skewed_noise():
    """Total variation keeps the holes of a logarithm of speckle, which Stein's estimate ignores.

    Over 12 noises, the bias is within 0.03 of the variance. Without the kernel it is 0.06 or more.
    """
    model, shape, biases = nd.TotalVariation(kappa=1.3), (96, 96), {True: [], False: []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        image = np.log(rng.exponential(size=shape)) + np.euler_gamma
        probe = make_probe(patch_of(image[None]), [LOG_SPECKLE], "sure", seed)
        for has_kernel, biased in biases.items():
            own = probe
            if not has_kernel:
                own = noise_probe(probe.image, probe.deviation, seed)
            result, other = (nd.diffuse(u[0], model, time=0.6)[None] for u in own.images)
            biased.append(sure(own.sums(result, other)) - np.mean(np.square(result, dtype=float)))
    variance = LOG_SPECKLE.sigma**2
    assert abs(np.mean(biases[True])) < 0.03 * variance
    assert np.mean(biases[False]) < -0.06 * variance


def test_full_probe_of_skewed_noise_is_not_weighted():
    """The share of noise needs a second noise of the same strength everywhere."""
    image = np.log(np.random.default_rng(1).exponential(size=(48, 48)))
    probe = probe_of(image, LOG_SPECKLE)
    assert probe.weight is not None
    assert probe.weight.std() > 0.1
    squares = np.square(probe.deviation * probe.weight, dtype=float)
    assert squares.sum() == pytest.approx(np.square(probe.deviation, dtype=float).sum(), rel=1e-4)
    marked = dataclasses.replace(probe, structure=np.ones(probe.image.shape, bool))
    np.testing.assert_array_equal(marked.images[2], probe.image + probe.deviation * probe.pattern)


def test_gaussian_noise_has_no_weight():
    assert probe_of(white((40, 40))).weight is None
    slightly = dataclasses.replace(UNIT, skewness=0.2)
    assert probe_of(white((40, 40)), slightly).weight is None


def test_photons_are_not_spread_and_dark_places_have_their_noise():
    """A place without a photon is constant by chance; other constant places have no noise."""
    counts = np.random.default_rng(2).poisson(0.05, (20, 40, 40)).astype(float)
    counts[:, 20:, 20:] = 9.0
    noise = Noise("poisson", math.sqrt(0.05), 0.01, gain=1.0, offset=0.0)
    patch = patch_of(counts[None])
    probe = make_probe(patch, [noise], "sure", 0)
    np.testing.assert_array_equal(probe.image[0], counts.astype("f4"))
    dark = ~patch.valid & (counts == 0)
    assert dark.any()
    assert probe.deviation[0][dark].min() > 0.05 * noise.sigma
    bright = ~patch.valid & (counts == 9)
    assert probe.deviation[0][bright].max() < 1e-3 * noise.sigma


@pytest.mark.parametrize(
    "pattern", [Stripes((1,), 0.9), Rings((0, 1), (31.5, 31.5), (1.0, 1.0), True, 0.9)], ids=str
)
def test_filter_that_keeps_a_pattern_has_the_divergence_of_its_variance(pattern):
    """The identity responds with the probe itself: the divergence is the variance of the noise.

    The mean square of 45 to 64 errors scatters by a fifth, over which the patterns are scaled.
    """
    patch = patch_of(white((64, 64))[None])
    for seed in range(8):
        probe = make_probe(patch, [dataclasses.replace(UNIT, pattern=pattern)], "sure", seed)
        sums = probe.sums(probe.image, probe.other)
        assert sums.divergence == pytest.approx(sums.variance, rel=0.06)


def test_spike_has_the_kernel_of_its_own_departure():
    """Nine deviations below the mean, of which the local mean takes 7 %: not cut off at six."""
    image = white((80, 80))
    image[40, 40] = -9.0
    noise = dataclasses.replace(
        UNIT, skewness=-1.0, kurtosis=5.0, measured_kernel=((-10.0, 10.0), (0.0, 1.0), (10.0, 1.0))
    )
    weight = probe_of(image, noise).weight[0]
    assert weight[40, 40] ** 2 > 7.0 * np.min(weight**2)
