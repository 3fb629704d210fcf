"""Names of results: the model in short words, and its main parameter."""

from __future__ import annotations

from typing import Any

import napari_diffusion as nd
from napari_diffusion.core import units
from napari_diffusion.models import Linear, Model, PeronaMalik, parameters

#: Short words for models whose title says little about their effect.
SHORT_WORDS: dict[type[Model], str] = {Linear: "Gaussian", PeronaMalik: "edge-preserving"}
#: Symbols of parameters.
SYMBOLS = {"kappa": "κ", "gamma": "γ", "q0": "q₀", "sigma_noise": "σₙ"}


def result_title(recipe: nd.Recipe) -> str:
    """Return the words after the name of the source, such as "edge-preserving κ 3.4".

    Examples
    --------
    >>> result_title(nd.Recipe(nd.Linear(), 0.72, unit="millimeter"))
    'Gaussian σ 1.2 mm'
    >>> result_title(nd.Recipe(nd.TotalVariation(kappa=5.0), 2.0))
    'total variation κ 5'
    """
    return f"{short_words(type(recipe.model))} {_main_parameter(recipe)}"


def short_words(model: type[Model]) -> str:
    """Return a model in short words."""
    return SHORT_WORDS.get(model, _lower_case(model.title))


def time_in_words(time: float, unit: str) -> str:
    """Return a diffusion time with its unit, such as "1.2 mm²"."""
    return f"{time:.3g} {units.symbol(unit)}²"


def _main_parameter(recipe: nd.Recipe) -> str:
    """Return the first number of the model, or the amount of smoothing if it has none."""
    if isinstance(recipe.model, Linear):
        return f"σ {nd.equivalent_sigma(recipe.time):.3g} {units.symbol(recipe.unit)}"
    for parameter in parameters(recipe.model):
        value: Any = getattr(recipe.model, parameter.name)
        if parameter.type is float and isinstance(value, float) and not parameter.hidden:
            return f"{SYMBOLS.get(parameter.name, parameter.name)} {value:.3g}"
    return f"over {time_in_words(recipe.time, recipe.unit)}"


def _lower_case(title: str) -> str:
    """Return a title inside a name: in lower case, unless it is the name of a person.

    The titles of models have no other capitals than those of names, such as "Geman-McClure".
    """
    is_name = title == "Rician" or title[1:] != title[1:].lower()
    return title if is_name else title[:1].lower() + title[1:]
