"""A part of the filtered image without the rest: the planned schedule, run on the part and its surroundings; or a draft of it."""

from __future__ import annotations

import math
import time as clock
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from napari_diffusion.coefficients import Coefficient, Curvature
from napari_diffusion.engine.evolve import Image, diffuse
from napari_diffusion.engine.job import Job
from napari_diffusion.engine.plan import Plan, dry_run, make_plan
from napari_diffusion.engine.slabs import Event
from napari_diffusion.engine.solver import NotFinite
from napari_diffusion.engine.window import Index, Window, job_of_whole, per_axis
from napari_diffusion.features import WIDEST, gaussian_taps
from napari_diffusion.models import Model
from napari_diffusion.schemes import FSI, Exact, Scheme

#: Share of the range by which a part may differ from the whole run.
EXACTNESS = 1e-3
#: Share of the bound of a curvature's weights with which it carries anything far: they are 1 where the image is smooth, and meet the bound
#: of 2 at single voxels.
CARRIED = 0.5
#: How much narrower the surroundings of a draft are, and the largest diffusivity that they are made for: 10 and 100 are rare.
NARROWER, FREELY = 5, 2.0
#: Cycles of a draft, and the largest diffusivity in it.
CYCLES, MOST = 2, 25.0
#: A preview that takes longer is preceded by a draft [s].
MOMENT = 0.2
#: Stages that take as long as making the tensors once (measured: 6 to 14, docs/develop/decisions.md).
STAGES_PER_TENSOR = 10


def preview(
    image: Any,
    model: Model,
    *,
    region: Sequence[Index],
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
    draft: bool = False,
) -> Image:
    r"""Filter a part of an image as the run on all of it would: ``diffuse(image, ...)[region]``, to 1e-3 of the range.

    The part is filtered in all its dimensions, together with surroundings of

    .. math:: \sqrt{d^2 + r^2}, \qquad P(|X| > d) = 10^{-3}/(m\,s)

    voxels, where X has the heat kernel of the time :math:`g T` as its distribution, m is the number of sides on which the image
    goes on, s is 1 or what the model says (`Model.switches`), and r is how far the features of the model look; g is the largest
    diffusivity of the model, and 1 for the motion by curvature. Nothing else is read, so the image may be lazy and larger than the memory.

    Parameters
    ----------
    image, model, time, spacing, axes, channel_axis, mask, labels, nan, scheme, tolerance, strict, preserve_dtype, threads, backend
        As in `diffuse`, for the whole image.
    region
        An integer or a slice for every axis of the image, as in ``image[region]``.
    progress, cancel, channel_weights
        As in `diffuse`.
    draft
        Make a draft instead: a fifth of the surroundings, diffusivities of at most 25 where the model can do that (`Model.bounded`), and
        two cycles of `schemes.FSI` where these are fewer stages. It differs from the run by at most 2 % of the range (root mean square,
        at 2.5 voxel²; more where thresholds are several times the noise), and takes a third to a hundredth of the time.

    Returns
    -------
    numpy.ndarray
        The part, in the dtype that `diffuse` returns.

    Raises
    ------
    TypeError, ValueError, MemoryError, Cancelled
        As `diffuse`; with ``nan="raise"`` for a NaN in the part or its surroundings only.
    IndexError
        For a region outside the image.

    Notes
    -----
    A model that smooths before it looks at the gradient does so by another, slightly different sum where the image has walls (mask,
    labels, NaN). Of a lazy image or lazy labels, only walls near the part are known; far ones may then change the fourth digit.
    """
    return Excerpt(
        image,
        model,
        region=region,
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
        channel_weights=channel_weights,
        draft=draft,
    ).run(progress, cancel)


