"""Compiled kernels of the tensor models: derivatives, eigenvalues, packed tensors, cell stencil.

The same rules hold as in `numba.stages`; `reference.tensor` documents the functions.

A tensor is stored in two 64-bit words of three 19-bit entries each, in slots of 21 bits. Four words
can be added before they are unpacked. The six entries take 16 bytes instead of 24, with an error of
2e-6 of the largest eigenvalue.

The mean tensor of a cell is stored in four 32-bit words. Their lowest 21 bits hold the first four
entries in quarters of a quantisation step, and their highest 11 bits hold halves of the last two.
"""

from __future__ import annotations

import numpy as np

from napari_diffusion.backends.numba.jit import helper, jit, row
from napari_diffusion.backends.numba.stages import exp_neg_half
from napari_diffusion.backends.polynomials import SINE_SERIES
from napari_diffusion.backends.reference.tensor import (
    CELL_FRACTION,
    HOURGLASS_REDUCTION,
    MIN_EIGENVALUE_GAP,
    MIN_HOURGLASS_WEIGHT,
    QUANTISATION_STEPS,
    SMALLEST_EIGENVALUE,
)

U = np.uint64
#: Added to an entry, which makes it non-negative.
ENTRY_BIAS = 1 << 18
#: Mask of the lowest slot of a word, and the bits of one and of two slots.
SLOT_MASK, SLOT_BITS, TWO_SLOTS_BITS = U((1 << 21) - 1), U(21), U(42)
#: Added to an entry of a cell, which makes it non-negative.
CELL_BIAS = np.int32(CELL_FRACTION * ENTRY_BIAS)
#: Mask of the lowest slot of a 32-bit word, its bits, and the bits and mask of its highest slot.
WORD_MASK, WORD_BITS = np.uint32((1 << 21) - 1), np.uint32(21)
HALF_BITS, HALF_MASK = np.int32(11), np.int32((1 << 11) - 1)
ROOT3 = float(np.sqrt(3.0))
SMALLEST_4, SMALLEST_8 = SMALLEST_EIGENVALUE[4], SMALLEST_EIGENVALUE[8]
S0, S1, S2, S3, S4, S5, S6, S7, S8, S9, S10, S11, S12, S13, S14 = SINE_SERIES


@row
def _derivative_row(u, p, near, far, faces, fp, fnear, bit, first, scale, out, r, n):
    """Write a first or second derivative: scaled sum or difference of one-sided differences.

    A one-sided difference across a closed face is zero.
    """
    zero = u.dtype.type(0)
    for i in range(n):
        up, down = u[far + i] - u[p + i], u[p + i] - u[near + i]
        if faces is not None:
            up = up if faces[fp + i] & bit else zero
            down = down if faces[fnear + i] & bit else zero
        out[r + i] = scale * (up + down) if first else scale * (up - down)


@jit
def derivative(u, shape, start, lo, hi, axis, first, scale, faces, out):
    """First or second derivative on planes lo:hi; see `reference.tensor.derivative`.

    Plane 0 of ``u`` is plane ``start``.
    """
    channels, planes, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane, one, zero = ny * nx, U(1), U(0)
    start, lo, hi = U(start), U(lo), U(hi)
    last = nx - one
    for c in range(channels):
        for z in range(lo, hi):
            for y in range(ny):
                r, fp = (c * (hi - lo) + z - lo) * plane + y * nx, z * plane + y * nx
                p = (c * planes + z - start) * plane + y * nx
                # At the border of the array the neighbour is the voxel itself: difference zero.
                if axis == 0:
                    down = plane if z > start else zero
                    up = plane if z + one < start + planes else zero
                    _derivative_row(
                        u, p, p - down, p + up, faces, fp, fp - down, np.uint8(1),
                        first, scale, out, r, nx,
                    )  # fmt: skip
                elif axis == 1:
                    down = nx if y > zero else zero
                    up = nx if y + one < ny else zero
                    _derivative_row(
                        u, p, p - down, p + up, faces, fp, fp - down, np.uint8(2),
                        first, scale, out, r, nx,
                    )  # fmt: skip
                elif nx == one:
                    out[r] = u.dtype.type(0)
                else:
                    bit = np.uint8(4)
                    _derivative_row(
                        u, p + one, p, p + U(2), faces, fp + one, fp, bit,
                        first, scale, out, r + one, nx - U(2),
                    )  # fmt: skip
                    _derivative_row(u, p, p, p + one, faces, fp, fp, bit, first, scale, out, r, one)
                    end, face = p + last, fp + last - one
                    _derivative_row(
                        u, end, end - one, end, faces, face, face, bit,
                        first, scale, out, r + last, one,
                    )  # fmt: skip


