"""Handling of Ctrl-C and of the termination signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stop:
    """Signal handler that raises `KeyboardInterrupt`, at once or at the end of a protected block.

    The exception lets the program remove temporary files. It must not be raised while kernels are
    compiled or loaded from the cache: a callback of LLVM may swallow it, a lock of numba may be
    held for ever, or the interpreter may crash (all three were observed). `waiting` protects such a
    block. A run inside the block ends early, because it polls ``event``. A second signal raises the
    exception at once.

    Attributes
    ----------
    event
        Set when a signal was received.
    number
        Number of the last signal.
    """

    def __init__(self) -> None:
        self.event, self.number, self._protected = threading.Event(), signal.SIGINT, False

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        deferred = self._protected and not self.event.is_set()
        self.number = signal.Signals(number)
        self.event.set()
        if not deferred:
            raise KeyboardInterrupt

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Defer the exception of a first signal to the end of this block."""
        self._protected = True
        try:
            yield
        finally:
            self._protected = False
        if self.event.is_set():
            raise KeyboardInterrupt
