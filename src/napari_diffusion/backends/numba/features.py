"""Compiled kernels of local features: gradients, neighbours, smoothing, structure tensor.

The same rules hold as in `numba.stages`; `reference.features` documents the functions.
"""

from __future__ import annotations

import numpy as np

from napari_diffusion.backends.numba.jit import helper, jit, row
from napari_diffusion.backends.reference.stages import MIN_GRADIENT

U = np.uint64


@row
def _square_row(u, p, near, far, faces, fp, fnear, bit, weight, s2, r, n):
    """Add the squares of both one-sided differences; across a closed face they are zero."""
    for i in range(n):
        up, down = u[far + i] - u[p + i], u[p + i] - u[near + i]
        up = up if faces[fp + i] & bit else u.dtype.type(0)
        down = down if faces[fnear + i] & bit else u.dtype.type(0)
        s2[r + i] += weight * (up * up + down * down)


@row
def _open_row(u, p, left, right, above, below, before, beyond, wz, wy, wx, add, s2, r, n):
    """Squares of all six one-sided differences, where every face is open."""
    for i in range(n):
        centre = u[p + i]
        east, west = u[p + right + i] - centre, centre - u[p - left + i]
        south, north = u[p + below + i] - centre, centre - u[p - above + i]
        far, near = u[p + beyond + i] - centre, centre - u[p - before + i]
        total = wz * (far * far + near * near) + (
            wy * (south * south + north * north) + wx * (east * east + west * west)
        )
        s2[r + i] = s2[r + i] + total if add else total


@jit
def grad2(u, shape, start, lo, hi, b2, w, faces, out):
    """Squared gradient magnitude on planes lo:hi; see `reference.features.grad2`.

    out = sum_c w_c sum_i b2_i ((D+)^2 + (D-)^2) / 2; plane 0 of ``u`` is plane ``start``.
    """
    t = u.dtype.type
    channels, planes, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane, one, zero = ny * nx, U(1), U(0)
    start, lo, hi = U(start), U(lo), U(hi)
    for z in range(lo, hi):
        # At the border of the array the neighbour is the voxel itself: difference zero.
        before = plane if z > start else zero
        beyond = plane if z + one < start + planes else zero
        for y in range(ny):
            above = nx if y > zero else zero
            below = nx if y + one < ny else zero
            r, fp = (z - lo) * plane + y * nx, z * plane + y * nx
            for c in range(channels):
                half = t(0.5) * w[c]
                p = (c * planes + z - start) * plane + y * nx
                wz, wy, wx = half * b2[0], half * b2[1], half * b2[2]
                if faces is not None and c == zero:
                    for i in range(nx):
                        out[r + i] = t(0)
                for part in range(3):  # the first voxel, those between, the last
                    if nx <= U(part if part < 2 else 1) or (part == 1 and nx < U(3)):
                        continue
                    x = (zero, one, nx - one)[part]
                    n = nx - U(2) if part == 1 else one
                    left, right = one if part > 0 else zero, one if part < 2 and nx > one else zero
                    q, s = p + x, r + x
                    if faces is None:
                        _open_row(
                            u, q, left, right, above, below, before, beyond,
                            wz, wy, wx, c > zero, out, s, n,
                        )  # fmt: skip
                    else:
                        f = fp + x
                        _square_row(
                            u, q, q - before, q + beyond, faces, f, f - before, np.uint8(1),
                            wz, out, s, n,
                        )  # fmt: skip
                        _square_row(
                            u, q, q - above, q + below, faces, f, f - above, np.uint8(2),
                            wy, out, s, n,
                        )  # fmt: skip
                        _square_row(
                            u, q, q - left, q + right, faces, f, f - left, np.uint8(4),
                            wx, out, s, n,
                        )  # fmt: skip


