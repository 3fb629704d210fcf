"""Compiled kernels that look at the image: smoothing, gradient, and the search for values that are not finite. Rules as in `compiled`."""

from __future__ import annotations

import numpy as np

from napari_diffusion.kernels.jit import jit, row

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
def _two_pairs_row(w, k, a, p, p0, q0, p1, q1, out, r, n):
    """Begin a row with its centre and the pairs of taps k and k + 1."""
    centre, w0, w1 = w[0], w[k], w[k + 1]
    for i in range(n):
        out[r + i] = centre * a[p + i] + (w0 * (a[p0 + i] + a[q0 + i]) + w1 * (a[p1 + i] + a[q1 + i]))


@row
def _add_two_pairs_row(w, k, a, p0, q0, p1, q1, out, r, n):
    w0, w1 = w[k], w[k + 1]
    for i in range(n):
        out[r + i] += w0 * (a[p0 + i] + a[q0 + i]) + w1 * (a[p1 + i] + a[q1 + i])


@row
def _add_four_pairs_row(w, k, a, p0, q0, p1, q1, p2, q2, p3, q3, out, r, n):
    w0, w1, w2, w3 = w[k], w[k + 1], w[k + 2], w[k + 3]
    for i in range(n):
        near = w0 * (a[p0 + i] + a[q0 + i]) + w1 * (a[p1 + i] + a[q1 + i])
        out[r + i] += near + (w2 * (a[p2 + i] + a[q2 + i]) + w3 * (a[p3 + i] + a[q3 + i]))


@jit
def _convolve_row(w, a, base, stride, at, size, out, r, n):
    """out[r:r+n] = sum_k w[|k|] a(row at + k) over rows ``base + stride*j`` mirrored at 0 and ``size``; an odd number of taps."""
    _two_pairs_row(
        w,
        1,
        a,
        base + stride * U(at),
        base + stride * _reflect(at - 1, size),
        base + stride * _reflect(at + 1, size),
        base + stride * _reflect(at - 2, size),
        base + stride * _reflect(at + 2, size),
        out,
        r,
        n,
    )
    k = 3
    while k + 3 < w.shape[0]:
        _add_four_pairs_row(
            w,
            k,
            a,
            base + stride * _reflect(at - k, size),
            base + stride * _reflect(at + k, size),
            base + stride * _reflect(at - k - 1, size),
            base + stride * _reflect(at + k + 1, size),
            base + stride * _reflect(at - k - 2, size),
            base + stride * _reflect(at + k + 2, size),
            base + stride * _reflect(at - k - 3, size),
            base + stride * _reflect(at + k + 3, size),
            out,
            r,
            n,
        )
        k += 4
    if k < w.shape[0]:
        _add_two_pairs_row(
            w,
            k,
            a,
            base + stride * _reflect(at - k, size),
            base + stride * _reflect(at + k, size),
            base + stride * _reflect(at - k - 1, size),
            base + stride * _reflect(at + k + 1, size),
            out,
            r,
            n,
        )


@row
def _odd(w):
    """The taps, with a zero appended where that makes their number odd and at least three, so that pairs come in twos."""
    count = max(3, w.shape[0] + 1 - w.shape[0] % 2)
    taps = np.zeros(count, w.dtype)
    for k in range(w.shape[0]):
        taps[k] = w[k]
    return taps


@jit
def smooth(u, shape, lo, hi, wz, wy, wx, out):
    """Symmetric separable convolution of planes lo:hi into ``out``, mirrored at the border; ``w[k]`` weighs offsets +k and -k."""
    channels, nz, ny, nx = shape[0], shape[1], shape[2], shape[3]
    wz, wy, wx = _odd(wz), _odd(wy), _odd(wx)
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
