"""Checks of a recipe before its settings are shown."""

from __future__ import annotations

from typing import Any

import napari_diffusion as nd
from napari_diffusion.engine.recipe_fields import run_options
from napari_diffusion.models import parameters
from napari_diffusion.ui.form.model_controls import MAX_INTEGER
from napari_diffusion.ui.qt.quantity_box import MAX_VALUE, MIN_VALUE


def shortcomings(
    recipe: nd.Recipe, layer: Any, labels: Any, guide: Any, axes_identified: bool
) -> list[str]:
    """Return one sentence for each part of a recipe that cannot be used.

    Parameters
    ----------
    recipe
        The recipe.
    layer, labels, guide
        Image layer to filter, labels layer and guide of the recipe, each ``None`` where there is
        none.
    axes_identified
        Whether the axes of the recipe were identified in the layer.
    """
    sentences = []
    if not axes_identified:
        sentences.append("Which axes it means cannot be told here: see to those above.")
    if recipe.labels is not None and labels is None:
        sentences.append(
            f"It smooths within the labels {recipe.labels}, and no layer here is called so."
        )
    if recipe.guide is not None and guide is None:
        sentences.append(
            f"It takes its edges from the image {recipe.guide}, and no layer here is called so."
        )
    if recipe.channel_axis is not None and not getattr(layer, "rgb", False):
        sentences.append(
            "It couples channels; those of this layer, if it has any, are smoothed one by one."
        )
    return sentences


def check_range(recipe: nd.Recipe) -> None:
    """Raise `ValueError` if a number of a recipe is out of the range of the controls."""
    numbers = [getattr(recipe.model, p.name) for p in parameters(recipe.model)]
    numbers += [getattr(recipe, p.name) for p in run_options(type(recipe))]
    for number in [*numbers, recipe.time]:
        if not isinstance(number, int | float) or not number:
            continue
        largest = MAX_INTEGER if isinstance(number, int) else MAX_VALUE
        if not MIN_VALUE <= abs(number) <= largest:
            size = "large" if abs(number) > 1 else "small"
            raise ValueError(f"The recipe says {number:.3g}, which is too {size} to be shown.")