@row
def _neighbours_row(
    u, p, left, right, above, below, before, beyond, step, bit, sz, sy, sx, faces, fp,
    mean, deviation, r, n,
):  # fmt: skip
    """Mean and standard deviation over the six neighbours.

    The voxel itself takes the place of a neighbour behind a closed face. Differences are taken to
    the neighbour at ``step``, behind the face ``bit``.
    """
    t = u.dtype.type
    zero, one, smallest = t(0), t(1), t(MIN_GRADIENT)
    # Along an axis of one voxel, the place of the neighbours is taken by the voxel itself. Its
    # weight is zero, and so is its difference, which must not be the largest one.
    kz, ky, kx = one if sz > zero else zero, one if sy > zero else zero, one if sx > zero else zero
    for i in range(n):
        centre, reference = u[p + i], u[p + step + i]
        east, west = u[p + right + i], u[p - left + i]
        south, north = u[p + below + i], u[p - above + i]
        far, near = u[p + beyond + i], u[p - before + i]
        if faces is not None:  # selected, not multiplied by a mask: 0 * NaN is NaN
            f = fp + i
            reference = reference if faces[f] & bit else centre
            east = east if faces[f] & np.uint8(4) else centre
            west = west if faces[f - left] & np.uint8(4) else centre
            south = south if faces[f] & np.uint8(2) else centre
            north = north if faces[f - above] & np.uint8(2) else centre
            far = far if faces[f] & np.uint8(1) else centre
            near = near if faces[f - before] & np.uint8(1) else centre
        m = reference + (
            sz * ((far - reference) + (near - reference))
            + (
                sy * ((south - reference) + (north - reference))
                + sx * ((east - reference) + (west - reference))
            )
        )
        east, west, south, north = (
            kx * (east - m),
            kx * (west - m),
            ky * (south - m),
            ky * (north - m),
        )
        far, near = kz * (far - m), kz * (near - m)
        largest = max(max(abs(far), abs(near)), max(abs(south), abs(north)))
        largest = max(max(abs(east), abs(west)), max(largest, smallest))
        scale = one / largest
        east, west, south, north = east * scale, west * scale, south * scale, north * scale
        far, near = far * scale, near * scale
        total = sz * (far * far + near * near) + (
            sy * (south * south + north * north) + sx * (east * east + west * west)
        )
        deviation[r + i] = largest * np.sqrt(total)
        mean[r + i] = m


@jit
def neighbours(u, shape, lo, hi, share, main, faces, mean, deviation):
    """Mean and deviation of the neighbours on planes lo:hi; see `reference.features.neighbours`.

    ``main`` is the axis of the largest share.
    """
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane, one, zero, first, count = ny * nx, U(1), U(0), U(lo), U(hi) - U(lo)
    bit = np.uint8(1 << main)
    for c in range(channels):
        for k in range(count):
            z = first + k
            before, beyond = plane if z > zero else zero, plane if z + one < nz else zero
            for y in range(ny):
                above, below = nx if y > zero else zero, nx if y + one < ny else zero
                for part in range(3):  # the first voxel, those between, the last
                    if nx <= U(part if part < 2 else 1) or (part == 1 and nx < U(3)):
                        continue
                    x, n = (zero, one, nx - one)[part], nx - U(2) if part == 1 else one
                    left, right = one if part > 0 else zero, one if part < 2 and nx > one else zero
                    step = (beyond, below, right)[main]
                    f, r = z * plane + y * nx + x, (c * count + k) * plane + y * nx + x
                    p = c * nz * plane + f
                    _neighbours_row(
                        u, p, left, right, above, below, before, beyond, step, bit,
                        share[0], share[1], share[2], faces, f, mean, deviation, r, n,
                    )  # fmt: skip


#: Rows and largest number of planes per block of the convolutions. Their neighbours along z and y
#: are still in the cache of the core.
BLOCK_ROWS, MAX_BLOCK_PLANES = 8, 16


