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
from napari_diffusion.coefficients import LINEAR, Constant, Face
from napari_diffusion.engine.job import Field, Job, make_job
from napari_diffusion.engine.plan import Plan, check_memory, make_plan
from napari_diffusion.engine.slabs import Event, Slabs
from napari_diffusion.features import Features, chebyshev_stage, heat_weights
from napari_diffusion.grid import Grid
from napari_diffusion.models import Model
from napari_diffusion.schemes import Exact, Scheme, Stage
from napari_diffusion.schemes.exact import transform

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
    return _run(job, model, plan, backend, progress or (lambda fraction: None), cancel)


def _run(
    job: Job, model: Model, plan: Plan, backend: str | None, progress: Callable[[float], object], cancel: Event | None
) -> Generator[State, None, None]:
    kernel = kernels.get(backend, len(job.space))
    frames = list(job.frames()) if 0 not in job.shape else []
    if not frames or not plan.stages:
        progress(1.0)
        yield State(0.0, 1.0, 0, lambda: _masked(job, _untouched(job, np.empty(job.shape, job.dtype), frames)))
        return
    done, share = 0, 1.0 / (len(frames) * len(plan.stages))
    with Slabs(plan.threads, cancel, lambda part: progress(min((done + part) * share, 1.0))) as slabs:
        solver = _Solver(job, model, plan, kernel, slabs)
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


def _assemble(
    job: Job, solver: _Solver, field: Field, outside: Any, frame: Any, after: list[Any], whole: Image | None, copy: bool
) -> Image:
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


