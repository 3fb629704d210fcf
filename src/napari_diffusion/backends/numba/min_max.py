"""Compiled kernel of min/max curvature flow; see `reference.min_max`.

The same rules hold as in `numba.stages`, but the loops do not vectorise: every voxel reads others
at places of its own.
"""

from __future__ import annotations

import math

import numpy as np

from napari_diffusion.backends.numba.jit import helper, jit
from napari_diffusion.backends.reference.min_max import MIN_PROJECTION, SOFTNESS
from napari_diffusion.backends.reference.stages import MIN_GRADIENT

U = np.uint64
#: Orders of three axes; the first two include both orders of any two axes.
ORDERS = np.array([(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1)])


@helper
def _walk(u, base, faces, size, place, offset, order):
    """Value at an offset, reached by steps through open faces along the axes in this order."""
    z, y, x = place
    for step in range(3):
        axis = order[step]
        count, bit = offset[axis], np.uint8(1 << axis)
        dz, dy, dx = axis == 0, axis == 1, axis == 2
        for _ in range(abs(count)):
            if count > 0:
                if not faces[U((z * size[1] + y) * size[2] + x)] & bit:
                    break
                z, y, x = z + dz, y + dy, x + dx
            else:
                if (z if dz else (y if dy else x)) == 0:
                    break
                if not faces[U(((z - dz) * size[1] + y - dy) * size[2] + x - dx)] & bit:
                    break
                z, y, x = z - dz, y - dy, x - dx
    return u[U(base + (z * size[1] + y) * size[2] + x)]


@helper
def _value(u, base, faces, size, place, offset):
    """Value at an offset, minus that at the voxel; mean over the orders of the axes."""
    centre = u[U(base + (place[0] * size[1] + place[1]) * size[2] + place[2])]
    if faces is None:
        z = min(max(place[0] + offset[0], 0), size[0] - 1)
        y = min(max(place[1] + offset[1], 0), size[1] - 1)
        x = min(max(place[2] + offset[2], 0), size[2] - 1)
        return u[U(base + (z * size[1] + y) * size[2] + x)] - centre
    ways = (offset[0] != 0) + (offset[1] != 0) + (offset[2] != 0)
    count = (1, 1, 2, 6)[ways]
    total = u.dtype.type(0)
    for k in range(count):
        total += _walk(u, base, faces, size, place, offset, ORDERS[k]) - centre
    return total / u.dtype.type(count)


@helper
def _is_free(faces, size, place, reach):
    """Whether no border or wall is within reach of a voxel."""
    for axis in range(3):
        if place[axis] < reach[axis] or place[axis] + reach[axis] >= size[axis]:
            return False
    if faces is None:
        return True
    for z in range(place[0] - reach[0], place[0] + reach[0] + 1):
        for y in range(place[1] - reach[1], place[1] + reach[1] + 1):
            # Faces that lead out of the box do not matter.
            row = np.uint8((z < place[0] + reach[0]) | ((y < place[1] + reach[1]) << 1))
            start = U((z * size[1] + y) * size[2] + place[2] - reach[2])
            for k in range(2 * reach[2] + 1):
                needed = row | np.uint8((k < 2 * reach[2]) << 2)
                if faces[start + U(k)] & needed != needed:
                    return False
    return True


@helper
def _across(u, base, faces, size, place, reach, is_free, radius, inverse, normal):
    """Mean across the gradient, minus the value at the voxel."""
    t = u.dtype.type
    zero, one = t(0), t(1)
    total, weights = zero, zero
    # A stride of zero keeps the corners of an interpolation along an axis of one voxel inside.
    sz = size[1] * size[2] if reach[0] else 0
    sy, sx = size[2] if reach[1] else 0, 1 if reach[2] else 0
    centre = base + (place[0] * size[1] + place[1]) * size[2] + place[2]
    for i in range(3):
        if reach[i] == 0:
            continue
        own = normal[i]
        tz = ((one if i == 0 else zero) - normal[0] * own) if reach[0] else zero
        ty = ((one if i == 1 else zero) - normal[1] * own) if reach[1] else zero
        tx = ((one if i == 2 else zero) - normal[2] * own) if reach[2] else zero
        weight = tz * tz + (ty * ty + tx * tx)
        scale = radius / np.sqrt(max(weight, t(MIN_PROJECTION)))
        weights += weight
        for sign in range(2):
            way = scale if sign == 0 else -scale
            z, rz = _split(way * tz * inverse[0], reach[0])
            y, ry = _split(way * ty * inverse[1], reach[1])
            x, rx = _split(way * tx * inverse[2], reach[2])
            value = zero
            if is_free:
                p = U(centre + z * sz + y * sy + x * sx)
                q = p + U(sz)
                near = _mixed(u, p, U(sy), U(sx), ry, rx)
                value = near + rz * (_mixed(u, q, U(sy), U(sx), ry, rx) - near) - u[U(centre)]
            else:
                for corner in range(8):
                    far_z, far_y, far_x = corner & 1, (corner >> 1) & 1, corner >> 2
                    share = (rz if far_z else one - rz) * (ry if far_y else one - ry)
                    share *= rx if far_x else one - rx
                    if share > 0:
                        offset = z + far_z, y + far_y, x + far_x
                        value += share * _value(u, base, faces, size, place, offset)
            total += weight * value
    return t(0.5) * total / max(weights, t(MIN_PROJECTION))


