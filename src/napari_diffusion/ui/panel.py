"""The foot of a widget: the plan, Run that turns into Cancel, progress, and a line that says how it stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from magicgui.widgets import Container, ProgressBar, PushButton

from napari_diffusion.ui.layout import wrapping_label
from napari_diffusion.ui.worker import Control, Latest

#: A rest is told once the run is this old [s]; before, it would be a guess.
FIRST_GUESS = 1.0


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def sentence(error: BaseException) -> str:
    """Return what an error says; its kind where it says nothing."""
    return str(error).strip() or f"{type(error).__name__}."


class RunPanel(Container):  # type: ignore[type-arg]
    """Runs one function at a time, shows how far it is, and can cancel it.

    Parameters
    ----------
    start
        Called when Run is pressed; it answers with `run`, or with `fail`.
    """

    def __init__(self, start: Callable[[], None]) -> None:
        self._start = start
        runs = Latest()
        self._runs = runs
        self._began = 0.0
        self.plan = wrapping_label()
        self.button = PushButton(text="Run", tooltip="Filter in the background and add the result as a new layer.")
        self.bar = ProgressBar(min=0, max=1000, value=0, visible=False)
        self.bar.native.setTextVisible(False)
        self.status = wrapping_label()
        super().__init__(widgets=[self.plan, self.button, self.bar, self.status], labels=False)
        self.margins = (0, 0, 0, 0)
        self.button.changed.connect(self._pressed)
        # The window may be closed while a run is under way. A closure, for by then this object may be half gone.
        self.native.destroyed.connect(lambda: runs.drop())

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self._runs.task is not None

    def run(self, work: Callable[[Control], Any], done: Callable[[Any], str]) -> None:
        """Run ``work`` in a thread; ``done`` gets its result in the GUI thread and returns what the status line says."""
        self._began = time.monotonic()
        self.button.text = "Cancel"
        # Moving to and fro until something is done: the first run of all compiles the filter.
        self.bar.max = 0
        self.bar.visible = True
        self.say("Filtering…")
        self._runs.start(work, lambda result: self._ended(lambda: done(result)), self._failed, self._progressed)

    def say(self, text: str, error: bool = False) -> None:
        """Show how it stands."""
        self.status.value = text
        self.status.native.setStyleSheet("border-left: 3px solid #d9534f; padding-left: 6px;" if error else "")

    def fail(self, error: Exception) -> None:
        """Show an error here and as a napari notification, which also reaches those who look elsewhere."""
        from napari.utils.notifications import show_error

        self.say(sentence(error), error=True)
        show_error(sentence(error))

    def _pressed(self) -> None:
        if self._runs.task is None:
            self._start()
        else:
            # Nobody waits for the thread: it ends at its next slab, or after a compilation that nothing can stop.
            self._runs.drop()
            self._ended(lambda: "Cancelled; no layer was added.")

    def _progressed(self, fraction: float) -> None:
        self.bar.max = 1000
        self.bar.value = min(1000, int(fraction * 1000))
        elapsed = time.monotonic() - self._began
        rest = f", about {duration(elapsed * (1 - fraction) / fraction)} left" if elapsed > FIRST_GUESS and fraction > 0.02 else ""
        self.say(f"Filtering… {fraction:.0%}{rest}")

    def _failed(self, error: Exception) -> None:
        self._ended(lambda: "")
        self.fail(error)

    def _ended(self, finish: Callable[[], str]) -> None:
        self.bar.visible = False
        self.button.text = "Run"
        try:
            text = finish()
        except Exception as error:
            # Showing the result can fail like any other step, and a Qt slot would swallow or abort.
            self.fail(error)
        else:
            if text:
                self.say(text)
