"""The grid that everything below the engine speaks: voxel size, regions, border and float rule.

Fields are arrays of shape ``(C, *space)``: channels first, then the axes that diffuse. The border is the
half-sample mirror (no flux through the outer faces), the one that conserves the mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array


def open_faces(regions: Array) -> NDArray[np.uint8] | None:
    """Mark the faces between voxels of the same region; region 0 is outside and has no open face.

    Returns ``None`` when all faces are open, so that a mask of ones costs nothing and changes no bit.
    """
    faces = np.zeros(regions.shape, np.uint8)
    closed = False
    for axis in range(regions.ndim):
        near = _along(axis, slice(None, -1))
        here, there = regions[near], regions[_along(axis, slice(1, None))]
        flows = (here == there) & (here != 0)
        closed |= not flows.all()
        faces[near] |= flows.astype(np.uint8) << np.uint8(axis)
    return faces if closed or not regions.all() else None


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (part,)
