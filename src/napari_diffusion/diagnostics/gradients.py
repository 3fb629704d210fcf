"""Gradient magnitudes of an image, by the stencil of the models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import index as whole
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.cancellation import CancelEvent, Cancelled
from napari_diffusion.core.errors import shown
from napari_diffusion.core.parameters import as_number
from napari_diffusion.diagnostics.feature_maps import frame_features, shape_without_channels
from napari_diffusion.engine.halo_block import AxisIndex, HaloBlock
from napari_diffusion.engine.problem import Problem
from napari_diffusion.operators.features import gradient_unit
from napari_diffusion.operators.smoothing import smoothing_reach

#: Number of planes of a frame from which gradients are sampled, and sides of these planes [voxel].
SAMPLED_PLANES, SAMPLED_SIDE = 7, 512


@dataclass(frozen=True)
class Gradients:
    """Sample of the gradient magnitudes of an image.

    Attributes
    ----------
    magnitudes
        Gradient magnitudes at the sampled voxels, ascending [intensity/length].
    """

    magnitudes: NDArray[np.float64]

    def above(self, threshold: float) -> float:
        """Return the share of voxels above ``threshold`` [intensity/length]; 0 without voxels."""
        count = self.magnitudes.size
        if not count:
            return 0.0
        return (count - int(np.searchsorted(self.magnitudes, threshold, side="right"))) / count

    def histogram(self, bins: int = 100) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return counts and bin edges [intensity/length] of a histogram with logarithmic bins.

        Voxels without a gradient are not counted. The bins cover at most the four decades below
        the largest gradient; smaller gradients count in the first bin. Counts and edges are empty
        for a flat image.
        """
        positive = self.magnitudes[self.magnitudes > 0]
        if not positive.size:
            return np.zeros(0, np.intp), np.zeros(0)
        high = float(positive[-1])
        low = max(float(positive[0]), 1e-4 * high)
        edges = np.geomspace(low, high * 1.001 if high > low else low * 2, bins + 1)
        counts, _ = np.histogram(np.maximum(positive, low), edges)
        return counts, edges


def sample_gradients(
    problem: Problem,
    sigma: float = 0.0,
    frame: Sequence[int] | None = None,
    cancel: CancelEvent | None = None,
) -> Gradients:
    """Sample the gradient magnitudes of a frame, as `napari_diffusion.gradients`.

    The problem is one of `unread_problem`. If its model has maps of thresholds, gradients are
    divided by their factors, so that one threshold holds for all of them.
    """
    maps = problem.recipe.model.maps.values()
    sigma, place = _width(sigma), _frame_index(problem, frame)
    own, before = smoothing_reach(sigma, problem.grid()), problem.read_reach
    halo = problem.per_diffusing_axis([1 + a + b for a, b in zip(own, before, strict=True)])
    magnitudes = [np.zeros(0)]
    for region in _planes(problem, place):
        if cancel is not None and cancel.is_set():
            raise Cancelled("The measurement of gradients was cancelled.")
        block = HaloBlock.around(problem, region, halo)
        on_block = block.problem_of_block()
        shape = shape_without_channels(on_block)
        gradient, valid = np.zeros(shape), np.zeros(shape, bool)
        for index, features, own_valid in frame_features(on_block, cancel=cancel):
            largest = float(np.abs(features.u).max(initial=0)) / features.grid.finest
            unit = gradient_unit(largest or 1.0)
            squares = features.grad2(sigma, unit)
            for threshold_map in maps:
                features.relative(squares, threshold_map)
            magnitude = np.sqrt(squares) * unit
            gradient[index] = magnitude.reshape(gradient[index].shape)
            valid[index] = own_valid.reshape(gradient[index].shape)
        magnitudes.append(block.part_of(gradient)[block.part_of(valid)])
    ascending = np.sort(np.concatenate(magnitudes))
    if not np.isfinite(ascending[-1:]).all():  # NaN is sorted last
        raise ValueError(
            "The image has values whose squares overflow, and no gradients for that; rescale it."
        )
    return Gradients(ascending)


def _width(sigma: Any) -> float:
    """Return a sigma [length], or raise ValueError."""
    number = as_number(sigma)
    if number is None or not 0 <= number < math.inf:
        raise ValueError(f"sigma must be a number >= 0 and finite [length], got {shown(sigma)}.")
    return number


def _frame_index(problem: Problem, frame: Any) -> list[int]:
    """Return the index along the frame axes, by default that of the middle."""
    sizes = [problem.shape[i] for i in problem.frame_axes]
    if frame is None:
        return [n // 2 for n in sizes]
    try:
        numbers = [whole(i) for i in frame]
    except TypeError:
        numbers = []
    if len(numbers) != len(sizes) or not hasattr(frame, "__iter__"):
        raise ValueError(
            f"frame must hold {len(sizes)} whole numbers, one for each axis that does not diffuse; "
            f"got {shown(frame)}."
        )
    return numbers


def _planes(problem: Problem, frame: Sequence[int]) -> Iterator[list[AxisIndex]]:
    """Yield regions of planes across the first diffusing axis, evenly spread over it.

    A plane spans the last two diffusing axes; of large planes, only the middle is taken.
    """
    if 0 in problem.shape:
        return
    frame_indices = iter(frame)
    region: list[AxisIndex] = [
        slice(None) if i in problem.axes or i == problem.channel_axis else next(frame_indices)
        for i in range(len(problem.shape))
    ]
    in_plane = problem.axes[-2:]
    for axis in in_plane:
        first = max(0, (problem.shape[axis] - SAMPLED_SIDE) // 2)
        region[axis] = slice(first, first + SAMPLED_SIDE)
    across = [i for i in problem.axes if i not in in_plane]
    for axis in across[1:]:
        region[axis] = problem.shape[axis] // 2
    if not across:
        yield region
        return
    planes = problem.shape[across[0]]
    count = min(SAMPLED_PLANES, planes)
    for k in range(count):
        region[across[0]] = (2 * k + 1) * planes // (2 * count)
        yield list(region)
