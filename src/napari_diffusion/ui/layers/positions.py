"""Positions in the voxels of a layer and in the viewer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def data_position(viewer: Any, layer: Any, world: Any) -> NDArray[np.float64]:
    """Return the position in a layer's array [voxel] of a point in the viewer.

    The point is in the common units of all layers, where they have such units.
    """
    ahead = viewer.dims.ndim - layer.ndim
    point = np.array(world, float)[ahead:] * _factors(viewer, layer)
    return np.asarray(layer.world_to_data(point), float)


def viewer_position(viewer: Any, layer: Any, position: Any) -> NDArray[np.float64]:
    """Return the point in the viewer of a position in a layer [voxel]; as `data_position`."""
    point = np.asarray(layer.data_to_world(position), float)
    return point / _factors(viewer, layer)


def _factors(viewer: Any, layer: Any) -> NDArray[np.float64]:
    """Return the factor of each axis from the common units of all layers to those of a layer."""
    factors = np.ones(layer.ndim)
    common = getattr(viewer.layers.extent, "units", None)  # napari 0.9 and later
    if common is not None:
        ahead = viewer.dims.ndim - layer.ndim
        for axis, (old, new) in enumerate(zip(common[ahead:], layer.units, strict=True)):
            if old != new and old.is_compatible_with(new):
                factors[axis] = (1 * old).to(new).magnitude
    return factors
