"""Impulses: hot and dead voxels, which differ from their neighbours by far more than the noise.

All tests read a finite box around a voxel. A part of an image with a halo of `detection_reach`
voxels therefore has the impulses of the whole image.
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
DARK_FACTOR, BRIGHT_FACTOR = 3.0, 5.0
#: Smallest height above the median of the window, in multiples of the noise.
HEIGHT_FACTOR = 4.7
#: Smallest such distance as a share of the range of the neighbours.
RANGE_SHARE = 0.25
#: Peers stand out by more than this multiple of the noise, and less than this share of the distance
#: of the impulse. Heavy-tailed noise has many.
PEER_FACTOR, PEER_SHARE = 1.7, 0.65
#: Each peer but the first ones raises the smallest distance by this multiple of the noise.
FREE_PEERS, PEER_PENALTY = 1, 1.5
#: Smallest height of an impulse above its face neighbours, in multiples of their height above the
#: window. A Gaussian spot with a sigma of 0.8 voxels has 1.2.
FOOT_FACTOR = 2.5
#: Median magnitude of the difference of two Gaussian values with the standard deviation 1.
MEDIAN_DIFFERENCE = 0.6744897501960817 * math.sqrt(2)
#: Smallest share of the box that must be neighbours, and smallest number of differences.
NEIGHBOUR_SHARE, MIN_DIFFERENCES = 0.25, 12
#: Smallest distance from the neighbours as a share of the height above the face neighbours. In a
#: line, the next voxel is as high.
DISTANCE_SHARE = 0.5
#: Values that are gathered, and voxels that are searched and compared, at once.
GATHERED_VALUES, SEARCHED_VOXELS, CACHED_VOXELS = 1 << 19, 1 << 20, 1 << 16

#: Arrays of the searched planes, with the gaps between them, and memory of the gathered values
#: [bytes]. The largest of many peaks is predicted (tests/engine/test_memory.py).
SEARCH_ARRAYS, GATHERED_BYTES = 10, 24 << 20


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


def search_height(shape: Sequence[int], threads: int) -> int:
    """Return the number of planes that a thread should search at once."""
    largest = SEARCHED_VOXELS // max(1, math.prod(shape[1:]))
    return max(1, min(largest, -(-shape[0] // threads)))


def search_bytes(grid: Grid, threads: int, itemsize: int) -> int:
    """Return the memory of the search in one channel [bytes], besides field and result."""
    axes, height = impulse_axes(grid), search_height(grid.shape, threads)
    reach = detection_reach(axes) if 0 in axes else 0
    planes = min(height + 2 * reach, grid.shape[0])
    arrays = SEARCH_ARRAYS * itemsize * planes * math.prod(grid.shape[1:])
    busy = min(threads, -(-grid.shape[0] // height))
    return busy * (arrays + GATHERED_BYTES) if axes else 0


def _widths(axes: Sequence[int]) -> _Widths:
    return _WIDTHS.get(len(axes), _WIDTHS_OF_MANY_AXES)


def detection_reach(axes: Sequence[int]) -> int:
    """Return the reach of the search along each of its axes [voxel].

    A neighbour is tested with its peers, and these with their neighbours.
    """
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
    height = search_height(field.shape[1:], 1)
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
    reach, box = (detection_reach(axes), _widths(axes).box) if 0 in axes else (0, 0)
    start, stop = max(lo - reach, 0), min(hi + reach, field.shape[1])
    part, own = slice(start, stop), None if regions is None else regions[start:stop]
    marks = np.zeros((field.shape[0], stop - start, *field.shape[2:]), bool)
    if axes and marks.size:
        # The neighbours of an impulse are tested, too.
        tested = slice(max(lo - box - start, 0), hi + box - start)
        for channel, result in zip(field[:, part], marks, strict=True):
            finite, inside = np.isfinite(channel), own
            if not finite.all():
                inside = np.where(finite, np.uint8(1) if own is None else own, 0)
                channel = np.where(finite, channel, 0)
            _mark_impulses(channel, inside, axes, tested, result)
    return marks[:, lo - start : hi - start]


def stand_out(
    u: Array, usable: NDArray[np.bool_], axes: Sequence[int], places: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether some voxels differ by far more than the noise from the usable voxels beside them.

    This is less than an impulse has to do: edges and other impulses may be near. Most neighbours
    are far away in value, and all but one differ by more than the noise.

    Parameters
    ----------
    u
        Values of one channel [intensity], shape ``space``.
    usable
        Voxels that are compared with, shape ``space``.
    axes
        Axes of ``space`` along which voxels are compared, as `impulse_axes` returns them.
    places
        Flat indices of the voxels.
    """
    rest = np.where(usable, u, u.dtype.type(np.nan))
    side, widths = _Side(rest, None, tuple(axes), rest), _widths(axes)
    noise, result = side._noise(places), np.zeros(len(places), bool)
    for part, windows in side._windows(rest, places, widths.box):
        distances = np.abs(windows.reshape(len(windows), -1) - u.reshape(-1)[places[part], None])
        second = np.partition(distances, 1, axis=1)[:, 1]  # NaN comes last
        enough = np.isfinite(distances).sum(axis=1) >= NEIGHBOUR_SHARE * (distances.shape[1] - 1)
        result[part] = enough & (_median(distances) > HEIGHT_FACTOR * noise[part])
        result[part] &= second > noise[part]
    return result & (noise > 0)


