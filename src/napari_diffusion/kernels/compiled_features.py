"""Compiled kernels that look at the image: smoothing, gradient, and the search for values that are not finite. Rules as in `compiled`."""

from __future__ import annotations

import numpy as np

from napari_diffusion.kernels.jit import jit

U = np.uint64


@jit
def _square_row(u, p, near, far, faces, fp, fnear, bit, weight, s2, r, n):
    """Add the squares of both one-sided differences; through a closed face the difference is zero."""
    for i in range(n):
        up, down = u[far + i] - u[p + i], u[p + i] - u[near + i]
        if faces is not None:
            up = up if faces[fp + i] & bit else weight * 0
            down = down if faces[fnear + i] & bit else weight * 0
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


@jit
def _reflect(i, n):
    """Index under the half-sample mirror: ... 1 0 | 0 1 2 ... n-1 | n-1 ..."""
    i = i % (2 * n)
    return U(2 * n - 1 - i if i >= n else i)


@jit
def _centre_row(w, a, p, out, r, n):
    for i in range(n):
        out[r + i] = w[0] * a[p + i]


@jit
def _pair_row(w0, a, p0, q0, out, r, n):
    for i in range(n):
        out[r + i] += w0 * (a[p0 + i] + a[q0 + i])


@jit
def _two_pairs_row(w0, w1, a, p0, q0, p1, q1, out, r, n):
    """Two pairs of taps at once: half the loads and stores of the sum."""
    for i in range(n):
        out[r + i] += w0 * (a[p0 + i] + a[q0 + i]) + w1 * (a[p1 + i] + a[q1 + i])


@jit
def _convolve_row(w, a, base, stride, at, size, out, r, n):
    """out[r:r+n] = sum_k w[|k|] a(row at + k) for rows ``base + stride*j``, mirrored at 0 and ``size`` (no mirror when size is 0)."""
    taps = w.shape[0]
    _centre_row(w, a, base + stride * U(at), out, r, n)
    for k in range(1, taps - 1, 2):
        p0, q0, p1, q1 = U(at - k), U(at + k), U(at - k - 1), U(at + k + 1)
        if size > 0:
            p0, q0, p1, q1 = _reflect(at - k, size), _reflect(at + k, size), _reflect(at - k - 1, size), _reflect(at + k + 1, size)
        _two_pairs_row(w[k], w[k + 1], a, base + stride * p0, base + stride * q0, base + stride * p1, base + stride * q1, out, r, n)
    if taps % 2 == 0:
        k = taps - 1
        p0, q0 = U(at - k), U(at + k)
        if size > 0:
            p0, q0 = _reflect(at - k, size), _reflect(at + k, size)
        _pair_row(w[k], a, base + stride * p0, base + stride * q0, out, r, n)


@jit
def smooth(u, shape, lo, hi, wz, wy, wx, out):
    """Symmetric separable convolution of planes lo:hi into ``out``, mirrored at the border; ``w[k]`` weighs offsets +k and -k."""
    channels, nz, ny, nx = shape[0], shape[1], shape[2], shape[3]
    n, row_stride, plane = U(nx), U(nx), U(ny * nx)
    radius = wx.shape[0] - 1
    one_plane = np.empty(plane, u.dtype)
    padded = np.empty(nx + 2 * radius, u.dtype)
    for c in range(channels):
        for z in range(lo, hi):
            for y in range(ny):
                _convolve_row(wz, u, U(c * nz) * plane + U(y) * row_stride, plane, z, nz, one_plane, U(y) * row_stride, n)
            for y in range(ny):
                _convolve_row(wy, one_plane, U(0), row_stride, y, ny, padded, U(radius), n)
                for i in range(radius):
                    padded[radius - 1 - i] = padded[radius + np.int64(_reflect(i, nx))]
                    padded[radius + nx + i] = padded[radius + np.int64(_reflect(nx + i, nx))]
                target = (U(c * (hi - lo) + z - lo) * U(ny) + U(y)) * row_stride
                _convolve_row(wx, padded, U(0), U(1), radius, 0, out, target, n)


@jit
def count_unusable(u, start, stop, limit):
    """Number of values in u[start:stop] that are NaN or beyond +-limit."""
    count = 0
    for i in range(U(start), U(stop)):
        count += not abs(u[i]) <= limit
    return count
