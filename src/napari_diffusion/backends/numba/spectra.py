"""Compiled diffusivities along the eigenvectors of a tensor, by the name of the model.

The same rules hold as in `numba.stages`. The ``spectrum`` method of each model documents them, and
is what backends without such a kernel call.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import overload

from napari_diffusion.backends import polynomials
from napari_diffusion.backends.numba.jit import jit, row, uncontracted_row
from napari_diffusion.backends.numba.stages import exp_neg_half
from napari_diffusion.backends.numba.tensor import rise
from napari_diffusion.backends.reference.stages import WEICKERT_C
from napari_diffusion.backends.reference.tensor import (
    MIN_EIGENVALUE_GAP,
    MIN_SQUARES,
)

G0, G1, G2, G3 = (np.float32(c) for c in polynomials.LOGARITHM_32)
H0, H1, H2, H3, H4, H5, H6, H7, H8, H9, H10 = polynomials.LOGARITHM_64
LN2_64, LN2_32 = float(np.log(2.0)), np.float32(np.log(2.0))
ROOT_HALF_BITS_32 = np.int32(polynomials.ROOT_HALF_BITS_32)
ROOT_HALF_BITS_64 = np.int64(polynomials.ROOT_HALF_BITS_64)


def logarithm(a: Any) -> Any:
    """Natural logarithm of a >= 1; compiled code calls the overload below."""


@overload(logarithm)
def _logarithm_overload(a: Any) -> Any:
    def log32(a: Any) -> Any:
        bits = np.int32(np.float32(a).view(np.int32))
        e = np.int32(np.int32(bits - ROOT_HALF_BITS_32) >> np.int32(23))
        m = np.int32(bits - np.int32(e << np.int32(23))).view(np.float32)
        s = (m - np.float32(1.0)) / (m + np.float32(1.0))
        y = s * s
        p = s * (G0 + y * (G1 + y * (G2 + y * G3)))
        return np.float32(e) * LN2_32 + p

    def log64(a: Any) -> Any:
        bits = np.int64(np.float64(a).view(np.int64))
        e = np.int64(np.int64(bits - ROOT_HALF_BITS_64) >> np.int64(52))
        m = np.int64(bits - np.int64(e << np.int64(52))).view(np.float64)
        s = (m - 1.0) / (m + 1.0)
        y = s * s
        p = H5 + y * (H6 + y * (H7 + y * (H8 + y * (H9 + y * H10))))
        p = s * (H0 + y * (H1 + y * (H2 + y * (H3 + y * (H4 + y * p)))))
        return np.float64(e) * LN2_64 + p

    return log32 if a == numba.float32 else log64


@row
def _beyond_rounding(mu, largest):
    """Return an eigenvalue or a gap of at least zero; see `operators.tensor.beyond_rounding`."""
    t = type(mu)
    excess = mu - t(MIN_EIGENVALUE_GAP) * largest
    return max(min(mu, excess + excess), t(0))


@row
def _coherence_row(first, m, square, alpha, selectivity, lam, n):
    """Diffusivities along the eigenvectors of one eigenvalue but the first."""
    t = m.dtype.type
    smallest_gap, largest_ratio, two = square / t(9), t(9), t(2)
    rest = t(1) - alpha
    for i in range(n):
        gap = max(_beyond_rounding(first[i] - m[i], first[i]), smallest_gap)
        ratio = min((square + selectivity * _beyond_rounding(m[i], first[i])) / gap, largest_ratio)
        lam[i] = alpha + rest * exp_neg_half(two * ratio * ratio)


@jit
def coherence(mu, square, alpha, selectivity, lam):
    """See `models.coherence_enhancing.CoherenceEnhancing.spectrum`."""
    n = mu.shape[1]
    for i in range(n):
        lam[0, i] = alpha
    for k in range(1, mu.shape[0]):
        _coherence_row(mu[0], mu[k], square, alpha, selectivity, lam[k], n)


@row
def _weickert(q):
    """Return 1 - exp(-C/q^4), see `operators.diffusivity.Diffusivity`."""
    t = type(q)
    square = q * q
    return t(1) - exp_neg_half(t(2 * WEICKERT_C) / (square * square))


@jit
def edge(mu, inverse_square, lam):
    """See `models.edge_enhancing.EdgeEnhancing.spectrum`."""
    n, one = mu.shape[1], mu.dtype.type(1)
    first, across = mu[0], lam[0]
    for i in range(n):
        across[i] = _weickert(inverse_square * first[i])
    for k in range(1, mu.shape[0]):
        for i in range(n):
            lam[k, i] = one


@row
def _hybrid_row(m, grad2, inverse_square, h2, a, straight, alpha, first, second, third, n):
    """Diffusivities for the eigenvalues m; the first of three, and ``second``, may be None."""
    t = grad2.dtype.type
    zero, one, two, end = t(0), t(1), t(2), t(80)
    min_tube, min_h2, min_a = t(1e-3), t(MIN_SQUARES[0]), t(MIN_SQUARES[1])
    for i in range(n):
        largest = m[0][i]
        low_mu = _beyond_rounding(m[-1][i], largest)
        mid_mu = _beyond_rounding(m[-2][i], largest)
        h, offset = max(h2, min_h2 * largest), max(a, min_a * largest)
        tube = mid_mu / (offset + low_mu)
        plane = one
        if second is not None:
            plane = _beyond_rounding(largest, largest) / (offset + mid_mu)
        share = mid_mu / h * (max(tube - plane, zero) + low_mu / h)
        share = exp_neg_half(two * min(share, end))
        straightness = max(tube, min_tube)
        straightness *= straightness
        exponent = min(straight / (straightness * straightness), end)
        along = alpha + (one - alpha) * exp_neg_half(two * exponent)
        low = (one - share) * alpha
        first[i] = low + share * _weickert(inverse_square * grad2[i])
        third[i] = (one - share) * along + share
        if second is not None:
            second[i] = low + share


@jit
def hybrid(mu, grad2, inverse_square, h2, a, straight, alpha, lam):
    """See `models.hybrid.Hybrid.spectrum`."""
    n = mu.shape[1]
    options = inverse_square, h2, a, straight, alpha
    if mu.shape[0] == 1:
        for i in range(n):
            lam[0, i] = _weickert(inverse_square * grad2[i])
    elif mu.shape[0] == 2:
        _hybrid_row((mu[0], mu[1]), grad2, *options, lam[0], None, lam[1], n)
    else:
        _hybrid_row((mu[0], mu[1], mu[2]), grad2, *options, lam[0], lam[1], lam[2], n)


@row
def _exp_minus_one(q, one, limit, c):
    """Return exp(q/2) - 1; for the other arguments see `numba.tensor.rise`."""
    return rise(q, one, limit, c) / exp_neg_half(q)


@uncontracted_row
def _vessel_row(main, other, vessel, inverse, power, share_unit, along, across, lam, n):
    """Diffusivities along a vessel and across it, the first and the second array of ``lam``.

    ``main`` is the curvature along it, ``other`` the next larger one.
    """
    t = vessel.dtype.type
    one, smallest, limit = t(1), t(1e-30), t(0.25) if vessel.itemsize == 4 else t(0.02)
    c = t(1 / 2), t(1 / 8), t(1 / 48), t(1 / 384), t(1 / 3840), t(1 / 46080)
    for i in range(n):
        # The root a^(1/s) - 1 of a = 1 + v/offset is (1 - e)/e with e = a^(-1/s).
        q = power * logarithm(one + vessel[i] * inverse)
        root = _exp_minus_one(q, one, limit, c)
        largest = max(abs(other[i]), smallest)
        ratio = min(abs(main[i]), largest) / largest
        share = (one - ratio * ratio) * min(root * share_unit, one)
        lam[1][i] = one + across * share
        lam[0][i] = one + along * share


@jit
def vessel(mu, vessel, is_bright, inverse, power, share_unit, along, across, lam):
    """See `models.vessel_enhancing.VesselEnhancing.spectrum`."""
    axes, n = mu.shape
    main = 0 if is_bright > 0 else axes - 1
    other = min(1, axes - 1) if is_bright > 0 else max(axes - 2, 0)
    numbers = inverse, power, share_unit, along, across
    _vessel_row(mu[main], mu[other], vessel, *numbers, (lam[main], lam[other]), n)
    if axes == 3:
        last = 2 - main
        for i in range(n):
            lam[last, i] = lam[1, i]