def _mark_impulses(
    u: Array,
    regions: NDArray[Any] | None,
    axes: Sequence[int],
    tested: slice,
    result: NDArray[np.bool_],
) -> None:
    """Mark the impulses in the ``tested`` planes of one channel in ``result``."""
    high, low = _second_extremes(u, regions, axes)
    with np.errstate(invalid="ignore", over="ignore"):
        smallest = u.dtype.type(RANGE_SHARE) * (high - low)
        for factor, distance in ((BRIGHT_FACTOR, high), (-DARK_FACTOR, low)):
            # In place, because these arrays make the peak of the memory.
            np.subtract(u, distance, out=distance)
            distance *= u.dtype.type(math.copysign(1, factor))
            # Where too few neighbours exist, the distance is infinite or NaN.
            distance[~np.isfinite(smallest)] = np.nan
            places = np.flatnonzero(distance[tested] > smallest[tested])
            places += tested.start * u[0].size
            side = _Side(u if factor > 0 else -u, regions, tuple(axes), distance)
            result.reshape(-1)[side.impulses(places, abs(factor))] = True


def _second_extremes(
    u: Array, regions: NDArray[Any] | None, axes: Sequence[int]
) -> tuple[Array, Array]:
    """Return the second largest and the second smallest neighbour of each voxel.

    Where there are none, they are infinite. A few planes at a time stay in the processor's cache.
    """
    high, low = np.full(u.shape, -np.inf, u.dtype), np.full(u.shape, np.inf, u.dtype)
    offsets = list(_offsets(_widths(axes).box, u.ndim, axes))
    height = max(1, CACHED_VOXELS // max(1, u[0].size))
    for lo in range(0, len(u), height):
        planes = slice(lo, min(lo + height, len(u)))
        _add_neighbours(u, regions, offsets, planes, (high[planes], low[planes]))
    return high, low


def _add_neighbours(
    u: Array,
    regions: NDArray[Any] | None,
    offsets: Sequence[tuple[int, ...]],
    planes: slice,
    second: tuple[Array, Array],
) -> None:
    """Write the second largest and smallest neighbour of the voxels of some planes."""
    high, low = second
    largest, smallest, lesser = high.copy(), low.copy(), np.empty_like(high)
    for offset in offsets:
        own, other = _overlap(offset, u.shape, planes)
        in_part = (slice(own[0].start - planes.start, own[0].stop - planes.start), *own[1:])
        upper = lower = u[other]
        if regions is not None:
            same = (regions[own] == regions[other]) & (regions[own] != 0)
            upper, lower = np.where(same, upper, -np.inf), np.where(same, lower, np.inf)
        for value, first, next_one, outer, inner in (
            (upper, largest, high, np.maximum, np.minimum),
            (lower, smallest, low, np.minimum, np.maximum),
        ):
            part = lesser[in_part]
            inner(first[in_part], value, out=part)
            outer(next_one[in_part], part, out=next_one[in_part])
            outer(first[in_part], value, out=first[in_part])


def _overlap(
    offset: Sequence[int], shape: Sequence[int], planes: slice
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the voxels of some planes that have a neighbour at an offset, and the neighbours."""
    own = [slice(max(0, -k), max(0, n - max(0, k))) for k, n in zip(offset, shape, strict=True)]
    start = min(max(own[0].start, planes.start), planes.stop)
    own[0] = slice(start, max(start, min(own[0].stop, planes.stop)))
    other = [slice(part.start + k, part.stop + k) for k, part in zip(offset, own, strict=True)]
    return tuple(own), tuple(slice(max(part.start, 0), max(part.stop, 0)) for part in other)


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
        noise, distance = self._noise(places), self.distance.reshape(-1)
        chosen = (noise > 0) & (distance[places] > factor * noise)
        places, noise = places[chosen], noise[chosen]
        chosen = self._is_high_and_sharp(places, noise)
        places, noise = places[chosen], noise[chosen]
        extra = np.maximum(self._peers(places, noise) - FREE_PEERS, 0)
        places = places[distance[places] > (factor + PEER_PENALTY * extra) * noise]
        return places[self._has_no_partner(places)]

    def _noise(self, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the noise around some places; 0 where it is unknown.

        Per axis, it is the median difference of adjacent voxels that differ. The median axis
        counts, so that an edge across one axis does not. Where most of them are equal, it is
        unknown.
        """
        noise = np.zeros(len(places))
        for part, windows in self._windows(self.u, places, _widths(self.axes).window):
            by_axis, count = [], np.zeros(len(windows), int)
            is_known = np.ones(len(windows), bool)
            for axis in range(1, windows.ndim):
                steps = np.abs(np.diff(windows, axis=axis)).reshape(len(windows), -1)
                finite, equal = np.isfinite(steps).sum(axis=1), (steps == 0).sum(axis=1)
                is_known &= 2 * equal <= finite
                count += finite
                # Saturated and rounded values are often equal.
                steps[steps == 0] = np.nan
                by_axis.append(_median(steps))
            level = _median(np.stack(by_axis, axis=1)) / MEDIAN_DIFFERENCE
            is_known &= (count >= MIN_DIFFERENCES) & np.isfinite(level)
            noise[part] = np.where(is_known, level, 0.0)
        return noise

    def _is_high_and_sharp(
        self, places: NDArray[np.intp], noise: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Whether places have enough neighbours and rise far above the window, without a foot."""
        chosen = np.zeros(len(places), bool)
        box, half = _widths(self.axes).box, _widths(self.axes).window
        for part, windows in self._windows(self.u, places, half):
            count, axes = len(windows), range(1, windows.ndim)
            middle = (slice(None), *[half] * (windows.ndim - 2))
            faces = [windows.take(half + k, axis=i)[middle] for i in axes for k in (-1, 1)]
            foot = _median(np.stack(faces, axis=1))
            inner = windows[(slice(None), *[slice(half - box, half + box + 1)] * len(axes))]
            neighbours = np.isfinite(inner).reshape(count, -1).sum(axis=1) - 1
            enough = neighbours >= NEIGHBOUR_SHARE * (inner[0].size - 1)
            top, flat = self.u.reshape(-1)[places[part]], windows.reshape(count, -1)
            level = _median(flat)
            is_high = top - level > HEIGHT_FACTOR * noise[part]
            # Half of the values are clipped, so that the noise is larger than it seems.
            is_high &= level > np.fmin.reduce(flat, axis=1)
            # Without face neighbours, the foot is NaN.
            height = top - foot
            is_sharp = (height > FOOT_FACTOR * np.maximum(foot - level, 0)) & (
                self.distance.reshape(-1)[places[part]] > DISTANCE_SHARE * height
            )
            chosen[part] = enough & is_high & is_sharp
        return chosen

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
        margins = [half if i in self.axes else 0 for i in range(values.ndim)]
        padded = _padded(values, margins, np.nan)
        regions = None if self.regions is None else _padded(self.regions, margins, 0)
        index = np.unravel_index(places, values.shape)
        moved = [c + margin for c, margin in zip(index, margins, strict=True)]
        middles = np.ravel_multi_index(moved, padded.shape)
        steps = [math.prod(padded.shape[i + 1 :]) for i in self.axes]
        offsets = np.zeros((1,) * len(steps), np.intp)
        for number, step in enumerate(steps):
            line = np.arange(-half, half + 1) * step
            offsets = offsets + line.reshape([-1 if i == number else 1 for i in range(len(steps))])
        height = max(1, GATHERED_VALUES // offsets.size)
        for start in range(0, len(places), height):
            part = slice(start, start + height)
            middle = middles[part].reshape(-1, *[1] * len(steps))
            windows = padded.take(middle + offsets)
            if regions is not None:
                other = regions.take(middle + offsets) != regions.take(middle)
                windows[other] = np.nan
            yield part, windows


def _padded(values: Array, margins: Sequence[int], constant: float) -> Array:
    """Return a copy with a margin of constant values on both sides of each axis."""
    padded: Array = np.pad(values, [(m, m) for m in margins], constant_values=constant)
    return padded


def _median(values: Array) -> Array:
    """Return the median of the finite values along the second axis; NaN if there are none."""
    ordered = np.sort(values, axis=1)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=1)
    rows, last = np.arange(len(ordered)), np.maximum(count - 1, 0)
    return np.asarray((ordered[rows, last // 2] + ordered[rows, (last + 1) // 2]) / 2)
