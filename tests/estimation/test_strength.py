"""Strength of a suggestion: gentle, recommended, strong; its definition and its promises."""

import functools
import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.special

import napari_diffusion as nd
from helpers.hostile import check_sentence
from helpers.noisy import blocks, smooth_scene, white

STRENGTHS = np.linspace(-1, 1, 41).round(2).tolist()
MODELS = [nd.Linear(), nd.PeronaMalik(), nd.TotalVariation(), "auto"]


def noisy_blocks(sigma=8.0, shape=(80, 70)):
    return (blocks(shape) + sigma * white(shape)).astype("f4")


@functools.cache
def recommended_for_blocks(model, **options):
    """Return the recommendation for the noisy blocks; it cannot be changed."""
    return nd.suggest(noisy_blocks(), model, **options)


@pytest.mark.parametrize("aim", ["error", "segmentation"])
def test_strength_0_is_the_recommendation(aim):
    image = noisy_blocks(shape=(48, 48))
    recommended = nd.suggest(image, nd.PeronaMalik(), aim=aim)
    assert nd.suggest(image, nd.PeronaMalik(), aim=aim, strength=0) == recommended
    assert recommended.with_strength(0) == recommended
    for strength in (-1, 0.3):
        assert recommended.with_strength(strength).with_strength(0) == recommended


@pytest.mark.parametrize(
    ("options", "strengths"),
    # A search and an aim end in the same curve, on which a strength is a place.
    [
        ({"thorough": False}, (-1, -0.4, 0.5, 1)),
        ({}, (-0.4, 1)),
        ({"aim": "segmentation"}, (-1, 0.5)),
    ],
    ids=str,
)
def test_strength_needs_no_new_measurement(options, strengths):
    """The changed suggestion is the one that is computed, and it has a hash."""
    image = noisy_blocks(shape=(48, 48))
    recommended = nd.suggest(image, nd.PeronaMalik(), **options)
    for strength in strengths:
        changed = recommended.with_strength(strength)
        computed = nd.suggest(image, nd.PeronaMalik(), **options, strength=strength)
        assert changed == computed
        assert hash(changed) == hash(computed)
        assert changed.strength == strength


@pytest.mark.parametrize("options", [{}, {"thorough": False}, {"criterion": "j-invariance"}])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_time_increases_with_strength_and_noise_does_not(model, options):
    """Every step of 0.05 has a longer time; the noise that is left falls over steps of 0.5."""
    recommended = recommended_for_blocks(model, **options)
    suggestions = [recommended.with_strength(strength) for strength in STRENGTHS]
    assert (np.diff([s.time for s in suggestions]) > 0).all()
    left = np.array([s.noise_left for s in suggestions])
    if "criterion" not in options:
        assert (np.diff(left) <= 1e-12).all()
        assert (np.diff(left[::10]) <= 0).all()
    assert all(s.model == recommended.model for s in suggestions)


def test_small_strength_changes_little():
    recommended = recommended_for_blocks(nd.PeronaMalik())
    for strength in (-1e-3, 1e-3):
        near = recommended.with_strength(strength)
        for name in ("time", "gain", "noise_left", "noise_share"):
            assert getattr(near, name) == pytest.approx(getattr(recommended, name), rel=0.01)


def test_gentle_removes_a_third_of_the_noise_and_strong_costs_two_decibels():
    """White noise under linear diffusion, whose level is known for every time, in decibels."""
    image = (smooth_scene() + 10 * white((256, 256))).astype("f4")
    recommended = nd.suggest(image, nd.Linear())
    gentle, strong = (recommended.with_strength(strength) for strength in (-1, 1))
    level = [-20 * math.log10(scipy.special.ive(0, 4 * s.time)) for s in (gentle, recommended)]
    assert level[0] == pytest.approx(level[1] / 3, rel=0.1)
    assert recommended.gain - strong.gain == pytest.approx(2, abs=0.1)
    # A longer linear diffusion removes more of the picture with the noise.
    assert gentle.noise_share > recommended.noise_share - 0.01
    assert recommended.noise_share > strong.noise_share + 0.01


