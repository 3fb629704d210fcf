r"""Patterns in an image that are neither picture nor noise of one voxel: stripes and compression.

**Stripes** (rows of a scanning microscope, columns of a camera) are constant along an axis. The
second differences across them average out along the axis as white noise does, but for a share that
stays. Averages over L voxels of noise with the share s of stripes have the variance
:math:`(1 + (L - 1)\,s)/L` instead of 1/L. The variance of stripes of a known direction is that of
the means of whole lines, less what the noise within the lines leaves in a mean,

.. math:: s^2 = \langle \bar d_j^2 - w_j/n_j \rangle,

with the mean :math:`\bar d_j` and the sample variance :math:`w_j` of second differences across
the stripes, in the :math:`n_j` calmest voxels of the line j. Each line has its own calm voxels:
the calmest voxels of the image are in the lines whose stripes happen to be weak. Lines count by the
inverse square of the variance of their means.

**Lossy compression** as in JPEG rounds the cosine transform of blocks of 8 × 8 pixels. Weak
coefficients become zero, so that the median magnitudes of high frequencies fall. This happens only
where the blocks are cut as by the compression, and at none of the other 63 positions of the blocks.
A regular grid in the picture has other signs, for example enlarged pixels or tiles of a detector.
It changes the frequencies along its edges, or all frequencies at several positions. So frequencies
along one axis do not count, and the lowest position must be a single one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.evidence import fine_axes, local_quantities, robust_deviation
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.noise.patterns import Stripes
from napari_diffusion.estimation.noise.values import grey_step
from napari_diffusion.estimation.patches import Patch

#: Longest average along a stripe [voxel], and the shortest one from which stripes are seen.
MAX_AVERAGE, MIN_AVERAGE = 16, 8
#: Smallest deviation of averages, relative to white noise, and to the averages along other axes,
#: that stripes have. Measured without stripes: 0.9 to 1.3; folds as fine as voxels have up to 3.2,
#: along all axes alike.
MIN_STRIPE_RATIO, MIN_STRIPE_CONTRAST = 1.6, 1.5
#: Smallest share of stripes in the variance of all noise that is named, and the largest one: a
#: picture that is constant along an axis has no other noise.
MIN_SHARE, MAX_SHARE = 0.08, 0.85
#: Minimum number of flat voxels for the average.
MIN_FLAT_VOXELS = 200
#: Share of the voxels of a line that are its calmest, the minimum number of them, and the minimum
#: number of lines.
CALM_SHARE, MIN_LINE_VOXELS, MIN_LINES = 0.25, 8, 8
#: Largest mean of a line that counts, relative to its deviation, which some passes find. Stripes
#: are normal, and an edge of the picture along a line is not.
MAX_MEAN, PASSES = 3.5, 3
#: Edge of the blocks of a compression [voxel], and the minimum number of blocks for a decision.
BLOCK, MIN_BLOCKS = 8, 60
#: Number of planes that are examined.
MAX_PLANES = 4
#: Smallest sum of the two frequency numbers of the coefficients that are compared.
MIN_FREQUENCY = 5
#: Sum of the two frequency numbers of the coefficients of a block, and those that are compared.
FREQUENCY = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))
COMPARED = (FREQUENCY >= MIN_FREQUENCY) & np.outer(np.arange(BLOCK), np.arange(BLOCK)).astype(bool)
#: Sums in which the noise of a compressed image is measured, and the share of the blocks for that,
#: those with the weakest slopes.
LOW_FREQUENCIES, FLAT_BLOCKS = (2, 3, 4), 0.1
#: Largest level at the first of these sums, relative to the lowest level, that noise has. Measured
#: on six photographs: 1.0 to 1.3 with noise of 4 to 8 % of the range, 1.4 and more without.
MAX_REDNESS = 1.35
#: Standard deviation of a normal variable over the mean of its magnitude.
NORMAL_MEAN = math.sqrt(math.pi / 2)
#: Smallest fall of the mean logarithm of median magnitudes, below that at any other position, that
#: compression causes. `tests/benchmarks/noise_decisions.py` prints it: up to 0.2 for grids of the
#: periods 4 to 16, and 0.4 to 3 with JPEG of the qualities 30 to 90.
MIN_FALL = 0.25
#: Median magnitude, relative to the largest one of all positions, that counts as zero.
ZERO = 1e-3


def find_stripes(
    patches: Sequence[Patch], channel: int, noises: Sequence[Noise | None]
) -> Stripes | None:
    """Find stripes in one channel of some patches; None without any.

    Their share is that of the whole noise, if ``noises`` are the noise without stripes.

    ``noises`` are the noises of the patches, or None for a patch without noise.
    """
    measured: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for patch, noise in zip(patches, noises, strict=True):
        if noise is not None and noise.sigma > 0:
            for key, pair in _average_ratios(patch, channel, noise).items():
                measured.setdefault(key, []).append(pair)
    medians = {key: np.median(pairs, axis=0) for key, pairs in measured.items()}
    ratios = {key: float(median[0]) for key, median in medians.items()}
    if len(ratios) < 2:
        return None
    (along, across), largest = max(ratios.items(), key=lambda item: item[1])
    if largest < MIN_STRIPE_RATIO:
        return None
    # Where stripes of a volume are constant along two axes, both show them.
    limit = math.sqrt(largest)
    same = tuple(sorted(a for (a, b), ratio in ratios.items() if b == across and ratio >= limit))
    others = [ratio for (a, b), ratio in ratios.items() if b != across or a not in same]
    if not others or largest < MIN_STRIPE_CONTRAST * float(np.median(others)):
        return None
    lengths = [patch.box[along] for patch in patches]
    length = min(MAX_AVERAGE, int(np.median(lengths)))
    if (largest**2 - 1) / (length - 1) > MAX_SHARE:
        return None
    variance = stripe_variance(patches, channel, same, across)
    rest = float(np.mean([noise.sigma**2 for noise in noises if noise is not None]))
    share = variance / (variance + rest)
    # Slopes have contours, whose errors of rounding are at most half a grey level.
    step = max(grey_step(patch.field[channel][patch.valid]) for patch in patches)
    return Stripes(same, share) if share >= MIN_SHARE and variance >= step**2 / 4 else None


def stripe_variance(
    patches: Sequence[Patch], channel: int, along: Sequence[int], across: int
) -> float:
    """Variance of stripes that are constant along some axes [intensity²]; 0 if none is seen.

    See the head of this module. Lines of a frame at the same place are one line.
    """
    lines: dict[tuple[int, ...], list[FloatArray]] = {}
    for patch in patches:
        axes = fine_axes(patch.box, patch.spacings)
        if across not in axes or not set(along) <= set(axes):
            continue
        u = np.asarray(patch.without_impulses[channel], float).reshape(patch.box)
        local = local_quantities(u, patch.valid.reshape(patch.box), axes)
        others = [axis for axis in range(u.ndim) if axis not in along]
        counts = [patch.box[axis] for axis in others]
        inside, activity, second = (
            values.transpose(*others, *along).reshape(*counts, -1)
            for values in (local.inside, local.activity, local.second[axes.index(across)])
        )
        for place in np.ndindex(*counts):
            usable = inside[place]
            if usable.any():
                corner = [patch.first[axis] for axis in others]
                key = (patch.source, *(a + k for a, k in zip(corner, place, strict=True)))
                own = np.stack([activity[place][usable], second[place][usable]])
                lines.setdefault(key, []).append(own)
    means, errors = [], []
    for parts in lines.values():
        energy, values = np.concatenate(parts, axis=1)
        count = max(MIN_LINE_VOXELS, round(CALM_SHARE * energy.size))
        if energy.size >= MIN_LINE_VOXELS:
            calm = values[np.argpartition(energy, count - 1)[:count]]
            means.append(float(calm.mean()))
            errors.append(float(calm.var(ddof=1)) / count)
    if len(means) < MIN_LINES:
        return 0.0
    squares, own = np.square(means), np.array(errors)
    variance = robust_deviation(np.array(means)) ** 2
    for _ in range(PASSES):
        expected = variance + own
        # The square of a normal mean has a standard error of its own size.
        weights = np.where(
            squares <= MAX_MEAN**2 * expected, 1 / np.maximum(expected, 1e-300) ** 2, 0
        )
        if not weights.any():
            return 0.0
        variance = max(float(np.average(squares - own, weights=weights)), 0.0)
    return variance


def _average_ratios(
    patch: Patch, channel: int, noise: Noise
) -> dict[tuple[int, int], tuple[float, float]]:
    """Measure averages along an axis of second differences across another one.

    Returns
    -------
    dict
        For every pair of axes, the deviation of the averages, relative to that of the differences
        and to that of noise with its correlations, and the deviation of the differences
        [intensity].
    """
    from scipy import ndimage

    axes = fine_axes(patch.box, patch.spacings)
    u = np.asarray(patch.without_impulses[channel], float).reshape(patch.box)
    valid = patch.valid.reshape(patch.box)
    if len(axes) < 2 or not valid.any():
        return {}
    local = local_quantities(u, valid, axes)
    shared = noise.correlations if noise.origin == "noise" else ()
    ratios = {}
    for place, along in enumerate(axes):
        length = min(patch.box[along], MAX_AVERAGE)
        if length < MIN_AVERAGE:
            continue
        inside = ndimage.minimum_filter(
            local.inside,
            [length if i == along else 1 for i in range(u.ndim)],
            mode="constant",
            cval=False,
        )
        if int(inside.sum()) < MIN_FLAT_VOXELS:
            continue
        activity = ndimage.uniform_filter1d(local.activity, length, along)
        flat = inside & (activity <= np.quantile(activity[inside], 0.25))
        rho = shared[place] if len(shared) == len(axes) else ()
        spread = math.sqrt(max(1 + 2 * sum(rho), 0.5))
        for across, second in zip(axes, local.second, strict=True):
            single = robust_deviation(second[flat])
            if across != along and single > 0:
                average = ndimage.uniform_filter1d(second, length, along) * math.sqrt(length)
                ratio = robust_deviation(average[flat]) / single / spread
                ratios[along, across] = ratio, single
    return ratios


def is_compressed(patches: Sequence[Patch], channel: int = 0) -> bool:
    """Whether the image was compressed in blocks of 8 × 8 pixels of its last two axes."""
    return compression_corner(patches, channel) is not None


def compression_corner(patches: Sequence[Patch], channel: int = 0) -> tuple[int, int] | None:
    """Position of the blocks of a compression, modulo `BLOCK`; None for an image without one."""
    levels = coefficient_levels(patches, channel)
    if levels is None:
        return None
    fall, corner = lowest_fall(levels)
    return corner if fall >= MIN_FALL else None


def coefficient_levels(patches: Sequence[Patch], channel: int) -> FloatArray | None:
    """Mean logarithm of median coefficients, for every position of the blocks.

    None for an image with too few blocks.
    """
    planes = _planes(patches, channel)
    medians = []
    for corner in np.ndindex(BLOCK, BLOCK):
        coefficients = _coefficients(planes, corner)[:, COMPARED]
        if len(coefficients) < MIN_BLOCKS:
            return None
        medians.append(np.median(coefficients, axis=0))
    least = np.maximum(ZERO * np.max(medians, axis=0), 1e-300)
    return np.asarray(np.log(np.maximum(medians, least)).mean(axis=1))


def lowest_fall(levels: FloatArray) -> tuple[float, tuple[int, int]]:
    """Return how far the lowest of some levels is below all others, and its position."""
    lowest, second = np.partition(levels, 1)[:2]
    return float(second - lowest), divmod(int(levels.argmin()), BLOCK)


def compressed_level(patches: Sequence[Patch], channel: int, corner: Sequence[int]) -> float:
    """Noise level of a compressed image, from the low frequencies of its blocks [intensity].

    Compression keeps these, whereas noise of high frequencies is rounded to zero. In the blocks of
    the weakest slopes, white noise has the same level at all frequencies, and texture has not. The
    level is 0 where these differ.
    """
    coefficients = _coefficients(_planes(patches, channel), corner)
    slopes = np.square(coefficients[:, FREQUENCY == 1]).sum(axis=1)
    count = max(MIN_BLOCKS, round(FLAT_BLOCKS * len(slopes)))
    flat = coefficients[np.argsort(slopes, kind="stable")[:count]]
    # Medians of rounded values would be multiples of a step.
    levels = [NORMAL_MEAN * float(flat[:, n == FREQUENCY].mean()) for n in LOW_FREQUENCIES]
    return min(levels) if levels[0] <= MAX_REDNESS * min(levels) else 0.0


def _planes(
    patches: Sequence[Patch], channel: int
) -> list[tuple[FloatArray, NDArray[np.bool_], tuple[int, ...]]]:
    """Return the middle planes of some patches, as `_middle_plane`."""
    planes = [_middle_plane(patch, channel) for patch in patches if len(patch.box) >= 2]
    return planes[:: max(1, round(len(planes) / MAX_PLANES))]


def _middle_plane(
    patch: Patch, channel: int
) -> tuple[FloatArray, NDArray[np.bool_], tuple[int, ...]]:
    """Return the middle plane of a patch, its usable pixels, and the place of its first pixel."""
    shape = (-1, *patch.box[-2:])
    u, valid = patch.without_impulses[channel].reshape(shape), patch.valid.reshape(shape)
    middle = len(u) // 2
    return np.where(valid[middle], u[middle], 0.0), valid[middle], patch.first[-2:]


def _coefficients(
    planes: Sequence[tuple[FloatArray, NDArray[np.bool_], tuple[int, ...]]], corner: Sequence[int]
) -> FloatArray:
    """Magnitudes of the cosine transform of the blocks of some planes, shape ``(blocks, 8, 8)``.

    ``corner`` is the position of a block in the image, modulo `BLOCK`.
    """
    from scipy import fft

    parts = [np.zeros((0, BLOCK, BLOCK))]
    for plane, valid, first in planes:
        starts = [(c - f) % BLOCK for c, f in zip(corner, first, strict=True)]
        counts = [(n - s) // BLOCK for n, s in zip(plane.shape, starts, strict=True)]
        if min(counts) < 1:
            continue
        place = tuple(slice(s, s + BLOCK * k) for s, k in zip(starts, counts, strict=True))
        blocks, usable = (
            values[place]
            .reshape(counts[0], BLOCK, counts[1], BLOCK)
            .transpose(0, 2, 1, 3)
            .reshape(-1, BLOCK, BLOCK)
            for values in (plane, valid)
        )
        chosen = blocks[usable.all(axis=(1, 2))]
        parts.append(np.abs(fft.dctn(chosen, axes=(1, 2), norm="ortho")))
    return np.concatenate(parts)
