"""Compiled kernels that look at the image: smoothing, gradient, and the search for values that are not finite. Rules as in `compiled`."""

from __future__ import annotations

import numpy as np

from napari_diffusion.backends.numba.jit import helper, jit, row

U = np.uint64


@row
def _square_row(u, p, near, far, faces, fp, fnear, bit, weight, s2, r, n):
    """Add the squares of both one-sided differences; through a closed face the difference is zero."""
    for i in range(n):
        up, down = u[far + i] - u[p + i], u[p + i] - u[near + i]
        up = up if faces[fp + i] & bit else u.dtype.type(0)
        down = down if faces[fnear + i] & bit else u.dtype.type(0)
        s2[r + i] += weight * (up * up + down * down)


@row
def _open_row(u, p, left, right, above, below, before, beyond, wz, wy, wx, add, s2, r, n):
    """The same along all three axes at once, where every face is open."""
    for i in range(n):
        here = u[p + i]
        east, west = u[p + right + i] - here, here - u[p - left + i]
        south, north = u[p + below + i] - here, here - u[p - above + i]
        far, near = u[p + beyond + i] - here, here - u[p - before + i]
        total = wz * (far * far + near * near) + (
            wy * (south * south + north * north) + wx * (east * east + west * west)
        )
        s2[r + i] = s2[r + i] + total if add else total


@jit
def grad2(u, shape, start, lo, hi, b2, w, faces, out):
    """Fill out = sum_c w_c sum_i b2_i ((D+)^2 + (D-)^2) / 2 on planes lo:hi; plane 0 of ``u`` is plane ``start``; see reference.grad2."""
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
                            u,
                            q,
                            left,
                            right,
                            above,
                            below,
                            before,
                            beyond,
                            wz,
                            wy,
                            wx,
                            c > zero,
                            out,
                            s,
                            n,
                        )
                    else:
                        f = fp + x
                        _square_row(
                            u,
                            q,
                            q - before,
                            q + beyond,
                            faces,
                            f,
                            f - before,
                            np.uint8(1),
                            wz,
                            out,
                            s,
                            n,
                        )
                        _square_row(
                            u,
                            q,
                            q - above,
                            q + below,
                            faces,
                            f,
                            f - above,
                            np.uint8(2),
                            wy,
                            out,
                            s,
                            n,
                        )
                        _square_row(
                            u,
                            q,
                            q - left,
                            q + right,
                            faces,
                            f,
                            f - left,
                            np.uint8(4),
                            wx,
                            out,
                            s,
                            n,
                        )


@row
def _neighbours_row(
    u, p, left, right, above, below, before, beyond, sz, sy, sx, faces, fp, mean, variance, r, n
):
    """Mean and variance over the six neighbours, as differences to the voxel itself; through a closed face there is none."""
    zero = u.dtype.type(0)
    for i in range(n):
        here = u[p + i]
        east, west = u[p + right + i] - here, u[p - left + i] - here
        south, north = u[p + below + i] - here, u[p - above + i] - here
        far, near = u[p + beyond + i] - here, u[p - before + i] - here
        if faces is not None:  # a select, since 0 * NaN is NaN
            f = fp + i
            east, west = (
                east if faces[f] & np.uint8(4) else zero,
                west if faces[f - left] & np.uint8(4) else zero,
            )
            south, north = (
                south if faces[f] & np.uint8(2) else zero,
                north if faces[f - above] & np.uint8(2) else zero,
            )
            far, near = (
                far if faces[f] & np.uint8(1) else zero,
                near if faces[f - before] & np.uint8(1) else zero,
            )
        m = sz * (far + near) + (sy * (south + north) + sx * (east + west))
        square = sz * (far * far + near * near) + (
            sy * (south * south + north * north) + sx * (east * east + west * west)
        )
        variance[r + i] = max(square - m * m, zero)
        mean[r + i] = here + m


@jit
def neighbours(u, shape, lo, hi, share, faces, mean, variance):
    """Weighted mean and variance of the neighbours across the faces, on planes lo:hi, channel by channel; see reference.neighbours."""
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane, one, zero, first, count = ny * nx, U(1), U(0), U(lo), U(hi) - U(lo)
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
                    f, r = z * plane + y * nx + x, (c * count + k) * plane + y * nx + x
                    p = c * nz * plane + f
                    _neighbours_row(
                        u,
                        p,
                        left,
                        right,
                        above,
                        below,
                        before,
                        beyond,
                        share[0],
                        share[1],
                        share[2],
                        faces,
                        f,
                        mean,
                        variance,
                        r,
                        n,
                    )


#: Rows, and at most planes, that pass through the convolutions together: their neighbours along z and y are still in the cache of the core.
BLOCK, DEEPEST = 8, 16


@row
def _reflect(i, n):
    """Index under the half-sample mirror: ... 1 0 | 0 1 2 ... n-1 | n-1 ..."""
    if i < 0 or i >= n:  # rare; the division would cost more than the row
        i = i % (2 * n)
        i = 2 * n - 1 - i if i >= n else i
    return i


