"""The plan of a run: scheme, schedule, halo and memory. It does not depend on image values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_diffusion import backends, schemes
from napari_diffusion.backends.protocol import Backend
from napari_diffusion.backends.reference.selling import REACH as SELLING_REACH
from napari_diffusion.core.arrays import OpenFaces
from napari_diffusion.core.grid import Grid
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.engine.memory import MemoryDemand, format_bytes, tensor_arrays
from napari_diffusion.engine.options import Execution, Integration
from napari_diffusion.engine.problem import Problem
from napari_diffusion.engine.slab_pool import MIN_SLAB_VOXELS, cpu_count, slab_height
from napari_diffusion.models import Model
from napari_diffusion.models.base import as_number
from napari_diffusion.operators import Operator, VoxelOperator
from napari_diffusion.operators.curvature import LevelSetCurvature
from napari_diffusion.operators.divergence import (
    ConstantDiffusivity,
    FaceDiffusivity,
    GradientDiffusivity,
)
from napari_diffusion.operators.smoothing import heat_series_weights
from napari_diffusion.operators.tensor import DiffusionTensor
from napari_diffusion.schemes import Exact, Scheme, Stage

#: Largest slab [voxels]: cancel takes effect within a fraction of a second, and scratch is small.
MAX_SLAB_VOXELS, MAX_REFERENCE_SLAB_VOXELS = 1 << 21, 1 << 20
#: Planes whose features are computed at once, or voxels if planes are small: a plane of a 2-D image
#: is one row.
CHUNK_PLANES, CHUNK_VOXELS = 8, 1 << 18
#: Largest slab [voxels] of a tensor model. Its surroundings are computed twice, but the scratch of
#: all slabs together stays below half the image.
MAX_TENSOR_SLAB_VOXELS = 1 << 19
#: Largest number of stages of a run; a longer diffusion time is probably in a wrong unit.
MAX_STAGES = 100_000
#: Largest number of stable steps of a run that is solved in one stage.
MAX_EXACT_STEPS = 1e15


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Attributes
    ----------
    scheme, stages
        Time integrator and its schedule, the same for every frame, block and thread.
    halo
        Voxels per diffusing axis by which a block must overlap its neighbours, so that its inside
        is exact.
    memory
        Predicted peak [bytes], input and output included.
    max_step
        Largest explicit step [length²] that keeps the extremum principle.
    threads, frames, backend
        Number of threads and of frames, and name of the backend.
    height, chunk
        Number of planes of a slab, and of the part of it whose features are computed at once.
    strict
        Whether the extremum principle is guaranteed.
    tensor
        Operator of a tensor model, evaluated on a few zeros; ``None`` for other models.
    """

    scheme: Scheme
    stages: tuple[Stage, ...]
    halo: tuple[int, ...]
    memory: int
    max_step: float
    threads: int
    height: int
    chunk: int
    frames: int
    backend: str
    strict: bool
    tensor: DiffusionTensor | None

    @property
    def tensors_made(self) -> int:
        """How often the tensors of a frame are computed.

        A first stage with a predictor step computes them twice: for the input and at the predicted
        state.
        """
        if not self.tensor:
            return 0
        first_predictor = any(stage.predictor_step for stage in self.stages[:1])
        return sum(not stage.reuse_tensor for stage in self.stages) + first_predictor

    @property
    def steps(self) -> int:
        """Number of evaluations of the operator per frame."""
        return len(self.stages)

    def describe(self) -> str:
        """Return the plan in one sentence."""
        frames = f" on each of {self.frames} frames" if self.frames > 1 else ""
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        memory = format_bytes(self.memory)
        return f"{self.scheme.name}: {steps}{frames}, {threads}, {memory} of memory."


