"""Impulses: hot and dead voxels, which differ from their neighbours by far more than the noise.

All tests look at a finite box around a voxel. A part of an image with a halo of `impulse_reach`
voxels therefore has the impulses, and their replacements, of the whole image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array, Field
from napari_diffusion.core.grid import Grid

#: Axes with voxels larger than the smallest ones by more than this factor are left out: neighbours
#: along them show other structures.
COARSE = 1.5
#: Smallest number of voxels along an axis on which neighbours are compared.
MIN_VOXELS = 3
#: Smallest distance of an impulse from its neighbours, in multiples of the noise, on the dark and
#: on the bright side. Counts and speckle have long tails on the bright side.
DARK_FACTOR, BRIGHT_FACTOR = 3.2, 5.0
#: Smallest such distance as a share of the range of the neighbours.
RANGE_SHARE = 0.25
#: Peers stand out by more than this multiple of the noise, and less than this share of the distance
#: of the impulse. Heavy-tailed noise has many.
PEER_FACTOR, PEER_SHARE = 1.7, 0.65
#: Each peer but the first raises the smallest distance by this multiple of the noise.
PEER_PENALTY = 1.2
#: Smallest height of an impulse above its face neighbours, in multiples of their height above the
#: window. A Gaussian spot with a sigma of 0.8 voxels has 1.2.
FOOT_FACTOR = 2.5
#: Median magnitude of the difference of two Gaussian values with the standard deviation 1.
MEDIAN_DIFFERENCE = 0.6744897501960817 * math.sqrt(2)
#: Smallest share of the box that must be neighbours, and smallest number of differences.
NEIGHBOUR_SHARE, MIN_DIFFERENCES = 0.25, 12
#: Sweeps of the fill. A sweep reaches one voxel further into a cluster of impulses.
SWEEPS = 4
#: Values that are gathered at once, and voxels that are searched at once.
GATHERED_VALUES, SEARCHED_VOXELS = 1 << 21, 1 << 20


class _Widths(NamedTuple):
    """Half widths [voxel]: of the neighbours, of the window of the noise, and of the peers."""

    box: int
    window: int
    peers: int


#: Half widths by number of axes. There are 24 to 80 neighbours and 624 to 728 possible peers.
_WIDTHS = {2: _Widths(2, 6, 13), 3: _Widths(1, 2, 4)}
_WIDTHS_OF_MANY_AXES = _Widths(1, 1, 2)


def impulse_axes(grid: Grid) -> tuple[int, ...]:
    """Return the axes of a grid along which impulses are compared with their neighbours.

    These have at least three voxels, of at most 1.5 times the smallest size. A single such axis
    gives a voxel too few neighbours, so that the result is empty.
    """
    long = [i for i, n in enumerate(grid.shape) if n >= MIN_VOXELS]
    finest = min((grid.spacing[i] for i in long), default=0.0)
    axes = tuple(i for i in long if grid.spacing[i] <= COARSE * finest)
    return axes if len(axes) > 1 else ()


def impulse_reach(grid: Grid) -> list[int]:
    """Return the reach of search and replacement together, per axis of a grid [voxel]."""
    axes = impulse_axes(grid)
    own = _detection_reach(axes) + SWEEPS if axes else 0
    return [own if i in axes else 0 for i in range(len(grid.shape))]


def _widths(axes: Sequence[int]) -> _Widths:
    return _WIDTHS.get(len(axes), _WIDTHS_OF_MANY_AXES)


def _detection_reach(axes: Sequence[int]) -> int:
    """Reach of the search [voxel]: a neighbour is tested with its peers and their neighbours."""
    widths = _widths(axes)
    return widths.box + max(widths.window, widths.peers + widths.box)


def find_impulses(
    field: Field, regions: NDArray[Any] | None, axes: Sequence[int]
) -> NDArray[np.bool_]:
    """Find hot and dead voxels.

    An impulse exceeds its neighbours, or falls below them, by a multiple of the noise. The noise is
    the median difference of adjacent voxels in a window around it. One neighbour may be an impulse
    of the same sign, so that pairs are found. The voxels at the ends of lines and spots that are
    blurred over several voxels are no impulses. If adjacent voxels are mostly equal, as in counts
    of single photons, there are none.

    Parameters
    ----------
    field
        One or more channels, shape ``(C, *space)``; each is searched by itself.
    regions
        Region of each voxel, or bool mask, shape ``space``; 0 outside. Only voxels of the same
        region are compared. ``None`` for a single region. Values that are not finite are left out.
    axes
        Axes of ``space`` along which voxels are compared, as `impulse_axes` returns them.

    Returns
    -------
    numpy.ndarray
        Bool, shape of the field.
    """
    planes = field.shape[1]
    height = max(1, SEARCHED_VOXELS // max(1, math.prod(field.shape[2:])))
    impulses = np.zeros(field.shape, bool)
    for lo in range(0, planes, height):
        hi = min(lo + height, planes)
        impulses[:, lo:hi] = impulses_of_planes(field, regions, axes, lo, hi)
    return impulses


def impulses_of_planes(
    field: Field, regions: NDArray[Any] | None, axes: Sequence[int], lo: int, hi: int
) -> NDArray[np.bool_]:
    """Return the impulses of the planes ``lo:hi``, shape ``(C, hi - lo, *space[1:])``.

    Parameters are those of `find_impulses`.
    """
    reach = _detection_reach(axes) if 0 in axes else 0
    start, stop = max(lo - reach, 0), min(hi + reach, field.shape[1])
    part = slice(start, stop)
    own = None if regions is None else regions[part]
    marks = np.zeros((field.shape[0], stop - start, *field.shape[2:]), bool)
    if axes and marks.size:
        for channel, result in zip(field[:, part], marks, strict=True):
            finite = np.isfinite(channel)
            if finite.all():
                _mark_impulses(channel, own, axes, result)
            else:
                inside = np.where(finite, np.uint8(1) if own is None else own, 0)
                _mark_impulses(np.where(finite, channel, 0), inside, axes, result)
    return marks[:, lo - start : hi - start]


def _mark_impulses(
    u: Array, regions: NDArray[Any] | None, axes: Sequence[int], result: NDArray[np.bool_]
) -> None:
    """Mark the impulses of one channel in ``result``."""
    high, low = _second_extremes(u, regions, axes)
    with np.errstate(invalid="ignore", over="ignore"):
        smallest = u.dtype.type(RANGE_SHARE) * (high - low)
        for factor, second in ((BRIGHT_FACTOR, high), (-DARK_FACTOR, low)):
            sign = u.dtype.type(math.copysign(1, factor))
            # Where too few neighbours exist, the distance is infinite or NaN.
            distance = np.where(np.isfinite(smallest), (u - second) * sign, np.nan)
            side = _Side(u * sign, regions, tuple(axes), distance)
            places = np.flatnonzero(distance > smallest)
            result.reshape(-1)[side.impulses(places, abs(factor))] = True


def _second_extremes(
    u: Array, regions: NDArray[Any] | None, axes: Sequence[int]
) -> tuple[Array, Array]:
    """Return the second largest and the second smallest neighbour of each voxel.

    Where there are none, they are infinite.
    """
    largest, high = np.full(u.shape, -np.inf, u.dtype), np.full(u.shape, -np.inf, u.dtype)
    smallest, low = np.full(u.shape, np.inf, u.dtype), np.full(u.shape, np.inf, u.dtype)
    lesser = np.empty_like(u)
    for offset in _offsets(_widths(axes).box, u.ndim, axes):
        own = tuple(slice(max(0, -k), max(0, n - max(0, k))) for k, n in zip(offset, u.shape))
        other = tuple(slice(max(0, k), max(0, n + min(0, k))) for k, n in zip(offset, u.shape))
        upper = lower = u[other]
        if regions is not None:
            same = (regions[own] == regions[other]) & (regions[own] != 0)
            upper, lower = np.where(same, upper, -np.inf), np.where(same, lower, np.inf)
        part = lesser[own]
        np.minimum(largest[own], upper, out=part)
        np.maximum(high[own], part, out=high[own])
        np.maximum(largest[own], upper, out=largest[own])
        np.maximum(smallest[own], lower, out=part)
        np.minimum(low[own], part, out=low[own])
        np.minimum(smallest[own], lower, out=smallest[own])
    return high, low


def _offsets(half_width: int, ndim: int, axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the offsets of the neighbours in a box along some axes."""
    widths = [half_width if i in axes else 0 for i in range(ndim)]
    box = itertools.product(*(range(-w, w + 1) for w in widths))
    return (offset for offset in box if any(offset))


