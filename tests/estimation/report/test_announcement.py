"""Announced gains: exact for a linear filter, repeatable, and silent where nothing holds."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats

import napari_diffusion as nd
from helpers import noise_models, noise_scenes
from helpers.noisy import blocks, white
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.report import announcement
from napari_diffusion.estimation.report.announcement import (
    BALANCE,
    LEVEL_ERROR,
    MARGIN_DB,
    TAIL,
    Announcement,
    announce,
    level_error,
)
from napari_diffusion.estimation.risk import Sums

VOXELS = 1e9


def sums_of(error, variance=4.0, divergence=0.4, left=0.0, voxels=VOXELS):
    """Sums at which SURE is ``error`` [intensity² per voxel]."""
    zero = dict.fromkeys(Sums._fields, 0.0) | {"on_structure": None}
    own = {
        "voxels": voxels,
        "variance": variance * voxels,
        "unfiltered": variance * voxels,
        "error_squared": (error + variance - 2 * divergence) * voxels,
        "divergence": divergence * voxels,
        "response_squared": left * voxels,
    }
    return Sums(**(zero | own))


def noise_of(error=0.01, skewness=0.0, **others):
    """White noise of the variance 4, with the relative error of its level."""
    return Noise("gaussian", 2.0, 2.0 * error, skewness=skewness, **others)


@pytest.mark.parametrize(("error", "divergence"), [(1.5, 0.3), (2.0, 1.9), (3.0, 0.9)])
@pytest.mark.parametrize("relative", [0.005, 0.02])
def test_interval_is_that_of_the_level_error(error, divergence, relative):
    """A billion voxels have no scatter, and no balance is known away from the least error.

    With the relative error d of the variance, the error is e + d (2 D - v) and the gain 10 log10 of
    v (1 + d) over it. d is normal, with twice the error of the level. The prior of the error is
    scale-free, which multiplies the density of d by the reciprocal of the error.
    """
    variance, noise = 4.0, noise_of(relative)
    result = announce([sums_of(error, variance, divergence)], noise, 1.0, is_least=False)
    d = 2 * level_error(noise) * np.linspace(-5, 5, 20_001)
    errors = error + d * (2 * divergence - variance)
    gains = 10 * np.log10(variance * (1 + d) / errors)
    weights = np.cumsum(scipy.stats.norm.pdf(np.linspace(-5, 5, 20_001)) / errors)
    low, gain, high = np.interp([TAIL, 0.5, 1 - TAIL], weights / weights[-1], gains)
    scale = 0.1 * (high - low) + 0.15  # the grid of errors has steps of 3 %
    assert result.gain == pytest.approx(gain, abs=scale)
    assert result.interval == pytest.approx((low - MARGIN_DB, high + MARGIN_DB), abs=scale)


def test_level_error_adds_up():
    """Independent errors add by their squares; that of a busy image is larger."""
    assert level_error(noise_of(0.0)) == LEVEL_ERROR
    assert level_error(noise_of(0.01)) == pytest.approx(math.hypot(0.01, LEVEL_ERROR))
    shared = noise_of(0.01, origin="noise")
    expected = math.hypot(0.01, LEVEL_ERROR, announcement.SHARED_ERROR)
    assert level_error(shared) == pytest.approx(expected)
    busy = noise_of(2 * announcement.BUSY_ERROR)
    own = announcement.BUSY_FACTOR * 2 * announcement.BUSY_ERROR
    assert level_error(busy) == pytest.approx(math.hypot(own, LEVEL_ERROR))


def test_balance_decides_where_the_level_cannot():
    """An error of 2 % of the variance beside a level known to 5 %: the noise that is left tells.

    At the least error the estimate is `BALANCE` times the noise that is left.
    """
    left = 0.05
    result = announce([sums_of(0.08, 4.0, 0.1, left)], noise_of(0.02), 1.0)
    assert result.gain == pytest.approx(10 * math.log10(4 / (BALANCE * left)), abs=0.5)
    assert result.interval[1] - result.interval[0] < 3
    free = announce([sums_of(0.08, 4.0, 0.1, left)], noise_of(0.02), 1.0, is_least=False)
    assert free.interval[1] - free.interval[0] > 4


def test_estimate_decides_where_it_is_certain():
    """A billion voxels and a level known to 0.8 %: a balance that differs is overruled."""
    result = announce([sums_of(2.0, 4.0, 1.9, 0.2)], noise_of(0.0), 1.0)
    assert result.gain == pytest.approx(10 * math.log10(2), abs=0.1)


def test_announcement_repeats():
    first, second = (announce([sums_of(1.0)], noise_of(0.02, 0.3), 0.5) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("quantity", ["level", "skewness", "voxels", "patches", "coverage"])
def test_less_certain_announcements_have_wider_intervals(quantity):
    """More error, skew, scatter between patches, and a smaller part of the image that is read."""
    plain = ([sums_of(1.0, voxels=2e4)] * 3, noise_of(0.01), 1.0)
    mixed = [sums_of(error, voxels=2e4) for error in (0.6, 1.0, 1.4)]
    changed = {
        "level": (plain[0], noise_of(0.02), 1.0),
        "skewness": (plain[0], noise_of(0.01, 1.0), 1.0),
        "voxels": ([sums_of(1.0, voxels=200)] * 3, noise_of(0.01), 1.0),
        "patches": (mixed, noise_of(0.01), 0.2),
        "coverage": (mixed, noise_of(0.01), 0.01),
    }[quantity]
    first = (mixed, noise_of(0.01), 0.9) if quantity == "coverage" else plain
    narrow, wide = (announce(*each, is_least=False).interval for each in (first, changed))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_gain_is_in_its_interval():
    rng = np.random.default_rng(4)
    for _ in range(100):
        error, divergence, left = rng.uniform([-0.5, -1, 0], [5, 4, 4])
        noise = noise_of(0.05, 0.5)
        result = announce([sums_of(error, 4.0, divergence, left, 1e4)], noise, 0.5)
        low, high = result.interval
        assert low <= result.gain - MARGIN_DB < result.gain + MARGIN_DB <= high
        assert math.isfinite(low)
        assert math.isfinite(high)


def test_joined_announcements_cover_both_intervals():
    first, second = Announcement(3.0, (2.0, 4.0)), Announcement(7.0, (1.5, 9.0))
    assert first.joined(second) == Announcement(3.0, (1.5, 9.0))
    assert second.joined(first) == Announcement(7.0, (1.5, 9.0))


def test_announced_gain_of_linear_diffusion_holds():
    """Over 12 noises, the true gain is in at least 10 intervals, of at most 2.5 dB."""
    clean = blocks((128, 128))
    inside, widths = 0, []
    for seed in range(12):
        image = (clean + 15 * white(clean.shape, seed)).astype("f4")
        result = nd.suggest(image, nd.Linear(), thorough=False)
        filtered = nd.diffuse(image, result.model, time=result.time)
        errors = [np.mean((u - clean) ** 2) for u in (image, filtered)]
        low, high = result.gain_interval
        inside += low <= 10 * math.log10(errors[0] / errors[1]) <= high
        widths.append(high - low)
    assert inside >= 10
    assert np.median(widths) <= 2.5


# No claim


def test_nothing_is_claimed_for_a_compressed_image():
    add = noise_models.jpeg(noise_models.white(16), 50)
    clean = noise_scenes.photograph("camera")()
    image = add(clean, np.random.default_rng(1)).astype("f4")
    result = nd.suggest(image, nd.Linear(), thorough=False)
    assert result.gain_interval is None
    assert math.isfinite(result.gain)
    assert any("JPEG" in text for text in result.warnings)
    assert "cannot be stated" in result.summary
    assert " dB" not in result.summary


@pytest.mark.parametrize("criterion", ["decorrelation", "j-invariance"])
def test_nothing_is_claimed_by_other_criteria(criterion):
    image = (blocks((60, 60)) + 8 * white((60, 60))).astype("f4")
    result = nd.suggest(image, nd.Linear(), thorough=False, criterion=criterion)
    assert result.gain_interval is None
    assert math.isnan(result.noise_share)


# Words


@pytest.mark.parametrize("model", ["auto", nd.Linear()], ids=["auto", "linear"])
def test_report_begins_with_a_summary(model):
    """Then warnings, an empty line, and the numbers and the method."""
    image = (blocks((48, 48)) + 8 * white((48, 48))).astype("f4")
    result = nd.suggest(image, model)
    lines = result.report.splitlines()
    warnings = [f"Warning: {text}" for text in result.warnings]
    assert lines == [result.summary, *warnings, "", *result.reasons]
    assert result.summary.startswith(result.effect)
    low, high = result.gain_interval
    assert f"{result.gain:.1f} dB ({low:.1f} to {high:.1f})" in result.summary


def test_summary_says_nothing_about_what_is_removed_where_next_to_nothing_is():
    image = (blocks((48, 48)) + 8 * white((48, 48))).astype("f4")
    result = nd.suggest(image, nd.Linear(), thorough=False)
    assert "Of what is removed" in result.summary
    nothing = dataclasses.replace(result, noise_left=0.99, noise_share=1.0, gain=0.0)
    assert "Of what is removed" not in nothing.summary
    assert "next to nothing to gain" in nothing.summary


def test_strength_moves_the_interval_with_the_gain():
    """By way of other strengths, the interval is the same to the last bit."""
    image = (blocks((64, 64)) + 12 * white((64, 64))).astype("f4")
    result = nd.suggest(image, nd.PeronaMalik(), thorough=False)
    gentle = result.with_strength(-0.5)
    for before, after in zip(result.gain_interval, gentle.gain_interval, strict=True):
        assert after - gentle.gain == pytest.approx(before - result.gain, abs=1e-9)
    for strength in np.linspace(-1, 1, 21):
        assert result.with_strength(float(strength)).with_strength(0.0) == result
    assert gentle.with_strength(0.7) == result.with_strength(0.7)