@dataclass(frozen=True)
class Excerpt:
    """A preview that can be asked how much work it is before it is made; attributes as the parameters of `preview`."""

    image: Any
    model: Model
    _: KW_ONLY
    region: Sequence[Index]
    time: float
    spacing: float | Sequence[float] = 1.0
    axes: Sequence[int] | None = None
    channel_axis: int | None = None
    mask: Any = None
    labels: Any = None
    nan: str = "raise"
    scheme: str | Scheme = "auto"
    tolerance: float = 1e-3
    strict: bool = False
    preserve_dtype: bool = False
    threads: int | None = None
    backend: str | None = None
    channel_weights: Sequence[float] | None = None
    draft: bool = False

    @cached_property
    def job(self) -> Job:
        """The checked job on the whole image."""
        where, walls = (self.spacing, self.axes, self.channel_axis), (self.mask, self.labels, self.nan)
        return job_of_whole(self.image, *where, *walls, self.preserve_dtype, self.channel_weights)

    @cached_property
    def plan(self) -> Plan:
        """The schedule: that of the whole run, or a shorter one of a draft."""
        how = self.threads, self.backend
        plan = make_plan(self.job, self._runs, self.time, self.scheme, self.tolerance, self.strict, *how)
        if not self.draft or isinstance(plan.scheme, Exact):
            return plan
        short = make_plan(self.job, self._runs, self.time, FSI(cycles=CYCLES), self.tolerance, False, *how)
        return short if short.steps < plan.steps else plan

    @cached_property
    def window(self) -> Window:
        """The part with its surroundings: what is read."""
        job, (coefficient, reach) = self.job, self._looks
        part = Window.around(job, self.region, [0] * len(job.axes))
        fastest = coefficient.maximum * (CARRIED if isinstance(coefficient, Curvature) else 1.0)
        fastest = min(fastest, FREELY) if self.draft else fastest
        left = EXACTNESS / (1.0 if self.draft else self.model.switches)
        halo = surroundings(job, self.plan, part, float(self.time) * fastest, reach, left)
        narrow = [math.ceil(h / NARROWER) for h in halo] if self.draft else halo
        return Window.around(job, self.region, [h + self._walled for h in narrow])

    @property
    def work(self) -> float:
        """Voxels times stages, tensors counted as several: in proportion to the time that this takes."""
        size = math.prod(part.stop - part.start for part in self.window.outer)
        return float(size) * (self.plan.steps + STAGES_PER_TENSOR * self.plan.tensors_made)

    def run(self, progress: Callable[[float], object] | None = None, cancel: Event | None = None) -> Image:
        """Make the preview."""
        job, window = self.job, self.window
        image, mask = self._image_and_mask
        near_mask, near_labels = window.crop(mask), window.crop(self.labels)
        if self._walled and window.cut:
            near_mask = np.ones(window.shape_of(near_labels), bool) if near_mask is None else near_mask.copy()
            window.fence(near_mask)
        order = self._order
        try:
            part = diffuse(
                window.reordered(np.asarray(window.read(image)), order),
                self._runs,
                time=self.time,
                spacing=[job.spacing[job.axes.index(i)] for i in order],
                axes=job.axes,
                channel_axis=job.channel_axis,
                mask=window.reordered(near_mask, order),
                labels=window.reordered(near_labels, order),
                nan=self.nan,
                scheme=self.plan.scheme,
                tolerance=self.tolerance,
                strict=self.plan.strict,
                preserve_dtype=self.preserve_dtype,
                threads=self.threads,
                backend=self.backend,
                progress=progress,
                cancel=cancel,
                channel_weights=self.channel_weights,
            )
        except NotFinite as error:
            at = window.index_of(error.index, order)
            raise NotFinite(error.count, at, "The part of the image that is looked at") from None
        part = window.reordered(part, order, back=True)[window.inner]
        return part if self._hidden is None else np.ma.array(part, mask=self._hidden[tuple(self.region)])

    @property
    def _runs(self) -> Model:
        """The model that runs: a draft makes fewer stages with one that is less free where the image is flat."""
        return self.model.bounded(MOST) if self.draft else self.model

    @property
    def _order(self) -> list[int]:
        """Diffusing axes in the order in which they run: the longest as rows, the shortest within the planes that slabs are made of.

        A thin slice would have short rows (2 to 3 times slower, measured), or few planes, of which a slab looks at as many beyond itself
        as it has; and rows that are neighbours along it are then close together in memory.
        """
        size = {i: self.window.outer[i].stop - self.window.outer[i].start for i in self.job.axes}
        if self.plan.strict:  # its stencil looks for ways around walls along the axes in their order and back: it may be reversed
            return sorted(size, reverse=size[self.job.axes[0]] > size[self.job.axes[-1]])
        *rest, longest = sorted(size, key=lambda i: (size[i], i))
        return [*rest[::-1], longest]

    @cached_property
    def _hidden(self) -> Any:
        return np.ma.getmaskarray(self.image) if isinstance(self.image, np.ma.MaskedArray) else None

    @cached_property
    def _image_and_mask(self) -> tuple[Any, Any]:
        """Image that can be indexed, and the mask, that of a masked array included."""
        if self._hidden is not None:
            channel = self.job.channel_axis
            return np.ma.getdata(self.image), ~(self._hidden if channel is None else self._hidden.any(axis=channel))
        return (self.image if hasattr(self.image, "shape") else np.asarray(self.image)), self.mask

    @cached_property
    def _walled(self) -> bool:
        """Whether the image has walls that change what the model sees."""
        image, mask = self._image_and_mask
        part = Window.around(self.job, self.region, [0] * len(self.job.axes))
        return max(self._looks[1]) > 1 and any(_walls(image, mask, self.labels, self.nan, part))

    @cached_property
    def _looks(self) -> tuple[Coefficient, list[int]]:
        """What the model makes of a few zeros, and how far it looks."""
        return dry_run(self.model, self.job.grid())


