"""Helpers for tests of a visible canvas: pictures, mouse events, positions on screen."""

import numpy as np
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from helpers.viewer import WAIT
from napari_diffusion.ui.overlay.visible_region import camera
from napari_diffusion.ui.qt.canvas import canvases

EVENTS = {
    "press": QEvent.Type.MouseButtonPress,
    "move": QEvent.Type.MouseMove,
    "release": QEvent.Type.MouseButtonRelease,
}


def picture(viewer):
    """Return the canvas as it is drawn, in grey levels, shape (height, width, 3)."""
    QApplication.processEvents()
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)


def canvas_of(gui):
    """Return the Qt widget of the canvas of the window in which a widget is docked."""
    (canvas,) = canvases(gui.native)
    return canvas


def wait_for_canvas(qtbot, gui):
    """Wait until the canvas of a visible window can be drawn on."""
    qtbot.waitUntil(lambda: len(canvases(gui.native)) == 1, timeout=WAIT)


def on_canvas(viewer, gui, layer, voxel):
    """Return the place on the canvas [pixel], as (x, y), of a position in a layer [voxel]."""
    world = np.asarray(layer.data_to_world(voxel))[list(viewer.dims.displayed)[-2:]]
    centre, zoom = np.array(camera(viewer).center)[-2:], camera(viewer).zoom
    size = canvas_of(gui).size()
    y, x = (world - centre) * zoom + np.array([size.height(), size.width()]) / 2
    return float(x), float(y)


def mouse(gui, kind, place, held=False):
    """Send an event of the left button, or a movement with or without it, to the canvas."""
    canvas, point = canvas_of(gui), QPointF(*place)
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    button = none if kind == "move" else left
    buttons = left if kind == "press" or (kind == "move" and held) else none
    at = QPointF(canvas.mapToGlobal(point.toPoint()))
    event = QMouseEvent(EVENTS[kind], point, at, button, buttons, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(canvas, event)
    QApplication.processEvents()


def drag(gui, start, end, steps=6):
    """Move the mouse to a place of the canvas, press, move to another place, and release."""
    mouse(gui, "move", start)
    mouse(gui, "press", start)
    for share in np.linspace(0, 1, steps + 1)[1:]:
        place = np.array(start) + share * (np.array(end) - np.array(start))
        mouse(gui, "move", place, held=True)
    mouse(gui, "release", end)