@row
def _near_row(w, pairs, a, p, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n):
    """Begin a row with its centre and up to four pairs of taps."""
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
    """Add four more pairs at once: a quarter of the loads and stores of the sum."""
    w1, w2, w3, w4 = w[k], w[k + 1], w[k + 2], w[k + 3]
    for i in range(n):
        near = w1 * (a[p1 + i] + a[q1 + i]) + w2 * (a[p2 + i] + a[q2 + i])
        out[r + i] += near + (w3 * (a[p3 + i] + a[q3 + i]) + w4 * (a[p4 + i] + a[q4 + i]))


@helper
def _convolve_rows(w, a, starts, next_start, shift, next_shift, out, r, next_r, count, n):
    """``count`` rows out[r:r+n] = sum_k w[|k|] a[starts[m + k] + shift:][:n], then m, shift and r move on; each call costs a row."""
    m = len(w) - 1
    radius = m
    pairs = (radius - 1) % 4 + 1
    k1, k2, k3 = min(1, radius), min(2, pairs), min(3, pairs)
    for _ in range(count):
        s = starts[m] + shift
        if radius == 0:
            for i in range(n):
                out[r + i] = w[0] * a[s + i]
        else:
            p1, q1 = starts[m - k1] + shift, starts[m + k1] + shift
            p2, q2 = starts[m - k2] + shift, starts[m + k2] + shift
            p3, q3 = starts[m - k3] + shift, starts[m + k3] + shift
            p4, q4 = starts[m - pairs] + shift, starts[m + pairs] + shift
            _near_row(w, pairs, a, s, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n)
            for k in range(pairs + 1, radius + 1, 4):
                p1, q1 = starts[m - k] + shift, starts[m + k] + shift
                p2, q2 = starts[m - k - 1] + shift, starts[m + k + 1] + shift
                p3, q3 = starts[m - k - 2] + shift, starts[m + k + 2] + shift
                p4, q4 = starts[m - k - 3] + shift, starts[m + k + 3] + shift
                _four_pairs_row(w, k, a, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n)
        m += next_start
        shift += next_shift
        r += next_r


