"""Sentences about a suggestion on screen: its effect, its care, and why it was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_diffusion.core.gaussian import equivalent_sigma
from napari_diffusion.models import Parameter, parameters

if TYPE_CHECKING:
    from napari_diffusion.estimation.noise.kinds import Noise
    from napari_diffusion.estimation.suggestion import Suggestion

#: Name of the diffusion time on screen.
TIME_NAME = "Amount"
MEASURING = "Measuring the noise…"
TRYING_MODELS = "Trying several models on pieces of the image…"
CHOSEN = "Chosen for this image: {}."
NO_IMAGE = "Open an image first."
CAREFUL = "Hardly changes this image, on purpose"
FOR_MORE = "To smooth it anyway, change the values under Fine-tune."
OWN_VALUES = "Your own values: their effect is not estimated."
FIXED_AMOUNT = "The noise reduction was asked for; the strength cannot change it."
#: Share of the noise that is left from which on a result looks like the image itself.
HARDLY_CHANGED = 0.9


def label_of(parameter: Parameter) -> str:
    """Return the label of a parameter: the words before the colon of its doc, or else its name."""
    if parameter.label:
        return parameter.label
    title, colon, _ = parameter.doc.partition(":")
    return title if colon else parameter.name.replace("_", " ").capitalize()


@dataclass(frozen=True)
class StrengthText:
    """What the strength slider shows.

    Attributes
    ----------
    text
        One or two sentences below the slider.
    enabled
        Whether the slider can be moved.
    own
        Whether values of the user are in the place of the suggestion.
    """

    text: str
    enabled: bool = False
    own: bool = False


def strength_text(
    suggestion: Suggestion | None,
    measuring: bool,
    own: bool,
    reason: str = "",
    automatic: bool = False,
) -> StrengthText:
    """Return what the slider shows.

    Parameters
    ----------
    suggestion
        The suggestion at the chosen strength, or ``None``.
    measuring
        Whether the image is being measured, without a result yet.
    own
        Whether the user has set a value that the suggestion would set.
    reason
        Why there is no suggestion, if it is not being measured.
    automatic
        Whether the suggestion chooses the model.
    """
    if measuring:
        return StrengthText(TRYING_MODELS if automatic else MEASURING)
    if suggestion is None:
        return StrengthText(OWN_VALUES if own else reason, own=own)
    movable = suggestion.scale is not None
    chosen = CHOSEN.format(suggestion.model.title) if automatic else ""
    if own:
        sentences = [chosen, OWN_VALUES]
    else:
        care = care_of(suggestion) if movable else ""
        more = FOR_MORE if care and suggestion.strength > 0 else ""
        sentences = [chosen, care or suggestion.effect, more, "" if movable else FIXED_AMOUNT]
    return StrengthText(" ".join(filter(None, sentences)), movable, own)


def is_undecided(noise: Noise) -> bool:
    """Whether a fine pattern of the image may be noise or detail."""
    from napari_diffusion.estimation.report.words import MIN_CORRELATION

    return noise.correlation > MIN_CORRELATION and noise.origin in ("detail", "undecided")


def care_of(suggestion: Suggestion) -> str:
    """Return a sentence for a suggestion that hardly changes the image on purpose; else nothing."""
    if not suggestion.noise_left > HARDLY_CHANGED and suggestion.time > 0:
        return ""
    noise = suggestion.noise
    if noise.origin == "undecided" and noise.other_sigma > 0:
        levels = f"{noise.sigma:.2g} or {noise.other_sigma:.2g}"
        return f"{CAREFUL}: its noise may be {levels}, and the lower level is the careful one."
    if is_undecided(noise):
        return f"{CAREFUL}: its fine pattern looks more like detail than like noise."
    return f"{CAREFUL}: stronger smoothing would remove more detail than noise."


def plain_paragraph(suggestion: Suggestion, changed: list[str]) -> str:
    """Return the explanation in plain words.

    Parameters
    ----------
    suggestion
        The suggestion at the chosen strength.
    changed
        Names on screen of the values that the user has set.
    """
    care = care_of(suggestion)
    parts = [suggestion.summary, care]
    if changed:
        names = " and ".join(changed)
        parts.insert(0, f"You have set: {names}. This is about the suggested values.")
    return " ".join(filter(None, parts))


def numbers_and_method(suggestion: Suggestion, unit: str) -> str:
    """Return warnings, measurements and reasons, one a line, with the names on screen.

    Parameters
    ----------
    suggestion
        The suggestion at the chosen strength, with lengths in ``unit``.
    unit
        Symbol of the unit of length on screen.
    """
    beginnings = {"time = ": _amount(suggestion, unit)}
    for p in parameters(suggestion.model):
        value = getattr(suggestion.model, p.name)
        if isinstance(value, float):
            shown = f"{label_of(p)} {value:.3g} {p.unit_in(unit)}".rstrip()
            beginnings[f"{p.name} = "] = shown
    lines = [f"Please note: {text}" for text in suggestion.warnings]
    return "\n".join([*lines, *(_renamed(line, beginnings) for line in suggestion.reasons)])


def _amount(suggestion: Suggestion, unit: str) -> str:
    sigma = equivalent_sigma(suggestion.time)
    return f"{TIME_NAME}, at most a Gaussian of σ {sigma:.3g} {unit}"


def _renamed(line: str, beginnings: dict[str, str]) -> str:
    """Return a line whose number before the colon has its name and unit on screen."""
    for beginning, shown in beginnings.items():
        if line.startswith(beginning):
            _, colon, rest = line.partition(": ")
            return f"{shown}{colon}{rest}"
    return line
