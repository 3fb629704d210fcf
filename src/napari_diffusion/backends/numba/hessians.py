"""Compiled kernels of sums of Hessians, weighted by their vesselness or by their sheetness.

The same rules hold as in `numba.stages`; `reference.tensor` and `reference.sheets` document the
equations.
"""

from __future__ import annotations

import numpy as np

from napari_diffusion.backends.numba.jit import helper, jit, row, uncontracted_row
from napari_diffusion.backends.numba.stages import exp_neg_half
from napari_diffusion.backends.numba.tensor import eigenvalues, first_eigenvalues
from napari_diffusion.backends.numba.tensor import rise as one_minus_exp
from napari_diffusion.backends.reference.sheets import (
    MAX_SLOPE,
    MAX_WITHIN,
    MIN_GAPS,
    MIN_SHEETNESS,
    SLOPE_WEIGHT,
)
from napari_diffusion.backends.reference.tensor import (
    MAX_CURVATURE,
    MIN_CURVATURE,
    MIN_VESSELNESS,
    VESSELNESS_C2,
)

U = np.uint64
#: Voxels whose Hessians and eigenvalues are computed at once; they stay in the cache.
BLOCK_VOXELS = 2048


@row
def _entry_row(u, p, down_a, up_a, down_b, up_b, is_diagonal, k, j, r, n):
    """Write k times a second difference along axis a, or a mixed one along the axes a and b.

    ``down`` and ``up`` are the distances to the neighbours; they are 0 at the border of the array.
    """
    if is_diagonal:
        near, far = p - down_a, p + up_a
        for i in range(n):
            j[r + i] = k * ((u[far + i] - u[p + i]) - (u[p + i] - u[near + i]))
    else:
        low, high = p - down_a, p + up_a
        a, b, c, d = high + up_b, high - down_b, low + up_b, low - down_b
        for i in range(n):
            j[r + i] = k * ((u[a + i] - u[b + i]) - (u[c + i] - u[d + i]))


@row
def _hessian_row(u, p, down, up, pairs, factors, j, size, r, nx):
    """Write all entries of the Hessians of a row of voxels.

    ``down`` and ``up`` are the distances to the neighbours along each axis, in the interior along
    x. Entry e goes to ``e * size + r``.
    """
    one, zero = U(1), U(0)
    for e in range(len(factors)):
        a, b, k, o = pairs[e, 0], pairs[e, 1], factors[e], U(e) * size + r
        if b != 2:
            _entry_row(u, p, down[a], up[a], down[b], up[b], a == b, k, j, o, nx)
            continue
        # The first voxel, those between, and the last; along x one of the neighbours is missing.
        last, is_diagonal = nx - one, a == b
        right = one if last > zero else zero
        up_a, down_a = right if a == 2 else up[a], zero if a == 2 else down[a]
        _entry_row(u, p, down_a, up_a, zero, right, is_diagonal, k, j, o, one)
        if last > zero:
            up_a, down_a = zero if a == 2 else up[a], one if a == 2 else down[a]
            _entry_row(u, p + last, down_a, up_a, one, zero, is_diagonal, k, j, o + last, one)
        if last > one:
            up_a = one if a == 2 else up[a]
            down_a = one if a == 2 else down[a]
            _entry_row(u, p + one, down_a, up_a, one, one, is_diagonal, k, j, o + one, last - one)


@helper
def _hessian_rows(u, planes, ny, nx, first, count, pairs, factors, j, size):
    """Write the entries of the Hessians of ``count`` rows of a field, from row ``first`` on."""
    plane, one, zero = ny * nx, U(1), U(0)
    down, up = np.zeros(3, np.uint64), np.zeros(3, np.uint64)
    for line in range(count):
        y, z = (first + line) % ny, (first + line) // ny
        # At the border of the array the neighbour is the voxel itself: difference zero.
        down[0], up[0] = plane if z > zero else zero, plane if z + one < planes else zero
        down[1], up[1] = nx if y > zero else zero, nx if y + one < ny else zero
        o = z * plane + y * nx
        _hessian_row(u, o, down, up, pairs, factors, j, size, line * nx, nx)


@row
def _scaled_row(u, p, scale, out, r, n):
    """Copy a row times ``scale``."""
    for i in range(n):
        out[r + i] = scale * u[p + i]


