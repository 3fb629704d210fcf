"""Detection of a widget that is hidden by the user, or shown again."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.timers import single_shot

#: Time after which a widget counts as hidden [ms]. A dock that begins or ends to float is hidden
#: and shown at once.
DELAY_MS = 100


class Hidden(QObject):
    """Calls a function when a widget is hidden, as with its dock, or shown again.

    A minimised or closed window hides nothing, and a widget off its dock is not hidden.

    Parameters
    ----------
    native
        The widget, which will be in a dock.
    call
        Function of whether the widget is hidden.
    """

    def __init__(self, native: QWidget, call: Callable[[bool], object]) -> None:
        super().__init__(native)
        self._native, self._call, self._is_hidden = native, call, False
        self._timer = single_shot(self, DELAY_MS, self._compare)
        native.installEventFilter(self)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """Detect that the widget is hidden or shown; every event passes."""
        kind = None if a1 is None or a1.spontaneous() else a1.type()
        if kind == QEvent.Type.Hide:
            self._timer.start()
        elif kind == QEvent.Type.Show:
            self._timer.stop()
            self._compare()
        return False

    @slot
    def _compare(self) -> None:
        above: QWidget | None = self._native
        while above is not None and not isinstance(above, QDockWidget):
            above = above.parentWidget()
        window = None if above is None else above.parentWidget()
        is_hidden = window is not None and window.isVisible() and not self._native.isVisible()
        if is_hidden != self._is_hidden:
            self._is_hidden = is_hidden
            self._call(is_hidden)
