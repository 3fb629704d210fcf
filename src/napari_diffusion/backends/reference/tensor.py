"""NumPy kernels of the tensor models, for any number of axes.

A symmetric n x n matrix is stored as its diagonal, followed by the entries of the upper triangle:
(0,1), (0,2), (1,2) for three axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field, OpenFaces

#: Stored entries of a tensor are integer multiples of its largest eigenvalue over this number.
QUANTISATION_STEPS = (1 << 18) - 1
#: Factor of entries before they are rounded. Exact halves, as on a diagonal plane, are so rounded
#: away from zero in float64, whatever their rounding error.
ROUNDING_FACTOR = QUANTISATION_STEPS * (1 + 1e-12)
LARGEST_ENTRIES = -QUANTISATION_STEPS, QUANTISATION_STEPS
#: Mean tensors of cells are stored in this fraction of a quantisation step.
CELL_FRACTION = 4
#: Smallest hourglass weight of the cell stencil, as a share of the diagonal entry.
MIN_HOURGLASS_WEIGHT = 0.05
#: Factor of the off-diagonal entries, which reduce the hourglass weight.
HOURGLASS_REDUCTION = 2.0
#: Eigenvalues whose gap is below this share of the largest count as equal.
MIN_EIGENVALUE_GAP = 1e-5
#: Smallest squares of `operators.tensor.resolved`, as shares of the largest eigenvalue, and above
#: zero.
MIN_SQUARES, SMALLEST_SQUARE = (3e-3, 1e-4), 1e-37
#: Largest square of `operators.tensor.resolved` in float32, and in float64. Sums with eigenvalues
#: are finite.
LARGEST_SQUARES = 1e38, 1e300
#: Largest ``coherence`` of hybrid diffusion; the power of larger ones would overflow.
MAX_STRAIGHTNESS = 1e12
#: Largest eigenvalue per size of a float [bytes], below which the matrix has too few digits.
SMALLEST_EIGENVALUE = {4: 1e-31, 8: 1e-292}
#: Range of curvatures, as shares of gamma, that vesselness is computed for. Beyond it vesselness
#: does not change, and powers of curvatures would overflow or underflow in float32.
MIN_CURVATURE, MAX_CURVATURE = 1e-9, 1e4
#: Vesselness below it is zero, with a linear transition up to twice this value. The fourth power of
#: the rest is no denormal number in float32, which would be slow.
MIN_VESSELNESS = 1e-8
#: c^2 / gamma^3 of vesselness.
VESSELNESS_C2 = 1e-6


def entries(axes: int) -> list[tuple[int, int]]:
    """Return row and column of every stored entry."""
    return [(i, i) for i in range(axes)] + list(itertools.combinations(range(axes), 2))


@lru_cache(maxsize=64)
def hessian_factors(
    scale: float, axes: tuple[int, ...], spacing: tuple[float, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    r"""Return the factors that turn differences into entries of a Hessian times ``scale``.

    They are :math:`s/h_i^2` and :math:`s/(4 h_i h_j)`. Nobody writes to them.
    """
    pairs = [(axes[i], axes[j], 1.0 if i == j else 0.25) for i, j in entries(len(axes))]
    return np.array([scale * share / spacing[i] / spacing[j] for i, j, share in pairs], dtype)


def derivative(
    u: Field,
    start: int,
    lo: int,
    hi: int,
    axis: int,
    order: int,
    spacing: float,
    faces: OpenFaces | None,
    out: Field,
) -> None:
    r"""Compute the first (central) or second derivative along ``axis`` on planes ``lo:hi``.

    .. math::
       \tfrac12(D^+ u + D^- u) \quad\text{or}\quad (D^+ u - D^- u)/h, \qquad
       D^\pm u = \pm\,(u(x \pm e) - u(x))/h

    for ``order`` 1 or 2. A one-sided difference through a closed face or the border is zero. Plane
    0 of ``u`` is plane ``start`` of the domain.
    """
    first, last = max(lo - 1, start), min(hi + 1, start + u.shape[1])
    part = u[:, first - start : last - start]
    rise = np.diff(part, axis=axis + 1)
    near = (slice(None),) * axis + (slice(None, -1),)
    if faces is not None:
        rise = np.where(faces[first:last][near] & (1 << axis), rise, 0)
    width = [(0, 0)] * part.ndim
    up, down = (
        np.pad(rise, [*width[: axis + 1], side, *width[axis + 2 :]]) for side in ((0, 1), (1, 0))
    )
    if order == 1:
        slopes = (up + down) * part.dtype.type(0.5 / spacing)
    else:
        slopes = (up - down) * part.dtype.type(1 / spacing**2)
    out[...] = slopes[:, lo - first : hi - first]


def eigenvalues(matrix: Field) -> NDArray[np.float64]:
    """Return the eigenvalues of symmetric matrices, largest first.

    The first axis of ``matrix`` runs over the stored entries, that of the result over eigenvalues.
    """
    rising: Any = np.linalg.eigvalsh(symmetric(matrix).astype(np.float64))
    return np.moveaxis(rising[..., ::-1], -1, 0)


def vesselness(curvatures: Field, gamma: float, bright: bool) -> Field:
    r"""Return the smoothed vesselness of Frangi (Manniesing et al. 2006).

    .. math::
       V = e^{-2c^2/(|l_2|\,l_3^2)}\,(1 - e^{-2 R_a^2})\,e^{-2 R_b^2}\,
       (1 - e^{-S^2/2\gamma^2})\,(1 - l_1^2/l_2^2), \\
       R_a = |l_2|/|l_3|, \; R_b^2 = l_1^2/|l_2 l_3|, \; S^2 = \sum l_i^2, \;
       c^2 = 10^{-6}\gamma^3

    with :math:`|l_1| \le |l_2| \le |l_3|`. It is 0 where :math:`l_2` or :math:`l_3` has the wrong
    sign for a bright or dark vessel. In 2-D it is
    :math:`e^{-2 (l_1/l_2)^2}(1 - e^{-S^2/2\gamma^2})(1 - l_1^2/l_2^2)`. The last factor is an
    addition of this package. Values below `MIN_VESSELNESS` are 0.

    Parameters
    ----------
    curvatures
        Eigenvalues of the scale-normalised Hessian [intensity], largest first.
    gamma
        Curvature that separates structures from noise [intensity].
    bright
        Whether vessels are brighter than their surroundings.
    """
    # Sorted from the largest, the eigenvalues of a bright vessel are l1, l2, l3.
    signed = curvatures if bright else -curvatures[::-1]
    size = np.abs(signed)
    largest = size.max(0)
    # All factors but the strength depend on shares of the largest curvature only. No power of them
    # overflows.
    share = size / np.maximum(largest, np.finfo(size.dtype).tiny)
    second = np.maximum(share[min(1, len(share) - 1)], MIN_CURVATURE)
    # Limited before the division too, which would overflow for a small gamma.
    height = np.minimum(largest, MAX_CURVATURE * gamma) / gamma
    height = np.clip(height, MIN_CURVATURE, MAX_CURVATURE)
    # Frangi's vesselness jumps where the two smaller eigenvalues are equal, since their directions
    # swap. The factor 1 - l1^2 / l2^2 makes it end at zero.
    vessel = np.where((signed[1:] < 0).all(0), np.maximum(1 - np.square(share[0] / second), 0), 0)
    vessel = vessel * -np.expm1(-np.square(height) * np.square(share).sum(0) / 2)
    if len(size) < 3:
        return _clear(vessel * np.exp(-2 * np.square(share[0])))
    vessel = vessel * -np.expm1(-2 * np.square(second))
    exponent = -2 * np.square(share[0]) / second - 2 * VESSELNESS_C2 / (second * height**3)
    return _clear(vessel * np.exp(exponent))


def _clear(vessel: Field) -> Field:
    """Return the vesselness without values below `MIN_VESSELNESS`."""
    return np.asarray(np.minimum(vessel, np.maximum(2 * (vessel - MIN_VESSELNESS), 0)))


def vessels(
    hessian: Field, scale: float, gamma: float, bright: bool, total: Field, best: Field
) -> None:
    """Add :math:`V^4 H` to ``total``, and keep the larger vesselness in ``best``.

    H is ``scale`` times ``hessian`` and V its `vesselness`.
    """
    for k in range(hessian.shape[1]):  # plane by plane, since there are many temporary arrays
        scaled = hessian[:, k] * hessian.dtype.type(scale)
        vessel = vesselness(eigenvalues(scaled), gamma, bright)
        # The ellipsis makes a view even of a single voxel.
        np.maximum(vessel, best[k], out=best[k, ...], casting="same_kind")
        total[:, k] += scaled * np.square(np.square(vessel))


def compose(
    matrix: Field,
    mu: Field,
    lam: Sequence[Field],
    largest: float,
    axes: Sequence[int],
    d: Field,
    start: int,
) -> None:
    r"""Store :math:`D = \sum_i \lambda_i v_i v_i^T` with the eigenvectors of ``matrix``.

    Newton's form of the map :math:`\mu_i \mapsto \lambda_i` needs no eigenvectors,

    .. math::
       D = \lambda_1 I + [\mu_1\mu_2]\,(J - \mu_1 I)
       + [\mu_1\mu_2\mu_3]\,(J - \mu_1 I)(J - \mu_2 I) + \dots

    with divided differences :math:`[\dots]` of the :math:`\lambda_i`.

    Equal eigenvalues of J (`MIN_EIGENVALUE_GAP`) have one eigenspace without a direction of its
    own. On all of it D is the :math:`\lambda_i` of the largest of them. For J = 0 it is
    :math:`\lambda_1 I`. So D turns with J and does not depend on its unit. In float64 a double
    eigenvalue has an error of 1e-8.

    A tensor that is not finite becomes zero, which smooths nothing. Entries beyond ``largest`` are
    limited to it.

    Parameters
    ----------
    matrix
        Matrices J, the entries along the first axis.
    mu, lam
        Eigenvalues of J, largest first, and eigenvalues of D.
    largest
        Upper bound of ``lam``. Entries are rounded to multiples of ``largest`` over
        `QUANTISATION_STEPS`.
    axes
        Axes of the grid that belong to rows and columns of J; the entries of others are zero.
    d
        Stored tensors.
    start
        First plane of ``d`` that is written.
    """
    smallest = SMALLEST_EIGENVALUE[matrix.dtype.itemsize]
    # In a power of two near the largest eigenvalue, since products of eigenvalues may overflow.
    exponent = -np.frexp(np.maximum(np.abs(mu).max(0), smallest))[1]
    full = symmetric(np.ldexp(np.asarray(matrix, float), exponent))
    mu = np.ldexp(np.asarray(mu, float), exponent)
    n = full.shape[-1]
    min_gap = MIN_EIGENVALUE_GAP * np.maximum(np.abs(mu).max(0), np.ldexp(smallest, exponent))
    shares = [np.broadcast_to(np.asarray(row, float), full.shape[:-2]) for row in lam]
    for i in range(1, n):
        shares[i] = np.where(mu[i - 1] - mu[i] > min_gap, shares[i], shares[i - 1])
    total = np.zeros_like(full)
    factor = np.broadcast_to(np.eye(n), full.shape)
    for order in range(n):
        total = total + shares[0][..., None, None] * factor
        factor = factor @ (full - mu[order][..., None, None] * np.eye(n))
        gaps = [mu[i] - mu[i + order + 1] for i in range(n - order - 1)]
        distinct = [gap > min_gap for gap in gaps]
        shares = [
            np.where(keep, (shares[i] - shares[i + 1]) / np.where(keep, gap, 1), 0)
            for i, (gap, keep) in enumerate(zip(gaps, distinct, strict=True))
        ]
    planes = slice(start, start + matrix.shape[1])
    row_of = {axis: i for i, axis in enumerate(axes)}
    for number, (i, j) in enumerate(entries(d.ndim - 1)):
        if i in row_of and j in row_of:
            entry = total[..., row_of[i], row_of[j]]
            steps = np.clip(entry * (ROUNDING_FACTOR / largest), *LARGEST_ENTRIES)
            d[number, planes] = np.rint(np.nan_to_num(steps, nan=0))
        else:
            d[number, planes] = 0


def average(below: Field | None, d: Field, cells: Field, planes: int, start: int) -> None:
    """Store the means of the tensors at the corners of cells.

    Cell c of an axis lies between voxels c - 1 and c. At the border of the volume, the voxel inside
    stands for the one outside. An axis of one voxel has one cell.

    Parameters
    ----------
    below
        Stored tensors on planes, the last of which is the one below those of ``d``.
    d
        Stored tensors on some planes.
    cells
        Stored tensors of the cells of the whole volume, in fractions `CELL_FRACTION` of those of
        the voxels. Cells between these planes are written, and those at the border beside them.
    planes
        Number of planes of the volume.
    start
        Plane of the volume that is plane 0 of ``d``.
    """
    if below is not None:
        d, start = np.concatenate([below[:, -1:], d], 1), start - 1
    stop = start + d.shape[1]
    first = start if start == 0 else start + 1
    last = stop + 1 if stop == planes else stop
    total = d.astype(np.float64)
    for axis, n in enumerate((planes, *d.shape[2:]), 1):
        if n == 1:
            continue
        at_low, at_high = (axis > 1 or start == 0), (axis > 1 or stop == planes)
        pad = [(0, 0)] * total.ndim
        pad[axis] = int(at_low), int(at_high)
        padded = np.pad(total, pad, mode="edge")
        low, high = [slice(None)] * total.ndim, [slice(None)] * total.ndim
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        total = (padded[tuple(low)] + padded[tuple(high)]) / 2
    written = slice(0, 1) if planes == 1 else slice(first, last)
    cells[:, written] = np.rint(CELL_FRACTION * total)


def tensor_step(
    u: Field,
    out: Field,
    d: Field,
    lo: int,
    hi: int,
    scale: float,
    spacing: Sequence[float],
    momentum: float,
    faces: OpenFaces | None,
) -> None:
    r"""Compute one stage ``out = u + m (u - out) + scale div(D grad u)`` on planes ``lo:hi``.

    The stencil is a sum over cells, whose :math:`2^N` corners are voxel centres. Let
    :math:`\delta_e` be the differences along the edges of a cell, :math:`g_i` their mean along axis
    i and :math:`\bar D` the mean tensor of its corners. The energy of the cell

    .. math::
       E = \tfrac12 g^T \bar D g
       + \tfrac12 \sum_i v_i\,\bigl(\langle\delta_i^2\rangle - g_i^2\bigr), \qquad
       v_i = \max\bigl(0.05\,d_{ii},\ d_{ii} - 2\textstyle\sum_{j \ne i} |d_{ij}|\bigr)

    is never negative. So the operator :math:`-\nabla E` is symmetric and stable, and conserves
    the mean. The second term damps hourglass modes, whose mean gradient is zero. For :math:`D = I`
    the sum is the standard stencil of 2N + 1 points.

    The stencil generalises that of Weickert, Welk & Wickert (2013) to N axes, with a delta that
    depends on the tensor. Where walls cut a cell, each connected part of its corners has an energy
    of its own. It has the edges of that part, in proportion to the number of its corners. The
    corners of a cell at the border that lie inside the image are such a part.

    Without ``faces``, ``d`` has the mean tensors of the cells, see `average`. Otherwise it has the
    tensors of the voxels.
    """
    ndim = u.ndim - 1
    corners = list(itertools.product((0, 1), repeat=ndim))
    edges = _cell_edges(ndim)
    # Cell c of an axis lies between voxels c - 1 and c. The pad of one voxel holds the corners
    # outside the image.
    first, last = max(lo - 1, 0), min(hi + 1, u.shape[1])
    space = (last - first, *u.shape[2:])
    pad = [(1, 1)] * ndim
    cells = [
        tuple(slice(b, n + 1 + b) for b, n in zip(corner, space, strict=True)) for corner in corners
    ]
    inside = np.pad(np.ones(space, bool), pad)
    bits = np.full(space, 255, np.uint8) if faces is None else faces[first:last]
    bits = np.pad(bits, pad)
    is_open = [
        inside[cells[n]] & inside[cells[m]] & (bits[cells[n]] & np.uint8(1 << axis) > 0)
        for n, m, axis in edges
    ]
    if faces is None:
        part = [np.zeros(inside[cells[0]].shape, np.uint8)] * len(cells)
    else:
        part = _connected_parts(is_open, edges)
    unit = scale / QUANTISATION_STEPS / (CELL_FRACTION if faces is None else 2**ndim)
    factors = {(i, j): u.dtype.type(unit / spacing[i] / spacing[j]) for i, j in entries(ndim)}
    if faces is None:
        corner_share = np.mean([inside[cell] for cell in cells], 0).astype(u.dtype)
        on_slab = d[:, first : last + 1] if u.shape[1] > 1 else d
        shape = corner_share.shape
        tensor = {
            ij: np.broadcast_to(values.astype(u.dtype), shape) * corner_share * factor
            for values, (ij, factor) in zip(on_slab, factors.items(), strict=True)
        }
    else:
        tensor = {
            ij: np.pad(values.astype(u.dtype), pad) * factor
            for values, (ij, factor) in zip(d[:, first:last], factors.items(), strict=True)
        }
    for c in range(u.shape[0]):
        values = np.pad(u[c, first:last], pad)
        change = np.zeros_like(values)
        rises = [
            np.where(flows, values[cells[m]] - values[cells[n]], 0)
            for flows, (n, m, _) in zip(is_open, edges, strict=True)
        ]
        for root in range(len(cells) if faces is not None else 1):
            in_part = [inside[cell] & (part[n] == root) for n, cell in enumerate(cells)]
            part_edges = [
                flows & in_part[n] for flows, (n, _, _) in zip(is_open, edges, strict=True)
            ]
            count, g = [], []
            for i in range(ndim):
                along = [number for number, (_, _, axis) in enumerate(edges) if axis == i]
                edge_count = sum(part_edges[number].astype(u.dtype) for number in along)
                count.append(np.maximum(edge_count, 1))
                rise = sum(np.where(part_edges[number], rises[number], 0) for number in along)
                g.append(rise / count[i])
            mean: dict[tuple[int, int], Any] = tensor
            if faces is not None:
                mean = {
                    ij: sum(np.where(m, d_ij[c], 0) for m, c in zip(in_part, cells, strict=True))
                    for ij, d_ij in tensor.items()
                }
            for i in range(ndim):
                others = [(min(i, j), max(i, j)) for j in range(ndim) if j != i]
                flux = mean[i, i] * g[i] + sum(mean[ij] * g[sum(ij) - i] for ij in others)
                v = np.maximum(
                    MIN_HOURGLASS_WEIGHT * mean[i, i],
                    mean[i, i] - HOURGLASS_REDUCTION * sum(np.abs(mean[ij]) for ij in others),
                )
                for flows, rise, (n, m, axis) in zip(part_edges, rises, edges, strict=True):
                    if axis == i:
                        f = np.where(flows, (flux + v * (rise - g[i])) / count[i], 0)
                        change[cells[n]] += f
                        change[cells[m]] -= f
        inner = (slice(lo - first + 1, hi - first + 1), *[slice(1, -1)] * (ndim - 1))
        inertia = momentum * (u[c, lo:hi] - out[c, lo:hi]) if momentum else 0
        out[c, lo:hi] = u[c, lo:hi] + inertia + change[inner]


def _cell_edges(ndim: int) -> list[tuple[int, int, int]]:
    """Low corner, high corner and axis of every edge of a cell."""
    return [
        (n, n | 1 << (ndim - 1 - axis), axis)
        for axis in range(ndim)
        for n in range(2**ndim)
        if not n >> (ndim - 1 - axis) & 1
    ]


def _connected_parts(
    is_open: list[NDArray[np.bool_]], edges: list[tuple[int, int, int]]
) -> list[NDArray[np.uint8]]:
    """Connected part of every corner of every cell; its number is that of its lowest corner."""
    corners = range(1 + max(m for _, m, _ in edges))
    part = [np.full(is_open[0].shape, n, np.uint8) for n in corners]
    for _ in corners:
        for flows, (n, m, _) in zip(is_open, edges, strict=True):
            low = np.minimum(part[n], part[m])
            part[n], part[m] = np.where(flows, low, part[n]), np.where(flows, low, part[m])
    return part


def axis_count(matrix: Field) -> int:
    """Return the number of axes n of matrices with n(n+1)/2 entries."""
    return math.isqrt(2 * len(matrix))


def tensors(space: Sequence[int]) -> Field:
    """Allocate the storage of one tensor per voxel."""
    return np.empty((len(entries(len(space))), *space), np.float32)


def cell_counts(space: Sequence[int]) -> tuple[int, ...]:
    """Return the number of cells along each axis; see `average`."""
    return tuple(n + (n > 1) for n in space)


def cell_tensors(space: Sequence[int]) -> Field:
    """Allocate the storage of one tensor per cell."""
    return tensors(cell_counts(space))


def symmetric(matrix: Field) -> Field:
    """Return full matrices (last two axes) from stored entries (first axis)."""
    n = axis_count(matrix)
    full = np.empty((*matrix.shape[1:], n, n), matrix.dtype)
    for value, (i, j) in zip(matrix, entries(n), strict=True):
        full[..., i, j] = full[..., j, i] = value
    return full
