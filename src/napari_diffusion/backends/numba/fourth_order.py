"""Compiled kernels of fourth order; see `reference.fourth_order`.

The rules of `numba.stages` hold. The contributions of each difference are added to the sums of a
block of rows, which stay in the cache: second differences at voxels, and mixed ones in cells of
four voxels. Loops pass through all voxels of a block at once, since the remainders of short loops
are not vectorised. Differences between the end of a row and the next one are then set to zero.
"""

from __future__ import annotations

import numpy as np

from napari_diffusion.backends.numba.jit import helper, jit, row

U = np.uint64
#: Voxels of the rows that are summed at once; their sums stay in the cache.
BLOCK_VOXELS = 2048


@row
def _bend(u, p, s, faces, f, bit, i):
    """Second difference along an axis with the stride ``s``; 0 through a wall."""
    centre = u[p + i]
    second = (u[p + s + i] - centre) - (centre - u[p - s + i])
    if faces is not None:
        second = second if faces[f + i] & faces[f - s + i] & bit else u.dtype.type(0)
    return second


@row
def _turn(u, p, s, t, faces, f, bit, other_bit, i):
    """Mixed difference in the cell from a voxel to those one stride farther; 0 through a wall."""
    mixed = (u[p + s + t + i] - u[p + s + i]) - (u[p + t + i] - u[p + i])
    if faces is not None:
        along = faces[f + i] & faces[f + t + i] & bit
        across = faces[f + i] & faces[f + s + i] & other_bit
        mixed = mixed if along and across else u.dtype.type(0)
    return mixed


@row
def _add_bends(u, p, s, g, q, c, faces, f, bit, total, o, n):
    """Add c g times the second differences."""
    for i in range(n):
        total[o + i] += c * (g[q + i] * _bend(u, p, s, faces, f, bit, i))


@row
def _add_turns(u, p, s, t, g, q, c, faces, f, bit, other_bit, total, o, n):
    """Add c times the mixed differences, each with the sum of its four g."""
    for i in range(n):
        mixed = _turn(u, p, s, t, faces, f, bit, other_bit, i)
        sum4 = (g[q + i] + g[q + t + i]) + (g[q + s + i] + g[q + s + t + i])
        total[o + i] += c * (mixed * sum4)


@row
def _add_bend_squares(u, p, s, b, w, faces, f, bit, total, o, n):
    """Add w times the squares of the second differences, in units of 1/b."""
    for i in range(n):
        second = b * _bend(u, p, s, faces, f, bit, i)
        total[o + i] += w * (second * second)


@row
def _add_x_bend_squares(u, p, b, w, faces, f, bit, total, nx, n):
    """As `_add_bend_squares` along the rows, whose first and last voxels have no difference."""
    one = U(1)
    for r in range(U(0), n, nx):
        for i in range(one, nx - one):
            second = b * _bend(u, p, one, faces, f, bit, r + i)
            total[r + i] += w * (second * second)


@row
def _add_turn_squares(u, p, s, t, r, v, w, faces, f, bit, other_bit, total, o, n):
    """Add w times the squares of the mixed differences, in units of 1/(r v)."""
    for i in range(n):
        mixed = _turn(u, p, s, t, faces, f, bit, other_bit, i) * r * v
        total[o + i] += w * (mixed * mixed)


@row
def _fill(values, n):
    """Set the first values to zero."""
    zero = values.dtype.type(0)
    for i in range(n):
        values[i] = zero


@row
def _close_rows(values, first, nx, n):
    """Set every ``nx``-th value to zero, from ``first`` on: differences between two rows."""
    for i in range(first, n, nx):
        values[i] = values.dtype.type(0)


@helper
def _limited(first, last, lowest, end):
    """Part of a range of rows from ``lowest`` on, before ``end``."""
    return max(first, lowest), min(last, end)


@row
def _write_sums(total, cells, out, o, n):
    """Write sums at voxels and in the two cells along the row beside each."""
    one = U(1)
    for i in range(n):
        out[o + i] = total[i] + (cells[i] + cells[i + one])


@row
def _write_stage(u, p, total, bends, cells, momentum, out, n):
    """Write u + m (u - out) plus the change.

    ``bends`` has one zero before and after the voxels. ``cells`` has the cell before each voxel.
    """
    one, two_on, two = U(1), U(2), u.dtype.type(2)
    for i in range(n):
        along = (bends[i] + bends[i + two_on]) - two * bends[i + one]
        change = total[i] + (along + (cells[i] - cells[i + one]))
        centre, old = u[p + i], out[p + i]
        old = old if momentum != 0 else centre  # without momentum, ``out`` may be uninitialised
        out[p + i] = centre + (momentum * (centre - old) + change)