def make_plan(
    problem: Problem,
    model: Model,
    integration: Integration,
    execution: Execution | None = None,
) -> Plan:
    """Plan a run of a model on a problem.

    Raises
    ------
    TypeError, ValueError
        In one sentence that says what would work.
    """
    execution = execution or Execution()
    if not isinstance(model, Model):
        raise TypeError(
            f"model must be a diffusion model such as nd.Linear(), got {type(model).__name__}."
        )
    time = _number("time", integration.time, "[length²]", minimum=0.0)
    tolerance, strict = integration.tolerance, integration.strict
    if _number("tolerance", tolerance, "(a share of the intensity range)") <= 0:
        raise ValueError(f"tolerance must be > 0, got {tolerance}.")
    threads = _thread_count(execution.threads)
    grid = problem.grid(_unknown_walls(problem))
    operator, reach = dry_run(model, grid)
    feature_reach = [max(r - 1, 0) for r in reach]
    kernels = _backend_for(operator, execution.backend, len(problem.space))
    max_step = operator.max_step(grid)
    _check_length(problem, operator, integration.scheme, time, max_step)
    scheme = schemes.choose_scheme(integration.scheme, operator, grid, strict, time, tolerance)
    _check_options(scheme, time)
    stages = scheme.stages(time, max_step, tolerance)
    height, chunk = _slab_sizes(problem, operator, kernels, threads)
    demand = MemoryDemand(
        problem=problem,
        operator=operator,
        scheme=scheme,
        stages=stages,
        backend=kernels,
        strict=strict,
        reach=feature_reach,
        height=height,
        chunk=chunk,
        busy_threads=min(threads, -(-problem.space[0] // height)),
        has_transform=model.has_transform,
    )
    if isinstance(scheme, Exact):
        halo = _exact_halo(scheme, grid, time, problem)
    else:
        halo = _stepped_halo(stages, operator, feature_reach, strict)
    lengths = [problem.shape[i] for i in problem.axes]
    return Plan(
        scheme=scheme,
        stages=stages,
        halo=tuple(map(min, problem.per_diffusing_axis(halo), lengths)),
        memory=demand.peak,
        max_step=max_step,
        threads=threads,
        height=height,
        chunk=chunk,
        frames=math.prod(problem.shape[i] for i in problem.frame_axes),
        backend=kernels.name,
        strict=strict,
        tensor=operator if isinstance(operator, DiffusionTensor) else None,
    )


def _thread_count(threads: Any) -> int:
    count = cpu_count() if threads is None else threads
    if isinstance(count, bool) or not hasattr(count, "__index__") or count < 1:
        raise ValueError(f"threads must be a whole number >= 1, got {threads!r}.")
    return int(count)


def _unknown_walls(problem: Problem) -> OpenFaces | None:
    """Return placeholder faces of a problem that may have walls; a plan reads no values."""
    return np.zeros((1,) * len(problem.space), np.uint8) if problem.may_have_walls else None


def _backend_for(operator: Operator, name: str | None, axes: int) -> Backend:
    """Return the backend for an operator; compiled kernels cannot call a function on faces."""
    on_faces = FaceDiffusivity | GradientDiffusivity | LevelSetCurvature
    if isinstance(operator, on_faces) and callable(operator.diffusivity.code):
        if name == "compiled":
            raise ValueError(
                "The compiled backend cannot call a diffusivity function on faces; "
                "leave backend=None, or give sigma > 0."
            )
        name = "reference"
    return backends.get_backend(name, axes)


def _check_length(
    problem: Problem, operator: Operator, scheme: Any, time: float, max_step: float
) -> None:
    """Refuse a diffusion time of far too many steps, before a scheme computes its stages."""
    in_one_stage = isinstance(scheme, Exact) or (
        isinstance(scheme, str) and scheme in ("auto", "exact")
    )
    solvable = isinstance(operator, ConstantDiffusivity) and not problem.may_have_walls
    limit = MAX_EXACT_STEPS if solvable and in_one_stage else MAX_STAGES
    if time / max_step > limit:
        raise ValueError(
            f"A diffusion time of {time:g} is more than {limit:g} stable steps of {max_step:.3g} "
            f"at this spacing {problem.spacing}; "
            "check the units of time and spacing, or use the linear model without mask."
        )


def _slab_sizes(
    problem: Problem, operator: Operator, kernels: Backend, threads: int
) -> tuple[int, int]:
    """Return the planes of a slab, and of the part of it whose features are computed at once."""
    largest = MAX_SLAB_VOXELS if kernels.name == "compiled" else MAX_REFERENCE_SLAB_VOXELS
    if isinstance(operator, DiffusionTensor):
        arrays = tensor_arrays(operator, problem.grid())
        share = math.prod(problem.space) * problem.channels // (2 * threads * arrays)
        largest = min(MAX_TENSOR_SLAB_VOXELS, max(MIN_SLAB_VOXELS, share))
    per_plane = max(1, problem.channels * math.prod(problem.space[1:]))
    height = slab_height(problem.space[0], per_plane, threads, largest)
    # A high chunk needs much scratch; a low chunk recomputes a large share in its surroundings.
    if isinstance(operator, VoxelOperator):
        return height, min(height, max(CHUNK_PLANES, CHUNK_VOXELS // per_plane))
    return height, height


def _check_options(scheme: Scheme, time: float) -> None:
    """Refuse options of a scheme that are not numbers, or that make too many stages."""
    for option, value in vars(scheme).items():
        if value is None:
            continue
        name, is_step = f"{type(scheme).__name__}: {option}", option == "step"
        number = _number(name, value, "[length²]" if is_step else "(a count)")
        if not is_step and not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be a whole number, got {value!r}.")
        if (0 < number < time / MAX_STAGES) if is_step else number > MAX_STAGES:
            raise ValueError(
                f"{name} {value} makes more than {MAX_STAGES} steps "
                f"of a diffusion time of {time:g}."
            )


def _exact_halo(scheme: Exact, grid: Grid, time: float, problem: Problem) -> list[int]:
    """Return the halo [voxel] per axis of the exact solution."""
    if problem.may_have_walls:
        tail = scheme.tail(problem.working)
        return [len(heat_series_weights(time, grid, tail)) - 1] * len(grid.shape)
    taps = scheme.taps(time, grid, problem.working)
    return [n - 1 for n in grid.shape] if taps is None else [len(w) - 1 for w in taps]


def _stepped_halo(
    stages: tuple[Stage, ...], operator: Operator, feature_reach: list[int], strict: bool
) -> list[int]:
    """Return the halo [voxel] per axis of all stages together."""
    if not isinstance(operator, DiffusionTensor):
        return [len(stages) * (r + 1) for r in feature_reach]
    predictions = sum(stage.predictor_step > 0 for stage in stages)
    tensors = sum(not stage.reuse_tensor for stage in stages)
    tensors += stages[0].predictor_step > 0 if stages else 0
    stencil = SELLING_REACH if strict else 1
    return [tensors * r + (len(stages) + predictions) * stencil for r in feature_reach]


def _number(name: str, value: Any, unit: str, minimum: float = -math.inf) -> float:
    number = as_number(value)
    if number is None:
        raise TypeError(f"{name} must be a number {unit}, got {value!r:.60}.")
    if not math.isfinite(number) or number < minimum:
        condition = f">= {minimum:g} and finite" if math.isfinite(minimum) else "finite"
        raise ValueError(f"{name} must be {condition} {unit}, got {value!s:.60}.")
    return number
