"""Plot of the Threshold section: gradient histogram, diffusivity curve and a movable threshold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal

from napari_diffusion.ui.qt.slots import slot

#: Height of the plot, enough for four decades of counts [pixel].
PLOT_HEIGHT = 176
#: Margin below the axis label, whose descenders pyqtgraph would cut off [pixel].
BOTTOM_MARGIN = 5
#: Colour of the threshold on a dark and on a light background.
LINE_COLOURS = "#ff8c00", "#b45309"
#: Decades by which the threshold may lie outside the histogram.
DECADES_OUTSIDE = 2


class GradientHistogram(pg.PlotWidget):  # type: ignore[misc]
    """Histogram of gradient magnitudes with the diffusivity over them.

    Gradients (horizontal) and counts (vertical) have logarithmic scales. The diffusivity is drawn
    from 0 at the lower edge to 1 at the upper edge of the plot.
    """

    #: The user has dragged the threshold to this gradient, or clicked there [intensity/length].
    dragged = Signal(float)

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        # pyqtgraph makes an options menu although it is disabled. Without a parent the menu would
        # outlive the window. The flags keep it a window; otherwise it would lie on the plot.
        menu = self.plotItem.ctrlMenu
        menu.setParent(self, menu.windowFlags())
        self.setFixedHeight(PLOT_HEIGHT)
        # No key moves the line: the parameter control above the plot takes numbers.
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMinimumWidth(120)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.plotItem.setContentsMargins(0, 0, 0, BOTTOM_MARGIN)
        self.setLogMode(x=True, y=False)
        self.bars = self.plot([], [], stepMode="center", fillLevel=0)
        # The diffusivity is scaled to the height of the histogram, which saves a second axis for
        # numbers from 0 to 1.
        self.curve = self.plot([], [])
        self.line = pg.InfiniteLine(0.0, angle=90, movable=True)
        self.line.setCursor(Qt.CursorShape.SizeHorCursor)
        self.addItem(self.line)
        self._top = 1.0
        self._ends = (-1.0, 1.0)
        self.line.sigPositionChangeFinished.connect(self._fit)
        self.line.sigDragged.connect(lambda: self.dragged.emit(self.threshold))
        self.scene().sigMouseClicked.connect(self._clicked)

    @property
    def threshold(self) -> float:
        """Gradient at the line [intensity/length]."""
        return float(10.0 ** self.line.value())

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.line.setValue(float(np.log10(value)))
        # While the line is dragged, a new range would move the plot away from the pointer.
        if not self.line.moving:
            self._fit()

    def show_line(self, visible: bool) -> None:
        """Show or hide the threshold and the diffusivity."""
        for item in (self.line, self.curve):
            item.setVisible(visible)

    def show_counts(self, counts: NDArray[Any], edges: NDArray[Any]) -> None:
        """Draw a histogram; an empty one hides the line and the curve."""
        self.show_line(bool(counts.size))
        if not counts.size:
            self.bars.setData([0.1, 10.0], [0.0])
            for side in ("left", "bottom"):
                self.getAxis(side).setTicks([])
            return
        # The offset makes bins with a single voxel visible, whose logarithm is 0.
        heights = np.log10(np.maximum(counts, 1)) + (counts > 0) * 0.15
        self._top = float(heights.max()) * 1.05
        self.bars.setData(edges, heights)
        self._ends = low, high = tuple(np.log10(edges[[0, -1]]).tolist())
        self.line.setBounds((low - DECADES_OUTSIDE, high + DECADES_OUTSIDE))
        self._fit()

    @slot
    def _clicked(self, event: Any) -> None:
        """Move the line to a click of the left button on the plot."""
        box = self.plotItem.vb
        inside = box.sceneBoundingRect().contains(event.scenePos())
        if event.button() != Qt.MouseButton.LeftButton or not inside or not self.line.isVisible():
            return
        self.line.setValue(box.mapSceneToView(event.scenePos()).x())
        self.dragged.emit(self.threshold)

    @slot
    def _fit(self) -> None:
        """Fit the range to the whole histogram and the line."""
        low, high, line = *self._ends, float(self.line.value())
        low, high = min(low, line), max(high, line)
        margin = 0.1 * (high - low)
        self.setRange(xRange=(low - margin, high + margin), yRange=(0, self._top), padding=0)
        decades = {
            "left": range(int(self._top) + 1),
            "bottom": range(math.ceil(low), math.floor(high + margin) + 1),
        }
        for side, exponents in decades.items():
            ticks = [(k, f"{10.0**k:,.15g}" if -3 < k < 4 else f"1e{k}") for k in exponents]
            self.getAxis(side).setTicks([ticks])

    def show_diffusivity(self, gradient: NDArray[Any], g: NDArray[Any]) -> None:
        """Draw a diffusivity ``g`` over the gradients [intensity/length]."""
        self.curve.setData(gradient, np.clip(g, 0, 1) * self._top)

    def name_axis(self, unit: str) -> None:
        """Label both axes; ``unit`` is that of the gradient."""
        self.setLabel("bottom", f"gradient [{unit}]")
        self.setLabel("left", "voxels")

    def set_colours(self, background: str, text: str, bars: str) -> None:
        """Apply the colours of a theme; the line has the orange of marked edges."""
        line = LINE_COLOURS[pg.mkColor(background).lightness() > 128]
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
