"""Layers of the form: those offered for choice, and events of the chosen image and labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from psygnal import Signal

from napari_diffusion.ui.layers.axes import Axis, layer_axes
from napari_diffusion.ui.layers.events import reconnect
from napari_diffusion.ui.layers.new_layers import auxiliary_layers
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.viewer_part import ViewerPart

#: Events of an image layer that change its array or its grid.
_GRID_EVENTS = ("scale", "units", "axis_labels", "data")
#: Events of a layer that move it or change its grid. The layers shown over it move with it.
_MOVE_EVENTS = ("translate", "rotate", "shear", "affine")


def layer_choices(
    viewer: Any, kind: type[Any] | tuple[type[Any], ...]
) -> Callable[[Any], list[tuple[str, Any]]]:
    """Return a function that lists the layers of some classes for a combo box, by name."""
    return lambda _: [
        (layer.name, layer)
        for layer in viewer.layers
        if isinstance(layer, kind) and layer not in auxiliary_layers
    ]


class LayerWatcher(ViewerPart):
    """Follows changes of the chosen image and labels layers.

    Attributes
    ----------
    corrected
        Signal: the image got other data, voxel size, units or axis labels.
    changed
        Signal: image or labels were moved, or their pixels were changed in place.
    revision
        Number of changes in place, as by painting.
    """

    corrected = Signal()
    changed = Signal()

    def __init__(self, viewer: Any, fail: Callable[[Exception], None]) -> None:
        super().__init__(viewer, fail)
        self._axes: tuple[Axis, ...] = ()
        self._image: Any = None
        self._labels: Any = None
        self._views: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self.revision = 0

    @property
    def image(self) -> Any:
        """The followed image layer, or ``None``."""
        return self._image

    def watch_image(self, layer: Any) -> None:
        """Follow an image layer instead of the one before; ``None`` for no layer."""
        reconnect(self._image, layer, _GRID_EVENTS, self._corrected)
        reconnect(self._image, layer, _MOVE_EVENTS, self._moved)
        reconnect(self._image, layer, ["set_data"], self._redrawn)
        self._image = layer
        self._axes = () if layer is None else layer_axes(layer)

    def watch_labels(self, layer: Any) -> None:
        """Follow a layer of labels or shapes instead of the one before; ``None`` for no layer."""
        if layer is self._labels:
            return
        for old, new in ((self._labels, None), (None, layer)):
            one = old if new is None else new
            if one is not None:
                painted = [name for name in ["labels_update"] if name in one.events.emitters]
                reconnect(old, new, ["set_data"], self._redrawn)
                reconnect(old, new, painted, self._painted)
                reconnect(old, new, (*_GRID_EVENTS, *_MOVE_EVENTS), self._labels_moved)
        self._labels = layer

    @slot
    def _corrected(self) -> None:
        self._axes = layer_axes(self._image)
        self.corrected.emit()

    @slot
    def _moved(self) -> None:
        """Tell a move from a change of the voxel size or of the directions of the axes."""
        if layer_axes(self._image) != self._axes:
            self._corrected()
        else:
            self.changed.emit()

    @slot
    def _labels_moved(self) -> None:
        self.changed.emit()

    @slot
    def _painted(self) -> None:
        self.revision += 1
        self.changed.emit()

    @slot
    def _redrawn(self, event: Any) -> None:
        """Detect values that were changed in place.

        napari draws a layer again when its values or the view have changed. If the view is the
        same, the values have changed. A multiscale layer is also drawn again for another level.
        """
        layer, dims = event.source, self._viewer.dims
        view = tuple(dims.point), dims.order, dims.ndisplay
        if self._views.get(layer) == view and not layer.multiscale:
            self._painted()
        self._views[layer] = view
