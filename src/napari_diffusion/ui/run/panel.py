"""The foot of a widget: status, progress, Run and Cancel, and the queue of runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicgui.widgets import Container, ProgressBar, PushButton
from psygnal import Signal
from qtpy.QtWidgets import QLabel, QPushButton

from napari_diffusion.core.errors import DescribedError
from napari_diffusion.ui.qt.double_clicks import DoubleClicksIgnored
from napari_diffusion.ui.qt.layout import bare_container, reserve_height, wrapping_label
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.run.activity import Activity
from napari_diffusion.ui.run.messages import is_same_fault, screen_message
from napari_diffusion.ui.run.status import Status, StatusKind
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl, when_destroyed

#: The remaining time is shown once a run has lasted this long [s].
MIN_ELAPSED_S = 1.0
#: A run is shown in napari's activity dock once it has lasted this long [s].
MIN_SHOWN_S = 0.5
#: The remaining time is shown once a run has done this share of its work.
MIN_FRACTION = 0.02
#: Maximum number of errors of a batch in the status line; the tooltip lists all.
MAX_ERRORS_SHOWN = 5
#: Steps of the progress bar.
BAR_STEPS = 1000
NOTHING_ADDED = "Cancelled; no layer was added."
CANCEL_TOOLTIP = "End what is running; nothing is added."
#: The bar is between two buttons at times [pixel].
MIN_BAR_WIDTH = 40
RUN_TOOLTIP = "Filter in the background and add the result as a new layer."
STOP_TOOLTIP = "End after the step under way and add what has been reached."
NOTHING_TO_KEEP = "Nothing has been filtered yet that could be kept."
PLAN_TOOLTIP = "The duration is an estimate; it gets better with every run."
#: napari's theme gives a disabled button a border, by which it would be larger.
SAME_SIZE = "QPushButton { min-height: 20px; } QPushButton:disabled { border: 0px; }"
MAIN_BUTTON = "font-weight: bold; min-height: 20px;"
ERROR_STYLE = "border-left: 3px solid #d9534f; padding-left: 6px;"


def duration(seconds: float) -> str:
    """Return a duration as text in seconds, minutes or hours."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class QueuedRun:
    """One run in the queue of the panel.

    Attributes
    ----------
    name
        Name of the layer or file to filter.
    work
        Called in a thread.
    done
        Called in the GUI thread with the answer of ``work``; returns the text of the status line.
    stoppable
        Whether ``work`` can end early with a partial result.
    cancelled
        Text of the status line after a cancellation.
    files
        Its source and its target, of a run on a file. Error messages name them without their
        folder, which is named once for all files.
    """

    name: str
    work: Callable[[TaskControl], Any]
    done: Callable[[Any], str]
    stoppable: bool = True
    cancelled: str = NOTHING_ADDED
    files: tuple[Path, ...] = ()

    def describe(self, error: BaseException) -> str:
        """Return the message of an error, with files named without their folder."""
        return screen_message(error, with_folder=not self.files)

    def is_named_by(self, error: BaseException) -> bool:
        """Whether the message of an error starts with the name of one of the files of the run."""
        return isinstance(error, DescribedError) and error.path in self.files


