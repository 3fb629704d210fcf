"""Work in a background thread: one thread per task, answers in the GUI thread.

napari's own workers keep their arguments for as long as the window lives. superqt's workers replace
the process-wide warning filters from inside the thread and lose a RuntimeError raised in a
generator. A filter holds gigabytes and must report every error; hence this implementation, which
keeps nothing after the end of a task.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakMethod, finalize

from qtpy.QtCore import QCoreApplication, QObject, Qt, Signal

from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.ui.qt.slots import report, slot

#: Minimum time between two progress reports [s]. Each report repaints the window with its canvas,
#: which takes 50 ms and more where OpenGL is rendered in software.
REPORT_INTERVAL = 0.25
#: Errors that are reported to the user without a traceback in the log.
_EXPECTED_ERRORS = (ValueError, TypeError, MemoryError, OSError, Cancelled)

#: Property of the application that is set once its end cancels the tasks.
_CONNECTED = "napari_diffusion_cancels_tasks"

_log = logging.getLogger(__name__)
_running: set[Task] = set()
_end_calls: set[Callable[[], None]] = set()
_python_ends = threading.Event()
# It is set before Qt destroys what is left: the last function that was registered is called first.
atexit.register(_python_ends.set)


@dataclass(frozen=True)
class TaskControl:
    """Control of a task, for the function that runs in the thread.

    Attributes
    ----------
    cancel
        Set when the result is not needed any more.
    stop
        Set when the function should end soon with a partial result.
    progress
        Takes the fraction of the work that is done.
    say
        Takes a text that names what the function waits for, empty when the wait is over.
    """

    cancel: threading.Event
    stop: threading.Event
    progress: Callable[[float], None]
    say: Callable[[str], None]


class Task(QObject):
    """One function in its own thread; its answers arrive as calls in the GUI thread.

    Parameters
    ----------
    work
        Called in the thread with a `TaskControl`.
    done
        Called in the GUI thread with the result.
    failed
        Called in the GUI thread with the exception, whatever its class. Unexpected exceptions are
        logged with their traceback.
    progress
        Called in the GUI thread with the fraction that is done, at most four times a second.
    waiting
        Called in the GUI thread with each text of `TaskControl.say`.
    """

    _message = Signal(object, object)

    def __init__(
        self,
        work: Callable[[TaskControl], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        progress: Callable[[float], None] | None = None,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.cancel, self.stop = threading.Event(), threading.Event()
        self._work: Callable[[TaskControl], Any] | None = work
        self._listeners: dict[str, Callable[[Any], None]] = {"done": done, "failed": failed}
        if progress is not None:
            self._listeners["progress"] = progress
        if waiting is not None:
            self._listeners["waiting"] = waiting
        self._last_report = 0.0
        self._thread = threading.Thread(target=self._run, name="napari-diffusion")
        # A queued connection to a method of this object, which lives in the GUI thread: on every Qt
        # binding the listeners are called in that thread.
        queued = Qt.ConnectionType.QueuedConnection
        self._message.connect(self._deliver, queued)  # type: ignore[call-arg]

    def start(self) -> None:
        """Start the thread."""
        _running.add(self)
        _cancel_all_at_quit()
        self._thread.start()

    def drop(self) -> None:
        """Cancel the task and discard its answer."""
        self.cancel.set()
        self._listeners.clear()

    def _run(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        say = partial(self._message.emit, "waiting")
        control = TaskControl(self.cancel, self.stop, self._progress, say)
        try:
            answer: tuple[str, Any] = "done", work(control)
        except Exception as error:
            if not isinstance(error, _EXPECTED_ERRORS) and not self.cancel.is_set():
                _log.error("%s", traceback.format_exc())
            # The frames of a traceback hold the volumes that they worked on.
            error.__cause__ = error.__context__ = None
            answer = "failed", error.with_traceback(None)
        del work
        self._message.emit(*answer)

    def _progress(self, fraction: float) -> None:
        now = time.monotonic()
        if now - self._last_report >= REPORT_INTERVAL:
            self._last_report = now
            self._message.emit("progress", fraction)

    @slot
    def _deliver(self, kind: str, value: Any) -> None:
        """Call a listener; an error of ``done`` goes to ``failed``."""
        if kind in ("done", "failed"):
            # The thread, which has nothing left to do, holds a reference. It must not be the last
            # one: a QObject has to be destroyed in the thread in which it lives.
            self._thread.join()
            _running.discard(self)
            listeners, self._listeners = self._listeners, {}
        else:
            listeners = self._listeners
        listener = listeners.get(kind)
        if listener is None:
            return
        try:
            listener(value)
        except Exception as error:  # a slot of Qt
            failed = listeners.get("failed")
            if kind == "done" and failed is not None:
                failed(error)
            else:
                raise


class ReplaceableTask:
    """Holds one task at a time; a new one drops the previous one."""

    def __init__(self) -> None:
        self._task: Task | None = None

    @property
    def task(self) -> Task | None:
        """The task that runs, ``None`` without one."""
        return self._task

    def start(
        self,
        work: Callable[[TaskControl], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        progress: Callable[[float], None] | None = None,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        """Start a task with the arguments of `Task`; its answer releases it."""
        self.drop()

        def releasing(listener: Callable[[Any], None]) -> Callable[[Any], None]:
            def call(value: Any) -> None:
                self._task = None
                listener(value)

            return call

        self._task = Task(work, releasing(done), releasing(failed), progress, waiting)
        self._task.start()

    def drop(self) -> None:
        """Cancel the task that runs and discard its answer."""
        if self._task is not None:
            self._task.drop()
            self._task = None


def when_destroyed(qt: QObject, call: Callable[[], object]) -> None:
    """Call a method when a Qt object is destroyed, unless the method's own object is gone by then.

    Nothing is called at the end of Python. The binding then destroys the objects of all windows in
    any order, and a method would meet parts of its widget that are gone.

    The function that Qt calls is kept in this module, outside the reference cycles in which a
    widget lives. Python's garbage collector empties the functions of such a cycle before it
    destroys the widget, and a call of an empty function ends the interpreter. The method is held
    weakly; a strong reference from this module would keep the widget alive.
    """
    method = WeakMethod(call)

    def on_destroyed() -> None:
        _end_calls.discard(on_destroyed)
        end = method()
        if end is None or _python_ends.is_set():
            return
        try:
            end()
        except Exception as error:  # a slot of Qt
            report(None, error)

    _end_calls.add(on_destroyed)
    # Qt calls nothing when the garbage collector destroys the object.
    finalize(qt, _end_calls.discard, on_destroyed).atexit = False
    qt.destroyed.connect(on_destroyed)


def _cancel_all_at_quit() -> None:
    """Let the end of the application cancel all tasks; the signal is connected once."""
    app = QCoreApplication.instance()
    if app is not None and not app.property(_CONNECTED):
        app.setProperty(_CONNECTED, True)
        app.aboutToQuit.connect(_cancel_all)


def _cancel_all() -> None:
    for task in _running:
        task.cancel.set()


def running() -> int:
    """Return the number of tasks whose thread has not reported its end."""
    return len(_running)
