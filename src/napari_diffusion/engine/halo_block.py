"""A part of an image with its surroundings: what to read of the image, mask and labels, and where the part lies in it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.problem import Problem, make_problem

AxisIndex = int | slice


@dataclass(frozen=True)
class HaloBlock:
    """A box of an image.

    Attributes
    ----------
    job
        The job on the whole image; its mask and labels are stand-ins of the right shape.
    outer
        The box to read, a slice for every axis of the image.
    inner
        The wanted part in that box, an integer or a slice for every axis.
    """

    problem: Problem
    outer: tuple[slice, ...]
    inner: tuple[AxisIndex, ...]

    @classmethod
    def around(cls, problem: Problem, region: Any, halo: Sequence[int]) -> Self:
        """Box around ``region``, by ``halo`` voxels along each diffusing axis and with all channels.

        Raises
        ------
        TypeError, ValueError, IndexError
            When ``region`` is not an integer or a slice for every axis, inside the image.
        """
        if not isinstance(region, Sequence) or len(region) != len(problem.shape):
            raise ValueError(
                f"region must be an integer or a slice for each of the {len(problem.shape)} axes, got {region!r:.80}."
            )
        wide = dict(zip(problem.axes, halo, strict=True))
        wide = (
            wide
            if problem.channel_axis is None
            else wide | {problem.channel_axis: problem.channels}
        )
        pairs = [
            _one(index, n, wide.get(i, 0), i)
            for i, (index, n) in enumerate(zip(region, problem.shape, strict=True))
        ]
        return cls(problem, tuple(outer for outer, _ in pairs), tuple(inner for _, inner in pairs))

    @property
    def cut(self) -> list[int]:
        """Diffusing axes along which a part of the image is left out."""
        return [
            i
            for i in self.problem.axes
            if self.outer[i].stop - self.outer[i].start < self.problem.shape[i]
        ]

    def read(self, image: Any) -> Any:
        """Box of the image, as lazy as the image is."""
        return image[self.outer]

    def problem_of_block(self, image: Any, domain: Domain) -> Problem:
        """Return the problem on the block alone, with its part of mask and labels."""
        cropped = replace(domain, mask=self.crop(domain.mask), labels=self.crop(domain.labels))
        weights = tuple(self.problem.weights)
        return make_problem(
            self.read(image), self.problem.geometry, cropped, channel_weights=weights
        )

    def part_of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the wanted part of values that were computed for the box, without channels."""
        part: NDArray[Any] = values[
            tuple(index for i, index in enumerate(self.inner) if i != self.problem.channel_axis)
        ]
        return part

    def crop(self, regions: Any) -> NDArray[Any] | None:
        """Box of a mask or of labels, which may have frame axes or not."""
        return (
            None
            if regions is None
            else np.asarray(regions[tuple(self.outer[i] for i in self._axes_of(regions))])
        )

    def frames_of(self, regions: Any) -> Any:
        """Mask or labels of the frames in the box, all of their space."""
        return regions[
            tuple(
                slice(None) if i in self.problem.axes else self.outer[i]
                for i in self._axes_of(regions)
            )
        ]

    def close_cut_face(self, regions: NDArray[Any]) -> None:
        """Set the outermost plane on a cut side to 0, so that there is a wall, far from the part."""
        axis = self.cut[0]
        first = self.outer[axis].start > 0
        regions[(slice(None),) * self._axes_of(regions).index(axis) + (0 if first else -1,)] = 0

    def reordered(self, values: Any, order: Sequence[int], back: bool = False) -> Any:
        """View of an image, a mask or labels of the box with its diffusing axes in another order, or back in that of the image."""
        if values is None:
            return None
        axes = (
            tuple(range(values.ndim))
            if values.ndim == len(self.problem.shape)
            else self._axes_of(values)
        )
        moved = dict(zip(self.problem.axes, order, strict=True))
        places = [axes.index(moved.get(i, i)) for i in axes]
        return values.transpose(np.argsort(places) if back else places)

    def index_of(self, index: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
        """Return where in the image a voxel is, of which ``index`` says where in the reordered box."""
        moved = dict(zip(self.problem.axes, order, strict=True))
        there = {moved.get(i, i): number for i, number in enumerate(index)}
        return tuple(self.outer[i].start + there[i] for i in range(len(index)))

    def shape_of(self, regions: Any = None) -> tuple[int, ...]:
        """Shape of the box for a mask that goes with ``regions``; without any, of the diffusing axes."""
        axes = self.problem.axes if regions is None else self._axes_of(regions)
        return tuple(self.outer[i].stop - self.outer[i].start for i in axes)

    def _axes_of(self, regions: Any) -> tuple[int, ...]:
        without_channel = tuple(
            i for i in range(len(self.problem.shape)) if i != self.problem.channel_axis
        )
        return without_channel if regions.ndim == len(without_channel) else self.problem.axes


def unread_problem(
    image: Any,
    geometry: Geometry,
    domain: Domain,
    *,
    preserve_dtype: bool = False,
    channel_weights: Sequence[float] | None = None,
) -> Problem:
    """Check the arguments as `make_problem`, without reading mask and labels.

    Only their shape and dtype are used, because they may be lazy and large.
    """
    shapes = replace(domain, mask=_shape_only(domain.mask), labels=_shape_only(domain.labels))
    return make_problem(
        image, geometry, shapes, preserve_dtype=preserve_dtype, channel_weights=channel_weights
    )


def per_diffusing_axis(problem: Problem, reach: Sequence[int]) -> list[int]:
    """Reach along the axes of `Problem.space` as one along each diffusing axis."""
    moving = iter([r for r, n in zip(reach, problem.space, strict=True) if n > 1])
    return [next(moving) if problem.shape[i] > 1 else 0 for i in problem.axes]


def _shape_only(regions: Any) -> Any:
    if not (hasattr(regions, "shape") and hasattr(regions, "dtype")):
        return regions
    return np.broadcast_to(np.zeros((), regions.dtype), tuple(int(n) for n in regions.shape))


def _one(index: Any, size: int, halo: int, axis: int) -> tuple[slice, AxisIndex]:
    """Slice to read and index in it, along one axis."""
    if isinstance(index, slice):
        wanted = range(*index.indices(size))
        if not wanted:
            return slice(0, 0), slice(None)
        low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1
    else:
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                f"region must hold integers and slices, got {index!r:.60} for axis {axis}."
            ) from None
        if not -size <= number < size:
            raise IndexError(
                f"region: axis {axis} has {size} voxels, so there is no voxel {number}."
            )
        low, high = number % size, number % size + 1
    start = max(low - halo, 0)
    outer = slice(start, min(high + halo, size))
    if not isinstance(index, slice):
        return outer, low - start
    end = wanted[-1] - start + wanted.step
    return outer, slice(wanted[0] - start, None if end < 0 else end, wanted.step)
