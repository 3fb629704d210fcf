"""Suggestions for runs with a guide, or held to the image: thresholds, times, and refusals."""

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import napari_diffusion as nd
from napari_diffusion.engine.recipe_fields import steady_time

SHAPE, NOISE, GUIDE_NOISE = (96, 100), 20.0, 3.0


def outlines(shape=SHAPE):
    """Disks of 60 in a plane, one for each of three places."""
    y, x = np.indices(shape)
    centres = ((25, 28, 14), (60, 60, 20), (30, 75, 10))
    return 60.0 * np.any([np.hypot(y - a, x - b) < r for a, b, r in centres], axis=0)


@pytest.fixture(scope="module")
def scene():
    """Return the true image, the noisy one, and a guide with the same outlines, dark on bright."""
    rng, clean = np.random.default_rng(3), 100 + outlines()
    guide = 400 - 2 * outlines() + rng.normal(0, GUIDE_NOISE, SHAPE)
    return clean, clean + rng.normal(0, NOISE, SHAPE), guide


def error(result, clean):
    return np.mean((result - clean) ** 2)


@pytest.mark.parametrize(
    ("model", "weight"),
    [(nd.PeronaMalik(), 1.0), (nd.PeronaMalik(), 0.5), (nd.EdgeEnhancing(), 1.0)],
)
def test_thresholds_and_time_are_near_the_best_of_guided_runs(scene, model, weight):
    """Within half a decibel of the best of 12 runs, and better than without the guide."""
    clean, image, guide = scene
    if weight < 1:
        guide = guide * NOISE / GUIDE_NOISE  # one threshold for both
    options = {"guide": guide, "guide_weight": weight}
    chosen = nd.suggest(image, model, **options)
    own = error(nd.diffuse(image, chosen.model, time=chosen.time, **options), clean)
    level = GUIDE_NOISE if weight == 1 else NOISE
    errors = [
        error(nd.diffuse(image, type(model)(kappa=kappa, sigma=1.0), time=time, **options), clean)
        for kappa in level * np.array([0.3, 0.8, 2.4, 7.2])
        for time in (4.0, 16.0, 64.0)
    ]
    assert 10 * np.log10(own / min(errors)) < 0.5
    low, high = chosen.gain_interval
    assert low < 10 * np.log10(NOISE**2 / own) < high
    alone = nd.suggest(image, model)
    assert 1.2 * own < error(nd.diffuse(image, alone.model, time=alone.time), clean)


def test_threshold_has_the_unit_of_the_guide_and_the_time_that_of_the_image(scene):
    _, image, guide = scene
    chosen = nd.suggest(image, nd.PeronaMalik(), guide=guide, thorough=False)
    louder = nd.suggest(image, nd.PeronaMalik(), guide=64 * guide, thorough=False)
    assert louder.model.kappa == pytest.approx(64 * chosen.model.kappa, rel=0.005)  # 3 digits
    assert louder.time == chosen.time
    brighter = nd.suggest(64 * image, nd.PeronaMalik(), guide=guide, thorough=False)
    assert (brighter.model, brighter.time) == (chosen.model, chosen.time)
    both = {"guide": guide, "guide_weight": 0.25, "thorough": False}
    mixed = nd.suggest(image, nd.PeronaMalik(), **both)
    assert level_of_edges(chosen) == pytest.approx(GUIDE_NOISE, rel=0.05)
    level = np.sqrt(0.75 * NOISE**2 + 0.25 * GUIDE_NOISE**2)
    assert level_of_edges(mixed) == pytest.approx(level, rel=0.05)


def level_of_edges(suggestion):
    """Return the noise level that a report gives for the thresholds."""
    (level,) = re.findall(r"noise of the edges of the guide, (\S+) ", suggestion.report)
    return float(level)


def test_only_models_that_take_a_guide_compete(scene):
    _, image, guide = (each[:56, :60] for each in scene)
    chosen = nd.suggest(image, guide=guide)
    assert "Thresholds follow the noise of the edges of the guide" in chosen.report
    assert "left out" not in chosen.report
    assert type(chosen.model) is not nd.Linear
    nd.plan(image, chosen.model, time=chosen.time, guide=guide)
    for model in (nd.Linear(), nd.MeanCurvature()):
        with pytest.raises(ValueError, match="takes no edges from a guide"):
            nd.suggest(image, model, guide=guide)


