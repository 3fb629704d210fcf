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

from napari_diffusion.kernels.jit import jit

U = np.uint64
LOG2E_32 = np.float32(math.log2(math.e))
# 2^r on [-1/2, 1/2]. float32: fitted, largest relative error 9.2e-8. float64: Taylor, 2e-16.
P1, P2, P3, P4, P5 = (np.float32(c) for c in (0.693146978, 0.240222421, 0.0555073374, 0.00967151268, 0.00132647267))
T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13 = (math.log(2.0) ** k / math.factorial(k) for k in range(1, 14))


def _exp_neg(x: Any) -> Any:
    """exp(-x) for x >= 0; the overload below is what compiled code calls."""
    return np.exp(-x)


@overload(_exp_neg)
def _exp_neg_overload(x: Any) -> Any:
    def exp_neg32(x: Any) -> Any:
        y = -min(x, np.float32(87.0)) * LOG2E_32
        k = np.int32(y - np.float32(0.5))
        r = y - np.float32(k)
        p = np.float32(1.0) + r * (P1 + r * (P2 + r * (P3 + r * (P4 + r * P5))))
        return p * np.int32((k + np.int32(127)) << np.int32(23)).view(np.float32)

    def exp_neg64(x: Any) -> Any:
        y = -min(x, 700.0) * 1.4426950408889634
        k = np.int32(y - 0.5)
        r = y - np.float64(k)
        p = T7 + r * (T8 + r * (T9 + r * (T10 + r * (T11 + r * (T12 + r * T13)))))
        p = 1.0 + r * (T1 + r * (T2 + r * (T3 + r * (T4 + r * (T5 + r * (T6 + r * p))))))
        return p * np.int64((np.int64(k) + np.int64(1023)) << np.int64(52)).view(np.float64)

    return exp_neg32 if x == numba.float32 else exp_neg64


@jit
def _diffusivity_row(code, q, n):
    """Replace q = s^2/kappa^2 by g(q) in q[:n]; the formulas are in coefficients.Diffusivity."""
    t = q.dtype.type
    one = t(1)
    if code == 0:
        for i in range(n):
            q[i] = one
    elif code == 1:
        for i in range(n):
            q[i] = one / (one + q[i])
    elif code == 2:
        half = t(0.5)
        for i in range(n):
            q[i] = _exp_neg(half * q[i])
    elif code == 3:
        fifth = t(0.2)
        for i in range(n):
            r = max(one - fifth * q[i], t(0))
            q[i] = r * r
    elif code == 4:
        c, small, r2, r3, r4, r5, r6 = t(3.31488), t(0.02), t(1 / 2), t(1 / 3), t(1 / 4), t(1 / 5), t(1 / 6)
        for i in range(n):
            q2 = q[i] * q[i]
            x = c / (q2 * q2)
            # 1 - exp(-x) cancels for small x; there the series keeps its digits.
            series = x * (one - r2 * x * (one - r3 * x * (one - r4 * x * (one - r5 * x * (one - r6 * x)))))
            q[i] = series if x < small else one - _exp_neg(x)
    else:
        for i in range(n):
            q[i] = one / np.sqrt(one + q[i])


@jit
def _flux_row(code, u, near, far, a, b, f, n):
    """f[:n] = a g((b d)^2) d with d = u[far:far+n] - u[near:near+n]. The common diffusivities are fused."""
    t = u.dtype.type
    if code == 0:
        for i in range(n):
            f[i] = a * (u[far + i] - u[near + i])
    elif code == 1:
        one, big = t(1), t(1e18)
        for i in range(n):
            d = u[far + i] - u[near + i]
            s = b * d
            f[i] = (a * d) / (one + min(s * s, big))
    elif code == 2:
        half = t(0.5)
        for i in range(n):
            d = u[far + i] - u[near + i]
            s = b * d
            f[i] = (a * d) * _exp_neg(half * (s * s))
    else:
        for i in range(n):
            s = b * (u[far + i] - u[near + i])
            f[i] = s * s
        _diffusivity_row(code, f, n)
        for i in range(n):
            f[i] *= a * (u[far + i] - u[near + i])


@jit
def _rational_rows(u, p, q, r, aq, bq, ar, br, fq, fr, n):
    """Rational fluxes from row p to rows q and r with one division for both: it is the slowest instruction of the step."""
    t = u.dtype.type
    one, big = t(1), t(1e18)  # the product of two clamped denominators stays finite in float32
    for i in range(n):
        here = u[p + i]
        dq, dr = u[q + i] - here, u[r + i] - here
        sq, sr = bq * dq, br * dr
        nq, nr = one + min(sq * sq, big), one + min(sr * sr, big)
        inverse = one / (nq * nr)
        fq[i] = (aq * dq) * (nr * inverse)
        fr[i] = (ar * dr) * (nq * inverse)


@jit
def _coupled_row(code, u, near, far, volume, b, w, q, n):
    """q[:n] = g of the weighted sum over channels of the squared differences: the conductance that all channels share."""
    for i in range(n):
        q[i] = u.dtype.type(0)
    for c in range(w.shape[0]):
        wb, p = w[c] * b * b, U(c) * volume
        for i in range(n):
            d = u[p + far + i] - u[p + near + i]
            q[i] += wb * (d * d)
    _diffusivity_row(code, q, n)


@jit
def _shared_flux_row(q, u, near, far, a, f, n):
    for i in range(n):
        f[i] = (a * q[i]) * (u[far + i] - u[near + i])


