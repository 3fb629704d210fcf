"""Two layers beside each other: napari's grid, with all other layers hidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psygnal import Signal

from napari_diffusion.ui.layers.view_state import ViewState
from napari_diffusion.ui.overlay.visible_region import camera, grid
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.viewer_part import ViewerPart

#: Largest stride of napari's grid.
MAX_STRIDE = 50


class SideBySide(ViewerPart):
    """Shows two layers in napari's grid, and restores what was shown before.

    Attributes
    ----------
    ended
        Signal: the comparison has ended, by `hide` or by napari's own button.
    """

    ended = Signal()

    def __init__(self, viewer: Any, fail: Callable[[Exception], None]) -> None:
        super().__init__(viewer, fail)
        self._before: tuple[ViewState, dict[str, Any], dict[str, Any]] | None = None
        self._grid = grid(viewer)
        # napari before 0.6.2 moves the layers of a grid apart in one picture, and fits that.
        self._is_one_picture = not hasattr(self._grid, "iter_viewboxes")
        self._grid.events.enabled.connect(self._grid_toggled)

    @property
    def is_on(self) -> bool:
        """Whether two layers are shown beside each other."""
        return self._before is not None

    def show(self, left: Any, right: Any) -> None:
        """Show two layers beside each other."""
        self.hide()
        canvas_grid, state, view = self._grid, ViewState.of(self._viewer), camera(self._viewer)
        settings = {name: getattr(canvas_grid, name) for name in ("enabled", "stride", "shape")}
        kept = ("zoom", "center") if self._is_one_picture else ("zoom",)
        self._before = state, settings, {name: getattr(view, name) for name in kept}
        state.hide(layer for layer in self._viewer.layers if layer not in (left, right))
        state.reveal([left, right])
        canvas_grid.stride, canvas_grid.shape = self._stride(left, right), (1, 2)
        canvas_grid.enabled = True
        if not self._is_one_picture:
            view.zoom *= 0.5

    def hide(self) -> None:
        """Show again what was shown before."""
        if self._before is None:
            return
        (state, settings, view), self._before = self._before, None
        for name, value in settings.items():
            setattr(self._grid, name, value)
        state.restore_visibility()
        for name, value in view.items():
            setattr(camera(self._viewer), name, value)
        self.ended.emit()

    def _stride(self, left: Any, right: Any) -> int:
        """Return the stride of a grid of two columns that shows each layer in its column.

        napari before 0.9 counts hidden layers, too. With a stride of 1, two neighbours may be in
        the wrong columns, and others in the same one. A negative stride counts from the top.
        """
        layers = self._viewer.layers
        first, second, sign = layers.index(left), layers.index(right), 1
        if first > second:
            first, second = len(layers) - 1 - first, len(layers) - 1 - second
            sign = -1
        if self._is_one_picture:  # this napari counts from the other end
            sign = -sign
        strides = range(1, MAX_STRIDE + 1)
        columns = ((size, first // size % 2, second // size % 2) for size in strides)
        return next((sign * size for size, *pair in columns if pair == [0, 1]), sign)

    def close(self) -> None:
        """End the comparison, and stop following the grid."""
        self._grid.events.enabled.disconnect(self._grid_toggled)
        self.hide()

    @slot
    def _grid_toggled(self, _: Any = None) -> None:
        """Restore the hidden layers where the user has left the grid by napari's own button."""
        if self._before is not None and not self._grid.enabled:
            self._before[1]["enabled"] = False
            self.hide()
