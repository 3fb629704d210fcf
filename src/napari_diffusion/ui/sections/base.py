"""Base class of the sections, the foldable boxes below the form."""

from __future__ import annotations

from typing import Any, ClassVar

from magicgui.widgets import Widget

from napari_diffusion.ui.context import Context
from napari_diffusion.ui.qt.foldable import Foldable
from napari_diffusion.ui.qt.slots import slot


class Section:
    """One foldable box.

    Parameters
    ----------
    context
        Access to the rest of the widget.

    Attributes
    ----------
    box
        The foldable box.
    """

    title: ClassVar[str]
    tooltip: ClassVar[str] = ""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.box = Foldable(self.title, self.make(), tooltip=self.tooltip)
        self.box.toggled.connect(self.on_toggled)

    def fail(self, error: Exception) -> None:
        """Show an error below Run."""
        self.context.fail(error)

    def make(self) -> list[Widget]:
        """Return the content of the box; called once."""
        raise NotImplementedError

    def output_options(self) -> dict[str, Any]:
        """Return the additional outputs of a run, as fields of `OutputRequest`."""
        return {}

    @slot
    def on_toggled(self, opened: bool) -> None:
        """React to the box being opened or closed; a closed section does no work."""
