"""Python's garbage collector waits while a widget opens."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

#: Longest pause [s], also where no event loop runs.
LONGEST_S = 3.0


def collects() -> bool:
    """Whether Python searches for garbage by itself."""
    return gc.isenabled() and gc.get_threshold()[0] > 0


class CollectorPause:
    """A pause of Python's garbage collector that ends by itself.

    The objects of a widget make Python search all modules of napari for garbage. One search takes
    0.17 s, a third of the time from the click in the menu to the first preview. It would also
    destroy the Qt objects of closed widgets between two calls of Qt that build the new one.

    The collector stays enabled, with a threshold of 0. A library may note at its import whether it
    is enabled, as dask does, and disable it for ever otherwise.

    Parameters
    ----------
    longest
        Time after which the collector works again [s].

    Attributes
    ----------
    longest
        As given.
    """

    def __init__(self, longest: float = LONGEST_S) -> None:
        self.longest = longest
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._held, self._ends_later = 0, False
        self._thresholds = gc.get_threshold()

    def begin(self) -> None:
        """Stop the collector, unless it is off already."""
        with self._lock:
            if self._timer is None and collects():
                self._thresholds = gc.get_threshold()
                gc.set_threshold(0)
                self._timer = threading.Timer(self.longest, self.end)
                self._timer.daemon = True
                self._timer.start()

    def end(self) -> None:
        """Let the collector work again if `begin` has stopped it, and no function of `during` runs.

        Such a function ends first. The method may be called from any thread.
        """
        with self._lock:
            if self._held:
                self._ends_later = True
            elif self._timer is not None:
                self._timer.cancel()
                self._timer = None
                if gc.get_threshold()[0] == 0:
                    gc.set_threshold(*self._thresholds)

    def during(self, make: Callable[..., None]) -> Callable[..., None]:
        """Decorate a function that makes many objects: the pause begins with it.

        It ends later, or with an error of the function.
        """

        @wraps(make)
        def call(*arguments: Any, **options: Any) -> None:
            self.begin()
            with self._lock:
                self._held += 1
            try:
                make(*arguments, **options)
            except BaseException:
                self._ends_later = True
                raise
            finally:
                with self._lock:
                    self._held -= 1
                    ends, self._ends_later = self._ends_later and not self._held, False
                if ends:
                    self.end()

        return call


#: The pause of this process.
COLLECTOR = CollectorPause()
