"""Blocks of a frame with their halos, and a pass over them: some stages, block by block.

Between two passes live the arrays that `carried` names. Every bit of the result is that of the run
in one piece.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.engine.frame import FieldState
from napari_diffusion.engine.planner import Plan

#: Arrays of a `FieldState` that are the same in all passes.
INPUTS = ("source", "guide")
#: Index of a box: a slice along each axis of the grid.
Box = tuple[slice, ...]


class BlockSolver(Protocol):
    """Advances one block at a time; see `napari_diffusion.engine.solver.Solver`."""

    plan: Plan

    def advance(self, grid: Grid, state: FieldState, last: int) -> Iterator[FieldState]:
        """Run stages up to number ``last``; yield the last state, and some before it."""
        ...

    def fetch(self, array: Any) -> Array:
        """Return an array of a state as one of NumPy."""
        ...


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
    solver: BlockSolver, grid: Grid, state: FieldState, last: int, block_shape: Sequence[int]
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
            part = solver.fetch(getattr(end, name))
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


def device_passes(
    plan: Plan, first: int, last: int, shape: Sequence[int], pieces: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the last stage and the shape of the blocks of each pass over a frame.

    The frame is cut into ``pieces`` along its longest axis. A pass has as many stages as reach
    half a piece, and at least one.
    """
    axis = max(range(len(shape)), key=lambda i: shape[i])
    size = -(-shape[axis] // pieces)
    block = tuple(size if i == axis else n for i, n in enumerate(shape))
    while first < last:
        low, high = first + 1, last
        while low < high:  # the reach rises with the number of stages
            middle = -(-(low + high) // 2)
            if plan.reach(first, middle)[axis] <= size // 2:
                low = middle
            else:
                high = middle - 1
        yield low, block
        first = low
