"""Predicted memory of the blocks of a run, of its pyramid, and of what is beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.engine.memory import peak_memory
from napari_diffusion.engine.planner import Plan, slab_sizes
from napari_diffusion.engine.problem import Problem
from napari_diffusion.io.zarr_pyramid import COARSEST, MAX_COARSE_SHARD_BYTES

#: Memory of a process besides its blocks [bytes]: libraries, threads, and code that is compiled.
FIXED_MEMORY = 16 << 20
#: Without one heap for all threads, also what the heaps of the threads of zarr keep: a fixed part
#: [bytes], and chunks of the source (measured, docs/develop/decisions.md).
KEPT_MEMORY, KEPT_CHUNKS = 32 << 20, 20
#: Chunks that a reader decodes at the same time, each with its compressed bytes.
DECODED_CHUNKS = 4
#: Copies of a shard while it is written: its chunks, and twice their compressed bytes.
SHARD_COPIES = 3
#: Values of an array from which on it is not made for a plan.
_LARGEST_ARRAY = 1 << 20


@dataclass(frozen=True)
class MemoryModel:
    """Predicts the memory of a run in blocks.

    Attributes
    ----------
    problem, plan
        The run on the whole image, and its plan.
    threads
        Threads of a block.
    source_chunks
        Shape of what a reader decodes at once, per axis of the image.
    processes
        Number of processes in which the workers are.
    one_heap
        Whether the threads of a process share a heap.
    """

    problem: Problem
    plan: Plan
    threads: int
    source_chunks: tuple[int, ...]
    processes: int
    one_heap: bool

    @property
    def fixed(self) -> int:
        """Memory of a run besides its blocks [bytes]."""
        problem = self.problem
        image = math.prod(problem.shape) * problem.input_dtype.itemsize
        kept = 0 if self.one_heap else KEPT_MEMORY + min(KEPT_CHUNKS * self._chunk, image)
        return self.processes * (FIXED_MEMORY + kept)

    @property
    def _chunk(self) -> int:
        return math.prod(self.source_chunks) * self.problem.input_dtype.itemsize

    def block(
        self,
        block: Sequence[int],
        halo: Sequence[int],
        shard: Sequence[int],
        kept: int,
    ) -> int:
        """Return the predicted peak of a block [bytes].

        Parameters
        ----------
        block, halo, shard
            Shape of the block, its halo, and shape of a shard of the result, per axis of the grid.
        kept
            Largest number of bytes per voxel that are kept between two passes.
        """
        problem, itemsize = self.problem, self.problem.working.itemsize
        outer = outer_shape(block, halo, problem.space)
        part = problem_of_shape(problem, outer)
        peak: int = plan_on_block(self.plan, part, self.threads).memory
        voxels, inner_voxels = math.prod(outer), math.prod(block)
        field, inner = (n * problem.channels * itemsize for n in (voxels, inner_voxels))
        keeping = kept * voxels + max(field, kept and inner)
        # Work fields are released before the result is cut out, and the halo before it is written.
        cutting = field + inner * (outer != tuple(block))
        writing = inner * (1 + problem.recipe.has_transform)
        if problem.dtype != problem.working:
            writing += inner_voxels * problem.channels * problem.dtype.itemsize
        writing += SHARD_COPIES * math.prod(shard) * problem.dtype.itemsize
        read = voxels * problem.channels * problem.input_dtype.itemsize
        reading = read + DECODED_CHUNKS * min(self._chunk, read)
        return max(peak, keeping, cutting, writing, reading)

    def level(self, chunks: Sequence[int]) -> int:
        """Return the predicted peak of a part of the pyramid [bytes]; 0 without one.

        ``chunks`` is the shape of the chunks of the result, per axis of the grid. A part is a
        shard, made from slabs of the level before it, which hold four times its values.
        """
        problem = self.problem
        if max(problem.space) <= COARSEST:
            return 0
        chunk = math.prod(chunks) * problem.dtype.itemsize
        result = math.prod(problem.shape) * problem.dtype.itemsize
        shard = min(max(chunk, MAX_COARSE_SHARD_BYTES), result // 2)
        wider = problem.working.itemsize // problem.dtype.itemsize
        slab = 4 + 2 * wider + 4 * wider * (problem.dtype != problem.working)
        return (slab + 1) * shard + DECODED_CHUNKS * min(chunk, result)


def outer_shape(block: Sequence[int], halo: Sequence[int], space: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the largest block of a run with its halo, per axis of the grid."""
    return tuple(_longest(size, h, n) for size, h, n in zip(block, halo, space, strict=True))


def _longest(size: int, halo: int, n: int) -> int:
    """Return the largest extent of a block with its halo, which ends at the border."""
    sides = min(2, -(-n // size) - 1)
    return min(size + sides * halo, n)


def plan_on_block(plan: Plan, problem: Problem, threads: int) -> Plan:
    """Return the plan of an image for a block of it: the same stages, with slabs of its size.

    Parameters
    ----------
    plan
        The plan of the whole image.
    problem
        The problem on the block.
    threads
        Number of threads that compute the block.
    """
    height, chunk = slab_sizes(problem, plan.operator, plan.kernels, threads, 1)
    model = plan.operator, max(plan.feature_reach)
    sizes = height, chunk, 1
    return replace(
        plan,
        memory=peak_memory(
            problem, model, plan.scheme, plan.stages, plan.kernels, sizes, threads, is_block=True
        ),
        threads=threads,
        height=height,
        chunk=chunk,
        frames=1,
        stack=1,
    )


def problem_of_shape(problem: Problem, outer: Sequence[int], regions: Any = None) -> Problem:
    """Return the problem on a block of one frame, whose values are not read.

    Parameters
    ----------
    problem
        The problem on the whole image.
    outer
        Shape of the block, per axis of the grid.
    regions
        Regions of the block; by default placeholders, if the whole image has any.
    """
    shape = [1] * len(problem.shape)
    for axis, place in zip(problem.axes, problem.places_in_space, strict=True):
        shape[axis] = 1 if place is None else outer[place]
    if problem.channel_axis is not None:
        shape[problem.channel_axis] = problem.channels
    if regions is None and problem.regions is not None:
        space = tuple(shape[i] for i in problem.axes)
        regions = np.broadcast_to(np.zeros((), problem.regions.dtype), space)
    image = _unread(shape, problem.input_dtype)
    domain = problem.domain
    if domain.guide is not None:
        domain = replace(domain, guide=_unread(_guide_shape(problem, shape), domain.guide.dtype))
    return replace(problem, image=image, shape=tuple(shape), regions=regions, domain=domain)


def _unread(shape: Sequence[int], dtype: Any) -> Array:
    """Return an array for a plan, which says that it is in memory. A large one is not there.

    Of a block for another machine, this one may not have the memory.
    """
    if math.prod(shape) < _LARGEST_ARRAY:
        return np.zeros(tuple(shape), dtype)
    itemsize = np.dtype(dtype).itemsize
    strides = [itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return np.lib.stride_tricks.as_strided(np.zeros(1, dtype), tuple(shape), strides)


def _guide_shape(problem: Problem, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the guide of a block with this shape."""
    ndim = len(problem.domain.guide.shape)
    if ndim == len(shape):
        return tuple(shape)
    without_channel = [i for i in range(len(shape)) if i != problem.channel_axis]
    axes = without_channel if ndim == len(without_channel) else problem.axes
    return tuple(shape[i] for i in axes)
