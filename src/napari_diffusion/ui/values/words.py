"""Sentences about a suggestion on screen: its effect, its care, and why it was chosen."""

from __future__ import annotations

from dataclasses import dataclass

from napari_diffusion.core.gaussian import equivalent_sigma
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.report.words import MIN_CORRELATION
from napari_diffusion.estimation.suggestion import Suggestion
from napari_diffusion.models import Parameter, parameters

#: Name of the diffusion time on screen.
TIME_NAME = "Amount of smoothing"
MEASURING = "Measuring the noise…"
NO_IMAGE = "Open an image first."
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
    suggestion: Suggestion | None, measuring: bool, own: bool, reason: str = ""
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
    """
    if measuring:
        return StrengthText(MEASURING)
    if suggestion is None:
        return StrengthText(OWN_VALUES if own else reason, own=own)
    movable = suggestion.scale is not None
    if own:
        return StrengthText(OWN_VALUES, movable, own=True)
    if not movable:
        return StrengthText(f"{suggestion.effect} {FIXED_AMOUNT}".strip())
    return StrengthText(" ".join(filter(None, (suggestion.effect, care_of(suggestion)))), True)


def is_undecided(noise: Noise) -> bool:
    """Whether a fine pattern of the image may be noise or detail."""
    return noise.correlation > MIN_CORRELATION and noise.origin in ("detail", "undecided")


def care_of(suggestion: Suggestion) -> str:
    """Return a sentence for a suggestion that hardly changes the image on purpose; else nothing."""
    if not suggestion.noise_left > HARDLY_CHANGED and suggestion.time > 0:
        return ""
    noise = suggestion.noise
    if noise.origin == "undecided" and noise.other_sigma > 0:
        return (
            f"This is careful on purpose: the noise may be {noise.sigma:.2g} or "
            f"{noise.other_sigma:.2g}, and the image cannot decide."
        )
    if is_undecided(noise):
        return (
            "This is careful on purpose: the fine pattern of this image looks more like detail "
            "than like noise."
        )
    return "This is on purpose: stronger smoothing would remove more detail than noise."


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
