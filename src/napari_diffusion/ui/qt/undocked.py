"""Detection of a widget whose dock the user has closed."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget


class Undocked(QObject):
    """Calls a function when a widget is taken off its dock.

    napari does nothing else when the user closes a dock widget: no object is destroyed.

    Parameters
    ----------
    native
        Any part of the widget, before the widget is docked.
    call
        Function without arguments.
    """

    def __init__(self, native: QWidget, call: Callable[[], object]) -> None:
        top = native
        while (above := top.parentWidget()) is not None:
            top = above
        super().__init__(top)
        self._call = call
        top.installEventFilter(self)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """Detect that the widget has lost its parent; every event passes."""
        reparented = a1 is not None and a1.type() == QEvent.Type.ParentChange
        if reparented and a0 is not None and a0.parent() is None:
            self._call()
        return False
