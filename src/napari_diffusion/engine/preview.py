"""A part of the filtered image without the rest: the planned schedule, run on the part and its surroundings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from napari_diffusion.coefficients import Coefficient
from napari_diffusion.engine.evolve import Image, diffuse
from napari_diffusion.engine.job import Job
from napari_diffusion.engine.plan import Plan, dry_run, make_plan
from napari_diffusion.engine.slabs import Event
from napari_diffusion.engine.window import Index, Window, job_of_whole, per_axis
from napari_diffusion.features import WIDEST, gaussian_taps
from napari_diffusion.models import Model
from napari_diffusion.schemes import Scheme

#: Share of the range by which a part may differ from the whole run.
EXACTNESS = 1e-3


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
) -> Image:
    r"""Filter a part of an image as the run on all of it would: ``diffuse(image, ...)[region]``, to 1e-3 of the range.

    The part is filtered in all its dimensions, together with surroundings of

    .. math:: \sqrt{d^2 + r^2}, \qquad P(|X| > d) = 10^{-3}/m

    voxels, where X has the heat kernel of the time :math:`g_{max} T` as its distribution, m is the number of sides on which the image
    goes on, and r is how far the features of the model look. Nothing else is read, so the image may be lazy and larger than the memory.

    Parameters
    ----------
    image, model, time, spacing, axes, channel_axis, mask, labels, nan, scheme, tolerance, strict, preserve_dtype, threads, backend
        As in `diffuse`, for the whole image.
    region
        An integer or a slice for every axis of the image, as in ``image[region]``.
    progress, cancel, channel_weights
        As in `diffuse`.

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
    hidden = np.ma.getmaskarray(image) if isinstance(image, np.ma.MaskedArray) else None
    job = job_of_whole(image, spacing, axes, channel_axis, mask, labels, nan, preserve_dtype, channel_weights)
    plan = make_plan(job, model, time, scheme, tolerance, strict, threads, backend)
    if hidden is not None:
        image, mask = np.ma.getdata(image), ~(hidden if job.channel_axis is None else hidden.any(axis=job.channel_axis))
    if not hasattr(image, "shape"):
        image = np.asarray(image)
    coefficient, reach = dry_run(model, job.grid())
    walled = max(reach) > 1 and any(_walls(image, mask, labels, nan, Window.around(job, region, [0] * len(job.axes))))
    halo = [h + walled for h in surroundings(job, plan, region, float(time), coefficient, reach)]
    window = Window.around(job, region, halo)
    near_mask, near_labels = window.crop(mask), window.crop(labels)
    if walled and window.cut:
        near_mask = np.ones(window.shape_of(near_labels), bool) if near_mask is None else near_mask.copy()
        window.fence(near_mask)
    # Kernels work along the last axis: a thin slice has to lie across it, or every row is short (2 to 3 times slower, measured).
    last = job.axes[-1]
    longest = max(job.axes, key=lambda i: (window.outer[i].stop - window.outer[i].start, i))
    part = diffuse(
        np.asarray(window.read(image)).swapaxes(longest, last),
        model,
        time=time,
        spacing=[job.spacing[job.axes.index({longest: last, last: longest}.get(i, i))] for i in job.axes],
        axes=job.axes,
        channel_axis=job.channel_axis,
        mask=window.swapped(near_mask, longest, last),
        labels=window.swapped(near_labels, longest, last),
        nan=nan,
        scheme=plan.scheme,
        tolerance=tolerance,
        strict=strict,
        preserve_dtype=preserve_dtype,
        threads=threads,
        backend=backend,
        progress=progress,
        cancel=cancel,
        channel_weights=channel_weights,
    ).swapaxes(longest, last)[window.inner]
    return part if hidden is None else np.ma.array(part, mask=hidden[tuple(region)])


def surroundings(job: Job, plan: Plan, region: Sequence[Index], time: float, coefficient: Coefficient, reach: Sequence[int]) -> list[int]:
    """Voxels along each diffusing axis that a part needs around it: those that matter, and never more than the exact halo.

    Beyond a side the image is replaced by its mirror image. That changes the part by half the tail of the heat kernel times the range;
    the other half of the budget is for the amplification by models that sharpen (measured, docs/develop/decisions.md).
    """
    part = Window.around(job, region, [0] * len(job.axes)).outer
    sides = sum((part[i].start > 0) + (part[i].stop < job.shape[i]) for i in job.axes)
    wide = []
    for axis, h, exact, look in zip(job.axes, job.spacing, plan.halo, per_axis(job, reach), strict=True):
        n = job.shape[axis]
        sigma = math.sqrt(2 * time * coefficient.maximum) / h
        spread = n if sigma >= min(n, WIDEST) else len(gaussian_taps(sigma, n, EXACTNESS / max(sides, 1))) - 1
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
