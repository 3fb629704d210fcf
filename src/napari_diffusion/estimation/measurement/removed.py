r"""What a run has removed: its level beside the noise, and whether structure is seen in it.

The removed part is :math:`r = u - v` for an image u and its result v. An edge or a line that was
smoothed leaves a band in r, which continues along the edge. What a filter removes of noise has no
memory over some voxels, because a filter keeps what varies slowly. The **test** compares each
voxel with those at distances of four to eight voxels in a direction d, in blocks B of some hundred
voxels:

.. math:: z(B, d) = \frac{\sum_{x \in B} r_x\,s_x}{\sqrt{V \sum_{x \in B} r_x^2\,s_x^2}}, \qquad
          s_x = \sum_{k=4}^{8} r_{x+kd}, \qquad
          V = \prod_a \Bigl(1 + 2 \sum_{k=1}^{3} \rho_{a,k}^2\Bigr).

For r without memory over four voxels, z has the mean 0, because the signs of the products are
random. Its variance is 1, whatever the level of the noise is at each place. V allows for the
correlations :math:`\rho` of close neighbours along each axis a, which every filter makes. Twelve
directions in each plane of two fine axes are tried. Structure is seen where more blocks exceed
`MIN_SCORE` than chance allows. Stripes and folds of a reconstruction count as structure, too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.estimation.measurement.noise import combined_noise, measure_noise
from napari_diffusion.estimation.noise.evidence import fine_axes
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.patches import PATCH_VOXELS, paired_patches, sample_patches
from napari_diffusion.models import Linear

#: Maximum number of voxels (times channels) in which the removed part is read.
MAX_VOXELS = 1_000_000
#: Directions in a plane of two fine axes.
DIRECTIONS = tuple((math.cos(k * math.pi / 12), math.sin(k * math.pi / 12)) for k in range(12))
#: Distances from a voxel to those that it is compared with [voxel].
DISTANCES = (4, 5, 6, 7, 8)
#: Numbers of voxels along a fine axis that are averaged first: what is left of noise has little
#: energy in coarse frequencies, and wide bands have much.
BINNING = (1, 2)
#: Edge of a block along a fine axis [averaged voxel], by the number of fine axes.
BLOCK_EDGE = {2: 16, 3: 8}
#: Minimum number of voxels of a block that are compared.
MIN_BLOCK_VOXELS = 100
#: Longest distance of neighbours whose correlation is measured [voxel].
MAX_LAG = 3
#: Score of a block from which on it may contain structure, and from which on it certainly does.
MIN_SCORE, CERTAIN_SCORE = 3.5, 7.0
#: Probability of chance below which structure is seen.
MAX_CHANCE = 0.002
#: Number of blocks from which on the test means anything.
MIN_BLOCKS = 4


@dataclass(frozen=True)
class Removed:
    """What a run has removed.

    Attributes
    ----------
    level
        Standard deviation of the removed part in the voxels that carry noise [intensity].
    noise
        Standard deviation of the noise [intensity]; NaN where the image shows none.
    noise_error
        Its standard error [intensity].
    structure_share
        Share of the blocks that contain structure, beyond chance: 0 where no structure is seen. NaN
        where it cannot be tested, as along a single axis.
    """

    level: float
    noise: float
    noise_error: float
    structure_share: float

    @property
    def has_structure(self) -> bool | None:
        """Whether structure is seen; None where it cannot be tested."""
        return None if math.isnan(self.structure_share) else self.structure_share > 0


def measure_removed(
    problem: Problem,
    result: Any,
    cancel: CancelEvent | None = None,
    noise: Noise | None = None,
) -> Removed:
    """Measure what a run has removed, in bounded time and memory.

    Parameters
    ----------
    problem
        The run, with its image.
    result
        The result, of the shape of the image.
    cancel
        The measurement ends with `Cancelled` when this event is set.
    noise
        Noise of the image; None to measure it, which takes more than half of the time.
    """
    fields = RecipeFields(Linear(), 0.0, nan="mask", impulses=problem.recipe.impulses)
    before = replace(problem, recipe=fields)
    after = make_problem(result, replace(fields, impulses="keep"), problem.geometry, Domain())
    noise = noise or _noise_of(before, cancel)
    voxels, squares = 0, 0.0
    parts: list[tuple[FloatArray, NDArray[np.bool_], tuple[int, ...]]] = []
    count = max(1, MAX_VOXELS // PATCH_VOXELS)
    for image, other in paired_patches(before, after, count, cancel):
        difference = np.asarray(image.field, np.float32) - np.asarray(other.field, np.float32)
        usable = image.valid & np.isfinite(difference).all(axis=0)
        squares += float(np.square(difference[:, usable], dtype=np.float64).sum())
        voxels += int(usable.sum()) * len(difference)
        axes = fine_axes(usable.shape, image.spacing)
        parts += [(np.where(usable, channel, 0), usable, axes) for channel in difference]
    return Removed(
        level=math.sqrt(squares / voxels) if voxels else 0.0,
        noise=math.nan if noise is None else noise.sigma,
        noise_error=math.nan if noise is None else noise.error,
        structure_share=structure_share(parts),
    )


def _noise_of(problem: Problem, cancel: CancelEvent | None) -> Noise | None:
    """Noise of the image; None where it shows none."""
    try:
        noises = measure_noise(sample_patches([problem], cancel), None, Linear(), cancel)
    except ValueError:
        return None
    return combined_noise([noise for channels in noises.values() for noise in channels])


def structure_share(
    parts: Sequence[tuple[FloatArray, NDArray[np.bool_], tuple[int, ...]]],
) -> float:
    """Share of the blocks that contain structure; see the head of this module.

    Parameters
    ----------
    parts
        Boxes of the removed part: values, usable voxels, and the fine axes.

    Returns
    -------
    float
        0 where no structure is seen, NaN where there are too few blocks to test.
    """
    tests = [_test(parts, factor) for factor in BINNING]
    shares = [share for share in tests if not math.isnan(share)]
    return max(shares) if shares else math.nan


def _test(
    parts: Sequence[tuple[FloatArray, NDArray[np.bool_], tuple[int, ...]]], factor: int
) -> float:
    """Share of the blocks that contain structure, of values averaged over ``factor`` voxels."""
    scores, directions = [], 1
    for values, usable, axes in parts:
        if len(axes) < 2:
            continue
        lines = _lines(axes, values.ndim)
        directions = max(directions, len(lines))
        sizes = [factor if axis in axes else 1 for axis in range(values.ndim)]
        averaged = _block_sums(np.asarray(values, np.float32), sizes)
        complete = _block_sums(usable.astype(np.float32), sizes) == math.prod(sizes)
        scores.append(_scores(averaged, complete, axes, lines))
    joined = np.concatenate(scores) if scores else np.zeros(0)
    if len(joined) < MIN_BLOCKS:
        return math.nan
    by_chance = directions * 0.5 * math.erfc(MIN_SCORE / math.sqrt(2)) * len(joined)
    exceeding = int((joined > MIN_SCORE).sum())
    is_seen = _poisson_tail(exceeding, by_chance) < MAX_CHANCE or joined.max() > CERTAIN_SCORE
    return max(exceeding - by_chance, 1.0) / len(joined) if is_seen else 0.0


def _lines(axes: Sequence[int], ndim: int) -> list[tuple[tuple[int, ...], ...]]:
    """Steps to the voxels of each line, in every plane of two fine axes; each line once."""
    lines = {
        tuple(
            tuple(
                round(distance * direction[pair.index(axis)]) if axis in pair else 0
                for axis in range(ndim)
            )
            for distance in DISTANCES
        )
        for pair in itertools.combinations(axes, 2)
        for direction in DIRECTIONS
    }
    return sorted(lines)


def _scores(
    values: FloatArray,
    usable: NDArray[np.bool_],
    axes: Sequence[int],
    lines: Sequence[tuple[tuple[int, ...], ...]],
) -> FloatArray:
    """Largest score of every block of a box over all lines."""
    edge = BLOCK_EDGE[len(axes)]
    edges = [min(n, edge if axis in axes else 1) for axis, n in enumerate(values.shape)]
    counts = _block_sums(usable.astype(np.float32), edges)
    means = _block_sums(values, edges) / np.maximum(counts, 1)
    values = np.where(usable, values - _spread(means, edges, values.shape), 0)
    variance = math.prod(_inflation(values, axis) for axis in axes)
    best = np.full(counts.shape, -np.inf, np.float32)
    for line in lines:
        along = np.zeros_like(values)
        for step in line:
            near, far = _shifted(step)
            along[near] += values[far]
        product = values * along
        pairs = _block_sums((product != 0).astype(np.float32), edges)
        squares = _block_sums(product * product, edges)
        enough = (pairs >= MIN_BLOCK_VOXELS) & (squares > 0)
        score = _block_sums(product, edges) / np.sqrt(np.where(enough, variance * squares, 1))
        best = np.where(enough, np.maximum(best, score), best)
    return np.asarray(best[np.isfinite(best)], float)


def _inflation(values: FloatArray, axis: int) -> float:
    """Factor on the variance of a sum of products, from the correlations along one axis."""
    moved = np.moveaxis(values, axis, 0)
    own = float(np.vdot(values, values))
    if not own > 0:
        return 1.0
    lags = range(1, min(MAX_LAG, len(moved) - 1) + 1)
    return 1 + 2 * sum((float(np.vdot(moved[k:], moved[:-k])) / own) ** 2 for k in lags)


def _shifted(step: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the voxels of a box that have another one at a step, and these others."""
    near = tuple(slice(max(-k, 0), -k if k > 0 else None) for k in step)
    far = tuple(slice(max(k, 0), k if k < 0 else None) for k in step)
    return near, far


def _block_sums(values: FloatArray, edges: Sequence[int]) -> FloatArray:
    """Sums over the whole blocks of a box; a rest at the end of an axis belongs to no block."""
    numbers = [n // edge for n, edge in zip(values.shape, edges, strict=True)]
    cut = values[tuple(slice(0, k * edge) for k, edge in zip(numbers, edges, strict=True))]
    shape = [size for pair in zip(numbers, edges, strict=True) for size in pair]
    return np.asarray(cut.reshape(shape).sum(axis=tuple(range(1, len(shape), 2))))


def _spread(blocks: FloatArray, edges: Sequence[int], shape: Sequence[int]) -> FloatArray:
    """Return values of blocks at every voxel; those of the last block hold beyond it."""
    for axis, (edge, n) in enumerate(zip(edges, shape, strict=True)):
        number = np.minimum(np.arange(n) // edge, blocks.shape[axis] - 1)
        blocks = np.take(blocks, number, axis)
    return blocks


def _poisson_tail(count: int, mean: float) -> float:
    """Probability of at least ``count`` events where ``mean`` are expected."""
    term, below = math.exp(-mean), 0.0
    for k in range(count):
        below += term
        term *= mean / (k + 1)
    return max(1 - below, 0.0)
