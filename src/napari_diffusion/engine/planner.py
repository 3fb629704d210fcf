"""The plan of a run: scheme, schedule, halo and memory. It does not depend on image values."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion import backends, schemes
from napari_diffusion.backends.base import Backend
from napari_diffusion.backends.devices import CARD, Device
from napari_diffusion.core.arrays import OpenFaces
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.resources import format_bytes
from napari_diffusion.engine.devices.choice import device_for, faster_card
from napari_diffusion.engine.devices.records import Work, changes
from napari_diffusion.engine.devices.verdicts import TEST_VOXELS
from napari_diffusion.engine.dry_run import DryRun, ValueLimits, dry_run
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.inputs.guide import guide_channels, guide_is_copied
from napari_diffusion.engine.memory import long_axes, peak_memory
from napari_diffusion.engine.problem import Problem
from napari_diffusion.engine.slab_pool import SLABS_PER_THREAD, slab_height, worthwhile_slabs
from napari_diffusion.operators import Operator
from napari_diffusion.schemes import Scheme, Stage
from napari_diffusion.schemes.base import MAX_COUNT

#: Planes whose features are computed at once, or voxels if planes are small: a plane of a 2-D image
#: is one row.
CHUNK_PLANES, CHUNK_VOXELS = 8, 1 << 18
#: Most voxels whose features are computed at once: two planes of a camera with 2048² pixels.
MAX_FEATURE_VOXELS = 1 << 23
#: Fewest planes of a slab with features: two slabs share so many smoothed planes at their edge, and
#: thinner slabs would compute those of two edges twice.
MIN_FEATURE_PLANES = 4
#: Largest number of stages of a run; a longer diffusion time is probably in a wrong unit.
MAX_STAGES = 100_000
#: Rounding error of the time at the end of a schedule, as a share of it.
END_TOLERANCE = 1e-9
#: Largest number of stable steps of a run that is solved in one stage.
MAX_EXACT_STEPS = 1e15
#: Voxels of the frames that are advanced together: with fewer, Python takes a larger share of a
#: stage (measured, docs/develop/decisions.md). They are one slab, in one thread.
STACK_VOXELS = 1 << 17
#: Axis of space along which the frames of a stack lie; one- and two-dimensional frames leave it.
STACK_AXIS = 1
#: Number of plans that are kept, and largest number of stages of one of them: a stage takes 0.2 kB.
KEPT_PLANS, MAX_KEPT_STAGES = 64, 1000


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Attributes
    ----------
    scheme, stages
        Time integrator and its schedule, the same for every frame, block and thread.
    operator
        Operator of the model, evaluated on a few zeros.
    memory
        Predicted peak [bytes], input and output included.
    max_step
        Largest explicit step [length²] that keeps the extremum principle.
    threads, frames, backend
        Number of threads and of frames, and name of the backend.
    height, chunk
        Planes of a slab, through which one thread passes, and of a chunk, computed at once.
    strict
        Whether the extremum principle is guaranteed.
    kernels
        The backend itself.
    grid
        Grid of a frame; placeholders stand for walls.
    shape
        Number of voxels along each diffusing axis.
    feature_reach, calls, working
        Reach of the features of one operator per axis of the grid [voxel], kernels that they call,
        and data type of the fields.
    read_reach
        Reach of the replacement of hot and dead voxels, per axis of the grid [voxel].
    limits
        Values of an image with which the run can compute.
    stack
        Number of small frames that a run to the end advances side by side; 1 for one by one.
    is_guided
        Whether the operator is made of a guide, at least in part, and therefore stored.
    device, device_bytes
        The device that runs the stages, ``None`` for the processor, and the memory that it needs
        per voxel [bytes].
    is_device_named
        Whether the device is used even if it rounds otherwise than the processor.
    """

    scheme: Scheme
    stages: tuple[Stage, ...]
    operator: Operator
    memory: int
    max_step: float
    threads: int
    height: int
    chunk: int
    frames: int
    backend: str
    strict: bool
    kernels: Backend
    grid: Grid
    shape: tuple[int, ...]
    feature_reach: tuple[int, ...]
    calls: tuple[Hashable, ...]
    working: np.dtype[np.generic]
    read_reach: tuple[int, ...]
    limits: ValueLimits
    stack: int
    is_guided: bool
    device: Device | None = None
    device_bytes: float = 0.0
    is_device_named: bool = False

    @cached_property
    def keeps_start(self) -> bool:
        """Whether a stage reads the field at the start of a superstep."""
        return any(stage.needs_start for stage in self.stages)

    @cached_property
    def stores_operator(self) -> bool:
        """Whether stages use a stored operator."""
        return self.is_guided or self.operators_made > 0

    @property
    def operators_made(self) -> int:
        """Number of times that a frame computes a stored operator; 0 if it stores none."""
        return self.operator.operators_made(self.stages)

    @property
    def effort(self) -> float:
        """Work of a frame per voxel, see `Operator.effort`."""
        return self.operator.effort(self.stages)

    @property
    def steps(self) -> int:
        """Number of evaluations of the operator per frame."""
        return len(self.stages)

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels per diffusing axis by which a block must overlap its neighbours.

        The inside of the block is then exact.
        """
        reach = self.reach(0, len(self.stages))
        long = iter([r for r, n in zip(reach, self.grid.shape, strict=True) if n != 1])
        return tuple(min(next(long), n) if n != 1 else 0 for n in self.shape)

    def reach(self, first: int, last: int) -> list[int]:
        """Return the reach of stages ``first:last`` together, per axis of the grid [voxel].

        A block must overlap its neighbours by it, so that these stages are exact inside. The first
        stages include the replacement of hot and dead voxels.
        """
        stages = self.stages[first:last]
        reach = self.scheme.reach(
            stages, self.operator, self.feature_reach, self.grid, self.working
        )
        if reach is None:
            reach = self.operator.reach_of(stages, first == 0, self.feature_reach, self.strict)
        if first == 0:
            reach = [own + before for own, before in zip(reach, self.read_reach, strict=True)]
        return reach

    def kernel_key(self) -> Hashable | None:
        """Return a key of the compiled kernels of the run; ``None`` if nothing is compiled.

        Runs with equal keys need the same kernels.
        """
        has_walls = self.grid.open_faces is not None
        scheme = self.scheme.name if self.scheme.is_direct else "stages"
        stage = self.operator.stage_calls(self.strict, self.stores_operator)
        calls = self.calls, stage, scheme, has_walls
        return self.kernels.kernel_key(calls, np.dtype(self.working))

    def device_kind(self, problem: Problem) -> Hashable:
        """Return what selects the kernels of the run on a device."""
        sizes = tuple(min(n, TEST_VOXELS) for n in self.grid.shape)
        calls = repr(self.operator.stage_calls(self.strict, self.stores_operator))
        model, channels = problem.recipe.model.name, problem.channels
        return self.kernel_key(), model, sizes, channels, calls, self.scheme.name

    def describe(self) -> str:
        """Return the plan in one sentence."""
        frames = f" on each of {self.frames} frames" if self.frames > 1 else ""
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        memory = format_bytes(self.memory)
        place = f", on {self.device.name}" if self.device else ""
        return f"{self.scheme.name}: {steps}{frames}, {threads}, {memory} of memory{place}."


def make_plan(problem: Problem, execution: Execution | None = None) -> Plan:
    """Plan a run.

    Plans of equal settings are the same object, because a plan takes longer than the filter of a
    small image.

    Raises
    ------
    TypeError, ValueError
        In one sentence that says what would work.
    """
    execution = execution or Execution()
    threads = execution.thread_count
    settings = _settings(problem, execution, threads)
    if settings is None:
        return _make_plan(problem, execution, threads)
    kept = kept_plan(settings)
    if kept:
        return kept[0]
    plan = _make_plan(problem, execution, threads)
    if len(plan.stages) <= MAX_KEPT_STAGES:
        kept.append(plan)
    return plan


@lru_cache(maxsize=KEPT_PLANS)
def kept_plan(settings: Hashable) -> list[Plan]:
    """Return a list for the plan of these settings, which is empty until the plan is made."""
    return []


def _settings(problem: Problem, execution: Execution, threads: int) -> Hashable | None:
    """Return all on which a plan depends; ``None`` if that is more than numbers and texts."""
    key, image, regions = problem.key, problem.image, problem.regions
    if key is None:
        return None
    layout, guide = None, None
    if isinstance(image, np.ndarray):
        flags = image.flags
        layout = flags.carray, flags.c_contiguous, isinstance(image, np.ma.MaskedArray)
    if problem.is_guided:
        held = getattr(problem.domain.guide, "nbytes", 0)
        guide = guide_channels(problem), guide_is_copied(problem), held
    return (
        key,
        layout,
        None if regions is None else regions.nbytes,
        guide,
        threads,
        execution.backend,
        execution.device,
        changes() if execution.device is None else 0,
    )


def _make_plan(problem: Problem, execution: Execution, threads: int) -> Plan:
    """Plan a run; errors as `make_plan`."""
    recipe, time = problem.recipe, problem.recipe.time
    grid = problem.grid(_unknown_walls(problem))
    dry = dry_run(recipe.model, grid, problem.is_guided)
    operator = dry.operator
    backend = backends.get_backend(execution.backend, len(problem.space), operator.calls_function)
    rate = recipe.fidelity_rate
    max_step = schemes.step_with_source(operator.max_step(grid), rate)
    # Before a scheme computes its stages, and again when it is known.
    _check_length(problem, operator.is_linear and not problem.may_have_walls, max_step)
    tolerance = recipe.tolerance
    if not problem.is_frozen:  # an operator that does not change has no error of its own
        tolerance = operator.scheme_tolerance(tolerance)
    scheme = schemes.choose_scheme(
        recipe.scheme, operator, grid, recipe.strict, time, tolerance, rate, problem.is_frozen
    )
    _check_length(problem, scheme.is_direct and operator.is_linear, max_step)
    stages = _schedule(scheme, time, max_step, tolerance, recipe.tolerance)
    if problem.is_frozen:
        stages = schemes.with_one_operator(stages)
    if rate:
        stages = tuple(stage._replace(rate=rate) for stage in stages)
    stack = _stack_size(problem, dry, scheme, stages)
    height, chunk = slab_sizes(problem, operator, backend, threads, stack)
    model = operator, max(dry.feature_reach)
    peak = partial(peak_memory, problem, model, scheme, stages, backend)
    whole = problem.space[0]
    plan = Plan(
        scheme=scheme,
        stages=stages,
        operator=operator,
        memory=peak((height, chunk, stack), threads),
        max_step=max_step,
        threads=threads,
        height=height,
        chunk=chunk,
        frames=math.prod(problem.shape[i] for i in problem.frame_axes),
        backend=backend.name,
        strict=recipe.strict,
        kernels=backend,
        grid=grid,
        shape=tuple([problem.shape[i] for i in problem.axes]),
        feature_reach=dry.feature_reach,
        calls=dry.calls,
        working=problem.working,
        read_reach=tuple(problem.read_reach),
        limits=dry.limits(
            recipe.model, grid, problem.working, operator.is_linear and scheme.is_direct
        ),
        stack=stack,
        is_guided=problem.is_guided,
    )
    return _on_device(plan, problem, execution, dry, lambda: peak((whole, whole, stack), 1))


def _on_device(
    plan: Plan, problem: Problem, execution: Execution, dry: DryRun, peak: Callable[[], int]
) -> Plan:
    """Return the plan with the device that runs it: the named one, or a card that is faster.

    ``peak`` returns the memory of a run that computes whole fields at once [bytes].
    """
    frame = math.prod(problem.space) * plan.stack
    if execution.device is None and execution.backend is None:
        amount = float(math.prod(problem.shape))
        work = Work(amount * plan.effort, 2 * amount * problem.working.itemsize, plan.threads)
        device = faster_card(
            problem, dry, (plan.scheme, plan.stages), work, partial(plan.device_kind, problem), peak
        )
    else:
        device = device_for(problem, execution, dry, plan.scheme, plan.stages)
    if device is None:
        return plan
    is_named = execution.device is not None and execution.device.lower() != CARD
    needed = peak() / max(1, frame)
    return replace(plan, device=device, device_bytes=needed, is_device_named=is_named)


def stack_grid(problem: Problem, frames: int) -> Grid:
    """Return the grid of frames side by side: no flux passes along an axis of infinite voxel size.

    Every frame must have a single voxel along `STACK_AXIS`.
    """
    shape, spacing = list(problem.space), list(problem.kernel_spacing)
    shape[STACK_AXIS], spacing[STACK_AXIS] = frames, math.inf
    return Grid(tuple(shape), tuple(spacing))


def frames_first(problem: Problem, array: NDArray[Any]) -> NDArray[Any] | None:
    """Return a view of an array of the image's shape, or ``None`` where it would be a copy.

    Its shape is ``(frames, channels, *space)``, without `STACK_AXIS`.
    """
    frame_axes, channel = problem.frame_axes, problem.channel_axis
    is_leading = frame_axes == tuple(range(len(frame_axes)))
    if len(frame_axes) != 1 and not (is_leading and array.flags.c_contiguous):
        return None
    moved = array.transpose(*frame_axes, *([] if channel is None else [channel]), *problem.axes)
    space = [n for i, n in enumerate(problem.space) if i != STACK_AXIS]
    return moved.reshape(-1, problem.channels, *space)


def _stack_size(problem: Problem, dry: DryRun, scheme: Scheme, stages: tuple[Stage, ...]) -> int:
    """Return the number of frames that can be advanced side by side.

    The loops over the frames and stages of small frames take far longer than the kernels.
    """
    image, space = problem.image, problem.space
    count = math.prod([problem.shape[i] for i in problem.frame_axes])
    voxels = math.prod(space) * problem.channels
    if not voxels:
        return 1
    stack = min(count, STACK_VOXELS // voxels)
    if stack < 2 or not stages or problem.is_guided or not dry.operator.takes_stacks:
        return 1
    has_place = len(space) == 3 and space[STACK_AXIS] == 1 and max(space) > 1
    is_plain = not (
        problem.may_have_walls or problem.replaces_impulses or problem.recipe.model.maps
    )
    is_array = isinstance(image, np.ndarray) and not isinstance(image, np.ma.MaskedArray)
    if not (has_place and is_plain and is_array) or frames_first(problem, image) is None:
        return 1
    if scheme.is_direct:
        grid = stack_grid(problem, stack)
        reach = scheme.reach(stages, dry.operator, dry.feature_reach, grid, problem.working)
        if reach is None or reach[STACK_AXIS]:
            return 1
    return stack


def _unknown_walls(problem: Problem) -> OpenFaces | None:
    """Return placeholder faces of a problem that may have walls; a plan reads no values."""
    return np.zeros((1,) * len(problem.space), np.uint8) if problem.may_have_walls else None


def _check_length(problem: Problem, is_solved: bool, max_step: float) -> None:
    """Refuse a diffusion time of far too many steps.

    ``is_solved`` says whether the solution is computed without steps.
    """
    time, limit = problem.recipe.time, MAX_EXACT_STEPS if is_solved else MAX_STAGES
    # The largest step underflows if the diffusivity is huge.
    steps = time / max_step if max_step > 0 else math.inf if time > 0 else 0.0
    if steps > limit:
        raise InputError(
            f"This amount of smoothing is far too large for these voxels {problem.spacing}: a "
            f"diffusion time of {time:g} needs {_number(steps)} stable steps, and at "
            f"most {limit:g} are allowed",
            Remedy.CHECK_UNITS,
        )


def _number(count: float) -> str:
    """Return a number of steps as text."""
    return f"{count:.6g}" if count < MAX_COUNT else f"more than {MAX_COUNT:g}"


def _schedule(
    scheme: Scheme, time: float, max_step: float, tolerance: float, given: float
) -> tuple[Stage, ...]:
    """Return the stages of a scheme, which end exactly at ``time``.

    ``tolerance`` is that of the scheme, and ``given`` that of the recipe, for messages.

    A schedule that is far too long is refused before it is made. If no axis diffuses, any step is
    stable, and the only stage has the length 0. The product of a huge step with a difference of 0
    might be NaN.
    """
    if math.isinf(max_step):
        return (Stage(0.0, 0.0, time),) if time > 0 else ()
    count = scheme.stage_count(time, max_step, tolerance)
    stages: tuple[Stage, ...] = ()
    if count is None or count <= MAX_STAGES:
        stages = tuple(islice(scheme.stages(time, max_step, tolerance), MAX_STAGES + 1))
        count = len(stages)
    if count > MAX_STAGES:
        # Without a count, one stage more than the limit has been made.
        number = f"more than {MAX_STAGES}" if count == MAX_STAGES + 1 else _number(count)
        raise InputError(
            f"The scheme {schemes.code_of(scheme)} needs {number} stages for a diffusion time of "
            f"{time:g} with a tolerance of {given:g}, and at most {MAX_STAGES} are allowed",
            Remedy.TAKE_FEWER_STAGES,
        )
    end = (stages[-1].time if stages else 0.0) or 0.0
    if not math.isclose(end, time, rel_tol=END_TOLERANCE):
        raise ValueError(
            f"The stages of the scheme {schemes.code_of(scheme)} end at the time {end:g}; "
            f"they must end at the diffusion time {time:g}."
        )
    return (*stages[:-1], stages[-1]._replace(time=time)) if end != time else stages


def slab_sizes(
    problem: Problem, operator: Operator, backend: Backend, threads: int, stack: int
) -> tuple[int, int]:
    """Return the planes of a slab, and of the chunks in which a thread passes through it.

    ``stack`` is the number of frames that are advanced side by side.
    """
    voxels, axes = math.prod(problem.space) * problem.channels * stack, long_axes(problem)
    largest = operator.max_chunk_voxels(backend, voxels, threads, axes)
    planes = problem.space[0]
    per_plane = max(1, problem.channels * stack * math.prod(problem.space[1:]))
    height = slab_height(planes, per_plane, worthwhile_slabs(voxels, threads))
    if operator.has_tensor:
        return height, slab_height(planes, per_plane, SLABS_PER_THREAD * threads, largest)
    # A high chunk needs much scratch; a low chunk recomputes a large share in its surroundings.
    needs_scratch = operator.calls_function or backend.scratch_planes(1, is_direct=False) > 0
    chunk = max(1 if needs_scratch else CHUNK_PLANES, largest // per_plane)
    if operator.is_chunked:
        height = max(height, MIN_FEATURE_PLANES)
        largest = largest if needs_scratch else MAX_FEATURE_VOXELS
        chunk = min(max(CHUNK_PLANES, CHUNK_VOXELS // per_plane), max(1, largest // per_plane))
    return height, min(height, chunk)
