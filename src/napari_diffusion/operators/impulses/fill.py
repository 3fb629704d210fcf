"""Replacement of impulses, hot and dead voxels, by values that are diffused in from around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array, Field
from napari_diffusion.core.grid import Grid
from napari_diffusion.operators.impulses.search import detection_reach, impulse_axes

#: Sweeps of the fill. A sweep reaches one voxel further into a cluster of impulses.
SWEEPS = 4


def impulse_reach(grid: Grid) -> list[int]:
    """Return the reach of search and replacement together, per axis of a grid [voxel]."""
    axes = impulse_axes(grid)
    own = detection_reach(axes) + SWEEPS if axes else 0
    return [own if i in axes else 0 for i in range(len(grid.shape))]


def fill_impulses(
    field: Field,
    impulses: NDArray[np.bool_],
    regions: NDArray[Any] | None,
    axes: Sequence[int],
    spacing: Sequence[float],
    planes: slice = slice(None),
) -> int:
    r"""Replace impulses by values that are diffused in from their neighbours.

    A replaced value is the mean of its face neighbours with the weights :math:`1/h_i^2`. Within a
    cluster of impulses, this equation is solved by `SWEEPS` sweeps from its border inwards. An
    impulse without a valid neighbour within as many voxels keeps its value.

    Parameters
    ----------
    field
        The field, which is changed.
    impulses
        The impulses, shape of the field.
    regions, axes
        As in `find_impulses`.
    spacing
        Voxel size of each axis of ``space`` [length].
    planes
        Planes in which impulses are replaced; default all. Several threads may work on different
        planes.

    Returns
    -------
    int
        Number of values that were replaced.
    """
    lo, hi, _ = planes.indices(field.shape[1])
    start, stop = max(lo - SWEEPS, 0), min(hi + SWEEPS, field.shape[1])
    own = None if regions is None else regions[start:stop]
    count = 0
    for channel, marks in zip(field[:, start:stop], impulses[:, start:stop], strict=True):
        places = np.flatnonzero(marks)
        filled = _harmonic_values(channel, marks, places, own, [(i, spacing[i]) for i in axes])
        plane = places // max(1, channel[0].size) + start
        chosen = np.isfinite(filled) & (plane >= lo) & (plane < hi)
        channel[np.unravel_index(places[chosen], channel.shape)] = filled[chosen]
        count += int(chosen.sum())
    return count


def _harmonic_values(
    u: Array,
    impulses: NDArray[np.bool_],
    places: NDArray[np.intp],
    regions: NDArray[Any] | None,
    axes: Sequence[tuple[int, float]],
) -> NDArray[np.float64]:
    """Return the values that replace the impulses at some places (flat indices), or NaN.

    ``axes`` holds each axis and its voxel size. Values of ``u`` at impulses are not used.
    """
    index = np.unravel_index(places, u.shape)
    faces = [_face(u, impulses, places, regions, index, i, k) for i, _ in axes for k in (-1, 1)]
    finest = min((h for _, h in axes), default=1.0)
    filled = np.full(len(places), np.nan)
    for _ in range(SWEEPS):
        sums, weights = np.zeros(len(places)), np.zeros(len(places))
        low, high = np.full(len(places), np.inf), np.full(len(places), -np.inf)
        values = [np.where(number < 0, value, filled[number]) for number, value in faces]
        for number, (_, h) in enumerate(axes):
            pair = np.stack(values[2 * number : 2 * number + 2])
            known, weight = np.isfinite(pair), (finest / h) ** 2
            sums += weight * np.where(known, pair, 0.0).sum(axis=0)
            weights += weight * known.sum(axis=0)
            low = np.minimum(low, np.where(known, pair, np.inf).min(axis=0))
            high = np.maximum(high, np.where(known, pair, -np.inf).max(axis=0))
        # Rounding must not carry a mean beyond its neighbours.
        means = np.clip(sums / np.maximum(weights, np.finfo(float).tiny), low, high)
        filled = np.where(weights > 0, means, np.nan)
    return filled


def _face(
    u: Array,
    impulses: NDArray[np.bool_],
    places: NDArray[np.intp],
    regions: NDArray[Any] | None,
    index: tuple[NDArray[np.intp], ...],
    axis: int,
    step: int,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the neighbours of some places across one face.

    The first array has the number of the neighbour among the places if it is an impulse of the same
    region, else -1. The second array has the values of the other neighbours, or NaN.
    """
    moved = list(index)
    moved[axis] = np.clip(index[axis] + step, 0, u.shape[axis] - 1)
    neighbour = tuple(moved)
    valid = moved[axis] != index[axis]
    if regions is not None:
        valid &= (regions[neighbour] == regions[index]) & (regions[index] != 0)
    values = np.where(valid, u[neighbour].astype(np.float64), np.nan)
    numbers = np.searchsorted(places, np.ravel_multi_index(neighbour, u.shape))
    return np.where(valid & impulses[neighbour], numbers, -1), values
