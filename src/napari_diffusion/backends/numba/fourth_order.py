"""Compiled kernels of fourth order; see `reference.fourth_order`.

The rules of `numba.stages` hold. Rows away from border and walls vectorise; other voxels are
computed one by one.
"""

from __future__ import annotations

import numpy as np

from napari_diffusion.backends.numba.jit import helper, jit, row

U = np.uint64


@helper
def _passes(faces, size, stride, place, shift, axis):
    """Whether the face between a voxel and the next one along an axis exists and is open.

    The voxel is at ``place``, moved by ``shift``.
    """
    at = place[axis] + shift[axis]
    if at < 0 or at + 1 >= size[axis]:
        return False
    if faces is None:
        return True
    index = 0
    for i in range(3):
        index += (place[i] + shift[i]) * stride[i]
    return bool(faces[U(index)] & np.uint8(1 << axis))


@helper
def _second(u, p, stride, faces, size, strides, place, shift, axis):
    """Second difference along an axis; 0 through the border or a wall."""
    if not _passes(faces, size, strides, place, shift, axis):
        return u.dtype.type(0)
    shift[axis] -= 1
    is_open = _passes(faces, size, strides, place, shift, axis)
    shift[axis] += 1
    if not is_open:
        return u.dtype.type(0)
    centre = u[U(p)]
    return (u[U(p + stride)] - centre) - (centre - u[U(p - stride)])


@helper
def _mixed(u, p, s, t, faces, size, strides, place, shift, i, j):
    """Mixed difference in the cell of a voxel and the next ones; 0 beyond the border or walls."""
    is_open = _passes(faces, size, strides, place, shift, i)
    is_open = is_open and _passes(faces, size, strides, place, shift, j)
    if not is_open:
        return u.dtype.type(0)
    shift[j] += 1
    is_open = _passes(faces, size, strides, place, shift, i)
    shift[j] -= 1
    shift[i] += 1
    is_open = is_open and _passes(faces, size, strides, place, shift, j)
    shift[i] -= 1
    if not is_open:
        return u.dtype.type(0)
    return (u[U(p + s + t)] - u[U(p + s)]) - (u[U(p + t)] - u[U(p)])


@helper
def _squares(u, p, b, roots, faces, size, strides, steps, place, shift):
    """Squared second derivatives of one channel at one voxel."""
    total, half = u.dtype.type(0), u.dtype.type(0.5)
    for i in range(3):
        if b[i] == 0:
            continue
        second = b[i] * _second(u, p, steps[i], faces, size, strides, place, shift, i)
        total += second * second
        for j in range(i + 1, 3):
            if b[j] == 0:
                continue
            for corner in range(4):
                at_i, at_j = corner & 1, corner >> 1
                shift[i], shift[j] = -at_i, -at_j
                q = p - at_i * steps[i] - at_j * steps[j]
                mixed = _mixed(u, q, steps[i], steps[j], faces, size, strides, place, shift, i, j)
                shift[i], shift[j] = 0, 0
                mixed = mixed * roots[i] * roots[j]
                total += half * (mixed * mixed)
    return total


@row
def _cells(u, p, s, t, i):
    """Squares of the mixed differences in the four cells around a voxel; U arithmetic."""
    a, b, c = u[p - s - t + i], u[p - s + i], u[p - s + t + i]
    d, e, f = u[p - t + i], u[p + i], u[p + t + i]
    g, h, k = u[p + s - t + i], u[p + s + i], u[p + s + t + i]
    m0, m1 = (e - d) - (b - a), (f - e) - (c - b)
    m2, m3 = (h - g) - (e - d), (k - h) - (f - e)
    return (m0 * m0 + m1 * m1) + (m2 * m2 + m3 * m3)


@row
def _bend(u, p, s, i):
    """Second difference."""
    centre = u[p + i]
    return (u[p + s + i] - centre) - (centre - u[p - s + i])


