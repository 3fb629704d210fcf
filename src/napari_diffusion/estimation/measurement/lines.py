r"""Stripes, measured by whole lines: their variance, and the offset of every line.

The variance v of stripes of a known direction is that of the means of whole lines, less what the
noise within the lines leaves in a mean. A mean :math:`\bar d_j` is that of the second differences
D across the stripes, in the calmest voxels of the line j. The means have the covariance
:math:`v A + W` with :math:`A = D D^T`. Lines whose calm voxels are beside each other share noise.
The line j has :math:`n_j` voxels of the variance :math:`w_j`, and :math:`n_{jk}` of them are beside
voxels of the line k. Hence :math:`W_{jk} = A_{jk} \sqrt{w_j w_k}\, n_{jk}/(n_j n_k)`. With any
weights :math:`V^{-1}`, the estimate

.. math:: v = \frac{\bar d^T V^{-1} A V^{-1} \bar d - \operatorname{tr}(V^{-1} A V^{-1} W)}
          {\operatorname{tr}(V^{-1} A V^{-1} A)}

has the right mean. It has the least variance where V is the true covariance (Fisher scoring, some
passes). What varies slowly across the lines may be picture, so that the diagonal of W in V has a
lower bound.

Each line has its own calm voxels: the calmest voxels of the image are in the lines whose stripes
happen to be weak. In a line, they are those of the image without the stripes: beside a stripe, a
place seems calm where noise happens to cancel it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.evidence import fine_axes, local_quantities, robust_deviation
from napari_diffusion.estimation.noise.patterns import Stripes
from napari_diffusion.estimation.patches import Patch

#: Share of the voxels of a line that are its calmest, the minimum number of them, and the minimum
#: number of lines.
CALM_SHARE, MIN_LINE_VOXELS, MIN_LINES = 0.25, 8, 8
#: Largest mean of a line that counts, relative to its deviation, which some passes find. Stripes
#: are normal, and an edge of the picture along a line is not.
MAX_MEAN, PASSES = 3.5, 4
#: Number of lines side by side whose mean variance is that of their calm voxels.
NEIGHBOURS = 9
#: Least squared error of the mean of a line, relative to the variance of stripes: frequencies below
#: one in 7 voxels hardly count for the variance, and those below one in 20 for the offsets. They
#: may be picture.
MIN_ERROR, MIN_ERROR_OF_OFFSETS = 0.1, 1e-3


class Lines(NamedTuple):
    """Lines along some axes that are in one row across them.

    Attributes
    ----------
    place
        Number of each line along the row [voxel].
    mean
        Mean of the second differences across each line in its calm voxels [intensity].
    variance
        Their variance in the calm voxels of each line [intensity²].
    overlap
        For every two lines, the number of calm voxels beside each other, over the product of the
        numbers of calm voxels of both.
    """

    place: NDArray[np.intp]
    mean: FloatArray
    variance: FloatArray
    overlap: FloatArray

    def normal(self, variance: float) -> Lines:
        """Lines whose means can be those of stripes of some variance [intensity²]."""
        expected = variance + self.variance * np.diag(self.overlap)
        kept = self.mean**2 <= MAX_MEAN**2 * expected
        return Lines(
            self.place[kept], self.mean[kept], self.variance[kept], self.overlap[kept][:, kept]
        )

    @property
    def structure(self) -> FloatArray:
        """Covariance of the means for stripes of unit variance and without errors."""
        distance = np.abs(self.place[:, None] - self.place)
        return np.asarray(np.select([distance == k for k in range(3)], [1, -4 / 6, 1 / 6], 0.0))

    @property
    def errors(self) -> FloatArray:
        """Covariance of the means that the noise leaves [intensity²]."""
        deviation = np.sqrt(self.variance)
        return np.asarray(self.structure * self.overlap * np.outer(deviation, deviation))

    def weights(self, variance: float, floor: float) -> FloatArray:
        """Inverse of a covariance of the means: the larger one, the less a frequency counts.

        Parameters
        ----------
        variance
            That of the stripes [intensity²].
        floor
            Least squared error of a mean, relative to ``variance``.
        """
        from scipy import ndimage

        # A line whose few voxels differ by little would count too much.
        around = ndimage.uniform_filter1d(self.variance, NEIGHBOURS, mode="nearest")
        error = np.maximum(around * np.diag(self.overlap), floor * variance)
        return np.asarray(np.linalg.inv(variance * self.structure + np.diag(error)))


def stripe_variance(
    patches: Sequence[Patch], channel: int, along: Sequence[int], across: int
) -> float:
    """Variance of stripes that are constant along some axes [intensity²]; 0 if none is seen.

    See the head of this module. Lines of a frame at the same place are one line.
    """
    rows = _measure_lines(patches, channel, along, across)
    if not _variance_of([*rows.values()]) > 0:
        return 0.0
    offsets = _offsets(patches, along, across, rows)
    return _variance_of([*_measure_lines(patches, channel, along, across, offsets).values()])


def variance_within_stripes(patches: Sequence[Patch], channel: int, stripes: Stripes) -> float:
    """Variance of what is constant along all but one of the axes of stripes [intensity²].

    Such are the offsets of the pixels of a camera, beside those of its columns: neither changes
    from plane to plane.
    """
    if len(stripes.along) < 2:
        return 0.0
    total = 0.0
    for across in stripes.along:
        along = [axis for axis in stripes.along if axis != across]
        total += stripe_variance(patches, channel, along, across)
    return total


def _variance_of(rows: Sequence[Lines]) -> float:
    """Variance of stripes from the lines of some rows; see the head of this module."""
    means = np.concatenate([np.zeros(0), *(row.mean for row in rows)])
    if len(means) < MIN_LINES:
        return 0.0
    variance = robust_deviation(means) ** 2
    for _ in range(PASSES):
        seen, expected = 0.0, 0.0
        for row in rows:
            lines = row.normal(variance)
            weights = lines.weights(variance, MIN_ERROR)
            whitened = weights @ lines.structure
            seen += float(lines.mean @ whitened @ weights @ lines.mean)
            seen -= float(np.sum((whitened @ weights).T * lines.errors))
            expected += float(np.sum(whitened * whitened.T))
        if not expected > 0:
            return 0.0
        variance = max(seen / expected, 0.0)
    return variance


def line_offsets(
    patches: Sequence[Patch], channel: int, along: Sequence[int], across: int
) -> list[FloatArray]:
    r"""Offsets of stripes in every patch [intensity], of the shape of its ``valid``.

    With the terms of the head of this module, their best linear estimate is
    :math:`v D^T (v D D^T + W)^{-1} \bar d`. What varies slowly across the lines may be picture,
    and stays.
    """
    rows = _measure_lines(patches, channel, along, across)
    first = _offsets(patches, along, across, rows)
    rows = _measure_lines(patches, channel, along, across, first)
    return _offsets(patches, along, across, rows)


def _offsets(
    patches: Sequence[Patch], along: Sequence[int], across: int, rows: dict[tuple[int, ...], Lines]
) -> list[FloatArray]:
    """Offsets of stripes in every patch [intensity], of the shape of its ``valid``."""
    variance = _variance_of([*rows.values()])
    offsets_of = {key: _best_offsets(row, variance) for key, row in rows.items()}
    result: list[FloatArray] = []
    for patch in patches:
        offsets = np.zeros([1 if axis in along else n for axis, n in enumerate(patch.box)])
        first = patch.first[across]
        moved = np.moveaxis(offsets, across, -1)
        for place in np.ndindex(moved.shape[:-1]):
            key = _row_of(patch, along, across, place)
            known = offsets_of.get(key, {})
            moved[place] = [known.get(first + k, 0.0) for k in range(patch.box[across])]
        result.append(np.broadcast_to(offsets, patch.box).reshape(patch.valid.shape))
    return result


def _best_offsets(row: Lines, variance: float) -> dict[int, float]:
    """Best linear estimate of the offsets of the lines of a row [intensity], by their place."""
    lines = row.normal(variance)
    half = variance * lines.weights(variance, MIN_ERROR_OF_OFFSETS) @ lines.mean
    offsets: dict[int, float] = {}
    for place, value in zip(lines.place.tolist(), half.tolist(), strict=True):
        for step, weight in ((-1, 1), (0, -2), (1, 1)):
            before = offsets.get(place + step, 0.0)
            offsets[place + step] = before + weight / math.sqrt(6) * value
    return offsets


def _row_of(
    patch: Patch, along: Sequence[int], across: int, place: Sequence[int]
) -> tuple[int, ...]:
    """Frame and position of a row of lines; ``place`` is that in the patch, without ``across``."""
    axes = [axis for axis in range(len(patch.box)) if axis != across]
    pairs = zip(axes, place, strict=True)
    return (patch.source, *(patch.first[axis] + k for axis, k in pairs if axis not in along))


def _measure_lines(
    patches: Sequence[Patch],
    channel: int,
    along: Sequence[int],
    across: int,
    without: Sequence[FloatArray] | None = None,
) -> dict[tuple[int, ...], Lines]:
    """Measure the lines along some axes; see the head of this module.

    Voxels are calm if they are so ``without`` some offsets of the patches [intensity].

    Returns
    -------
    dict
        Rows of lines by frame and position, as by `_row_of`.
    """
    parts: dict[tuple[int, ...], dict[int, list[FloatArray]]] = {}
    offsets: Sequence[FloatArray | None] = without or [None] * len(patches)
    for patch, offset in zip(patches, offsets, strict=True):
        axes = fine_axes(patch.box, patch.spacings)
        if across not in axes or not set(along) <= set(axes):
            continue
        u = np.asarray(patch.without_impulses[channel], float).reshape(patch.box)
        valid = patch.valid.reshape(patch.box)
        local = local_quantities(u, valid, axes)
        activity = local.activity
        if offset is not None:
            activity = local_quantities(u - offset.reshape(patch.box), valid, axes).activity
        others = [axis for axis in range(u.ndim) if axis not in (*along, across)]
        counts = [1 if axis in along else n for axis, n in enumerate(patch.box) if axis != across]

        def by_line(
            values: NDArray[Any],
            order: tuple[int, ...] = (*others, across, *along),
            shape: tuple[int, ...] = (*counts, patch.box[across], -1),
        ) -> NDArray[Any]:
            return values.transpose(order).reshape(shape)

        inside = by_line(local.inside)
        columns = [
            by_line(values)
            for values in (activity, local.second[axes.index(across)], _numbers(patch, along))
        ]
        for where in np.ndindex(*counts):
            row = parts.setdefault(_row_of(patch, along, across, where), {})
            for k in range(patch.box[across]):
                usable = inside[where][k]
                own = np.stack([values[where][k][usable] for values in columns])
                row.setdefault(patch.first[across] + k, []).append(own)
    return {key: _lines(row) for key, row in parts.items()}


def _numbers(patch: Patch, along: Sequence[int]) -> FloatArray:
    """Number of every voxel of a patch among those of its line in the image."""
    number = np.zeros(patch.box)
    for axis in along:
        shape = [-1 if i == axis else 1 for i in range(len(patch.box))]
        place = patch.first[axis] + np.arange(patch.box[axis])
        number = number * patch.whole[axis] + place.reshape(shape)
    return number


def _lines(parts: dict[int, list[FloatArray]]) -> Lines:
    """Lines of a row from activity, second difference and number of their voxels, by place."""
    rows: dict[int, tuple[float, float]] = {}
    voxels: dict[int, FloatArray] = {}
    for place, each in sorted(parts.items()):
        energy, values, number = np.concatenate(each, axis=1)
        count = max(MIN_LINE_VOXELS, round(CALM_SHARE * energy.size))
        if energy.size >= MIN_LINE_VOXELS:
            calm = np.argpartition(energy, count - 1)[:count]
            rows[place] = float(values[calm].mean()), float(values[calm].var(ddof=1))
            voxels[place] = number[calm]
    overlap = np.zeros((len(rows), len(rows)))
    index_of = {place: i for i, place in enumerate(rows)}
    for i, (place, own) in enumerate(voxels.items()):
        overlap[i, i] = 1 / own.size
        for step in (1, 2):
            other = voxels.get(place + step)
            if other is not None:
                j = index_of[place + step]
                both = np.intersect1d(own, other).size / (own.size * other.size)
                overlap[i, j] = overlap[j, i] = both
    mean, variance = np.array([*rows.values()]).reshape(-1, 2).T
    return Lines(np.array([*rows], np.intp), mean, variance, overlap)
