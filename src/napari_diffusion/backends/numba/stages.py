"""Compiled kernels of the diffusivities and of the scalar stages; they run without the GIL.

Fields have shape ``(C, Z, Y, X)``. A 2-D image is ``(C, Y, 1, X)``, so that slabs consist of its
rows. Every loop runs along a row and vectorises. The flux through a face is computed once and kept
for one row or plane. It is added to one voxel and subtracted from the other. So the mean is
conserved to rounding, and no bit depends on the slab boundaries.

Rules for compiled kernels (measured, see docs/develop/decisions.md):

- Arguments and results are arrays. Helpers are in the same file, and no argument is a function:
  numba's cache would miss or become stale.
- Rows are addressed by unsigned offsets into flat arrays. A slice costs two atomic reference
  counts, a signed index a wrap-around test.
- Arrays that a kernel writes never overlap another argument.
- Constants have the type of the field; one Python float would promote the loop to float64.
- fastmath has neither ``nnan`` nor ``ninf``, so that NaN stays NaN. It has no ``arcp``, with which
  bits would depend on the position in a row.
- ``math.exp`` is not used; one scalar call prevents vectorisation.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import overload

from napari_diffusion.backends import polynomials
from napari_diffusion.backends.numba.jit import helper, jit, row, uncontracted_row
from napari_diffusion.backends.reference import stages as specification
from napari_diffusion.backends.reference.stages import (
    DROPPED_BITS,
    LARGEST_CODE,
    MIN_GRADIENT,
    STORED_TYPES,
    WEICKERT_C,
)

U = np.uint64
HALF_LOG2E_64, HALF_LOG2E_32 = polynomials.HALF_LOG2E, np.float32(polynomials.HALF_LOG2E)
BITS_OF_ZERO = np.int32(specification.BITS_OF_ZERO)
HALF_CODE = np.int32(1 << (DROPPED_BITS - 1))
TINY = float(np.finfo(np.float32).tiny)
ROUND_64, ROUND_32 = polynomials.ROUND_64, np.float32(polynomials.ROUND_32)
P1, P2, P3, P4, P5 = (np.float32(c) for c in polynomials.EXPONENTIAL_32)
T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13 = polynomials.EXPONENTIAL_64


def exp_neg_half(q: Any) -> Any:
    """exp(-q/2) for q >= 0; compiled code calls the overload below."""


@overload(exp_neg_half)
def _exp_neg_half_overload(q: Any) -> Any:
    def exp32(q: Any) -> Any:
        # The result at the limit is 2e-22: far below rounding errors, but no product of it is
        # denormal. Denormal numbers took eight times as long.
        x = min(q, np.float32(100.0))
        t = ROUND_32 - x * HALF_LOG2E_32  # the last bits hold the nearest integer
        r = -x * HALF_LOG2E_32 - (t - ROUND_32)
        p = np.float32(1.0) + r * (P1 + r * (P2 + r * (P3 + r * (P4 + r * P5))))
        bits = np.int32(
            np.float32(p).view(np.int32)
            + np.int32(np.int32(np.float32(t).view(np.int32)) << np.int32(23))
        )
        return np.int32(bits).view(np.float32)

    def exp64(q: Any) -> Any:
        x = min(q, 1400.0)
        t = ROUND_64 - x * HALF_LOG2E_64
        r = -x * HALF_LOG2E_64 - (t - ROUND_64)
        p = T7 + r * (T8 + r * (T9 + r * (T10 + r * (T11 + r * (T12 + r * T13)))))
        p = 1.0 + r * (T1 + r * (T2 + r * (T3 + r * (T4 + r * (T5 + r * (T6 + r * p))))))
        bits = np.int64(
            np.float64(p).view(np.int64)
            + np.int64(np.int64(np.float64(t).view(np.int64)) << np.int64(52))
        )
        return np.int64(bits).view(np.float64)

    return exp32 if q == numba.float32 else exp64


def _flux(kind: Any, ad: Any, q: Any) -> Any:
    """g(q) times ``ad``; the length of the tuple ``kind`` is the number of the diffusivity.

    `operators.diffusivity.Diffusivity` lists the formulas and their numbers.
    """


@overload(_flux, jit_options={"forceinline": True})
def _flux_overload(kind: Any, ad: Any, q: Any) -> Any:
    t = np.float32 if q == numba.float32 else np.float64
    zero, one, fifth, twice_c = t(0), t(1), t(0.2), t(2 * WEICKERT_C)

    def constant(kind: Any, ad: Any, q: Any) -> Any:
        return ad

    def rational(kind: Any, ad: Any, q: Any) -> Any:
        return ad / (one + q)

    def exponential(kind: Any, ad: Any, q: Any) -> Any:
        return ad * exp_neg_half(q)

    def tukey(kind: Any, ad: Any, q: Any) -> Any:
        root = max(one - fifth * q, zero)
        return ad * (root * root)

    def weickert(kind: Any, ad: Any, q: Any) -> Any:
        q2 = q * q
        return ad * (one - exp_neg_half(twice_c / (q2 * q2)))

    def charbonnier(kind: Any, ad: Any, q: Any) -> Any:
        return ad / np.sqrt(one + q)

    return (constant, rational, exponential, tukey, weickert, charbonnier)[kind.count]


@uncontracted_row
def _times(value, factor):
    """Product that is rounded by itself, and not joined with a later sum."""
    return value * factor


@row
def _gather_row(
    u, p, left, right, above, below, before, beyond, g, q, faces, fp,
    az, ay, ax, momentum, out, o, n,
):  # fmt: skip
    """One stage of linear diffusion (``g`` is None) or with a diffusivity at the voxels.

    The fluxes of all six faces are computed for every voxel. Both voxels of a face compute them
    from the same difference and the same sum, so the two results differ only in the sign.
    """
    zero = u.dtype.type(0)
    for i in range(n):
        centre, s = u[p + i], p + i
        east, west = u[s + right] - centre, u[s - left] - centre
        south, north = u[s + below] - centre, u[s - above] - centre
        far, near = u[s + beyond] - centre, u[s - before] - centre
        if g is not None and faces is None:
            g_centre, s = g[q + i], q + i
            east, west = east * (g_centre + g[s + right]), west * (g_centre + g[s - left])
            south, north = south * (g_centre + g[s + below]), north * (g_centre + g[s - above])
            far, near = far * (g_centre + g[s + beyond]), near * (g_centre + g[s - before])
        if g is not None and faces is not None:
            g_centre, s = g[q + i], q + i
            east = _times(east, g_centre + g[s + right])
            west = _times(west, g_centre + g[s - left])
            south = _times(south, g_centre + g[s + below])
            north = _times(north, g_centre + g[s - above])
            far = _times(far, g_centre + g[s + beyond])
            near = _times(near, g_centre + g[s - before])
        if faces is not None:  # selected, not multiplied by a mask: 0 * NaN is NaN
            s = fp + i
            east = east if faces[s] & np.uint8(4) else zero
            west = west if faces[s - left] & np.uint8(4) else zero
            south = south if faces[s] & np.uint8(2) else zero
            north = north if faces[s - above] & np.uint8(2) else zero
            far = far if faces[s] & np.uint8(1) else zero
            near = near if faces[s - before] & np.uint8(1) else zero
        old = out[o + i]
        old = old if momentum != 0 else centre  # without momentum, ``out`` may be uninitialised
        total = az * (far + near) + (ay * (south + north) + ax * (east + west))
        out[o + i] = centre + (momentum * (centre - old) + total)


@jit
def _gather(u, out, shape, lo, hi, a, momentum, g, g_start, faces):
    """Planes lo:hi of a stage of linear diffusion, or with a diffusivity at the voxels."""
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane, zero, one = ny * nx, U(0), U(1)
    half = u.dtype.type(1 if g is None else 0.5)  # a face takes the mean of two g
    az, ay, ax = half * a[0], half * a[1], half * a[2]
    for z in range(U(lo), U(hi)):
        before, beyond = plane if z > zero else zero, plane if z + one < nz else zero
        for y in range(ny):
            above, below = nx if y > zero else zero, nx if y + one < ny else zero
            for c in range(channels):
                for part in range(3):  # the first voxel, those between, the last
                    if nx <= U(part if part < 2 else 1) or (part == 1 and nx < U(3)):
                        continue
                    x, n = (zero, one, nx - one)[part], nx - U(2) if part == 1 else one
                    left, right = one if part > 0 else zero, one if part < 2 and nx > one else zero
                    fp = z * plane + y * nx + x
                    p, q = c * nz * plane + fp, fp - U(g_start) * plane
                    _gather_row(
                        u, p, left, right, above, below, before, beyond, g, q, faces, fp,
                        az, ay, ax, momentum, out, p, n,
                    )  # fmt: skip


@row
def _conductance_row(kind, u, near, far, volume, b, w, k, k_near, k_far, q, r, n):
    """q[r:r+n] = g of the weighted sum over channels of squared differences.

    All channels share this conductance. ``k`` holds reciprocal factors of the threshold.
    """
    for i in range(n):
        q[r + i] = u.dtype.type(0)
    for c in range(w.shape[0]):
        wb, p = w[c] * b * b, U(c) * volume
        for i in range(n):
            d = u[p + far + i] - u[p + near + i]
            q[r + i] += wb * (d * d)
    if k is not None:
        half = u.dtype.type(0.5)
        for i in range(n):
            mean = half * (k[k_near + i] + k[k_far + i])
            q[r + i] *= mean * mean
    for i in range(n):
        q[r + i] = _flux(kind, u.dtype.type(1), q[r + i])


@row
def _shared_flux_row(q, u, near, far, a, faces, fp, bit, f, r, n):
    """Fluxes a q (u[far] - u[near]); zero through closed faces."""
    zero = u.dtype.type(0)
    for i in range(n):
        d = (a * q[r + i]) * (u[far + i] - u[near + i])
        if faces is not None:  # selected, not multiplied by a mask: 0 * NaN is NaN
            d = d if faces[fp + i] & bit else zero
        f[r + i] = d


@row
def _flux_row(kind, u, near, far, a, b, k, k_near, k_far, f, r, n):
    """Fluxes a g(b^2 d^2) d with d = u[far] - u[near].

    ``k`` holds reciprocal factors of the threshold, by whose mean b is multiplied.
    """
    half = u.dtype.type(0.5)
    for i in range(n):
        d = u[far + i] - u[near + i]
        s = b * d
        if k is not None:
            s = s * (half * (k[k_near + i] + k[k_far + i]))
        f[r + i] = _flux(kind, a * d, s * s)


@row
def _carry_rows(u, p, fx, fy, fz, carry_y, ry, carry_z, rz, out, o, n):
    """Write u plus the fluxes through the far faces minus those through the near faces.

    The fluxes through the far faces are kept for the next row and the next plane.
    """
    one = U(1)
    for i in range(n):
        out[o + i] = u[p + i] + (
            (fx[i + one] - fx[i]) + ((fy[i] - carry_y[ry + i]) + (fz[i] - carry_z[rz + i]))
        )
        carry_y[ry + i] = fy[i]
        carry_z[rz + i] = fz[i]


@row
def _fused_rows(
    kind, u, p, above, beyond, ay, by, az, bz, k, v, v_above, v_beyond,
    fx, carry_y, ry, carry_z, rz, out, o, n,
):  # fmt: skip
    """As `_carry_rows`, with the fluxes along y and z computed in the same loop."""
    one, half = U(1), u.dtype.type(0.5)
    for i in range(n):
        centre = u[p + i]
        dy, dz = u[above + i] - centre, u[beyond + i] - centre
        sy, sz = by * dy, bz * dz
        if k is not None:
            own = k[v + i]
            sy, sz = sy * (half * (own + k[v_above + i])), sz * (half * (own + k[v_beyond + i]))
        y, z = _flux(kind, ay * dy, sy * sy), _flux(kind, az * dz, sz * sz)
        out[o + i] = centre + (
            (fx[i + one] - fx[i]) + ((y - carry_y[ry + i]) + (z - carry_z[rz + i]))
        )
        carry_y[ry + i] = y
        carry_z[rz + i] = z


@jit
def _sweep(
    u, out, shape, lo, hi, out_lo, out_planes, a, b, momentum, kind, k, k_start, faces, w,
    carry_y, carry_z, fx, fy, fz, qx, qy, qz, old,
):  # fmt: skip
    """Planes lo:hi of a stage with a diffusivity per face; plane 0 of ``out`` is plane ``out_lo``.

    At the border, the voxel itself takes the place of the missing neighbour. The flux is zero, and
    no bit depends on the end of a block.
    """
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane = ny * nx
    volume, out_volume, zero, one = nz * plane, U(out_planes) * plane, U(0), U(1)
    shared = channels > one or faces is not None
    for z in range(U(lo), U(hi)):
        beyond = plane if z + one < nz else zero
        for i in range(channels * nx):
            carry_y[i] = u.dtype.type(0)
        for y in range(ny):
            p, start = z * plane + y * nx, (z - U(out_lo)) * plane + y * nx
            v = p - U(k_start) * plane
            above = nx if y + one < ny else zero
            if shared:
                _conductance_row(
                    kind, u, p, p + beyond, volume, b[0], w, k, v, v + beyond, qz, zero, nx
                )
                _conductance_row(
                    kind, u, p, p + above, volume, b[1], w, k, v, v + above, qy, zero, nx
                )
                _conductance_row(
                    kind, u, p, p + one, volume, b[2], w, k, v, v + one, qx, one, nx - one
                )
            for c in range(channels):
                s, o = c * volume + p, c * out_volume + start
                ry, rz = c * nx, c * plane + y * nx
                if momentum != 0:
                    for i in range(nx):
                        old[i] = out[o + i]
                if shared:
                    _shared_flux_row(
                        qx, u, s, s + one, a[2], faces, p, np.uint8(4), fx, one, nx - one
                    )
                    _shared_flux_row(qy, u, s, s + above, a[1], faces, p, np.uint8(2), fy, zero, nx)
                    _shared_flux_row(
                        qz, u, s, s + beyond, a[0], faces, p, np.uint8(1), fz, zero, nx
                    )
                    _carry_rows(u, s, fx, fy, fz, carry_y, ry, carry_z, rz, out, o, nx)
                else:
                    _flux_row(kind, u, s, s + one, a[2], b[2], k, v, v + one, fx, one, nx - one)
                    _fused_rows(
                        kind, u, s, s + above, s + beyond, a[1], b[1], a[0], b[0],
                        k, v, v + above, v + beyond,
                        fx, carry_y, ry, carry_z, rz, out, o, nx,
                    )  # fmt: skip
                if momentum != 0:
                    for i in range(nx):
                        out[o + i] += momentum * (u[s + i] - old[i])


def step(u, out, shape, lo, hi, a, b, momentum, code, g, k, start, faces, w):
    """One stage on planes lo:hi of flat fields; see `reference.stages.step`."""
    if g is not None or code == 0:
        _gather(u, out, shape, lo, hi, a, momentum, g, start, faces)
        return
    channels, nz, ny, nx = shape
    rows = (channels * nx, channels * ny * nx, nx + 1, nx, nx, nx + 1, nx, nx, nx)
    scratch = [np.zeros(count, u.dtype) for count in rows]
    kind = (0,) * code
    if lo > 0:
        # The plane before the slab fills ``scratch`` with its fluxes through the far z faces. Its
        # result is discarded.
        discarded, zero = np.zeros(channels * ny * nx, u.dtype), u.dtype.type(0)
        before = discarded, shape, lo - 1, lo, lo - 1, 1
        _sweep(u, *before, a, b, zero, kind, k, start, faces, w, *scratch)
    _sweep(u, out, shape, lo, hi, 0, nz, a, b, momentum, kind, k, start, faces, w, *scratch)


@row
def _squares_row(u, near, far, weight, faces, fp, bit, start, s, r, n):
    """Write (``start``) or add squared differences across open faces; zero across closed ones."""
    zero = u.dtype.type(0)
    for i in range(n):
        d = u[far + i] - u[near + i]
        if faces is not None:
            d = d if faces[fp + i] & bit else zero
        s[r + i] = weight * (d * d) + (zero if start else s[r + i])


@row
def _along_row(u, p, stride, volume, b2, w, faces, bit, s, r, n):
    """s[r:r+n] = squared derivative across the faces between p and p + stride, over all channels.

    A ``stride`` of zero stands for a missing neighbour; the derivative is zero.
    """
    for c in range(w.shape[0]):
        near = p + U(c) * volume
        _squares_row(u, near, near + stride, w[c] * b2, faces, p, bit, c == 0, s, r, n)


@row
def _face_gradient_row(s, r, before, b, after, e, s2, near, far, q, n):
    """q[r:r+n] = squared gradient at the faces.

    It is computed from the squared derivatives ``s`` across the faces, ``before`` and ``after``
    across the previous and next faces, and the squared gradients ``s2`` at the voxels.
    """
    half, quarter = s.dtype.type(0.5), s.dtype.type(0.25)
    for i in range(n):
        square = s[r + i]
        around = before[b + i] + after[e + i]
        full = half * square + half * (s2[near + i] + s2[far + i]) - quarter * around
        q[r + i] = max(full, square)


@helper
def _exchange_row(
    kind, u, p, down, up, up2, a, b2, k2, cap, s2, k, v, faces, fp, bit, gain, loss, r, n
):
    """Gain of the near and loss of the far voxels across the faces between p and p + up.

    For a single channel, in one pass. ``k`` holds reciprocal factors of the threshold.
    """
    t = u.dtype.type
    half, quarter, one, zero = t(0.5), t(0.25), t(1), t(0)
    min_gradient = t(MIN_GRADIENT)
    for i in range(n):
        u0, u1 = u[p + i], u[p + up + i]
        d, before, after = u1 - u0, u0 - u[p - down + i], u[p + up + up2 + i] - u1
        if faces is not None:
            d = d if faces[fp + i] & bit else zero
            before = before if faces[fp - down + i] & bit else zero
            after = after if faces[fp + up + i] & bit else zero
        square, around = b2 * (d * d), b2 * (before * before + after * after)
        near, far = s2[v + i], s2[v + up + i]
        q = max(half * square + (half * (near + far) - quarter * around), square)
        if k is None:
            flux = _flux(kind, a * d, k2 * q)
        else:
            mean = half * (k[v + i] + k[v + up + i])
            flux = _flux(kind, a * d, (k2 * q) * (mean * mean))
        if cap is None:
            gain[r + i] = flux
            loss[r + i] = flux
        else:
            norm = one / max(np.sqrt(q), min_gradient)
            gain[r + i] = flux * min(np.sqrt(near) * norm, cap)
            loss[r + i] = flux * min(np.sqrt(far) * norm, cap)


@helper
def _share_row(kind, a, k2, cap, q, s2, k, p_near, p_far, near, far, r, n):
    """Conductances of faces for the near and for the far voxels, from the squared gradient q."""
    half = q.dtype.type(0.5)
    if k is None:
        for i in range(n):
            near[r + i] = _flux(kind, q.dtype.type(1), k2 * q[r + i])
    else:
        for i in range(n):
            mean = half * (k[p_near + i] + k[p_far + i])
            near[r + i] = _flux(kind, q.dtype.type(1), (k2 * q[r + i]) * (mean * mean))
    if cap is None:
        for i in range(n):
            near[r + i] *= a
            far[r + i] = near[r + i]
    else:
        min_gradient = q.dtype.type(MIN_GRADIENT)
        for i in range(n):
            g, norm = a * near[r + i], max(np.sqrt(q[r + i]), min_gradient)
            near[r + i] = g * min(np.sqrt(s2[p_near + i]) / norm, cap)
            far[r + i] = g * min(np.sqrt(s2[p_far + i]) / norm, cap)


@row
def _pass_row(share, u, near, far, faces, fp, bit, f, r, n):
    """Fluxes f[r:r+n] = conductance times difference; zero through closed faces."""
    zero = u.dtype.type(0)
    for i in range(n):
        d = share[r + i] * (u[far + i] - u[near + i])
        if faces is not None:  # selected, not multiplied by a mask: 0 * NaN is NaN
            d = d if faces[fp + i] & bit else zero
        f[r + i] = d


@row
def _begin_row(u, p, momentum, gain, loss, out, o, n):
    """Write u + momentum (u - out) + net flux along the row."""
    one = U(1)
    if momentum == 0:
        for i in range(n):
            out[o + i] = u[p + i] + (gain[i + one] - loss[i])
    else:
        for i in range(n):
            out[o + i] = u[p + i] + (momentum * (u[p + i] - out[o + i]) + (gain[i + one] - loss[i]))


@row
def _take_row(gain, loss, carry, r, out, o, n):
    """Add the gain through the far faces minus the loss through the near faces.

    The loss of the voxels behind the far faces is kept for the next row or plane.
    """
    for i in range(n):
        out[o + i] += gain[i] - carry[r + i]
        carry[r + i] = loss[i]


@helper
def _face_rows(
    u, p, down, up, up2, volume, a, b2, kind, k2, cap, s2, k, v, faces, bit, w,
    before, s, after, q, near, far, n,
):  # fmt: skip
    """Conductances of the faces between rows p and p + up; an offset of zero is a border."""
    _along_row(u, p - down, down, volume, b2, w, faces, bit, before, U(0), n)
    _along_row(u, p, up, volume, b2, w, faces, bit, s, U(0), n)
    _along_row(u, p + up, up2, volume, b2, w, faces, bit, after, U(0), n)
    _face_gradient_row(s, U(0), before, U(0), after, U(0), s2, v, v + up, q, n)
    _share_row(kind, a, k2, cap, q, s2, k, v, v + up, near, far, U(0), n)


@jit
def _gradient_sweep(
    u, out, shape, lo, hi, out_lo, out_planes, a, b2, momentum, kind, k2, cap, s2, k, start,
    faces, w, carry_y, carry_z,
    before, s, after, q, near_x, far_x, near_y, far_y, near_z, far_z, gain, loss,
):  # fmt: skip
    """As `_sweep`, with a diffusivity of the full gradient.

    Each face has one conductance for its near and one for its far voxel.
    """
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane = ny * nx
    volume, out_volume, shift = nz * plane, U(out_planes) * plane, U(start) * plane
    zero, one, two = U(0), U(1), U(2)
    for z in range(U(lo), U(hi)):
        down_z, beyond = plane if z > zero else zero, plane if z + one < nz else zero
        beyond2 = plane if z + two < nz else zero
        for i in range(channels * nx):
            carry_y[i] = u.dtype.type(0)
        for y in range(ny):
            p = z * plane + y * nx
            v = p - shift
            down_y, above = nx if y > zero else zero, nx if y + one < ny else zero
            above2 = nx if y + two < ny else zero
            if channels == one:
                o = (z - U(out_lo)) * plane + y * nx
                gain[nx] = loss[0] = u.dtype.type(0)
                for part in range(3):  # the first face along the row, those between, the last
                    if nx <= U(max(part, 1)) or (part == 1 and nx < U(4)):
                        continue
                    x = (zero, one, nx - two)[part]
                    n = nx - U(3) if part == 1 else one
                    left = one if x > zero else zero
                    right = one if part == 1 or x + two < nx else zero
                    f, g = p + x, v + x
                    _exchange_row(
                        kind, u, f, left, one, right, a[2], b2[2], k2, cap, s2, k, g,
                        faces, f, np.uint8(4), gain, loss, x + one, n,
                    )  # fmt: skip
                _begin_row(u, p, momentum, gain, loss, out, o, nx)
                if ny > one:
                    _exchange_row(
                        kind, u, p, down_y, above, above2, a[1], b2[1], k2, cap, s2, k, v,
                        faces, p, np.uint8(2), gain, loss, zero, nx,
                    )  # fmt: skip
                    _take_row(gain, loss, carry_y, zero, out, o, nx)
                if nz > one:
                    _exchange_row(
                        kind, u, p, down_z, beyond, beyond2, a[0], b2[0], k2, cap, s2, k, v,
                        faces, p, np.uint8(1), gain, loss, zero, nx,
                    )  # fmt: skip
                    _take_row(gain, loss, carry_z, y * nx, out, o, nx)
                continue
            if nz > one:
                _face_rows(
                    u, p, down_z, beyond, beyond2, volume, a[0], b2[0], kind, k2, cap, s2, k, v,
                    faces, np.uint8(1), w, before, s, after, q, near_z, far_z, nx,
                )  # fmt: skip
            if ny > one:
                _face_rows(
                    u, p, down_y, above, above2, volume, a[1], b2[1], kind, k2, cap, s2, k, v,
                    faces, np.uint8(2), w, before, s, after, q, near_y, far_y, nx,
                )  # fmt: skip
            # Along the row, face i lies before voxel i. The first and the last are the border, with
            # zero flux.
            inner = nx - one
            s[0] = s[nx] = u.dtype.type(0)
            _along_row(u, p, one, volume, b2[2], w, faces, np.uint8(4), s, one, inner)
            _face_gradient_row(s, one, s, zero, s, two, s2, v, v + one, q, inner)
            _share_row(kind, a[2], k2, cap, q, s2, k, v, v + one, near_x, far_x, one, inner)
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


def gradient_step(u, out, shape, lo, hi, a, b2, momentum, code, k2, cap, s2, k, start, faces, w):
    """One stage on planes lo:hi of flat fields; see `reference.stages.gradient_step`."""
    channels, nz, ny, nx = shape
    rows = (channels * nx, channels * ny * nx, *[nx + 1] * 12)
    scratch = [np.zeros(count, u.dtype) for count in rows]
    # Compiled for each diffusivity, with and without a limit.
    kind, cap = (0,) * code, cap if cap else None
    gradient = kind, k2, cap, s2, k, start
    if lo > 0:
        # As in `step`: the plane before the slab fills ``scratch``, and its result is discarded.
        discarded, zero = np.zeros(channels * ny * nx, u.dtype), u.dtype.type(0)
        _gradient_sweep(
            u, discarded, shape, lo - 1, lo, lo - 1, 1, a, b2, zero, *gradient, faces, w, *scratch
        )
    _gradient_sweep(u, out, shape, lo, hi, 0, nz, a, b2, momentum, *gradient, faces, w, *scratch)


def _pack(g: Any) -> Any:
    """Stored form of a diffusivity; see `reference.stages.encoded`."""


@overload(_pack, jit_options={"forceinline": True})
def _pack_overload(g: Any) -> Any:
    def pack32(g: Any) -> Any:
        steps = np.int32(np.float32(g).view(np.int32)) - BITS_OF_ZERO + HALF_CODE
        steps = np.int32(steps) >> np.int32(DROPPED_BITS)
        return np.uint16(min(max(steps, np.int32(1)), np.int32(LARGEST_CODE)))

    def pack64(g: Any) -> Any:
        return np.float32(max(g, TINY))

    return pack32 if g == numba.float32 else pack64


def _unpack(stored: Any) -> Any:
    """Diffusivity of its stored form other than 0; see `reference.stages.decoded`."""


@overload(_unpack, jit_options={"forceinline": True})
def _unpack_overload(stored: Any) -> Any:
    def unpack16(stored: Any) -> Any:
        bits = np.int32(np.int32(stored) << np.int32(DROPPED_BITS)) + BITS_OF_ZERO
        return np.int32(bits).view(np.float32)

    def unpack32(stored: Any) -> Any:
        return np.float64(stored)

    return unpack16 if stored == numba.uint16 else unpack32


@row
def _pack_row(g, r, faces, fp, bit, out, o, n):
    """out[o:o+n] = stored form of g[r:r+n]; zero at closed faces."""
    for i in range(n):
        value = _pack(g[r + i])
        if faces is not None:
            value = value if faces[fp + i] & bit else out.dtype.type(0)
        out[o + i] = value


@helper
def _stored_row(kind, u, p, down, up, up2, b2, k2, s2, k, v, faces, fp, bit, out, o, n):
    """out[o:o+n] = stored diffusivities of the faces between p and p + up, for a single channel."""
    t = u.dtype.type
    half, quarter, one, zero = t(0.5), t(0.25), t(1), t(0)
    for i in range(n):
        u0, u1 = u[p + i], u[p + up + i]
        d, before, after = u1 - u0, u0 - u[p - down + i], u[p + up + up2 + i] - u1
        if faces is not None:
            d = d if faces[fp + i] & bit else zero
            before = before if faces[fp - down + i] & bit else zero
            after = after if faces[fp + up + i] & bit else zero
        square, around = b2 * (d * d), b2 * (before * before + after * after)
        near, far = s2[v + i], s2[v + up + i]
        q = max(half * square + (half * (near + far) - quarter * around), square)
        if k is None:
            value = _pack(_flux(kind, one, k2 * q))
        else:
            mean = half * (k[v + i] + k[v + up + i])
            value = _pack(_flux(kind, one, (k2 * q) * (mean * mean)))
        if faces is not None:
            value = value if faces[fp + i] & bit else out.dtype.type(0)
        out[o + i] = value


@jit
def _face_diffusivities(
    u, shape, lo, hi, b2, kind, k2, s2, k, start, slots, faces, w, out,
    before, s, after, q, near, far,
):  # fmt: skip
    """Compiled part of `face_diffusivities`; ``slots`` says which axis is stored where."""
    nz, ny, nx = U(shape[1]), U(shape[2]), U(shape[3])
    plane, one, two = ny * nx, U(1), U(2)
    volume, shift, unit = nz * plane, U(start) * plane, u.dtype.type(1)
    for z in range(U(lo), U(hi)):
        for y in range(ny):
            p = z * plane + y * nx
            v = p - shift
            for axis in range(2):
                if slots[axis] < 0:
                    continue
                o = U(slots[axis]) * volume + p
                at, count, stride = (z, nz, plane) if axis == 0 else (y, ny, nx)
                bit = np.uint8(1) if axis == 0 else np.uint8(2)
                if at + one == count:
                    for i in range(nx):
                        out[o + i] = out.dtype.type(0)
                    continue
                down = stride if at > U(0) else U(0)
                up2 = stride if at + two < count else U(0)
                if shape[0] == 1:
                    _stored_row(
                        kind, u, p, down, stride, up2, b2[axis], k2, s2, k, v, faces, p, bit,
                        out, o, nx,
                    )  # fmt: skip
                    continue
                _face_rows(
                    u, p, down, stride, up2, volume, unit, b2[axis], kind, k2, None, s2, k, v,
                    faces, bit, w, before, s, after, q, near, far, nx,
                )  # fmt: skip
                _pack_row(near, U(0), faces, p, bit, out, o, nx)
            if slots[2] >= 0:
                inner, o, bit = nx - one, U(slots[2]) * volume + p, np.uint8(4)
                out[o + inner] = out.dtype.type(0)
                if shape[0] == 1:
                    for part in range(3):  # the first face along the row, those between, the last
                        if nx <= U(max(part, 1)) or (part == 1 and nx < U(4)):
                            continue
                        x = (U(0), one, nx - two)[part]
                        n = nx - U(3) if part == 1 else one
                        left = one if x > U(0) else U(0)
                        right = one if part == 1 or x + two < nx else U(0)
                        _stored_row(
                            kind, u, p + x, left, one, right, b2[2], k2, s2, k, v + x, faces,
                            p + x, bit, out, o + x, n,
                        )  # fmt: skip
                    continue
                s[0] = s[nx] = u.dtype.type(0)
                _along_row(u, p, one, volume, b2[2], w, faces, bit, s, one, inner)
                _face_gradient_row(s, one, s, U(0), s, two, s2, v, v + one, q, inner)
                _share_row(kind, unit, k2, None, q, s2, k, v, v + one, near, far, one, inner)
                _pack_row(near, one, faces, p, bit, out, o, inner)


def face_diffusivities(u, shape, lo, hi, b2, code, k2, s2, k, start, axes, faces, w, out):
    """Store diffusivities at faces; see `reference.stages.face_diffusivities`."""
    scratch = [np.zeros(shape[3] + 1, u.dtype) for _ in range(6)]
    slots = np.array([axes.index(axis) if axis in axes else -1 for axis in range(3)])
    _face_diffusivities(
        u, shape, lo, hi, b2, (0,) * code, k2, s2, k, start, slots, faces, w, out, *scratch
    )


@row
def _stored_flux_row(u, near, far, g, s, walls, f, r, n):
    """Differences times stored diffusivities, f[r:r+n]; the stored number 0 is a closed face."""
    zero, none = u.dtype.type(0), g.dtype.type(0)
    for i in range(n):
        d = _times(u[far + i] - u[near + i], _unpack(g[s + i]))
        if walls is not None:  # selected, not multiplied by a mask: 0 * NaN is NaN
            d = d if g[s + i] != none else zero
        f[r + i] = d


@row
def _stored_rows(
    u, p, above, beyond, g, gy, gz, walls, fx, carry_y, carry_z, rz, az, ay, ax, momentum, out, n
):  # fmt: skip
    """One stage with stored diffusivities; the fluxes along y and z are kept as in `_fused_rows`.

    Fluxes are rounded by themselves, so that both voxels of a face have the same one.
    """
    zero, none, one = u.dtype.type(0), g.dtype.type(0), U(1)
    for i in range(n):
        centre = u[p + i]
        y = _times(u[p + above + i] - centre, _unpack(g[gy + i]))
        z = _times(u[p + beyond + i] - centre, _unpack(g[gz + i]))
        if walls is not None:
            y = y if g[gy + i] != none else zero
            z = z if g[gz + i] != none else zero
        old = out[p + i]
        old = old if momentum != 0 else centre  # without momentum, ``out`` may be uninitialised
        along = ay * (y - carry_y[i]) + _times(ax, fx[i + one] - fx[i])
        total = az * (z - carry_z[rz + i]) + along
        out[p + i] = centre + (momentum * (centre - old) + total)
        carry_y[i] = y
        carry_z[rz + i] = z


@jit
def _face_step(u, out, shape, lo, hi, a, momentum, g, slots, walls, fx, carry_y, carry_z):
    """Planes lo:hi of a stage with stored diffusivities of the faces."""
    channels, nz, ny, nx = U(shape[0]), U(shape[1]), U(shape[2]), U(shape[3])
    plane, zero, one = ny * nx, U(0), U(1)
    at_z, at_y, at_x = (
        U(slots[0]) * nz * plane,
        U(slots[1]) * nz * plane,
        U(slots[2]) * nz * plane,
    )
    for c in range(channels):
        start = c * nz * plane
        if lo > 0:  # the fluxes from the plane before
            p = (U(lo) - one) * plane
            _stored_flux_row(
                u, start + p, start + p + plane, g, at_z + p, walls, carry_z, zero, plane
            )
        else:
            for i in range(plane):
                carry_z[i] = u.dtype.type(0)
        for z in range(U(lo), U(hi)):
            beyond = plane if z + one < nz else zero
            for i in range(nx):
                carry_y[i] = u.dtype.type(0)
            for y in range(ny):
                above, v = nx if y + one < ny else zero, z * plane + y * nx
                p = start + v
                _stored_flux_row(u, p, p + one, g, at_x + v, walls, fx, one, nx - one)
                _stored_rows(
                    u, p, above, beyond, g, at_y + v, at_z + v, walls, fx, carry_y, carry_z,
                    y * nx, a[0], a[1], a[2], momentum, out, nx,
                )  # fmt: skip


def face_step(u, out, shape, stored, axes, lo, hi, a, momentum, walls):
    """One stage on planes lo:hi of flat fields; see `reference.stages.face_step`."""
    if not axes:
        axes, stored = (0,), np.zeros(u.size // shape[0], STORED_TYPES[u.dtype])
    # Along an axis of a single voxel there are no differences: any stored numbers will do.
    slots = np.array([axes.index(axis) if axis in axes else 0 for axis in range(3)])
    nx = shape[3]
    scratch = [np.zeros(count, u.dtype) for count in (nx + 1, nx, shape[2] * nx)]
    _face_step(u, out, shape, lo, hi, a, momentum, stored, slots, walls, *scratch)


@jit
def _diffusivity(kind, q):
    """Compiled part of `diffusivity`."""
    for i in range(U(q.shape[0])):
        q[i] = _flux(kind, q.dtype.type(1), q[i])


def diffusivity(code, q):
    """Replace the flat array q = s^2/kappa^2 by g(q); see `reference.stages.diffusivity`."""
    _diffusivity((0,) * code, q)