@row
def _squares_row(u, p, sz, sy, sx, bz, by, bx, rz, ry, rx, weight, add, out, o, n):
    """Squared second derivatives where no border or wall is near; ``r`` are the roots of ``b``."""
    half = u.dtype.type(0.5)
    for i in range(n):
        z, y, x = bz * _bend(u, p, sz, i), by * _bend(u, p, sy, i), bx * _bend(u, p, sx, i)
        total = z * z + (y * y + x * x)
        pairs = (rz * ry) * ((rz * ry) * _cells(u, p, sz, sy, i))
        pairs += (rz * rx) * ((rz * rx) * _cells(u, p, sz, sx, i))
        pairs += (ry * rx) * ((ry * rx) * _cells(u, p, sy, sx, i))
        total = weight * (total + half * pairs)
        out[o + i] = out[o + i] + total if add else total


@jit
def curvature2(u, shape, start, lo, hi, b, w, faces, out):
    """Squared second derivatives on planes lo:hi; see `reference.fourth_order.curvature2`."""
    channels, planes, ny, nx = shape
    plane = ny * nx
    # Places are those of the domain; the array has one plane beside lo:hi unless it is the border.
    size, strides = np.array([start + planes, ny, nx]), np.array([plane, nx, 1])
    place, shift, margin = np.zeros(3, np.int64), np.zeros(3, np.int64), np.zeros(3, np.int64)
    for axis in range(3):
        margin[axis] = 1 if b[axis] != 0 else 0
    steps, roots = strides * margin, np.sqrt(b)
    for c in range(channels):
        base = c * planes * plane - start * plane
        for z in range(lo, hi):
            for y in range(ny):
                p, o = base + z * plane + y * nx, (z - lo) * plane + y * nx
                inside = z - start >= margin[0] and z + margin[0] < start + planes
                inside = inside and y >= margin[1] and y + margin[1] < ny
                first, last = nx, nx
                if inside and faces is None and nx > 2 * margin[2]:
                    first, last = margin[2], nx - margin[2]
                    _squares_row(
                        u, U(p + first), U(steps[0]), U(steps[1]), U(steps[2]),
                        b[0], b[1], b[2], roots[0], roots[1], roots[2],
                        w[c], c > 0, out, U(o + first), U(last - first),
                    )  # fmt: skip
                for x in range(nx):
                    if first <= x < last:
                        continue
                    place[0], place[1], place[2] = z, y, x
                    total = _squares(u, p + x, b, roots, faces, size, strides, steps, place, shift)
                    total *= w[c]
                    out[U(o + x)] = out[U(o + x)] + total if c > 0 else total


@row
def _bends(u, p, g, q, s, i):
    """Second difference of g times the second difference."""
    two = u.dtype.type(2)
    near, far = g[q - s + i] * _bend(u, p - s, s, i), g[q + s + i] * _bend(u, p + s, s, i)
    return (near + far) - two * (g[q + i] * _bend(u, p, s, i))


@row
def _turns(u, p, g, q, s, t, i):
    """Mixed difference of g times the mixed difference; the sums of four g are not divided."""
    a, b, c = u[p - s - t + i], u[p - s + i], u[p - s + t + i]
    d, e, f = u[p - t + i], u[p + i], u[p + t + i]
    h, k, m = u[p + s - t + i], u[p + s + i], u[p + s + t + i]
    ga, gb, gc = g[q - s - t + i], g[q - s + i], g[q - s + t + i]
    gd, ge, gf = g[q - t + i], g[q + i], g[q + t + i]
    gh, gk, gm = g[q + s - t + i], g[q + s + i], g[q + s + t + i]
    m0 = ((e - d) - (b - a)) * ((ga + gb) + (gd + ge))
    m1 = ((f - e) - (c - b)) * ((gb + gc) + (ge + gf))
    m2 = ((k - h) - (e - d)) * ((gd + ge) + (gh + gk))
    m3 = ((m - k) - (f - e)) * ((ge + gf) + (gk + gm))
    return (m0 - m1) + (m3 - m2)


