"""Local noise level: a factor on the noise level that varies slowly with the place.

Surface coils, parallel imaging, depth and vignetting make noise that is stronger in one part of an
image. The level is measured in blocks of some hundred voxels, by the median of the residual in the
flatter half of each. Only calm blocks count fully: where a block has more energy in the coarser
band of frequencies than its own noise explains, its residual contains detail, which can only raise
the level. Such a block counts where it is quieter than its calm neighbours.

The levels of the blocks are averaged to a coarse grid of nodes, and interpolated between them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.correlations import band_variance, residual_variance
from napari_diffusion.estimation.noise.evidence import fine_axes, local_quantities, robust_deviation
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.noise.level_map import LevelMap
from napari_diffusion.estimation.patches import Patch

#: Ratio of the largest and the smallest level of the nodes from which the level is local.
MIN_LEVEL_RATIO = 2.0
#: The same where the loudest blocks have more energy in the coarser band than noise. Fine texture,
#: such as grass, raises their level by 2.4 times (measured on a photograph).
MIN_UNCERTAIN_RATIO = 3.0
#: Share of the blocks that are the loudest, and their largest energy relative to noise.
LOUD_SHARE, MAX_LOUD_ACTIVITY = 0.2, 2.0
#: Largest spread of the levels of half of the blocks over a map of the other half, relative to that
#: without a map. Measured: 0.97 to 1.25 for scatter alone, 0.36 to 0.9 where the level varies.
MAX_UNEXPLAINED = 0.95
#: Largest correlation of neighbours of noise whose level is mapped. The residual of noise shared
#: over 0.9 voxels and more has next to nothing of it, so that edges would raise their blocks.
MAX_CORRELATION = 0.72
#: Edge of a block along a fine axis [voxel], by the number of fine axes.
BLOCK_EDGE = {1: 64, 2: 16, 3: 8}
#: Minimum number of voxels of a block.
MIN_BLOCK_VOXELS = 48
#: Largest energy of a calm block in the coarser band, relative to its own noise. Detail of this
#: energy raises the level by 2 to 5 % where the noise is white (measured on folds). The residual of
#: noise that neighbours share is weaker, and detail raises it more.
MAX_BLOCK_ACTIVITY, MIN_BLOCK_ACTIVITY = 8.0, 2.0
#: Level of a block with detail, relative to its calm neighbours, below which it counts.
QUIETER = 0.8
#: Number of corrections of the smooth map.
CORRECTIONS = 2
#: Maximum number of nodes along an axis.
MAX_NODES = 8
#: Standard deviation of the weights of a node, in distances of nodes, and the wider one that is
#: used where no block is near.
NODE_WIDTHS = (0.5, 1.0, 3.0)
#: Smallest sum of weights of a node.
MIN_WEIGHT = 0.5
#: Share of blocks that have to be calm.
MIN_CALM_SHARE = 0.05


class _Block(NamedTuple):
    """Level of one block: its centre as a share of each axis, and whether it is calm.

    ``energy`` is that in the coarser band, relative to noise of its level.
    """

    centre: tuple[float, ...]
    level: float
    energy: float
    is_calm: bool


def measure_level_map(
    patches: Sequence[Patch], channel: int, noises: Sequence[Noise | None]
) -> LevelMap | None:
    """Measure where the noise of a channel is stronger than elsewhere.

    Parameters
    ----------
    patches
        Patches of the image.
    channel
        Number of the channel.
    noises
        The noise of each patch; None for a patch without any.

    Returns
    -------
    LevelMap or None
        Factors on the deviation that ``noises`` state; None where they vary by less than
        `MIN_LEVEL_RATIO`, where too few blocks are calm, and for noise that is shared widely.
    """
    blocks = [
        block
        for patch, noise in zip(patches, noises, strict=True)
        if noise is not None and noise.sigma > 0 and not _is_wide(noise)
        for block in _blocks(patch, channel, noise)
    ]
    calm = [block for block in blocks if block.is_calm]
    if len(calm) < max(2, MIN_CALM_SHARE * len(blocks)):
        return None
    edges = _block_edges(patches[0])
    shape = tuple(
        min(MAX_NODES, max(1, round(n / edge)))
        for n, edge in zip(patches[0].whole, edges, strict=True)
    )
    level_map = _smooth(calm, shape)
    # Detail raises the level of a block, so that a level below that of the calm blocks holds.
    quieter = [
        block
        for block in blocks
        if not block.is_calm and block.level < QUIETER * _value_at(level_map, block.centre)
    ]
    if quieter:
        level_map = _smooth([*calm, *quieter], shape)
    low, high = np.quantile(level_map.factors, (0.02, 0.98))
    if not _predicts(calm, shape):
        return None
    loud = sorted(calm, key=lambda block: block.level)[-max(1, round(LOUD_SHARE * len(calm))) :]
    is_certain = float(np.median([block.energy for block in loud])) <= MAX_LOUD_ACTIVITY
    least = MIN_LEVEL_RATIO if is_certain else MIN_UNCERTAIN_RATIO
    return level_map if high >= least * low else None


def _is_wide(noise: Noise) -> bool:
    """Whether the noise is shared so widely that its residual does not show its level."""
    return noise.origin == "noise" and noise.correlation > MAX_CORRELATION


def _predicts(blocks: Sequence[_Block], shape: tuple[int, ...]) -> bool:
    """Whether a map of one half of the blocks explains the levels of the other half."""
    halves = blocks[::2], blocks[1::2]
    spreads = [
        [_spread(half, level_map) for half in halves]
        for level_map in (None, *(_smooth(half, shape) for half in halves))
    ]
    (first, second), (_, of_first), (of_second, _) = spreads
    return math.hypot(of_first, of_second) <= MAX_UNEXPLAINED * math.hypot(first, second)


def _spread(blocks: Sequence[_Block], level_map: LevelMap | None) -> float:
    """Standard deviation of the logarithms of the levels of blocks, over those of a map."""
    logs = [
        math.log(block.level / (1.0 if level_map is None else _value_at(level_map, block.centre)))
        for block in blocks
    ]
    return float(np.std(logs)) if logs else math.inf


def _smooth(blocks: Sequence[_Block], shape: tuple[int, ...]) -> LevelMap:
    """Return a smooth map of the levels of blocks.

    Averages flatten a peak of the level. The ratios of the blocks to the map, averaged in the same
    way, correct it.
    """
    squares = _at_nodes(blocks, np.array([block.level**2 for block in blocks]), shape)
    for _ in range(CORRECTIONS):
        smooth = LevelMap(tuple(float(v) for v in np.sqrt(squares).ravel()), shape)
        ratios = np.array([(b.level / _value_at(smooth, b.centre)) ** 2 for b in blocks])
        squares = squares * _at_nodes(blocks, ratios, shape)
    return LevelMap(tuple(float(v) for v in np.sqrt(squares).ravel()), shape)


def level_spread(
    patches: Sequence[Patch],
    channel: int,
    noises: Sequence[Noise | None],
    level_map: LevelMap | None,
) -> float:
    """Standard deviation of the logarithms of block levels over those of the noise and its map.

    Parameters are those of `measure_level_map`; only calm blocks count.
    """
    blocks = (
        block
        for patch, noise in zip(patches, noises, strict=True)
        if noise is not None and noise.sigma > 0
        for block in _blocks(patch, channel, noise)
    )
    return _spread([block for block in blocks if block.is_calm], level_map)


def _value_at(level_map: LevelMap, centre: Sequence[float]) -> float:
    """Return the factor at a place, given as a share of each axis."""
    whole = [1000] * len(centre)
    first = [min(999, int(1000 * share)) for share in centre]
    return float(level_map.on(first, [1] * len(centre), whole).item())


def _at_nodes(blocks: Sequence[_Block], values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Average the ``values`` of blocks around every node."""
    centres = np.array([block.centre for block in blocks])
    result = np.full(shape, np.nan)
    for node in np.ndindex(*shape):
        place = (np.array(node) + 0.5) / shape
        squares = (((centres - place) * shape) ** 2).sum(axis=1)
        for width in NODE_WIDTHS:
            weights = np.exp(-squares / (2 * width**2))
            if weights.sum() >= MIN_WEIGHT:
                break
        total = weights.sum()
        result[node] = (weights @ values) / total if total > 1e-9 else values[squares.argmin()]
    return result


