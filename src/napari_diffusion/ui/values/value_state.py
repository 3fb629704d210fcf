"""State of a value on screen: where it comes from."""

from __future__ import annotations

from enum import Enum


class ValueState(Enum):
    """Where a value comes from; the string is the mark beside the value."""

    #: The image is being measured, and the value is not known yet.
    MEASURING = "measuring…"
    #: Chosen from the noise of the image.
    SUGGESTED = "suggested"
    #: Set by the user, for this layer.
    YOURS = "yours"
    #: The same for every image.
    DEFAULT = "default"

    @property
    def explanation(self) -> str:
        """One sentence for the tooltip and for screen readers."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    ValueState.MEASURING: "The noise of the image is being measured; the value follows.",
    ValueState.SUGGESTED: "Chosen from the noise of this image.",
    ValueState.YOURS: "Set by you, for this layer only.",
    ValueState.DEFAULT: "The same for every image until you change it.",
}


def state_of(own: bool, measurable: bool, measuring: bool, suggested: bool) -> ValueState:
    """Return the state of a value.

    Parameters
    ----------
    own
        Whether the user has set the value.
    measurable
        Whether the value can be chosen from the image.
    measuring
        Whether a measurement is under way, before its first result.
    suggested
        Whether there is a suggestion for the image.
    """
    if own:
        return ValueState.YOURS
    if measurable and measuring:
        return ValueState.MEASURING
    return ValueState.SUGGESTED if measurable and suggested else ValueState.DEFAULT
