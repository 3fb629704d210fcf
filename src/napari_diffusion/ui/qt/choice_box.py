"""Combo box whose list may change without a change of its value counting as the user's choice."""

from __future__ import annotations

from typing import Any

from magicgui.types import ChoicesType
from magicgui.widgets import ComboBox
from magicgui.widgets.bases import CategoricalWidget


class ChoiceBox(ComboBox):
    """A combo box that keeps its value when the list of choices changes.

    A value that is no longer in the list is replaced by the first choice. Nothing is emitted then,
    because the user has chosen nothing: whoever changes the list knows what to show. magicgui
    identifies the value by its text, emits the first choice as if the user had chosen it, and puts
    new choices last.
    """

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values to choose from."""
        return super().choices

    @choices.setter
    def choices(self, choices: ChoicesType) -> None:
        value = self.value
        with self.changed.blocked():
            for listed in ((), choices):  # emptied first, so that the list gets the new order
                CategoricalWidget.choices.fset(self, listed)  # type: ignore[attr-defined]
            if value in self.choices:
                self.value = value
