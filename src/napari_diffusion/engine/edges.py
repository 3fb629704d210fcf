"""What a model takes for an edge: gradient magnitudes of the image, its diffusivity over the gradient, and its conductance in place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion import kernels
from napari_diffusion.coefficients import Constant, Curvature, Face, Gradient, Tensor
from napari_diffusion.engine.job import Field, Job
from napari_diffusion.engine.plan import CHUNK, dry_run
from napari_diffusion.engine.slabs import Cancelled, Event, Slabs, cpu_count
from napari_diffusion.engine.window import Index, Window, job_of_whole, per_axis
from napari_diffusion.features import Features, Scratch, smoothing_reach
from napari_diffusion.grid import Grid
from napari_diffusion.models import Model

#: Planes of a large frame that gradients are sampled from, and voxels along each side of a plane.
PLANES, SIDE = 7, 512


@dataclass(frozen=True)
class Gradients:
    """Gradient magnitudes of an image.

    Attributes
    ----------
    magnitudes
        Those of the sampled voxels, ascending [intensity/length].
    """

    magnitudes: NDArray[np.float64]

    def above(self, threshold: float) -> float:
        """Share of voxels that are steeper than ``threshold`` [intensity/length]; 0 without voxels."""
        count = self.magnitudes.size
        return (count - int(np.searchsorted(self.magnitudes, threshold, side="right"))) / count if count else 0.0

    def histogram(self, bins: int = 100) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Counts and bin edges [intensity/length], the bins growing by a constant factor.

        Voxels without any gradient belong to no bin. The bins end four decades below the steepest voxel; what is flatter counts in the
        first. Both are empty for a flat image.
        """
        steep = self.magnitudes[self.magnitudes > 0]
        if not steep.size:
            return np.zeros(0, np.intp), np.zeros(0)
        high = float(steep[-1])
        low = max(float(steep[0]), 1e-4 * high)
        edges = np.geomspace(low, high * 1.001 if high > low else low * 2, bins + 1)
        counts, _ = np.histogram(np.maximum(steep, low), edges)
        return counts, edges


