"""The time from the opening of a widget to its first preview, and what waits for its end."""

from __future__ import annotations

from psygnal import Signal
from qtpy.QtCore import QObject

from napari_diffusion.ui.qt.collector import COLLECTOR
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.timers import single_shot

#: Longest wait for the first preview [ms]. A new installation begins to compile after it.
LONGEST_MS = 2000
#: Time for napari to draw the first preview [ms].
DRAWING_MS = 30


class Opening:
    """Holds back what the first preview does not need, and what would make it late.

    These are measurement, plan, compilation of kernels, search for the page of preferences, and
    Python's garbage collector. Each would take the processor, or Python's lock, from the preview.

    Parameters
    ----------
    parent
        Qt object of the widget.

    Attributes
    ----------
    ended
        Signal: the first preview is on screen, or is not waited for any longer; emitted once.
    """

    ended = Signal()

    def __init__(self, parent: QObject) -> None:
        self._over = False
        self._limit = single_shot(parent, LONGEST_MS, self.end)
        self._limit.start()

    @property
    def over(self) -> bool:
        """Whether nothing waits for the first preview any more."""
        return self._over

    def end_soon(self) -> None:
        """End after the first preview, which has come, is drawn."""
        if not self.over:
            self._limit.start(DRAWING_MS)

    @slot
    def end(self) -> None:
        """Let everything begin that has waited."""
        if not self.over:
            self._over = True
            COLLECTOR.end()
            self._limit.stop()
            self.ended.emit()