@helper
def first_eigenvalues(j, mu, n):
    """Eigenvalues of the first ``n`` symmetric matrices, see `eigenvalues`."""
    if mu.shape[0] == 1:
        for i in range(n):
            mu[0, i] = j[0, i]
    elif mu.shape[0] == 2:
        for i in range(n):
            # In float64, since the squares may overflow in float32.
            a, b, c = np.float64(j[0, i]), np.float64(j[1, i]), np.float64(j[2, i])
            mean, half = 0.5 * (a + b), 0.5 * (a - b)
            root = np.sqrt(half * half + c * c)
            mu[0, i] = mean + root
            mu[1, i] = mean - root
    else:
        t = j.dtype.type
        third, sixth, half, one, two = t(1 / 3), t(1 / 6), t(0.5), t(1), t(2)
        smallest, tiny = (t(1e-37), t(1e-20)) if j.itemsize == 4 else (t(1e-300), t(1e-100))
        c0, c1, c2, c3, c4, c5, c6, c7 = t(S0), t(S1), t(S2), t(S3), t(S4), t(S5), t(S6), t(S7)
        c8, c9, c10, c11, c12, c13, c14 = t(S8), t(S9), t(S10), t(S11), t(S12), t(S13), t(S14)
        root3 = t(ROOT3)
        j0, j1, j2, j3, j4, j5 = j[0], j[1], j[2], j[3], j[4], j[5]
        m0, m1, m2 = mu[0], mu[1], mu[2]
        for i in range(n):
            mean = j0[i] * third + j1[i] * third + j2[i] * third
            a, b, c, d, e, f = j0[i] - mean, j1[i] - mean, j2[i] - mean, j3[i], j4[i], j5[i]
            size = max(max(max(abs(a), abs(b)), max(abs(c), abs(d))), max(abs(e), abs(f)))
            scale = one / max(size, smallest)
            a, b, c, d, e, f = a * scale, b * scale, c * scale, d * scale, e * scale, f * scale
            dd, ee, ff = d * d, e * e, f * f
            p2 = max((a * a + b * b + c * c + two * (dd + ee + ff)) * sixth, tiny)
            p = np.sqrt(p2)
            inverse = half / (p2 * p)
            r = (a * (b * c - ff) - d * (d * c - e * f) + e * (d * f - b * e)) * inverse
            # 1 - r^2 as a sum of squares, free of cancellation: it measures how far the square of
            # the matrix is from being parallel to the matrix.
            qa, qb, qc = a * a + dd + ee, b * b + dd + ff, c * c + ee + ff
            x0, x1, x2, x3, x4 = a - b, (a + b - two * c) * root3 * third, two * d, two * e, two * f
            y0, y1 = qa - qb, (qa + qb - two * qc) * root3 * third
            y2, y3 = two * (d * (a + b) + e * f), two * (e * (a + c) + d * f)
            y4 = two * (f * (b + c) + d * e)
            w01, w02 = x0 * y1 - x1 * y0, x0 * y2 - x2 * y0
            w03, w04 = x0 * y3 - x3 * y0, x0 * y4 - x4 * y0
            w12, w13, w14 = x1 * y2 - x2 * y1, x1 * y3 - x3 * y1, x1 * y4 - x4 * y1
            w23, w24, w34 = x2 * y3 - x3 * y2, x2 * y4 - x4 * y2, x3 * y4 - x4 * y3
            near = w01 * w01 + w02 * w02 + w03 * w03 + w04 * w04 + w12 * w12
            total = near + w13 * w13 + w14 * w14 + w23 * w23 + w24 * w24 + w34 * w34
            sine = np.sqrt(total) * (third * half) * inverse
            # y is the squared sine of half the angle, at most 1/2. The series gives the sine of a
            # third of the angle.
            y = min(sine * sine / (two * (one + abs(r))), half)
            x = t(4) * y - one
            s = c7 + x * (c8 + x * (c9 + x * (c10 + x * (c11 + x * (c12 + x * (c13 + x * c14))))))
            s = c0 + x * (c1 + x * (c2 + x * (c3 + x * (c4 + x * (c5 + x * (c6 + x * s))))))
            sin = s * np.sqrt(y)
            cos = np.sqrt(one - sin * sin)
            p *= size
            lone, low, high = two * p * cos, p * (cos - root3 * sin), p * (cos + root3 * sin)
            m0[i] = mean + (lone if r >= 0 else high)
            m1[i] = mean + (-low if r >= 0 else low)
            m2[i] = mean - (high if r >= 0 else lone)


