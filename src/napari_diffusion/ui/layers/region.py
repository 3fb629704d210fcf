"""Region of interest: the box of an image that a shape of a Shapes layer encloses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.errors import InputError
from napari_diffusion.ui.layers.axes import shape_of
from napari_diffusion.ui.layers.positions import data_position, viewer_position

#: Extent of a shape along an axis below which it does not limit that axis [voxel].
FLAT = 1e-3


def region_of(viewer: Any, image: Any, shapes: Any) -> tuple[slice, ...]:
    """Return the box of an image in the last shape of a Shapes layer.

    A shape lies in a plane. It limits the axes along which it extends; along the others the box is
    as long as the image. A voxel belongs to the box if its centre lies between the ends of the
    shape. A shape that is turned against the voxels gives the box around it.

    Parameters
    ----------
    viewer
        The viewer of both layers.
    image, shapes
        The layers.

    Returns
    -------
    tuple of slice
        A slice with start and stop for every axis of the array, colours included.

    Raises
    ------
    InputError
        When the layer has no shape, or when the shape encloses no voxel of the image.
    """
    if not len(shapes.data):
        raise InputError(f"Draw a rectangle in the layer {shapes.name} first: it is the region.")
    corners = _in_image(viewer, image, shapes, np.asarray(shapes.data[-1], float))
    shape = shape_of(image)
    region = [slice(0, n) for n in shape]
    low, high = corners.min(0), corners.max(0)
    for axis in range(image.ndim):
        if high[axis] - low[axis] > FLAT:
            start = max(int(np.ceil(low[axis])), 0)
            stop = min(int(np.floor(high[axis])) + 1, shape[axis])
            if start >= stop:
                raise InputError(
                    f"The last shape of {shapes.name} lies outside {image.name}, or it is smaller "
                    "than a voxel."
                )
            region[axis] = slice(start, stop)
    return tuple(region)


def _in_image(
    viewer: Any, image: Any, shapes: Any, corners: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the corners of a shape in the voxels of an image, shape (n, image.ndim)."""
    ahead = viewer.dims.ndim - shapes.ndim
    world = np.tile(np.array(viewer.dims.point, float), (len(corners), 1))
    world[:, ahead:] = [viewer_position(viewer, shapes, corner) for corner in corners]
    return np.array([data_position(viewer, image, point) for point in world])
