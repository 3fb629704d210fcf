"""The split line in the canvas, which the mouse moves."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any
from weakref import WeakMethod

from qtpy.QtCore import Qt
from qtpy.QtGui import QCursor

from napari_diffusion.ui.context import Context
from napari_diffusion.ui.layers.positions import data_position
from napari_diffusion.ui.overlay.preview_layer import PreviewOverlay
from napari_diffusion.ui.overlay.split import pixels_per_voxel
from napari_diffusion.ui.overlay.visible_region import camera
from napari_diffusion.ui.qt.canvas import canvases
from napari_diffusion.ui.qt.slots import slot

#: Distance from the line at which the mouse takes hold of it [pixel].
REACH = 6
HALF_VOXEL = 0.6


class SplitLine:
    """Lets the mouse move the line between the original and the preview.

    Beside the line, and while a tool of a layer is active, the mouse does what it always does.

    Parameters
    ----------
    context
        Context of the section.
    overlay
        The preview.
    """

    def __init__(self, context: Context, overlay: PreviewOverlay) -> None:
        self._context, self._overlay = context, overlay
        self._cursors: dict[Any, QCursor] = {}
        self._is_on = self._holds = False
        self._hover = _weakly(self._hovered)
        self._drag = _weakly_dragging(self._grabs, self._moved)
        context.on_close(self.stop)

    def fail(self, error: Exception) -> None:
        """Show an error below Run."""
        self._context.fail(error)

    def start(self) -> None:
        """Follow the mouse."""
        if not self._is_on:
            self._is_on = True
            self._context.viewer.mouse_move_callbacks.append(self._hover)
            self._context.viewer.mouse_drag_callbacks.append(self._drag)

    @slot
    def stop(self) -> None:
        """Cease to follow the mouse."""
        if self._is_on:
            self._is_on = False
            self._let_go()
            viewer = self._context.viewer
            for calls, call in (
                (viewer.mouse_move_callbacks, self._hover),
                (viewer.mouse_drag_callbacks, self._drag),
            ):
                if call in calls:
                    calls.remove(call)

    @slot
    def _hovered(self, event: Any) -> None:
        """Show at the line that the mouse can move it."""
        if self._is_near(event):
            self._take_hold()
        else:
            self._let_go()

    @slot
    def _grabs(self, event: Any) -> bool:
        """Return whether a press of the mouse takes hold of the line."""
        near = event.button == 1 and self._is_near(event)
        if near:
            self._take_hold()
        return near

    @slot
    def _moved(self, event: Any) -> None:
        """Move the line to the mouse."""
        split, part = self._overlay.split, self._overlay.part
        if split is not None and part is not None:
            self._overlay.fraction = split.fraction_at(part, self._position(event))

    def _position(self, event: Any) -> Any:
        return data_position(self._context.viewer, self._overlay.source, event.position)

    def _is_near(self, event: Any) -> bool:
        split, part = self._overlay.split, self._overlay.part
        active = self._context.viewer.layers.selection.active
        uses_tool = active is not None and str(getattr(active, "mode", "pan_zoom")) != "pan_zoom"
        if split is None or part is None or uses_tool:
            return False
        distance = split.distance(part, self._position(event))
        if distance == float("inf"):
            return False
        size = pixels_per_voxel(self._context.viewer, self._overlay.source, split.axis)
        # napari 0.9 draws the frame, of which the line is a part, half a voxel beside the voxels.
        return distance <= max(REACH / size, HALF_VOXEL)

    def _take_hold(self) -> None:
        """Show the cursor of a line that can be moved; the camera does not pan meanwhile."""
        split = self._overlay.split
        if self._holds or split is None:
            return
        self._holds = True
        camera(self._context.viewer).mouse_pan = False
        for canvas in canvases(self._context.parent):
            self._cursors[canvas] = QCursor(canvas.cursor())
            canvas.setCursor(Qt.CursorShape.SplitHCursor)

    def _let_go(self) -> None:
        if self._holds:
            self._holds = False
            cursors, self._cursors = self._cursors, {}
            camera(self._context.viewer).mouse_pan = True
            for canvas, cursor in cursors.items():
                with suppress(RuntimeError):  # the window is being closed
                    canvas.setCursor(cursor)


def _weakly(method: Callable[[Any], object]) -> Callable[[Any, Any], None]:
    """Return a mouse callback of napari that holds a method weakly."""
    weak = WeakMethod(method)

    def on_move(viewer: Any, event: Any) -> None:
        call = weak()
        if call is not None:
            call(event)

    return on_move


def _weakly_dragging(
    grabs: Callable[[Any], bool], moved: Callable[[Any], object]
) -> Callable[[Any, Any], Generator[None, None, None]]:
    """Return a drag callback of napari that holds two methods weakly.

    It calls ``grabs`` at a press, and ``moved`` for every movement if that has returned true.
    """
    weak_grabs, weak_moved = WeakMethod(grabs), WeakMethod(moved)

    def on_drag(viewer: Any, event: Any) -> Generator[None, None, None]:
        call = weak_grabs()
        if call is None or not call(event):
            return
        event.handled = True
        yield
        is_held = True
        while is_held:  # vispy leaves out movements in quick succession: the release counts, too
            is_held = event.type == "mouse_move"
            move = weak_moved()
            if move is not None:
                move(event)
            event.handled = True
            if is_held:
                yield

    return on_drag