def test_guide_without_noise_gets_a_threshold_below_its_edges(scene):
    clean, image, _ = scene
    guide = outlines() / 60
    chosen = nd.suggest(image, nd.PeronaMalik(), guide=guide)
    assert chosen.model.kappa < 0.5
    result = nd.diffuse(image, chosen.model, time=chosen.time, guide=guide)
    assert error(result, clean) < NOISE**2 / 20
    with pytest.raises(ValueError, match="guide is constant where it was measured"):
        nd.suggest(image, nd.PeronaMalik(), guide=np.ones(SHAPE))


def test_guide_of_frames_channels_and_parts_is_read_in_its_place(scene):
    _, image, guide = (each[:56, :60] for each in scene)
    options = {"thorough": False, "model": nd.PeronaMalik()}
    own = nd.suggest(image, guide=guide, **options)
    series = {"axes": (1, 2), "time_axis": 0, **options}
    frames, guides = np.stack([image, image[::-1]]), np.stack([guide, guide[::-1]])
    apart = nd.suggest(frames, guide=guides, **series)
    shared = nd.suggest(np.stack([image, image]), guide=guide, **series)
    for other in (apart, shared):
        assert other.model.kappa == pytest.approx(own.model.kappa, rel=0.1)
    wrong = nd.suggest(frames, guide=guide, **series)
    assert wrong.gain < min(apart.gain, shared.gain) - 0.5
    colours = np.stack([image, image], -1)
    for each in (guide, np.stack([guide, guide], -1)):
        coupled = nd.suggest(colours, guide=each, channel_axis=-1, **options)
        assert coupled.model.kappa == pytest.approx(own.model.kappa, rel=0.1)
    hole = guide.copy()
    hole[:20] = np.nan
    mask = np.isfinite(hole)
    assert nd.suggest(image, guide=hole, mask=mask, **options).gain > 3
    with pytest.raises(ValueError, match=r"guide has .* NaN"):
        nd.suggest(image, guide=hole, **options)


def test_parameters_of_a_steady_state_are_near_the_best(scene):
    clean, image, _ = scene
    length = 2.0
    for model in (nd.PeronaMalik(), nd.TotalVariation()):
        chosen = nd.suggest(image, model, fidelity_length=length)
        assert chosen.time == steady_time(length, 1e-3)
        assert "steady state of the fidelity length" in chosen.report
        own = error(nd.diffuse(image, chosen.model, fidelity_length=length), clean)
        factors = (1 / 8, 1 / 2, 2, 8)
        errors = [
            error(nd.diffuse(image, each, fidelity_length=length), clean)
            for each in (
                type(model)(kappa=chosen.model.kappa * factor, **smoothing(chosen.model))
                for factor in factors
            )
        ]
        assert 10 * np.log10(own / min(errors)) < 0.5
        low, high = chosen.gain_interval
        assert low < 10 * np.log10(NOISE**2 / own) < high


def smoothing(model):
    return {"sigma": model.sigma} if isinstance(model, nd.PeronaMalik) else {}


def test_time_of_a_steady_state_is_not_chosen_twice(scene):
    _, image, _ = scene
    wide = nd.suggest(image, nd.Linear(), fidelity_length=2.0, fwhm=1.0)
    assert wide.time == pytest.approx(1 / (16 * np.log(2)))
    for options in ({"strength": 0.5}, {"aim": "segmentation"}):
        with pytest.raises(ValueError, match="both say how far to smooth"):
            nd.suggest(image, nd.PeronaMalik(), fidelity_length=2.0, **options)


def test_pattern_of_the_guide_is_not_that_of_the_image():
    """Noise that neighbours share in the guide does not lower the time of white noise."""
    rng, clean = np.random.default_rng(1), outlines()
    image = clean + rng.normal(0, NOISE, SHAPE)
    grains = gaussian_filter(rng.normal(size=SHAPE), 1.0)
    guide = clean + GUIDE_NOISE * grains / grains.std()
    noise = nd.suggest(image, nd.PeronaMalik(), guide=guide, thorough=False).noise
    assert noise == nd.suggest(image, nd.PeronaMalik(), thorough=False).noise
