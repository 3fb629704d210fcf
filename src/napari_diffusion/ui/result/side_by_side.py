"""Two layers beside each other: napari's grid, with all other layers hidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psygnal import Signal

from napari_diffusion.ui.layers.view_state import ViewState
from napari_diffusion.ui.overlay.visible_region import camera
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.viewer_part import ViewerPart


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
        self._before: tuple[ViewState, dict[str, Any], float] | None = None
        # napari before 0.9 has the grid on the viewer itself.
        self._grid = viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid
        self._grid.events.enabled.connect(self._grid_toggled)

    @property
    def is_on(self) -> bool:
        """Whether two layers are shown beside each other."""
        return self._before is not None

    def show(self, left: Any, right: Any) -> None:
        """Show two layers beside each other, in the order of the viewer from left to right."""
        self.hide()
        grid, state = self._grid, ViewState.of(self._viewer)
        settings = {name: getattr(grid, name) for name in ("enabled", "stride", "shape")}
        self._before = state, settings, camera(self._viewer).zoom
        state.hide(layer for layer in self._viewer.layers if layer not in (left, right))
        state.reveal([left, right])
        grid.stride, grid.shape = 1, (1, 2)
        grid.enabled = True
        camera(self._viewer).zoom *= 0.5

    def hide(self) -> None:
        """Show again what was shown before."""
        if self._before is None:
            return
        (state, settings, zoom), self._before = self._before, None
        for name, value in settings.items():
            setattr(self._grid, name, value)
        state.restore_visibility()
        camera(self._viewer).zoom = zoom
        self.ended.emit()

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