class _Solver:
    """Advances one frame at a time; its two fields are allocated once and used for every frame."""

    def __init__(self, job: Job, model: Model, plan: Plan, kernel: kernels.Backend, slabs: Slabs) -> None:
        self.job, self.model, self.plan, self.kernel, self.slabs = job, model, plan, kernel, slabs
        self.weights = job.weights.astype(job.working)
        self.fields: list[Field] = []
        self.height = plan.height

    def field(self, number: int) -> Field:
        while len(self.fields) <= number:
            self.fields.append(np.empty((self.job.channels, *self.job.space), self.job.working))
        return self.fields[number]

    def solve(self, frame: Any) -> Generator[tuple[float | None, Field, Any], None, None]:
        """Yield (time, field, voxels that are not finite) after every stage; the field is overwritten by the stage after the next."""
        job, plan = self.job, self.plan
        u, ours = job.read(frame)
        outside = self._outside(u, frame)
        if outside is not None:
            u, ours = np.where(outside, u.dtype.type(0), u), True
        grid = job.grid(job.walls(frame, None if outside is None else np.logical_or.reduce(outside)))
        if isinstance(plan.scheme, Exact):
            solve = self._exact if grid.open_faces is None else self._series
            yield plan.stages[0].time, solve(u, grid), outside
            return
        start, before, base, fresh = u, u, u, True
        anchored = any(stage.anchor for stage in plan.stages)
        for k, stage in enumerate(plan.stages):
            if anchored and fresh and (k or ours):
                base = self.field(2)
                np.copyto(base, u)
            fresh = stage.time is not None
            # A copy of the input serves as the second field as soon as its first step is done.
            out = start if ours and k % 2 else self.field(k % 2)
            if stage.momentum and before is not out:
                np.copyto(out, before)
            self._stage(u, out, base, stage, grid)
            yield stage.time, out, outside
            before, u = u, out

    def finished(self, field: Field, outside: Any, frame: Any, copy: bool) -> Image:
        """Return the field as a piece of the result, with the values that are not finite put back."""
        image = self.job.whole(field.copy() if copy else field, frame)
        if outside is not None:
            original = self.job.whole(self.job.read(frame)[0], frame)
            image[~np.isfinite(original)] = original[~np.isfinite(original)]
        return image

    def _stage(self, u: Field, out: Field, base: Field, stage: Stage, grid: Grid) -> None:
        h = np.array(grid.spacing)
        dtype = u.dtype

        def work(lo: int, hi: int) -> None:
            # A face takes the mean of its two voxels: one plane more on either side.
            first, last = max(lo - 1, 0), min(hi + 1, u.shape[1])
            coefficient = self.model.coefficient(Features(u, first, last, grid, self.kernel, self.weights))
            code, scale, g, kappa = LINEAR, 1.0, None, 1.0
            if isinstance(coefficient, Constant):
                scale = coefficient.maximum
            elif isinstance(coefficient, Face):
                code, kappa = coefficient.diffusivity.code, coefficient.diffusivity.kappa
            else:
                g = np.ascontiguousarray(coefficient.values, dtype)
            a = (scale * stage.step / h**2).astype(dtype)
            # Neither 1/kappa nor its square may overflow: inf * 0 is NaN.
            b = np.minimum(1 / (h * kappa), math.sqrt(np.finfo(dtype).max) / 4).astype(dtype)
            self.kernel.step(u, out, lo, hi, a, b, stage.momentum, code, g, first, grid.open_faces, self.weights)
            if stage.anchor:
                out[:, lo:hi] += dtype.type(stage.anchor) * (base[:, lo:hi] - out[:, lo:hi])

        self.slabs.run(work, u.shape[1], self.height)

    def _exact(self, u: Field, grid: Grid) -> Field:
        time = self.plan.stages[0].step
        assert isinstance(self.plan.scheme, Exact)
        taps = self.plan.scheme.taps(time, grid, u.dtype)
        out = self.field(0)
        if taps is None:
            self.slabs.poll()
            np.copyto(out, u)
            return transform(out, time, grid, self.slabs.threads)

        def work(lo: int, hi: int) -> None:
            part = np.empty((u.shape[0], hi - lo, *u.shape[2:]), u.dtype)
            self.kernel.smooth(u, lo, hi, taps, part)
            out[:, lo:hi] = part

        self.slabs.run(work, u.shape[1], self.height)
        return out

    def _series(self, u: Field, grid: Grid) -> Field:
        """Exact solution between walls, by the Chebyshev series."""
        assert isinstance(self.plan.scheme, Exact)
        weights = heat_weights(self.plan.stages[0].step, grid, self.plan.scheme.tail(u.dtype))
        total, h = self.field(2), np.array(grid.spacing)
        np.copyto(total, u)
        start, before = u, u
        for k in range(1, len(weights)):
            momentum, tau = chebyshev_stage(k, grid)
            a, weight = (tau / h**2).astype(u.dtype), u.dtype.type(weights[k])
            out = self.field(k % 2)
            if momentum and before is not out:
                np.copyto(out, before)

            def work(lo: int, hi: int, u: Field = u, out: Field = out, a: Field = a, m: float = momentum, weight: Any = weight) -> None:
                self.kernel.step(u, out, lo, hi, a, a, m, LINEAR, None, 0, grid.open_faces, self.weights)
                # Written as a change, so that a voxel without open faces keeps every bit.
                total[:, lo:hi] += weight * (out[:, lo:hi] - start[:, lo:hi])

            self.slabs.run(work, u.shape[1], self.height, quiet=True)
            self.slabs.report(k / (len(weights) - 1))
            before, u = u, out
        return total

    def _outside(self, u: Field, frame: Any) -> NDArray[np.bool_] | None:
        """Voxels that are not finite, or ``None``; raises when the job refuses them."""
        if self.job.input_dtype.kind != "f":
            return None
        found: list[int] = []
        largest = float(np.finfo(u.dtype).max)
        limit = (largest if isinstance(self.plan.scheme, Exact) else math.sqrt(largest)) / 16  # nonlinear models take squares
        per = u.size // u.shape[1]

        def work(lo: int, hi: int) -> None:
            found.append(self.kernel.count_unusable(u, lo * per, hi * per, limit))

        self.slabs.run(work, u.shape[1], self.height, quiet=True)
        if not sum(found):
            return None
        bad = ~np.isfinite(u)
        if u.max(where=~bad, initial=0) > limit or u.min(where=~bad, initial=0) < -limit:
            raise ValueError(f"The image has values beyond {limit:.2g}, which overflow in {u.dtype}; rescale it, or convert it to float64.")
        regions = self.job.regions_of(frame)
        seen = bad if regions is None else bad & (regions != 0)  # what mask, labels or a masked array hide may be anything
        if self.job.nan == "raise" and seen.any():
            first = tuple(int(i) for i in np.argwhere(seen)[0])
            raise ValueError(
                f"The image has {int(seen.sum())} values that are NaN or infinite, the first at {first} (channel, then filtered axes); "
                "use nan='mask' to diffuse around them."
            )
        return bad
