"""Selling's stencil in NumPy, for one to three axes.

Its weights are non-negative for every tensor, so the extremum principle holds.

Sources: Selling 1874; Fehrenbach & Mirebeau 2014 (doi:10.1007/s10851-013-0446-3).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.reference.tensor import QUANTISATION_STEPS, entries
from napari_diffusion.core.arrays import Bytes, Field, OpenFaces

#: Longest offset [voxel].
REACH = 6
#: Isotropic part added to a tensor with longer offsets, as a share of its trace. Where this is not
#: enough, twice as much is added again, and so on.
ISOTROPIC_SHARE = 1 / 400
#: Limit of the decompositions of a tensor, each with more isotropic part than the last. At most 4
#: were needed for voxels up to 1 : 1e6 and condition numbers up to 1e9. The tenth contains 1.28
#: times the trace, which is enough for every positive matrix (see `decompose`). After it, other
#: matrices lose their entries off the diagonal.
MAX_ROUNDS = 10
#: Scalar products below this share of the trace count as zero.
MIN_PRODUCT = 1e-9
#: Limit of the iterations of Selling's algorithm; 52 were needed at a condition number of 1e4.
MAX_FLIPS = 200
#: Sum of weights that each byte encodes: at least one, 16 values per factor of two.
WEIGHT_SUMS = 2.0 ** (np.arange(256) / 16)
_PAIRS = list(itertools.combinations(range(4), 2))
#: Indices of voxels, one array per axis.
_Voxels = tuple[NDArray[np.intp], ...]


def decompose(m: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    r"""Decompose 3x3 matrices into :math:`M = \sum_k \rho_k e_k e_k^T`.

    The six weights :math:`\rho_k` are non-negative, the six offsets :math:`e_k` are integer
    vectors. Offsets longer than `REACH` are avoided by an isotropic part, see `ISOTROPIC_SHARE`.

    Selling's algorithm works on a superbase: four integer vectors with sum zero. While some
    :math:`b_i \cdot M b_j > 0`, it adds :math:`b_i` to the other two vectors and changes the sign
    of :math:`b_i`. Then :math:`\rho_{ij} = -b_i \cdot M b_j` and
    :math:`e_{ij} = b_k \times b_l`.

    Both loops are bounded. A flip lowers the energy :math:`\sum_i b_i \cdot M b_i`, which starts
    at no more than :math:`4t + 6s` for a matrix of trace t plus the isotropic part s. The energy is
    at least :math:`s \sum_i |b_i|^2`. For :math:`s \ge 1.28\,t` the squares :math:`|b_i|^2`
    therefore add up to 9 at most, and no offset is longer than 4.5. After `MAX_ROUNDS` a matrix
    that is not positive is replaced by its diagonal, whose offsets are the axes.

    Parameters
    ----------
    m
        Matrices, shape ``(n, 3, 3)``.

    Returns
    -------
    weights, offsets
        Shapes ``(n, 6)`` and ``(n, 6, 3)``.
    """
    given, m = m, m.copy()
    trace = np.trace(m, axis1=1, axis2=2)
    isotropic = trace * ISOTROPIC_SHARE
    weights, offsets = np.zeros((len(m), 6)), np.zeros((len(m), 6, 3), np.int64)
    todo = np.arange(len(m))
    superbase = np.vstack([np.eye(3, dtype=np.int64), -np.ones((1, 3), np.int64)])
    for _ in range(MAX_ROUNDS):
        b = np.tile(superbase, (len(todo), 1, 1))
        for _ in range(MAX_FLIPS):
            flipped = np.zeros(len(todo), bool)
            for i, j in _PAIRS:
                flip = ~flipped & (_products(b, m[todo], i, j) > MIN_PRODUCT * trace[todo])
                for k in range(4):
                    if k not in (i, j):
                        b[flip, k] += b[flip, i]
                b[flip, i] *= -1
                flipped |= flip
            if not flipped.any():
                break
        for n, (i, j) in enumerate(_PAIRS):
            k, o = (index for index in range(4) if index not in (i, j))
            rho = -_products(b, m[todo], i, j)
            weights[todo, n] = np.where(rho > MIN_PRODUCT * trace[todo], rho, 0)
            offsets[todo, n] = np.cross(b[:, k], b[:, o])
        too_long = (np.abs(offsets[todo]).max(2) * (weights[todo] > 0)).max(1) > REACH
        todo = todo[too_long]
        for axis in range(3):
            # An axis of one voxel has the diagonal entry zero, and keeps it.
            m[todo, axis, axis] += np.where(m[todo, axis, axis] > 0, isotropic[todo], 0)
        isotropic[todo] *= 2
        if not len(todo):
            break
    weights[todo, :3], weights[todo, 3:] = np.diagonal(given[todo], axis1=1, axis2=2), 0
    offsets[todo] = np.eye(6, 3, dtype=np.int64)
    return weights, offsets


def as_byte(total: Field) -> Bytes:
    """Encode sums of weights as bytes, rounded up to one of `WEIGHT_SUMS`; overwrites ``total``.

    Rounding up keeps the outflow of every voxel below its content. Excesses of the order of
    rounding errors are ignored.
    """
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
    """Sum all weights at each voxel of planes ``lo:hi``, for the tensors times ``scale``.

    Where the sum is above one, an explicit step would leave the range of the values. ``out``
    receives the bytes of `as_byte`.
    """
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
    r"""Compute one explicit step of the symmetric scheme with non-negative weights.

    .. math::
       out(x) = u(x) + \sum_{y = x \pm e}
       \tfrac12 \frac{\rho_e(x) + \rho_e(y)}{\max(W(x), W(y))}\,(u(y) - u(x))

    on planes ``lo:hi``. :math:`\rho_e` are the weights of ``scale`` D. W is their sum at a voxel,
    one of `WEIGHT_SUMS`, encoded in ``weight`` by `incident`. The division keeps the outflow of
    every voxel below its content.
    """
    change = np.zeros((len(u), *d.shape[1:]))
    for source, target, share in _links(d, lo, hi, scale, spacing, faces):
        share = share / WEIGHT_SUMS[np.maximum(weight[source], weight[target])]
        for c in range(len(u)):
            flux = share * (u[c][target].astype(float) - u[c][source])
            np.add.at(change[c], source, flux)
            np.subtract.at(change[c], target, flux)
    out[:, lo:hi] = u[:, lo:hi] + change[:, lo:hi]


def _links(
    d: Field, lo: int, hi: int, scale: float, spacing: Sequence[float], faces: OpenFaces | None
) -> Iterator[tuple[_Voxels, _Voxels, NDArray[np.float64]]]:
    """Voxel, second voxel and half the weight of the first one's tensor, for all links.

    Links start at all voxels within `REACH` of planes ``lo:hi``.
    """
    space = d.shape[1:]
    if len(space) > 3:
        raise ValueError(
            f"strict=True with a tensor model needs at most 3 diffusing axes, got {len(space)}."
        )
    first, last = max(lo - REACH, 0), min(hi + REACH, space[0])
    source = np.stack([i.ravel() for i in np.indices((last - first, *space[1:]))], 1)
    source[:, 0] += first
    m = np.zeros((len(source), 3, 3))
    for number, (i, j) in enumerate(entries(3)):
        value = d[number, first:last].ravel().astype(float)
        # Six quantisation steps on the diagonal outweigh rounding, so the matrix stays positive.
        value = (np.maximum(value, 0) + 6) * (space[i] > 1) if i == j else value
        m[:, i, j] = m[:, j, i] = value * (scale / QUANTISATION_STEPS / spacing[i] / spacing[j])
    weights, offsets = decompose(m)
    for n, sign in itertools.product(range(6), (1, -1)):
        target = source + sign * offsets[:, n]
        linked = (weights[:, n] > 0) & (target >= 0).all(1) & (target < space).all(1)
        if faces is not None:
            pairs = zip(source[linked], target[linked], strict=True)
            linked[linked] = [_is_open(faces, start, end) for start, end in pairs]
        yield tuple(source[linked].T), tuple(target[linked].T), weights[linked, n] / 2


def _is_open(faces: NDArray[np.uint8], start: NDArray[np.intp], end: NDArray[np.intp]) -> bool:
    """Whether both paths along the axes pass open faces only.

    One path follows the axes from first to last, the other from last to first.
    """
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
    r"""Scalar products :math:`b_i \cdot M b_j`."""
    return np.asarray(np.einsum("nr,nrs,ns->n", b[:, i], m, b[:, j]))
