r"""NumPy kernels of the tensor models for any number of axes: the specification of `compiled_tensor`, and its stand-in.

A symmetric matrix of n axes is stored as its diagonal followed by its off-diagonal entries, (0,1), (0,2), (1,2) for three axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field, OpenFaces

#: Resolution of a stored tensor: entries are whole multiples of the largest eigenvalue over this number.
STEPS = (1 << 18) - 1
#: Shares of the cell stencil: least hourglass weight, and how fast it falls with the off-diagonal entries.
LEAST, FALL = 0.05, 2.0
#: Eigenvalues closer than this share of the largest are one.
CLOSE = 1e-5
#: Curvatures below the one and above the other share of gamma make no difference to vesselness, and their powers are no numbers in float32.
FAINTEST, CLEAREST = 1e-9, 1e4
#: c^2 / gamma^3 of vesselness.
C2 = 1e-6


def entries(axes: int) -> list[tuple[int, int]]:
    """Row and column of every stored entry."""
    return [(i, i) for i in range(axes)] + list(itertools.combinations(range(axes), 2))


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
    r"""First (central) or second derivative along ``axis`` on planes ``lo:hi``; plane 0 of ``u`` is plane ``start`` of the domain.

    .. math:: \tfrac12(D^+ u + D^- u) \quad\text{or}\quad (D^+ u - D^- u)/h, \qquad D^\pm u = \pm\,(u(x \pm e) - u(x))/h

    A one-sided difference through a closed face or the border is zero.
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
    total = (
        (up + down) * part.dtype.type(0.5 / spacing)
        if order == 1
        else (up - down) * part.dtype.type(1 / spacing**2)
    )
    out[...] = total[:, lo - first : hi - first]


def eigenvalues(matrix: Field) -> NDArray[np.float64]:
    """Eigenvalues, largest first, of matrices given by their entries along the first axis."""
    rising: Any = np.linalg.eigvalsh(symmetric(matrix).astype(np.float64))
    return np.moveaxis(rising[..., ::-1], -1, 0)


def vesselness(curvatures: Field, gamma: float, bright: bool) -> Field:
    r"""Frangi's vesselness made smooth (Manniesing et al. 2006), from the eigenvalues of a scale-normalised Hessian, largest first.

    .. math:: V = e^{-2c^2/(|l_2|\,l_3^2)}\,(1 - e^{-2 R_a^2})\,e^{-2 R_b^2}\,(1 - e^{-S^2/2\gamma^2})\,(1 - l_1^2/l_2^2), \quad
       R_a = |l_2|/|l_3|, \; R_b^2 = l_1^2/|l_2 l_3|, \; S^2 = \sum l_i^2, \; c^2 = 10^{-6}\gamma^3

    with :math:`|l_1| \le |l_2| \le |l_3|`; 0 where :math:`l_2` or :math:`l_3` has the wrong sign for a bright or dark vessel.
    In 2-D :math:`e^{-2 (l_1/l_2)^2}(1 - e^{-S^2/2\gamma^2})(1 - l_1^2/l_2^2)`. The last factor is ours.
    """
    # Largest first, those of a bright vessel are already l1, l2, l3.
    signed = curvatures if bright else -curvatures[::-1]
    size = np.abs(signed)
    largest = size.max(0)
    # All but the strength is about shares of the largest curvature, no power of which overflows.
    share = size / np.maximum(largest, np.finfo(size.dtype).tiny)
    second = np.maximum(share[min(1, len(share) - 1)], FAINTEST)
    height = np.clip(largest / gamma, FAINTEST, CLEAREST)
    # Frangi's jumps where the two smaller ones are equal, and with it their directions change places; this factor ends it there, at zero.
    vessel = np.where((signed[1:] < 0).all(0), np.maximum(1 - np.square(share[0] / second), 0), 0)
    vessel = vessel * (1 - np.exp(-np.square(height) * np.square(share).sum(0) / 2))
    if len(size) < 3:
        return np.asarray(vessel * np.exp(-2 * np.square(share[0])))
    vessel = vessel * (1 - np.exp(-2 * np.square(second)))
    return np.asarray(
        vessel * np.exp(-2 * np.square(share[0]) / second - 2 * C2 / (second * height**3))
    )


