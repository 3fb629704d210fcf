"""The Qt widget that draws one position of a figure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_diffusion.ui.explain.figures import Figure, Panel

#: Colour of marked pixels, of the profile of each panel, and of that of the original picture.
MARK = (255, 150, 0)
CURVES = (QColor(76, 155, 232), QColor(240, 160, 50))
ORIGINAL = QColor(140, 140, 140)
#: Heights of the titles, the pictures and the profile, and gap between two of them [pixel].
TITLE, PICTURE, PROFILE, GAP = 18, 144, 72, 6


def pixels(panel: Panel, position: int) -> NDArray[np.uint8]:
    """Return a panel as colours, axes (y, x, colour)."""
    low, high = panel.limits
    grey = np.clip((panel.images[position] - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    colours = np.repeat(grey[..., None], 3, axis=-1)
    if panel.marks is not None:
        colours[panel.marks[position]] = MARK
    return colours


class FigureView(QWidget):
    """Draws the two pictures of a figure side by side, and the profile through both."""

    def __init__(self) -> None:
        super().__init__()
        self._figure: Figure | None = None
        self._position = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Animated figure")

    def show_figure(self, figure: Figure | None, position: int = 0) -> None:
        """Show one position of a figure, or nothing."""
        self._figure, self._position = figure, position
        self.update()

    def sizeHint(self) -> QSize:
        """Return a size that fits into a dock."""
        return QSize(260, TITLE + PICTURE + GAP + TITLE + PROFILE)

    def minimumSizeHint(self) -> QSize:
        """Return the smallest size that shows the figure."""
        return QSize(200, self.sizeHint().height())

    def paintEvent(self, a0: QPaintEvent | None) -> None:
        """Draw the figure."""
        figure = self._figure
        if figure is None:
            return
        painter = QPainter(self)
        width = (self.width() - GAP) / 2
        for number, panel in enumerate(figure.panels):
            left = number * (width + GAP)
            self._draw_panel(painter, figure, panel, QRectF(left, 0, width, TITLE + PICTURE))
        if figure.profile:
            top = TITLE + PICTURE + GAP
            self._draw_profile(painter, figure, QRectF(0, top, self.width(), TITLE + PROFILE))
        painter.end()

    def _draw_panel(self, painter: QPainter, figure: Figure, panel: Panel, box: QRectF) -> None:
        """Draw a picture in its proportions below its title, and the line of the profile."""
        title = QRectF(box.left(), box.top(), box.width(), TITLE)
        painter.setPen(self.palette().windowText().color())
        painter.drawText(title, int(Qt.AlignmentFlag.AlignCenter), panel.title)
        colours = np.ascontiguousarray(pixels(panel, self._position))
        rows, columns, _ = colours.shape
        height, width = rows * figure.pixel[0], columns * figure.pixel[1]
        scale = min((box.height() - TITLE) / height, box.width() / width)
        target = QRectF(0, 0, width * scale, height * scale)
        target.moveCenter(QPointF(box.center().x(), box.top() + (box.height() + TITLE) / 2))
        image = QImage(colours.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888)
        painter.drawImage(target, image)
        if figure.profile:
            y = target.top() + (figure.row + 0.5) / rows * target.height()
            painter.setPen(QPen(ORIGINAL, 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(target.left(), y), QPointF(target.right(), y))

    def _draw_profile(self, painter: QPainter, figure: Figure, box: QRectF) -> None:
        """Draw the grey levels along the dashed line, before and after."""
        title = QRectF(box.left(), box.top(), box.width(), TITLE)
        painter.setPen(self.palette().windowText().color())
        text = "Grey levels along the dashed line"
        painter.drawText(title, int(Qt.AlignmentFlag.AlignCenter), text)
        plot = box.adjusted(1, TITLE, -1, -1)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        before = figure.original[figure.row]
        low, high = float(before.min()), float(before.max())
        self._draw_curve(painter, before, (low, high), QPen(ORIGINAL, 1), plot)
        for number in figure.profile:
            after = figure.panels[number].images[self._position][figure.row]
            self._draw_curve(painter, after, (low, high), QPen(CURVES[number], 2), plot)

    @staticmethod
    def _draw_curve(
        painter: QPainter,
        values: NDArray[np.float32],
        limits: tuple[float, float],
        pen: QPen,
        box: QRectF,
    ) -> None:
        low, high = limits
        heights = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
        xs = np.linspace(box.left(), box.right(), len(values))
        ys = box.bottom() - heights * box.height()
        painter.setPen(pen)
        points = [QPointF(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        painter.drawPolyline(QPolygonF(points))
