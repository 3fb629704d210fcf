"""Progress of a run in napari's activity dock."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any
from weakref import WeakMethod

from napari_diffusion.ui.qt.slots import slot

#: Steps of a bar in the dock.
STEPS = 100


class Activity:
    """The bar of a run in napari's activity dock, with a Cancel button.

    All methods must be called in the GUI thread. napari handles pending events whenever it draws a
    bar. Any method may therefore be called while another one is at work.

    Parameters
    ----------
    cancel
        Method that is called when Cancel is pressed in the dock; held weakly.
    """

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel = WeakMethod(cancel)
        self._bar: Any = None
        #: Number of runs that have ended; a bar for an earlier one is closed at once.
        self._ended = 0
        self._is_drawing = False

    @property
    def is_shown(self) -> bool:
        """Whether there is a bar."""
        return self._bar is not None

    def show(self, text: str, fraction: float = 0.0) -> None:
        """Show the share of the work that is done, or an indeterminate bar for none."""
        if self._is_drawing:
            return
        self._is_drawing = True
        try:
            self._draw(text, fraction)
        finally:
            self._is_drawing = False

    @slot
    def close(self) -> None:
        """Remove the bar: the run has ended."""
        self._ended += 1
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def _draw(self, text: str, fraction: float) -> None:
        if self._bar is None:
            number, bar = self._ended, _make_bar(text, self._cancel)
            if number != self._ended:
                bar.close()
                return
            self._bar = bar
        bar = self._bar
        if fraction > 0 and not bar.total:
            bar.total = STEPS
        steps = min(STEPS, int(fraction * STEPS)) - bar.n
        if steps > 0:
            bar.update(steps)


def _make_bar(text: str, cancel: WeakMethod[Callable[[], object]]) -> Any:
    """Return a bar of napari whose Cancel button calls ``cancel``.

    napari calls the callback of its own bar in the next turn of a loop over the bar, and a run in a
    thread has no such loop.
    """
    from napari.utils import cancelable_progress

    class Bar(cancelable_progress):  # type: ignore[misc]
        def cancel(self) -> None:
            super().cancel()
            method = cancel()
            if method is not None:
                method()

    # Without a window, tqdm would write to the terminal.
    bar = Bar(total=0, desc=text, file=StringIO(), leave=False)
    bar.gui = True
    return bar