@row
def _reflect(i, n):
    """Index under the half-sample mirror: ... 1 0 | 0 1 2 ... n-1 | n-1 ..."""
    if i < 0 or i >= n:  # rare; a division for every index would cost more than the row
        i = i % (2 * n)
        i = 2 * n - 1 - i if i >= n else i
    return i


@row
def _near_row(w, pairs, a, p, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n):
    """Write the sum of the central tap and up to four pairs of taps."""
    w0, w1, w2, w3, w4 = w[0], w[1], w[min(pairs, 2)], w[min(pairs, 3)], w[min(pairs, 4)]
    if pairs == 1:
        for i in range(n):
            out[r + i] = w0 * a[p + i] + w1 * (a[p1 + i] + a[q1 + i])
    elif pairs == 2:
        for i in range(n):
            out[r + i] = w0 * a[p + i] + (
                w1 * (a[p1 + i] + a[q1 + i]) + w2 * (a[p2 + i] + a[q2 + i])
            )
    elif pairs == 3:
        for i in range(n):
            near = w1 * (a[p1 + i] + a[q1 + i]) + w2 * (a[p2 + i] + a[q2 + i])
            out[r + i] = w0 * a[p + i] + (near + w3 * (a[p3 + i] + a[q3 + i]))
    else:
        for i in range(n):
            near = w1 * (a[p1 + i] + a[q1 + i]) + w2 * (a[p2 + i] + a[q2 + i])
            out[r + i] = w0 * a[p + i] + (
                near + (w3 * (a[p3 + i] + a[q3 + i]) + w4 * (a[p4 + i] + a[q4 + i]))
            )


@row
def _four_pairs_row(w, k, a, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n):
    """Add four more pairs at once, with a quarter of the loads and stores of the sum."""
    w1, w2, w3, w4 = w[k], w[k + 1], w[k + 2], w[k + 3]
    for i in range(n):
        near = w1 * (a[p1 + i] + a[q1 + i]) + w2 * (a[p2 + i] + a[q2 + i])
        out[r + i] += near + (w3 * (a[p3 + i] + a[q3 + i]) + w4 * (a[p4 + i] + a[q4 + i]))


@row
def _near_differences_row(w, pairs, a, p, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n):
    """As `_near_row`, from differences to the central row, which is kept where all are zero."""
    w1, w2, w3, w4 = w[1], w[min(pairs, 2)], w[min(pairs, 3)], w[min(pairs, 4)]
    if pairs == 1:
        for i in range(n):
            centre = a[p + i]
            out[r + i] = centre + w1 * ((a[p1 + i] + a[q1 + i]) - (centre + centre))
    elif pairs == 2:
        for i in range(n):
            centre = a[p + i]
            twice = centre + centre
            out[r + i] = centre + (
                w1 * ((a[p1 + i] + a[q1 + i]) - twice) + w2 * ((a[p2 + i] + a[q2 + i]) - twice)
            )
    elif pairs == 3:
        for i in range(n):
            centre = a[p + i]
            twice = centre + centre
            near = w1 * ((a[p1 + i] + a[q1 + i]) - twice) + w2 * ((a[p2 + i] + a[q2 + i]) - twice)
            out[r + i] = centre + (near + w3 * ((a[p3 + i] + a[q3 + i]) - twice))
    else:
        for i in range(n):
            centre = a[p + i]
            twice = centre + centre
            near = w1 * ((a[p1 + i] + a[q1 + i]) - twice) + w2 * ((a[p2 + i] + a[q2 + i]) - twice)
            out[r + i] = centre + (
                near
                + (w3 * ((a[p3 + i] + a[q3 + i]) - twice) + w4 * ((a[p4 + i] + a[q4 + i]) - twice))
            )


