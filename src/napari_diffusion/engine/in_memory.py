"""Run of a plan on an image in memory, frame by frame.

`evolve` is a generator, which Python, the widgets and the command line all consume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial

import numpy as np

from napari_diffusion.backends.devices import PROCESSOR
from napari_diffusion.core.arrays import Field, Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.grid import Grid
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.frame import FieldState, Frame, Stacks, read_frame
from napari_diffusion.engine.memory import check_memory, shortage_described
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import FrameIndex, Problem, without_stages
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.engine.solver import Solver

#: All frames, and the number of the first one that has not begun.
_Later = tuple[list[FrameIndex], int]


@dataclass(frozen=True)
class State:
    """State of a run after a step.

    Attributes
    ----------
    time
        Diffusion time of the current frame [length²]; at its end exactly that of the recipe.
    fraction
        Completed share of the whole run, from 0 to 1. It is exactly 1 in the last state only.
    frame
        Index of the current frame, counted from 0.
    replaced
        Number of hot and dead voxels that were replaced so far, in all frames and channels.
    devices
        Names of the devices that computed it; ``"cpu"`` is the processor.
    """

    time: float
    fraction: float
    frame: int
    _image: Callable[[], Image]
    replaced: int = 0
    devices: tuple[str, ...] = (PROCESSOR,)

    @property
    def image(self) -> Image:
        """The whole image at this state, in the dtype of the result.

        Earlier frames are finished, later ones are those of the input. It is assembled on request.
        """
        return self._image()


def evolve(
    problem: Problem,
    execution: Execution | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    plan: Plan | None = None,
) -> Generator[State, None, None]:
    """Run step by step; yields a `State` after every step (or superstep) of every frame.

    Everything is checked at the call, before the first step. The ``plan`` is made from problem and
    execution by default.

    Raises
    ------
    TypeError, ValueError, MemoryError
        When the run cannot be done.
    """
    plan = _checked_plan(problem, execution, progress, cancel, plan)
    return _evolve(problem, plan, progress or _ignore, cancel)


def _checked_plan(
    problem: Problem,
    execution: Execution | None,
    progress: Callable[[float], object] | None,
    cancel: CancelEvent | None,
    plan: Plan | None,
) -> Plan:
    """Return the plan of a run, all of whose arguments are checked; errors as `evolve`."""
    checks = (("progress", progress, "__call__"), ("cancel", cancel, "is_set"))
    for name, argument, method in checks:
        if argument is not None and not hasattr(argument, method):
            raise TypeError(f"{name} must have {method}(), got {type(argument).__name__}.")
    plan = plan or make_plan(problem, execution)
    check_memory(problem, plan.memory)
    return plan


def _ignore(share: float) -> None:
    """Report no progress."""


def run(
    problem: Problem,
    execution: Execution | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    plan: Plan | None = None,
) -> Image:
    """Run to the end and return the image; arguments and errors as `evolve`."""
    return run_to_end(problem, execution, progress, cancel, plan).image


def run_to_end(
    problem: Problem,
    execution: Execution | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    plan: Plan | None = None,
) -> State:
    """Run to the end and return the last state; arguments and errors as `evolve`."""
    plan, progress = _checked_plan(problem, execution, progress, cancel, plan), progress or _ignore
    frames, stages = list(problem.frames()), len(plan.stages)
    if not stages or 0 in problem.shape:
        (state,) = _evolve(problem, plan, progress, cancel)
        return state
    count, done, width, replaced = len(frames) * stages, 0, 1, 0

    def report(part: float) -> None:
        progress(min((done + part * width) / count, 1.0))

    def last_field(grid: Grid, start: FieldState) -> Field:
        nonlocal done
        field, before = start.u, done
        for state in solver.advance(grid, start, stages):
            done = before + state.stage * width
            field = state.u
        return solver.fetch(field)

    with shortage_described(plan.memory), SlabPool(plan.threads, cancel, report) as slabs:
        solver = Solver(problem, plan, slabs)
        if len(frames) == 1:
            frame, start = read_frame(problem, frames[0], plan, slabs)
            field, replaced = last_field(frame.grid, start), frame.replaced
            del start
            solver.release_fields()  # their memory is free for the result
            image = np.ascontiguousarray(frame.finished(field, copy=False)).reshape(problem.shape)
        else:
            image = np.empty(problem.shape, problem.dtype)
            stacks = Stacks(problem, plan, image, slabs) if plan.stack > 1 else None
            for lo in range(0, len(frames), plan.stack):
                hi = min(lo + plan.stack, len(frames))
                stack = None if stacks is None else stacks.read(lo, hi)
                if stack is not None and stacks is not None:
                    width = hi - lo
                    stacks.write(last_field(*stack), lo, hi)
                    continue
                width = 1
                for index in frames[lo:hi]:
                    frame, start = read_frame(problem, index, plan, slabs)
                    replaced += frame.replaced
                    image[index] = frame.finished(last_field(frame.grid, start), copy=False)
                    del frame, start  # their memory is free for the next frame
    progress(1.0)
    image = masked_as_input(problem, image)
    end = problem.recipe.time, 1.0, len(frames) - 1
    return State(*end, lambda: image, replaced, solver.devices)


def _evolve(
    problem: Problem,
    plan: Plan,
    progress: Callable[[float], object],
    cancel: CancelEvent | None,
) -> Generator[State, None, None]:
    """Run a plan, frame by frame."""
    frames = list(problem.frames()) if 0 not in problem.shape else []
    if not frames or not plan.stages:
        replaced, image = _unfiltered(problem, plan, frames, cancel)
        progress(1.0)
        yield State(problem.recipe.time, 1.0, 0, image, replaced)
        return
    stage_count = len(frames) * len(plan.stages)
    done = replaced = 0

    # Counts are divided, since a product with 1 / stage_count need not end at 1.
    def report(part: float) -> None:
        progress(min((done + part) / stage_count, 1.0))

    with shortage_described(plan.memory), SlabPool(plan.threads, cancel, report) as slabs:
        solver = Solver(problem, plan, slabs)
        result: Image | None = None
        for number, index in enumerate(frames):
            frame, start = read_frame(problem, index, plan, slabs)
            replaced += frame.replaced
            for state in solver.advance(frame.grid, start, len(plan.stages)):
                done = number * len(plan.stages) + state.stage
                if state.time is None:
                    continue
                later, copy = (frames, number + 1), done < stage_count
                if len(frames) > 1 and state.stage == len(plan.stages):
                    if result is None:
                        result = np.empty(problem.shape, problem.dtype)
                    result[index] = frame.finished(solver.fetch(state.u), copy=False)
                    image = partial(_snapshot, problem, result, later, copy=copy)
                else:
                    current = _CurrentFrame(solver, frame, state.u)
                    image = partial(_assemble, current, result, later, copy=copy)
                place = state.time, done / stage_count, number
                yield State(*place, image, replaced, solver.devices)
            del frame, start, state  # their memory is free for the next frame
    progress(1.0)


@dataclass(frozen=True)
class _CurrentFrame:
    """The frame that is being filtered, and its field."""

    solver: Solver
    frame: Frame
    field: Field


def _unfiltered(
    problem: Problem, plan: Plan, frames: list[FrameIndex], cancel: CancelEvent | None
) -> tuple[int, Callable[[], Image]]:
    """Return the result of a run without stages, and the number of replaced voxels.

    It is the input in the dtype of the result, with its hot and dead voxels replaced if the recipe
    says so.
    """
    if not problem.replaces_impulses:
        return 0, lambda: _snapshot(
            problem, np.empty(problem.shape, problem.dtype), (frames, 0), False
        )
    result, replaced = np.empty(problem.shape, problem.dtype), 0
    problem = without_stages(problem)
    with SlabPool(plan.threads, cancel, lambda share: None) as slabs:
        for index in frames:
            frame, start = read_frame(problem, index, plan, slabs)
            replaced += frame.replaced
            result[index] = frame.finished(start.u, copy=True)
    return replaced, partial(masked_as_input, problem, result)


def _snapshot(problem: Problem, result: Image, later: _Later, copy: bool) -> Image:
    """Return the image at the end of a frame."""
    image = result.copy() if copy else result
    return masked_as_input(problem, _fill_from_input(problem, image, later))


def _assemble(current: _CurrentFrame, result: Image | None, later: _Later, copy: bool) -> Image:
    """Return the image within a frame; ``result`` holds the frames before it."""
    problem = current.frame.problem
    field = current.solver.fetch(current.field)
    if not copy:
        current.solver.release_fields()  # the run has ended: their memory is free for the result
    part = current.frame.finished(field, copy)
    if part.size == math.prod(problem.shape):
        return masked_as_input(problem, np.ascontiguousarray(part).reshape(problem.shape))
    image = np.empty(problem.shape, problem.dtype) if result is None else result.copy()
    _fill_from_input(problem, image, later)
    image[current.frame.index] = part
    return masked_as_input(problem, image)


def _fill_from_input(problem: Problem, image: Image, later: _Later) -> Image:
    """Fill the ``later`` frames of ``image`` with the input, one at a time, and return it."""
    frames, first = later
    for frame in frames[first:]:
        part = problem.image[frame]
        is_masked = isinstance(part, np.ma.MaskedArray)
        image[frame] = np.ma.getdata(part) if is_masked else np.asarray(part)
    return image


def masked_as_input(problem: Problem, image: Image) -> Image:
    """Return a masked array if the input is one."""
    if not isinstance(problem.image, np.ma.MaskedArray):
        return image
    masked: Image = np.ma.array(image, mask=np.ma.getmaskarray(problem.image))
    return masked
