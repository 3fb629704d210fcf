"""Compiled kernels that look at the image: smoothing, gradient, and the search for values that are not finite. Rules as in `compiled`."""

from __future__ import annotations

import numpy as np

from napari_diffusion.kernels.jit import helper, jit, row

U = np.uint64


@row
def _square_row(u, p, near, far, faces, fp, fnear, bit, weight, s2, r, n):
    """Add the squares of both one-sided differences; through a closed face the difference is zero."""
    for i in range(n):
        up, down = u[far + i] - u[p + i], u[p + i] - u[near + i]
        if faces is not None:
            up = up if faces[fp + i] & bit else u.dtype.type(0)
            down = down if faces[fnear + i] & bit else u.dtype.type(0)
        s2[r + i] += weight * (up * up + down * down)


@jit
def grad2(u, shape, start, lo, hi, b2, w, faces, out):
    """Fill out = sum_c w_c sum_i b2_i ((D+)^2 + (D-)^2) / 2 on planes lo:hi; plane 0 of ``u`` is plane ``start``; see reference.grad2."""
    t = u.dtype.type
    channels, planes, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane, one, zero = ny * nx, U(1), U(0)
    start, lo, hi = U(start), U(lo), U(hi)
    for z in range(lo, hi):
        for y in range(ny):
            r = (z - lo) * plane + y * nx
            for i in range(nx):
                out[r + i] = t(0)
            fp = z * plane + y * nx
            for c in range(channels):
                half = t(0.5) * w[c]
                p = (c * planes + z - start) * plane + y * nx
                # At the border of the array the neighbour is the voxel itself: difference zero.
                dn = plane if z > start else zero
                up = plane if z + one < start + planes else zero
                _square_row(u, p, p - dn, p + up, faces, fp, fp - dn, np.uint8(1), half * b2[0], out, r, nx)
                dn = nx if y > zero else zero
                up = nx if y + one < ny else zero
                _square_row(u, p, p - dn, p + up, faces, fp, fp - dn, np.uint8(2), half * b2[1], out, r, nx)
                wx, last = half * b2[2], nx - one
                if nx > one:
                    _square_row(u, p + one, p, p + U(2), faces, fp + one, fp, np.uint8(4), wx, out, r + one, nx - U(2))
                    for k in range(U(2)):
                        face = zero if k == zero else last - one
                        d = u[p + face + one] - u[p + face]
                        if faces is None or faces[fp + face] & np.uint8(4):
                            out[r + (zero if k == zero else last)] += wx * d * d


@row
def _reflect(i, n):
    """Index under the half-sample mirror: ... 1 0 | 0 1 2 ... n-1 | n-1 ..."""
    if i < 0 or i >= n:  # rare; the division would cost more than the row
        i = i % (2 * n)
        i = 2 * n - 1 - i if i >= n else i
    return U(i)


@row
def _three_row(w, a, p, p1, q1, out, r, n):
    """Begin a row with its centre and one pair of taps; below with two and with four pairs."""
    w0, w1 = w[0], w[1]
    for i in range(n):
        out[r + i] = w0 * a[p + i] + w1 * (a[p1 + i] + a[q1 + i])


@row
def _five_row(w, a, p, p1, q1, p2, q2, out, r, n):
    w0, w1, w2 = w[0], w[1], w[2]
    for i in range(n):
        out[r + i] = w0 * a[p + i] + (w1 * (a[p1 + i] + a[q1 + i]) + w2 * (a[p2 + i] + a[q2 + i]))


@row
def _seven_row(w, a, p, p1, q1, p2, q2, p3, q3, out, r, n):
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for i in range(n):
        near = w1 * (a[p1 + i] + a[q1 + i]) + w2 * (a[p2 + i] + a[q2 + i])
        out[r + i] = w0 * a[p + i] + (near + w3 * (a[p3 + i] + a[q3 + i]))


