"""Compiled kernel of min/max curvature flow; see `reference.min_max`.

The same rules hold as in `numba.stages`. Means over the ball, gradients, means across them, and the
search for walls pass through rows and vectorise. Without a wall within reach, the way to a voxel
ends at its place, or at the border. Beside walls, a table holds the values at the ends of all ways.
"""

from __future__ import annotations

import numpy as np

from napari_diffusion.backends.numba.jit import helper, jit, row, uncontracted_row
from napari_diffusion.backends.reference.min_max import MIN_PROJECTION, SOFTNESS
from napari_diffusion.backends.reference.stages import MIN_GRADIENT

U = np.uint64
#: Orders of three axes; the first two include both orders of any two axes.
ORDERS = np.array([(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1)])


@helper
def _within(i, n):
    """The nearest of n places."""
    return min(max(i, 0), n - 1)


@row
def _add_moved(u, q, p, move, nx, sums):
    """Add the differences between a row, moved along itself, and another one."""
    far = U(abs(move))
    if move >= 0:
        kept = nx - min(far, nx)
        for i in range(kept):
            sums[i] += u[q + far + i] - u[p + i]
        for i in range(kept, nx):
            sums[i] += u[q + nx - U(1)] - u[p + i]
    else:
        lost = min(far, nx)
        for i in range(lost):
            sums[i] += u[q] - u[p + i]
        for i in range(nx - lost):
            sums[lost + i] += u[q + i] - u[p + lost + i]


@helper
def _sum_over_ball(u, base, size, z, y, ball, sums):
    """Sum over the ball, minus the value at the voxel, for a row without walls in its reach."""
    nx, plane = U(size[2]), size[1] * size[2]
    p = U(base + z * plane + y * size[2])
    for i in range(nx):
        sums[i] = u.dtype.type(0)
    for k in range(ball.shape[0]):
        q = (
            base
            + _within(z + ball[k, 0], size[0]) * plane
            + _within(y + ball[k, 1], size[1]) * size[2]
        )
        _add_moved(u, U(q), p, ball[k, 2], nx, sums)


@row
def _add_walls(faces, q, first, count, needed, walls, o):
    """Mark the voxels whose partner lacks an open face that is needed."""
    for i in range(count):
        walls[o + i] |= ~faces[q + first + i] & needed


@helper
def _find_walls(faces, size, z, y, reach, walls):
    """Mark the voxels of a row that have a wall within reach; the border is none."""
    nx, plane = size[2], size[1] * size[2]
    for i in range(nx):
        walls[i] = np.uint8(0)
    top, side = min(z + reach[0], size[0] - 1), min(y + reach[1], size[1] - 1)
    for nz in range(max(z - reach[0], 0), top + 1):
        for ny in range(max(y - reach[1], 0), side + 1):
            # Faces that lead out of the box do not matter.
            needed = np.uint8((nz < top) | ((ny < side) << 1))
            q = U(nz * plane + ny * nx)
            for move in range(-reach[2], reach[2] + 1):
                first, last = max(move, 0), min(nx + move, nx)
                if first < last:
                    o = U(first - move)
                    _add_walls(faces, q, U(first), U(last - first), needed, walls, o)
                # The last voxel of the row has no face to a next one.
                last = min(last, nx - 1)
                if first < last and move < reach[2]:
                    o = U(first - move)
                    _add_walls(faces, q, U(first), U(last - first), np.uint8(4), walls, o)


@helper
def _step(faces, stride, bit, sign, q, at):
    """Place of a voxel and its coordinate after a step along an axis through an open face."""
    if sign > 0:
        if faces[U(q)] & bit:
            return q + stride, at + 1
    elif at > 0 and faces[U(q - stride)] & bit:
        return q - stride, at - 1
    return q, at


