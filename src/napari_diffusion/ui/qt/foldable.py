"""A box of widgets that a button opens and closes."""

from __future__ import annotations

from magicgui.widgets import Container, PushButton, Widget
from psygnal import Signal

from napari_diffusion.ui.qt.layout import NO_MARGINS
from napari_diffusion.ui.qt.slots import slot

#: napari's theme gives a disabled button a border, by which its text would be moved.
BUTTON_STYLE = """
QPushButton { text-align: left; padding: 4px 6px; }
QPushButton:disabled { border: 0px; padding: 4px 6px; }
"""


class Foldable(Container):  # type: ignore[type-arg]
    """A box under a title that opens and closes it, closed at first.

    Parameters
    ----------
    title
        Text on the button; a word or two.
    widgets
        Content of the box, from top to bottom.
    labels
        Whether the labels of the widgets are shown before them.
    tooltip
        Purpose of the box.
    """

    #: The box was opened (true) or closed (false).
    toggled = Signal(bool)
    #: The box was opened; the signal carries the box.
    opened = Signal(object)
    #: The box is about to be opened for the first time: it can be filled now.
    first_opened = Signal(object)

    def __init__(
        self, title: str, widgets: list[Widget], labels: bool = False, tooltip: str = ""
    ) -> None:
        self._title, self._tooltip = title, tooltip
        self._open = self._was_opened = False
        self.button = PushButton(tooltip=tooltip)
        self.button.native.setStyleSheet(BUTTON_STYLE)
        self.body = Container(widgets=widgets, labels=labels)
        self.body.margins = (4, 0, 0, 4)
        super().__init__(widgets=[self.button, self.body], labels=False)
        self.margins = NO_MARGINS
        self.native.layout().setSpacing(2)
        self.button.changed.connect(self._toggle)
        self._show()

    @property
    def open(self) -> bool:
        """Whether the box is open."""
        return self._open

    @open.setter
    def open(self, value: bool) -> None:
        if value != self._open:
            self._toggle()

    def enable(self, enabled: bool, reason: str) -> None:
        """Allow the user to open the box, or close it and give the reason as its tooltip."""
        self.button.enabled = enabled
        self.button.tooltip = self._tooltip if enabled else reason
        if not enabled:
            self.open = False

    @slot
    def _toggle(self) -> None:
        self._open = not self._open
        if self._open and not self._was_opened:
            self._was_opened = True
            self.first_opened.emit(self)
        self._show()
        self.toggled.emit(self._open)
        if self._open:
            self.opened.emit(self)

    def _show(self) -> None:
        self.button.text = f"{'▾' if self._open else '▸'}  {self._title}"
        self.body.visible = self._open
