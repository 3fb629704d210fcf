"""Handling of Ctrl-C, of the termination signal, and of the end of the terminal."""

from __future__ import annotations

import os
import signal
import threading
from _thread import start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from napari_diffusion.cli.streams import say

#: The signals that end a run.
SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
]
#: Longest time [s] that a protected block may continue after a signal. The compilation of a kernel
#: takes longer, and does not end earlier.
GRACE_S = 1.0


class Interruption(KeyboardInterrupt):
    """The program was interrupted by a signal.

    Python would end itself by SIGINT, whatever the signal was, after a `KeyboardInterrupt` that has
    passed through code of ``exec``. It does not do so after a subclass.
    """


class Stop:
    """Signal handler that raises `Interruption`, at once or at the end of a protected block.

    The exception lets the program remove temporary files. It must not be raised while kernels are
    compiled or loaded from the cache. A callback of LLVM may swallow it, a lock of numba may be
    held for ever, or the interpreter may crash. All three were observed. `waiting` protects such a
    block. A run inside the block ends early, because it polls ``event``. If the block does not end
    within `GRACE_S`, the process does: nothing is written in such a block. A second signal raises
    the exception at once.

    Attributes
    ----------
    event
        Set when a signal was received.
    number
        Number of the last signal.
    has_written
        Whether a file got its final name.
    left
        What a cancelled program has left, as the end of a sentence.
    """

    def __init__(self) -> None:
        self.event, self.number, self.has_written = threading.Event(), signal.SIGINT, False
        self.left = "nothing was written"
        self._protected, self._committing = False, False
        self._ended = threading.Event()  # of the last protected block
        self._lock = threading.Lock()

    @property
    def code(self) -> int:
        """Exit code of a cancelled program."""
        return 128 + self.number

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        is_first = not self.event.is_set()
        deferred = self._committing or (self._protected and is_first)
        self.number = signal.Signals(number)
        self.event.set()
        if self._protected and is_first:
            # A thread of `threading` needs locks that the interrupted code may hold.
            start_new_thread(self._watch, (self._ended,))
        if not deferred:
            raise Interruption

    def report(self) -> None:
        """Say that the program was cancelled."""
        say("Cancelled." if self.has_written else f"Cancelled; {self.left}.")

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Handle the signals within this block, except those that the parent process ignores."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # None: a handler that is not of Python; SIG_IGN: as nohup does.
                if signal.getsignal(number) not in (None, signal.SIG_IGN):
                    before[number] = signal.signal(number, self)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Defer the exception of a first signal to the end of this block, which writes nothing."""
        self._ended, self._protected = threading.Event(), True
        try:
            yield
        finally:
            with self._lock:
                self._ended.set()
            self._protected = False
        self._raise_deferred()

    def _watch(self, ended: threading.Event) -> None:
        """End the process when a protected block continues for too long after a signal."""
        if not ended.wait(GRACE_S):
            with self._lock:  # the block cannot end now
                if not ended.is_set():
                    self.report()
                    os._exit(self.code)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Defer the exception to the end of this block, which gives files their final names."""
        self._committing = True
        try:
            self._raise_deferred()
            yield
            self.has_written = True
        finally:
            self._committing = False
        self._raise_deferred()

    @contextmanager
    def deferring(self, defers: bool = True) -> Iterator[None]:
        """Defer the exception within this block, which polls ``event`` itself, or allow it again.

        Parameters
        ----------
        defers
            Whether the exception is deferred.
        """
        before, self._committing = self._committing, defers
        try:
            yield
        finally:
            self._committing = before

    def _raise_deferred(self) -> None:
        if self.event.is_set():
            raise Interruption
