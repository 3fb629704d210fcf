"""Gradient magnitudes of an image, measured as the models measure them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.cancellation import CancelEvent, Cancelled
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.diagnostics.feature_maps import frame_features, shape_without_channels
from napari_diffusion.engine.halo_block import (
    AxisIndex,
    HaloBlock,
    per_diffusing_axis,
    unread_problem,
)
from napari_diffusion.engine.problem import Problem
from napari_diffusion.operators.smoothing import smoothing_reach

#: Planes of a large frame that gradients are sampled from, and voxels along each side of a plane.
SAMPLED_PLANES, SAMPLED_SIDE = 7, 512


@dataclass(frozen=True)
class Gradients:
    """Gradient magnitudes of an image.

    Attributes
    ----------
    magnitudes
        Those of the sampled voxels, ascending [intensity/length].
    """

    magnitudes: NDArray[np.float64]

    def above(self, threshold: float) -> float:
        """Share of voxels that are steeper than ``threshold`` [intensity/length]; 0 without voxels."""
        count = self.magnitudes.size
        return (
            (count - int(np.searchsorted(self.magnitudes, threshold, side="right"))) / count
            if count
            else 0.0
        )

    def histogram(self, bins: int = 100) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Counts and bin edges [intensity/length], the bins growing by a constant factor.

        Voxels without any gradient belong to no bin. The bins end four decades below the steepest voxel; what is flatter counts in the
        first. Both are empty for a flat image.
        """
        steep = self.magnitudes[self.magnitudes > 0]
        if not steep.size:
            return np.zeros(0, np.intp), np.zeros(0)
        high = float(steep[-1])
        low = max(float(steep[0]), 1e-4 * high)
        edges = np.geomspace(low, high * 1.001 if high > low else low * 2, bins + 1)
        counts, _ = np.histogram(np.maximum(steep, low), edges)
        return counts, edges


def sample_gradients(
    image: Any,
    geometry: Geometry,
    domain: Domain,
    sigma: float = 0.0,
    frame: Sequence[int] | None = None,
    cancel: CancelEvent | None = None,
) -> Gradients:
    """Gradient magnitudes in some planes of a frame, as `napari_diffusion.gradients`."""
    domain = replace(domain, nan="mask")
    problem = unread_problem(image, geometry, domain)
    image = image if hasattr(image, "shape") else np.asarray(image)
    middle = [problem.shape[i] // 2 for i in problem.frame_axes]
    reach = [1 + r for r in smoothing_reach(sigma, problem.grid())]
    halo = per_diffusing_axis(problem, reach)
    magnitudes = [np.zeros(0)]
    for region in _planes(problem, middle if frame is None else list(frame)):
        if cancel is not None and cancel.is_set():
            raise Cancelled("The measurement of gradients was cancelled.")
        block = HaloBlock.around(problem, region, halo)
        box = block.problem_of_block(image, domain)
        shape = shape_without_channels(box)
        steepness, valid = np.zeros(shape), np.zeros(shape, bool)
        for index, features, own_valid in frame_features(box):
            steepness[index] = np.sqrt(features.grad2(sigma)).reshape(steepness[index].shape)
            valid[index] = own_valid.reshape(steepness[index].shape)
        magnitudes.append(block.part_of(steepness)[block.part_of(valid)])
    ascending = np.sort(np.concatenate(magnitudes))
    if not np.isfinite(ascending[-1:]).all():  # NaN is sorted last
        raise ValueError(
            "The image has values whose squares overflow, and no gradients for that; rescale it."
        )
    return Gradients(ascending)


def _planes(problem: Problem, frame: Sequence[int]) -> Iterator[list[AxisIndex]]:
    """Regions of some planes: evenly spread along the first axis that diffuses, the middle of each."""
    if 0 in problem.shape:
        return
    others = iter(frame)
    region: list[AxisIndex] = [
        slice(None) if i in problem.axes or i == problem.channel_axis else next(others)
        for i in range(len(problem.shape))
    ]
    flat = problem.axes[-2:]
    for axis in flat:
        first = max(0, (problem.shape[axis] - SAMPLED_SIDE) // 2)
        region[axis] = slice(first, first + SAMPLED_SIDE)
    through = [i for i in problem.axes if i not in flat]
    for axis in through[1:]:
        region[axis] = problem.shape[axis] // 2
    if not through:
        yield region
        return
    planes = problem.shape[through[0]]
    count = min(SAMPLED_PLANES, planes)
    for k in range(count):
        region[through[0]] = (2 * k + 1) * planes // (2 * count)
        yield list(region)
