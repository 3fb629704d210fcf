"""Values of layers: memory, units, and what a run uses. They need no display."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.core.gaussian import FWHM, equivalent_sigma
from napari_diffusion.ui.values.layer_values import (
    TIME,
    LayerMemory,
    LayerValues,
    Measured,
    ModelValues,
    composed,
    in_unit,
    weak_reference,
    with_strength,
)


class Layer:
    """Stands for a layer of napari."""


@pytest.fixture(scope="module")
def suggestion():
    rng = np.random.default_rng(0)
    image = 80.0 * (np.indices((48, 48)).sum(0) > 50) + rng.normal(0, 5, (48, 48))
    return nd.suggest(image, nd.PeronaMalik(), spacing=0.5, unit="µm", thorough=False)


def test_values_stay_with_their_layer():
    memory, one, two = LayerMemory(), Layer(), Layer()
    memory.of(one, False, "µm").of(nd.PeronaMalik).own["kappa"] = 125.0
    assert memory.of(two, False, "µm").of(nd.PeronaMalik).own == {}
    assert memory.of(one, True, "µm").of(nd.PeronaMalik).own == {}
    assert memory.of(one, False, "µm").of(nd.TotalVariation).own == {}
    assert memory.of(one, False, "µm").of(nd.PeronaMalik).own == {"kappa": 125.0}


def test_a_removed_layer_is_forgotten():
    memory, layer = LayerMemory(), Layer()
    values, alive = weakref.ref(memory.of(layer, False, "µm")), weakref.ref(layer)
    del layer
    gc.collect()
    assert alive() is None
    assert values() is None


def test_a_suggestion_keeps_no_array_alive(suggestion):
    image = np.zeros(3)
    measured, alive = Measured(suggestion, (), weak_reference(image), True), weakref.ref(image)
    assert measured.holds_for(image, ())
    assert not measured.holds_for(np.zeros(3), ())
    assert not measured.holds_for(image, (1,))
    del image
    assert alive() is None


def test_values_are_returned_in_the_unit_of_the_screen():
    memory, layer = LayerMemory(), Layer()
    values = memory.of(layer, False, "µm")
    values.of(nd.PeronaMalik).own = {"kappa": 8.0, "sigma": 0.5, TIME: 3.0, "diffusivity": "tukey"}
    values.sizes = {0: 2.0}
    again = memory.of(layer, False, "nm")
    assert again.of(nd.PeronaMalik).own == {
        "kappa": pytest.approx(0.008),
        "sigma": pytest.approx(500),
        TIME: pytest.approx(3e6),
        "diffusivity": "tukey",
    }
    assert again.sizes == {0: pytest.approx(2000)}
    assert memory.of(layer, False, "pixel").of(nd.PeronaMalik).own[TIME] == pytest.approx(3e6)


def test_a_suggestion_is_converted_with_its_layer_once(suggestion):
    memory, layer, image = LayerMemory(), Layer(), np.zeros(3)
    values = memory.of(layer, False, "µm").of(nd.PeronaMalik)
    values.measured = Measured(suggestion, (), weak_reference(image), True)
    for _ in range(2):
        again = memory.of(layer, False, "nm")
        measured = again.of(nd.PeronaMalik).measured
        assert again.unit == "nm"
        assert measured.suggestion.model.kappa == pytest.approx(suggestion.model.kappa / 1000)
        assert measured.suggestion.time == pytest.approx(suggestion.time * 1e6)
        assert measured.holds_for(image, ())


def test_adopted_values_are_a_copy():
    before, new = LayerValues("pixel"), LayerValues("pixel")
    before.of(nd.PeronaMalik).own["kappa"] = 5.0
    new.adopt(before)
    new.of(nd.PeronaMalik).own["kappa"] = 7.0
    assert before.of(nd.PeronaMalik).own == {"kappa": 5.0}


def test_only_an_unknown_layer_adopts_values_set_before_it(suggestion):
    before, new, known = LayerValues("pixel"), LayerValues("pixel"), LayerValues("pixel")
    before.of(nd.PeronaMalik).own["kappa"] = 5.0
    before.of(nd.PeronaMalik).measured = Measured(suggestion, (), lambda: None, True)
    known.of(nd.PeronaMalik).own["kappa"] = 6.0
    for values in (new, known):
        values.adopt(before)
    assert (new.of(nd.PeronaMalik).own, known.of(nd.PeronaMalik).own) == (
        {"kappa": 5.0},
        {"kappa": 6.0},
    )
    assert new.of(nd.PeronaMalik).measured is None


def test_own_values_replace_suggested_ones(suggestion):
    assert composed(suggestion, ModelValues()) == (suggestion.model, suggestion.time)
    model, time = composed(suggestion, ModelValues({"kappa": 7.0}))
    assert (model.kappa, model.sigma, time) == (7.0, suggestion.model.sigma, suggestion.time)
    assert composed(suggestion, ModelValues({TIME: 9.0}, strength=1.0)) == (suggestion.model, 9.0)
    strong = suggestion.with_strength(1.0)
    assert composed(suggestion, ModelValues(strength=1.0)) == (suggestion.model, strong.time)


def test_a_suggestion_in_another_unit_is_the_same_amount_of_smoothing(suggestion):
    converted = in_unit(suggestion, "nm", 1000.0)
    assert converted.model.kappa == pytest.approx(suggestion.model.kappa / 1000)
    assert converted.time == pytest.approx(suggestion.time * 1e6)
    for strength in (-1.0, -0.3, 0.0, 0.5, 1.0):
        old, new = suggestion.with_strength(strength), converted.with_strength(strength)
        assert new.time == pytest.approx(old.time * 1e6, rel=1e-3)  # times have four digits
        assert new.noise_left == pytest.approx(old.noise_left, rel=1e-3)
        assert "µm" not in new.effect


def test_the_effect_names_lengths_in_the_unit_of_the_screen(suggestion):
    faint = suggestion.scale.recommended._replace(noise_share=0.0)
    scale = dataclasses.replace(suggestion.scale, recommended=faint)
    shown = dataclasses.replace(suggestion, scale=scale, effect=scale.effect(faint))
    assert "µm" in shown.effect
    converted = in_unit(shown, "nm", 1000.0)
    width = FWHM * equivalent_sigma(faint.time) * 1000
    assert f"{width:.2g} nm" in converted.effect
    assert f"{width:.2g} nm" in converted.scale.effect(converted.scale.recommended)


def test_a_fixed_amount_has_no_strength():
    image = np.random.default_rng(0).normal(0, 5, (48, 48))
    fixed = nd.suggest(image, nd.Linear(), noise_reduction=3)
    assert with_strength(fixed, 1.0) is fixed
