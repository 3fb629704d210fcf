r"""Compiled kernels of Selling's stencil: non-negative weights for every tensor. Rules as in `compiled`; see reference_selling."""

from __future__ import annotations

import numpy as np

from napari_diffusion.backends.numba.jit import helper, jit, row
from napari_diffusion.backends.numba.tensor import BIAS, MASK, SLOT
from napari_diffusion.backends.reference.selling import FLIPS, LEAST, REACH, ROUNDER, SUMS, as_byte

U = np.uint64


#: The six pairs (i, j) of four vectors, and the other two (k, l) of each.
FIRST, SECOND = (0, 0, 0, 1, 1, 2), (1, 2, 3, 2, 3, 3)
THIRD, FOURTH = (2, 1, 1, 0, 0, 0), (3, 3, 2, 3, 2, 1)


@row
def _pair(i, j):
    """Number of the pair of i and j."""
    low, high = min(i, j), max(i, j)
    return low + high - 1 if low == 0 else low + high


@helper
def _decompose(m, real, b, rho, e):
    """M = sum_k rho_k e_k e_k^T with six rho >= 0 and whole-numbered e, no longer than REACH; see reference_selling.decompose.

    ``rho`` holds b_i . M b_j on the way. A flip changes these by sums of each other, since the four vectors add up to zero.
    """
    trace = m[0, 0] + m[1, 1] + m[2, 2]
    least, rounder = LEAST * trace, trace * ROUNDER
    while True:
        b[:] = 0
        for i in range(3):
            b[i, i] = 1
            b[3, i] = -1
            rho[_pair(i, 3)] = -(m[i, 0] + m[i, 1] + m[i, 2])
        rho[_pair(0, 1)], rho[_pair(0, 2)], rho[_pair(1, 2)] = m[0, 1], m[0, 2], m[1, 2]
        for _ in range(FLIPS):
            n = 0
            while n < 6 and rho[n] <= least:
                n += 1
            if n == 6:
                break
            i, j, k, o = FIRST[n], SECOND[n], THIRD[n], FOURTH[n]
            for r in range(3):
                b[k, r] += b[i, r]
                b[o, r] += b[i, r]
                b[i, r] = -b[i, r]
            ij, ik, io = rho[n], rho[_pair(i, k)], rho[_pair(i, o)]
            rho[n], rho[_pair(i, k)], rho[_pair(i, o)] = -ij, ij + io, ij + ik
            rho[_pair(j, k)] += ij
            rho[_pair(j, o)] += ij
            rho[_pair(k, o)] -= ij
        longest = 0
        for n in range(6):
            k, o = THIRD[n], FOURTH[n]
            rho[n] = -rho[n] if -rho[n] > least else 0.0
            e[n, 0] = b[k, 1] * b[o, 2] - b[k, 2] * b[o, 1]
            e[n, 1] = b[k, 2] * b[o, 0] - b[k, 0] * b[o, 2]
            e[n, 2] = b[k, 0] * b[o, 1] - b[k, 1] * b[o, 0]
            if rho[n] > 0.0:
                longest = max(longest, abs(e[n, 0]), abs(e[n, 1]), abs(e[n, 2]))
        if longest <= REACH:
            return
        for r in range(3):
            m[r, r] += rounder if real[r] else 0.0
        rounder *= 2.0


@helper
def _tensor(d, volume, p, k, real, m):
    """Unpack the tensor of voxel p, times k; six units of its rounding on the diagonal of ``real`` axes keep it positive."""
    for i in range(3):
        shift = SLOT * U(i)
        near = float(np.int64((d[p] >> shift) & MASK) - BIAS)
        m[i, i] = k[i] * (max(near, 0.0) + 6.0) if real[i] else 0.0
        row, column = (0 if i < 2 else 1), (1 if i == 0 else 2)
        m[row, column] = k[3 + i] * float(np.int64((d[volume + p] >> shift) & MASK) - BIAS)
        m[column, row] = m[row, column]


@helper
def _is_open(faces, p, e, sign, stride):
    """Whether both ways along the axes, first to last and last to first, lead through open faces."""
    for way in range(2):
        at = p
        for number in range(3):
            axis = number if way == 0 else 2 - number
            steps = sign * e[axis]
            for _ in range(abs(steps)):
                low = at if steps > 0 else at - stride[axis]
                if not faces[low] & np.uint8(1 << axis):
                    return False
                at = at + stride[axis] if steps > 0 else at - stride[axis]
    return True


@jit
def _spread(u, d, weight, space, channels, lo, hi, k, faces, total):
    """Add up weights (``u`` is None) or changes over planes lo:hi, source by source in the order of the volume, for any cut alike."""
    nz, ny, nx = space
    volume = nz * ny * nx
    stride, real = np.array((ny * nx, nx, 1)), (nz > 1, ny > 1, nx > 1)
    m, b, rho, e = (
        np.empty((3, 3)),
        np.empty((4, 3), np.int64),
        np.empty(6),
        np.empty((6, 3), np.int64),
    )
    height = hi - lo
    for z in range(max(lo - REACH, 0), min(hi + REACH, nz)):
        for y in range(ny):
            for x in range(nx):
                p = (z * ny + y) * nx + x
                _tensor(d, U(volume), U(p), k, real, m)
                _decompose(m, real, b, rho, e)
                for n in range(6):
                    if rho[n] == 0.0:
                        continue
                    for sign in (1, -1):
                        fz, fy, fx = z + sign * e[n, 0], y + sign * e[n, 1], x + sign * e[n, 2]
                        inside = 0 <= fz < nz and 0 <= fy < ny and 0 <= fx < nx
                        here, there = lo <= z < hi, lo <= fz < hi
                        if not inside or not (here or there):
                            continue
                        if faces is not None and not _is_open(faces, p, e[n], sign, stride):
                            continue
                        q = (fz * ny + fy) * nx + fx
                        share = 0.5 * rho[n]
                        if u is None:
                            if here:
                                total[p - lo * stride[0]] += share
                            if there:
                                total[q - lo * stride[0]] += share
                        else:
                            # No voxel may give away more than it has: the share of the fuller of the two is what both take.
                            share /= SUMS[max(weight[p], weight[q])]
                            for c in range(channels):
                                flux = share * (float(u[c * volume + q]) - float(u[c * volume + p]))
                                if here:
                                    total[c * height * stride[0] + p - lo * stride[0]] += flux
                                if there:
                                    total[c * height * stride[0] + q - lo * stride[0]] -= flux


def incident(d, shape, lo, hi, k, faces, out):
    """Sum of the weights at each voxel of planes lo:hi."""
    _, nz, ny, nx = shape
    total = np.zeros((hi - lo) * ny * nx)
    _spread(None, d, None, (nz, ny, nx), 1, lo, hi, k, faces, total)
    out[lo * ny * nx : hi * ny * nx] = as_byte(total)


def step(u, out, d, weight, shape, lo, hi, k, faces):
    """One explicit step on planes lo:hi."""
    channels, nz, ny, nx = shape
    total = np.zeros((channels, (hi - lo) * ny * nx))
    _spread(u, d, weight, (nz, ny, nx), channels, lo, hi, k, faces, total.reshape(-1))
    planes = slice(lo * ny * nx, hi * ny * nx)
    for c, change in enumerate(total):
        out.reshape(channels, -1)[c, planes] = u.reshape(channels, -1)[c, planes] + change
