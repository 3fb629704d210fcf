r"""Selling's stencil in NumPy, for one to three axes: non-negative weights for every tensor, so that the extremum principle holds.

Sources: Selling 1874; Fehrenbach & Mirebeau 2014 (doi:10.1007/s10851-013-0446-3).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.reference.tensor import STEPS, entries
from napari_diffusion.core.arrays import Bytes, Field, OpenFaces

#: Longest offset [voxel]: tensors that want longer ones are made rounder, by this share of their trace and then by twice as much again.
REACH, ROUNDER = 6, 1 / 400
#: Scalar products below this share of the trace count as zero; and the most flips (52 were needed at a condition number of 1e4).
LEAST, FLIPS = 1e-9, 200
#: What a byte stands for: a sum of weights from one on, sixteen to a factor of two.
SUMS = 2.0 ** (np.arange(256) / 16)
_PAIRS = list(itertools.combinations(range(4), 2))


def decompose(m: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    r"""Write 3x3 matrices as :math:`M = \sum_k \rho_k e_k e_k^T` with six :math:`\rho_k \ge 0` and whole-numbered :math:`e_k`.

    Selling's algorithm: while some :math:`b_i \cdot M b_j > 0` in a superbase of four vectors with sum zero, add
    :math:`b_i` to the other two and turn it around. Then :math:`\rho_{ij} = -b_i \cdot M b_j` and :math:`e_{ij} = b_k \times b_l`.
    Shapes: (n, 3, 3) to (n, 6) and (n, 6, 3).
    """
    m = m.copy()
    trace = np.trace(m, axis1=1, axis2=2)
    rounder = trace * ROUNDER
    weights, offsets = np.zeros((len(m), 6)), np.zeros((len(m), 6, 3), np.int64)
    todo = np.arange(len(m))
    while len(todo):
        b = np.tile(
            np.vstack([np.eye(3, dtype=np.int64), -np.ones((1, 3), np.int64)]), (len(todo), 1, 1)
        )
        for _ in range(FLIPS):
            again = np.zeros(len(todo), bool)
            for i, j in _PAIRS:
                flip = ~again & (_products(b, m[todo], i, j) > LEAST * trace[todo])
                for k in range(4):
                    if k not in (i, j):
                        b[flip, k] += b[flip, i]
                b[flip, i] *= -1
                again |= flip
            if not again.any():
                break
        for n, (i, j) in enumerate(_PAIRS):
            k, o = (index for index in range(4) if index not in (i, j))
            rho = -_products(b, m[todo], i, j)
            weights[todo, n] = np.where(rho > LEAST * trace[todo], rho, 0)
            offsets[todo, n] = np.cross(b[:, k], b[:, o])
        long = (np.abs(offsets[todo]).max(2) * (weights[todo] > 0)).max(1) > REACH
        todo = todo[long]
        for axis in range(3):
            m[todo, axis, axis] += np.where(
                m[todo, axis, axis] > 0, rounder[todo], 0
            )  # an axis of one voxel has none
        rounder[todo] *= 2
    return weights, offsets


def as_byte(total: Field) -> Bytes:
    """Round sums up to one of `SUMS`, so that no voxel gives away more than it has; ``total`` is used up. Rounding errors do not count."""
    np.log2(np.maximum(total, 1, out=total), out=total)
    total *= 16
    total -= 1e-9
    return np.minimum(np.ceil(total, out=total), 255, out=total).astype(np.uint8)


def incident(
    d: Field,
    lo: int,
    hi: int,
    scale: float,
    spacing: Sequence[float],
    faces: OpenFaces | None,
    out: Bytes,
) -> None:
    """Sum of all weights at each voxel of planes ``lo:hi``, times ``scale``: above one, an explicit step would leave the range."""
    total = np.zeros(d.shape[1:])
    for source, target, weight in _links(d, lo, hi, scale, spacing, faces):
        np.add.at(total, source, weight)
        np.add.at(total, target, weight)
    out[lo:hi] = as_byte(total[lo:hi])


def selling_step(
    u: Field,
    out: Field,
    d: Field,
    weight: Bytes,
    lo: int,
    hi: int,
    scale: float,
    spacing: Sequence[float],
    faces: OpenFaces | None,
) -> None:
    r"""One explicit step on planes ``lo:hi`` of the symmetric scheme with non-negative weights.

    .. math:: out(x) = u(x) + \sum_{y = x \pm e} \tfrac12 \frac{\rho_e(x) + \rho_e(y)}{\max(W(x), W(y))}\,(u(y) - u(x))

    with :math:`\rho_e` the weights of ``scale`` D and W their sum at a voxel, one of `SUMS`: no voxel gives away more than it has.
    """
    change = np.zeros((len(u), *d.shape[1:]))
    for source, target, share in _links(d, lo, hi, scale, spacing, faces):
        share = share / SUMS[np.maximum(weight[source], weight[target])]
        for c in range(len(u)):
            flux = share * (u[c][target].astype(float) - u[c][source])
            np.add.at(change[c], source, flux)
            np.subtract.at(change[c], target, flux)
    out[:, lo:hi] = u[:, lo:hi] + change[:, lo:hi]


def _links(
    d: Field, lo: int, hi: int, scale: float, spacing: Sequence[float], faces: OpenFaces | None
) -> Iterator[
    tuple[tuple[NDArray[np.intp], ...], tuple[NDArray[np.intp], ...], NDArray[np.float64]]
]:
    """Pairs of voxels, with half the weight of the first one's tensor, of all voxels that can reach planes ``lo:hi``."""
    space = d.shape[1:]
    if len(space) > 3:
        raise ValueError(
            f"strict=True with a tensor model needs at most 3 diffusing axes, got {len(space)}."
        )
    first, last = max(lo - REACH, 0), min(hi + REACH, space[0])
    where = np.stack([i.ravel() for i in np.indices((last - first, *space[1:]))], 1)
    where[:, 0] += first
    m = np.zeros((len(where), 3, 3))
    for number, (i, j) in enumerate(entries(3)):
        value = d[number, first:last].ravel().astype(float)
        # Six units of the stored rounding on the diagonal keep the matrix positive.
        value = (np.maximum(value, 0) + 6) * (space[i] > 1) if i == j else value
        m[:, i, j] = m[:, j, i] = value * (scale / STEPS / spacing[i] / spacing[j])
    weights, offsets = decompose(m)
    for n, sign in itertools.product(range(6), (1, -1)):
        target = where + sign * offsets[:, n]
        keep = (weights[:, n] > 0) & (target >= 0).all(1) & (target < space).all(1)
        if faces is not None:
            keep[keep] = [
                _is_open(faces, *pair) for pair in zip(where[keep], target[keep], strict=True)
            ]
        yield tuple(where[keep].T), tuple(target[keep].T), weights[keep, n] / 2


def _is_open(faces: NDArray[np.uint8], start: NDArray[np.intp], end: NDArray[np.intp]) -> bool:
    """Whether both ways along the axes, first to last and last to first, lead through open faces."""
    for order in ((0, 1, 2), (2, 1, 0)):
        at = start.copy()
        for axis in order:
            while at[axis] != end[axis]:
                up = end[axis] > at[axis]
                low = at - (not up) * np.eye(3, dtype=np.intp)[axis]
                if not faces[tuple(low)] & (1 << axis):
                    return False
                at[axis] += 1 if up else -1
    return True


def _products(b: NDArray[np.int64], m: NDArray[np.float64], i: int, j: int) -> NDArray[np.float64]:
    return np.asarray(np.einsum("nr,nrs,ns->n", b[:, i], m, b[:, j]))
