r"""Rings: errors that depend on the distance from one centre, as those of a detector in a tomogram.

The centre is the axis of rotation, which is near the middle of the image. For a tested centre, a
block of a plane is divided into arcs of one voxel width. Every arc has two halves, whose voxels
alternate in tiles. Rings make the means of both halves alike. Noise and picture do so only by
chance, or for any centre. The correlation of the halves, as the median over blocks, has a peak at
the centre of rings.

Where R is the variance of the rings and V that of the means of halves, the correlation is R/V.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.evidence import fine_axes, robust_deviation
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.noise.patterns import Rings
from napari_diffusion.estimation.noise.values import grey_step
from napari_diffusion.estimation.patches import Patch

#: Edge of a block and of the tiles that alternate in it [voxel].
BLOCK, TILE = 32, 8
#: Number of blocks, and the minimum number for a decision.
MAX_BLOCKS, MIN_BLOCKS = 24, 4
#: Minimum number of voxels of half an arc.
MIN_HALF = 6
#: Largest distance of the centre from the middle, as a share of the image.
MAX_SHIFT = 0.125
#: Number of centres along an axis that are tried first, and of refinements by half the distance.
GRID, REFINEMENTS = 17, 5
#: Departure to which values are limited [standard deviations]: edges are no rings.
MAX_DEPARTURE = 3.0
#: Number of times that means of arcs beyond this are left out.
OUTLINE_PASSES = 5
#: Smallest share of usable voxels of a block.
MIN_FULL = 0.5
#: Smallest correlation of the halves that rings have: a constant, and a number over the root of the
#: number of blocks. `tests/benchmarks/noise_decisions.py` prints those of noise: up to 0.06 in 24
#: blocks, 0.21 in 9, and 0.54 in 4.
MIN_CORRELATION, CORRELATION_SCATTER = 0.5, 0.75
#: Smallest rise of the correlation above that of other centres, and of straight lines.
MIN_RISE = 0.25
#: Distance of a centre around which rings are straight [voxel].
FAR = 1e6
#: Smallest share of rings in the variance of all noise that is named, and the largest one: beside
#: next to no noise, a chance of the picture looks like rings.
MIN_SHARE, MAX_SHARE = 0.08, 0.95
#: Share of the variance of rings, whose errors differ from voxel to voxel, that is left after the
#: subtraction of a Gaussian of one voxel and the mean over an arc (simulated).
KEPT_SHARE = 0.277


class _Strength(NamedTuple):
    """Strength of rings around a centre.

    Attributes
    ----------
    correlation
        Correlation of both halves of the arcs, the median over the blocks.
    variance
        Variance of the rings in the blocks [intensity²]: the median, or the agreement if smaller.
    agreement
        Product of both halves [intensity²], the mean, which shows small shifts of the centre.
    """

    correlation: float
    variance: float
    agreement: float


@dataclass(frozen=True)
class Blocks:
    """Voxels of blocks of one plane orientation, in one row.

    Attributes
    ----------
    y, x
        Place in the image along both axes of the plane, in voxels of the first one.
    values
        Values without slow changes [intensity].
    half
        Number of the block, times two, plus 0 or 1 for the tile.
    count
        Number of blocks.
    """

    y: FloatArray
    x: FloatArray
    values: FloatArray
    half: NDArray[np.intp]
    count: int

    def correlation(self, centre: Sequence[float]) -> float:
        """Return the correlation of `strength` alone, without the slow medians of the rest."""
        of_blocks = self._arcs(centre).correlations()
        return float(np.median(of_blocks)) if of_blocks else 0.0

    def strength(self, centre: Sequence[float]) -> _Strength:
        """Measure rings around a centre.

        The correlation is that of the signs, which a few edges hardly change.
        """
        arcs = self._arcs(centre)
        rows = []
        for correlation, means in zip(arcs.correlations(), arcs.means(), strict=True):
            level = _level_without_outline(means)
            usual = np.all(np.abs(means) <= MAX_DEPARTURE * level, axis=0)
            agreement = np.prod(means[:, usual], axis=0).mean() if usual.any() else 0.0
            rows.append((correlation, correlation * level**2, agreement))
        if not rows:
            return _Strength(0.0, 0.0, 0.0)
        correlation, variance, _ = np.median(rows, axis=0)
        agreement = float(np.mean(rows, axis=0)[2])
        # A median over some tens of rings scatters; a mean contains the outline of a round body.
        return _Strength(float(correlation), min(float(variance), agreement), agreement)

    def _arcs(self, centre: Sequence[float]) -> _Arcs:
        """Divide the blocks into arcs around a centre."""
        radius = np.hypot(self.y - centre[0], self.x - centre[1])
        radius -= math.floor(radius.min())
        arcs = int(radius.max()) + 2
        index = self.half * arcs + np.rint(radius).astype(np.intp)
        shape = (self.count, 2, arcs)
        counts = np.bincount(index, minlength=math.prod(shape)).reshape(shape)
        sums = np.bincount(index, self.values, math.prod(shape)).reshape(shape)
        usable: NDArray[np.bool_] = np.all(counts >= MIN_HALF, axis=1)
        chosen = np.any(usable, axis=1)
        return _Arcs(counts[chosen], sums[chosen], usable[chosen])


class _Arcs(NamedTuple):
    """Arcs of the blocks that have usable ones.

    Attributes
    ----------
    counts, sums
        Number and sum of the voxels of each half of an arc, shape (blocks, 2, arcs).
    usable
        Whether both halves have enough voxels, shape (blocks, arcs).
    """

    counts: NDArray[np.intp]
    sums: NDArray[Any]
    usable: NDArray[np.bool_]

    def correlations(self) -> list[float]:
        """Return the correlation of both halves in each block."""
        same = np.sign(self.sums[:, 0]) * np.sign(self.sums[:, 1])
        means = np.sum(same, axis=1, where=self.usable) / np.sum(self.usable, axis=1)
        return [math.sin(math.pi / 2 * mean) for mean in means.tolist()]

    def means(self) -> list[FloatArray]:
        """Return the means of the halves of the usable arcs in each block."""
        means = self.sums / np.maximum(self.counts, 1)
        return [of_block[:, usable] for of_block, usable in zip(means, self.usable, strict=True)]


def _level_without_outline(means: FloatArray) -> float:
    """Standard deviation of the means of arcs, those of an outline left out [intensity].

    The outline of a round body crosses up to a third of the arcs of a block. Its means are several
    times those of rings, which alone are normal: means beyond `MAX_DEPARTURE` are left out.
    """
    level = robust_deviation(means)
    for _ in range(OUTLINE_PASSES):
        level = robust_deviation(means[np.abs(means) <= MAX_DEPARTURE * level])
    return level


def find_rings(
    patches: Sequence[Patch], channel: int, noises: Sequence[Noise | None]
) -> Rings | None:
    """Find rings in one channel of some patches; None without any.

    ``noises`` are the noises of the patches without rings, or None for a patch without noise.
    """
    rest = variance_of(noises)
    rings = [
        _in_plane(patches, channel, plane, rest)
        for plane in itertools.combinations(fine_axes(patches[0].box, patches[0].spacings), 2)
    ]
    return max((r for r in rings if r is not None), key=lambda r: r.share, default=None)


def variance_of(noises: Sequence[Noise | None]) -> float:
    """Mean variance of some noises [intensity²]; 0 without any."""
    levels = [noise.sigma for noise in noises if noise is not None]
    return float(np.mean(np.square(levels))) if levels else 0.0


def _in_plane(
    patches: Sequence[Patch], channel: int, plane: tuple[int, int], rest: float
) -> Rings | None:
    """Find rings in planes along two axes, beside noise of the variance ``rest``."""
    scale = (1.0, patches[0].spacings[plane[1]] / patches[0].spacings[plane[0]])
    blocks = blocks_of(patches, channel, plane, scale)
    if blocks is None:
        return None
    extent = [patches[0].whole[axis] * h for axis, h in zip(plane, scale, strict=True)]
    centre, usual = search_centre(blocks, extent)
    correlation, variance, _ = blocks.strength(centre)
    least = MIN_CORRELATION + CORRELATION_SCATTER / math.sqrt(blocks.count)
    # Around a far centre, rings are straight.
    straight = max(blocks.correlation(far) for far in ((FAR, 0.0), (0.0, FAR)))
    if correlation < least or correlation - max(usual, straight) < MIN_RISE:
        return None
    single = blocks_of(patches, channel, plane, scale, is_single=True)
    is_same = True
    if single is not None:
        own_correlation, own_variance, _ = single.strength(centre)
        is_same = own_correlation < least or variance > own_variance / 2
        # The mean of all planes has little noise, so that it shows round parts of the picture too.
        variance = min(variance, own_variance) if is_same and own_variance > 0 else own_variance
    variance /= KEPT_SHARE
    share = variance / (variance + rest)
    # Smooth hills have contours, whose errors of rounding are at most half a grey level.
    step = max(grey_step(patch.field[channel][patch.valid]) for patch in patches)
    if not MIN_SHARE <= share <= MAX_SHARE or variance < step**2 / 4:
        return None
    place = (centre[0] / scale[0], centre[1] / scale[1])
    return Rings(plane, place, scale, is_same, share)


def search_centre(blocks: Blocks, extent: Sequence[float]) -> tuple[tuple[float, ...], float]:
    """Return the centre of the highest correlation, and the median correlation of all centres."""
    middle = [(n - 1) / 2 for n in extent]
    steps = [2 * MAX_SHIFT * n / (GRID - 1) for n in extent]

    def around(centre: Sequence[float], reach: int) -> list[tuple[float, ...]]:
        return [
            tuple(c + i * step for c, i, step in zip(centre, k, steps, strict=True))
            for k in itertools.product(range(-reach, reach + 1), repeat=2)
        ]

    grid = around(middle, GRID // 2)
    tried = {centre: blocks.correlation(centre) for centre in grid}
    best = max(tried, key=tried.__getitem__)
    for _ in range(REFINEMENTS):
        best = max(around(best, 1), key=lambda centre: blocks.strength(centre).agreement)
        steps = [step / 2 for step in steps]
    return best, float(np.median(list(tried.values())))


def planes_of(
    patches: Sequence[Patch], channel: int, plane: tuple[int, int], is_single: bool
) -> Iterator[tuple[FloatArray, NDArray[np.bool_], tuple[int, ...]]]:
    """Yield a plane of every patch without slow changes, its usable voxels, and its first voxel.

    Edges are limited to `MAX_DEPARTURE`. The plane is the mean of all planes, or with ``is_single``
    the middle one.
    """
    from scipy import ndimage

    for patch in patches:
        u = np.asarray(patch.without_impulses[channel], float).reshape(patch.box)
        valid = patch.valid.reshape(patch.box)
        if is_single:
            middle = tuple(
                slice(None) if a in plane else slice(n // 2, n // 2 + 1)
                for a, n in enumerate(patch.box)
            )
            u, valid = u[middle], valid[middle]
        u = np.where(valid, u, u[valid].mean() if valid.any() else 0.0)
        sigmas = [1.0 if a in plane else 0.0 for a in range(u.ndim)]
        fine = u - ndimage.gaussian_filter(u, sigmas, truncate=3.0)
        inside = ndimage.minimum_filter(
            valid, [5 if a in plane else 1 for a in range(u.ndim)], mode="constant", cval=False
        )
        limit = MAX_DEPARTURE * robust_deviation(fine[inside])
        if limit > 0:
            others = tuple(a for a in range(u.ndim) if a not in plane)
            weight = inside.sum(axis=others)
            image = np.where(inside, np.clip(fine, -limit, limit), 0.0).sum(axis=others)
            full = weight > 0.5 * weight.max()
            first = tuple(patch.first[a] for a in plane)
            yield image / np.maximum(weight, 1), full, first


def whole_boxes(shape: Sequence[int], edge: int) -> Iterator[tuple[slice, ...]]:
    """Divide a plane into boxes of about a given edge."""
    counts = [max(1, round(n / edge)) for n in shape]
    ends = [
        np.linspace(0, n, count + 1).astype(int) for n, count in zip(shape, counts, strict=True)
    ]
    for k in np.ndindex(*counts):
        yield tuple(slice(e[i], e[i + 1]) for e, i in zip(ends, k, strict=True))


def blocks_of(
    patches: Sequence[Patch],
    channel: int,
    plane: tuple[int, int],
    scale: Sequence[float],
    is_single: bool = False,
) -> Blocks | None:
    """Divide the planes of patches into blocks; None if there are too few of these."""
    cut = []
    for image, full, first in planes_of(patches, channel, plane, is_single):
        for box in whole_boxes(image.shape, BLOCK):
            chosen = full[box]
            if chosen.mean() < MIN_FULL or min(chosen.shape) < BLOCK // 2:
                continue
            inner = np.nonzero(chosen)
            y, x = (
                (i + part.start + start) * h
                for i, part, start, h in zip(inner, box, first, scale, strict=True)
            )
            cut.append((y, x, image[box][chosen], (inner[0] // TILE + inner[1] // TILE) % 2))
    if len(cut) < MIN_BLOCKS:
        return None
    count = min(len(cut), MAX_BLOCKS)
    cut = [cut[int((k + 0.5) * len(cut) / count)] for k in range(count)]
    y, x, values = (np.concatenate([part[k] for part in cut]) for k in range(3))
    half = np.concatenate([2 * n + part[3] for n, part in enumerate(cut)])
    return Blocks(y, x, values, half.astype(np.intp), count)