@jit
def curvature2(u, shape, start, lo, hi, b, w, faces, out):
    """Squared second derivatives on planes lo:hi; see `reference.fourth_order.curvature2`."""
    channels, planes, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    start, lo, hi = U(start), U(lo), U(hi)
    zero, one, plane, end = U(0), U(1), ny * nx, start + planes
    bz, by, bx = np.uint8(1), np.uint8(2), np.uint8(4)
    roots, half = np.sqrt(b), u.dtype.type(0.5)
    rows = max(one, U(BLOCK_VOXELS) // nx)
    total, cells = np.empty(rows * nx, u.dtype), np.empty(rows * nx + one, u.dtype)
    for z in range(lo, hi):
        for y in range(zero, ny, rows):
            stop = min(y + rows, ny)
            n = (stop - y) * nx
            _fill(total, n)
            _fill(cells, n + one)
            f = z * plane + y * nx
            for c in range(channels):
                p = (c * planes + z - start) * plane + y * nx
                v = half * w[c]
                if z > start and z + one < end:
                    _add_bend_squares(u, p, plane, b[0], w[c], faces, f, bz, total, zero, n)
                first, last = _limited(y, stop, one, ny - one)
                if first < last:
                    o = (first - y) * nx
                    m = (last - first) * nx
                    _add_bend_squares(u, p + o, nx, b[1], w[c], faces, f + o, by, total, o, m)
                if nx > U(2):
                    _add_x_bend_squares(u, p, b[2], w[c], faces, f, bx, total, nx, n)
                for j in range(zero, U(2)):  # the cells before a voxel, and those after it
                    first, last = _limited(y, stop, one - j, ny - j)
                    o, e = (first - y) * nx, nx - j * nx
                    m = (last - first) * nx
                    if first < last:
                        _add_turn_squares(
                            u, p + o - e, nx, one, roots[1], roots[2], v,
                            faces, f + o - e, by, bx, cells, o + one, m - one,
                        )  # fmt: skip
                    if z + j > start and z + j < end:
                        d = plane - j * plane
                        _add_turn_squares(
                            u, p - d, plane, one, roots[0], roots[2], v,
                            faces, f - d, bz, bx, cells, one, n - one,
                        )  # fmt: skip
                    for k in range(zero, U(2)):
                        if first < last and z + k > start and z + k < end:
                            d = plane - k * plane + e
                            _add_turn_squares(
                                u, p + o - d, plane, nx, roots[0], roots[1], v,
                                faces, f + o - d, bz, by, total, o, m,
                            )  # fmt: skip
            _close_rows(cells, zero, nx, n + one)
            _write_sums(total, cells, out, (z - lo) * plane + y * nx, n)


@jit
def fourth_order_step(u, out, shape, lo, hi, factors, momentum, g, start, faces):
    """One stage on planes lo:hi of flat fields; see `reference.fourth_order`."""
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    lo, hi, start = U(lo), U(hi), U(start)
    zero, one, two, plane = U(0), U(1), U(2), ny * nx
    bz, by, bx = np.uint8(1), np.uint8(2), np.uint8(4)
    t = u.dtype.type
    zz, yy, xx = factors[0, 0], factors[1, 1], factors[2, 2]
    zy, zx, yx = t(0.5) * factors[0, 1], t(0.5) * factors[0, 2], t(0.5) * factors[1, 2]
    rows = max(one, U(BLOCK_VOXELS) // nx)
    total, cells = np.empty(rows * nx, u.dtype), np.empty(rows * nx + one, u.dtype)
    bends = np.empty(rows * nx + two, u.dtype)
    for c in range(channels):
        for z in range(lo, hi):
            for y in range(zero, ny, rows):
                stop = min(y + rows, ny)
                n = (stop - y) * nx
                f = z * plane + y * nx
                p, q = c * nz * plane + f, f - start * plane
                _fill(total, n)
                _fill(cells, n + one)
                _fill(bends, n + two)
                for k in range(zero, U(3)):  # the voxel before, itself, and the one after
                    a = t(2) if k == one else -t(1)
                    if z + k > one and z + k < nz:
                        d = plane - k * plane
                        _add_bends(
                            u, p - d, plane, g, q - d, a * zz, faces, f - d, bz, total, zero, n
                        )
                    first, last = _limited(y, stop, two - k, ny - k)
                    if ny > two and first < last:
                        o = (first - y) * nx
                        d, m = o + k * nx - nx, (last - first) * nx
                        _add_bends(u, p + d, nx, g, q + d, a * yy, faces, f + d, by, total, o, m)
                if nx > two:
                    _add_bends(
                        u, p + one, one, g, q + one, -xx, faces, f + one, bx, bends, two, n - two
                    )
                    _close_rows(bends, one, nx, n + one)
                    _close_rows(bends, nx, nx, n + one)
                for j in range(zero, two):  # the cells before a voxel, and those after it
                    first, last = _limited(y, stop, one - j, ny - j)
                    o, e = (first - y) * nx, nx - j * nx
                    m = (last - first) * nx
                    if first < last:
                        d = o - e
                        _add_turns(
                            u, p + d, nx, one, g, q + d, yx if j else -yx,
                            faces, f + d, by, bx, cells, o + one, m - one,
                        )  # fmt: skip
                    if z + j > zero and z + j < nz:
                        d = plane - j * plane
                        _add_turns(
                            u, p - d, plane, one, g, q - d, zx if j else -zx,
                            faces, f - d, bz, bx, cells, one, n - one,
                        )  # fmt: skip
                    for k in range(zero, two):
                        if first < last and z + k > zero and z + k < nz:
                            d = plane - k * plane + e - o
                            _add_turns(
                                u, p - d, plane, nx, g, q - d, -zy if j == k else zy,
                                faces, f - d, bz, by, total, o, m,
                            )  # fmt: skip
                _close_rows(cells, zero, nx, n + one)
                _write_stage(u, p, total, bends, cells, momentum, out, n)