@jit
def eigenvalues(j, mu):
    """Eigenvalues of symmetric matrices, largest first; see `reference.tensor.eigenvalues`."""
    first_eigenvalues(j, mu, mu.shape[1])


@row
def rise(x, one, limit, c):
    """Return 1 - exp(-x/2), which cancels for small x: below ``limit`` as a series.

    The limit is 0.25 in float32 and 0.02 in float64, where both forms have their digits. The series
    has the coefficients c.
    """
    series = x * (c[0] - x * (c[1] - x * (c[2] - x * (c[3] - x * (c[4] - x * c[5])))))
    return series if x < limit else one - exp_neg_half(x)


@row
def _share(rise, gap, floor, zero, one):
    """Divided difference; zero where two eigenvalues are equal, since they have one eigenspace."""
    # Selected, not branched: a loop with branches is not vectorised.
    share = rise / (gap if gap > floor else one)
    return share if gap > floor else zero


@row
def _regular(a, top):
    """Limit an entry to +-top, since a larger one would change its neighbours in the word.

    NaN becomes zero. If one entry of a tensor is NaN, its diagonal is, and it becomes zero.
    """
    a = top if a > top else a
    a = -top if a < -top else a
    return a if a == a else top - top


@row
def _pack(a, b, c, top):
    """Pack three entries, in quantisation steps, into one word."""
    # Via 32-bit integers, since few processors convert a vector of floats to 64-bit integers.
    a = np.int32(np.rint(_regular(a, top))) + ENTRY_BIAS
    b = np.int32(np.rint(_regular(b, top))) + ENTRY_BIAS
    c = np.int32(np.rint(_regular(c, top))) + ENTRY_BIAS
    return U(a) | (U(b) << SLOT_BITS) | (U(c) << TWO_SLOTS_BITS)


@jit
def compose(j, mu, lam, scale, axes, d, start, volume):
    """Pack tensors with new eigenvalues into two words; see `reference.tensor.compose`.

    ``scale`` times D = sum_i lam_i v_i v_i^T is written from voxel ``start`` on, with the
    eigenvectors v of ``j``. Newton's form of the map mu -> lam needs no eigenvectors.
    """
    start, volume, count = U(start), U(volume), U(mu.shape[1])
    t = mu.dtype.type
    zero, one, min_gap, top = t(0), t(1), t(MIN_EIGENVALUE_GAP), t(QUANTISATION_STEPS)
    smallest = t(SMALLEST_4) if mu.itemsize == 4 else t(SMALLEST_8)
    if mu.shape[0] == 1:
        for i in range(count):
            d0 = scale * lam[0, i]
            z = d0 if axes[0] == 0 else zero
            y = d0 if axes[0] == 1 else zero
            x = d0 if axes[0] == 2 else zero
            d[start + i], d[volume + start + i] = _pack(z, y, x, top), _pack(zero, zero, zero, top)
    elif mu.shape[0] == 2:
        for i in range(count):
            rise, gap = lam[0, i] - lam[1, i], mu[0, i] - mu[1, i]
            size = max(max(abs(mu[0, i]), abs(mu[1, i])), smallest)
            share = _share(rise, gap, min_gap * size, zero, one)
            a = scale * (lam[0, i] + share * (j[0, i] - mu[0, i]))
            b = scale * (lam[0, i] + share * (j[1, i] - mu[0, i]))
            c = scale * (share * j[2, i])
            if axes[0] == 0 and axes[1] == 2:
                diagonal, upper = _pack(a, zero, b, top), _pack(zero, c, zero, top)
            elif axes[0] == 0:
                diagonal, upper = _pack(a, b, zero, top), _pack(c, zero, zero, top)
            else:
                diagonal, upper = _pack(zero, a, b, top), _pack(zero, zero, c, top)
            d[start + i], d[volume + start + i] = diagonal, upper
    else:
        j0, j1, j2, j3, j4, j5 = j[0], j[1], j[2], j[3], j[4], j[5]
        m0, m1, m2, l0, l1, l2 = mu[0], mu[1], mu[2], lam[0], lam[1], lam[2]
        for i in range(count):
            # In units of the largest eigenvalue, since the second divided difference divides by a
            # product of two gaps.
            unit = one / max(max(abs(m0[i]), abs(m2[i])), smallest)
            a, b, c, first = m0[i] * unit, m1[i] * unit, m2[i] * unit, l0[i]
            second = l1[i] if a - b > min_gap else first
            third = l2[i] if b - c > min_gap else second
            s12 = _share(first - second, a - b, min_gap, zero, one)
            s23 = _share(second - third, b - c, min_gap, zero, one)
            s123 = _share(s12 - s23, a - c, min_gap, zero, one)
            zz, yy, xx = j0[i] * unit, j1[i] * unit, j2[i] * unit
            o3, o4, o5 = j3[i] * unit, j4[i] * unit, j5[i] * unit
            z1, y1, x1, z2, y2, x2 = zz - a, yy - a, xx - a, zz - b, yy - b, xx - b
            zz = first + s12 * z1 + s123 * (z1 * z2 + o3 * o3 + o4 * o4)
            yy = first + s12 * y1 + s123 * (o3 * o3 + y1 * y2 + o5 * o5)
            xx = first + s12 * x1 + s123 * (o4 * o4 + o5 * o5 + x1 * x2)
            zy = s12 * o3 + s123 * (z1 * o3 + o3 * y2 + o4 * o5)
            zx = s12 * o4 + s123 * (z1 * o4 + o3 * o5 + o4 * x2)
            yx = s12 * o5 + s123 * (o3 * o4 + y1 * o5 + o5 * x2)
            d[start + i] = _pack(scale * zz, scale * yy, scale * xx, top)
            d[volume + start + i] = _pack(scale * zy, scale * zx, scale * yx, top)


