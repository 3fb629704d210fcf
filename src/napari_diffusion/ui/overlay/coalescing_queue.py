"""Background computation of the most recent request only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.ui.run.task import Task, TaskControl

#: Time during which a newer request does not cancel the task under way [s]. The task may then end,
#: so that results are shown while a control is dragged.
GRACE_PERIOD_S = 1.0

Work = Callable[[TaskControl], Any]


class CoalescingQueue:
    """At most one task under way and one request that waits; a new request replaces the latter."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._began = 0.0
        self._refining = False
        self._waiting: (
            tuple[Work, Callable[[Any], Work | None], Callable[[Exception], None]] | None
        ) = None

    @property
    def busy(self) -> bool:
        """Whether a task is under way."""
        return self._task is not None

    def request(
        self, work: Work, done: Callable[[Any], Work | None], failed: Callable[[Exception], None]
    ) -> None:
        """Request a computation, unless a newer request replaces it.

        Parameters
        ----------
        work
            Called in a thread.
        done
            Called in the GUI thread with the result. It may return another function that refines
            the result. That one starts if no request waits, and a new request cancels it at once.
        failed
            Called in the GUI thread with the exception.
        """
        self._waiting = work, done, failed
        if self._task is None:
            self._start_next()
        elif self._refining or time.monotonic() - self._began > GRACE_PERIOD_S:
            self._task.cancel.set()

    def drop(self) -> None:
        """Cancel the task and the request that waits, without further calls."""
        self._waiting = None
        if self._task is not None:
            self._task.drop()
            self._task = None

    def _start_next(self, refining: bool = False) -> None:
        if self._waiting is None:
            return
        work, done, failed = self._waiting
        self._waiting, self._refining = None, refining

        def on_done(value: Any) -> None:
            self._task = None
            refine = done(value)
            if refine is not None and self._waiting is None:
                self._waiting = refine, done, failed
                self._start_next(refining=True)
            else:
                self._start_next()

        def on_failed(error: Exception) -> None:
            self._task = None
            if not isinstance(error, Cancelled):
                failed(error)
            self._start_next()

        self._began = time.monotonic()
        self._task = Task(work, on_done, on_failed)
        self._task.start()
