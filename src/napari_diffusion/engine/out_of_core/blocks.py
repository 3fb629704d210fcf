"""A run in passes and blocks, in memory; its bits are those of the run in one piece."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_diffusion.core.arrays import Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.engine.blocks import advance_in_blocks
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.frame import read_frame
from napari_diffusion.engine.in_memory import masked_as_input, run
from napari_diffusion.engine.memory import check_memory
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import Problem
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.engine.solver import Solver


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
