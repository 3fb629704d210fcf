"""A run in passes and blocks: a pass runs some stages, block by block, each with its halo.

Between two passes live the arrays that `carried` names. Every bit of the result is that of the run
in one piece.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Array, Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.frame import FieldState, read_frame
from napari_diffusion.engine.in_memory import masked_as_input, run
from napari_diffusion.engine.memory import check_memory
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import Problem
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.engine.solver import Solver

#: Arrays of a `FieldState` that are the same in all passes.
INPUTS = ("source", "guide")
#: Index of a box: a slice along each axis of the grid.
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Block:
    """A box of the grid with its halo.

    Attributes
    ----------
    outer
        The box with its halo, in the grid.
    inner
        The box without its halo, in ``outer``.
    place
        The box without its halo, in the grid.
    """

    outer: Box
    inner: Box
    place: Box


def blocks_of(
    shape: Sequence[int], block_shape: Sequence[int], halo: Sequence[int]
) -> Iterator[Block]:
    """Yield blocks that cover a grid.

    Parameters
    ----------
    shape
        Shape of the grid.
    block_shape
        Shape of a block without its halo; the last one along an axis may be smaller.
    halo
        Voxels by which a block extends on both sides, clipped at the border.
    """
    starts = (range(0, n, size) for n, size in zip(shape, block_shape, strict=True))
    for corner in itertools.product(*starts):
        yield block_at(corner, shape, block_shape, halo)


def block_at(
    corner: Sequence[int], shape: Sequence[int], block_shape: Sequence[int], halo: Sequence[int]
) -> Block:
    """Return the block whose first voxel is ``corner``; the other parameters as `blocks_of`."""
    edges = list(zip(corner, block_shape, shape, halo, strict=True))
    place = tuple(slice(a, min(a + size, n)) for a, size, n, _ in edges)
    outer = tuple(
        slice(max(p.start - h, 0), min(p.stop + h, n))
        for p, (_, _, n, h) in zip(place, edges, strict=True)
    )
    inner = tuple(
        slice(p.start - o.start, p.stop - o.start) for p, o in zip(place, outer, strict=True)
    )
    return Block(outer, inner, place)


def with_last(box: Box, excess: Sequence[int]) -> Box:
    """Return a box of voxels as one of an array that has more elements along some axes.

    Tensors of cells have one more than the voxels between them.
    """
    return tuple(slice(part.start, part.stop + n) for part, n in zip(box, excess, strict=True))


def excess_of(array: Array, voxels: Sequence[int]) -> tuple[int, ...]:
    """Return how many more elements than voxels an array has along each of its last axes."""
    return tuple(n - m for n, m in zip(array.shape[-len(voxels) :], voxels, strict=True))


def grid_of_box(grid: Grid, box: Box) -> Grid:
    """Return the grid of a box, whose own border is closed.

    Where the grid has walls, so has the box, even if all its inner faces are open: the same kernels
    then run on it.
    """
    shape = tuple(part.stop - part.start for part in box)
    place = None if grid.place is None else grid.place.moved([part.start for part in box])
    if grid.open_faces is None:
        return Grid(shape, grid.spacing, None, place)
    faces = grid.open_faces[box].copy()
    for axis in range(len(shape)):
        last = (slice(None),) * axis + (-1,)
        faces[last] &= np.uint8(~(1 << axis) & 0xFF)
    return Grid(shape, grid.spacing, faces, place)


def carried(plan: Plan, stage: int) -> tuple[str, ...]:
    """Return the arrays of a `FieldState` that the stages from number ``stage`` on need.

    Parameters
    ----------
    plan
        The plan of the run.
    stage
        Number of stages before the cut.
    """
    names = ["u"]
    if plan.stages[0].rate:
        names.append("source")
    if plan.is_guided and not all(each.reuse_operator for each in plan.stages[stage:]):
        names.append("guide")
    if stage < len(plan.stages):
        if plan.stages[stage].momentum:
            names.append("previous")
        if _reads_earlier_start(plan.stages, stage):
            names.append("superstep_start")
        if plan.operator.keeps_stored(plan.stages, stage):
            names.append("stored")
    return tuple(names)


def _reads_earlier_start(stages: Sequence[Stage], stage: int) -> bool:
    """Whether the stages from number ``stage`` on read a start of a superstep before the cut."""
    for number in range(stage, len(stages)):
        if not number or stages[number - 1].time is not None:  # a superstep begins
            return number > 0 and stages[number].extrapolation != 0
        if stages[number].start_weight or stages[number].from_start:
            return True
    return False


def part_of(array: Array, voxels: Sequence[int], box: Box) -> Array:
    """Return a copy of the part of an array that belongs to a box of its voxels."""
    index: Any = (..., *with_last(box, excess_of(array, voxels)))
    part: Array = array[index].copy()
    return part


def advance_in_blocks(
    solver: Solver, grid: Grid, state: FieldState, last: int, block_shape: Sequence[int]
) -> FieldState:
    """Run the stages up to number ``last`` of a frame, block by block: one pass.

    Parameters
    ----------
    solver
        Advances one block at a time.
    grid
        Voxel size and open faces of the frame.
    state
        State before the pass.
    last
        Number of stages that are done after the pass.
    block_shape
        Shape of a block without its halo, per axis of the grid.
    """
    plan = solver.plan
    taken, left = carried(plan, state.stage), carried(plan, last)
    halo = plan.reach(state.stage, last)
    after: dict[str, Array] = {}
    time: float | None = None
    for block in blocks_of(grid.shape, block_shape, halo):
        arrays = {name: part_of(getattr(state, name), grid.shape, block.outer) for name in taken}
        u = arrays["u"]
        start = FieldState(
            state.stage,
            state.time,
            u,
            arrays.get("previous", u),
            arrays.get("superstep_start", u),
            arrays.get("stored"),
            source=arrays.get("source"),
            guide=arrays.get("guide"),
        )
        *_, end = solver.advance(grid_of_box(grid, block.outer), start, last)
        time = end.time
        for name in left:
            if name in INPUTS:
                continue
            part = getattr(end, name)
            excess = excess_of(part, [each.stop - each.start for each in block.outer])
            if name not in after:
                leading = part.shape[: part.ndim - len(grid.shape)]
                sizes = (n + more for n, more in zip(grid.shape, excess, strict=True))
                after[name] = np.empty((*leading, *sizes), part.dtype)
            place: Any = (..., *with_last(block.place, excess))
            inner: Any = (..., *with_last(block.inner, excess))
            after[name][place] = part[inner]
    u = after["u"]
    return FieldState(
        last,
        time,
        u,
        after.get("previous", u),
        after.get("superstep_start", u),
        after.get("stored"),
        source=state.source,
        guide=state.guide,
    )


def run_in_blocks(
    problem: Problem,
    cuts: Sequence[int],
    block_shape: Sequence[int],
    execution: Execution | None = None,
    cancel: CancelEvent | None = None,
) -> Image:
    """Run in passes and blocks, with all arrays between the passes in memory.

    Parameters
    ----------
    problem
        The run.
    cuts
        Numbers of stages after which a pass ends, ascending.
    block_shape
        Shape of a block without its halo, per diffusing axis.
    execution, cancel
        As in `napari_diffusion.engine.in_memory.run`, whose errors are those of this function.
    """
    if len(block_shape) != len(problem.axes) or min(block_shape) < 1:
        raise ValueError(
            f"block_shape must be {len(problem.axes)} numbers >= 1, one per diffusing axis; "
            f"got {tuple(block_shape)}."
        )
    plan = make_plan(problem, execution)
    if 0 in problem.shape or not plan.stages:
        return run(problem, plan=plan)
    check_memory(problem, plan.memory)
    result = np.empty(problem.shape, problem.dtype)
    sizes = [1] * len(problem.space)
    for place, size in zip(problem.places_in_space, block_shape, strict=True):
        if place is not None:
            sizes[place] = size
    with SlabPool(plan.threads, cancel, lambda share: None) as slabs:
        solver = Solver(problem, plan, slabs)
        for index in problem.frames():
            frame, state = read_frame(problem, index, plan, slabs)
            for cut in [*cuts, len(plan.stages)]:
                last = min(cut, len(plan.stages))
                if last > state.stage:
                    state = advance_in_blocks(solver, frame.grid, state, last, sizes)
            result[index] = frame.finished(state.u, copy=True)
    return masked_as_input(problem, result)
