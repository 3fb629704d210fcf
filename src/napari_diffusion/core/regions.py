"""Regions without flux between them, as bits for the faces between voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array


def open_faces(regions: Array) -> NDArray[np.uint8] | None:
    """Return one byte per voxel whose bits mark the open faces.

    Bit ``i`` is set where a voxel and its next neighbour along axis ``i`` lie in the same region.
    Region 0 is outside the domain and has no open face.

    The result is ``None`` when all inner faces are open. A mask of ones then takes the same path
    as no mask: no cost, and the same result bit for bit.
    """
    faces = np.zeros(regions.shape, np.uint8)
    closed = False
    for axis in range(regions.ndim):
        voxels, neighbours = _along(axis, slice(None, -1)), _along(axis, slice(1, None))
        is_open = (regions[voxels] == regions[neighbours]) & (regions[voxels] != 0)
        closed |= not is_open.all()
        faces[voxels] |= is_open.astype(np.uint8) << np.uint8(axis)
    return faces if closed or not regions.all() else None


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (part,)
