r"""The engine: it alone knows models and schemes, and runs one through the other.

`evolve` is a generator; progress bars, cancel, previews and the command line all drain the same one. `diffuse` returns its last image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion import kernels
from napari_diffusion.engine.job import Field, Job, make_job
from napari_diffusion.engine.plan import Plan, check_memory, make_plan
from napari_diffusion.engine.slabs import Event, Slabs
from napari_diffusion.engine.solver import Solver
from napari_diffusion.models import Model
from napari_diffusion.schemes import Scheme

Image = NDArray[Any]


@dataclass(frozen=True)
class State:
    """Where a run stands: diffusion time of the current frame [length²], share of the whole run that is done, frame number."""

    time: float
    fraction: float
    frame: int
    _image: Callable[[], Image]

    @property
    def image(self) -> Image:
        """The whole image as it is now: frames before this one are done, later ones untouched. Made on request, in the result's dtype."""
        return self._image()


def diffuse(
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
    progress: Callable[[float], object] | None = None,
    cancel: Event | None = None,
    channel_weights: Sequence[float] | None = None,
) -> Image:
    r"""Filter an image by diffusion.

    .. math:: u_t = \operatorname{div}(D(u)\,\nabla u), \qquad u(0) = \text{image}, \qquad \partial_n u = 0 \text{ on the border}

    Parameters
    ----------
    image
        Array of any number of axes; bool, integer, float16, 32 or 64. NumPy, memory-mapped, dask and zarr arrays are read one
        frame at a time. It is never written to.
    model
        The diffusion model, for example ``nd.PeronaMalik(kappa=12.0)``.
    time
        Diffusion time T [length²]. Linear diffusion over T is a Gaussian of :math:`\sigma = \sqrt{2T}` [length].
    spacing
        Voxel size [length], one number or one per diffusing axis in the order of ``axes``.
    axes
        The axes that diffuse; default all but ``channel_axis``. The others are looped, so time points stay apart.
    channel_axis
        Axis of the channels, which share one diffusivity.
    mask, labels
        Bool mask, or integer labels with 0 outside: no flux between voxels of different regions, and outside nothing changes.
        Shape of the diffusing axes, or of the image without the channel axis.
    nan
        ``"raise"`` refuses NaN and infinite values, ``"mask"`` leaves them and diffuses around them.
    scheme
        ``"auto"``, a name, or an object such as ``nd.schemes.Explicit(step=0.1)``.
    tolerance
        Error in time to aim at, as a share of the intensity range.
    strict
        Guarantee the extremum principle: no value leaves the range of the input.
    preserve_dtype
        Round and saturate to the input's integer dtype; otherwise integers and bool come back as float32 in their own units.
    threads
        Number of threads, default all processors. The result does not depend on it.
    backend
        ``"compiled"``, ``"reference"`` or ``None`` for the faster one that can run.
    progress
        Called with the share done, from 0 to 1, in the calling thread.
    cancel
        Event polled between slabs; when set, `Cancelled` is raised.
    channel_weights
        Weight of each channel's gradient, for example 1/noise²; scaled to sum one. Default equal.

    Returns
    -------
    numpy.ndarray
        New array of the input's shape; float stays the same float, see ``preserve_dtype`` for the rest.

    Raises
    ------
    TypeError, ValueError, MemoryError
        In one sentence that says what would work.
    Cancelled
        When ``cancel`` was set.
    """
    result = None
    for state in evolve(
        image,
        model,
        time=time,
        spacing=spacing,
        axes=axes,
        channel_axis=channel_axis,
        mask=mask,
        labels=labels,
        nan=nan,
        scheme=scheme,
        tolerance=tolerance,
        strict=strict,
        preserve_dtype=preserve_dtype,
        threads=threads,
        backend=backend,
        progress=progress,
        cancel=cancel,
        channel_weights=channel_weights,
    ):
        result = state
    assert result is not None
    return result.image


def evolve(
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
    progress: Callable[[float], object] | None = None,
    cancel: Event | None = None,
    channel_weights: Sequence[float] | None = None,
) -> Generator[State, None, None]:
    """Filter step by step: yields a `State` after every step of every frame; arguments and errors as `diffuse`.

    Arguments are checked at the call, before the first step. Looking at ``state.image`` costs one copy; not looking costs nothing.
    """
    for name, given, method in (("progress", progress, "__call__"), ("cancel", cancel, "is_set")):
        if given is not None and not hasattr(given, method):
            raise TypeError(f"{name} must have {method}(), got {type(given).__name__}.")
    job = make_job(image, spacing, axes, channel_axis, mask, labels, nan, preserve_dtype, channel_weights)
    plan = make_plan(job, model, time, scheme, tolerance, strict, threads, backend)
    check_memory(job, plan.memory)
    return _run(job, model, plan, progress or (lambda fraction: None), cancel)


def _run(job: Job, model: Model, plan: Plan, progress: Callable[[float], object], cancel: Event | None) -> Generator[State, None, None]:
    kernel = kernels.get(plan.backend, len(job.space))
    frames = list(job.frames()) if 0 not in job.shape else []
    if not frames or not plan.stages:
        progress(1.0)
        yield State(0.0, 1.0, 0, lambda: _masked(job, _untouched(job, np.empty(job.shape, job.dtype), frames)))
        return
    done, share = 0, 1.0 / (len(frames) * len(plan.stages))
    with Slabs(plan.threads, cancel, lambda part: progress(min((done + part) * share, 1.0))) as slabs:
        solver = Solver(job, model, plan, kernel, slabs)
        whole: Image | None = None
        for number, frame in enumerate(frames):
            for time, field, outside in solver.solve(frame):
                done += 1
                last = done == len(frames) * len(plan.stages)
                if time is None:
                    continue
                after = frames[number + 1 :]
                if len(frames) > 1 and time == plan.stages[-1].time:
                    whole = np.empty(job.shape, job.dtype) if whole is None else whole
                    whole[frame] = solver.finished(field, outside, frame, copy=False)
                    yield State(time, done * share, number, partial(_snapshot, job, whole, after, copy=not last))
                else:
                    seen = partial(_assemble, job, solver, field, outside, frame, after, whole, copy=not last)
                    yield State(time, done * share, number, seen)
    progress(1.0)


def _snapshot(job: Job, whole: Image, after: list[Any], copy: bool) -> Image:
    return _masked(job, _untouched(job, whole.copy() if copy else whole, after))


def _assemble(job: Job, solver: Solver, field: Field, outside: Any, frame: Any, after: list[Any], whole: Image | None, copy: bool) -> Image:
    if not copy:
        solver.fields.clear()  # nothing runs any more, and the result may need a field of its own
    here = solver.finished(field, outside, frame, copy)
    if here.size == math.prod(job.shape):
        return _masked(job, np.ascontiguousarray(here).reshape(job.shape))
    image = _untouched(job, np.empty(job.shape, job.dtype) if whole is None else whole.copy(), after)
    image[frame] = here
    return _masked(job, image)


def _untouched(job: Job, image: Image, frames: list[Any]) -> Image:
    """Fill ``frames`` of ``image`` with the input, one at a time."""
    for frame in frames:
        part = job.image[frame]
        image[frame] = np.ma.getdata(part) if isinstance(part, np.ma.MaskedArray) else np.asarray(part)
    return image


def _masked(job: Job, image: Image) -> Image:
    """Masked array in, masked array out."""
    return np.ma.array(image, mask=np.ma.getmaskarray(job.image)) if isinstance(job.image, np.ma.MaskedArray) else image