@helper
def _fill_table(u, base, faces, size, place, reach, table):
    """Write values minus that at the voxel for all offsets; the mean over the orders of the axes.

    The value of an offset is that at the end of the way along the axes, see `reference.min_max`.
    """
    strides = (size[1] * size[2], size[2], 1)
    wide = ((2 * reach[1] + 1) * (2 * reach[2] + 1), 2 * reach[2] + 1, 1)
    middle = reach[0] * wide[0] + reach[1] * wide[1] + reach[2]
    p = place[0] * strides[0] + place[1] * strides[1] + place[2]
    centre = u[U(base + p)]
    count = (1, 1, 2, 6)[(reach[0] > 0) + (reach[1] > 0) + (reach[2] > 0)]
    table[:] = u.dtype.type(0)
    for k in range(count):
        a, b, c = ORDERS[k]
        a_bit, b_bit, c_bit = np.uint8(1 << a), np.uint8(1 << b), np.uint8(1 << c)
        for a_sign in (1, -1):
            a_q, a_at = p, place[a]
            for i in range(reach[a] + 1):
                if i:
                    a_q, a_at = _step(faces, strides[a], a_bit, a_sign, a_q, a_at)
                elif a_sign < 0:
                    continue
                for b_sign in (1, -1):
                    b_q, b_at = a_q, place[b]
                    for j in range(reach[b] + 1):
                        if j:
                            b_q, b_at = _step(faces, strides[b], b_bit, b_sign, b_q, b_at)
                        elif b_sign < 0:
                            continue
                        entry = middle + a_sign * i * wide[a] + b_sign * j * wide[b]
                        for c_sign in (1, -1):
                            c_q, c_at = b_q, place[c]
                            for m in range(reach[c] + 1):
                                if m:
                                    c_q, c_at = _step(faces, strides[c], c_bit, c_sign, c_q, c_at)
                                elif c_sign < 0:
                                    continue
                                table[entry + c_sign * m * wide[c]] += u[U(base + c_q)] - centre
    for i in range(len(table)):
        table[i] /= u.dtype.type(count)


@uncontracted_row
def _split(distance, reach):
    """Whole and fractional part of a distance in voxels; the next voxel is within reach."""
    bound = type(distance)(reach)
    d = min(max(distance, -bound), bound)
    low = np.int32(d)
    low -= np.int32(d < type(distance)(low))
    low = min(low, np.int32(max(reach - 1, 0)))
    return low, d - type(distance)(low)


@uncontracted_row
def _projection(axis, normal, reach):
    """Projection of an axis on the plane across the gradient, and its squared length."""
    zero, one, own = type(normal[0])(0), type(normal[0])(1), normal[axis]
    tz = ((one if axis == 0 else zero) - normal[0] * own) if reach[0] else zero
    ty = ((one if axis == 1 else zero) - normal[1] * own) if reach[1] else zero
    tx = ((one if axis == 2 else zero) - normal[2] * own) if reach[2] else zero
    return tz, ty, tx, tz * tz + (ty * ty + tx * tx)


@uncontracted_row
def _interpolated(u, z, far_z, y, far_y, x, far_x, rz, ry, rx):
    """Interpolated value; near and far places along each axis, and the shares of the far ones."""
    a = u[U(z + y + x)]
    a += rx * (u[U(z + y + far_x)] - a)
    b = u[U(z + far_y + x)]
    b += rx * (u[U(z + far_y + far_x)] - b)
    c = u[U(far_z + y + x)]
    c += rx * (u[U(far_z + y + far_x)] - c)
    d = u[U(far_z + far_y + x)]
    d += rx * (u[U(far_z + far_y + far_x)] - d)
    a += ry * (b - a)
    c += ry * (d - c)
    return a + rz * (c - a)


@row
def _is_needed(weight, weights, active):
    """Whether a projection counts: of two axes, the longer one alone, as both are parallel."""
    half, zero = type(weight)(0.5), type(weight)(0)
    return active != 2 or (weight >= half and weights <= zero)