@dataclass(frozen=True)
class Look:
    """What can be shown.

    Attributes
    ----------
    picture
        The filtered part, or something else over it.
    better
        Makes the exact one, where this is a draft.
    seconds
        How long that is expected to take, where it is known.
    region
        Which part of the image it is, where that is not what was asked for but a first impression, made while others are compiled.
    """

    picture: Any
    better: Callable[[Event | None], Look] | None = None
    seconds: float | None = None
    region: tuple[Any, ...] | None = None


class Previewer:
    """Makes previews: a draft first, where the exact one will take more than a moment. It learns how fast each model is here."""

    def __init__(self) -> None:
        self._paces: dict[type[Model], deque[float]] = {}

    def look(self, excerpt: Excerpt, cancel: Event | None = None, drafted: bool = False) -> Look:
        """Return the exact preview within a moment, or where there has been a draft; or else a draft that can be asked for a better one."""
        draft, seconds = replace(excerpt, draft=True), self.expects(excerpt)
        if drafted or (seconds is not None and seconds <= MOMENT) or draft.work > excerpt.work / 2:
            return Look(self._make(excerpt, cancel))
        picture = self._make(draft, cancel)
        return Look(picture, lambda cancel: Look(self._make(excerpt, cancel)), self.expects(excerpt))

    def expects(self, excerpt: Excerpt) -> float | None:
        """Return how long a preview will take [s]; ``None`` before two of its model: the first may have waited for the compiler."""
        paces = self._paces.get(type(excerpt.model), ())
        return min(paces) * excerpt.work if len(paces) > 1 else None

    def _make(self, excerpt: Excerpt, cancel: Event | None) -> Image:
        began = clock.perf_counter()
        picture = excerpt.run(cancel=cancel)
        paces = self._paces.setdefault(type(excerpt.model), deque(maxlen=3))
        paces.append((clock.perf_counter() - began) / max(excerpt.work, 1.0))
        return picture


def rehearse(image: Any, model: Model, *, cancel: Event | None = None, **keywords: Any) -> None:
    """Filter a few voxels like those of an image, so that all that is compiled on first use is compiled; arguments as `diffuse`."""
    excerpt = Excerpt(image, model, region=(slice(None),) * len(image.shape), **keywords)
    job = excerpt.job
    shape = [1 if i in job.frame_axes else n if i == job.channel_axis else min(n, 4) for i, n in enumerate(job.shape)]
    space = tuple(n for i, n in enumerate(shape) if i in job.axes)
    few = {"mask": None, "labels": None if keywords.get("labels") is None else np.arange(math.prod(space)).reshape(space) % 2 + 1}
    for strict in {excerpt.strict, False}:  # a draft never is
        keywords |= few | {"time": 1e-3 * min(job.spacing) ** 2, "strict": strict}
        diffuse(np.ones(shape, job.input_dtype), model, cancel=cancel, **keywords)


def surroundings(job: Job, plan: Plan, part: Window, time: float, reach: Sequence[int], left: float = EXACTNESS) -> list[int]:
    """Voxels along each diffusing axis that a part needs around it: those that matter, and never more than the exact halo.

    Beyond a side the image is replaced by its mirror image. That changes the part by half the tail of the heat kernel of ``time``, of which
    ``left`` is outside, times the range; the other half of the budget is for the amplification by models that sharpen (measured,
    docs/develop/decisions.md).
    """
    sides = sum((part.outer[i].start > 0) + (part.outer[i].stop < job.shape[i]) for i in job.axes)
    wide = []
    for axis, h, exact, look in zip(job.axes, job.spacing, plan.halo, per_axis(job, reach), strict=True):
        n = job.shape[axis]
        sigma = math.sqrt(2 * time) / h
        spread = n if sigma >= min(n, WIDEST) else len(gaussian_taps(sigma, n, left / max(sides, 1))) - 1
        wide.append(min(exact, math.ceil(math.hypot(spread, look))) if n > 1 else 0)
    return wide


def _walls(image: Any, mask: Any, labels: Any, nan: str, window: Window) -> list[bool]:
    """Whether mask, labels and NaN make walls anywhere in the frames of the part; what is lazy is not looked at."""
    frames = tuple(slice(None) if i in window.job.axes else part for i, part in enumerate(window.outer))
    found = []
    for regions in (mask, labels):
        if isinstance(regions, np.ndarray):
            here = window.frames_of(regions)
            found.append(bool(here.size) and not (here.flat[0] and (here == here.flat[0]).all()))
    if nan == "mask" and isinstance(image, np.ndarray) and image.dtype.kind == "f":
        found.append(not np.isfinite(image[frames]).all())
    return found