@jit
def smooth(u, shape, lo, hi, wz, wy, wx, out):
    """Symmetric separable convolution of planes lo:hi into ``out``, mirrored at the border; ``w[k]`` weighs offsets +k and -k.

    Rows are convolved along z into a ring that holds what the convolution along y still needs, `BLOCK` rows of all planes at a time.
    """
    channels, nz, ny, nx = shape[0], shape[1], shape[2], shape[3]
    n, plane = U(nx), U(ny * nx)
    tz, ty, rx = 2 * len(wz) - 1, 2 * len(wy) - 1, len(wx) - 1
    depth = -(-(hi - lo) // -(-(hi - lo) // DEEPEST))
    wide, rows = nx + 2 * rx, 1
    while rows < min(ty + BLOCK, ny):
        rows *= 2  # so that a mask finds the row
    ring, padded = np.empty(depth * rows * nx, u.dtype), np.empty(BLOCK * wide, u.dtype)
    across, down = np.empty(depth * tz, np.uint64), np.empty(BLOCK * ty, np.uint64)
    along = np.arange(2 * rx + 1).astype(np.uint64)
    edge = np.empty(2 * rx, np.uint64)  # what stands left and right of a padded row
    for i in range(rx):
        edge[i], edge[rx + i] = U(rx + _reflect(i - rx, nx)), U(rx + _reflect(nx + i, nx))
    blocks = -(-(hi - lo) // depth)
    for block in range(channels * blocks):
        c, z0 = block // blocks, lo + block % blocks * depth
        planes = min(depth, hi - z0)
        for k in range(planes * tz):
            across[k] = U(c * nz + _reflect(z0 + k // tz + k % tz - len(wz) + 1, nz)) * plane
        done = 0
        for first in range(0, ny, BLOCK):
            count = min(BLOCK, ny - first)
            for y in range(done, min(first + count + len(wy) - 1, ny)):
                _convolve_rows(
                    wz,
                    u,
                    across,
                    tz,
                    U(y * nx),
                    U(0),
                    ring,
                    U((y & (rows - 1)) * nx),
                    U(rows * nx),
                    planes,
                    n,
                )
                done = y + 1
            for k in range(count * ty):
                down[k] = U(
                    (_reflect(first + k // ty + k % ty - len(wy) + 1, ny) & (rows - 1)) * nx
                )
            for z in range(planes):
                _convolve_rows(
                    wy, ring, down, ty, U(z * rows * nx), U(0), padded, U(rx), U(wide), count, n
                )
                for y in range(count):
                    for i in range(2 * rx):
                        padded[U(y * wide + i + (nx if i >= rx else 0))] = padded[
                            U(y * wide) + edge[i]
                        ]
                o = U(((c * (hi - lo) + z0 - lo + z) * ny + first) * nx)
                _convolve_rows(wx, padded, along, 0, U(0), U(wide), out, o, n, count, n)


@row
def _slope_row(u, near, far, scale, g, r, n):
    for i in range(n):
        g[r + i] = scale * (u[far + i] - u[near + i])


@row
def _product_row(g, a, b, weight, add, out, o, n):
    """Write, or add, the weighted product of two derivatives."""
    if add:
        for i in range(n):
            out[o + i] += weight * (g[a + i] * g[b + i])
    else:
        for i in range(n):
            out[o + i] = weight * (g[a + i] * g[b + i])


#: Numbers of the ring of `structure` that the cache of a core holds beside the rest.
RING = 1 << 18


@jit
def structure(u, shape, start, nz, lo, hi, pairs, scale, wz, wy, wx, w, out):
    """Structure tensor of planes lo:hi, one entry for each of the ``pairs`` of axes; plane 0 of ``u`` is plane ``start`` of ``nz``.

    Products of derivatives are made for one row of all planes at a time, with margins, and convolved along z and x while they are in the
    cache, all planes as one long row; a ring of such rows is convolved along y.
    """
    channels, held, ny, nx, count = shape[0], shape[1], shape[2], shape[3], len(pairs)
    rz, ry, rx = len(wz) - 1, len(wy) - 1, len(wx) - 1
    n, plane, wide, rows = U(nx), U(ny * nx), nx + 2 * rx, 1
    while rows < min(2 * ry + 1, ny):
        rows *= 2  # so that a mask finds the row
    depth = max(4, min(DEEPEST, RING // (count * rows * wide)))
    depth = -(-(hi - lo) // -(-(hi - lo) // depth))
    slopes, products = (
        np.empty(3 * wide, u.dtype),
        np.empty(count * (depth + 2 * rz) * wide, u.dtype),
    )
    line, ring = np.empty(depth * wide, u.dtype), np.empty(count * rows * depth * wide, u.dtype)
    across, along = (
        np.arange(2 * rz + 1).astype(np.uint64) * U(wide),
        np.arange(2 * rx + 1).astype(np.uint64),
    )
    down = np.empty(2 * ry + 1, np.uint64)
    edge = np.empty(2 * rx, np.uint64)  # what stands left and right of a row
    for i in range(rx):
        edge[i], edge[rx + i] = U(rx + _reflect(i - rx, nx)), U(rx + _reflect(nx + i, nx))
    for z0 in range(lo, hi, depth):
        planes = min(depth, hi - z0)
        deep, long = planes + 2 * rz, planes * wide
        for y in range(ny + ry):
            if y < ny:
                for k in range(deep):
                    z = _reflect(z0 - rz + k, nz)
                    for c in range(channels):
                        p, r = U(c * held + z - start) * plane + U(y * nx), U(rx)
                        # At the border the neighbour is the voxel itself.
                        near, far = (plane if z > 0 else U(0)), (plane if z + 1 < nz else U(0))
                        _slope_row(u, p - near, p + far, scale[0], slopes, r, n)
                        near, far, r = (
                            (n if y > 0 else U(0)),
                            (n if y + 1 < ny else U(0)),
                            r + U(wide),
                        )
                        _slope_row(u, p - near, p + far, scale[1], slopes, r, n)
                        r += U(wide)
                        if nx > 1:
                            _slope_row(u, p, p + U(1), scale[2], slopes, r, U(1))
                            _slope_row(u, p, p + U(2), scale[2], slopes, r + U(1), n - U(2))
                            _slope_row(
                                u, p + n - U(2), p + n - U(1), scale[2], slopes, r + n - U(1), U(1)
                            )
                        for axis in range(3):
                            for i in range(2 * rx):
                                slopes[U(axis * wide + i + (nx if i >= rx else 0))] = slopes[
                                    U(axis * wide) + edge[i]
                                ]
                        for e in range(count):
                            a, b = U(pairs[e, 0] * wide), U(pairs[e, 1] * wide)
                            _product_row(
                                slopes,
                                a,
                                b,
                                w[c],
                                c > 0,
                                products,
                                U((e * deep + k) * wide),
                                U(wide),
                            )
                for e in range(count):
                    o = U((e * rows + (y & (rows - 1))) * depth * wide)
                    _convolve_rows(
                        wz,
                        products,
                        across,
                        0,
                        U(e * deep * wide),
                        U(0),
                        line,
                        U(0),
                        U(0),
                        1,
                        U(long),
                    )
                    _convolve_rows(
                        wx, line, along, 0, U(0), U(0), ring, o, U(0), 1, U(long - 2 * rx)
                    )
            if y >= ry:
                for k in range(2 * ry + 1):
                    down[k] = U((_reflect(y - 2 * ry + k, ny) & (rows - 1)) * depth * wide)
                for e in range(count):
                    o = U(((e * (hi - lo) + z0 - lo) * ny + y - ry) * nx)
                    _convolve_rows(
                        wy,
                        ring,
                        down,
                        0,
                        U(e * rows * depth * wide),
                        U(wide),
                        out,
                        o,
                        plane,
                        planes,
                        n,
                    )


@jit
def count_invalid(u, start, stop, limit):
    """Number of values in u[start:stop] that are NaN or beyond +-limit."""
    count = 0
    for i in range(U(start), U(stop)):
        count += not abs(u[i]) <= limit
    return count