class RunPanel(Container):  # type: ignore[type-arg]
    """Executes queued runs one after the other, shows their progress, and can cancel them.

    Parameters
    ----------
    start
        Called when Run is pressed. It calls `add`, or `fail` where nothing can be run.

    Attributes
    ----------
    status_changed
        Signal: the status on screen has changed.
    ended
        Signal: the last run of the queue has ended.
    """

    status_changed = Signal()
    ended = Signal()

    def __init__(self, start: Callable[[], None]) -> None:
        self._runs = ReplaceableTask()
        self._queue: deque[QueuedRun] = deque()
        self._refusal = ""
        self._fault: Exception | None = None
        self._reset_counts()
        self._current: QueuedRun | None = None
        self._activity = Activity(self._cancel_current)
        self._began, self._waits_for_kernels, self._state = 0.0, False, Status()
        self.plan = wrapping_label()
        self.button = PushButton(text="Run", tooltip=RUN_TOOLTIP)
        self.button.native.setStyleSheet(MAIN_BUTTON)
        self.bar = ProgressBar(min=0, max=BAR_STEPS, value=0, visible=False)
        self.bar.native.setTextVisible(False)
        self.bar.native.setMinimumWidth(MIN_BAR_WIDTH)
        self.cancel = PushButton(text="Cancel", tooltip=CANCEL_TOOLTIP, enabled=False)
        self.cancel.native.setStyleSheet(SAME_SIZE)
        self.stop = PushButton(text="Stop and keep", tooltip=STOP_TOOLTIP, visible=False)
        self.cancel_all = PushButton(
            text="Cancel all", tooltip="End what is running and forget what waits.", visible=False
        )
        self.status = wrapping_label()
        self.result_place = bare_container(labels=False)
        # Run and Cancel are at the very foot, and what varies in height is above them: they never
        # move. The rows above them keep their height.
        run_row = bare_container(self.button, self.cancel, layout="horizontal", labels=False)
        run_row.native.layout().setStretch(0, 3)
        run_row.native.layout().setStretch(1, 1)
        parts = (self.plan, self.bar, self.stop, self.cancel_all)
        progress_row = bare_container(*parts, layout="horizontal", labels=False)
        reserve_height(progress_row, QPushButton("Run"))
        status_row = bare_container(self.status, layout="horizontal", labels=False)
        reserve_height(status_row, QLabel("\n"))
        super().__init__(
            widgets=[self.result_place, status_row, progress_row, run_row], labels=False
        )
        self.native.layout().setSpacing(2)
        self._double_clicks = DoubleClicksIgnored(self.button.native)
        self.button.changed.connect(lambda: start())
        self.cancel.changed.connect(self._cancel_current)
        self.stop.changed.connect(self._stop_current)
        self.cancel_all.changed.connect(self._cancel_all)
        # The window may be closed during a run.
        when_destroyed(self.native, self._runs.drop)
        when_destroyed(self.native, self._activity.close)

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self._runs.task is not None

    @property
    def queued(self) -> int:
        """Number of runs that wait."""
        return len(self._queue)

    def add(self, run: QueuedRun) -> None:
        """Execute a run after those that were added before."""
        if not self.busy:
            self._reset_counts()
        self._queue.append(run)
        if self.busy:
            self._update_controls()
        else:
            self._start_next()

    def _reset_counts(self) -> None:
        self._errors: list[str] = []
        self._folders: dict[Path, None] = {}
        self._finished = self._dropped = 0

    @property
    def state(self) -> Status:
        """The status on screen."""
        return self._state

    @property
    def failed(self) -> bool:
        """Whether the status is an error."""
        return self._state.kind is StatusKind.FAILED

    def show_status(self, status: Status) -> None:
        """Show a status, with a red border for an error."""
        self._state = status
        self.status.value, self.status.tooltip = status.text, status.details
        self.status.native.setStyleSheet(ERROR_STYLE if self.failed else "")
        self.status_changed.emit()

    def say(self, text: str, kind: StatusKind = StatusKind.NOTICE) -> None:
        """Show a text as the status."""
        self.show_status(Status(kind, text))

    def clear(self, *kinds: StatusKind) -> None:
        """Remove the status if it is of one of the given kinds; without any, always.

        After a status about other work, it is shown again why the settings cannot be run.
        """
        if kinds and self._state.kind not in kinds:
            return
        if self._refusal and kinds and not self.failed:
            self.say(self._refusal, StatusKind.REFUSED)
        else:
            self.show_status(Status())

    def forget(self) -> None:
        """Remove the status when another image is chosen; a list of errors of a batch stays."""
        if not self.busy and not self._state.details:
            self.clear()

    @slot
    def end_outcome(self, text: str) -> None:
        """Replace the outcome of runs whose result is gone by a text, which may be empty."""
        if not self.busy and self._state.kind is StatusKind.DONE:
            self.say(text)

    def fail(self, error: Exception) -> None:
        """Show an error as the status; where that is off the screen, as a notification, too."""
        self._fault = error
        self._show_failure(Status(StatusKind.FAILED, screen_message(error)))

    def _show_failure(self, status: Status) -> None:
        """Show the status of an error, and a notification while the panel is not on screen."""
        self.show_status(status)
        if not self.status.native.isVisible():
            from napari.utils.notifications import show_error

            show_error(status.text)

    @property
    def refusal(self) -> str:
        """Why the settings on screen cannot be run, if the status says so; else empty."""
        return self._refusal if self._state.text == self._refusal else ""

    def states(self, error: Exception) -> bool:
        """Whether the status says what is wrong, perhaps in another part of the image."""
        fault = self._fault
        if fault is None:
            return False
        shown = Status(self._state.kind, screen_message(fault))
        return self._state == shown and is_same_fault(fault, error)

    def show_plan(self, brief: str, details: str) -> None:
        """Show what Run will take, in a few words and in full; the settings can be run."""
        self.plan.value, self.plan.tooltip = brief, f"{details} {PLAN_TOOLTIP}".strip()
        if self._refusal and self._state.text == self._refusal:
            self.clear()  # a press of Run may have made it an error
        self._refusal = ""

    def refuse(self, error: Exception) -> None:
        """Show why the settings on screen cannot be run."""
        self.plan.value, self.plan.tooltip = "", ""
        self._refusal = screen_message(error)
        if not self.busy and not self.failed:
            self._fault = error
            self.say(self._refusal, StatusKind.REFUSED)

    def _start_next(self) -> None:
        run = self._current = self._queue.popleft()
        # An indeterminate bar until there is progress: the first run of all compiles the filter.
        self.bar.max = 0
        self._show_kernel_wait("")
        self._runs.start(
            run.work,
            self._end_with_result,
            self._end_with_error,
            self._show_progress,
            self._show_kernel_wait,
        )

    @property
    def _stopping(self) -> bool:
        return self._runs.task is not None and self._runs.task.stop.is_set()

    def _update_controls(self) -> None:
        """Show the buttons that apply to the current run and the queue."""
        run = self._current
        stoppable = run is not None and run.stoppable
        self.bar.visible = self.cancel.enabled = run is not None
        self.plan.visible = run is None
        self.stop.visible = stoppable
        self.stop.enabled = stoppable and not self._waits_for_kernels and not self._stopping
        self.stop.tooltip = NOTHING_TO_KEEP if self._waits_for_kernels else STOP_TOOLTIP
        self.cancel_all.visible = bool(self._queue)
        self.cancel_all.text = f"Cancel all {1 + self.queued}"
        self.button.text = "Run" if run is None else "Add to queue"

    def _show_kernel_wait(self, message: str) -> None:
        """Show that the current run waits for its kernels; an empty message ends the wait."""
        assert self._current is not None
        self._waits_for_kernels = bool(message)
        self._update_controls()
        # The remaining time is estimated from the time without waits.
        self._began = time.monotonic()
        text = f"Filtering {self._current.name}…"
        self.say(f"{text} {message}" if message else text, StatusKind.RUNNING)

    def _show_progress(self, fraction: float) -> None:
        assert self._current is not None
        self.bar.max = BAR_STEPS
        self.bar.value = min(BAR_STEPS, int(fraction * BAR_STEPS))
        if self._stopping:
            return  # keep the message about the stop
        elapsed, rest = time.monotonic() - self._began, ""
        if elapsed > MIN_ELAPSED_S and fraction > MIN_FRACTION:
            rest = f", about {duration(elapsed * (1 - fraction) / fraction)} left"
        more = f"; {self.queued} more queued" if self._queue else ""
        text = f"Filtering {self._current.name}… {fraction:.0%}{rest}{more}."
        self.say(text, StatusKind.RUNNING)
        if elapsed > MIN_SHOWN_S:
            # The last line: napari handles pending events in it.
            self._activity.show(self._current.name, fraction)

    @slot
    def _cancel_current(self) -> None:
        # The panel does not wait for the thread, which ends at its next slab, or after a
        # compilation, which cannot be interrupted.
        self._runs.drop()
        self._dropped += 1
        run = self._take_current()
        self._continue("Cancelled." if run.files else run.cancelled, cancelled=True)

    @slot
    def _stop_current(self) -> None:
        if self._runs.task is not None:
            self._runs.task.stop.set()
            self.stop.enabled = False
            self.say("Stopping after this step…", StatusKind.STOPPING)

    @slot
    def leave(self) -> None:
        """Cancel all runs when the panel is taken off the screen."""
        if self.busy:
            self._cancel_all()

    @slot
    def _cancel_all(self) -> None:
        self._dropped += self.queued
        self._queue.clear()
        self._cancel_current()

    def _end_with_result(self, result: Any) -> None:
        run, text = self._take_current(), ""
        try:
            text = run.done(result)
            self._finished += 1
        except Exception as error:
            # Showing the result can fail, too; a Qt slot would swallow the error or abort.
            self._record_error(run, error)
        self._continue(text)

    def _end_with_error(self, error: Exception) -> None:
        run = self._take_current()
        self._record_error(run, error)
        self._continue("")

    def _take_current(self) -> QueuedRun:
        """Return the current run, which ends, and forget it."""
        run, self._current = self._current, None
        assert run is not None
        self._activity.close()
        return run

    def _continue(self, text: str, cancelled: bool = False) -> None:
        """Start the next run, or show the outcome of all; arguments as of `_summarise`."""
        if self._queue:
            self._start_next()
            return
        self._update_controls()
        self._summarise(text, cancelled)
        self.ended.emit()

    def _record_error(self, run: QueuedRun, error: Exception) -> None:
        """Keep an error for the summary; show it now, unless it is about a file.

        There may be thousands of errors about files, which are shown together at the end.
        """
        described = run.describe(error)
        self._errors.append(described if run.is_named_by(error) else f"{run.name}: {described}")
        self._folders |= dict.fromkeys(file.parent for file in run.files)
        if not run.files:
            self.fail(error)

    def _summarise(self, text: str, cancelled: bool) -> None:
        """Show the outcome of all runs since the panel was idle.

        Parameters
        ----------
        text
            Status text of the last run, empty for an error.
        cancelled
            Whether the last run was cancelled.
        """
        counts = {"done": self._finished, "cancelled": self._dropped, "failed": len(self._errors)}
        several = sum(counts.values()) > 1
        summary = ", ".join(
            f"{count} {outcome}" for outcome, count in counts.items() if count or outcome == "done"
        )
        if self._errors and (several or self._folders):
            self._list_errors([f"{summary}:"] if several else [])
            return
        kind = StatusKind.CANCELLED if cancelled else StatusKind.DONE
        if several and self._dropped:
            self.say(f"{summary}." if cancelled else f"{summary}. {text}", kind)
        elif text:
            self.say(f"{self._finished} runs done. {text}" if several else text, kind)

    def _list_errors(self, heading: list[str]) -> None:
        """Show the first errors below a heading, and all of them in the tooltip."""
        lines = [*heading, *self._errors[:MAX_ERRORS_SHOWN]]
        hidden = len(self._errors) - MAX_ERRORS_SHOWN
        if hidden > 0:
            lines.append(f"and {hidden} more; the pointer here shows all")
        details = "\n".join([*map(str, self._folders), *self._errors])
        status = Status(StatusKind.FAILED, "\n".join(lines), details)
        if self._folders:
            self._show_failure(status)
        else:  # errors of layers have been shown already
            self.show_status(status)