@uncontracted_row
def _add_means(u, base, size, z, y, axis, active, reach, radius, inverse, normal, total, weights):
    """Add the means at both points along a projection, minus the values, for a row without walls.

    Every voxel reads others at places of its own.
    """
    nx, plane = np.int32(size[2]), size[1] * size[2]
    p = U(base + z * plane + y * size[2])
    next_z, next_y, next_x = reach[0] > 0, reach[1] > 0, reach[2] > 0
    for x in range(nx):
        n = normal[0, x], normal[1, x], normal[2, x]
        tz, ty, tx, weight = _projection(axis, n, reach)
        is_needed = _is_needed(weight, weights[x], active)
        scale = radius / np.sqrt(max(weight, type(weight)(MIN_PROJECTION)))
        value = type(weight)(0)
        for sign in range(2):
            way = scale if sign == 0 else -scale
            dz, rz = _split(way * tz * inverse[0], reach[0])
            dy, ry = _split(way * ty * inverse[1], reach[1])
            dx, rx = _split(way * tx * inverse[2], reach[2])
            value += _interpolated(
                u,
                base + _within(z + dz, size[0]) * plane,
                base + _within(z + dz + next_z, size[0]) * plane,
                _within(y + dy, size[1]) * size[2],
                _within(y + dy + next_y, size[1]) * size[2],
                _within(np.int32(x) + dx, nx),
                _within(np.int32(x) + dx + np.int32(next_x), nx),
                rz, ry, rx,
            ) - u[p + x]  # fmt: skip
        total[x] += weight * value if is_needed else type(weight)(0)
        weights[x] += weight if is_needed else type(weight)(0)


@helper
def _mean_beside_walls(table, reach, active, radius, inverse, normal):
    """Mean across the gradient, minus the value at the voxel, from the table of a voxel."""
    t = table.dtype.type
    total, weights = t(0), t(0)
    y_wide = 2 * reach[2] + 1
    z_wide = y_wide * (2 * reach[1] + 1)
    for axis in range(3):
        if reach[axis] == 0:
            continue
        tz, ty, tx, weight = _projection(axis, normal, reach)
        if not _is_needed(weight, weights, active):
            continue
        scale = radius / np.sqrt(max(weight, t(MIN_PROJECTION)))
        weights += weight
        for sign in range(2):
            way = scale if sign == 0 else -scale
            z, rz = _split(way * tz * inverse[0], reach[0])
            y, ry = _split(way * ty * inverse[1], reach[1])
            x, rx = _split(way * tx * inverse[2], reach[2])
            total += weight * _interpolated(
                table,
                (z + reach[0]) * z_wide,
                (z + (reach[0] > 0) + reach[0]) * z_wide,
                (y + reach[1]) * y_wide,
                (y + (reach[1] > 0) + reach[1]) * y_wide,
                x + reach[2],
                x + (reach[2] > 0) + reach[2],
                rz, ry, rx,
            )  # fmt: skip
    return t(0.5) * total / max(weights, t(MIN_PROJECTION))


@row
def _differences(u, q, p, faces, f, bit, count, differences, o):
    """Differences between two rows of voxels, 0 where the face between them is not open."""
    zero = u.dtype.type(0)
    for i in range(count):
        rise = u[q + i] - u[p + i]
        is_open = faces is None or faces[f + i] & bit
        differences[o + i] = rise if is_open else zero


@uncontracted_row
def _add_slopes(up, down, o, inverse, nx, normal, length, squares):
    """Write central differences, and add their squares and those of one-sided differences."""
    half = up.dtype.type(0.5)
    for i in range(nx):
        rise, fall = up[o + i] * inverse, down[i] * inverse
        centre = half * (rise + fall)
        normal[i] = centre
        length[i] += centre * centre
        squares[i] += half * (rise * rise + fall * fall)


@helper
def _slopes(u, base, faces, size, z, y, reach, inverse, normal, length, squares, up, down):
    """Write gradients, their squares, and the squares of one-sided slopes, for a row."""
    zero, nx, plane = u.dtype.type(0), U(size[2]), size[1] * size[2]
    length[:], squares[:] = zero, zero
    f = z * plane + y * size[2]
    p, places = base + f, (z, y)
    for axis in range(2):
        normal[axis] = zero
        if reach[axis] == 0:
            continue
        stride, bit = (plane, size[2])[axis], np.uint8(1 << axis)
        up[:], down[:] = zero, zero
        if places[axis] + 1 < size[axis]:
            _differences(u, U(p + stride), U(p), faces, U(f), bit, nx, up, U(0))
        if places[axis] > 0:
            _differences(u, U(p), U(p - stride), faces, U(f - stride), bit, nx, down, U(0))
        _add_slopes(up, down, U(0), inverse[axis], nx, normal[axis], length, squares)
    normal[2] = zero
    if reach[2]:
        up[0] = up[size[2]] = zero
        _differences(u, U(p + 1), U(p), faces, U(f), np.uint8(4), nx - U(1), up, U(1))
        _add_slopes(up, up, U(1), inverse[2], nx, normal[2], length, squares)


