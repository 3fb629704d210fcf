"""Work beside the user interface: one thread per task, answers in the GUI thread, nothing kept when it is over.

napari's own workers keep their arguments for as long as the window lives, and superqt's replace the process-wide warning filters from
inside the thread and lose a RuntimeError raised in a generator. A filter holds gigabytes and must report every error, so it has its own.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakMethod

from qtpy.QtCore import QCoreApplication, QObject, Qt, Signal

from napari_diffusion.core.cancellation import Cancelled

#: Shortest time between two progress reports [s]. Each repaints the window, canvas included: 50 ms and more where OpenGL is software.
REPORT_INTERVAL = 0.25

_log = logging.getLogger(__name__)
_running: set[Task] = set()
_ends: set[Callable[[], None]] = set()


@dataclass(frozen=True)
class TaskControl:
    """What a running function may use from its own thread.

    Attributes
    ----------
    cancel
        Set when nobody wants the answer any more.
    stop
        Set when it should end soon with what it has.
    progress
        To be called with the share that is done.
    say
        To be called with what it waits for, and with nothing when it waits no more.
    """

    cancel: threading.Event
    stop: threading.Event
    progress: Callable[[float], None]
    say: Callable[[str], None]


class Task(QObject):
    """One function in a thread of its own; its answers arrive as calls in the GUI thread.

    Parameters
    ----------
    work
        Called in the thread with a `TaskControl`.
    done
        Called in the GUI thread with the result.
    failed
        Called in the GUI thread with the exception, whatever its class; unexpected ones are logged with their traceback.
    progress
        Called in the GUI thread with the share that is done, at most four times a second.
    said
        Called in the GUI thread with what it waits for.
    """

    _told = Signal(object, object)

    def __init__(
        self,
        work: Callable[[TaskControl], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        progress: Callable[[float], None] | None = None,
        said: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.cancel, self.stop = threading.Event(), threading.Event()
        self._work: Callable[[TaskControl], Any] | None = work
        self._listeners: dict[str, Callable[[Any], None]] = {"done": done, "failed": failed}
        self._listeners |= {
            kind: listener
            for kind, listener in (("progress", progress), ("said", said))
            if listener is not None
        }
        self._reported = 0.0
        # Queued, to a method of this object: it lives in the GUI thread, so there the listeners are called on every Qt binding.
        self._told.connect(self._tell, Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]

    def start(self) -> None:
        """Start the thread."""
        # The last reference must not be dropped in the thread: a QObject has to die where it lives.
        _running.add(self)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.cancel.set)
        threading.Thread(target=self._run, name="napari-diffusion").start()

    def drop(self) -> None:
        """Cancel, and listen no more: for work whose answer nobody waits for."""
        self.cancel.set()
        self._listeners.clear()

    def _run(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        try:
            answer: tuple[str, Any] = (
                "done",
                work(
                    TaskControl(
                        self.cancel, self.stop, self._progress, partial(self._told.emit, "said")
                    )
                ),
            )
        except Exception as error:
            if (
                not isinstance(error, ValueError | TypeError | MemoryError | OSError | Cancelled)
                and not self.cancel.is_set()
            ):
                _log.error("%s", traceback.format_exc())
            # The frames of a traceback hold the volumes that they worked on.
            error.__cause__ = error.__context__ = None
            answer = "failed", error.with_traceback(None)
        del work
        self._told.emit(*answer)

    def _progress(self, fraction: float) -> None:
        now = time.monotonic()
        if now - self._reported >= REPORT_INTERVAL:
            self._reported = now
            self._told.emit("progress", fraction)

    def _tell(self, kind: str, value: Any) -> None:
        if kind in ("done", "failed"):
            _running.discard(self)
            listeners, self._listeners = self._listeners, {}
        else:
            listeners = self._listeners
        listener = listeners.get(kind)
        if listener is not None:
            listener(value)


class ReplaceableTask:
    """Holds one task at a time: the next one drops the one before."""

    def __init__(self) -> None:
        self._task: Task | None = None

    @property
    def task(self) -> Task | None:
        """The task under way."""
        return self._task

    def start(
        self,
        work: Callable[[TaskControl], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        progress: Callable[[float], None] | None = None,
        said: Callable[[str], None] | None = None,
    ) -> None:
        """Start a task, as `Task`; when it answers, none is under way any more."""
        self.drop()

        def over(listener: Callable[[Any], None]) -> Callable[[Any], None]:
            def call(value: Any) -> None:
                self._task = None
                listener(value)

            return call

        self._task = Task(work, over(done), over(failed), progress, said)
        self._task.start()

    def drop(self) -> None:
        """Cancel what is under way and forget it."""
        if self._task is not None:
            self._task.drop()
            self._task = None


def when_destroyed(qt: QObject, call: Callable[[], object]) -> None:
    """Call a method when a Qt object is destroyed, unless the method's own object is gone before, which then has nothing to end.

    What Qt calls is kept here, outside the circles of references in which a widget lives: Python's search for garbage empties the
    functions of such a circle before it destroys the widget, and a call of an empty function ends the interpreter. The method is held
    weakly, or what is kept here would hold the widget.
    """
    method = WeakMethod(call)

    def told() -> None:
        _ends.discard(told)
        end = method()
        if end is not None:
            end()

    _ends.add(told)
    qt.destroyed.connect(told)


def running() -> int:
    """Return the number of tasks whose thread has not reported its end."""
    return len(_running)
