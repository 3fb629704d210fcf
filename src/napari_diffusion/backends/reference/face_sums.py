"""Sums over the faces of every voxel, for the NumPy kernels.

A voxel and its neighbour along an axis are a fixed number of elements apart, so differences are
taken between shifted flat arrays. Blocks of them, and work in place, keep everything in the cache:
several times faster than slices of whole arrays (measured).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from napari_diffusion.core.arrays import Field, OpenFaces

Make = Callable[[int, slice, slice, Field], None]
#: Voxels that are worked on at once.
BLOCK_VOXELS = 1 << 15


def over_channels(w: Field, squares: Field) -> Field:
    """Weighted sum over channels; the weights sum to one, so that a single channel needs none."""
    return squares[0] if len(squares) == 1 else np.tensordot(w, squares, 1)


def flat_channels(field: Field) -> Field:
    return field.reshape(len(field), -1)


def add_from_faces(
    make: Make,
    out: Field,
    out_lo: int,
    shape: tuple[int, ...],
    lo: int,
    hi: int,
    faces: OpenFaces | None,
    sign: int,
) -> None:
    """Add the values at all inner open faces to the voxel before each, and ``sign`` times the value to the voxel after it.

    ``make(axis, before, after, values)`` fills in the values between these flat ranges of voxels. Plane ``out_lo`` is the first of ``out``.
    """
    plane, flat = math.prod(shape[1:]), flat_channels(out)
    first, last, shift = lo * plane, hi * plane, out_lo * plane
    values = np.empty((len(out), BLOCK_VOXELS), out.dtype)
    for axis, size in enumerate(shape):
        stride = math.prod(shape[axis + 1 :])
        span, step = size * stride, BLOCK_VOXELS
        if size < 2 or not span:
            runs = []
        elif axis == 0:
            runs = [(max(lo - 1, 0) * plane, min(hi, size - 1) * plane)]
        elif span > BLOCK_VOXELS:
            runs = [(start, start + span - stride) for start in range(first, last, span)]
        else:
            runs, step = [(first, last)], BLOCK_VOXELS // span * span
        for start, stop in (
            (start, min(start + step, end))
            for begin, end in runs
            for start in range(begin, end, step)
        ):
            part = values[:, : stop - start]
            inner = min(stop, shape[0] * plane - stride) - start
            make(
                axis,
                slice(start, start + inner),
                slice(start + stride, start + stride + inner),
                part[:, :inner],
            )
            if (
                axis > 0 and span <= BLOCK_VOXELS
            ):  # from the end of one line to the start of the next there is no face
                part.reshape(len(out), -1, size, stride)[:, :, -1] = 0
            if faces is not None:
                np.copyto(part, 0, where=faces.reshape(-1)[start:stop] & (1 << axis) == 0)
            # The voxel after a face first: it may have been another block's, and no bit may depend on where blocks end.
            for by, add in ((stride, np.add if sign > 0 else np.subtract), (0, np.add)):
                begin = max(start + by, first)
                end = max(begin, min(stop + by, last))
                target = flat[:, begin - shift : end - shift]
                add(target, part[:, begin - start - by : end - start - by], out=target)


def face_ends(axis: int, ndim: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of the near and of the far voxel of every inner face along ``axis``."""
    return part_along(axis, ndim, slice(None, -1)), part_along(axis, ndim, slice(1, None))


def part_along(axis: int, ndim: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if i == axis else slice(None) for i in range(ndim))
