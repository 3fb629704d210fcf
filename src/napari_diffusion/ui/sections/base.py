"""Base class of the sections: blocks of controls in a drawer, or always visible."""

from __future__ import annotations

from typing import Any, ClassVar

from magicgui.widgets import Container, Widget

from napari_diffusion.ui.context import Context
from napari_diffusion.ui.qt.foldable import Foldable
from napari_diffusion.ui.qt.layout import bare_container, heading
from napari_diffusion.ui.qt.slots import slot


class Section:
    """One block of controls.

    Parameters
    ----------
    context
        Access to the rest of the widget.
    drawer
        The drawer that holds the block, ``None`` for a block that is always visible. The section
        adds itself to it.

    Attributes
    ----------
    title
        Heading of the block; empty for none.
    box
        The block, with its heading.
    """

    title: ClassVar[str]
    tooltip: ClassVar[str] = ""

    def __init__(self, context: Context, drawer: Foldable | None = None) -> None:
        self.context, self.drawer = context, drawer
        self.box: Container[Any] = bare_container(*self.make(), labels=False)
        if self.title:
            self.box.insert(0, heading(self.title, self.tooltip))
        if drawer is not None:
            drawer.body.append(self.box)
            drawer.toggled.connect(self.on_toggled)

    @property
    def open(self) -> bool:
        """Whether the block is on screen: its drawer is open, or it has none."""
        return self.drawer is None or self.drawer.open

    def fail(self, error: Exception) -> None:
        """Show an error above Run."""
        self.context.fail(error)

    def make(self) -> list[Widget]:
        """Return the content of the block; called once."""
        raise NotImplementedError

    def output_options(self) -> dict[str, Any]:
        """Return the additional outputs of a run, as fields of `OutputRequest`."""
        return {}

    @slot
    def on_toggled(self, opened: bool) -> None:
        """React to the drawer being opened or closed; a section in a closed one does no work."""
