"""The judge of automatic choices measures what it says, on choices whose worth is known."""

import dataclasses
import types

import numpy as np
import pytest

import napari_diffusion as nd
from helpers import judging, noise_models, noise_scenes
from helpers.noise_case import NoiseCase
from helpers.noise_cases import CASES

SHAPE = (16, 24, 24)


@noise_scenes.scene
def flat():
    return np.full(SHAPE, 50.0)


FLAT = NoiseCase("flat", "white noise", flat(), noise_models.white(4.0))


def suggestion(model, time, **changes):
    """Suggestion of fixed parameters."""
    noise = types.SimpleNamespace(sigma=4.0, kind="gaussian")
    fields = {"noise": noise, "gain": 5.0, "noise_share": 0.9, "report": "Fine."} | changes
    return types.SimpleNamespace(model=model, time=time, **fields)


def judged(monkeypatch, made, case=FLAT):
    monkeypatch.setattr(nd, "suggest", lambda image, **keywords: made)
    return judging.judge(case, 0)


def test_gain_and_loss_are_those_of_the_result(monkeypatch):
    judgement = judged(monkeypatch, suggestion(nd.Linear(), 0.1))
    noisy = FLAT.noisy(0)
    result = nd.diffuse(noisy, nd.Linear(), time=0.1)
    ratio = np.mean(np.square(noisy - 50.0, dtype=float)) / np.mean(
        np.square(result - 50.0, dtype=float)
    )
    assert judgement.gain == pytest.approx(10 * np.log10(ratio), rel=1e-9)
    # On a flat image more smoothing is always better, so that the loss is large.
    assert judgement.loss > 10
    assert judgement.true_sigma == pytest.approx(4.0, rel=0.02)


def test_all_that_is_removed_from_a_flat_image_is_noise(monkeypatch):
    """The mean is kept, so that two noises have removed parts of the same, independent kind."""
    judgement = judged(monkeypatch, suggestion(nd.Linear(), 0.5))
    assert judgement.true_share == pytest.approx(1.0, abs=0.03)
    assert judgement.share_error == pytest.approx(0.1, abs=0.03)


@noise_scenes.scene
def grain(deviation):
    """Detail of single voxels, which a linear filter treats as it treats white noise."""
    return 50 + deviation * np.random.default_rng(2).normal(size=SHAPE)


@pytest.mark.parametrize("deviation", [2.0, 4.0, 8.0])
def test_noise_and_detail_of_one_spectrum_share_by_their_variances(monkeypatch, deviation):
    case = dataclasses.replace(FLAT, scene=grain(deviation))
    judgement = judged(monkeypatch, suggestion(nd.Linear(), 0.5), case)
    assert judgement.true_share == pytest.approx(4**2 / (4**2 + deviation**2), abs=0.03)


def test_removed_detail_is_no_noise(monkeypatch):
    fine = dataclasses.replace(FLAT, scene=noise_scenes.folds(SHAPE, 1, 0.7, 0.0, 0, 40))
    judgement = judged(monkeypatch, suggestion(nd.Linear(), 5.0), fine)
    assert judgement.true_share < 0.1
    assert judgement.gain < -3


def test_a_choice_that_removes_nothing_has_no_share(monkeypatch):
    judgement = judged(monkeypatch, suggestion(nd.PeronaMalik(), 0.0))
    assert judgement.true_share is None
    assert judgement.share_error is None
    assert judgement.gain == 0


@pytest.mark.parametrize(
    ("changes", "inside"),
    [
        ({}, None),
        ({"gain_interval": None}, None),
        ({"gain_interval": (float("nan"), float("nan"))}, None),
        ({"gain_interval": (0.0, 99.0)}, True),
        ({"gain_interval": (0.0, 0.1)}, False),
        ({"gain_interval": (90.0, 99.0)}, False),
    ],
)
def test_an_interval_holds_the_true_gain_or_not(monkeypatch, changes, inside):
    assert judged(monkeypatch, suggestion(nd.Linear(), 0.5, **changes)).is_inside is inside


@pytest.mark.parametrize("claim", [None, float("nan")])
def test_nothing_announced_is_no_claim(monkeypatch, claim):
    judgement = judged(monkeypatch, suggestion(nd.Linear(), 0.5, gain=claim, noise_share=claim))
    assert judgement.announced is None
    assert judgement.share is None
    assert judgement.share_error is None


@pytest.mark.parametrize(
    ("report", "is_named"),
    [
        ("Fine.", False),
        ("Neighbouring voxels share it. Model: Linear.", False),
        ("There are rings in it.", True),
        ("Stripes along x.", True),
    ],
)
def test_a_noise_is_named_by_one_of_its_words(monkeypatch, report, is_named):
    case = dataclasses.replace(FLAT, name_words=("ring", "stripe", "lines"))
    made = suggestion(nd.Linear(), 0.5, report=report)
    assert judged(monkeypatch, made, case).is_named is is_named


def test_a_refused_suggestion_leaves_the_image(monkeypatch):
    def refuse(image, **keywords):
        raise ValueError("no noise")

    monkeypatch.setattr(nd, "suggest", refuse)
    judgement = judging.judge(FLAT, 0)
    assert (judgement.gain, judgement.loss, judgement.failure) == (0.0, 0.0, "ValueError")
    assert judgement.announced is None


def test_only_the_region_counts(monkeypatch):
    half = dataclasses.replace(
        FLAT,
        scene=noise_scenes.stacked(flat(), noise_scenes.folds(SHAPE, 1, 0.7, 0.0, 0, 40)),
        axes=(1, 2, 3),
        region=lambda shape: np.broadcast_to(np.arange(2)[:, None, None, None] == 0, shape),
    )
    assert judged(monkeypatch, suggestion(nd.Linear(), 5.0), half).gain > 10
    whole = dataclasses.replace(half, region=None)
    assert judged(monkeypatch, suggestion(nd.Linear(), 5.0), whole).gain < 0


def test_the_threshold_is_varied_for_the_best_parameters(monkeypatch):
    """With a tenth of the noise as threshold nothing is smoothed; twice that smooths more."""
    case = dataclasses.replace(FLAT, scene=noise_scenes.folds(SHAPE, 2, 4.0, 0.5))
    yardstick = judging.Yardstick.of(case, 0)
    model = nd.EdgeEnhancing(kappa=4.0, sigma=0.5)
    by_time, best = judging.best_gains(yardstick, model, 0.0)
    own = [
        yardstick.gain(judging.smallest_error(yardstick, dataclasses.replace(model, kappa=k))[1])
        for k in (2.0, 4.0, 8.0)
    ]
    assert by_time == own[1]
    assert best == max(own)
    assert judging.with_threshold(nd.Linear(), 2.0) is None


@pytest.mark.parametrize("name", ["calm hills", "two stains", "series with repeats"])
def test_one_run_gives_the_errors_of_single_runs(name):
    (case,) = (case for case in CASES if case.name == name)
    yardstick = judging.Yardstick.of(case, 0)
    model = nd.PeronaMalik(kappa=10.0, sigma=0.5)
    for when, error in judging.points(yardstick, model):
        if 0.5 < when < 1:
            single = yardstick.error(yardstick.run(model, when))
            assert error == pytest.approx(single, rel=0.03)