@row
def _four_differences_row(w, k, a, p, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n):
    """As `_four_pairs_row`, from differences to the central row."""
    w1, w2, w3, w4 = w[k], w[k + 1], w[k + 2], w[k + 3]
    for i in range(n):
        twice = a[p + i] + a[p + i]
        near = w1 * ((a[p1 + i] + a[q1 + i]) - twice) + w2 * ((a[p2 + i] + a[q2 + i]) - twice)
        out[r + i] += near + (
            w3 * ((a[p3 + i] + a[q3 + i]) - twice) + w4 * ((a[p4 + i] + a[q4 + i]) - twice)
        )


@helper
def _convolve_rows(w, a, starts, next_start, shift, next_shift, differ, out, r, next_r, count, n):
    """Convolve ``count`` rows: out[r:r+n] = sum_k w[|k|] a[starts[m + k] + shift:][:n].

    Unless ``differ`` is None, the sum is one of differences to the central row, added to it.
    After each row, m, shift and r advance by ``next_start``, ``next_shift`` and ``next_r``. A call
    costs as much as a row, therefore one call convolves several.
    """
    m = len(w) - 1
    radius = m
    pairs = (radius - 1) % 4 + 1
    k1, k2, k3 = min(1, radius), min(2, pairs), min(3, pairs)
    for _ in range(count):
        s = starts[m] + shift
        if radius == 0:
            for i in range(n):
                out[r + i] = a[s + i] if differ is not None else w[0] * a[s + i]
        else:
            p1, q1 = starts[m - k1] + shift, starts[m + k1] + shift
            p2, q2 = starts[m - k2] + shift, starts[m + k2] + shift
            p3, q3 = starts[m - k3] + shift, starts[m + k3] + shift
            p4, q4 = starts[m - pairs] + shift, starts[m + pairs] + shift
            if differ is None:
                _near_row(w, pairs, a, s, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n)
            else:
                _near_differences_row(w, pairs, a, s, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n)
            for k in range(pairs + 1, radius + 1, 4):
                p1, q1 = starts[m - k] + shift, starts[m + k] + shift
                p2, q2 = starts[m - k - 1] + shift, starts[m + k + 1] + shift
                p3, q3 = starts[m - k - 2] + shift, starts[m + k + 2] + shift
                p4, q4 = starts[m - k - 3] + shift, starts[m + k + 3] + shift
                if differ is None:
                    _four_pairs_row(w, k, a, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n)
                else:
                    _four_differences_row(w, k, a, s, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n)
        m += next_start
        shift += next_shift
        r += next_r