@row
def _step_row(
    u, p, g, q, sz, sy, sx, azz, ayy, axx, azy, azx, ayx, momentum, out, o, n
):  # fmt: skip
    """One stage where no border or wall is near."""
    half = u.dtype.type(0.5)
    for i in range(n):
        total = azz * _bends(u, p, g, q, sz, i)
        total += ayy * _bends(u, p, g, q, sy, i)
        total += axx * _bends(u, p, g, q, sx, i)
        pairs = azy * _turns(u, p, g, q, sz, sy, i)
        pairs += azx * _turns(u, p, g, q, sz, sx, i)
        pairs += ayx * _turns(u, p, g, q, sy, sx, i)
        centre, old = u[p + i], out[o + i]
        old = old if momentum != 0 else centre  # without momentum, ``out`` may be uninitialised
        out[o + i] = centre + (momentum * (centre - old) - (total + half * pairs))


@helper
def _change(u, p, g, q, factors, faces, size, strides, steps, place, shift):
    """Step times minus the operator at one voxel."""
    t = u.dtype.type
    total, half, two = t(0), t(0.5), t(2)
    for i in range(3):
        if steps[i] == 0:
            continue
        s = steps[i]
        for k in range(-1, 2):
            shift[i] = k
            if 0 <= place[i] + k < size[i]:
                second = _second(u, p + k * s, s, faces, size, strides, place, shift, i)
                second = second * g[U(q + k * s)] if second != 0 else t(0)
                total += factors[i, i] * (-two * second if k == 0 else second)
            shift[i] = 0
        for j in range(i + 1, 3):
            if steps[j] == 0:
                continue
            r = steps[j]
            for corner in range(4):
                at_i, at_j = corner & 1, corner >> 1
                shift[i], shift[j] = -at_i, -at_j
                base, v = p - at_i * s - at_j * r, q - at_i * s - at_j * r
                mixed = _mixed(u, base, s, r, faces, size, strides, place, shift, i, j)
                shift[i], shift[j] = 0, 0
                if mixed != 0:
                    mean = (g[U(v)] + g[U(v + r)]) + (g[U(v + s)] + g[U(v + s + r)])
                    turn = half * factors[i, j] * (mixed * mean)
                    total += turn if at_i == at_j else -turn
    return total


@jit
def fourth_order_step(u, out, shape, lo, hi, factors, momentum, g, start, faces):
    """One stage on planes lo:hi of flat fields; see `reference.fourth_order`."""
    channels, nz, ny, nx = shape
    plane = ny * nx
    size, strides = np.array([nz, ny, nx]), np.array([plane, nx, 1])
    place, shift, margin = np.zeros(3, np.int64), np.zeros(3, np.int64), np.zeros(3, np.int64)
    for axis in range(3):
        margin[axis] = 2 if size[axis] > 1 else 0
    steps = strides * (margin // 2)
    a = factors
    for c in range(channels):
        for z in range(lo, hi):
            for y in range(ny):
                f = z * plane + y * nx
                p, q = c * nz * plane + f, f - start * plane
                inside = z >= margin[0] and z + margin[0] < nz
                inside = inside and y >= margin[1] and y + margin[1] < ny
                first, last = nx, nx
                if inside and faces is None and nx > 2 * margin[2]:
                    first, last = margin[2], nx - margin[2]
                    _step_row(
                        u, U(p + first), g, U(q + first), U(steps[0]), U(steps[1]), U(steps[2]),
                        a[0, 0], a[1, 1], a[2, 2], a[0, 1], a[0, 2], a[1, 2],
                        momentum, out, U(p + first), U(last - first),
                    )  # fmt: skip
                for x in range(nx):
                    if first <= x < last:
                        continue
                    place[0], place[1], place[2] = z, y, x
                    total = _change(
                        u, p + x, g, q + x, a, faces, size, strides, steps, place, shift
                    )
                    centre = u[U(p + x)]
                    old = out[U(p + x)] if momentum != 0 else centre
                    out[U(p + x)] = centre + (momentum * (centre - old) - total)