@row
def _four_pairs_row(w, k, a, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n):
    """Add four pairs of taps at once: a quarter of the loads and stores of the sum."""
    w1, w2, w3, w4 = w[k], w[k + 1], w[k + 2], w[k + 3]
    for i in range(n):
        near = w1 * (a[p1 + i] + a[q1 + i]) + w2 * (a[p2 + i] + a[q2 + i])
        out[r + i] += near + (w3 * (a[p3 + i] + a[q3 + i]) + w4 * (a[p4 + i] + a[q4 + i]))


@row
def _pair_row(w, k, a, p1, q1, out, r, n):
    w1 = w[k]
    for i in range(n):
        out[r + i] += w1 * (a[p1 + i] + a[q1 + i])


@row
def _start(base, stride, j, size):
    """Offset of row j of an array, mirrored."""
    return base + stride * _reflect(j, size)


@helper
def _convolve_row(w, a, base, stride, at, size, out, r, n):
    """out[r:r+n] = sum_k w[|k|] a(row at + k) over rows ``base + stride*j`` mirrored at 0 and ``size``."""
    taps = w.shape[0]
    p = base + stride * U(at)
    p1, q1 = _start(base, stride, at - 1, size), _start(base, stride, at + 1, size)
    p2, q2 = _start(base, stride, at - 2, size), _start(base, stride, at + 2, size)
    p3, q3 = _start(base, stride, at - 3, size), _start(base, stride, at + 3, size)
    if taps == 1:
        for i in range(n):
            out[r + i] = w[0] * a[p + i]
    elif taps == 2:
        _three_row(w, a, p, p1, q1, out, r, n)
    elif taps == 3:
        _five_row(w, a, p, p1, q1, p2, q2, out, r, n)
    else:
        _seven_row(w, a, p, p1, q1, p2, q2, p3, q3, out, r, n)
    k = 4
    while k + 3 < taps:
        p1, q1 = _start(base, stride, at - k, size), _start(base, stride, at + k, size)
        p2, q2 = _start(base, stride, at - k - 1, size), _start(base, stride, at + k + 1, size)
        p3, q3 = _start(base, stride, at - k - 2, size), _start(base, stride, at + k + 2, size)
        p4, q4 = _start(base, stride, at - k - 3, size), _start(base, stride, at + k + 3, size)
        _four_pairs_row(w, k, a, p1, q1, p2, q2, p3, q3, p4, q4, out, r, n)
        k += 4
    while k < taps:
        _pair_row(w, k, a, _start(base, stride, at - k, size), _start(base, stride, at + k, size), out, r, n)
        k += 1


@jit
def smooth(u, shape, lo, hi, wz, wy, wx, out):
    """Symmetric separable convolution of planes lo:hi into ``out``, mirrored at the border; ``w[k]`` weighs offsets +k and -k."""
    channels, nz, ny, nx = shape[0], shape[1], shape[2], shape[3]
    n, stride, plane = U(nx), U(nx), U(ny * nx)
    radius = wx.shape[0] - 1
    one_plane = np.empty(plane, u.dtype)
    padded = np.empty(nx + 2 * radius, u.dtype)
    for c in range(channels):
        for z in range(lo, hi):
            for y in range(ny):
                _convolve_row(wz, u, U(c * nz) * plane + U(y) * stride, plane, z, nz, one_plane, U(y) * stride, n)
            for y in range(ny):
                _convolve_row(wy, one_plane, U(0), stride, y, ny, padded, U(radius), n)
                for i in range(radius):
                    padded[radius - 1 - i] = padded[U(radius) + _reflect(i, nx)]
                    padded[radius + nx + i] = padded[U(radius) + _reflect(nx + i, nx)]
                target = (U(c * (hi - lo) + z - lo) * U(ny) + U(y)) * stride
                _convolve_row(wx, padded, U(0), U(1), radius, 2 * radius + 1, out, target, n)


@jit
def count_unusable(u, start, stop, limit):
    """Number of values in u[start:stop] that are NaN or beyond +-limit."""
    count = 0
    for i in range(U(start), U(stop)):
        count += not abs(u[i]) <= limit
    return count