@uncontracted_row
def _candidates_row(j, size, axes, strength, keep, n):
    """Mark the Hessians of a bright vessel, whose two largest eigenvalues have a negative sum.

    In 3-D, the matrix H - tr(H) I is then positive definite. All of its leading minors are
    positive. Other voxels have no vesselness. The result is true where a minor is NaN.
    """
    t = j.dtype.type
    zero = t(0)
    second, third = size, size + size
    if axes == 3:
        zy, zx, yx = third + size, third + third, third + third + size
        for i in range(n):
            a, b, c = strength * j[i], strength * j[second + i], strength * j[third + i]
            d, e, f = strength * j[zy + i], strength * j[zx + i], strength * j[yx + i]
            z, y, x = -(b + c), -(a + c), -(a + b)
            minor = z * y - d * d
            det = z * (y * x - f * f) - d * (d * x - e * f)
            det = det + e * (d * f - y * e)
            keep[i] = not ((z <= zero) | (minor <= zero) | (det <= zero))
    elif axes == 2:
        for i in range(n):
            keep[i] = not (strength * j[i] + strength * j[second + i] >= zero)
    else:
        for i in range(n):
            keep[i] = not (strength * j[i] >= zero)


@row
def _vesselness_row(m0, m1, m2, sign, strength, vessel, n):
    """Vesselness of eigenvalues in the order of a bright vessel; see `reference.tensor.vesselness`.

    With two eigenvalues ``m1`` is None.
    """
    t = m0.dtype.type
    zero, one, four, smallest = t(0), t(1), t(4), t(1e-37) if m0.itemsize == 4 else t(1e-300)
    min_curvature, max_curvature = t(MIN_CURVATURE), t(MAX_CURVATURE)
    smoothing, threshold = t(4 * VESSELNESS_C2), t(2 * MIN_VESSELNESS)
    limit = t(0.25) if m0.itemsize == 4 else t(0.02)
    c = t(1 / 2), t(1 / 8), t(1 / 48), t(1 / 384), t(1 / 3840), t(1 / 46080)
    for i in range(n):
        first, third = sign * m0[i], sign * m2[i]
        second = third if m1 is None else sign * m1[i]
        largest = max(max(abs(first), smallest), max(abs(second), abs(third)))
        scale = one / largest
        a, d = abs(first) * scale, abs(third) * scale
        b = max(abs(second) * scale, min_curvature)
        height = min(max(strength * largest, min_curvature), max_curvature)
        ratio = a / b
        tube = max(one - ratio * ratio, zero)
        tube = tube if second < zero and third < zero else zero
        if m1 is None:
            strong = one_minus_exp(height * height * (a * a + d * d), one, limit, c)
            v = tube * strong * exp_neg_half(four * a * a)
        else:
            strong = one_minus_exp(height * height * (a * a + b * b + d * d), one, limit, c)
            strong *= one_minus_exp(four * b * b, one, limit, c)
            q = four * a * ratio + smoothing / (b * height * height * height)
            v = tube * strong * exp_neg_half(q)
        vessel[i] = min(v, max(v + v - threshold, zero))


@row
def _weighted_vessels_row(j, r, vessel, total, p, n):
    """Add ``j`` times the fourth power of ``vessel``."""
    for i in range(n):
        square = vessel[i] * vessel[i]
        total[p + i] += square * square * j[r + i]


@helper
def _add_vessels(j, size, bright, strength, chosen, mu, rows, keep, place, total, best, p, n):
    """Add the first ``n`` Hessians of a block by their vesselness, to the voxels from ``p`` on.

    Entry e of the block begins at ``e * size``. The other arrays of the block are overwritten. Only
    the candidates are copied to ``chosen``: in noise, every fourth voxel is one.
    """
    entries, axes, zero = chosen.shape[0], mu.shape[0], mu.dtype.type(0)
    sign, vessel, of_chosen = mu.dtype.type(1 if bright else -1), rows[0], rows[1]
    _candidates_row(j, size, axes, sign * strength, keep, n)
    count = U(0)
    for i in range(n):
        place[count], vessel[i] = i, zero
        count += U(keep[i])
    for e in range(entries):
        own, start = chosen[e], U(e) * size
        for i in range(count):
            own[i] = j[start + place[i]]
    first_eigenvalues(chosen, mu, count)
    low, top = (0, axes - 1) if bright else (axes - 1, 0)
    if axes == 3:
        _vesselness_row(mu[low], mu[1], mu[top], sign, strength, of_chosen, count)
    else:
        _vesselness_row(mu[low], None, mu[top], sign, strength, of_chosen, count)
    for i in range(count):
        vessel[place[i]] = of_chosen[i]
    for i in range(n):
        best[p + i] = max(vessel[i], best[p + i])
    for e in range(entries):
        _weighted_vessels_row(j, U(e) * size, vessel, total[e], p, n)