@helper
def _split(distance, reach):
    """Whole and fractional part of a distance in voxels; the next voxel is within reach."""
    bound = type(distance)(reach)
    d = min(max(distance, -bound), bound)
    low = min(math.floor(d), max(reach - 1, 0))
    return low, d - type(distance)(low)


@helper
def _mixed(u, p, sy, sx, ry, rx):
    """Interpolated value within a plane."""
    a, b = u[p], u[p + sx]
    c, d = u[p + sy], u[p + sy + sx]
    a, c = a + rx * (b - a), c + rx * (d - c)
    return a + ry * (c - a)


@jit
def min_max(u, out, previous, shape, lo, hi, momentum, ball, reach, radius, inverse, faces):
    """Keep changes of one sign on planes lo:hi of flat fields; see `reference.min_max`."""
    t = u.dtype.type
    zero, half, one = t(0), t(0.5), t(1)
    size, plane = (shape[1], shape[2], shape[3]), shape[2] * shape[3]
    move = np.zeros(ball.shape[0], np.int64)
    for k in range(ball.shape[0]):
        move[k] = ball[k, 0] * plane + ball[k, 1] * size[2] + ball[k, 2]
    normal, count, width = np.zeros(3, u.dtype), t(ball.shape[0]), t(2 * SOFTNESS) * radius
    for c in range(shape[0]):
        base = c * size[0] * plane
        for z in range(lo, hi):
            for y in range(size[1]):
                for x in range(size[2]):
                    at = base + z * plane + y * size[2] + x
                    centre = u[U(at)]
                    change = out[U(at)] - centre
                    if change != 0:
                        place = (z, y, x)
                        is_free = _is_free(faces, size, place, reach)
                        squares, length = zero, zero
                        for axis in range(3):
                            normal[axis] = zero
                            if reach[axis] == 0:
                                continue
                            offset = (int(axis == 0), int(axis == 1), int(axis == 2))
                            up = _value(u, base, faces, size, place, offset)
                            offset = (-int(axis == 0), -int(axis == 1), -int(axis == 2))
                            down = -_value(u, base, faces, size, place, offset)
                            up, down = up * inverse[axis], down * inverse[axis]
                            normal[axis] = half * (up + down)
                            length += normal[axis] * normal[axis]
                            squares += half * (up * up + down * down)
                        length, slope = np.sqrt(length), max(np.sqrt(squares), t(MIN_GRADIENT))
                        for axis in range(3):
                            normal[axis] /= max(length, t(MIN_GRADIENT))
                        mean = zero
                        for k in range(ball.shape[0]):
                            if is_free:
                                mean += u[U(at + move[k])] - centre
                            else:
                                offset = (ball[k, 0], ball[k, 1], ball[k, 2])
                                mean += _value(u, base, faces, size, place, offset)
                        across = _across(
                            u, base, faces, size, place, reach, is_free, radius, inverse, normal
                        )
                        edge = length / slope
                        edge = min(t(2) * (edge * edge), one)
                        wide = max(width * slope, t(MIN_GRADIENT))
                        upward = min(max((across - mean / count) / wide + half, zero), one)
                        change *= one - edge * (one - upward if change > 0 else upward)
                    if momentum != 0:
                        q = U((c * (hi - lo) + z - lo) * plane + y * size[2] + x)
                        change += momentum * (centre - previous[q])
                    out[U(at)] = centre + change