@dataclass(frozen=True)
class _Side:
    """One channel, in which bright impulses are searched.

    Attributes
    ----------
    u, regions, axes
        Values, with the opposite sign for dark impulses, and arguments of `find_impulses`.
    distance
        Distance of each voxel from its second largest neighbour; NaN where it is unknown.
    """

    u: Array
    regions: NDArray[Any] | None
    axes: tuple[int, ...]
    distance: Array

    def impulses(self, places: NDArray[np.intp], factor: float) -> NDArray[np.intp]:
        """Return those of some places (flat indices) that are impulses."""
        noise, is_sharp = self._noise_and_shape(places)
        distance = self.distance.reshape(-1)
        chosen = is_sharp & (noise > 0) & (distance[places] > factor * noise)
        places, noise = places[chosen], noise[chosen]
        extra = np.maximum(self._peers(places, noise) - 1, 0)
        chosen = distance[places] > (factor + PEER_PENALTY * extra) * noise
        places = places[chosen]
        return places[self._has_no_partner(places)]

    def _noise_and_shape(
        self, places: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the noise around some places, and whether they rise without a foot."""
        half = _widths(self.axes).window
        noise, is_sharp = np.zeros(len(places)), np.zeros(len(places), bool)
        for part, windows in self._windows(self.u, places, half):
            by_axis = []
            count = np.zeros(len(windows), int)
            for axis in range(1, windows.ndim):
                steps = np.abs(np.diff(windows, axis=axis)).reshape(len(windows), -1)
                by_axis.append(_median(steps))
                count += np.isfinite(steps).sum(axis=1)
            by_axis_sorted = np.sort(np.stack(by_axis, axis=1), axis=1)
            known = np.isfinite(by_axis_sorted).sum(axis=1)
            middle = np.maximum((known - 1) // 2, 0)
            level = by_axis_sorted[np.arange(len(windows)), middle] / MEDIAN_DIFFERENCE
            noise[part] = np.where(count >= MIN_DIFFERENCES, level, 0.0)
            is_sharp[part] = self._is_sharp(windows)
        return noise, is_sharp

    def _is_sharp(self, windows: Array) -> NDArray[np.bool_]:
        """Whether the middle of each window rises sharply, among enough neighbours."""
        axes, half = range(1, windows.ndim), windows.shape[-1] // 2
        faces = [windows.take(half + k, axis=i) for i in axes for k in (-1, 1)]
        middle = (half,) * (windows.ndim - 2)
        foot = _median(np.stack([face[(slice(None), *middle)] for face in faces], axis=1))
        flat = windows.reshape(len(windows), -1)
        top = flat[:, flat.shape[1] // 2]
        box = _widths(self.axes).box
        inner = windows[(slice(None), *[slice(half - box, half + box + 1)] * len(axes))]
        inner = inner.reshape(len(windows), -1)
        enough = np.isfinite(inner).sum(axis=1) - 1 >= NEIGHBOUR_SHARE * (inner.shape[1] - 1)
        # A place without face neighbours has the foot NaN.
        rises = top - foot > FOOT_FACTOR * np.maximum(foot - _median(flat), 0)
        return np.asarray(rises & enough)

    def _peers(self, places: NDArray[np.intp], noise: NDArray[np.float64]) -> NDArray[np.intp]:
        """Count the voxels around some places that stand out, but less."""
        counts = np.zeros(len(places), np.intp)
        own = self.distance.reshape(-1)[places]
        for part, windows in self._windows(self.distance, places, _widths(self.axes).peers):
            flat = windows.reshape(len(windows), -1)
            above = flat > (PEER_FACTOR * noise[part])[:, None]
            counts[part] = (above & (flat < (PEER_SHARE * own[part])[:, None])).sum(axis=1)
        return counts

    def _has_no_partner(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether the largest neighbour of each place is an impulse, too, or does not stand out.

        The end of a line has such a partner, which is no impulse because it lies between two.
        """
        rest = self.u.copy()
        rest.reshape(-1)[places] = np.nan
        alone = np.zeros(len(places), bool)
        top, distance = self.u.reshape(-1)[places], self.distance.reshape(-1)[places]
        for part, windows in self._windows(rest, places, _widths(self.axes).box):
            flat = windows.reshape(len(windows), -1)
            largest = np.where(np.isnan(flat), -np.inf, flat).max(axis=1)
            alone[part] = largest < top[part] - distance[part] / 2
        return alone

    def _windows(
        self, values: Array, places: NDArray[np.intp], half: int
    ) -> Iterator[tuple[slice, Array]]:
        """Yield the windows around some places, a part of the places at a time.

        A window has one axis for each of `axes`. Its values are NaN in other regions and beyond the
        border.
        """
        shape, axes = self.u.shape, self.axes
        index = np.unravel_index(places, shape)
        count = (2 * half + 1) ** len(axes)
        step = max(1, GATHERED_VALUES // count)
        for start in range(0, len(places), step):
            part = slice(start, start + step)
            near: list[Any] = [coordinates[part] for coordinates in index]
            near = [c.reshape(-1, *[1] * len(axes)) for c in near]
            own = None if self.regions is None else self.regions[tuple(near)]
            inside: Any = True
            for number, axis in enumerate(axes):
                line = [1] * (1 + len(axes))
                line[1 + number] = -1
                moved = near[axis] + np.arange(-half, half + 1).reshape(line)
                inside = inside & (moved >= 0) & (moved < shape[axis])
                near[axis] = np.clip(moved, 0, shape[axis] - 1)
            if self.regions is not None:
                inside = inside & (self.regions[tuple(near)] == own)
            yield part, np.where(inside, values[tuple(near)], np.nan)


def _median(values: Array) -> Array:
    """Return the median of the finite values along the second axis; NaN if there are none."""
    ordered = np.sort(values, axis=1)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=1)
    rows, last = np.arange(len(ordered)), np.maximum(count - 1, 0)
    return np.asarray((ordered[rows, last // 2] + ordered[rows, (last + 1) // 2]) / 2)


def fill_impulses(
    field: Field,
    impulses: NDArray[np.bool_],
    regions: NDArray[Any] | None,
    axes: Sequence[int],
    spacing: Sequence[float],
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

    Returns
    -------
    int
        Number of values that were replaced.
    """
    return sum(
        _fill_channel(channel, marks, regions, axes, spacing)
        for channel, marks in zip(field, impulses, strict=True)
    )


def _fill_channel(
    u: Array,
    impulses: NDArray[np.bool_],
    regions: NDArray[Any] | None,
    axes: Sequence[int],
    spacing: Sequence[float],
) -> int:
    places = np.flatnonzero(impulses)
    index = np.unravel_index(places, u.shape)
    faces, values, usable = [], [], []
    for axis, step in itertools.product(axes, (-1, 1)):
        moved = list(index)
        moved[axis] = np.clip(index[axis] + step, 0, u.shape[axis] - 1)
        neighbour = tuple(moved)
        valid = (moved[axis] != index[axis]) & np.isfinite(u[neighbour])
        if regions is not None:
            valid &= (regions[neighbour] == regions[index]) & (regions[index] != 0)
        flat = np.ravel_multi_index(neighbour, u.shape)
        # Number of the impulse at this neighbour, or -1.
        faces.append(np.where(impulses[neighbour], np.searchsorted(places, flat), -1))
        values.append(u[neighbour].astype(np.float64))
        usable.append(valid)
    filled = np.full(len(places), np.nan)
    for _ in range(SWEEPS):
        sums, weights = np.zeros(len(places)), np.zeros(len(places))
        low, high = np.full(len(places), np.inf), np.full(len(places), -np.inf)
        for number, axis in enumerate(axes):
            pair = []
            for face in (2 * number, 2 * number + 1):
                value = np.where(faces[face] < 0, values[face], filled[faces[face]])
                known = usable[face] & np.isfinite(value)
                pair.append((np.where(known, value, 0.0), known))
                low = np.where(known, np.minimum(low, value), low)
                high = np.where(known, np.maximum(high, value), high)
            weight = (min(spacing[i] for i in axes) / spacing[axis]) ** 2
            sums += weight * (pair[0][0] + pair[1][0])
            weights += weight * (pair[0][1].astype(float) + pair[1][1])
        means = sums / np.where(weights > 0, weights, 1.0)
        filled = np.where(weights > 0, np.clip(means, low, high), np.nan)
    known = np.isfinite(filled)
    u.reshape(-1)[places[known]] = filled[known]
    return int(known.sum())
