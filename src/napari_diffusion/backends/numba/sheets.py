"""Compiled kernel of membrane-enhancing diffusion: sums of Hessians weighted by their sheetness.

The same rules hold as in `numba.stages`; `reference.sheets` documents the equations.
"""

from __future__ import annotations

import numpy as np

from napari_diffusion.backends.numba.jit import jit, uncontracted_row
from napari_diffusion.backends.numba.stages import exp_neg_half
from napari_diffusion.backends.numba.tensor import BLOCK_VOXELS, eigenvalues
from napari_diffusion.backends.numba.tensor import rise as one_minus_exp
from napari_diffusion.backends.reference.sheets import (
    MAX_SLOPE,
    MAX_WITHIN,
    MIN_GAPS,
    MIN_SHEETNESS,
    SLOPE_WEIGHT,
)
from napari_diffusion.backends.reference.tensor import MAX_CURVATURE, MIN_CURVATURE

U = np.uint64


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
def _scaled_row(u, p, scale, out, n):
    """Copy a row times ``scale``."""
    for i in range(n):
        out[i] = scale * u[p + i]


@uncontracted_row
def _weighted_row(j, sheet, total, p, n):
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
            _scaled_row(h[k], p, scale, j[k], n)
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
            _weighted_row(j[k], sheet, total[k], p, n)
