"""Words of the result card, and names of results."""

import math

import pytest

import napari_diffusion as nd
from napari_diffusion.estimation.measurement.removed import Removed
from napari_diffusion.models import all_models
from napari_diffusion.ui.layers.result_names import result_title
from napari_diffusion.ui.result.words import (
    NOT_TESTED,
    level_sentence,
    levels_sentence,
    result_sentences,
    structure_sentence,
)

MAX_WORDS = 20


def removed(level=9.1, noise=10.0, error=0.1, share=0.0):
    return Removed(level, noise, error, share)


def test_level_is_said_in_units_of_the_noise():
    sentence = "What was removed is 0.91 times as strong as the noise."
    assert level_sentence(removed()) == sentence
    assert "is as strong as the noise." in level_sentence(removed(level=9.7))
    levels = "Standard deviation of what was removed: 9.1"
    assert levels_sentence(removed()) == f"{levels}; noise: 10."
    assert levels_sentence(removed(noise=math.nan)) == f"{levels}."


@pytest.mark.parametrize(
    ("level", "noise", "said"),
    [
        (1.0, 10.0, "most of the noise is left"),
        (14.0, 10.0, "detail went"),
        (9.1, math.nan, "no noise with which"),
        (0.0, 10.0, "Nothing was removed"),
    ],
)
def test_unusual_levels_are_said(level, noise, said):
    assert said in level_sentence(removed(level, noise))


def test_level_is_no_more_than_the_noise_within_its_error():
    assert "detail went" not in level_sentence(removed(level=12.0, error=1.0))
    assert "detail went" in level_sentence(removed(level=12.0, error=0.1))


def test_structure_is_said_with_its_share():
    assert structure_sentence(removed()) == "No structure is seen in it."
    assert "in 12 %" in structure_sentence(removed(share=0.12))
    assert "in 1 %" in structure_sentence(removed(share=0.001))
    assert structure_sentence(removed(share=math.nan)) == NOT_TESTED


@pytest.mark.parametrize("model", all_models())
def test_means_may_be_measured_where_the_model_keeps_them(model):
    *_, last = result_sentences(removed(), model)
    assert ("Measure means in the result" in last) is model.conservative
    assert "original" in last


@pytest.mark.parametrize("model", all_models())
def test_no_sentence_is_long(model):
    for level, noise in ((9.1, 10), (1, 10), (14, 10), (9.1, math.nan)):
        for share in (0, 0.12, math.nan):
            text = " ".join(result_sentences(removed(level, noise, 0.1, share), model))
            for sentence in text.replace("; ", ". ").split(". "):
                assert len(sentence.split()) <= MAX_WORDS, sentence


def test_no_sentence_contradicts_another():
    """Where more than the noise is gone, unseen structure is no comfort."""
    more = " ".join(result_sentences(removed(level=60.0), nd.Linear))
    assert "detail went, too" in more
    assert "No structure" not in more
    assert "in 12 %" in " ".join(result_sentences(removed(level=60.0, share=0.12), nd.Linear))
    nothing = result_sentences(removed(level=0.0, noise=math.nan, share=math.nan), nd.Linear)
    assert nothing[0] == "Nothing was removed."
    assert len(nothing) == 2


def test_unmeasured_run_says_only_what_may_be_measured():
    assert len(result_sentences(None, nd.Linear)) == 1


def test_result_is_named_by_model_and_main_parameter():
    titles = {
        "edge-preserving κ 3.4": nd.Recipe(nd.PeronaMalik(kappa=3.4), 1.0),
        "Gaussian σ 1.2 mm": nd.Recipe(nd.Linear(), 0.72, unit="millimeter"),
        "total variation κ 5": nd.Recipe(nd.TotalVariation(kappa=5.0), 1.0),
        "Rician σₙ 12": nd.Recipe(nd.Rician(sigma_noise=12.0), 1.0),
        "mean curvature over 2 mm²": nd.Recipe(nd.MeanCurvature(), 2.0, unit="millimeter"),
    }
    for title, recipe in titles.items():
        assert result_title(recipe) == title


@pytest.mark.parametrize("model", all_models())
def test_every_model_has_a_name_with_a_number(model):
    title = result_title(nd.Recipe(model(), 1.0))
    assert any(letter.isdigit() for letter in title)
    assert "[" not in title
