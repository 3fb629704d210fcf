"""Options of a run in blocks, what its plan may use, and its kernels."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_diffusion.core.resources import cpu_count, free_memory
from napari_diffusion.engine.devices.verdicts import MEMORY_SHARE
from napari_diffusion.engine.frame import read_frame
from napari_diffusion.engine.out_of_core.block_memory import plan_on_block, problem_of_shape
from napari_diffusion.engine.out_of_core.block_plan import BlockPlan, Resources
from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.problem import Problem
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.engine.solver import Solver
from napari_diffusion.workflows.file_run import FileOptions
from napari_diffusion.workflows.pace import CAUTIOUS_PACES, kind_of
from napari_diffusion.workflows.store.executors import workers_of
from napari_diffusion.workflows.store.heaps import has_one_heap
from napari_diffusion.workflows.store.tasks import Job

#: Share of the free memory that a run in blocks takes without a budget.
FREE_SHARE = 0.5


@dataclass(frozen=True)
class StoreOptions:
    """How a run in blocks is done. None of this changes a bit of its result.

    Attributes
    ----------
    memory
        Budget of all workers together, above the imported program [bytes]; ``None`` for half of
        the free memory.
    executor
        ``"threads"``, ``"processes"``, or any executor; ``None`` for threads.
    workers
        Number of blocks at the same time; by default that of the executor, or all processors.
    resume
        Whether an unfinished run with the same settings is continued.
    part
        Number of this job and of all jobs that share a run, counted from 1; ``None`` for one job.
    block, stages_per_pass
        Shape of a block per axis of the grid, and most stages of a pass, where they are not chosen.
    """

    memory: int | None = None
    executor: Executor | str | None = None
    workers: int | None = None
    resume: bool = True
    part: tuple[int, int] | None = None
    block: tuple[int, ...] | None = None
    stages_per_pass: int | None = None

    @property
    def budget(self) -> int:
        """Memory budget [bytes]."""
        return int(free_memory().size * FREE_SHARE) if self.memory is None else self.memory

    @property
    def worker_count(self) -> int:
        """Largest number of blocks at the same time."""
        if self.workers is not None:
            return max(1, self.workers)
        return workers_of(self.executor) or cpu_count()


def resources_of(
    problem: Problem, plan: Plan, options: FileOptions, store_options: StoreOptions
) -> Resources:
    """Return budget, workers and paces of a run."""
    workers, kind = store_options.worker_count, store_options.executor
    is_local = kind in (None, "threads")
    asked = options.execution.threads
    if is_local and asked is not None:
        workers = min(workers, asked)
    device_memory = math.inf
    if plan.device is not None:  # threads take turns, and processes do not know of one another
        at_once = 1 if is_local else max(1, workers)
        device_memory = MEMORY_SHARE * plan.device.memory / at_once
    return Resources(
        memory=store_options.budget,
        workers=workers,
        threads=workers if is_local else asked or 1,
        source_chunks=chunks_of(problem.image, problem.shape),
        pace=CAUTIOUS_PACES[kind_of(plan)] / 3,
        processes=1 if is_local or isinstance(kind, ThreadPoolExecutor) else workers,
        one_heap=kind == "processes" or (is_local and has_one_heap()),
        block=store_options.block,
        stages_per_pass=store_options.stages_per_pass,
        device_memory=device_memory,
    )


def chunks_of(data: Any, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of what is decoded at once from a lazy array; one row for a memory map."""
    chunks = getattr(data, "chunks", None)
    if chunks is not None and len(chunks) == len(shape):
        return tuple(int(c[0] if isinstance(c, tuple) else c) for c in chunks)
    strides = getattr(data, "strides", None)
    own = [1] * len(shape)
    if strides:
        fastest = min(range(len(shape)), key=lambda i: abs(strides[i]) or 1 << 62)
        own[fastest] = shape[fastest]
    return tuple(own)


def per_image_axis(problem: Problem, sizes: Sequence[int]) -> list[int]:
    """Return sizes along the axes of the grid for each axis of the image; 1 for the others."""
    own = [1] * len(problem.shape)
    for axis, place in zip(problem.axes, problem.places_in_space, strict=True):
        own[axis] = 1 if place is None else sizes[place]
    return own


def affordable_workers(blocks: BlockPlan, options: StoreOptions) -> int:
    """Return the number of workers whose blocks fit into the budget, at least 1."""
    room = (options.budget - blocks.fixed_memory) // max(1, blocks.block_memory)
    return max(1, min(room, max(blocks.workers, 1)))


def warm(job: Job) -> None:
    """Compile or load the kernels of a run before its workers start."""
    problem, plan = job.problem, job.plan
    small = problem_of_shape(problem, tuple(min(n, 4) for n in problem.space))
    small.image[...] = np.arange(small.image.size).reshape(small.image.shape) % 7
    own = plan_on_block(plan, small, 1)
    own = replace(own, limits=replace(own.limits, is_of_frame=False))
    with SlabPool(1, None, lambda share: None) as slabs, contextlib.suppress(ValueError):
        (index,) = small.frames()
        frame, state = read_frame(small, index, own, slabs)
        for _ in Solver(problem, own, slabs).advance(frame.grid, state, len(plan.stages)):
            pass
