"""Sentences about a suggestion, and the states of values. They need no display."""

import dataclasses
import math
import types

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.core.gaussian import equivalent_sigma
from napari_diffusion.models import parameters
from napari_diffusion.ui.values.value_state import ValueState, state_of
from napari_diffusion.ui.values.words import (
    FIXED_AMOUNT,
    FOR_MORE,
    MEASURING,
    NO_IMAGE,
    OWN_VALUES,
    TRYING_MODELS,
    care_of,
    label_of,
    numbers_and_method,
    plain_paragraph,
    strength_text,
)


@pytest.fixture(scope="module")
def suggestion():
    rng = np.random.default_rng(0)
    image = 80.0 * (np.indices((48, 48)).sum(0) > 50) + rng.normal(0, 5, (48, 48))
    return nd.suggest(image, nd.PeronaMalik(), spacing=0.5, unit="µm", thorough=False)


def with_noise(suggestion, **noise):
    return dataclasses.replace(suggestion, noise=dataclasses.replace(suggestion.noise, **noise))


@pytest.mark.parametrize("measurable", [True, False])
@pytest.mark.parametrize("measuring", [True, False])
@pytest.mark.parametrize("suggested", [True, False])
def test_a_value_that_is_set_is_yours_whatever_is_measured(measurable, measuring, suggested):
    assert state_of(True, measurable, measuring, suggested) is ValueState.YOURS
    state = state_of(False, measurable, measuring, suggested)
    if not measurable:
        assert state is ValueState.DEFAULT
    elif measuring:
        assert state is ValueState.MEASURING
    else:
        assert state is (ValueState.SUGGESTED if suggested else ValueState.DEFAULT)


def test_every_state_is_a_word_and_a_sentence():
    assert len({state.value for state in ValueState}) == 4
    assert all(state.explanation.endswith(".") for state in ValueState)


def test_the_slider_tells_the_effect_of_the_suggestion(suggestion):
    text = strength_text(suggestion, measuring=False, own=False)
    assert (text.text, text.enabled, text.own) == (suggestion.effect, True, False)
    gentle = suggestion.with_strength(-1.0)
    assert strength_text(gentle, False, False).text == gentle.effect != suggestion.effect


def test_the_slider_tells_why_it_claims_nothing(suggestion):
    assert strength_text(None, True, False).text == MEASURING
    assert not strength_text(None, True, False).enabled
    assert strength_text(None, False, False, NO_IMAGE).text == NO_IMAGE
    own = strength_text(suggestion, False, True)
    assert (own.text, own.enabled, own.own) == (OWN_VALUES, True, True)
    assert strength_text(None, False, True, NO_IMAGE).text == OWN_VALUES
    fixed = dataclasses.replace(suggestion, scale=None)
    assert FIXED_AMOUNT in strength_text(fixed, False, False).text
    assert not strength_text(fixed, False, False).enabled


def test_a_careful_choice_says_that_it_is_on_purpose(suggestion):
    assert care_of(suggestion) == ""
    weak = dataclasses.replace(suggestion, noise_left=0.99)
    assert "on purpose" in care_of(weak)
    correlated = {"correlations": ((0.5,), (0.5,)), "origin": "detail"}
    assert "more like detail than like noise" in care_of(with_noise(weak, **correlated))
    undecided = correlated | {"origin": "undecided", "sigma": 4.7, "other_sigma": 30.7}
    sentence = care_of(with_noise(weak, **undecided))
    assert "4.7 or 31" in sentence
    assert "on purpose" in sentence
    unchanged = dataclasses.replace(suggestion, time=0.0, noise_left=math.nan)
    assert "on purpose" in care_of(unchanged)
    assert strength_text(weak, False, False).text == care_of(weak)
    strong = dataclasses.replace(weak, strength=1.0)
    assert strength_text(strong, False, False).text == f"{care_of(weak)} {FOR_MORE}"


@pytest.mark.parametrize(("noise_left", "careful"), [(0.89, False), (0.91, True)])
def test_a_choice_is_careful_where_nearly_all_noise_is_left(suggestion, noise_left, careful):
    assert bool(care_of(dataclasses.replace(suggestion, noise_left=noise_left))) is careful


def test_the_reason_for_care_is_that_of_the_noise(suggestion):
    weak = dataclasses.replace(suggestion, noise_left=0.99)
    plain = "stronger smoothing would remove more detail than noise"
    assert plain in care_of(with_noise(weak, correlations=(), origin="detail"))
    undecided = {"correlations": ((0.5,), (0.5,)), "origin": "undecided", "other_sigma": 0.0}
    assert "more like detail" in care_of(with_noise(weak, **undecided))
    fixed = strength_text(dataclasses.replace(weak, scale=None), False, False).text
    assert fixed == f"{weak.effect} {FIXED_AMOUNT}"


def test_an_automatic_choice_names_its_model(suggestion):
    assert strength_text(None, True, False, automatic=True).text == TRYING_MODELS
    for own in (True, False):
        text = strength_text(suggestion, False, own, automatic=True).text
        assert text.startswith("Chosen for this image: Perona-Malik. ")
    assert "Chosen" not in strength_text(suggestion, False, False).text


def test_labels_are_the_words_before_the_colon_of_the_help():
    def parameter(doc, label=""):
        return types.SimpleNamespace(doc=doc, label=label, name="some_name")

    assert label_of(parameter("Edge threshold: the gradient.")) == "Edge threshold"
    assert label_of(parameter("Edge threshold: the gradient.", "κ")) == "κ"
    assert label_of(parameter("The gradient.")) == "Some name"


def test_warnings_and_reasons_are_whole(suggestion):
    noted = dataclasses.replace(suggestion, warnings=("It is dark.",))
    lines = numbers_and_method(noted, "µm").splitlines()
    assert lines[0] == "Please note: It is dark."
    endings = [reason.partition(": ")[2] for reason in suggestion.reasons]
    assert any(endings)
    for line, ending in zip(lines[1:], endings, strict=True):
        assert line.endswith(ending)
    sigma = equivalent_sigma(suggestion.time)
    assert f"at most a Gaussian of σ {sigma:.3g} µm: " in "\n".join(lines)
    weak = dataclasses.replace(suggestion, noise_left=0.99)
    assert plain_paragraph(weak, []) == f"{weak.summary} {care_of(weak)}"


def test_the_explanation_says_which_values_it_is_not_about(suggestion):
    assert plain_paragraph(suggestion, []) == suggestion.summary
    text = plain_paragraph(suggestion, ["Edge threshold", "Amount"])
    assert text.startswith("You have set: Edge threshold and Amount.")
    assert text.endswith(suggestion.summary)


def test_numbers_have_the_names_and_units_of_the_screen(suggestion):
    text = numbers_and_method(suggestion, "µm")
    assert f"Edge threshold {suggestion.model.kappa:.3g} intensity/µm" in text
    for p in parameters(suggestion.model):
        assert f"{p.name} = " not in text
    assert "time = " not in text
    assert "sigma" not in text
    assert text.count("\n") == len(suggestion.reasons) + len(suggestion.warnings) - 1
