"""A picture of what is on screen, computed beside it and kept up to date: newest request first, never in the way of the viewer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.ui.run.task import Task, TaskControl

#: A request that has been under way for longer is dropped for a newer one; a younger one may end, so that dragging shows something [s].
PATIENCE = 1.0

Work = Callable[[TaskControl], Any]


class CoalescingQueue:
    """At most one task under way and one waiting; the next request takes the place of the waiting one."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._began = 0.0
        self._improving = False
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
        """Ask for a task; `done` or `failed` are told, unless a newer request came before.

        `done` may return another task, which improves on what it was told. That one begins when nothing newer waits, and gives way to
        what does at once.
        """
        self._waiting = work, done, failed
        if self._task is None:
            self._next()
        elif self._improving or time.monotonic() - self._began > PATIENCE:
            self._task.cancel.set()

    def drop(self) -> None:
        """Cancel everything, and tell nobody."""
        self._waiting = None
        if self._task is not None:
            self._task.drop()
            self._task = None

    def _next(self, improving: bool = False) -> None:
        if self._waiting is None:
            return
        work, done, failed = self._waiting
        self._waiting, self._improving = None, improving

        def over(value: Any) -> None:
            self._task = None
            better = done(value)
            if better is not None and self._waiting is None:
                self._waiting = better, done, failed
                self._next(improving=True)
            else:
                self._next()

        def broken(error: Exception) -> None:
            self._task = None
            if not isinstance(error, Cancelled):
                failed(error)
            self._next()

        self._began = time.monotonic()
        self._task = Task(work, over, broken)
        self._task.start()