def test_strong_costs_at_most_half_of_a_small_gain():
    """Texture in every voxel, so that the gain is below 4 dB."""
    image = (20 * white((90, 90), 4) + blocks((90, 90)) + 20 * white((90, 90))).astype("f4")
    frames = np.stack([image, image + 20 * white((90, 90), 3).astype("f4")])
    recommended = nd.suggest(frames, nd.Linear(), axes=(1, 2))
    assert 0.1 < recommended.gain < 4
    assert recommended.with_strength(1).gain == pytest.approx(recommended.gain / 2, rel=0.1)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_gain_and_noise_of_a_strength_hold(model):
    """They agree with the noise-free image, and with a second noise, at every strength.

    The interval of a strength is that of the recommendation, shifted, which adds 0.8 dB at most.
    """
    clean = blocks((150, 150))
    images = [(clean + 12 * white(clean.shape, seed)).astype("f4") for seed in (1, 2)]
    recommended = nd.suggest(images[0], model)
    for strength in (-1, -0.5, 0.5, 1):
        result = recommended.with_strength(strength)
        smooth = [nd.diffuse(u, result.model, time=result.time) for u in images]
        gain = 10 * math.log10(144 / np.mean((smooth[0] - clean) ** 2))
        low, high = result.gain_interval
        assert low - 0.8 < gain < high + 0.8
        removed = [a - b for a, b in zip(images, smooth, strict=True)]
        share = np.mean((removed[0] - removed[1]) ** 2) / 2 / np.mean(removed[0] ** 2)
        assert result.noise_share == pytest.approx(share, abs=0.22)


def test_strength_depends_on_no_unit():
    """Steps of 4 in intensity and of 1/4 in length are exact in binary numbers."""
    image = noisy_blocks(shape=(48, 48))
    plain, other = (
        nd.suggest(factor * image, nd.PeronaMalik(), spacing=length, strength=0.7)
        for factor, length in ((1.0, 1.0), (4.0, 0.25))
    )
    assert other.time / 0.25**2 == pytest.approx(plain.time, rel=5e-3)
    # Kappa has three digits in either unit, and the gain is a difference of large numbers.
    assert other.gain == pytest.approx(plain.gain, abs=0.15)
    assert other.noise_left == pytest.approx(plain.noise_left, rel=0.01)


def test_effect_says_what_is_removed():
    """The share of the noise to a twentieth, and the size of lost detail with its unit."""
    recommended = nd.suggest(noisy_blocks(), nd.PeronaMalik(), spacing=0.5, unit="µm")
    for strength in (-1, 0, 1):
        result = recommended.with_strength(strength)
        percent = 5 * round(20 * (1 - result.noise_left))
        words = {50: "about half", 95: "nearly all"}.get(percent, f"about {percent} %")
        assert f"Removes {words} of the noise" in result.effect
    detail = (20 * white((90, 90), 4) + blocks((90, 90)) + 10 * white((90, 90))).astype("f4")
    frames = np.stack([detail, detail + 10 * white((90, 90), 3).astype("f4")])
    lossy = nd.suggest(frames, nd.Linear(), axes=(1, 2), fwhm=0.5, spacing=0.5, unit="µm")
    assert lossy.effect.endswith("; faint detail smaller than about 0.5 µm goes too.")


def test_report_says_the_strength():
    recommended = recommended_for_blocks(nd.PeronaMalik())
    strong = recommended.with_strength(0.5)
    assert f"Strength +0.5: the time is {strong.time:.3g} pixel²" in strong.report
    assert strong.effect in strong.report
    assert "Strength" not in strong.with_strength(-1).with_strength(0).report
    assert strong.with_strength(-1).report.count("Strength") == 1


def test_image_without_a_gain_is_left_alone_by_a_gentle_strength():
    """Texture far above the noise: every smoothing removes more of it than of the noise."""
    texture = scipy.ndimage.gaussian_filter(white((90, 90), 4), 0.7)
    detail = 250 * texture + blocks((90, 90))
    frames = np.stack([detail + white((90, 90), seed) for seed in (1, 3)]).astype("f4")
    recommended = nd.suggest(frames, nd.Linear(), axes=(1, 2))
    assert recommended.time == 0
    assert recommended.effect == "Leaves the image as it is."
    assert recommended.with_strength(-1).time == 0
    times = [recommended.with_strength(strength).time for strength in (0.2, 0.6, 1)]
    assert 0 < times[0] < times[1] < times[2]


@pytest.mark.parametrize("strength", [-1.1, 2, math.nan, "strong", True], ids=repr)
def test_error_of_a_strength_is_one_sentence(strength):
    image = noisy_blocks(shape=(40, 40))
    recommended = nd.suggest(image, nd.Linear())
    for call in (
        lambda: recommended.with_strength(strength),
        lambda: nd.suggest(image, nd.Linear(), strength=strength),
    ):
        with pytest.raises(ValueError, match="strength must be a number from -1") as caught:
            call()
        check_sentence(caught.value)


@pytest.mark.parametrize("options", [{"fwhm": 2.0}, {"noise_reduction": 2.0}], ids=str)
def test_requested_amount_excludes_a_strength(options):
    image = noisy_blocks(shape=(40, 40))
    requested = nd.suggest(image, nd.Linear(), **options)
    assert requested.with_strength(0) == requested
    assert "the noise" in requested.effect
    for call in (
        lambda: requested.with_strength(0.5),
        lambda: nd.suggest(image, nd.Linear(), **options, strength=0.5),
    ):
        with pytest.raises(ValueError, match="strength") as caught:
            call()
        check_sentence(caught.value)
