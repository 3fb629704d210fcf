"""Compiled kernels of diffusivities that are stored at the faces, and of the stages with them.

The same rules hold as in `numba.stages`; `reference.stages` documents the functions.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import overload

from napari_diffusion.backends.numba.jit import helper, jit, row
from napari_diffusion.backends.numba.stages import (
    _along_row,
    _face_gradient_row,
    _face_rows,
    _flux,
    _share_row,
    _times,
)
from napari_diffusion.backends.reference import stages as specification
from napari_diffusion.backends.reference.stages import DROPPED_BITS, LARGEST_CODE

U = np.uint64
BITS_OF_ZERO = np.int32(specification.BITS_OF_ZERO)
HALF_CODE = np.int32(1 << (DROPPED_BITS - 1))
TINY = float(np.finfo(np.float32).tiny)


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


def face_step(u, out, shape, stored, slots, lo, hi, a, momentum, walls):
    """One stage on planes lo:hi of flat fields; see `reference.stages.face_step`.

    ``slots`` says where the diffusivities of each axis are stored.
    """
    nx, t = shape[3], u.dtype
    # The kernel writes all but the two ends of ``fx``, where no flux passes.
    fx, carry_y, carry_z = np.zeros(nx + 1, t), np.empty(nx, t), np.empty(shape[2] * nx, t)
    _face_step(u, out, shape, lo, hi, a, momentum, stored, slots, walls, fx, carry_y, carry_z)
