"""The mouse wheel scrolls a dock and changes no value on the way."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QAbstractSlider, QAbstractSpinBox, QComboBox, QScrollBar, QWidget

#: Widgets of Qt that change their value with the wheel.
_KINDS = (QComboBox, QAbstractSpinBox, QAbstractSlider)


class WheelGuard(QObject):
    """Passes the wheel from boxes and sliders on to the scroll area around them.

    A wheel meant to scroll the dock would change whatever passes below the pointer, with or without
    the focus.

    Parameters
    ----------
    parent
        Qt object that owns the guard.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)

    def guard(self, content: QWidget) -> None:
        """Guard the boxes and sliders inside a widget; again after new ones were added."""
        for kind in _KINDS:
            for inside in content.findChildren(kind):
                if not isinstance(inside, QScrollBar):
                    inside.installEventFilter(self)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """Stop a wheel event; Qt then offers it to the parent."""
        if a1 is not None and a1.type() == QEvent.Type.Wheel:
            a1.ignore()
            return True
        return False
