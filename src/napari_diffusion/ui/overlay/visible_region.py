"""The part of a layer that is on screen, and the position of a picture of that part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_diffusion.ui.layers.axes import shape_of
from napari_diffusion.ui.layers.positions import data_position

#: Factor by which the side of a box in 3-D view is shorter than the maximum side in 2-D view.
BOX_SHARE = 4
BOX = "box"
#: Maximum number of planes of a thick slice.
MAX_PLANES = 64


@dataclass(frozen=True)
class Part:
    """A box of a layer's array.

    Attributes
    ----------
    region
        A slice for every axis of the array.
    whole
        Whether the box contains all of the plane or volume on screen.
    middle
        Voxel at the centre of the view.
    """

    region: tuple[slice, ...]
    whole: bool
    middle: tuple[int, ...]

    def translate_for(self, layer: Any) -> Any:
        """Return ``translate`` for a layer of this part, so that it coincides with ``layer``.

        All other transforms of the two layers are the same.
        """
        from napari.utils.transforms import Affine

        start = [part.start for part in self.region[: layer.ndim]]
        return Affine(
            scale=layer.scale, rotate=layer.rotate, shear=layer.shear, translate=layer.translate
        )(start)


def position(viewer: Any, layer: Any) -> list[int] | None:
    """Return the voxel of a layer at the sliders of a viewer; ``None`` outside the layer."""
    shape = shape_of(layer)[: layer.ndim]
    point = np.rint(data_position(viewer, layer, viewer.dims.point)).astype(int)
    shown = displayed(viewer, layer)
    for axis, (p, n) in enumerate(zip(point, shape, strict=True)):
        if axis not in shown and not 0 <= p < n:
            return None
    return [int(p) for p in np.clip(point, 0, np.array(shape) - 1)]


def displayed(viewer: Any, layer: Any) -> tuple[int, ...]:
    """Return the axes of a layer that are on screen, in their order on screen."""
    ahead = viewer.dims.ndim - layer.ndim
    return tuple(axis - ahead for axis in viewer.dims.displayed if axis >= ahead)


def on_screen(
    viewer: Any,
    layer: Any,
    largest: int,
    cut: int | str = BOX,
    plane_index: int = 0,
    bounds: tuple[slice, ...] | None = None,
) -> Part | None:
    """Return the part of a layer that is on screen, ``None`` where there is none.

    Parameters
    ----------
    viewer, layer
        The viewer and one of its image layers.
    largest
        Maximum side of the part [voxel]. Of a larger plane, it is the part at the centre of the
        view.
    cut, plane_index
        In 3-D view: ``"box"`` for a box in the middle of the volume, or the axis and the voxel of a
        plane.
    bounds
        Box of the array that the part must not leave; ``None`` for the whole array.

    Raises
    ------
    ValueError
        When the plane on screen lies outside ``bounds``, or when a thick slice has more than
        `MAX_PLANES` planes.
    """
    voxel, shown = position(viewer, layer), displayed(viewer, layer)
    shape = shape_of(layer)
    if voxel is None or 0 in shape or len(shown) < min(2, layer.ndim):
        return None
    box = bounds or tuple(slice(0, n) for n in shape)
    region = [slice(p, p + 1) for p in voxel] + [slice(0, n) for n in shape[layer.ndim :]]
    for axis, planes in planes_on_screen(viewer, layer, shown).items():
        region[axis] = planes
    solid = len(shown) == 3
    side = max(1, largest // BOX_SHARE) if solid and cut == BOX else largest
    middle = [(b.start + b.stop) // 2 for b in box]
    if not solid:
        middle = _view_centre(viewer, layer, voxel, shown)
    whole = True
    for axis in shown:
        low, high = box[axis].start, box[axis].stop
        if solid and axis == cut:
            plane = min(plane_index, shape[axis] - 1)
            region[axis] = slice(plane, plane + 1)
            continue
        start = min(max(low, middle[axis] - side // 2), max(low, high - side))
        region[axis] = slice(start, min(start + side, high))
        whole &= region[axis] == slice(0, shape[axis])
    if any(a.start >= b.stop or a.stop <= b.start for a, b in zip(region, box, strict=True)):
        raise ValueError("This slice lies outside the region.")
    return Part(tuple(region), whole, tuple(middle))


def planes_on_screen(viewer: Any, layer: Any, shown: tuple[int, ...]) -> dict[int, slice]:
    """Return the planes of a thick slice, for each axis that is not displayed.

    The dictionary is empty for a layer that shows a single plane.

    Raises
    ------
    ValueError
        When there are more than `MAX_PLANES` planes.
    """
    dims = viewer.dims
    if str(getattr(layer, "projection_mode", "none")) == "none" or not any(dims.thickness):
        return {}
    point, shape = np.array(dims.point, float), shape_of(layer)
    ends = (point - np.array(dims.margin_left), point + np.array(dims.margin_right))
    corners = np.rint([data_position(viewer, layer, end) for end in ends])
    low, high = corners.min(0), corners.max(0)
    planes = {}
    for axis in range(layer.ndim):
        if axis not in shown and high[axis] >= 0 and low[axis] < shape[axis]:
            planes[axis] = slice(max(int(low[axis]), 0), min(int(high[axis]) + 1, shape[axis]))
    count = max((part.stop - part.start for part in planes.values()), default=1)
    if count > MAX_PLANES:
        raise ValueError(
            f"The thick slice on screen has {count} planes; a preview has at most {MAX_PLANES}. "
            "Reduce the thickness of the slice."
        )
    return planes


def _view_centre(viewer: Any, layer: Any, voxel: list[int], shown: tuple[int, ...]) -> list[int]:
    """Return the voxel at the centre of the canvas; ``voxel`` along axes that are not shown."""
    world = np.array(viewer.dims.point, float)
    count = len(shown)
    axes, centre = viewer.dims.displayed[-count:], tuple(camera(viewer).center)[-count:]
    for axis, value in zip(axes, centre, strict=True):
        world[axis] = value
    middle = np.rint(data_position(viewer, layer, world))
    return [int(m) if i in shown and np.isfinite(m) else voxel[i] for i, m in enumerate(middle)]


def camera(viewer: Any) -> Any:
    """Return the camera of a viewer, an attribute of its scene since napari 0.9."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def grid(viewer: Any) -> Any:
    """Return the grid of a viewer, an attribute of its canvas since napari 0.9."""
    return viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid
