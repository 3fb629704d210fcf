r"""Compiled kernels for one, two and three diffusing axes: the same functions as `reference`, by numba, without the GIL.

Fields have shape ``(C, Z, Y, X)``; a 2-D image is ``(C, Y, 1, X)``, so that slabs are cut along its rows. Every loop runs along
a row and vectorises. The flux through a face is computed once, kept for one row or plane, and added to one voxel and taken
from the other: the mean is kept to rounding, and no bit depends on where slabs are cut.

What this file obeys (measured, see docs/develop/decisions.md): arrays in, arrays out; helpers in this same file, no function
arguments (numba's cache would miss or go stale); rows are addressed by unsigned offsets into flat arrays (a slice costs two
atomic reference counts, a signed index a wrap-around test); arrays that a kernel writes never overlap another argument;
constants in the type of the field (one Python float would promote the loop to float64); no ``nnan`` or ``ninf`` in fastmath, so
that NaN stays NaN; no ``math.exp`` (one scalar call stops vectorisation).
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import overload

from napari_diffusion.kernels.jit import helper, jit, row

U = np.uint64
LOG2E_64, LOG2E_32 = math.log2(math.e), np.float32(math.log2(math.e))
ROUND_64, ROUND_32 = 1.5 * 2.0**52, np.float32(1.5 * 2.0**23)  # adding it rounds to a whole number
LEAST = np.float32(np.finfo(np.float32).tiny)  # a gradient below it is flat
# 2^r on [-1/2, 1/2]. float32: fitted, largest relative error 9.2e-8. float64: Taylor, 2e-16.
P1, P2, P3, P4, P5 = (np.float32(c) for c in (0.693146978, 0.240222421, 0.0555073374, 0.00967151268, 0.00132647267))
T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13 = (math.log(2.0) ** k / math.factorial(k) for k in range(1, 14))


def _exp_neg(x: Any) -> Any:
    """exp(-x) for x >= 0; the overload below is what compiled code calls."""
    return np.exp(-x)


@overload(_exp_neg)
def _exp_neg_overload(x: Any) -> Any:
    def exp_neg32(x: Any) -> Any:
        t = ROUND_32 - min(x, np.float32(87.0)) * LOG2E_32  # the sum holds the nearest whole number in its last bits
        r = -min(x, np.float32(87.0)) * LOG2E_32 - (t - ROUND_32)
        p = np.float32(1.0) + r * (P1 + r * (P2 + r * (P3 + r * (P4 + r * P5))))
        bits = np.int32(np.float32(p).view(np.int32) + np.int32(np.int32(np.float32(t).view(np.int32)) << np.int32(23)))
        return np.int32(bits).view(np.float32)

    def exp_neg64(x: Any) -> Any:
        t = ROUND_64 - min(x, 700.0) * LOG2E_64
        r = -min(x, 700.0) * LOG2E_64 - (t - ROUND_64)
        p = T7 + r * (T8 + r * (T9 + r * (T10 + r * (T11 + r * (T12 + r * T13)))))
        p = 1.0 + r * (T1 + r * (T2 + r * (T3 + r * (T4 + r * (T5 + r * (T6 + r * p))))))
        bits = np.int64(np.float64(p).view(np.int64) + np.int64(np.int64(np.float64(t).view(np.int64)) << np.int64(52)))
        return np.int64(bits).view(np.float64)

    return exp_neg32 if x == numba.float32 else exp_neg64


@helper
def _diffusivity_row(code, q, r, n):
    """Replace q = s^2/kappa^2 by g(q) in q[r:r+n]; the formulas are in coefficients.Diffusivity."""
    t = q.dtype.type
    one = t(1)
    if code == 0:
        for i in range(n):
            q[r + i] = one
    elif code == 1:
        for i in range(n):
            q[r + i] = one / (one + q[r + i])
    elif code == 2:
        half = t(0.5)
        for i in range(n):
            q[r + i] = _exp_neg(half * q[r + i])
    elif code == 3:
        fifth = t(0.2)
        for i in range(n):
            rest = max(one - fifth * q[r + i], t(0))
            q[r + i] = rest * rest
    elif code == 4:
        c, small, r2, r3, r4, r5, r6 = t(3.31488), t(0.02), t(1 / 2), t(1 / 3), t(1 / 4), t(1 / 5), t(1 / 6)
        for i in range(n):
            q2 = q[r + i] * q[r + i]
            x = c / (q2 * q2)
            # 1 - exp(-x) cancels for small x; there the series keeps its digits.
            series = x * (one - r2 * x * (one - r3 * x * (one - r4 * x * (one - r5 * x * (one - r6 * x)))))
            q[r + i] = series if x < small else one - _exp_neg(x)
    else:
        for i in range(n):
            q[r + i] = one / np.sqrt(one + q[r + i])


@row
def _linear_flux_row(u, near, far, a, f, r, n):
    for i in range(n):
        f[r + i] = a * (u[far + i] - u[near + i])


@row
def _rational_flux_row(u, near, far, a, b, f, r, n):
    one = u.dtype.type(1)
    for i in range(n):
        d = u[far + i] - u[near + i]
        s = b * d
        f[r + i] = (a * d) / (one + s * s)


@helper
def _flux_row(code, u, near, far, a, b, f, r, n):
    """f[r:r+n] = a g((b d)^2) d with d = u[far:far+n] - u[near:near+n]. The common diffusivities are fused."""
    if code == 0:
        _linear_flux_row(u, near, far, a, f, r, n)
    elif code == 1:
        _rational_flux_row(u, near, far, a, b, f, r, n)
    elif code == 2:
        half = u.dtype.type(0.5)
        for i in range(n):
            d = u[far + i] - u[near + i]
            s = b * d
            f[r + i] = (a * d) * _exp_neg(half * (s * s))
    else:
        for i in range(n):
            s = b * (u[far + i] - u[near + i])
            f[r + i] = s * s
        _diffusivity_row(code, f, r, n)
        for i in range(n):
            f[r + i] *= a * (u[far + i] - u[near + i])


@helper
def _coupled_row(code, u, near, far, volume, b, w, q, r, n):
    """q[r:r+n] = g of the weighted sum over channels of the squared differences: the conductance that all channels share."""
    for i in range(n):
        q[r + i] = u.dtype.type(0)
    for c in range(w.shape[0]):
        wb, p = w[c] * b * b, U(c) * volume
        for i in range(n):
            d = u[p + far + i] - u[p + near + i]
            q[r + i] += wb * (d * d)
    _diffusivity_row(code, q, r, n)


@row
def _shared_flux_row(q, u, near, far, a, f, r, n):
    for i in range(n):
        f[r + i] = (a * q[r + i]) * (u[far + i] - u[near + i])


@row
def _scalar_flux_row(g, g_near, g_far, u, near, far, half_a, f, r, n):
    for i in range(n):
        f[r + i] = (half_a * (g[g_near + i] + g[g_far + i])) * (u[far + i] - u[near + i])


@row
def _close_row(faces, p, bit, f, r, n):
    """Shut the faces whose bit is not set; a select, since 0 * NaN is NaN."""
    zero = f.dtype.type(0)
    for i in range(n):
        f[r + i] = f[r + i] if faces[p + i] & bit else zero


@row
def _start_row(u, p, momentum, fx, out, o, n):
    """Begin with u + momentum (u - out) + divergence along the row."""
    one = U(1)
    if momentum == 0:
        for i in range(n):
            out[o + i] = u[p + i] + (fx[i + one] - fx[i])
    else:
        for i in range(n):
            out[o + i] = u[p + i] + (momentum * (u[p + i] - out[o + i]) + (fx[i + one] - fx[i]))


@row
def _carry_rows(fy, fz, carry_y, ry, carry_z, rz, out, o, n):
    """Add the fluxes through the far y and z faces less those through the near ones; keep the far ones for the next row and plane."""
    for i in range(n):
        out[o + i] += (fy[i] - carry_y[ry + i]) + (fz[i] - carry_z[rz + i])
        carry_y[ry + i] = fy[i]
        carry_z[rz + i] = fz[i]


@row
def _rational_rows(u, p, above, beyond, ay, by, az, bz, carry_y, ry, carry_z, rz, out, o, n):
    """As `_carry_rows`, with the rational fluxes made on the way."""
    one = u.dtype.type(1)
    for i in range(n):
        here = u[p + i]
        dy, dz = u[above + i] - here, u[beyond + i] - here
        sy, sz = by * dy, bz * dz
        y, z = (ay * dy) / (one + sy * sy), (az * dz) / (one + sz * sz)
        out[o + i] += (y - carry_y[ry + i]) + (z - carry_z[rz + i])
        carry_y[ry + i] = y
        carry_z[rz + i] = z


@row
def _linear_rows(u, p, above, beyond, ay, az, carry_y, ry, carry_z, rz, out, o, n):
    for i in range(n):
        here = u[p + i]
        y, z = ay * (u[above + i] - here), az * (u[beyond + i] - here)
        out[o + i] += (y - carry_y[ry + i]) + (z - carry_z[rz + i])
        carry_y[ry + i] = y
        carry_z[rz + i] = z


@row
def _scalar_rows(g, q, g_above, g_beyond, u, p, above, beyond, ay, az, carry_y, ry, carry_z, rz, out, o, n):
    """As `_carry_rows` for a diffusivity given at the voxels; ``ay`` and ``az`` hold the half of the mean."""
    for i in range(n):
        here, gh = u[p + i], g[q + i]
        y = (ay * (gh + g[g_above + i])) * (u[above + i] - here)
        z = (az * (gh + g[g_beyond + i])) * (u[beyond + i] - here)
        out[o + i] += (y - carry_y[ry + i]) + (z - carry_z[rz + i])
        carry_y[ry + i] = y
        carry_z[rz + i] = z


@jit
def _sweep(u, out, shape, lo, hi, out_lo, out_planes, a, b, momentum, code, g, g_start, faces, w, carry_y, carry_z, fx, fy, fz, qx, qy, qz):
    """Planes lo:hi of a stage into ``out``, whose first plane is ``out_lo``.

    A missing neighbour is the voxel itself: its flux is zero, and no bit depends on where a block ends.
    """
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane = ny * nx
    volume, out_volume, shift = nz * plane, U(out_planes) * plane, U(g_start) * plane
    zero, one, half = U(0), U(1), u.dtype.type(0.5)
    coupled = g is None and channels > one and code != 0
    for z in range(U(lo), U(hi)):
        beyond = plane if z + one < nz else zero
        out_start = (z - U(out_lo)) * plane
        for i in range(channels * nx):
            carry_y[i] = u.dtype.type(0)
        for y in range(ny):
            p = z * plane + y * nx
            above = nx if y + one < ny else zero
            if coupled:
                _coupled_row(code, u, p, p + beyond, volume, b[0], w, qz, zero, nx)
                _coupled_row(code, u, p, p + above, volume, b[1], w, qy, zero, nx)
                _coupled_row(code, u, p, p + one, volume, b[2], w, qx, one, nx - one)
            for c in range(channels):
                pc, o = c * volume + p, c * out_volume + out_start + y * nx
                ry, rz = c * nx, c * plane + y * nx
                if g is not None:
                    q = p - shift
                    _scalar_flux_row(g, q, q + one, u, pc, pc + one, half * a[2], fx, one, nx - one)
                elif coupled:
                    _shared_flux_row(qx, u, pc, pc + one, a[2], fx, one, nx - one)
                elif code == 0:
                    _linear_flux_row(u, pc, pc + one, a[2], fx, one, nx - one)
                elif code == 1:
                    _rational_flux_row(u, pc, pc + one, a[2], b[2], fx, one, nx - one)
                else:
                    _flux_row(code, u, pc, pc + one, a[2], b[2], fx, one, nx - one)
                if faces is not None:
                    _close_row(faces, p, np.uint8(4), fx, one, nx - one)
                _start_row(u, pc, momentum, fx, out, o, nx)
                if faces is None and g is not None:
                    q = p - shift
                    ay, az = half * a[1], half * a[0]
                    _scalar_rows(g, q, q + above, q + beyond, u, pc, pc + above, pc + beyond, ay, az, carry_y, ry, carry_z, rz, out, o, nx)
                elif faces is None and code == 0:
                    _linear_rows(u, pc, pc + above, pc + beyond, a[1], a[0], carry_y, ry, carry_z, rz, out, o, nx)
                elif faces is None and code == 1 and not coupled:
                    _rational_rows(u, pc, pc + above, pc + beyond, a[1], b[1], a[0], b[0], carry_y, ry, carry_z, rz, out, o, nx)
                else:
                    if g is not None:
                        q = p - shift
                        _scalar_flux_row(g, q, q + beyond, u, pc, pc + beyond, half * a[0], fz, zero, nx)
                        _scalar_flux_row(g, q, q + above, u, pc, pc + above, half * a[1], fy, zero, nx)
                    elif coupled:
                        _shared_flux_row(qz, u, pc, pc + beyond, a[0], fz, zero, nx)
                        _shared_flux_row(qy, u, pc, pc + above, a[1], fy, zero, nx)
                    else:
                        _flux_row(code, u, pc, pc + beyond, a[0], b[0], fz, zero, nx)
                        _flux_row(code, u, pc, pc + above, a[1], b[1], fy, zero, nx)
                    if faces is not None:
                        _close_row(faces, p, np.uint8(1), fz, zero, nx)
                        _close_row(faces, p, np.uint8(2), fy, zero, nx)
                    _carry_rows(fy, fz, carry_y, ry, carry_z, rz, out, o, nx)


def step(u, out, shape, lo, hi, a, b, momentum, code, g, g_start, faces, w):
    """One stage on planes lo:hi of flat fields, ``out = u + momentum (u - out) + sum_i (F_i(x) - F_i(x - e_i))``; see reference.step."""
    channels, nz, ny, nx = shape
    rows = (channels * nx, channels * ny * nx, nx + 1, nx, nx, nx + 1, nx, nx)
    scratch = [np.zeros(count, u.dtype) for count in rows]
    if lo > 0:
        # The plane below the slab, into the bin: only its flux through the far z faces is wanted.
        waste = np.zeros(channels * ny * nx, u.dtype)
        _sweep(u, waste, shape, lo - 1, lo, lo - 1, 1, a, b, u.dtype.type(0), code, g, g_start, faces, w, *scratch)
    _sweep(u, out, shape, lo, hi, 0, nz, a, b, momentum, code, g, g_start, faces, w, *scratch)


@row
def _squares_row(u, near, far, weight, faces, fp, bit, start, s, r, n):
    """Squared differences through open faces: ``start`` begins a row, otherwise they are added."""
    zero = u.dtype.type(0)
    for i in range(n):
        d = u[far + i] - u[near + i]
        if faces is not None:
            d = d if faces[fp + i] & bit else zero
        s[r + i] = weight * (d * d) + (zero if start else s[r + i])


@row
def _along_row(u, p, stride, volume, b2, w, faces, bit, s, r, n):
    """s[r:r+n] = squared derivative through the faces between p and p + stride, summed over channels; without neighbour it is zero."""
    for c in range(w.shape[0]):
        near = p + U(c) * volume
        _squares_row(u, near, near + stride, w[c] * b2, faces, p, bit, c == 0, s, r, n)


@row
def _face_gradient_row(s, r, before, b, after, e, s2, near, far, q, n):
    """q[r:r+n] = squared gradient at the faces, from that along their axis (and through the faces before and after) and at the voxels."""
    half, quarter = s.dtype.type(0.5), s.dtype.type(0.25)
    for i in range(n):
        own = s[r + i]
        q[r + i] = max(half * own + half * (s2[near + i] + s2[far + i]) - quarter * (before[b + i] + after[e + i]), own)


@helper
def _share_row(code, a, k2, cap, q, s2, p_near, p_far, near, far, r, n):
    """What the difference through a face gives to the near and takes from the far voxel, from the squared gradient q."""
    for i in range(n):
        near[r + i] = k2 * q[r + i]
    _diffusivity_row(code, near, r, n)
    if cap == 0:
        for i in range(n):
            near[r + i] *= a
            far[r + i] = near[r + i]
    else:
        least = q.dtype.type(LEAST)
        for i in range(n):
            g, norm = a * near[r + i], max(np.sqrt(q[r + i]), least)
            near[r + i] = g * min(np.sqrt(s2[p_near + i]) / norm, cap)
            far[r + i] = g * min(np.sqrt(s2[p_far + i]) / norm, cap)


@row
def _pass_row(share, u, near, far, faces, fp, bit, f, r, n):
    """f[r:r+n] = share of the differences through open faces; a select, since 0 * NaN is NaN."""
    zero = u.dtype.type(0)
    for i in range(n):
        d = share[r + i] * (u[far + i] - u[near + i])
        if faces is not None:
            d = d if faces[fp + i] & bit else zero
        f[r + i] = d


@row
def _begin_row(u, p, momentum, gain, loss, out, o, n):
    """Begin with u + momentum (u - out) + what comes along the row; as `_start_row`, with two rows."""
    one = U(1)
    if momentum == 0:
        for i in range(n):
            out[o + i] = u[p + i] + (gain[i + one] - loss[i])
    else:
        for i in range(n):
            out[o + i] = u[p + i] + (momentum * (u[p + i] - out[o + i]) + (gain[i + one] - loss[i]))


@row
def _take_row(gain, loss, carry, r, out, o, n):
    """Add what comes through the far faces less what went through the near ones; keep for the next row or plane what goes out."""
    for i in range(n):
        out[o + i] += gain[i] - carry[r + i]
        carry[r + i] = loss[i]


@helper
def _face_rows(u, p, down, up, up2, volume, a, b2, code, k2, cap, s2, v, faces, bit, w, before, s, after, q, near, far, n):
    """Shares of the faces between rows p and p + up, across the slab or across rows; an offset of zero is a border."""
    _along_row(u, p - down, down, volume, b2, w, faces, bit, before, U(0), n)
    _along_row(u, p, up, volume, b2, w, faces, bit, s, U(0), n)
    _along_row(u, p + up, up2, volume, b2, w, faces, bit, after, U(0), n)
    _face_gradient_row(s, U(0), before, U(0), after, U(0), s2, v, v + up, q, n)
    _share_row(code, a, k2, cap, q, s2, v, v + up, near, far, U(0), n)


@jit
def _gradient_sweep(
    u, out, shape, lo, hi, out_lo, out_planes, a, b2, momentum, code, k2, cap, s2, s2_start, faces, w,
    carry_y, carry_z, before, s, after, q, near_x, far_x, near_y, far_y, near_z, far_z, gain, loss,
):  # fmt: skip
    """Planes lo:hi of a stage into ``out``, whose first plane is ``out_lo``; as `_sweep`, but a face may give its voxels unequal shares."""
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane = ny * nx
    volume, out_volume, shift = nz * plane, U(out_planes) * plane, U(s2_start) * plane
    zero, one, two = U(0), U(1), U(2)
    for z in range(U(lo), U(hi)):
        down_z, beyond, beyond2 = plane if z > zero else zero, plane if z + one < nz else zero, plane if z + two < nz else zero
        for i in range(channels * nx):
            carry_y[i] = u.dtype.type(0)
        for y in range(ny):
            p = z * plane + y * nx
            v = p - shift
            down_y, above, above2 = nx if y > zero else zero, nx if y + one < ny else zero, nx if y + two < ny else zero
            if nz > one:
                _face_rows(
                    u, p, down_z, beyond, beyond2, volume, a[0], b2[0], code, k2, cap, s2, v, faces, np.uint8(1), w,
                    before, s, after, q, near_z, far_z, nx,
                )  # fmt: skip
            if ny > one:
                _face_rows(
                    u, p, down_y, above, above2, volume, a[1], b2[1], code, k2, cap, s2, v, faces, np.uint8(2), w,
                    before, s, after, q, near_y, far_y, nx,
                )  # fmt: skip
            # Along the row, the face before voxel i has number i; the first and the last are the border, where nothing flows.
            inner = nx - one
            s[0] = s[nx] = u.dtype.type(0)
            _along_row(u, p, one, volume, b2[2], w, faces, np.uint8(4), s, one, inner)
            _face_gradient_row(s, one, s, zero, s, two, s2, v, v + one, q, inner)
            _share_row(code, a[2], k2, cap, q, s2, v, v + one, near_x, far_x, one, inner)
            for c in range(channels):
                pc, o = c * volume + p, c * out_volume + (z - U(out_lo)) * plane + y * nx
                gain[nx] = loss[0] = u.dtype.type(0)
                _pass_row(near_x, u, pc, pc + one, faces, p, np.uint8(4), gain, one, inner)
                _pass_row(far_x, u, pc, pc + one, faces, p, np.uint8(4), loss, one, inner)
                _begin_row(u, pc, momentum, gain, loss, out, o, nx)
                if ny > one:
                    _pass_row(near_y, u, pc, pc + above, faces, p, np.uint8(2), gain, zero, nx)
                    _pass_row(far_y, u, pc, pc + above, faces, p, np.uint8(2), loss, zero, nx)
                    _take_row(gain, loss, carry_y, c * nx, out, o, nx)
                if nz > one:
                    _pass_row(near_z, u, pc, pc + beyond, faces, p, np.uint8(1), gain, zero, nx)
                    _pass_row(far_z, u, pc, pc + beyond, faces, p, np.uint8(1), loss, zero, nx)
                    _take_row(gain, loss, carry_z, c * plane + y * nx, out, o, nx)


def gradient_step(u, out, shape, lo, hi, a, b2, momentum, code, k2, cap, s2, s2_start, faces, w):
    """One stage whose diffusivity sees the whole gradient at a face, on planes lo:hi of flat fields; see reference.gradient_step."""
    channels, nz, ny, nx = shape
    scratch = [np.zeros(count, u.dtype) for count in (channels * nx, channels * ny * nx, *[nx + 1] * 12)]
    if lo > 0:
        # As in `step`: only what the plane below the slab gives to this one is wanted.
        waste = np.zeros(channels * ny * nx, u.dtype)
        _gradient_sweep(u, waste, shape, lo - 1, lo, lo - 1, 1, a, b2, u.dtype.type(0), code, k2, cap, s2, s2_start, faces, w, *scratch)
    _gradient_sweep(u, out, shape, lo, hi, 0, nz, a, b2, momentum, code, k2, cap, s2, s2_start, faces, w, *scratch)


@jit
def diffusivity(code, q):
    """Replace the flat array q = s^2/kappa^2 by g(q)."""
    _diffusivity_row(code, q, U(0), U(q.shape[0]))
