"""Diffusion of fourth order: squared second derivatives, and one stage of a scheme."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from napari_diffusion.backends.reference.face_sums import over_channels, part_along
from napari_diffusion.core.arrays import Field, OpenFaces

#: Near, middle and far part along an axis, for second differences.
_THREE = slice(None, -2), slice(1, -1), slice(2, None)
_TWO = slice(None, -1), slice(1, None)


def curvature2(
    u: Field,
    start: int,
    lo: int,
    hi: int,
    b: Field,
    w: Field,
    faces: OpenFaces | None,
    out: Field,
) -> None:
    r"""Write the squared second derivatives at the voxels of planes ``lo:hi``.

    .. math:: \sum_c w_c \Bigl(\sum_i (b_i\,\delta_{ii} u_c)^2
       + \tfrac12 \sum_{i<j} b_i b_j \sum_{cells} (\delta_{ij} u_c)^2\Bigr)

    with the second differences :math:`\delta_{ii}` at the voxel, and those of the four cells of
    voxels around it, :math:`\delta_{ij} u = u(x) - u(x + e_i) - u(x + e_j) + u(x + e_i + e_j)`.
    Differences through the border or a closed face are 0. :math:`b_i = 1/(h_i^2 \kappa)`. Plane 0
    of ``u`` is plane ``start``.
    """
    open_part = None if faces is None else faces[start : start + u.shape[1]]
    total = np.zeros(u.shape[1:], u.dtype)
    with np.errstate(over="ignore"):
        for axis, middle, second in _seconds(u, open_part):
            total[middle] += over_channels(w, np.square(second * b[axis]))
        for i, j, corners, mixed in _mixed(u, open_part):
            square = over_channels(w, np.square(mixed * np.sqrt(b[i]) * np.sqrt(b[j]))) / 2
            for corner in corners:
                total[corner] += square
    out[...] = total[lo - start : hi - start]


def fourth_order_step(
    u: Field,
    out: Field,
    lo: int,
    hi: int,
    factors: Field,
    momentum: float,
    g: Field,
    start: int,
    faces: OpenFaces | None,
) -> None:
    r"""Compute one stage of fourth order on planes ``lo:hi``.

    .. math:: out = u + m\,(u - out) - \sum_i a_{ii}\,\delta_{ii}(g\,\delta_{ii} u)
       - 2 \sum_{i<j} a_{ij}\,\delta_{ij}^T (\bar g\,\delta_{ij} u)

    with the second differences of `curvature2`, and the mean :math:`\bar g` of the four voxels of a
    cell.

    Parameters
    ----------
    u, out, lo, hi, momentum, faces
        As in `stages.step`.
    factors
        :math:`a_{ij} = \tau\,\ell^2 / (h_i^2 h_j^2)`; 0 along axes of one voxel.
    g
        Diffusivities at the voxels, from plane ``start`` on, also of the planes beside ``lo:hi``.
    start
        First plane of ``g``.
    """
    first, last = max(lo - 2, 0), min(hi + 2, u.shape[1])
    part, open_part = u[:, first:last], None if faces is None else faces[first:last]
    values = np.zeros(part.shape[1:], u.dtype)
    begin, end = max(first, start), min(last, start + len(g))
    values[begin - first : end - first] = g[begin - start : end - start]
    change = np.zeros_like(part)
    for axis, middle, second in _seconds(part, open_part):
        second *= values[middle] * factors[axis, axis]
        near, _, far = (part_along(axis, change.ndim - 1, cut) for cut in _THREE)
        change[(slice(None), *near)] -= second
        change[(slice(None), *far)] -= second
        change[(slice(None), *middle)] += 2 * second
    for i, j, corners, mixed in _mixed(part, open_part):
        mean = sum((values[corner] for corner in corners[1:]), values[corners[0]])
        mixed *= mean * (factors[i, j] / 2)
        for corner, add in zip(corners, (-1, 1, 1, -1), strict=True):
            change[(slice(None), *corner)] += add * mixed
    result, inner = out[:, lo:hi], slice(lo - first, hi - first)
    if momentum:
        change[:, inner] += u.dtype.type(momentum) * (u[:, lo:hi] - result)
    np.add(u[:, lo:hi], change[:, inner], out=result)


def _seconds(u: Field, faces: OpenFaces | None) -> Iterator[tuple[int, tuple[slice, ...], Field]]:
    """Yield axis, place and second differences along each axis of three or more voxels."""
    ndim = u.ndim - 1
    for axis in range(ndim):
        if u.shape[axis + 1] < 3:
            continue
        near, middle, far = (part_along(axis, ndim, cut) for cut in _THREE)
        centre = u[(slice(None), *middle)]
        second = (u[(slice(None), *far)] - centre) - (centre - u[(slice(None), *near)])
        if faces is not None:
            is_open = faces[near] & faces[middle] & (1 << axis)
            second = np.where(is_open, second, u.dtype.type(0))
        yield axis, middle, second


def _mixed(
    u: Field, faces: OpenFaces | None
) -> Iterator[tuple[int, int, list[tuple[slice, ...]], Field]]:
    """Yield two axes, the places of the four corners of a cell, and the mixed differences."""
    ndim = u.ndim - 1
    for i, j in itertools.combinations(range(ndim), 2):
        if u.shape[i + 1] < 2 or u.shape[j + 1] < 2:
            continue
        corners = []
        for at_i, at_j in itertools.product(_TWO, _TWO):
            place = [slice(None)] * ndim
            place[i], place[j] = at_i, at_j
            corners.append(tuple(place))
        a, b, c, d = (u[(slice(None), *corner)] for corner in corners)
        mixed = (d - c) - (b - a)
        if faces is not None:
            near, beside_j, beside_i, _ = corners
            both = faces[near] & (faces[beside_j] | ~np.uint8(1 << i))
            both &= faces[beside_i] | ~np.uint8(1 << j)
            is_open = both & ((1 << i) | (1 << j)) == (1 << i) | (1 << j)
            mixed = np.where(is_open, mixed, u.dtype.type(0))
        yield i, j, corners, mixed
