"""Compiled diffusivities along the eigenvectors of a tensor, by the name of the model.

The same rules hold as in `numba.stages`. The ``spectrum`` method of each model documents them, and
is what backends without such a kernel call.
"""

from __future__ import annotations

from napari_diffusion.backends.numba.jit import jit, row
from napari_diffusion.backends.numba.stages import exp_neg_half
from napari_diffusion.backends.reference.stages import WEICKERT_C
from napari_diffusion.backends.reference.tensor import (
    MIN_EIGENVALUE_GAP,
    MIN_SQUARES,
)


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