@uncontracted_row
def _normalise(normal, length, squares, nx):
    """Make gradients unit vectors, and roots of the squares."""
    least = normal.dtype.type(MIN_GRADIENT)
    for i in range(nx):
        z, y, x = normal[0, i], normal[1, i], normal[2, i]
        length[i], squares[i] = np.sqrt(length[i]), max(np.sqrt(squares[i]), least)
        # Squares may underflow.
        longest = max(max(length[i], least), max(abs(z), max(abs(y), abs(x))))
        normal[0, i], normal[1, i], normal[2, i] = z / longest, y / longest, x / longest


@jit
def min_max(u, out, previous, shape, lo, hi, momentum, ball, reach, radius, inverse, faces):
    """Keep changes of one sign on planes lo:hi of flat fields; see `reference.min_max`."""
    t = u.dtype.type
    zero, half, one = t(0), t(0.5), t(1)
    size, plane = (shape[1], shape[2], shape[3]), shape[2] * shape[3]
    nx = size[2]
    y_wide = 2 * reach[2] + 1
    z_wide = y_wide * (2 * reach[1] + 1)
    active = (reach[0] > 0) + (reach[1] > 0) + (reach[2] > 0)
    entries = np.zeros(ball.shape[0], np.int64)
    for k in range(ball.shape[0]):
        entries[k] = (ball[k, 0] + reach[0]) * z_wide + (ball[k, 1] + reach[1]) * y_wide
        entries[k] += ball[k, 2] + reach[2]
    table = np.zeros(z_wide * (2 * reach[0] + 1), u.dtype)
    sums, walls, normal = np.zeros(nx, u.dtype), np.zeros(nx, np.uint8), np.zeros((3, nx), u.dtype)
    length, slopes = np.zeros(nx, u.dtype), np.zeros(nx, u.dtype)
    up, down = np.zeros(nx + 1, u.dtype), np.zeros(nx + 1, u.dtype)
    total, weights = np.zeros(nx, u.dtype), np.zeros(nx, u.dtype)
    count, width = t(ball.shape[0]), t(2 * SOFTNESS) * radius
    for c in range(shape[0]):
        base = c * size[0] * plane
        for z in range(lo, hi):
            for y in range(size[1]):
                _sum_over_ball(u, base, size, z, y, ball, sums)
                if faces is not None:
                    _find_walls(faces, size, z, y, reach, walls)
                _slopes(
                    u, base, faces, size, z, y, reach, inverse, normal, length, slopes, up, down
                )
                _normalise(normal, length, slopes, nx)
                total[:], weights[:] = zero, zero
                for axis in range(3):
                    if reach[axis]:
                        _add_means(
                            u, base, size, z, y, axis, active, reach, radius, inverse, normal,
                            total, weights,
                        )  # fmt: skip
                for x in range(nx):
                    at = base + z * plane + y * nx + x
                    centre = u[U(at)]
                    change = out[U(at)] - centre
                    if change != 0:
                        across = half * total[x] / max(weights[x], t(MIN_PROJECTION))
                        mean = sums[x]
                        if faces is not None and walls[x]:
                            _fill_table(u, base, faces, size, (z, y, x), reach, table)
                            mean = zero
                            for k in range(ball.shape[0]):
                                mean += table[entries[k]]
                            n = normal[0, x], normal[1, x], normal[2, x]
                            across = _mean_beside_walls(table, reach, active, radius, inverse, n)
                        edge = length[x] / slopes[x]
                        edge = min(t(2) * (edge * edge), one)
                        wide = max(width * slopes[x], t(MIN_GRADIENT))
                        upward = min(max((across - mean / count) / wide + half, zero), one)
                        change *= one - edge * (one - upward if change > 0 else upward)
                    if momentum != 0:
                        q = U((c * (hi - lo) + z - lo) * plane + y * nx + x)
                        change += momentum * (centre - previous[q])
                    out[U(at)] = centre + change
