"""The box "Why these values": first in plain words, then numbers and method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_diffusion.ui.qt.foldable import Foldable
from napari_diffusion.ui.qt.layout import wrapping_label
from napari_diffusion.ui.values.words import numbers_and_method, plain_paragraph

if TYPE_CHECKING:
    from napari_diffusion.estimation.suggestion import Suggestion


class Explanation(Foldable):
    """Explains the suggestion on screen, and is hidden without one.

    Attributes
    ----------
    plain, numbers
        The paragraph in plain words, and the lines below it.
    """

    def __init__(self) -> None:
        self.plain, self.numbers = wrapping_label(), wrapping_label()
        tip = "What was measured in this image and chosen for it, and why."
        super().__init__("Why these values", [self.plain, self.numbers], tooltip=tip)
        self.visible = False

    @property
    def text(self) -> str:
        """The whole text; empty without a suggestion."""
        return f"{self.plain.value}\n\n{self.numbers.value}" if self.plain.value else ""

    def show_suggestion(self, suggestion: Suggestion | None, changed: list[str], unit: str) -> None:
        """Explain a suggestion; arguments as of `plain_paragraph` and `numbers_and_method`."""
        plain = numbers = ""
        if suggestion is not None:
            plain = plain_paragraph(suggestion, changed)
            numbers = numbers_and_method(suggestion, unit)
        self.plain.value, self.numbers.value = plain, numbers
        self.visible = suggestion is not None
