"""The plot of the Threshold section: a histogram of gradients, the diffusivity over them, and a threshold to drag."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal

#: Height that shows four decades of counts [pixel].
HEIGHT = 176
#: Room below the label of the axis, of which pyqtgraph cuts off what is below the line [pixel].
BELOW = 5
#: Decades beyond the histogram that the line may be.
BEYOND = 2


class GradientHistogram(pg.PlotWidget):  # type: ignore[misc]
    """Counts upward, gradients to the right, both logarithmic; the diffusivity from 0 to 1 over the same height."""

    #: The user has dragged the threshold here [intensity/length].
    dragged = Signal(float)

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        # Its menu of options is not on offer, but made all the same, and would outlive the window without a parent.
        menu = self.plotItem.ctrlMenu
        menu.setParent(self, menu.windowFlags())  # a window still, or it would lie on the plot
        self.setFixedHeight(HEIGHT)
        self.setFocusPolicy(
            Qt.FocusPolicy.NoFocus
        )  # no key moves its line: the number above does that
        self.setMinimumWidth(120)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.plotItem.setContentsMargins(0, 0, 0, BELOW)
        self.setLogMode(x=True, y=False)
        self.bars = self.plot([], [], stepMode="center", fillLevel=0)
        # The diffusivity is drawn in the same box, in units of its height: a second axis for numbers from 0 to 1 is one too many.
        self.curve = self.plot([], [])
        self.line = pg.InfiniteLine(0.0, angle=90, movable=True)
        self.line.setCursor(Qt.CursorShape.SizeHorCursor)
        self.addItem(self.line)
        self._top = 1.0
        self._ends = (-1.0, 1.0)
        self.line.sigPositionChangeFinished.connect(self._fit)
        self.line.sigDragged.connect(lambda: self.dragged.emit(self.threshold))

    @property
    def threshold(self) -> float:
        """Where the line is [intensity/length]."""
        return float(10.0 ** self.line.value())

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.line.setValue(float(np.log10(value)))
        if not self.line.moving:  # or the plot would run away from the pointer
            self._fit()

    def show_counts(self, counts: NDArray[Any], edges: NDArray[Any]) -> None:
        """Draw a histogram; counts of none are left out."""
        for each in (self.line, self.curve):
            each.setVisible(bool(counts.size))
        if not counts.size:
            self.bars.setData([0.1, 10.0], [0.0])
            for side in ("left", "bottom"):
                self.getAxis(side).setTicks([])
            return
        heights = (
            np.log10(np.maximum(counts, 1)) + (counts > 0) * 0.15
        )  # a single voxel is seen, too
        self._top = float(heights.max()) * 1.05
        self.bars.setData(edges, heights)
        self._ends = low, high = tuple(np.log10(edges[[0, -1]]).tolist())
        self.line.setBounds((low - BEYOND, high + BEYOND))
        self._fit()

    def _fit(self) -> None:
        """Show all of the histogram, and the line."""
        low, high, line = *self._ends, float(self.line.value())
        low, high = min(low, line), max(high, line)
        room = 0.1 * (high - low)
        self.setRange(xRange=(low - room, high + room), yRange=(0, self._top), padding=0)
        for side, top in (
            ("left", range(int(self._top) + 1)),
            ("bottom", range(math.ceil(low), math.floor(high + room) + 1)),
        ):
            self.getAxis(side).setTicks(
                [[(k, f"{10.0**k:,.15g}" if -3 < k < 4 else f"1e{k}") for k in top]]
            )

    def show_diffusivity(self, gradient: NDArray[Any], g: NDArray[Any]) -> None:
        """Draw a diffusivity, 1 at the upper edge."""
        self.curve.setData(gradient, np.clip(g, 0, 1) * self._top)

    def name_axis(self, unit: str) -> None:
        """Say what is to the right and upward."""
        self.setLabel("bottom", f"gradient [{unit}]")
        self.setLabel("left", "voxels")

    def set_colours(self, background: str, text: str, bars: str, line: str) -> None:
        """Take the colours of a theme."""
        self.setBackground(background)
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(text)
            axis.setTextPen(text)
        self.bars.setPen(pg.mkPen(bars))
        self.bars.setBrush(pg.mkBrush(bars))
        self.curve.setPen(pg.mkPen(text, width=2, style=Qt.PenStyle.DashLine))
        self.line.setPen(pg.mkPen(line, width=3))
        self.line.setHoverPen(pg.mkPen(line, width=5))
