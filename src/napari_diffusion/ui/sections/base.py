"""Sections: foldable boxes below the form; each knows the rest of the widget through its context only."""

from __future__ import annotations

from typing import Any, ClassVar

from magicgui.widgets import Widget

from napari_diffusion.ui.context import Context
from napari_diffusion.ui.qt.foldable import Foldable


class Section:
    """One foldable box.

    Parameters
    ----------
    context
        What it may see and do.
    """

    title: ClassVar[str]
    tooltip: ClassVar[str] = ""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.box = Foldable(self.title, self.make(), tooltip=self.tooltip)
        self.box.folded.connect(self.folded)

    def make(self) -> list[Widget]:
        """Return what is in the box; called once."""
        raise NotImplementedError

    def output_options(self) -> dict[str, Any]:
        """Return what a run is to keep beside its result, as fields of `OutputRequest`."""
        return {}

    def folded(self, opened: bool) -> None:
        """React to being opened or closed; a closed section does no work."""
