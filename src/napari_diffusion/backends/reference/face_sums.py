"""Sums over the faces of every voxel, for the NumPy kernels.

A voxel and its neighbour along an axis are a fixed number of elements apart, so differences are
taken between shifted flat arrays. Blocks of voxels and operations in place keep all data in the
cache: several times faster than slices of whole arrays (measured).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from napari_diffusion.core.arrays import Field, OpenFaces

#: ``function(axis, before, after, values)`` writes the values at the faces between the flat ranges
#: of voxels ``before`` and ``after``.
FaceFunction = Callable[[int, slice, slice, Field], None]
#: Voxels per block.
BLOCK_VOXELS = 1 << 15


def over_channels(w: Field, squares: Field) -> Field:
    """Weighted sum over channels; the weights sum to one, so a single channel needs none."""
    return squares[0] if len(squares) == 1 else np.tensordot(w, squares, 1)


def flat_channels(field: Field) -> Field:
    """View of shape ``(C, voxels)``."""
    return field.reshape(len(field), -1)


def add_from_faces(
    face_function: FaceFunction,
    out: Field,
    out_lo: int,
    shape: tuple[int, ...],
    lo: int,
    hi: int,
    faces: OpenFaces | None,
    sign: int,
) -> None:
    """Add the values at all inner open faces to the voxels on both sides.

    The voxel before a face gets the value, the voxel after it ``sign`` times the value.

    Parameters
    ----------
    face_function
        Computes the values at a range of faces, see `FaceFunction`.
    out
        Array that the values are added to; its first plane is plane ``out_lo``.
    shape
        Number of voxels along each axis of space.
    lo, hi
        Range of planes that receive values.
    faces
        Open faces, ``None`` where all are open.
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
        for start, stop in _blocks(runs, step):
            block = values[:, : stop - start]
            inner = min(stop, shape[0] * plane - stride) - start
            before = slice(start, start + inner)
            after = slice(start + stride, start + stride + inner)
            face_function(axis, before, after, block[:, :inner])
            if axis > 0 and span <= BLOCK_VOXELS:
                # There is no face between the end of one line and the start of the next.
                block.reshape(len(out), -1, size, stride)[:, :, -1] = 0
            if faces is not None:
                np.copyto(block, 0, where=faces.reshape(-1)[start:stop] & (1 << axis) == 0)
            # The voxel after a face comes first, since it may belong to another block: the order of
            # the sums, and so every bit, must not depend on the block boundaries.
            for offset, add in ((stride, np.add if sign > 0 else np.subtract), (0, np.add)):
                begin = max(start + offset, first)
                end = max(begin, min(stop + offset, last))
                target = flat[:, begin - shift : end - shift]
                add(target, block[:, begin - start - offset : end - start - offset], out=target)


def _blocks(runs: list[tuple[int, int]], step: int) -> Iterator[tuple[int, int]]:
    """Split ranges of voxels into ranges of at most ``step`` voxels."""
    for begin, end in runs:
        for start in range(begin, end, step):
            yield start, min(start + step, end)


def face_ends(axis: int, ndim: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of the near and of the far voxel of every inner face along ``axis``."""
    return part_along(axis, ndim, slice(None, -1)), part_along(axis, ndim, slice(1, None))


def part_along(axis: int, ndim: int, part: slice) -> tuple[slice, ...]:
    """Index of a range along one axis, with everything along the others."""
    return tuple(part if i == axis else slice(None) for i in range(ndim))
