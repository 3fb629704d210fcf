"""A picture of what is on screen, computed beside it and kept up to date: newest request first, never in the way of the viewer."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget


class Undocked(QObject):
    """Tells when a widget is taken off its dock, which is all that napari does when the user closes one: nothing is destroyed.

    Parameters
    ----------
    native
        A part of the widget, which has not been docked yet.
    call
        What to call.
    """

    def __init__(self, native: QWidget, call: Callable[[], object]) -> None:
        top = native
        while (above := top.parentWidget()) is not None:
            top = above
        super().__init__(top)
        self._call = call
        top.installEventFilter(self)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """See a parent go."""
        if (
            a1 is not None
            and a1.type() == QEvent.Type.ParentChange
            and a0 is not None
            and a0.parent() is None
        ):
            self._call()
        return False
