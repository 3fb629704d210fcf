"""Which part of a layer is on screen, and where a picture of that part belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_diffusion.ui.layers.axes import array_of

#: In 3-D view: the box around the middle, a share of the side that a preview in 2-D view may have.
BOX_SHARE = 4
BOX = "box"


@dataclass(frozen=True)
class Part:
    """A box of a layer's array.

    Attributes
    ----------
    region
        A slice for every axis of the array.
    whole
        Whether all of the plane or volume on screen is in it.
    middle
        The voxel that is looked at.
    """

    region: tuple[slice, ...]
    whole: bool
    middle: tuple[int, ...]

    def place(self, layer: Any) -> Any:
        """Return the ``translate`` of a layer that shows this part where ``layer`` has it, all its other transforms the same."""
        from napari.utils.transforms import Affine

        start = [part.start for part in self.region[: layer.ndim]]
        return Affine(
            scale=layer.scale, rotate=layer.rotate, shear=layer.shear, translate=layer.translate
        )(start)


def position(viewer: Any, layer: Any) -> list[int] | None:
    """Return the voxel of a layer that the sliders of a viewer point at; ``None`` where they point beside the layer."""
    shape = array_of(layer).shape[: layer.ndim]
    point = np.rint(_in_layer(viewer, layer, viewer.dims.point)).astype(int)
    shown = displayed(viewer, layer)
    if any(
        not 0 <= p < n for i, (p, n) in enumerate(zip(point, shape, strict=True)) if i not in shown
    ):
        return None
    return [int(p) for p in np.clip(point, 0, np.array(shape) - 1)]


def displayed(viewer: Any, layer: Any) -> tuple[int, ...]:
    """Return the axes of a layer that are on screen, in their order there."""
    ahead = viewer.dims.ndim - layer.ndim
    return tuple(axis - ahead for axis in viewer.dims.displayed if axis >= ahead)


def on_screen(
    viewer: Any, layer: Any, largest: int, cut: int | str = BOX, place: int = 0
) -> Part | None:
    """Return what is on screen of a layer, ``None`` where nothing is.

    Parameters
    ----------
    viewer, layer
        The viewer and one of its image layers.
    largest
        Voxels along each side that the part may have; of a larger plane it is the middle of the view.
    cut, place
        In 3-D view: ``"box"`` for a box in the middle, or the axis and the voxel of a plane.
    """
    here, shown = position(viewer, layer), displayed(viewer, layer)
    shape = array_of(layer).shape
    if here is None or 0 in shape or len(shown) < min(2, layer.ndim):
        return None
    region = [slice(p, p + 1) for p in here] + [slice(0, n) for n in shape[layer.ndim :]]
    solid = len(shown) == 3
    side = max(1, largest // BOX_SHARE) if solid and cut == BOX else largest
    middle = [n // 2 for n in shape] if solid else _looked_at(viewer, layer, here, shown)
    whole = True
    for axis in shown:
        if solid and axis == cut:
            region[axis] = slice(min(place, shape[axis] - 1), min(place, shape[axis] - 1) + 1)
            continue
        start = min(max(0, middle[axis] - side // 2), max(0, shape[axis] - side))
        region[axis] = slice(start, min(start + side, shape[axis]))
        whole &= side >= shape[axis]
    return Part(tuple(region), whole, tuple(middle))


def _looked_at(viewer: Any, layer: Any, here: list[int], shown: tuple[int, ...]) -> list[int]:
    """Voxel in the middle of the canvas."""
    world = np.array(viewer.dims.point, float)
    count = len(shown)
    for axis, value in zip(
        viewer.dims.displayed[-count:], tuple(camera(viewer).center)[-count:], strict=True
    ):
        world[axis] = value
    middle = np.rint(_in_layer(viewer, layer, world))
    return [int(m) if i in shown and np.isfinite(m) else here[i] for i, m in enumerate(middle)]


def _in_layer(viewer: Any, layer: Any, world: Any) -> Any:
    """Return the place in a layer's array of a point in the viewer, which counts in units that all layers have in common, if they have."""
    ahead = viewer.dims.ndim - layer.ndim
    point = np.array(world, float)[ahead:]
    common = getattr(viewer.layers.extent, "units", None)  # not before napari 0.9
    for axis, (old, new) in (
        enumerate(zip(common[ahead:], layer.units, strict=True)) if common is not None else ()
    ):
        if old != new and old.is_compatible_with(new):
            point[axis] *= (1 * old).to(new).magnitude
    return layer.world_to_data(point)


def camera(viewer: Any) -> Any:
    """Return the camera, which moved in napari 0.9."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