def vessels(
    hessian: Field, scale: float, gamma: float, bright: bool, total: Field, best: Field
) -> None:
    """Add :math:`V^4 H` to ``total``, with the vesselness V of H = ``scale`` times ``hessian``, and keep the larger V in ``best``."""
    for k in range(hessian.shape[1]):  # plane by plane: there are many temporaries
        scaled = hessian[:, k] * hessian.dtype.type(scale)
        vessel = vesselness(eigenvalues(scaled), gamma, bright)
        np.maximum(
            vessel, best[k], out=best[k, ...], casting="same_kind"
        )  # a view, of one voxel too
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
    r"""Store :math:`D = \sum_i \lambda_i v_i v_i^T`, with the eigenvectors of ``matrix``, on the planes of ``d`` from ``start`` on.

    Newton's form of the map :math:`\mu_i \mapsto \lambda_i` needs no eigenvectors,

    .. math:: D = \lambda_1 I + [\mu_1\mu_2]\,(J - \mu_1 I) + [\mu_1\mu_2\mu_3]\,(J - \mu_1 I)(J - \mu_2 I) + \dots

    with divided differences that are zero where two eigenvalues are closer than `CLOSE` (in float64 a double one is known to
    1e-8). ``axes`` are the axes of the grid that the matrix is about; the others get zeros. Entries are rounded to
    multiples of ``largest`` / `STEPS`.
    """
    full = symmetric(np.asarray(matrix, float))
    n = full.shape[-1]
    floor = CLOSE * np.abs(mu).max(0)
    shares = [np.asarray(row, float) for row in lam]
    total = np.zeros_like(full)
    factor = np.broadcast_to(np.eye(n), full.shape)
    for order in range(n):
        total = total + shares[0][..., None, None] * factor
        factor = factor @ (full - np.asarray(mu[order], float)[..., None, None] * np.eye(n))
        gaps = [np.asarray(mu[i] - mu[i + order + 1], float) for i in range(n - order - 1)]
        wide = [gap > floor for gap in gaps]
        shares = [
            np.where(w, (shares[i] - shares[i + 1]) / np.where(w, gap, 1), 0)
            for i, (gap, w) in enumerate(zip(gaps, wide, strict=True))
        ]
    planes = slice(start, start + matrix.shape[1])
    where = {axis: i for i, axis in enumerate(axes)}
    for number, (i, j) in enumerate(entries(d.ndim - 1)):
        known = i in where and j in where
        d[number, planes] = (
            np.rint(total[..., where[i], where[j]] * (STEPS / largest)) if known else 0
        )


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
    r"""One stage on planes ``lo:hi``: ``out = u + m (u - out) + scale div(D grad u)``, by cells between voxel centres.

    A cell has :math:`2^N` corners. Let :math:`\delta_e` be the differences along its edges, :math:`g_i` their mean along axis i and
    :math:`\bar D` the mean tensor of its corners. Its energy

    .. math:: E = \tfrac12 g^T \bar D g + \tfrac12 \sum_i v_i\,\bigl(\langle\delta_i^2\rangle - g_i^2\bigr), \qquad
       v_i = \max\bigl(0.05\,d_{ii},\ d_{ii} - 2\textstyle\sum_{j \ne i} |d_{ij}|\bigr)

    is never negative, so that the operator :math:`-\nabla E` is symmetric, stable and keeps the mean. The second term damps the modes
    that the mean gradient does not see; for :math:`D = I` the sum is the standard stencil of 2N + 1 points. The
    stencil is Weickert, Welk & Wickert's (2013) with a delta that follows the tensor, carried to N axes. Where a cell is cut by walls,
    each connected part of its corners has an energy of its own, with the edges it has and in proportion to its corners; a cell that
    sticks out of the image is one.
    """
    ndim = u.ndim - 1
    corners = list(itertools.product((0, 1), repeat=ndim))
    pairs = [
        (n, n | 1 << (ndim - 1 - axis), axis)
        for axis in range(ndim)
        for n in range(2**ndim)
        if not n >> (ndim - 1 - axis) & 1
    ]
    # Cell c of an axis lies between voxels c - 1 and c; a pad of one voxel on either side is there and absent.
    first, last = max(lo - 1, 0), min(hi + 1, u.shape[1])
    space = (last - first, *u.shape[2:])
    pad = [(1, 1)] * ndim
    cells = [
        tuple(slice(b, n + 1 + b) for b, n in zip(corner, space, strict=True)) for corner in corners
    ]
    there = np.pad(np.ones(space, bool), pad)
    bits = np.full(space, 255, np.uint8) if faces is None else faces[first:last]
    bits = np.pad(bits, pad)
    opened = [
        there[cells[n]] & there[cells[m]] & (bits[cells[n]] & np.uint8(1 << axis) > 0)
        for n, m, axis in pairs
    ]
    part = (
        _connected(opened, pairs, [there[c] for c in cells])
        if faces is not None
        else [np.zeros(there[cells[0]].shape, np.uint8)] * len(cells)
    )
    unit = scale / STEPS / 2**ndim
    whole = {
        (i, j): np.pad(d[number, first:last].astype(u.dtype), pad)
        * u.dtype.type(unit / spacing[i] / spacing[j])
        for number, (i, j) in enumerate(entries(ndim))
    }
    for c in range(u.shape[0]):
        values = np.pad(u[c, first:last], pad)
        change = np.zeros_like(values)
        rises = [
            np.where(o, values[cells[m]] - values[cells[n]], 0)
            for o, (n, m, _) in zip(opened, pairs, strict=True)
        ]
        for root in range(len(cells) if faces is not None else 1):
            mine = [there[cell] & (part[n] == root) for n, cell in enumerate(cells)]
            edges = [o & mine[n] for o, (n, _, _) in zip(opened, pairs, strict=True)]
            count = [
                np.maximum(
                    sum(e.astype(u.dtype) for e, p in zip(edges, pairs, strict=True) if p[2] == i),
                    1,
                )
                for i in range(ndim)
            ]
            g = [
                sum(
                    np.where(e, r, 0)
                    for e, r, p in zip(edges, rises, pairs, strict=True)
                    if p[2] == i
                )
                / count[i]
                for i in range(ndim)
            ]
            mean = {
                ij: sum(np.where(m, value[cell], 0) for m, cell in zip(mine, cells, strict=True))
                for ij, value in whole.items()
            }
            for i in range(ndim):
                others = [(min(i, j), max(i, j)) for j in range(ndim) if j != i]
                flux = mean[i, i] * g[i] + sum(mean[ij] * g[sum(ij) - i] for ij in others)
                v = np.maximum(
                    LEAST * mean[i, i], mean[i, i] - FALL * sum(np.abs(mean[ij]) for ij in others)
                )
                for e, r, (n, m, axis) in zip(edges, rises, pairs, strict=True):
                    if axis == i:
                        f = np.where(e, (flux + v * (r - g[i])) / count[i], 0)
                        change[cells[n]] += f
                        change[cells[m]] -= f
        here = (slice(lo - first + 1, hi - first + 1), *[slice(1, -1)] * (ndim - 1))
        kept = momentum * (u[c, lo:hi] - out[c, lo:hi]) if momentum else 0
        out[c, lo:hi] = u[c, lo:hi] + kept + change[here]


def _connected(
    opened: list[NDArray[np.bool_]],
    pairs: list[tuple[int, int, int]],
    there: list[NDArray[np.bool_]],
) -> list[NDArray[np.uint8]]:
    """Number of the connected part that each corner of each cell belongs to: its lowest corner."""
    part = [np.full(here.shape, n, np.uint8) for n, here in enumerate(there)]
    for _ in there:
        for o, (n, m, _) in zip(opened, pairs, strict=True):
            low = np.minimum(part[n], part[m])
            part[n], part[m] = np.where(o, low, part[n]), np.where(o, low, part[m])
    return part


def axis_count(matrix: Field) -> int:
    """Number of axes n of matrices with n(n+1)/2 entries."""
    return math.isqrt(2 * len(matrix))


def tensors(space: Sequence[int]) -> Field:
    """Store for one tensor a voxel."""
    return np.empty((len(entries(len(space))), *space), np.float32)


def symmetric(matrix: Field) -> Field:
    """Full matrices, last two axes, from entries along the first axis."""
    n = axis_count(matrix)
    full = np.empty((*matrix.shape[1:], n, n), matrix.dtype)
    for value, (i, j) in zip(matrix, entries(n), strict=True):
        full[..., i, j] = full[..., j, i] = value
    return full