@row
def _unpack_row(low, low_volume, a, b, high, high_volume, c, e, t, n):
    """t[k, 1:n+1] = entry k summed over two rows of each plane; both ends are repeated."""
    four_biases, one = np.int32(4 * ENTRY_BIAS), U(1)
    for i in range(n):
        w = low[a + i] + low[b + i] + high[c + i] + high[e + i]
        t[0, i + one] = np.int32(w & SLOT_MASK) - four_biases
        t[1, i + one] = np.int32((w >> SLOT_BITS) & SLOT_MASK) - four_biases
        t[2, i + one] = np.int32(w >> TWO_SLOTS_BITS) - four_biases
    a, b, c, e = low_volume + a, low_volume + b, high_volume + c, high_volume + e
    for i in range(n):
        w = low[a + i] + low[b + i] + high[c + i] + high[e + i]
        t[3, i + one] = np.int32(w & SLOT_MASK) - four_biases
        t[4, i + one] = np.int32((w >> SLOT_BITS) & SLOT_MASK) - four_biases
        t[5, i + one] = np.int32(w >> TWO_SLOTS_BITS) - four_biases
    for k in range(6):
        t[k, 0] = t[k, 1]
        t[k, n + one] = t[k, n]


@row
def _pair_row(t, n):
    """Replace the sums over four voxels by those over the corners of cells, halved."""
    half, one = t.dtype.type(CELL_FRACTION / 8), U(1)
    for k in range(6):
        for i in range(n + one):
            t[k, i] = half * (t[k, i] + t[k, i + one])


@row
def _pack_cells_row(t, d, volume, p, n):
    """Pack the tensors of a row of cells."""
    t0, t1, t2, t3, t4, t5 = t[0], t[1], t[2], t[3], t[4], t[5]
    second, third = p + volume, p + volume + volume
    fourth = third + volume
    for i in range(n):
        zz = np.int32(np.int32(np.rint(t0[i])) + CELL_BIAS)
        yy = np.int32(np.int32(np.rint(t1[i])) + CELL_BIAS)
        xx = np.int32(np.int32(np.rint(t2[i])) + CELL_BIAS)
        zy = np.int32(np.int32(np.rint(t3[i])) + CELL_BIAS)
        zx = np.int32(np.int32(np.rint(t4[i])) + CELL_BIAS)
        yx = np.int32(np.int32(np.rint(t5[i])) + CELL_BIAS)
        d[p + i] = np.uint32(zz) | (np.uint32(zx & HALF_MASK) << WORD_BITS)
        d[second + i] = np.uint32(yy) | (np.uint32(zx >> HALF_BITS) << WORD_BITS)
        d[third + i] = np.uint32(xx) | (np.uint32(yx & HALF_MASK) << WORD_BITS)
        d[fourth + i] = np.uint32(zy) | (np.uint32(yx >> HALF_BITS) << WORD_BITS)


