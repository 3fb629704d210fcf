"""Timers for the widgets."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer


def single_shot(parent: QObject, milliseconds: int, call: Callable[[], object]) -> QTimer:
    """Return a stopped timer that calls a function once after each start.

    Parameters
    ----------
    parent
        Qt object that owns the timer.
    milliseconds
        Delay between start and call [ms]. With 0 the call comes in the next turn of the event loop.
        A start while the timer runs begins the delay again.
    call
        Function without arguments.
    """
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(call)
    return timer
