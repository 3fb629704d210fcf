"""The diffusion models, in menu order. Listing a model here is what puts it into widgets, command line, docs and tests."""

from __future__ import annotations

from importlib.metadata import entry_points

from napari_diffusion.models.base import Model, Parameter, param, parameters
from napari_diffusion.models.linear import Linear
from napari_diffusion.models.perona_malik import PeronaMalik

BUILTIN: tuple[type[Model], ...] = (Linear, PeronaMalik)
ENTRY_POINT_GROUP = "napari_diffusion.models"


def all_models() -> tuple[type[Model], ...]:
    """Return the built-in models, then those that other packages register under the entry point ``napari_diffusion.models``."""
    return BUILTIN + tuple(entry.load() for entry in entry_points(group=ENTRY_POINT_GROUP))


def get(name: str) -> type[Model]:
    """Return the model class with this command-line name, or say which names exist."""
    known = {model.name: model for model in all_models()}
    if name not in tuple(known):  # a name of any type
        raise ValueError(f"There is no model named {name!r}; the models are {', '.join(known)}.")
    return known[name]


__all__ = ["BUILTIN", "ENTRY_POINT_GROUP", "Linear", "Model", "Parameter", "PeronaMalik", "all_models", "get", "param", "parameters"]