@row
def _unpack_cells_row(d, volume, p, t, n):
    """t[k, :n] = entry k of a row of cells."""
    t0, t1, t2, t3, t4, t5 = t[0], t[1], t[2], t[3], t[4], t[5]
    second, third = p + volume, p + volume + volume
    fourth = third + volume
    for i in range(n):
        a, b, c, e = d[p + i], d[second + i], d[third + i], d[fourth + i]
        t0[i] = np.int32(np.int32(a & WORD_MASK) - CELL_BIAS)
        t1[i] = np.int32(np.int32(b & WORD_MASK) - CELL_BIAS)
        t2[i] = np.int32(np.int32(c & WORD_MASK) - CELL_BIAS)
        t3[i] = np.int32(np.int32(e & WORD_MASK) - CELL_BIAS)
        zx = np.int32(np.int32(a >> WORD_BITS) + np.int32(np.int32(b >> WORD_BITS) << HALF_BITS))
        yx = np.int32(np.int32(c >> WORD_BITS) + np.int32(np.int32(e >> WORD_BITS) << HALF_BITS))
        t4[i], t5[i] = np.int32(zx - CELL_BIAS), np.int32(yx - CELL_BIAS)


@jit
def average(below, planes_below, d, cells, shape, start):
    """Store means of the tensors at the corners of cells; see `reference.tensor.average`.

    ``shape`` has the number of planes of ``d``, and the size of the volume. With
    ``planes_below`` = 0, ``below`` is not read.
    """
    planes, sizes = shape[0], shape[1:]
    ny, nx = U(sizes[1]), U(sizes[2])
    # An axis of one voxel has one cell, on both of whose sides is this voxel.
    my, mx = ny + U(ny > U(1)), nx + U(nx > U(1))
    plane = ny * nx
    volume, low_volume = U(planes) * plane, U(planes_below) * plane
    cell_volume = U(sizes[0] + (sizes[0] > 1)) * my * mx
    t = np.empty((6, sizes[2] + 2), np.float32)
    first, last = start, start + planes - 1
    if start == 0 or planes_below > 0:
        first -= 1
    if start + planes == sizes[0] and sizes[0] > 1:
        last += 1
    for zc in range(first, last):
        z0 = U(max(zc - start, 0)) * plane
        z1 = U(min(zc + 1, sizes[0] - 1) - start) * plane
        above = U(zc + 1 if sizes[0] > 1 else 0) * my
        for yc in range(-1, sizes[1] if sizes[1] > 1 else 0):
            y0, y1 = U(max(yc, 0)) * nx, U(min(yc + 1, sizes[1] - 1)) * nx
            if zc < start and planes_below > 0:
                z = low_volume - plane
                _unpack_row(below, low_volume, z + y0, z + y1, d, volume, z1 + y0, z1 + y1, t, nx)
            else:
                _unpack_row(d, volume, z0 + y0, z0 + y1, d, volume, z1 + y0, z1 + y1, t, nx)
            _pair_row(t, nx)
            _pack_cells_row(t, cells, cell_volume, (above + U(yc + 1)) * mx, mx)


@row
def _corner_row(u, a, b, c, e, x, y, z, q, n):
    """Sums and differences of the four rows of voxels at the corners of a row of cells.

    Row a is low along y and z, b is high along y, c is high along z, e is high along both.
    """
    one = U(1)
    for i in range(n):
        ua, ub, uc, ue = u[a + i], u[b + i], u[c + i], u[e + i]
        y[i + one] = (ub - ua) + (ue - uc)
        z[i + one] = (uc - ua) + (ue - ub)
        q[i + one] = (ue - uc) - (ub - ua)
    for i in range(n - one):
        x[i + one] = ((u[a + i + one] - u[a + i]) + (u[e + i + one] - u[e + i])) + (
            (u[b + i + one] - u[b + i]) + (u[c + i + one] - u[c + i])
        )
    x[0], x[n] = u.dtype.type(0), u.dtype.type(0)
    for f in (y, z, q):
        f[0] = f[1]
        f[n + one] = f[n]