@jit
def smooth(u, shape, lo, hi, wz, wy, wx, differ, out):
    """Symmetric separable convolution of planes lo:hi; see `reference.features.smooth`.

    Unless ``differ`` is None, it is computed as `reference.features.smooth_differences` does.

    Rows are convolved along z into a ring buffer. It holds the rows that the convolution along y
    still needs. `BLOCK_ROWS` rows of all planes are processed at a time.
    """
    channels, nz, ny, nx = shape[0], shape[1], shape[2], shape[3]
    n, plane = U(nx), U(ny * nx)
    tz, ty, rx = 2 * len(wz) - 1, 2 * len(wy) - 1, len(wx) - 1
    depth = -(-(hi - lo) // -(-(hi - lo) // MAX_BLOCK_PLANES))
    width, rows = nx + 2 * rx, 1
    while rows < min(ty + BLOCK_ROWS, ny):
        rows *= 2  # a power of two, so that a bit mask gives the row in the ring
    ring, padded = np.empty(depth * rows * nx, u.dtype), np.empty(BLOCK_ROWS * width, u.dtype)
    starts_z, starts_y = np.empty(depth * tz, np.uint64), np.empty(BLOCK_ROWS * ty, np.uint64)
    starts_x = np.arange(2 * rx + 1).astype(np.uint64)
    edge = np.empty(2 * rx, np.uint64)  # mirrored positions left and right of a row
    for i in range(rx):
        edge[i], edge[rx + i] = U(rx + _reflect(i - rx, nx)), U(rx + _reflect(nx + i, nx))
    blocks = -(-(hi - lo) // depth)
    for block in range(channels * blocks):
        c, z0 = block // blocks, lo + block % blocks * depth
        planes = min(depth, hi - z0)
        for k in range(planes * tz):
            starts_z[k] = U(c * nz + _reflect(z0 + k // tz + k % tz - len(wz) + 1, nz)) * plane
        rows_done = 0
        for first in range(0, ny, BLOCK_ROWS):
            count = min(BLOCK_ROWS, ny - first)
            for y in range(rows_done, min(first + count + len(wy) - 1, ny)):
                _convolve_rows(
                    wz, u, starts_z, tz, U(y * nx), U(0), differ, ring,
                    U((y & (rows - 1)) * nx), U(rows * nx), planes, n,
                )  # fmt: skip
                rows_done = y + 1
            for k in range(count * ty):
                source = _reflect(first + k // ty + k % ty - len(wy) + 1, ny)
                starts_y[k] = U((source & (rows - 1)) * nx)
            for z in range(planes):
                _convolve_rows(
                    wy,
                    ring,
                    starts_y,
                    ty,
                    U(z * rows * nx),
                    U(0),
                    differ,
                    padded,
                    U(rx),
                    U(width),
                    count,
                    n,
                )
                for y in range(count):
                    for i in range(2 * rx):
                        x = i + (nx if i >= rx else 0)
                        padded[U(y * width + x)] = padded[U(y * width) + edge[i]]
                o = U(((c * (hi - lo) + z0 - lo + z) * ny + first) * nx)
                _convolve_rows(wx, padded, starts_x, 0, U(0), U(width), differ, out, o, n, count, n)


@row
def _slope_row(u, near, far, scale, g, r, n):
    """Derivatives between two rows."""
    for i in range(n):
        g[r + i] = scale * (u[far + i] - u[near + i])


@row
def _product_row(g, a, b, weight, add, out, o, n):
    """Write or add the weighted product of two derivatives."""
    if add:
        for i in range(n):
            out[o + i] += weight * (g[a + i] * g[b + i])
    else:
        for i in range(n):
            out[o + i] = weight * (g[a + i] * g[b + i])


#: Largest number of elements of the ring buffer of `structure`, which has to fit into the cache of
#: a core.
MAX_RING_SIZE = 1 << 18


@jit
def structure(u, shape, start, nz, lo, hi, pairs, scale, wz, wy, wx, w, out):
    """Structure tensor of planes lo:hi; see `reference.features.structure`.

    ``out`` holds one entry per pair of axes in ``pairs``. Plane 0 of ``u`` is plane ``start`` of
    ``nz`` planes.

    Products of derivatives are computed for one row of all planes at a time, with margins. While in
    the cache, they are convolved along z and x, with all planes as one long row. A ring buffer of
    such rows is convolved along y.
    """
    channels, held_planes, ny, nx, count = shape[0], shape[1], shape[2], shape[3], len(pairs)
    rz, ry, rx = len(wz) - 1, len(wy) - 1, len(wx) - 1
    n, plane, width, rows = U(nx), U(ny * nx), nx + 2 * rx, 1
    while rows < min(2 * ry + 1, ny):
        rows *= 2  # a power of two, so that a bit mask gives the row in the ring
    depth = max(4, min(MAX_BLOCK_PLANES, MAX_RING_SIZE // (count * rows * width)))
    depth = -(-(hi - lo) // -(-(hi - lo) // depth))
    slopes = np.empty(3 * width, u.dtype)
    products = np.empty(count * (depth + 2 * rz) * width, u.dtype)
    line, ring = np.empty(depth * width, u.dtype), np.empty(count * rows * depth * width, u.dtype)
    starts_z = np.arange(2 * rz + 1).astype(np.uint64) * U(width)
    starts_x = np.arange(2 * rx + 1).astype(np.uint64)
    starts_y = np.empty(2 * ry + 1, np.uint64)
    edge = np.empty(2 * rx, np.uint64)  # mirrored positions left and right of a row
    for i in range(rx):
        edge[i], edge[rx + i] = U(rx + _reflect(i - rx, nx)), U(rx + _reflect(nx + i, nx))
    for z0 in range(lo, hi, depth):
        planes = min(depth, hi - z0)
        padded_planes, length = planes + 2 * rz, planes * width
        for y in range(ny + ry):
            if y < ny:
                for k in range(padded_planes):
                    z = _reflect(z0 - rz + k, nz)
                    for c in range(channels):
                        p, r = U(c * held_planes + z - start) * plane + U(y * nx), U(rx)
                        # At the border the neighbour is the voxel itself.
                        near, far = (plane if z > 0 else U(0)), (plane if z + 1 < nz else U(0))
                        _slope_row(u, p - near, p + far, scale[0], slopes, r, n)
                        near, far = (n if y > 0 else U(0)), (n if y + 1 < ny else U(0))
                        r += U(width)
                        _slope_row(u, p - near, p + far, scale[1], slopes, r, n)
                        r += U(width)
                        if nx > 1:
                            _slope_row(u, p, p + U(1), scale[2], slopes, r, U(1))
                            _slope_row(u, p, p + U(2), scale[2], slopes, r + U(1), n - U(2))
                            end = p + n - U(1)
                            _slope_row(u, end - U(1), end, scale[2], slopes, r + n - U(1), U(1))
                        for axis in range(3):
                            for i in range(2 * rx):
                                x = i + (nx if i >= rx else 0)
                                slopes[U(axis * width + x)] = slopes[U(axis * width) + edge[i]]
                        for e in range(count):
                            a, b = U(pairs[e, 0] * width), U(pairs[e, 1] * width)
                            o = U((e * padded_planes + k) * width)
                            _product_row(slopes, a, b, w[c], c > 0, products, o, U(width))
                for e in range(count):
                    shift = U(e * padded_planes * width)
                    o = U((e * rows + (y & (rows - 1))) * depth * width)
                    _convolve_rows(
                        wz, products, starts_z, 0, shift, U(0), None, line, U(0), U(0), 1, U(length)
                    )
                    _convolve_rows(
                        wx,
                        line,
                        starts_x,
                        0,
                        U(0),
                        U(0),
                        None,
                        ring,
                        o,
                        U(0),
                        1,
                        U(length - 2 * rx),
                    )
            if y >= ry:
                for k in range(2 * ry + 1):
                    starts_y[k] = U((_reflect(y - 2 * ry + k, ny) & (rows - 1)) * depth * width)
                for e in range(count):
                    shift = U(e * rows * depth * width)
                    o = U(((e * (hi - lo) + z0 - lo) * ny + y - ry) * nx)
                    _convolve_rows(
                        wy, ring, starts_y, 0, shift, U(width), None, out, o, plane, planes, n
                    )


@row
def _linear_row(middle, difference, lowest, offset, t, out, r, n):
    """Write reciprocals of a linear piece of a row."""
    one = out.dtype.type(1)
    for i in range(n):
        out[r + i] = one / max(middle + difference * offset[t + i], lowest)


@jit
def reciprocals(middle, difference, lowest, starts, offset, out):
    """Reciprocals of rows that are linear in pieces; see `reference.features.reciprocals`."""
    pieces, n = U(len(starts) - 1), U(len(offset))
    for y in range(U(len(middle)) // pieces):
        for k in range(pieces):
            start, p = U(starts[k]), y * pieces + k
            count = U(starts[k + U(1)]) - start
            _linear_row(
                middle[p], difference[p], lowest[p], offset, start, out, y * n + start, count
            )


@jit
def count_invalid(u, start, stop, limit):
    """Count the values in u[start:stop] that are NaN or beyond +-limit."""
    count = 0
    for i in range(U(start), U(stop)):
        count += not abs(u[i]) <= limit
    return count