def gradients(
    image: Any,
    *,
    sigma: float = 0.0,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    frame: Sequence[int] | None = None,
    cancel: Event | None = None,
) -> Gradients:
    r"""Gradient magnitudes :math:`|\nabla u_\sigma|` in some planes of a frame, as the models measure them.

    Parameters
    ----------
    image, spacing, axes, channel_axis, mask, labels
        As in `diffuse`; only the planes and their surroundings are read. Values that are not finite, and what mask or labels exclude, are
        left out.
    sigma
        Gaussian to smooth with before [length].
    frame
        Index along the axes that do not diffuse (time, position); default the middle.
    cancel
        Stops between two planes.

    Returns
    -------
    Gradients
        Of at most 7 planes of 512 × 512 voxels, evenly spread over the frame.

    Raises
    ------
    ValueError
        As `diffuse`, and for values whose squares overflow.
    """
    job = job_of_whole(image, spacing, axes, channel_axis, mask, labels, "mask", False, None)
    image = image if hasattr(image, "shape") else np.asarray(image)
    indices = [job.shape[i] // 2 for i in job.frame_axes] if frame is None else list(frame)
    found = [np.zeros(0)]
    for region in _sample(job, indices):
        if cancel is not None and cancel.is_set():
            raise Cancelled("Looking for gradients was cancelled.")
        window = Window.around(job, region, per_axis(job, [1 + r for r in smoothing_reach(sigma, job.grid())]))
        box = window.job_of_box(image, mask, labels, "mask")
        steepness, usable = np.zeros(_space_of(box)), np.zeros(_space_of(box), bool)
        for index, features, seen in looks(box):
            steepness[index] = np.sqrt(features.grad2(sigma)).reshape(steepness[index].shape)
            usable[index] = seen.reshape(steepness[index].shape)
        found.append(window.part_of(steepness)[window.part_of(usable)])
    steep = np.sort(np.concatenate(found))
    if not np.isfinite(steep[-1:]).all():  # NaN is sorted last
        raise ValueError("The image has values whose squares overflow, and no gradients for that; rescale it.")
    return Gradients(steep)


def diffusivity_over(model: Model, gradient: NDArray[np.floating], spacing: float = 1.0) -> NDArray[np.float64]:
    r"""Diffusivity g(s) of a model on ramps of slopes ``gradient`` [intensity/length], from 0 to its maximum.

    The model is asked on ramps sampled with ``spacing`` [length], so that this holds for any model whose coefficient depends on the
    gradient.
    """
    backend = kernels.get("reference", 1)
    _, (reach,) = dry_run(model, Grid((3,), (spacing,)))
    size = 4 * reach + 5
    grid, ramp, middle = Grid((size,), (spacing,)), np.arange(size) * spacing, size // 2
    slopes = np.asarray(gradient, float)
    values = [_at_voxels(model, Features((s * ramp)[None], 0, size, grid, backend, np.ones(1)))[middle] for s in slopes.ravel()]
    return np.asarray(values, float).reshape(slopes.shape)


def conductance(
    image: Any,
    model: Model,
    *,
    region: Sequence[Index] | None = None,
    spacing: float | Sequence[float] = 1.0,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    mask: Any = None,
    labels: Any = None,
    nan: str = "raise",
    cancel: Event | None = None,
) -> NDArray[np.floating]:
    r"""Conductance of the image as it is: the coefficient g with which a run of the model starts, at the voxels.

    1 where the model smooths freely (total variation: more where it is flat), 0 where it holds an edge. For the classic Perona-Malik
    model, which has one g per face, it is g of the gradient magnitude; for a tensor model, its smallest diffusivity.

    Parameters
    ----------
    image, model, spacing, axes, channel_axis, mask, labels, nan
        As in `diffuse`.
    region
        An integer or a slice for every axis of the image, as in ``image[region]``; default all of it. Only this and its
        surroundings are read.
    cancel
        Stops between two slabs.

    Returns
    -------
    numpy.ndarray
        Shape of ``image[region]`` without the channel axis; 0 outside mask and labels and where the image is not finite.
    """
    return over_image(_at_voxels, image, model, region, spacing, axes, channel_axis, mask, labels, nan, cancel)


def over_image(
    measure: Callable[[Model, Features], Field],
    image: Any,
    model: Model,
    region: Sequence[Index] | None,
    spacing: float | Sequence[float],
    axes: Sequence[int] | None,
    channel_axis: int | None,
    mask: Any,
    labels: Any,
    nan: str,
    cancel: Event | None,
) -> NDArray[np.floating]:
    """Map of what ``measure`` returns for the planes of features; the other arguments, and what is returned, as `conductance`."""
    job = job_of_whole(image, spacing, axes, channel_axis, mask, labels, nan, False, None)
    image = image if hasattr(image, "shape") else np.asarray(image)
    wanted = [slice(None)] * len(job.shape) if region is None else region
    _, reach = dry_run(model, job.grid())
    window = Window.around(job, wanted, per_axis(job, reach))
    box = window.job_of_box(image, mask, labels, nan)
    values = np.zeros(_space_of(box), box.working)
    for index, features, usable in looks(box, model):
        target = values[index].reshape(box.space)

        def work(part: Features, target: Field = target) -> None:
            target[part.lo : part.hi] = measure(model, part)

        in_slabs(work, features, cancel)
        target[~usable] = 0
    return window.part_of(values)


def in_slabs(work: Callable[[Features], object], features: Features, cancel: Event | None) -> None:
    """Call ``work`` with the features of a few planes at a time, in several threads."""

    def of_slab(low: int, high: int) -> None:
        for start in range(low, high, CHUNK):
            work(dataclasses.replace(features, lo=start, hi=min(start + CHUNK, high)))

    with Slabs(cpu_count(), cancel, lambda share: None) as slabs:
        slabs.run(of_slab, features.hi, CHUNK)


def _at_voxels(model: Model, features: Features) -> Field:
    """Return a model's coefficient as one number per voxel of the planes of ``features``."""
    coefficient = model.coefficient(features)
    if isinstance(coefficient, Constant):
        return np.full((features.hi - features.lo, *features.u.shape[2:]), coefficient.maximum)
    if isinstance(coefficient, Face):
        return features.apply(coefficient.diffusivity, features.grad2(0.0))
    if isinstance(coefficient, Gradient):
        return coefficient.maximum * features.apply(coefficient.diffusivity, coefficient.values)
    if isinstance(coefficient, Curvature):
        return features.apply(coefficient.diffusivity, coefficient.values)
    if isinstance(coefficient, Tensor):
        least: Field = np.min(coefficient.spectrum(features.eigenvalues(coefficient.matrix), *coefficient.extra), 0)
        return least
    return coefficient.values


def looks(box: Job, model: Model | None = None) -> Iterator[tuple[Any, Features, NDArray[np.bool_]]]:
    """For every frame of a job: its index without channels, features of all of it, and which voxels are finite and in a region.

    With a model, the features are those of the image as that model diffuses it.
    """
    backend, scratch = kernels.get(None, len(box.space)), Scratch()
    # A single voxel has nothing to exchange with.
    for frame in box.frames() if 0 not in box.shape and box.space != (1, 1, 1) else []:
        field, _ = box.read(frame)
        outside = np.logical_or.reduce(~np.isfinite(field))
        broken = bool(outside.any())
        if broken:
            if box.nan == "raise":
                raise ValueError("The image has values that are NaN or infinite; use nan='mask' to leave them out.")
            field = np.where(outside, field.dtype.type(0), field)
        if model is not None and model.encodes:
            field = field.copy()
            model.encode(field)
        regions = box.regions_of(frame)
        grid = box.grid(box.walls(frame, outside if broken else None))
        features = Features(field, 0, field.shape[1], grid, backend, box.weights.astype(field.dtype), scratch)
        usable = ~outside if regions is None else np.logical_and(~outside, regions != 0)
        yield tuple(part for i, part in enumerate(frame) if i != box.channel_axis), features, usable


def _sample(job: Job, frame: Sequence[int]) -> Iterator[list[Index]]:
    """Regions of some planes: evenly spread along the first axis that diffuses, the middle of each."""
    if 0 in job.shape:
        return
    others = iter(frame)
    region: list[Index] = [slice(None) if i in job.axes or i == job.channel_axis else next(others) for i in range(len(job.shape))]
    flat = job.axes[-2:]
    for axis in flat:
        first = max(0, (job.shape[axis] - SIDE) // 2)
        region[axis] = slice(first, first + SIDE)
    through = [i for i in job.axes if i not in flat]
    for axis in through[1:]:
        region[axis] = job.shape[axis] // 2
    if not through:
        yield region
        return
    planes = job.shape[through[0]]
    count = min(PLANES, planes)
    for k in range(count):
        region[through[0]] = (2 * k + 1) * planes // (2 * count)
        yield list(region)


def _space_of(box: Job) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(box.shape) if i != box.channel_axis)