@row
def _flux_row(t, k, x, y, z, q, fx, fy, fz, mzy, mzx, myx, m3, n):
    """Fluxes of the n + 1 cells of a row: D times mean gradient, and weighted hourglass modes."""
    one = U(1)
    min_weight = x.dtype.type(MIN_HOURGLASS_WEIGHT)
    reduction = x.dtype.type(HOURGLASS_REDUCTION)
    k0, k1, k2, k3, k4, k5 = k[0], k[1], k[2], k[3], k[4], k[5]
    t0, t1, t2, t3, t4, t5 = t[0], t[1], t[2], t[3], t[4], t[5]
    for i in range(n + one):
        zz, yy, xx = k0 * t0[i], k1 * t1[i], k2 * t2[i]
        zy, zx, yx = k3 * t3[i], k4 * t4[i], k5 * t5[i]
        gx, gy, gz = x[i], y[i] + y[i + one], z[i] + z[i + one]
        fz[i] = zz * gz + (zy * gy + zx * gx)
        fy[i] = yy * gy + (zy * gz + yx * gx)
        fx[i] = xx * gx + (zx * gz + yx * gy)
        azy, azx, ayx = abs(zy), abs(zx), abs(yx)
        vz = max(min_weight * zz, zz - reduction * (azy + azx))
        vy = max(min_weight * yy, yy - reduction * (azy + ayx))
        vx = max(min_weight * xx, xx - reduction * (azx + ayx))
        mzy[i] = (vz + vy) * (q[i] + q[i + one])
        mzx[i] = (vz + vx) * (z[i + one] - z[i])
        myx[i] = (vy + vx) * (y[i + one] - y[i])
        m3[i] = (vz + (vy + vx)) * (q[i + one] - q[i])
    # A cell at an end of the row has no edge along it.
    fx[0], fx[n] = x.dtype.type(0), x.dtype.type(0)


@row
def _gather_row(fx, fy, fz, mzy, mzx, myx, m3, x, y, z, q, n):
    """Contributions of a row of cells to its four rows of voxels, which differ in signs only.

    x, y and z receive those of the fluxes along the axes, q that of the hourglass mode of y and z.
    """
    one = U(1)
    for i in range(n):
        x[i] = fx[i + one] - fx[i]
        y[i] = (myx[i + one] - myx[i]) - (fy[i] + fy[i + one])
        z[i] = (mzx[i + one] - mzx[i]) - (fz[i] + fz[i + one])
        q[i] = (m3[i + one] - m3[i]) - (mzy[i] + mzy[i + one])


@row
def _scatter_row(x, y, z, q, sy, sz, out, o, n):
    """Add the contributions to one of the four rows of voxels.

    sy and sz are +-1 for the side of the row, or 0 where the cells have one side only.
    """
    both = sy * sz
    for i in range(n):
        out[o + i] += (x[i] + sy * y[i]) + (sz * z[i] + both * q[i])


@row
def _scatter_rows(x, y, z, q, out, a, b, e, f, n):
    """Add the contributions to all four rows of voxels, in the interior of the volume."""
    for i in range(n):
        y_low, y_high, z_low, z_high = x[i] - y[i], x[i] + y[i], q[i] - z[i], z[i] + q[i]
        out[a + i] += y_low + z_low
        out[b + i] += y_high - z_high
        out[e + i] += y_low - z_low
        out[f + i] += y_high + z_high


@row
def _begin_row(u, p, momentum, out, n):
    """Write u + momentum (u - out)."""
    if momentum == 0:
        for i in range(n):
            out[p + i] = u[p + i]
    else:
        for i in range(n):
            out[p + i] = u[p + i] + momentum * (u[p + i] - out[p + i])


@row
def _edge(edge):
    """Axis, low corner and high corner of edge 0 to 11 of a cell."""
    axis, k = edge // 4, edge % 4
    if axis == 0:
        return axis, k, k + 4
    if axis == 1:
        return axis, (k & 1) + ((k & 2) << 1), (k & 1) + ((k & 2) << 1) + 2
    return axis, 2 * k, 2 * k + 1


