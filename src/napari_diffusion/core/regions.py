"""Regions without flux between them: mask and labels, and bits for the faces between voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array, as_array


def open_faces(regions: Array) -> NDArray[np.uint8] | None:
    """Return one byte per voxel whose bits mark the open faces.

    Bit ``i`` is set where a voxel and its next neighbour along axis ``i`` lie in the same region.
    Region 0 is outside the domain and has no open face.

    The result is ``None`` when all inner faces are open. A mask of ones then takes the same path
    as no mask: no cost, and the same result bit for bit.
    """
    faces, inside = np.zeros(regions.shape, np.uint8), regions != 0
    closed = False
    for axis, n in enumerate(regions.shape):
        if n == 1:
            continue
        voxels, neighbours = _along(axis, slice(None, -1)), _along(axis, slice(1, None))
        is_open = (regions[voxels] == regions[neighbours]) & inside[voxels]
        closed |= not is_open.all()
        bits = faces[voxels]
        bits |= is_open.astype(np.uint8) << np.uint8(axis)
    return faces if closed or not inside.all() else None


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (part,)


def checked_regions(
    mask: Any, labels: Any, shape: tuple[int, ...], axes: list[int], channel: int | None
) -> NDArray[Any] | None:
    """Combine mask and labels, each of the shape of the diffusing axes or of all but channels.

    The result is ``None`` for a single region. Parameters are those of `checked_guide`.

    Raises
    ------
    TypeError, ValueError
        When one of them is no such array, or has masked values.
    """
    if mask is None and labels is None:
        return None
    space = tuple(shape[i] for i in sorted(axes))
    without_channel = tuple(n for i, n in enumerate(shape) if i != channel)
    regions: NDArray[Any] | None = None
    for name, values, kinds in (("mask", mask, "b"), ("labels", labels, "iub")):
        if values is None:
            continue
        array = _region_array(values, name)
        if array.dtype.kind not in kinds:
            raise TypeError(
                f"{name} must be {'bool' if kinds == 'b' else 'integer'}, got dtype {array.dtype}."
            )
        if array.shape not in (space, without_channel):
            has_choice = without_channel != space
            other = f", {space}, or of the image without channels" if has_choice else ""
            raise ValueError(
                f"{name} must have the shape of the diffusing axes{other}, {without_channel}; "
                f"got {array.shape}."
            )
        if regions is not None and regions.shape != array.shape:
            raise ValueError(
                f"mask and labels must have the same shape, got {regions.shape} and {array.shape}."
            )
        regions = array if regions is None else np.where(regions, array, 0)
    return None if regions is None or is_one_region(regions) else regions


def _region_array(values: Any, name: str) -> Array:
    """Return mask or labels as an array."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmask(values).any():
        outside = "False" if name == "mask" else "0"
        raise TypeError(
            f"{name} has masked values; use {name}.filled({outside}) to leave them outside."
        )
    return as_array(values, name)


def is_one_region(regions: Array) -> bool:
    """Whether all voxels belong to the same region, so that no face is closed."""
    return bool(regions.size and regions.flat[0] and (regions == regions.flat[0]).all())
