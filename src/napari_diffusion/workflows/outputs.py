"""Outputs of a run: snapshots over diffusion time, residual, maps, partial result after a stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_diffusion.backends.devices import PROCESSOR
from napari_diffusion.core.arrays import Image, shape_and_dtype
from napari_diffusion.core.cancellation import CancelEvent, poll
from napari_diffusion.core.dtypes import result_dtype
from napari_diffusion.core.errors import NotEnoughMemory, Remedy
from napari_diffusion.core.resources import FreeMemory, format_bytes, free_memory
from napari_diffusion.diagnostics.conductance import conductance_map
from napari_diffusion.diagnostics.orientation import Directions, coherence_map, sample_directions
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.in_memory import State, evolve
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import Problem, unread_problem

#: Time of the first snapshot as a share of the diffusion time. It corresponds to an eighth of the
#: Gaussian sigma, which hardly smooths.
FIRST_SNAPSHOT = 1 / 64


@dataclass(frozen=True)
class Outputs:
    """The outputs of a run.

    Attributes
    ----------
    image
        The result, as `diffuse` returns it; with snapshots, a stack of them along a new first axis.
    times
        Diffusion time of the result, or of each snapshot [length²].
    frame
        ``None`` for a complete run. After a stop, the index of the frame in progress: earlier
        frames are complete, later frames are unfiltered.
    residual
        Image minus result, or minus the last snapshot, in floating point.
    conductance
        Conductance map of the result: 1 where the model would smooth freely, 0 where it preserves
        an edge. It has no channel axis.
    coherence
        Coherence map of the result, from 0 to 1: anisotropy of the diffusion tensor. It has no
        channel axis.
    directions
        Directions of strongest smoothing at some voxels of the result.
    replaced
        Number of hot and dead voxels that were replaced.
    devices
        Names of the devices that computed the result; ``"cpu"`` is the processor.
    """

    image: Image
    times: tuple[float, ...]
    frame: int | None = None
    residual: Image | None = None
    conductance: Image | None = None
    coherence: Image | None = None
    directions: Directions | None = None
    replaced: int = 0
    devices: tuple[str, ...] = (PROCESSOR,)


@dataclass(frozen=True)
class OutputRequest:
    """Choice of the outputs of a run.

    Attributes
    ----------
    snapshots
        Number of snapshots, at least 2; 0 for the result alone.
    residual
        Whether to return image minus result.
    conductance
        Whether to return the conductance map of the result.
    coherence, directions
        Whether to return the coherence map and the directions of the result; tensor models only.
    """

    snapshots: int = 0
    residual: bool = False
    conductance: bool = False
    coherence: bool = False
    directions: bool = False

    def times(self, time: float) -> tuple[float, ...]:
        r"""Return the diffusion times of the snapshots [length²].

        They form a geometric sequence from :math:`T/64` to :math:`T`, which is ``time``. Without
        snapshots, the only time is :math:`T`.

        Raises
        ------
        ValueError
            For a single snapshot, and for snapshots of a run of time 0.
        """
        if not self.snapshots:
            return (time,)
        if self.snapshots < 2 or not time > 0:
            raise ValueError(
                "Snapshots need a diffusion time > 0 and at least 2 of them; "
                f"got a time of {time:g} and {self.snapshots} of them."
            )
        times = np.geomspace(time * FIRST_SNAPSHOT, time, self.snapshots)
        return (*(float(t) for t in times[:-1]), time)

    def memory(self, problem: Problem, plan: Plan) -> int:
        """Return the predicted peak memory [bytes], including the image and all outputs."""
        voxels = math.prod(problem.shape)
        result = voxels * problem.dtype.itemsize
        floats = voxels * result_dtype(problem.input_dtype, False).itemsize
        # The computation of a map needs three further arrays: the field and its gradients.
        maps = self.conductance + self.coherence
        arrays = maps + 3 * (maps + self.directions > 0)
        return plan.memory + self.snapshots * result + (arrays + self.residual) * floats


def impulse_note(replaced: int, voxels: int) -> str:
    """Return a sentence on hot and dead voxels that were replaced; empty if there were none.

    Parameters
    ----------
    replaced, voxels
        Number of replaced voxels, and of all voxels in all channels and frames.
    """
    if not replaced:
        return ""
    number = f"{replaced:,}".replace(",", " ")
    share = f"{100 * replaced / voxels:.2g} %"
    if replaced == 1:
        return f"1 hot or dead voxel ({share}) was replaced."
    return f"{number} hot or dead voxels ({share}) were replaced."


@dataclass(frozen=True)
class RunPlan:
    """What a run will do and take.

    Attributes
    ----------
    plan
        Plan of the run, or of that of the last snapshot.
    memory
        Predicted peak memory, all outputs included [bytes].
    times
        Diffusion times of the result, or of each snapshot [length²].
    """

    plan: Plan
    memory: int
    times: tuple[float, ...]

    def describe(self) -> str:
        """Return steps and memory in one sentence."""
        sentence = replace(self.plan, memory=self.memory).describe()
        count = len(self.times)
        return f"{count} snapshots; the last: {sentence}" if count > 1 else sentence


def plan_run(
    problem: Problem,
    request: OutputRequest,
    execution: Execution | None = None,
    limit: int | None = None,
) -> RunPlan:
    """Plan a run, snapshots included.

    Parameters
    ----------
    problem
        The run; its labels are not read, so it may be one of `unread_problem`.
    request
        Choice of the outputs.
    execution
        Threads and backend.
    limit
        Largest allowed memory [bytes]; ``None`` for the free memory.

    Raises
    ------
    MemoryError
        When the run needs more memory.
    """
    execution = execution or Execution()
    plan = make_plan(problem, execution)
    needed = request.memory(problem, plan)
    free = free_memory()
    own = problem.image.nbytes if isinstance(problem.image, np.ndarray) else 0
    check_limit(needed, limit, replace(free, size=free.size + own))
    return RunPlan(plan, needed, request.times(problem.recipe.time))


def check_limit(needed: int, limit: int | None, free: FreeMemory | None = None) -> None:
    """Raise `NotEnoughMemory` when a run needs more memory than allowed.

    Parameters
    ----------
    needed
        Memory of the run [bytes].
    limit
        Largest allowed memory [bytes]; ``None`` for ``free``.
    free
        Memory that a run may take; ``None`` for no check without a limit.
    """
    sentence = f"The run needs {format_bytes(needed)} of memory, and"
    if limit is not None and needed > limit:
        raise NotEnoughMemory(
            f"{sentence} at most {format_bytes(limit)} are allowed", Remedy.ALLOW_MORE_MEMORY
        )
    if limit is None and free is not None and needed > free.size:
        raise NotEnoughMemory(f"{sentence} only {free}", Remedy.FILTER_LESS)


def run_with_outputs(
    problem: Problem,
    request: OutputRequest,
    execution: Execution | None = None,
    *,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    stop: CancelEvent | None = None,
) -> Outputs:
    """Filter an image and keep the requested outputs.

    Each snapshot is a separate run from the image, so that it equals the result of `diffuse` bit
    for bit with any scheme. The times grow by a constant ratio: six snapshots take about twice the
    computing time of the last one.

    Parameters
    ----------
    problem
        The run.
    request
        Choice of the outputs.
    execution
        Threads and backend.
    progress
        Called in this thread with the completed share, from 0 to 1.
    cancel
        The run ends with `Cancelled` when this event is set.
    stop
        The run ends after the current step when this event is set. The result is then the stack of
        complete snapshots or, without any, the image at the current time.

    Raises
    ------
    TypeError, ValueError, MemoryError, Cancelled
        As `diffuse`.
    """
    recipe, image = problem.recipe, problem.image
    times = request.times(recipe.time)
    runs = [replace(problem, recipe=replace(recipe, time=t)) for t in times]
    steps = [max(1, make_plan(run, execution).steps) for run in runs]
    report = progress or (lambda share: None)
    stack = None
    if request.snapshots:
        stack = np.empty((len(times), *problem.shape), problem.dtype)
    kept, devices = 0, dict[str, None]()
    for number, (t, run) in enumerate(zip(times, runs, strict=True)):
        before, share = sum(steps[:number]) / sum(steps), steps[number] / sum(steps)
        states = evolve(run, execution, _scaled(report, before, share), cancel)
        last, state = _drain(states, stop)
        devices |= dict.fromkeys(state.devices)
        complete = state.fraction >= 1
        if stack is None or not (complete or kept):
            frame = None if complete else state.frame
            outputs = Outputs(last, (t if complete else state.time,), frame)
            break
        if complete:
            stack[number] = last
            kept += 1
        del last
        if not complete or (stop is not None and stop.is_set()):
            break
    if stack is not None and kept:
        outputs = Outputs(stack[:kept], times[:kept])
        last = stack[kept - 1]
    residual = residual_of(image, last) if request.residual else None
    # The maps are those of the result, whose hot and dead voxels are replaced already.
    recipe = replace(recipe, impulses="keep")
    final = unread_problem(last, recipe, problem.geometry, problem.domain)
    return replace(
        outputs,
        replaced=state.replaced,
        devices=tuple(devices),
        residual=residual,
        conductance=conductance_map(final, cancel=cancel) if request.conductance else None,
        coherence=coherence_map(final, cancel=cancel) if request.coherence else None,
        directions=sample_directions(final, cancel) if request.directions else None,
    )


def _scaled(
    report: Callable[[float], object], before: float, share: float
) -> Callable[[float], object]:
    return lambda part: report(min(before + part * share, 1.0))


def _drain(states: Generator[State, None, None], stop: CancelEvent | None) -> tuple[Image, State]:
    """Run to the end, or to the end of the step in which ``stop`` is set; return the last state."""
    with closing(states):
        for state in states:
            if state.fraction >= 1 or (stop is not None and stop.is_set()):
                break
        return state.image, state


def residual_of(image: Any, result: Image, cancel: CancelEvent | None = None) -> Image:
    """Return image minus result in floating point, or end with `Cancelled`.

    The image is read in pieces along the first axis: it may be lazy and larger than the memory.
    """
    _, dtype = shape_and_dtype(image, "image")
    difference = np.empty(result.shape, result_dtype(dtype, False))
    for i in range(len(difference)):
        poll(cancel)
        with np.errstate(invalid="ignore"):  # infinite values are kept, and inf - inf is NaN
            difference[i] = np.asarray(image[i], difference.dtype) - result[i]
    return difference