@helper
def _is_cut(faces, a, b, c, e, has_y, has_z, left, right):
    """Whether a face between two voxels of the cell is closed.

    ``left`` and ``right`` are offsets in the row; they are equal at the ends of the row.
    """
    is_cut = False
    for side in range(2):
        x = left if side == 0 else right
        if has_z:
            is_cut |= not faces[a + x] & np.uint8(1) or not faces[b + x] & np.uint8(1)
        if has_y:
            is_cut |= not faces[a + x] & np.uint8(2) or not faces[c + x] & np.uint8(2)
    if left != right:
        for start in (a, b, c, e):
            is_cut |= not faces[start + left] & np.uint8(4)
    return is_cut


@helper
def _cut_cell(u, d, volume, faces, corner, present, k, pc, out_of, out):
    """Add the fluxes of one cell with walls; see `reference.tensor.tensor_step`.

    Every connected part of its corners has its own mean gradient. The bits 4, 2, 1 of a corner's
    number mark the high side along z, y, x. ``corner`` holds offsets in the volume, ``present``
    marks corners inside the image, ``out_of`` the corners that are written.
    """
    part = np.empty(8, np.int64)
    for n in range(8):
        part[n] = n
    opened = np.zeros(12, np.bool_)
    for _ in range(7):
        for edge in range(12):
            axis, n, m = _edge(edge)
            if present[n] and present[m] and faces[corner[n]] & np.uint8(1 << axis):
                opened[edge] = True
                low = min(part[n], part[m])
                part[n], part[m] = low, low
    t = np.empty(6, np.float64)
    g, flux, v, count = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    for root in range(8):
        if not present[root] or part[root] != root:
            continue
        t[:] = 0
        for n in range(8):
            if present[n] and part[n] == root:
                for entry in range(6):
                    w = d[corner[n]] if entry < 3 else d[volume + corner[n]]
                    slot = (w >> (SLOT_BITS * U(entry % 3))) & SLOT_MASK
                    t[entry] += np.int64(slot) - ENTRY_BIAS
        # k contains 1/16 for two means over four edges, which this function takes itself, and turns
        # quarters of a quantisation step into a mean over eight corners.
        for entry in range(6):
            t[entry] *= 16.0 * CELL_FRACTION / 8.0 * k[entry]
        g[:] = 0
        count[:] = 0
        for edge in range(12):
            axis, n, m = _edge(edge)
            if opened[edge] and part[n] == root:
                g[axis] += float(u[pc + corner[m]]) - float(u[pc + corner[n]])
                count[axis] += 1
        for axis in range(3):
            g[axis] /= max(count[axis], 1.0)
        flux[0] = t[0] * g[0] + t[3] * g[1] + t[4] * g[2]
        flux[1] = t[3] * g[0] + t[1] * g[1] + t[5] * g[2]
        flux[2] = t[4] * g[0] + t[5] * g[1] + t[2] * g[2]
        zy, zx, yx = abs(t[3]), abs(t[4]), abs(t[5])
        v[0] = max(MIN_HOURGLASS_WEIGHT * t[0], t[0] - HOURGLASS_REDUCTION * (zy + zx))
        v[1] = max(MIN_HOURGLASS_WEIGHT * t[1], t[1] - HOURGLASS_REDUCTION * (zy + yx))
        v[2] = max(MIN_HOURGLASS_WEIGHT * t[2], t[2] - HOURGLASS_REDUCTION * (zx + yx))
        for edge in range(12):
            axis, n, m = _edge(edge)
            if opened[edge] and part[n] == root:
                rise = float(u[pc + corner[m]]) - float(u[pc + corner[n]])
                f = (flux[axis] + v[axis] * (rise - g[axis])) / count[axis]
                if out_of[n]:
                    out[pc + corner[n]] += u.dtype.type(f)
                if out_of[m]:
                    out[pc + corner[m]] -= u.dtype.type(f)


