"""Values for several layers: those on screen, suggested for each layer, or once for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.ui.run.kernels import wait_for_suggestion
from napari_diffusion.ui.run.run import Choose
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.workflows.file_values import suggested_values, with_values

MEASURING = "Measuring the noise…"


class BatchValues(Enum):
    """Where the values of a batch come from; the value is the text on screen."""

    AS_ABOVE = "as above"
    EACH = "suggested for each"
    ONCE = "suggested once for all"


def choose_for_layers(
    values: BatchValues, batch: Sequence[Settings], options: SuggestionOptions, automatic: bool
) -> Choose | None:
    """Return what chooses the values of each run of a batch of layers; None for those on screen.

    The values for all together are measured by the first run that needs them. Runs of one panel are
    executed one after the other.

    Parameters
    ----------
    values
        Where the values come from.
    batch
        The settings of all layers.
    options
        Options of the suggestion.
    automatic
        Whether the suggestion chooses the model.
    """
    if values is BatchValues.AS_ABOVE:
        return None
    shared: list[Recipe] = []

    def suggested(together: Sequence[Settings], control: TaskControl) -> Recipe:
        first = together[0]
        control.say(MEASURING)
        wait_for_suggestion(first, control.cancel)
        problems = [settings.problem() for settings in together]
        region = first.noise_region
        own = replace(options, time_axes=first.time_axes, noise_region=region)
        recipe = suggested_values(problems, first.recipe, own, control.cancel, automatic)
        control.say("")
        return recipe

    def choose(settings: Settings, control: TaskControl) -> Settings:
        if values is BatchValues.EACH:
            recipe = suggested([settings], control)
        else:
            if not shared:
                shared.append(suggested(_of_one_unit(settings, batch), control))
            recipe = with_values(settings.recipe, shared[0])
        return replace(settings, recipe=recipe)

    return choose


def _of_one_unit(first: Settings, batch: Sequence[Settings]) -> list[Settings]:
    """Return settings in the unit of the first, which come first; those in pixel stay as they are.

    A suggestion compares images with as many axes to smooth along, and with as many colours.
    """
    others = [
        settings for settings in batch if settings is not first and _is_alike(first, settings)
    ]
    unit = first.recipe.unit
    return [first, *(replace(s, recipe=s.recipe.in_unit(unit)) for s in others)]


def _is_alike(first: Settings, other: Settings) -> bool:
    pixels = [settings.recipe.unit == "pixel" for settings in (first, other)]
    axes = [len(settings.recipe.axes or settings.image.shape) for settings in (first, other)]
    colours = [settings.recipe.channel_axis is None for settings in (first, other)]
    return pixels[0] == pixels[1] and axes[0] == axes[1] and colours[0] == colours[1]
