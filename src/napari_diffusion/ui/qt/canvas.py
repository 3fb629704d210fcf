"""The canvas of napari, as a Qt widget."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow, QWidget


def make_canvas_current(native: QWidget) -> None:
    """Make the OpenGL context of the viewer current in which a widget is docked.

    napari 0.9 deletes the buffers and textures of a removed layer at once, and does not make its
    context current. Without a current context the commands are lost, and the next drawing ends the
    process (vispy 0.17). Call it before a layer is removed.

    Parameters
    ----------
    native
        Any part of the docked widget. Nothing happens if it is in no window of napari.
    """
    make_current(canvases(native))


def make_current(drawn: Iterable[QOpenGLWidget]) -> None:
    """Make the OpenGL contexts of canvases current; those that are destroyed are left out."""
    for canvas in drawn:
        with suppress(RuntimeError):
            canvas.makeCurrent()


def canvases(native: QWidget) -> list[QOpenGLWidget]:
    """Return the canvases of the window in which a widget is docked, those that can be drawn on.

    Parameters
    ----------
    native
        Any part of the docked widget. The list is empty if it is in no window of napari.
    """
    top = native
    while (above := top.parentWidget()) is not None:
        top = above
    # Another plugin may have a canvas in a dock; that of napari is in the middle.
    middle = top.centralWidget() if isinstance(top, QMainWindow) else None
    return [canvas for canvas in (middle or top).findChildren(QOpenGLWidget) if canvas.isValid()]