@jit
def step(u, out, d, shape, lo, hi, k, momentum, faces):
    """One stage on planes lo:hi of flat fields; see `reference.tensor.tensor_step`.

    Without ``faces``, ``d`` has the tensors of cells.
    """
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane = ny * nx
    volume, one, zero = nz * plane, U(1), U(0)
    my, mx = ny + U(ny > one), nx + U(nx > one)
    cell_volume = (nz + U(nz > one)) * my * mx
    t = np.empty((6, shape[3] + 2), u.dtype)
    x, y = np.empty(nx + 2, u.dtype), np.empty(nx + 2, u.dtype)
    z, q = np.empty(nx + 2, u.dtype), np.empty(nx + 2, u.dtype)
    fx, fy, fz = np.empty(nx + 1, u.dtype), np.empty(nx + 1, u.dtype), np.empty(nx + 1, u.dtype)
    mzy, mzx = np.empty(nx + 1, u.dtype), np.empty(nx + 1, u.dtype)
    myx, m3 = np.empty(nx + 1, u.dtype), np.empty(nx + 1, u.dtype)
    cut = np.zeros(nx + 1, np.bool_)
    corner, present, out_of = np.zeros(8, np.uint64), np.zeros(8, np.bool_), np.zeros(8, np.bool_)
    for zc in range(lo - 1, hi):
        # Cells between plane zc and the next one. At the border the plane is its own mirror image.
        has_z = zc >= 0 and zc + 1 < shape[1]
        z0, z1 = U(max(zc, 0)) * plane, U(min(zc + 1, shape[1] - 1)) * plane
        low, high = zc >= lo, zc + 1 < hi
        sz = u.dtype.type(1 if has_z else 0)
        if high:
            for c in range(channels):
                for r in range(ny):
                    _begin_row(u, c * volume + z1 + r * nx, momentum, out, nx)
        for yc in range(-1, shape[2]):
            has_y = yc >= 0 and yc + 1 < shape[2]
            y0, y1 = U(max(yc, 0)) * nx, U(min(yc + 1, shape[2] - 1)) * nx
            a, b, e, f = z0 + y0, z0 + y1, z1 + y0, z1 + y1
            left, right = yc >= 0, yc + 1 < shape[2]
            sy = u.dtype.type(1 if has_y else 0)
            any_cut = False
            if faces is None:
                above = U(zc + 1 if nz > one else 0) * my + U(yc + 1 if ny > one else 0)
                _unpack_cells_row(d, cell_volume, above * mx, t, mx)
                if mx == one:
                    for n in range(6):
                        t[n, 1] = t[n, 0]
            else:
                _unpack_row(d, volume, a, b, d, volume, e, f, t, nx)
                _pair_row(t, nx)
                for i in range(nx + one):
                    x_left, x_right = i - one if i > zero else zero, i if i < nx else nx - one
                    cut[i] = _is_cut(faces, a, b, e, f, has_y, has_z, x_left, x_right)
                    any_cut |= cut[i]
            for c in range(channels):
                pc = c * volume
                _corner_row(u, pc + a, pc + b, pc + e, pc + f, x, y, z, q, nx)
                _flux_row(t, k, x, y, z, q, fx, fy, fz, mzy, mzx, myx, m3, nx)
                if any_cut:
                    for i in range(nx + one):
                        if cut[i]:
                            for flow in (fx, fy, fz, mzy, mzx, myx, m3):
                                flow[i] = u.dtype.type(0)
                # x, y, z and q are no longer needed, so they receive the contributions.
                _gather_row(fx, fy, fz, mzy, mzx, myx, m3, x, y, z, q, nx)
                if low and high and has_y and has_z:
                    _scatter_rows(x, y, z, q, out, pc + a, pc + b, pc + e, pc + f, nx)
                else:
                    if low and left:
                        _scatter_row(x, y, z, q, -sy, -sz, out, pc + a, nx)
                    if low and right:
                        _scatter_row(x, y, z, q, sy, -sz, out, pc + b, nx)
                    if high and left:
                        _scatter_row(x, y, z, q, -sy, sz, out, pc + e, nx)
                    if high and right:
                        _scatter_row(x, y, z, q, sy, sz, out, pc + f, nx)
                if any_cut:
                    for i in range(nx + one):
                        if cut[i]:
                            for n in range(8):
                                at_z, at_y, at_x = n & 4, n & 2, n & 1
                                inside_x = i < nx if at_x else i > zero
                                inside_y = right if at_y else left
                                inside_z = zc + 1 < shape[1] if at_z else zc >= 0
                                present[n] = inside_x and inside_y and inside_z
                                out_of[n] = high if at_z else low
                                row_start = (z1 if at_z else z0) + (y1 if at_y else y0)
                                x_left = i - one if i > zero else zero
                                x_right = i if i < nx else nx - one
                                corner[n] = row_start + (x_right if at_x else x_left)
                            _cut_cell(u, d, volume, faces, corner, present, k, pc, out_of, out)
