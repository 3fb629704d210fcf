"""Words of the result card: what was removed, and what may be measured on the result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_diffusion.models import Model

if TYPE_CHECKING:
    from napari_diffusion.estimation.measurement.removed import Removed

#: Removed part, relative to the noise, below which little was removed, and above which it is more
#: than noise. The level of the noise is known to a few per cent.
LITTLE, MORE = 0.3, 1.1
MEASURE_MEANS = "Measure means in the result; peaks, widths, texture in the original."
MEASURE_ORIGINAL = "This filter changes means, too: measure in the original."
NOT_TESTED = "The image is too small or too thin to see whether structure was removed."


def result_sentences(removed: Removed | None, model: type[Model]) -> list[str]:
    """Return the sentences of the card.

    Parameters
    ----------
    removed
        What the run has removed; None where it was not measured.
    model
        Class of the model.
    """
    measured = [] if removed is None else [level_sentence(removed)]
    if removed is not None and not _is_clear(removed):
        measured.append(structure_sentence(removed))
    return [*measured, measuring_sentence(model)]


def _is_clear(removed: Removed) -> bool:
    """Whether the level alone says if structure was removed: nothing was, or more than noise."""
    return removed.level == 0 or (_is_more(removed) and not removed.has_structure)


def _is_more(removed: Removed) -> bool:
    """Whether more than the noise was removed."""
    return removed.level > MORE * removed.noise + 2 * removed.noise_error


def level_sentence(removed: Removed) -> str:
    """Return the level of the removed part, in units of the noise."""
    noise = removed.noise
    if removed.level == 0:
        return "Nothing was removed."
    if math.isnan(noise):
        return "The image has no noise with which to compare what was removed."
    share = removed.level / noise
    ratio = "as strong as" if 0.95 <= share < 1.05 else f"{share:.2g} times as strong as"
    sentence = f"What was removed is {ratio} the noise"
    if removed.level < LITTLE * noise:
        return f"{sentence}: most of the noise is left."
    if _is_more(removed):
        return f"{sentence}: detail went, too."
    return f"{sentence}."


def levels_sentence(removed: Removed) -> str:
    """Return the standard deviations of the removed part and of the noise [intensity]."""
    noise = "" if math.isnan(removed.noise) else f"; noise: {removed.noise:.3g}"
    return f"Standard deviation of what was removed: {removed.level:.3g}{noise}."


def structure_sentence(removed: Removed) -> str:
    """Return whether structure is seen in the removed part."""
    if removed.has_structure is None:
        return NOT_TESTED
    if not removed.has_structure:
        return "No structure is seen in it."
    share = max(1, round(100 * removed.structure_share))
    return f"Structure is seen in {share} % of it: edges, lines or stripes."


def measuring_sentence(model: type[Model]) -> str:
    """Return what may be measured on the result."""
    return MEASURE_MEANS if model.conservative else MEASURE_ORIGINAL
