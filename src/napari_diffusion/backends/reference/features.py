"""Local features on a range of planes: gradients, neighbours, smoothing, structure tensor."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.reference import face_sums
from napari_diffusion.backends.reference.face_sums import (
    add_from_faces,
    flat_channels,
    part_along,
)
from napari_diffusion.backends.reference.stages import MIN_GRADIENT
from napari_diffusion.backends.reference.tensor import derivative, entries
from napari_diffusion.core.arrays import Field, OpenFaces


def grad2(
    u: Field, start: int, lo: int, hi: int, b2: Field, w: Field, faces: OpenFaces | None, out: Field
) -> None:
    r"""Compute the squared gradient magnitude on planes ``lo:hi``.

    .. math::
       |\nabla u|^2 = \sum_c w_c \sum_i b^2_i
       \tfrac12 \bigl((D_i^+ u_c)^2 + (D_i^- u_c)^2\bigr)

    The mean of both one-sided squares is second order. Unlike a central difference, it does not
    vanish on a checkerboard. Plane 0 of ``u`` is plane ``start`` of the domain.
    """

    def squares(axis: int, before: slice, after: slice, values: Field) -> None:
        d = values if len(u) == 1 else np.empty((len(u), values.shape[1]), u.dtype)
        np.subtract(flat_channels(u)[:, after], flat_channels(u)[:, before], out=d)
        np.square(d, out=d)
        np.multiply(d if len(u) == 1 else np.dot(w, d), b2[axis] / 2, out=values)

    out[...] = 0
    local_faces = None if faces is None else faces[start : start + u.shape[1]]
    add_from_faces(
        squares, out[None], lo - start, u.shape[1:], lo - start, hi - start, local_faces, 1
    )


def neighbours(
    u: Field, lo: int, hi: int, share: Field, faces: OpenFaces | None, mean: Field, deviation: Field
) -> None:
    r"""Compute mean and standard deviation of the face neighbours of every voxel of ``lo:hi``.

    .. math::
       m = r + \sum_n p_n\,(u_n - r), \qquad s = d\,\sqrt{\sum_n p_n\,((u_n - m) / d)^2}, \qquad
       d = \max_n |u_n - m|

    over the neighbours n. ``share`` holds their weights :math:`p_n` along each axis, whose sum is
    one half. The neighbour :math:`r` is the next one along the axis of the largest weight. Where
    all neighbours are equal, m is their value and s is zero, bit for bit. The division by d keeps
    squares within the range of the data type, for intensities of any magnitude.

    Channels are independent. Behind a closed face or the border, the voxel itself takes the place
    of the neighbour.
    """
    centre = u[:, lo:hi]

    def values(axis: int, offset: int) -> Field:
        """Neighbours along an axis."""
        begin, end, last = (lo, hi, u.shape[1]) if axis == 0 else (0, u.shape[axis + 1], np.inf)
        index = np.clip(np.arange(begin, end) + offset, 0, min(last, u.shape[axis + 1]) - 1)
        beside = np.take(u if axis == 0 else centre, index, axis + 1)
        if faces is None:
            return beside
        # The face belongs to the voxel before it.
        own = faces[lo:hi]
        before = own if offset > 0 else np.take(faces if axis == 0 else own, index, axis)
        return np.where(before & (1 << axis), beside, centre)

    places = [(axis, offset) for axis, p in enumerate(share) if p > 0 for offset in (1, -1)]
    reference = values(int(np.argmax(share)), 1) if places else centre
    mean[...] = reference
    for axis, offset in places:
        mean += share[axis] * (values(axis, offset) - reference)
    largest = np.full_like(mean, MIN_GRADIENT)
    for axis, offset in places:
        np.maximum(largest, np.abs(values(axis, offset) - mean), out=largest)
    total = np.zeros_like(mean)
    for axis, offset in places:
        total += share[axis] * np.square((values(axis, offset) - mean) / largest)
    np.multiply(largest, np.sqrt(total), out=deviation)


def smooth(u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
    """Convolve planes ``lo:hi`` with a symmetric separable kernel, mirrored at the border.

    ``taps[i][k]`` is the weight of offsets +k and -k along axis i.
    """
    _smooth(u, lo, hi, taps, out, False)


def smooth_differences(u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field) -> None:
    r"""Convolve as `smooth` does, with a kernel of sum one, from differences to each voxel.

    .. math:: v(x) = u(x) + \sum_{k \ge 1} w_k\,\bigl(u(x + k) + u(x - k) - 2 u(x)\bigr)

    along one axis after the other. Where all voxels under the kernel are equal, every difference is
    zero, and the voxel keeps every bit. The sum of products would round it.
    """
    _smooth(u, lo, hi, taps, out, True)


def _smooth(
    u: Field, lo: int, hi: int, taps: Sequence[Field], out: Field, by_differences: bool
) -> None:
    """Convolve block by block; see `smooth` and `smooth_differences`."""
    if not out.size:
        return
    planes = max(1, face_sums.BLOCK_VOXELS // math.prod(u.shape[2:]))
    for start in range(lo, hi, planes):
        stop = min(start + planes, hi)
        part = u
        for axis, w in enumerate(taps):
            begin, end = (start, stop) if axis == 0 else (0, u.shape[axis + 1])
            part = _convolved(part, axis + 1, w, begin, end, by_differences)
        out[:, start - lo : stop - lo] = part


def _convolved(
    part: Field, axis: int, w: Field, start: int, stop: int, by_differences: bool
) -> Field:
    """Convolution along one axis, at ``start:stop`` of it; a few passes per pair of taps."""
    reach, size = len(w) - 1, part.shape[axis]
    first, last = start - reach, stop + reach
    wide = part[part_along(axis, part.ndim, slice(max(first, 0), min(last, size)))]
    if first < 0 or last > size:
        below, above = (
            np.take(part, _mirror(np.arange(*ends), size), axis)
            for ends in ((first, 0), (size, last))
        )
        wide = np.concatenate([below, wide, above], axis)
    shifted = [
        wide[part_along(axis, part.ndim, slice(k, k + stop - start))] for k in range(2 * reach + 1)
    ]
    centre = shifted[reach]
    total: Field = centre.copy() if by_differences else w[0] * centre
    pair, twice = np.empty_like(total), 2 * centre if by_differences else None
    for k in range(1, reach + 1):
        np.add(shifted[reach - k], shifted[reach + k], out=pair)
        if twice is not None:
            pair -= twice
        pair *= w[k]
        total += pair
    return total


def structure(
    u: Field,
    start: int,
    planes: int,
    lo: int,
    hi: int,
    axes: Sequence[int],
    spacing: Sequence[float],
    taps: Sequence[Field],
    w: Field,
    out: Field,
) -> None:
    r"""Compute the structure tensor on planes ``lo:hi``, where every face is open.

    .. math:: J = G * \sum_c w_c \nabla u_c \nabla u_c^T

    ``taps`` define the Gaussian G, see `smooth`. Differences are central, along ``axes`` only.
    ``out`` holds the entries in the order of `tensor.entries`. The domain has ``planes`` planes;
    plane 0 of ``u`` is plane ``start`` of the domain.
    """
    first, last = max(lo - len(taps[0]) + 1, 0), min(hi + len(taps[0]) - 1, planes)
    slopes = np.empty((len(axes), len(u), last - first, *u.shape[2:]), u.dtype)
    for slope, axis in zip(slopes, axes, strict=True):
        derivative(u, start, first, last, axis, 1, spacing[axis], None, slope)
    for entry, (i, j) in zip(out, entries(len(axes)), strict=True):
        product = np.tensordot(w, slopes[i] * slopes[j], 1)[None]
        smooth(product, lo - first, hi - first, taps, entry[None])


def reciprocals(
    middle: Field,
    difference: Field,
    lowest: Field,
    starts: NDArray[np.intp],
    offset: Field,
    out: Field,
) -> None:
    r"""Write the reciprocals of rows that are linear in pieces.

    .. math:: out = 1 / \max(m_k + d_k\,t_i,\ l_k)

    at position i of piece k. Positions ``starts[k]:starts[k + 1]`` belong to piece k.

    Parameters
    ----------
    middle, difference, lowest
        :math:`m_k`, :math:`d_k` and :math:`l_k` of each row, shape (rows, pieces).
    starts
        First position of each piece, and the number of positions.
    offset
        :math:`t_i` for each position.
    out
        The result, shape (rows, positions).
    """
    for k, (start, stop) in enumerate(itertools.pairwise(starts)):
        part, piece = out[:, start:stop], (slice(None), slice(k, k + 1))
        np.multiply(difference[piece], offset[start:stop], out=part)
        part += middle[piece]
        np.maximum(part, lowest[piece], out=part)
    np.divide(1, out, out=out)


def count_invalid(u: Field, start: int, stop: int, limit: float) -> int:
    """Count the values in ``u.ravel()[start:stop]`` that are NaN or beyond ``+-limit``."""
    values = u.reshape(-1)[start:stop]
    return int(values.size - np.count_nonzero(np.abs(values) <= limit))


def _mirror(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Index under the half-sample mirror: ... 1 0 | 0 1 2 ... n-1 | n-1 ..."""
    index = index % (2 * size)
    return np.where(index >= size, 2 * size - 1 - index, index)