def _block_edges(patch: Patch) -> tuple[int, ...]:
    """Edges of a block along the diffusing axes: one voxel along those that are not fine."""
    fine = fine_axes(patch.box, patch.spacings)
    edge = BLOCK_EDGE.get(len(fine), 8)
    return tuple(edge if axis in fine else 1 for axis in range(len(patch.box)))


def _blocks(patch: Patch, channel: int, noise: Noise) -> Iterator[_Block]:
    """Measure the level in the blocks of a patch."""
    fine = fine_axes(patch.box, patch.spacings)
    if not fine:
        return
    u = np.asarray(patch.without_impulses[channel], float).reshape(patch.box)
    valid = patch.valid.reshape(patch.box)
    local = local_quantities(u, valid, fine)
    deviation = np.sqrt(noise.variance(local.mean))
    usable = local.inside & (deviation > 0)
    deviation = np.where(usable, deviation, 1.0)
    along = noise.correlations if noise.origin == "noise" else ((),) * len(fine)
    along = along if len(along) == len(fine) else ((),) * len(fine)
    own_share = residual_variance(along)
    residual = np.abs(local.residual) / deviation / math.sqrt(own_share)
    limit = max(MIN_BLOCK_ACTIVITY, MAX_BLOCK_ACTIVITY * math.sqrt(own_share))
    energy = local.activity / deviation**2
    expected = band_variance(along)
    edges = _block_edges(patch)
    starts = (
        range(0, max(1, n - edge // 2), edge) for n, edge in zip(patch.box, edges, strict=True)
    )
    for corner in itertools.product(*starts):
        box = tuple(
            slice(a, n if n - a < 1.5 * edge else a + edge)
            for a, edge, n in zip(corner, edges, patch.box, strict=True)
        )
        chosen = usable[box]
        if int(chosen.sum()) < MIN_BLOCK_VOXELS:
            continue
        own_energy, own_residual = energy[box][chosen], residual[box][chosen]
        flat = own_energy <= np.median(own_energy)
        level = robust_deviation(own_residual[flat])
        if level > 0:
            energy_ratio = float(np.median(own_energy[flat])) / (expected * level**2)
            is_calm = energy_ratio <= limit
            if energy_ratio <= 1:  # there is no need to select voxels, which selects weak noise
                level = robust_deviation(own_residual)
            centre = tuple(
                (first + (part.start + part.stop) / 2) / n
                for first, part, n in zip(patch.first, box, patch.whole, strict=True)
            )
            yield _Block(centre, level, energy_ratio, is_calm)
