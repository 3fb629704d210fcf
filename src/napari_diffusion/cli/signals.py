"""Ctrl-C, and the system's request to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stop:
    """Signal handler that raises KeyboardInterrupt, so that nothing half-written is left behind, or waits where that may not be.

    While kernels are compiled or fetched from the cache, an exception from a signal is swallowed by a callback of LLVM, leaves a lock of
    numba's held for ever, or ends the interpreter (all three were seen). There the signal is kept until the end of that, or, in a run,
    until the run looks at ``event``; a second one is not.

    Attributes
    ----------
    event
        Set when a signal has come.
    number
        Of the signal.
    """

    def __init__(self) -> None:
        self.event, self.number, self._waits = threading.Event(), signal.SIGINT, False

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        waits = self._waits and not self.event.is_set()
        self.number = signal.Signals(number)
        self.event.set()
        if not waits:
            raise KeyboardInterrupt

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Keep a signal until the end of this block."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
        if self.event.is_set():
            raise KeyboardInterrupt
