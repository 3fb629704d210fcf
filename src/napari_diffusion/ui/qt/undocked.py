"""Detection of a widget that is taken off its dock or hidden, and of its return."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.timers import single_shot

#: Time after which a widget counts as hidden [ms]. A dock that begins or ends to float is hidden
#: and shown at once.
DELAY_MS = 100


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
