"""The foot of a widget: the plan, Run, what waits, progress with Cancel, and a line that says how it stands."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from magicgui.widgets import Container, ProgressBar, PushButton

from napari_diffusion.ui.qt.layout import wrapping_label
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl, when_destroyed

#: A rest is told once the run is this old [s]; before, it would be a guess.
FIRST_GUESS = 1.0

#: Errors of a batch that are told in full.
MOST_ERRORS = 5
RUN = "Filter in the background and add the result as a new layer."
STOP = "End after the step under way and add what has been reached."
NOTHING_YET = "Nothing has been filtered yet that could be kept."
PLAN = "How the run steps through diffusion time, and the memory that it takes in all."
OPEN = "open the file as a layer"
#: What to do, as the library says it, and where that is on screen.
_ON_SCREEN = {
    "nan='mask'": "“leave, smooth around” for NaN, under More options,",
    "allow overwriting or choose another name": "check “Replace what is there” or choose another folder for the results",
    "give --axes ZYX if they are a stack, or --axes YX to filter each by itself": f"{OPEN} and check there what to smooth along",
    "say which with --axes": f"{OPEN} and run it by itself",
    "give --channel-axis": f"{OPEN} and run it by itself",
    "give --spacing, one number per smoothed axis": f"{OPEN} and set its voxel size there",
}


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def sentence(error: BaseException) -> str:
    """Return what an error says, in the words of the screen; its kind where it says nothing."""
    text = str(error).strip() or f"{type(error).__name__}."
    for said, shown in _ON_SCREEN.items():
        text = text.replace(said, shown)
    return text


@dataclass(frozen=True)
class QueuedRun:
    """One thing to run.

    Attributes
    ----------
    name
        What it is about, such as the name of a layer.
    work
        Called in a thread.
    done
        Called in the GUI thread with its answer; returns what the status line says.
    stoppable
        Whether ``work`` can end early with what it has.
    folders
        Those of its files, which errors name once and not for each file.
    """

    name: str
    work: Callable[[TaskControl], Any]
    done: Callable[[Any], str]
    stoppable: bool = True
    folders: tuple[Path, ...] = ()

    def message(self, error: BaseException) -> str:
        """Return what an error says, its files by name alone."""
        text = sentence(error)
        for folder in self.folders:
            text = text.replace(f"{folder}{os.sep}", "")
        return text


class RunPanel(Container):  # type: ignore[type-arg]
    """Runs one job after the other, shows how far it is, and can cancel it.

    Parameters
    ----------
    start
        Called when Run is pressed; it answers with `add`, or with `fail`.
    """

    def __init__(self, start: Callable[[], None]) -> None:
        self._runs = ReplaceableTask()
        self._waiting: deque[QueuedRun] = deque()
        self._begin()
        self._job: QueuedRun | None = None
        self._began, self._waits_for, self.failed = 0.0, "", False
        self.plan = wrapping_label()
        self.plan.tooltip = PLAN
        self.button = PushButton(text="Run", tooltip=RUN)
        self.bar = ProgressBar(min=0, max=1000, value=0, visible=False)
        self.bar.native.setTextVisible(False)
        self.cancel = PushButton(text="Cancel", tooltip="End what is running; nothing is added.")
        self.stop = PushButton(text="Stop and keep", tooltip=STOP)
        self.cancel_all = PushButton(
            text="Cancel all", tooltip="End what is running and forget what waits."
        )
        self.running = Container(
            widgets=[self.cancel, self.stop, self.cancel_all],
            layout="horizontal",
            labels=False,
            visible=False,
        )
        self.running.margins = (0, 0, 0, 0)
        self.status = wrapping_label()
        super().__init__(
            widgets=[self.plan, self.button, self.bar, self.running, self.status], labels=False
        )
        self.button.changed.connect(lambda: start())
        self.cancel.changed.connect(self._cancelled)
        self.stop.changed.connect(self._stopped)
        self.cancel_all.changed.connect(self._cleared)
        when_destroyed(
            self.native, self._runs.drop
        )  # the window may be closed while a run is under way

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self._runs.task is not None

    @property
    def waiting(self) -> int:
        """Number of jobs that wait."""
        return len(self._waiting)

    def add(self, job: QueuedRun) -> None:
        """Run a job, after those that were added before."""
        if not self.busy:
            self._begin()
        self._waiting.append(job)
        if self.busy:
            self._show_running()
        else:
            self._next()

    def _begin(self) -> None:
        self._errors: list[str] = []
        self._folders: dict[Path, None] = {}
        self._finished = self._dropped = 0

    def say(self, text: str, error: bool = False) -> None:
        """Show how it stands."""
        self.status.value, self.failed = text, error
        self.status.tooltip = ""
        self.status.native.setStyleSheet(
            "border-left: 3px solid #d9534f; padding-left: 6px;" if error else ""
        )

    def forget(self) -> None:
        """Show nothing any more of what was said about one image; the list of what failed of several stays."""
        if not self.busy and not self.status.tooltip:
            self.say("")

    def fail(self, error: Exception | str) -> None:
        """Show an error here and as a napari notification, which also reaches those who look elsewhere."""
        from napari.utils.notifications import show_error

        text = error if isinstance(error, str) else sentence(error)
        self.say(text, error=True)
        show_error(text)

    def _next(self) -> None:
        job = self._job = self._waiting.popleft()
        # Moving to and fro until something is done: the first run of all compiles the filter.
        self.bar.max = 0
        self._said("")
        self._runs.start(
            job.work,
            lambda result: self._ended(lambda: job.done(result)),
            self._failed,
            self._progressed,
            self._said,
        )

    @property
    def _stopping(self) -> bool:
        return self._runs.task is not None and self._runs.task.stop.is_set()

    def _show_running(self) -> None:
        job = self._job
        self.bar.visible = self.running.visible = job is not None
        self.stop.visible = job is not None and job.stoppable
        self.stop.enabled = (
            job is not None and job.stoppable and not self._waits_for and not self._stopping
        )
        self.stop.tooltip = NOTHING_YET if self._waits_for else STOP
        self.cancel_all.visible = bool(self._waiting)
        self.cancel_all.text = f"Cancel all {1 + self.waiting}"
        self.button.text = "Run" if job is None else "Run next"

    def _said(self, text: str) -> None:
        assert self._job is not None
        self._waits_for = text
        self._show_running()
        self._began = time.monotonic()  # what is still to come can be told from the run alone
        self.say(f"Filtering {self._job.name}… {text}".rstrip())

    def _progressed(self, fraction: float) -> None:
        assert self._job is not None
        self.bar.max = 1000
        self.bar.value = min(1000, int(fraction * 1000))
        if self._stopping:
            return  # what is said of that stays
        elapsed = time.monotonic() - self._began
        rest = (
            f", about {duration(elapsed * (1 - fraction) / fraction)} left"
            if elapsed > FIRST_GUESS and fraction > 0.02
            else ""
        )
        more = f"; {self.waiting} more waiting" if self._waiting else ""
        self.say(f"Filtering {self._job.name}… {fraction:.0%}{rest}{more}.")

    def _cancelled(self) -> None:
        # Nobody waits for the thread: it ends at its next slab, or after a compilation that nothing can stop.
        self._runs.drop()
        self._dropped += 1
        self._ended(None)

    def _stopped(self) -> None:
        if self._runs.task is not None:
            self._runs.task.stop.set()
            self.stop.enabled = False
            self.say("Stopping after this step…")

    def leave(self) -> None:
        """End what runs and what waits, where nobody will see it."""
        if self.busy:
            self._cleared()

    def _cleared(self) -> None:
        self._dropped += self.waiting
        self._waiting.clear()
        self._cancelled()

    def _failed(self, error: Exception) -> None:
        def message() -> str:
            raise error

        self._ended(message)

    def _ended(self, finish: Callable[[], str] | None) -> None:
        job, self._job = self._job, None
        assert job is not None
        text = "Cancelled." if job.folders else "Cancelled; no layer was added."
        try:
            if finish is not None:
                text = finish()
                self._finished += 1
        except Exception as error:
            # Showing the result can fail like any other step, and a Qt slot would swallow or abort.
            text = job.message(error)
            named = text.startswith((f"{job.name}: ", f"{job.name} "))  # as errors of files are
            self._errors.append(text if named else f"{job.name}: {text}")
            self._folders |= dict.fromkeys(job.folders)
            if (
                not job.folders
            ):  # of files there may be thousands: they are told at the end, together
                self.fail(text)
            text = ""
        if self._waiting:
            self._next()
            return
        self._show_running()
        counts = {"done": self._finished, "cancelled": self._dropped, "failed": len(self._errors)}
        several = sum(counts.values()) > 1
        how = ", ".join(
            f"{count} {what}" for what, count in counts.items() if count or what == "done"
        )
        if self._errors and (several or self._folders):
            more = len(self._errors) - MOST_ERRORS
            message = [
                *self._errors[:MOST_ERRORS],
                *([f"and {more} more; the pointer here shows all"] if more > 0 else []),
            ]
            message = [f"{how}:", *message] if several else message
            (self.fail if self._folders else partial(self.say, error=True))("\n".join(message))
            self.status.tooltip = "\n".join([*map(str, self._folders), *self._errors])
        elif several and self._dropped:
            self.say(f"{how}." if finish is None else f"{how}. {text}")
        elif text:
            self.say(text if not several else f"{self._finished} runs done. {text}")
