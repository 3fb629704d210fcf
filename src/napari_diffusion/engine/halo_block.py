"""A part of an image with a halo: the block to read, and the index of the part in it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.errors import shown
from napari_diffusion.core.geometry import Domain
from napari_diffusion.core.grid import Place
from napari_diffusion.engine.problem import Problem, make_problem

#: Index along one axis of a region.
AxisIndex = int | slice


@dataclass(frozen=True)
class HaloBlock:
    """A part of an image with its halo.

    Attributes
    ----------
    problem
        The problem on the whole image; its mask and labels may be placeholders of the right shape.
    outer
        The block to read, a slice for every axis of the image.
    inner
        The part in that block, an integer or a slice for every axis.
    """

    problem: Problem
    outer: tuple[slice, ...]
    inner: tuple[AxisIndex, ...]

    @classmethod
    def around(cls, problem: Problem, region: Any, halo: Sequence[int]) -> Self:
        """Return the block of ``region`` with ``halo`` voxels along each diffusing axis.

        It holds all channels.

        Raises
        ------
        TypeError, ValueError, IndexError
            When ``region`` is not an integer or a slice for every axis, inside the image.
        """
        if not isinstance(region, Sequence) or len(region) != len(problem.shape):
            raise ValueError(
                f"region must be an integer or a slice for each of the {len(problem.shape)} axes, "
                f"got {shown(region)}."
            )
        widths = dict(zip(problem.axes, halo, strict=True))
        if problem.channel_axis is not None:
            widths[problem.channel_axis] = problem.channels
        pairs = [
            _outer_and_inner(index, n, widths.get(i, 0), i)
            for i, (index, n) in enumerate(zip(region, problem.shape, strict=True))
        ]
        return cls(problem, tuple(outer for outer, _ in pairs), tuple(inner for _, inner in pairs))

    @property
    def cut(self) -> list[int]:
        """Diffusing axes along which the block is shorter than the image."""
        outer, shape = self.outer, self.problem.shape
        return [i for i in self.problem.axes if outer[i].stop - outer[i].start < shape[i]]

    def read(self, image: Any) -> Any:
        """Return the block of the image; it is lazy if the image is."""
        return image[self.outer]

    def problem_of_block(self) -> Problem:
        """Return the problem on the block alone, with the block of mask and labels."""
        problem, domain = self.problem, self.problem.domain
        parts = self.crop(domain.mask), self.crop(domain.labels), self.place()
        cropped = Domain(*parts, self.crop_guide())
        return make_problem(self.read(problem.image), problem.recipe, problem.geometry, cropped)

    def place(self, order: Sequence[int] | None = None) -> Place:
        """Return where the block lies in the image, with the diffusing axes in the given order.

        ``order`` names the axes of the image, as in `reordered`.
        """
        axes = self.problem.axes
        place = self.problem.place.moved([self.outer[i].start for i in axes])
        return place if order is None else place.renumbered([order.index(i) for i in axes])

    def part_of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the part of ``values``, which cover the block without its channel axis."""
        channel = self.problem.channel_axis
        part: NDArray[Any] = values[tuple(p for i, p in enumerate(self.inner) if i != channel)]
        return part

    def crop(self, regions: Any) -> NDArray[Any] | None:
        """Return the block of a mask or of labels, with or without frame axes."""
        if regions is None:
            return None
        return np.asarray(regions[tuple(self.outer[i] for i in self._axes_of(regions))])

    def crop_for_image(self, regions: Any) -> NDArray[Any]:
        """Return the block of a mask, with axes of length 1 where the image alone has an axis."""
        own = self._axes_of(regions)
        missing = [i for i in range(len(self.problem.shape)) if i not in own]
        return np.expand_dims(np.asarray(self.crop(regions)), missing)

    def crop_guide(self) -> Any:
        """Return the block of the guide; ``None`` without a guide."""
        guide = self.problem.domain.guide
        if guide is None or len(guide.shape) < len(self.problem.shape):
            return self.crop(guide)
        return np.asarray(guide[self.outer])

    def frames_of(self, regions: Any) -> Any:
        """Return the mask or labels of the frames in the block, uncropped along diffusing axes."""
        axes = self._axes_of(regions)
        index = [slice(None) if i in self.problem.axes else self.outer[i] for i in axes]
        return regions[tuple(index)]

    def close_cut_face(self, regions: NDArray[Any]) -> None:
        """Set the outermost plane of ``regions`` on a cut side to 0.

        The result on the part is unchanged. The block then has walls, as the whole image has, and
        the same kernels run on it.
        """
        axis = self.cut[0]
        plane = 0 if self.outer[axis].start > 0 else -1
        regions[(slice(None),) * self._axes_of(regions).index(axis) + (plane,)] = 0

    def reordered(self, values: Any, order: Sequence[int], back: bool = False) -> Any:
        """Return a view with the diffusing axes in the given order; ``back`` reverts it.

        ``values`` is an image, a mask or labels of the block. ``order`` names the axes of the image
        that take the places of `Problem.axes`.
        """
        if values is None:
            return None
        has_all_axes = values.ndim == len(self.problem.shape)
        axes = tuple(range(values.ndim)) if has_all_axes else self._axes_of(values)
        moved = dict(zip(self.problem.axes, order, strict=True))
        permutation = [axes.index(moved.get(i, i)) for i in axes]
        return values.transpose(np.argsort(permutation) if back else permutation)

    def index_of(self, index: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
        """Convert the index of a voxel in the reordered block to its index in the image."""
        moved = dict(zip(self.problem.axes, order, strict=True))
        in_block = {moved.get(i, i): number for i, number in enumerate(index)}
        return tuple(self.outer[i].start + in_block[i] for i in range(len(index)))

    def shape_of(self, regions: Any = None) -> tuple[int, ...]:
        """Shape of the block along the axes of ``regions``; without any, the diffusing axes."""
        axes = self.problem.axes if regions is None else self._axes_of(regions)
        return tuple(self.outer[i].stop - self.outer[i].start for i in axes)

    def _axes_of(self, regions: Any) -> tuple[int, ...]:
        """Return the axes that a mask or labels cover, with or without the frame axes."""
        channel = self.problem.channel_axis
        without_channel = tuple(i for i in range(len(self.problem.shape)) if i != channel)
        return without_channel if len(regions.shape) == len(without_channel) else self.problem.axes


def _outer_and_inner(index: Any, size: int, halo: int, axis: int) -> tuple[slice, AxisIndex]:
    """Return the slice to read along one axis, and the index of the part in it."""
    if isinstance(index, slice):
        part = range(*index.indices(size))
        if not part:
            return slice(0, 0), slice(None)
        low, high = min(part[0], part[-1]), max(part[0], part[-1]) + 1
    else:
        try:
            if isinstance(index, bool | np.bool_):
                raise TypeError
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                f"region must hold integers and slices, got {shown(index)} for axis {axis}."
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
    stop = part[-1] - start + part.step
    return outer, slice(part[0] - start, None if stop < 0 else stop, part.step)
