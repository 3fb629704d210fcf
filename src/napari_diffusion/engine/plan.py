"""What a run will do and need, known before it starts: scheme, schedule, halo, memory. It never looks at the values of the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import psutil

from napari_diffusion import kernels, schemes
from napari_diffusion.coefficients import Coefficient, Constant, Curvature, Face, Gradient, Local, Tensor
from napari_diffusion.engine.job import Job, make_job
from napari_diffusion.engine.slabs import SMALLEST_SLAB, cpu_count, slab_height
from napari_diffusion.features import Features, heat_weights
from napari_diffusion.grid import Grid
from napari_diffusion.kernels.reference_selling import REACH as SELLING_REACH
from napari_diffusion.models import Model
from napari_diffusion.models.base import as_number
from napari_diffusion.schemes import Exact, Scheme, Stage

#: Largest slab [voxels]: a run must notice a cancel within a fraction of a second, and its scratch must stay small.
LARGEST_SLAB = 1 << 21
#: Planes that get their features at once, and voxels, where planes are small: a plane of a picture is a single row.
CHUNK, CHUNK_VOXELS = 8, 1 << 18
#: Largest slab [voxels] that gets its tensors at once: what it looks at beyond itself is computed twice, but the scratch of all slabs
#: together shall stay below half the image.
TENSOR_VOXELS = 1 << 19
MOST_STAGES = 100_000
#: Solved in one go, a run may be longer, but not so long that it is beyond doubt a wrong unit.
MOST_MULTIPLE = 1e15
#: A run that needs less [bytes] is not worth the question how much memory is free, which takes as long as a small image.
ALWAYS_THERE = 16 << 20


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes
    ----------
    scheme, stages
        Time integrator and its schedule, the same for every frame, tile and thread.
    halo
        Voxels per diffusing axis by which a tile must overlap its neighbours so that its inside is exact.
    memory
        Predicted peak [bytes], input and output included.
    max_step
        Largest explicit step [length²] that keeps the extremum principle.
    threads, height, chunk, frames, backend
        How it will be executed; ``height`` is the number of planes of a slab, ``chunk`` of those that get their coefficient at once.
    strict
        Whether the extremum principle is guaranteed.
    tensor
        The coefficient of a tensor model as it is on a few zeros, otherwise ``None``.
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
    tensor: Tensor | None

    @property
    def tensors_made(self) -> int:
        """How often the tensors of all voxels are made, per frame; a first stage that looks ahead needs them twice."""
        return sum(not stage.frozen for stage in self.stages) + any(stage.ahead for stage in self.stages[:1]) if self.tensor else 0

    @property
    def steps(self) -> int:
        """Number of evaluations of the operator per frame."""
        return len(self.stages)

    def describe(self) -> str:
        """Return one sentence for people."""
        frames = f" on each of {self.frames} frames" if self.frames > 1 else ""
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return f"{self.scheme.name}: {steps}{frames}, {threads}, {human_bytes(self.memory)} of memory."


def plan(
    image: Any,
    model: Model,
    *,
    time: float,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    scheme: str | Scheme = "auto",
    tolerance: float = 1e-3,
    strict: bool = False,
    preserve_dtype: bool = False,
    threads: int | None = None,
    backend: str | None = None,
    channel_weights: Sequence[float] | None = None,
) -> Plan:
    """Return what `diffuse` would do with the same arguments, without reading the image; raises what `diffuse` would raise for them."""
    job = make_job(image, spacing, axes, channel_axis, mask, labels, nan, preserve_dtype, channel_weights)
    return make_plan(job, model, time, scheme, tolerance, strict, threads, backend)


def make_plan(
    job: Job, model: Model, time: float, scheme: str | Scheme, tolerance: float, strict: bool, threads: int | None, backend: str | None
) -> Plan:
    """Plan a checked job."""
    if not isinstance(model, Model):
        raise TypeError(f"model must be a diffusion model such as nd.Linear(), got {type(model).__name__}.")
    total = _number("time", time, "[length²]", minimum=0.0)
    if _number("tolerance", tolerance, "(a share of the intensity range)") <= 0:
        raise ValueError(f"tolerance must be > 0, got {tolerance}.")
    workers = cpu_count() if threads is None else threads
    if isinstance(workers, bool) or not hasattr(workers, "__index__") or workers < 1:
        raise ValueError(f"threads must be a whole number >= 1, got {threads!r}.")
    walled = job.regions is not None or job.nan == "mask"
    grid = job.grid(np.zeros((1,) * len(job.space), np.uint8) if walled else None)
    probe, reach = dry_run(model, grid)
    looked = [max(r - 1, 0) for r in reach]
    if isinstance(probe, Face | Gradient | Curvature) and callable(probe.diffusivity.code):
        if backend == "compiled":
            raise ValueError("The compiled backend cannot call a diffusivity function on faces; leave backend=None, or give sigma > 0.")
        backend = "reference"
    kernel = kernels.get(backend, len(job.space))
    limit = probe.max_step(grid)
    at_once = isinstance(scheme, Exact) or (isinstance(scheme, str) and scheme in ("auto", "exact"))
    most = MOST_MULTIPLE if isinstance(probe, Constant) and at_once and not walled else MOST_STAGES
    if total / limit > most:  # before a scheme counts its stages
        raise ValueError(
            f"A diffusion time of {total:g} is more than {most:g} stable steps of {limit:.3g} at this spacing {job.spacing}; "
            "check the units of time and spacing, or use the linear model without mask."
        )
    chosen = schemes.choose(scheme, probe, grid, strict, total, tolerance)
    _check_options(chosen, total)
    stages = chosen.stages(total, limit, tolerance)
    beyond = _overlap(chosen, stages, probe, looked, grid, total, walled, strict, job)
    moving = [r for r, n in zip(beyond, grid.shape, strict=True) if n != 1]
    halo = dict(zip([i for i in job.axes if job.shape[i] != 1], moving, strict=True))
    largest = LARGEST_SLAB if kernel.name == "compiled" else 1 << 20
    if isinstance(probe, Tensor):
        share = math.prod(job.space) * job.channels // (2 * int(workers) * _arrays(probe, grid))
        largest = min(TENSOR_VOXELS, max(SMALLEST_SLAB, share))
    per_plane = max(1, job.channels * math.prod(job.space[1:]))
    height = slab_height(job.space[0], per_plane, int(workers), largest)
    # Features need scratch for every plane, and look beyond: a slab passes through them in chunks, not too high, not too low.
    chunk = min(height, max(CHUNK, CHUNK_VOXELS // per_plane)) if isinstance(probe, Local) else height
    busy = min(int(workers), -(-job.space[0] // height))
    return Plan(
        scheme=chosen,
        stages=stages,
        halo=tuple(min(halo.get(i, 0), job.shape[i]) for i in job.axes),
        memory=_memory(job, probe, chosen, stages, walled, busy, height, chunk, looked, kernel, strict, model.encodes),
        max_step=limit,
        threads=int(workers),
        height=height,
        chunk=chunk,
        frames=math.prod(job.shape[i] for i in job.frame_axes),
        backend=kernel.name,
        strict=strict,
        tensor=probe if isinstance(probe, Tensor) else None,
    )


def _check_options(scheme: Scheme, time: float) -> None:
    """Refuse options of a scheme that are no numbers, or that make more stages than anybody waits for."""
    for option, value in vars(scheme).items():
        if value is None:
            continue
        name, is_step = f"{type(scheme).__name__}: {option}", option == "step"
        number = _number(name, value, "[length²]" if is_step else "(a count)")
        if not is_step and not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be a whole number, got {value!r}.")
        if (0 < number < time / MOST_STAGES) if is_step else number > MOST_STAGES:
            raise ValueError(f"{name} {value} makes more than {MOST_STAGES} steps of a diffusion time of {time:g}.")


def dry_run(model: Model, grid: Grid) -> tuple[Coefficient, list[int]]:
    """Coefficient and reach of one step of the model, from a dry run on a few voxels of zeros."""
    arguments = model, tuple(min(n, 3) for n in grid.shape), grid.spacing, grid.open_faces is not None
    try:
        hash(model)
    except TypeError:  # a diffusivity function need not be hashable
        return _probe.__wrapped__(*arguments)
    return _probe(*arguments)


@lru_cache(maxsize=64)
def _probe(model: Model, shape: tuple[int, ...], spacing: tuple[float, ...], walled: bool) -> tuple[Coefficient, list[int]]:
    """Look once for all images of a series: on a small image it would take as long as the filter."""
    small = Grid(shape, spacing, np.zeros(shape, np.uint8) if walled else None)
    zeros = np.zeros((1, *shape), np.float32)
    features = Features(zeros, 0, shape[0], small, kernels.get("reference", len(shape)), np.ones(1, np.float32))
    coefficient = model.coefficient(features)
    looked = features.reach or [0] * len(shape)
    return coefficient, [1 + r if n > 1 else 0 for r, n in zip(looked, shape, strict=True)]


def _overlap(
    scheme: Scheme,
    stages: tuple[Stage, ...],
    coefficient: Coefficient,
    looked: list[int],
    grid: Grid,
    time: float,
    walled: bool,
    strict: bool,
    job: Job,
) -> list[int]:
    """Voxels per axis that a whole run looks beyond a block; ``looked`` is what the features of one coefficient look at."""
    if isinstance(scheme, Exact):
        if walled:
            return [len(heat_weights(time, grid, scheme.tail(job.working))) - 1] * len(grid.shape)
        taps = scheme.taps(time, grid, job.working)
        return [n - 1 for n in grid.shape] if taps is None else [len(w) - 1 for w in taps]
    if not isinstance(coefficient, Tensor):
        return [len(stages) * (r + 1) for r in looked]
    looks = sum(stage.ahead > 0 for stage in stages)
    made = sum(not stage.frozen for stage in stages) + (stages[0].ahead > 0 if stages else 0)
    return [made * r + (len(stages) + looks) * (SELLING_REACH if strict else 1) for r in looked]


def _memory(
    job: Job,
    coefficient: Coefficient,
    scheme: Scheme,
    stages: tuple[Stage, ...],
    walled: bool,
    busy: int,
    height: int,
    chunk: int,
    looked: list[int],
    kernel: kernels.Backend,
    strict: bool,
    encodes: bool,
) -> int:
    """Predicted peak [bytes]; tests hold it within 0 to 30 % above the measured one."""
    voxels, exact = math.prod(job.space), isinstance(scheme, Exact)
    field = voxels * job.channels * job.working.itemsize
    frames = math.prod(job.shape[i] for i in job.frame_axes)
    whole = field // job.working.itemsize * frames
    local = isinstance(job.image, np.ndarray)
    held = whole * job.input_dtype.itemsize if local else field  # anything lazy is read frame by frame
    # Without a copy the input itself is the first field; with one, the copy serves as a field later.
    copied = (
        encodes
        or job.nan == "mask"
        or not (
            local
            and job.input_dtype == job.working
            and job.channel_axis in (None, 0)
            and job.image.flags.carray
            and job.frame_axes == tuple(range(len(job.frame_axes)))
        )
    )
    fields = (3 + copied if exact and walled else min(len(stages) + copied, 2) + any(stage.anchor for stage in stages)) * field
    out = whole * job.dtype.itemsize
    if frames > 1:
        fields += out + field * (copied and not exact)  # the last field of a frame is still there when the next is read
    elif job.dtype != job.working or job.channel_axis not in (None, 0):
        fields = max(fields, field * (1 + (exact and walled and copied)) + out) + encodes * field  # decoded into a field of its own
    walls = (0 if job.regions is None else job.regions.nbytes) + voxels * (walled + 4 * (job.nan == "mask"))
    per_plane = voxels // max(1, job.space[0]) * job.working.itemsize
    if isinstance(coefficient, Tensor):
        tensors = 16 if kernel.name == "compiled" else 2 * len(job.space) * (len(job.space) + 1)
        fields += voxels * (tensors + strict)
        wide = min(chunk + 2 * max(looked), job.space[0])
        slopes = 1 if kernel.name == "compiled" and not walled else 4
        scratch = (slopes * job.channels + walled * 4) * wide + _arrays(coefficient, job.grid()) * chunk
    elif isinstance(coefficient, Local):
        wide = min(chunk + 4 + 2 * (1 + max(looked)) * walled, job.space[0])
        scratch = job.channels * wide * (5 if walled else 1) + 2 * (chunk + 2) + 4
    else:
        scratch = job.channels * (height * (exact + walled) + 3)
    if kernel.name == "reference":
        scratch += job.channels * (5 * height if exact else 6 * (height + 2))
    return int((held + fields + walls + busy * scratch * per_plane) * 1.05) + (4 << 20)


def _arrays(tensor: Tensor, grid: Grid) -> int:
    """Arrays of the size of a slab that its tensors take: the matrix, and as many more and some where they are made of other fields too."""
    axes = sum(n > 1 for n in grid.shape)
    entries = axes * (axes + 1) // 2
    return entries + (entries + 2 if tensor.extra else 1)


def check_memory(job: Job, needed: int) -> None:
    """Refuse a run that would not fit, instead of freezing the machine."""
    held = job.image.nbytes if isinstance(job.image, np.ndarray) else 0
    if needed - held < ALWAYS_THERE:
        return
    free = psutil.virtual_memory().available
    if needed - held > free:
        raise MemoryError(
            f"The run needs {human_bytes(needed - held)} more memory and {human_bytes(free)} are free; "
            "filter a smaller region, fewer axes at once, or convert the image to float32."
        )


def human_bytes(count: int) -> str:
    """Return a size as people read it."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


def _number(name: str, value: Any, unit: str, minimum: float = -math.inf) -> float:
    number = as_number(value)
    if number is None:
        raise TypeError(f"{name} must be a number {unit}, got {value!r:.60}.")
    if not math.isfinite(number) or number < minimum:
        wanted = f">= {minimum:g} and finite" if math.isfinite(minimum) else "finite"
        raise ValueError(f"{name} must be {wanted} {unit}, got {value!s:.60}.")
    return number