@jit
def vessels(h, scale, bright, strength, total, best):
    """Accumulate Hessians by their vesselness; see `reference.tensor.vessels`.

    Adds V^4 H to ``total`` with H = scale h, and keeps the larger V in ``best``. ``strength`` is
    1/gamma.
    """
    entries, volume = h.shape
    axes = 3 if entries == 6 else 2 if entries == 3 else 1
    block = U(min(BLOCK_VOXELS, volume))
    j, chosen = np.empty(entries * block, h.dtype), np.empty((entries, block), h.dtype)
    mu, rows = np.empty((axes, block), h.dtype), np.empty((2, block), h.dtype)
    keep, place = np.empty(block, np.uint8), np.empty(block, np.uint32)
    for p in range(U(0), U(volume), block):
        n = min(block, U(volume) - p)
        for e in range(entries):
            _scaled_row(h[e], p, scale, j, U(e) * block, n)
        _add_vessels(j, block, bright, strength, chosen, mu, rows, keep, place, total, best, p, n)


@jit
def open_vessels(fields, shape, start, lo, hi, pairs, factors, bright, strength, total, best):
    """As `vessels`, over the Hessians of all ``fields`` on planes lo:hi; see `Backend`.

    ``factors`` has those of the entries for each field, with the axes in ``pairs``. Plane 0 of the
    fields is plane ``start``.
    """
    planes, ny, nx = U(shape[1]), U(shape[2]), U(shape[3])
    one, zero, entries = U(1), U(0), len(pairs)
    axes, t = 3 if entries == 6 else 2 if entries == 3 else 1, best.dtype.type
    rows = max(one, U(BLOCK_VOXELS) // nx)
    block = rows * nx
    j, chosen = np.empty(entries * block, best.dtype), np.empty((entries, block), best.dtype)
    mu, vessels = np.empty((axes, block), best.dtype), np.empty((2, block), best.dtype)
    keep, place = np.empty(block, np.uint8), np.empty(block, np.uint32)
    sums, largest = np.empty((entries, block), best.dtype), np.empty(block, best.dtype)
    lines = (U(hi) - U(lo)) * ny
    for first in range(zero, lines, rows):
        count = min(rows, lines - first)
        p, n = first * nx, count * nx
        sums[:], largest[:] = t(0), t(0)
        for number in range(len(fields)):
            u, k, at = fields[number], factors[number], first + (U(lo) - U(start)) * ny
            _hessian_rows(u, planes, ny, nx, at, count, pairs, k, j, block)
            _add_vessels(
                j, block, bright, strength, chosen, mu, vessels, keep, place, sums, largest, zero, n
            )
        for i in range(n):
            best[p + i] = largest[i]
        for e in range(entries):
            own, out = sums[e], total[e]
            for i in range(n):
                out[p + i] = own[i]


@uncontracted_row
def _sheetness_row(h, mu, low, top, s, p, sign, strength, slope_scale, sheet, n):
    """Sheetness of a row; see `reference.sheets.sheetness`.

    ``low`` and ``top`` are the rows of the smallest and of the largest eigenvalue of a bright
    sheet. ``h`` and ``s`` are tuples of entries and of slopes; the slopes start at ``p``.
    """
    t = sheet.dtype.type
    zero, one, two, four = t(0), t(1), t(2), t(4)
    smallest, limit = (t(1e-37), t(0.25)) if sheet.itemsize == 4 else (t(1e-300), t(0.02))
    min_curvature, max_curvature = t(MIN_CURVATURE), t(MAX_CURVATURE)
    max_slope, max_within, min_gaps = t(MAX_SLOPE), t(MAX_WITHIN), t(MIN_GAPS)
    weight, threshold = two * t(SLOPE_WEIGHT), two * t(MIN_SHEETNESS)
    c = t(1 / 2), t(1 / 8), t(1 / 48), t(1 / 384), t(1 / 3840), t(1 / 46080)
    first, last = mu[low], mu[top]
    for i in range(n):
        largest = max(max(abs(first[i]), abs(last[i])), smallest)
        scale = one / largest
        a, d = sign * first[i] * scale, sign * last[i] * scale
        height = min(max(strength * largest, min_curvature), max_curvature)
        height *= height
        if len(s) == 1:
            v = one_minus_exp(height * d * d, one, limit, c) if d < zero else zero
        else:
            turn, slope = sign * scale, slope_scale * scale
            gz = min(max(slope * s[0][p + i], -max_slope), max_slope)
            gy = min(max(slope * s[1][p + i], -max_slope), max_slope)
            if len(s) == 2:
                others, square = a * a, gz * gz + gy * gy
                strong = one_minus_exp(height * (others + d * d), one, limit, c)
                tz = turn * (h[0][i] * gz + h[2][i] * gy)
                ty = turn * (h[1][i] * gy + h[2][i] * gz)
                product = (a * gz - tz) * gz + (a * gy - ty) * gy
                gaps = a - d
            else:
                b = sign * mu[1][i] * scale
                gx = min(max(slope * s[2][p + i], -max_slope), max_slope)
                others, square = max(a * a, b * b), gz * gz + gy * gy + gx * gx
                strong = one_minus_exp(height * (a * a + b * b + d * d), one, limit, c)
                tz = turn * (h[0][i] * gz + h[3][i] * gy + h[4][i] * gx)
                ty = turn * (h[1][i] * gy + h[3][i] * gz + h[5][i] * gx)
                tx = turn * (h[2][i] * gx + h[4][i] * gz + h[5][i] * gy)
                product = (a * gz - tz) * (b * gz - tz) + (a * gy - ty) * (b * gy - ty)
                product += (a * gx - tx) * (b * gx - tx)
                gaps = (a - d) * (b - d)
            across = min(max(product / max(gaps, min_gaps), zero), square)
            within = min(square - across, max_within)
            v = max(one - others, zero) * strong * exp_neg_half(four * others + weight * within)
        sheet[i] = min(v, max(v + v - threshold, zero))


@uncontracted_row
def _weighted_sheets_row(j, sheet, total, p, n):
    """Add ``j`` times the fourth power of ``sheet``."""
    for i in range(n):
        square = sheet[i] * sheet[i]
        total[p + i] += square * square * j[i]


@jit
def sheets(h, slopes, first, scale, slope_scale, bright, strength, total, best):
    """Accumulate Hessians by their sheetness; see `reference.sheets.sheets`.

    The slopes are those of the voxels from ``first`` on. ``strength`` is 1/gamma.
    """
    entries, axes, volume = h.shape[0], slopes.shape[0], slopes.shape[1]
    low, top = (0, axes - 1) if bright else (axes - 1, 0)
    sign = h.dtype.type(1 if bright else -1)
    for start in range(0, volume, BLOCK_VOXELS):
        count = min(BLOCK_VOXELS, volume - start)
        j, mu = np.empty((entries, count), h.dtype), np.empty((axes, count), h.dtype)
        sheet = np.empty(count, h.dtype)
        p, s, n = U(first + start), U(start), U(count)
        for k in range(entries):
            _scaled_row(h[k], p, scale, j[k], U(0), n)
        eigenvalues(j, mu)
        settings = sign, strength, slope_scale
        if axes == 3:
            _sheetness_row(
                (j[0], j[1], j[2], j[3], j[4], j[5]), mu, low, top,
                (slopes[0], slopes[1], slopes[2]), s, *settings, sheet, n,
            )  # fmt: skip
        elif axes == 2:
            _sheetness_row(
                (j[0], j[1], j[2]), mu, low, top, (slopes[0], slopes[1]), s, *settings, sheet, n
            )
        else:
            _sheetness_row((j[0],), mu, low, top, (slopes[0],), s, *settings, sheet, n)
        for i in range(n):
            best[p + i] = max(sheet[i], best[p + i])
        for k in range(entries):
            _weighted_sheets_row(j[k], sheet, total[k], p, n)
