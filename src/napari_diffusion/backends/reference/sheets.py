"""Sheetness: how much the surroundings of a voxel resemble a sheet, from its derivatives."""

from __future__ import annotations

import itertools

import numpy as np

from napari_diffusion.backends.reference.tensor import MAX_CURVATURE, MIN_CURVATURE, eigenvalues
from napari_diffusion.core.arrays import Field

#: Weight of a slope within the sheet, against which there is no sheet.
SLOPE_WEIGHT = 12.0
#: Largest slope, as a multiple of the curvature across the sheet.
MAX_SLOPE = 16.0
#: Largest square of a slope within the sheet that the exponential distinguishes.
MAX_WITHIN = 5.0
#: Smallest product of the gaps between the shares of the curvatures.
MIN_GAPS = 1e-6
#: Sheetness below it is zero, with a linear transition up to twice this value. The fourth power of
#: the rest is no denormal number in float32, which would be slow.
MIN_SHEETNESS = 1e-8


def sheets(
    hessian: Field,
    slopes: Field,
    first: int,
    scale: float,
    slope_scale: float,
    gamma: float,
    bright: bool,
    total: Field,
    best: Field,
) -> None:
    """Add :math:`P^4 H` to ``total``, and keep the larger sheetness in ``best``.

    H is ``scale`` times ``hessian``, and P the `sheetness` of H and of ``slope_scale`` times
    ``slopes``. The slopes are those of the planes from ``first`` on; no other plane is written.
    """
    planes = slice(first, first + slopes.shape[1])
    t = hessian.dtype.type
    scaled = hessian[:, planes] * t(scale)
    sheet = sheetness(scaled, eigenvalues(scaled), slopes * t(slope_scale), gamma, bright)
    np.maximum(sheet, best[planes], out=best[planes], casting="same_kind")
    total[:, planes] += scaled * np.square(np.square(sheet))


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
    across = np.clip(product / np.maximum(divisor, t(MIN_GAPS)), 0, square)
    within = square - across
    form = np.maximum(1 - others, 0) * np.exp(
        -2 * others - t(SLOPE_WEIGHT) * np.minimum(within, MAX_WITHIN)
    )
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
