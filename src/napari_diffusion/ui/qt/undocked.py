"""Detection of a widget that is taken off its dock, or docked again."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QDockWidget, QWidget


class Undocked(QObject):
    """Calls a function when a widget is taken off its dock, and another one when it is back.

    napari does nothing else when the user closes a dock widget: no object is destroyed, and the
    widget can be docked again. A dock that floats, is hidden or lies behind another one keeps it.

    Parameters
    ----------
    native
        Any part of the widget, which may be docked already.
    call
        Function without arguments.
    back
        Function without arguments, ``None`` for none.
    """

    def __init__(
        self,
        native: QWidget,
        call: Callable[[], object],
        back: Callable[[], object] | None = None,
    ) -> None:
        top = native
        while (above := top.parentWidget()) is not None and not isinstance(above, QDockWidget):
            top = above
        super().__init__(top)
        self._call, self._back, self._is_off = call, back, False
        top.installEventFilter(self)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """Detect that the widget has another parent, or none; every event passes."""
        if a0 is not None and a1 is not None and a1.type() == QEvent.Type.ParentChange:
            was_off, self._is_off = self._is_off, a0.parent() is None
            if self._is_off:
                self._call()
            elif was_off and self._back is not None:
                self._back()
        return False
