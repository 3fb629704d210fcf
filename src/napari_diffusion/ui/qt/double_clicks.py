"""Buttons that a double click presses once."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QAbstractButton


class DoubleClicksIgnored(QObject):
    """Drops the second press of a double click on a button.

    Parameters
    ----------
    button
        The button.
    """

    def __init__(self, button: QAbstractButton) -> None:
        super().__init__(button)
        button.installEventFilter(self)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """Drop a double click, which Qt sends instead of the second press."""
        return a1 is not None and a1.type() == QEvent.Type.MouseButtonDblClick