@jit
def _scalar_flux_row(g, g_near, g_far, u, near, far, half_a, f, n):
    for i in range(n):
        f[i] = (half_a * (g[g_near + i] + g[g_far + i])) * (u[far + i] - u[near + i])


@jit
def _close_row(faces, p, bit, f, n):
    """Shut the faces whose bit is not set; a select, since 0 * NaN is NaN."""
    zero = f.dtype.type(0)
    for i in range(n):
        f[i] = f[i] if faces[p + i] & bit else zero


@jit
def _update_row(u, p, momentum, fx, fy, fz, carry_y, ry, carry_z, rz, out, n):
    """Add what flows through the far faces less what flowed through the near ones; keep the far fluxes for the next row and plane."""
    one = U(1)
    if momentum == 0:
        for i in range(n):
            out[p + i] = u[p + i] + ((fx[i + one] - fx[i]) + (fy[i] - carry_y[ry + i]) + (fz[i] - carry_z[rz + i]))
            carry_y[ry + i] = fy[i]
            carry_z[rz + i] = fz[i]
    else:
        for i in range(n):
            change = (fx[i + one] - fx[i]) + (fy[i] - carry_y[ry + i]) + (fz[i] - carry_z[rz + i])
            out[p + i] = u[p + i] + (momentum * (u[p + i] - out[p + i]) + change)
            carry_y[ry + i] = fy[i]
            carry_z[rz + i] = fz[i]


@jit
def _fill(f, start, n):
    for i in range(n):
        f[start + i] = f.dtype.type(0)


@jit
def step(u, out, shape, lo, hi, a, b, momentum, code, g, g_start, faces, w):
    """One stage on planes lo:hi of flat fields, ``out = u + momentum (u - out) + sum_i (F_i(x) - F_i(x - e_i))``; see reference.step."""
    t = u.dtype.type
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane = ny * nx
    volume = nz * plane
    zero, one, half = U(0), U(1), t(0.5)
    lo, hi, shift = U(lo), U(hi), U(g_start) * plane
    carry_z = np.zeros(channels * plane, u.dtype)
    carry_y = np.zeros(channels * nx, u.dtype)
    fx = np.zeros(nx + one, u.dtype)
    f, fy, fz = np.zeros(nx, u.dtype), np.zeros(nx, u.dtype), np.zeros(nx, u.dtype)
    qx, qy, qz = np.zeros(nx, u.dtype), np.zeros(nx, u.dtype), np.zeros(nx, u.dtype)
    coupled = g is None and channels > one and code != 0
    # Paired fluxes round with their partner's value, which no wall may let through.
    paired = code == 1 and g is None and faces is None and not coupled
    # The plane below the slab is visited only for the flux through its far faces.
    first = lo - one if lo > zero else lo
    for z in range(first, hi):
        inside = z >= lo
        has_z = z + one < nz
        _fill(carry_y, zero, channels * nx)
        for y in range(ny):
            p = z * plane + y * nx
            has_y = inside and y + one < ny
            if coupled:
                if has_z:
                    _coupled_row(code, u, p, p + plane, volume, b[0], w, qz, nx)
                if has_y:
                    _coupled_row(code, u, p, p + nx, volume, b[1], w, qy, nx)
                if inside:
                    _coupled_row(code, u, p, p + one, volume, b[2], w, qx, nx - one)
            for c in range(channels):
                pc = c * volume + p
                if paired:
                    # Always both, a missing neighbour being the voxel itself, so that no bit depends on where a slab or a block ends.
                    above = pc + nx if y + one < ny else pc
                    beyond = pc + plane if has_z else pc
                    _rational_rows(u, pc, above, beyond, a[1], b[1], a[0], b[0], fy, fz, nx)
                else:
                    for axis in range(2):
                        row, q, stride, has = (fz, qz, plane, has_z) if axis == 0 else (fy, qy, nx, has_y)
                        if not has:
                            _fill(row, zero, nx)
                        elif g is not None:
                            _scalar_flux_row(g, p - shift, p + stride - shift, u, pc, pc + stride, half * a[axis], row, nx)
                        elif coupled:
                            _shared_flux_row(q, u, pc, pc + stride, a[axis], row, nx)
                        else:
                            _flux_row(code, u, pc, pc + stride, a[axis], b[axis], row, nx)
                if faces is not None:
                    _close_row(faces, p, np.uint8(1), fz, nx)
                    _close_row(faces, p, np.uint8(2), fy, nx)
                if inside:
                    if g is not None:
                        _scalar_flux_row(g, p - shift, p + one - shift, u, pc, pc + one, half * a[2], f, nx - one)
                    elif coupled:
                        _shared_flux_row(qx, u, pc, pc + one, a[2], f, nx - one)
                    else:
                        _flux_row(code, u, pc, pc + one, a[2], b[2], f, nx - one)
                    if faces is not None:
                        _close_row(faces, p, np.uint8(4), f, nx - one)
                    for i in range(nx - one):
                        fx[one + i] = f[i]
                    _update_row(u, pc, momentum, fx, fy, fz, carry_y, c * nx, carry_z, c * plane + y * nx, out, nx)
                else:
                    for i in range(nx):
                        carry_z[c * plane + y * nx + i] = fz[i]


@jit
def diffusivity(code, q):
    """Replace the flat array q = s^2/kappa^2 by g(q)."""
    _diffusivity_row(code, q, U(q.shape[0]))
