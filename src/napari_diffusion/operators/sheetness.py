"""Sheetness: how much the surroundings of a voxel resemble a sheet, from its derivatives."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from napari_diffusion.backends.reference.tensor import MAX_CURVATURE, MIN_CURVATURE
from napari_diffusion.core.arrays import Field
from napari_diffusion.operators.features import Features, gradient_unit

#: Weight of a slope within the sheet, against which there is no sheet.
SLOPE_WEIGHT = 12.0
#: Largest slope, as a multiple of the curvature across the sheet.
MAX_SLOPE = 16.0
#: Sheetness below it is zero, with a linear transition up to twice this value. The fourth power of
#: the rest is no denormal number in float32, which would be slow.
MIN_SHEETNESS = 1e-8


def sheets(
    f: Features, sigmas: Sequence[float], gamma: float, polarity: str
) -> tuple[Field, Field]:
    r"""Return the weighted sum of Hessians and the largest sheetness over all scales.

    The sum is :math:`\sum_\sigma P_\sigma^4 H_\sigma` as in `Features.vessels`, with the
    `sheetness` :math:`P_\sigma` instead of the vesselness.

    Parameters
    ----------
    f
        Features of the slab.
    sigmas
        Scales [length].
    gamma
        Contrast of a faint sheet [intensity].
    polarity
        ``"bright"`` or ``"dark"`` sheets.
    """
    shape = (f.hi - f.lo, *f.u.shape[2:])
    best = f.scratch.take("best", shape, f.u.dtype)
    # Plane by plane, since there are many temporary arrays; a device passes whole fields only.
    height = shape[0] if f.kernels.takes_whole_fields else 1
    slopes = f.kernels.empty((len(f.axes), height, *shape[1:]), f.u.dtype)
    unit, t = gradient_unit(gamma), f.u.dtype.type
    for number, sigma in enumerate(sigmas):
        smooth, first = f.smoothed_average(sigma)
        hessian = f.hessian_of(smooth, first)
        if not number:
            total = f.scratch.take("total", hessian.shape, f.u.dtype)
            total[...], best[...] = 0, 0
        for k in range(0, len(best), height):
            planes = slice(k, k + height)
            for row, axis in enumerate(f.axes):
                entry = slopes[row : row + 1]
                f.derive(smooth, first, f.lo + k, f.lo + k + height, axis, 1, entry)
            matrix = hessian[:, planes] * t(sigma**2 / unit)
            parts = matrix, f.eigenvalues(matrix), slopes * t(sigma / unit)
            # NumPy computes the sheetness, with its exponentials and sums.
            entries, mu, rises = map(f.kernels.fetch, parts)
            sheet = sheetness(entries, mu, rises, gamma / unit, polarity == "bright")
            sheet = f.kernels.load(sheet)
            np.maximum(sheet, best[planes], out=best[planes])
            total[:, planes] += matrix * np.square(np.square(sheet))
    return total, best


def sheetness(hessian: Field, mu: Field, slopes: Field, gamma: float, bright: bool) -> Field:
    r"""Return how much the surroundings of a voxel resemble a sheet, from 0 to 1.

    .. math::
       P = (1 - R^2)\,e^{-2R^2}\,(1 - e^{-S^2/2\gamma^2})\,e^{-12 q^2}, \qquad
       R = |l_2|/|l_1|, \; S^2 = \sum l_i^2, \; q = |\nabla_t u|/|l_1|

    with the eigenvalues :math:`|l_1| \ge |l_2| \ge |l_3|` of the scale-normalised Hessian, and the
    scale-normalised gradient :math:`\nabla_t u` in the plane across the eigenvector of
    :math:`l_1`. It is 0 where :math:`l_1` has the wrong sign for a bright or dark sheet.

    Beside a tube, the curvatures are those of a sheet that contains its axis, but the image falls
    steeply within that sheet. So the last factor tells a sheet from the flank of a tube.

    Parameters
    ----------
    hessian
        Entries of the scale-normalised Hessian [intensity]: diagonal, then upper triangle.
    mu
        Its eigenvalues [intensity], largest first.
    slopes
        Scale-normalised gradient [intensity].
    gamma
        Curvature that separates sheets from noise [intensity].
    bright
        Whether sheets are brighter than their surroundings.
    """
    t, n = mu.dtype.type, len(mu)
    signed = mu if bright else -mu[::-1]  # the last one is that of the normal of a sheet
    largest = np.abs(mu).max(0)
    tiny, huge = (float(limit) for limit in (np.finfo(mu.dtype).tiny, np.finfo(mu.dtype).max))
    scale, gamma = 1 / np.maximum(largest, t(tiny)), min(max(gamma, tiny), huge / MAX_CURVATURE)
    height = np.maximum(np.minimum(largest, t(MAX_CURVATURE * gamma)) / t(gamma), t(MIN_CURVATURE))
    share = signed * scale
    strength = -np.expm1(-np.square(height) * np.square(share).sum(0) / 2)
    if n == 1:
        return _clear(np.where(signed[-1] < 0, strength, 0))
    others = np.square(share[:-1]).max(0)  # 1 where the largest curvature has the wrong sign
    # The projection on the normal is the product of H - l_i over the other eigenvalues l_i.
    # A slope beyond this leaves no sheet, and its square is finite.
    g = np.clip(slopes * scale, -MAX_SLOPE, MAX_SLOPE)
    sign = t(1 if bright else -1)
    turned = sign * scale * _times(hessian, g)
    factors = [share[i] * g - turned for i in range(n - 1)] + [g] * (3 - n)
    product = (factors[0] * factors[1]).sum(0)
    divisor = np.prod(share[:-1] - share[-1], axis=0)
    square = np.square(g).sum(0)
    across = np.clip(product / np.maximum(divisor, t(1e-6)), 0, square)
    within = square - across
    form = np.maximum(1 - others, 0) * np.exp(-2 * others - t(SLOPE_WEIGHT) * np.minimum(within, 5))
    return _clear(form * strength)


def _times(matrix: Field, vector: Field) -> Field:
    """Multiply symmetric matrices, by their entries, with vectors."""
    n = len(vector)
    out = matrix[:n] * vector
    for entry, (i, j) in zip(matrix[n:], itertools.combinations(range(n), 2), strict=True):
        out[i] += entry * vector[j]
        out[j] += entry * vector[i]
    return out


def _clear(sheet: Field) -> Field:
    """Return the sheetness without values below `MIN_SHEETNESS`."""
    return np.asarray(np.minimum(sheet, np.maximum(2 * (sheet - MIN_SHEETNESS), 0)))
