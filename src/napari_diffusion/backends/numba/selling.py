"""Compiled kernels of Selling's stencil, whose weights are non-negative for every tensor.

The same rules hold as in `numba.stages`; `reference.selling` documents the functions.
"""

from __future__ import annotations

import numpy as np

from napari_diffusion.backends.numba.jit import helper, jit, row, uncontracted_row
from napari_diffusion.backends.numba.tensor import ENTRY_BIAS, SLOT_BITS, SLOT_MASK
from napari_diffusion.backends.reference.selling import (
    ISOTROPIC_SHARE,
    MAX_FLIPS,
    MAX_ROUNDS,
    MIN_PRODUCT,
    REACH,
    WEIGHT_SUMS,
    as_byte,
)

U = np.uint64
#: The six pairs (i, j) of four vectors, and the two other vectors (k, l) for each pair.
PAIR_I, PAIR_J = (0, 0, 0, 1, 1, 2), (1, 2, 3, 2, 3, 3)
OTHER_K, OTHER_L = (2, 1, 1, 0, 0, 0), (3, 3, 2, 3, 2, 1)


@row
def _pair(i, j):
    """Number of the pair (i, j)."""
    low, high = min(i, j), max(i, j)
    return low + high - 1 if low == 0 else low + high


@helper
def _decompose(m, real, b, rho, e):
    """Decompose M into sum_k rho_k e_k e_k^T; see `reference.selling.decompose`.

    During the iteration ``rho`` holds the products b_i . M b_j. A flip replaces them by sums of
    products, since the four vectors b add up to zero.
    """
    trace = m[0, 0] + m[1, 1] + m[2, 2]
    min_product, isotropic = MIN_PRODUCT * trace, trace * ISOTROPIC_SHARE
    diagonal = m[0, 0], m[1, 1], m[2, 2]
    for _ in range(MAX_ROUNDS):
        b[:] = 0
        for i in range(3):
            b[i, i] = 1
            b[3, i] = -1
            rho[_pair(i, 3)] = -(m[i, 0] + m[i, 1] + m[i, 2])
        rho[_pair(0, 1)], rho[_pair(0, 2)], rho[_pair(1, 2)] = m[0, 1], m[0, 2], m[1, 2]
        for _ in range(MAX_FLIPS):
            n = 0
            while n < 6 and rho[n] <= min_product:
                n += 1
            if n == 6:
                break
            i, j, k, o = PAIR_I[n], PAIR_J[n], OTHER_K[n], OTHER_L[n]
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
            k, o = OTHER_K[n], OTHER_L[n]
            rho[n] = -rho[n] if -rho[n] > min_product else 0.0
            e[n, 0] = b[k, 1] * b[o, 2] - b[k, 2] * b[o, 1]
            e[n, 1] = b[k, 2] * b[o, 0] - b[k, 0] * b[o, 2]
            e[n, 2] = b[k, 0] * b[o, 1] - b[k, 1] * b[o, 0]
            if rho[n] > 0.0:
                longest = max(longest, abs(e[n, 0]), abs(e[n, 1]), abs(e[n, 2]))
        if longest <= REACH:
            return
        for r in range(3):
            m[r, r] += isotropic if real[r] else 0.0
        isotropic *= 2.0
    for n in range(6):
        rho[n] = diagonal[n] if n < 3 else 0.0
        for r in range(3):
            e[n, r] = 1 if n == r else 0


@helper
def _tensor(d, volume, p, k, real, m):
    """Unpack the tensor of voxel p, times k.

    Six quantisation steps on the diagonal outweigh rounding, so the matrix stays positive. ``real``
    marks the axes with more than one voxel; the diagonal entries of the others are zero.
    """
    for i in range(3):
        shift = SLOT_BITS * U(i)
        diagonal = float(np.int64((d[p] >> shift) & SLOT_MASK) - ENTRY_BIAS)
        m[i, i] = k[i] * (max(diagonal, 0.0) + 6.0) if real[i] else 0.0
        row, column = (0 if i < 2 else 1), (1 if i == 0 else 2)
        off_diagonal = float(np.int64((d[volume + p] >> shift) & SLOT_MASK) - ENTRY_BIAS)
        m[row, column] = k[3 + i] * off_diagonal
        m[column, row] = m[row, column]


@helper
def _is_open(faces, p, e, sign, stride):
    """Whether both paths along the axes pass open faces only.

    One path follows the axes from first to last, the other from last to first.
    """
    for path in range(2):
        at = p
        for number in range(3):
            axis = number if path == 0 else 2 - number
            steps = sign * e[axis]
            for _ in range(abs(steps)):
                low = at if steps > 0 else at - stride[axis]
                if not faces[low] & np.uint8(1 << axis):
                    return False
                at = at + stride[axis] if steps > 0 else at - stride[axis]
    return True


@uncontracted_row
def _flux(share, near, far):
    """Flux that is rounded by itself: joined with a sum, it would depend on the slab."""
    return share * (far - near)


@jit
def _spread(u, d, weight, space, channels, lo, hi, k, faces, total):
    """Sum weights (``u`` is None) or changes of the values over planes lo:hi.

    Voxels contribute in the order of the volume, so the sums do not depend on the slab boundaries.
    """
    nz, ny, nx = space
    volume = nz * ny * nx
    stride, real = np.array((ny * nx, nx, 1)), (nz > 1, ny > 1, nx > 1)
    m, b = np.empty((3, 3)), np.empty((4, 3), np.int64)
    rho, e = np.empty(6), np.empty((6, 3), np.int64)
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
                        writes_p, writes_q = lo <= z < hi, lo <= fz < hi
                        if not inside or not (writes_p or writes_q):
                            continue
                        if faces is not None and not _is_open(faces, p, e[n], sign, stride):
                            continue
                        q = (fz * ny + fy) * nx + fx
                        share = 0.5 * rho[n]
                        if u is None:
                            if writes_p:
                                total[p - lo * stride[0]] += share
                            if writes_q:
                                total[q - lo * stride[0]] += share
                        else:
                            # Both voxels use the larger sum of weights, so that the outflow of
                            # neither exceeds its content.
                            share /= WEIGHT_SUMS[max(weight[p], weight[q])]
                            for c in range(channels):
                                near, far = float(u[c * volume + p]), float(u[c * volume + q])
                                flux = _flux(share, near, far)
                                if writes_p:
                                    total[c * height * stride[0] + p - lo * stride[0]] += flux
                                if writes_q:
                                    total[c * height * stride[0] + q - lo * stride[0]] -= flux


def incident(d, shape, lo, hi, k, faces, out):
    """Sum the weights at each voxel of planes lo:hi; see `reference.selling.incident`."""
    _, nz, ny, nx = shape
    total = np.zeros((hi - lo) * ny * nx)
    _spread(None, d, None, (nz, ny, nx), 1, lo, hi, k, faces, total)
    out[lo * ny * nx : hi * ny * nx] = as_byte(total)


def step(u, out, d, weight, shape, lo, hi, k, faces):
    """One explicit step on planes lo:hi; see `reference.selling.selling_step`."""
    channels, nz, ny, nx = shape
    total = np.zeros((channels, (hi - lo) * ny * nx))
    _spread(u, d, weight, (nz, ny, nx), channels, lo, hi, k, faces, total.reshape(-1))
    planes = slice(lo * ny * nx, hi * ny * nx)
    for c, change in enumerate(total):
        out.reshape(channels, -1)[c, planes] = u.reshape(channels, -1)[c, planes] + change
