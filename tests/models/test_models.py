"""The registry of models and the declaration of parameters."""

import dataclasses

import pytest

from helpers import entry_points
from napari_diffusion import models

UNITS = {"1", "length", "length^2", "intensity", "intensity/length", "intensity/length^2"}


def test_names_are_unique_and_get_returns_every_listed_model():
    names = [model.name for model in models.all_models()]
    assert len(set(names)) == len(names)
    assert [models.get(name) for name in names] == list(models.all_models())


def test_every_field_of_every_model_is_declared_with_unit_and_sentence():
    for model in models.BUILTIN:
        names = [field.name for field in dataclasses.fields(model)]
        assert [p.name for p in models.parameters(model)] == names
        for p in models.parameters(model):
            assert p.doc.endswith(".")
            assert p.unit in UNITS
        assert model.title
        assert model.summary.endswith(".")


@pytest.mark.parametrize(
    "value", ["no_such_module:Model", "json:dumps", "napari_diffusion.models:Broken"]
)
def test_broken_model_of_another_package_causes_one_warning(value, monkeypatch):
    entry_points.register(monkeypatch, models=value)
    with pytest.warns(RuntimeWarning, match="The model 'theirs'") as caught:
        assert models.all_models() == models.BUILTIN
    assert len(caught) == 1


def test_model_of_another_package_is_listed_after_the_built_in_ones(monkeypatch):
    entry_points.register(monkeypatch, models=entry_points.MODEL)
    assert models.all_models() == (*models.BUILTIN, entry_points.Foreign)
    assert models.get("foreign") is entry_points.Foreign


def test_units_are_shown_with_the_units_of_the_data():
    kappa, diffusivity, sigma, kappa_map = models.parameters(models.PeronaMalik)
    assert kappa.unit_in("µm") == "intensity/µm"
    assert diffusivity.unit_in("µm") == ""
    assert sigma.unit_in("mm") == "mm"
    assert kappa_map.unit_in("mm") == ""


def test_values_are_converted_to_the_declared_type():
    model = models.PeronaMalik(kappa=3, sigma=0)
    assert (type(model.kappa), type(model.sigma)) == (float, float)
    assert model == models.PeronaMalik(kappa=3.0)
