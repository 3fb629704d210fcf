"""The middle of the slice on screen, as a picture to explain with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from napari_diffusion.ui.explain.pictures import MAX_SIDE, Picture, picture_of
from napari_diffusion.ui.layers.axes import array_of, common_unit, layer_axes, shape_of, size_in
from napari_diffusion.ui.overlay.visible_region import BOX, displayed, on_screen


def slice_reader(viewer: Any, layer: Any) -> Callable[[], Picture] | None:
    """Return a function that reads the middle of the slice on screen; ``None`` without a slice.

    The view is read at once, and the values when the function is called, in any thread. In 3-D view
    the slice is the middle one across the first axis on screen.
    """
    if layer is None:
        return None
    shown = displayed(viewer, layer)
    cut: int | str = BOX
    plane_index = 0
    if len(shown) == 3:
        cut, *shown_in_plane = shown
        plane_index = shape_of(layer)[cut] // 2
    else:
        shown_in_plane = list(shown)
    part = on_screen(viewer, layer, MAX_SIDE, cut, plane_index)
    if part is None or len(shown_in_plane) != 2:
        return None
    axes = layer_axes(layer)
    unit = common_unit(axes)
    pixel = [size_in(axes[axis], unit) for axis in shown_in_plane]
    array, ndim = array_of(layer), layer.ndim

    def read() -> Picture:
        values = np.asarray(array[part.region])
        values = np.moveaxis(values, shown_in_plane, (ndim - 2, ndim - 1))
        return picture_of(values.reshape(values.shape[ndim - 2 :]), pixel, unit)

    return read
