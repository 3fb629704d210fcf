"""Representative patches of an image, so that a choice takes bounded time and memory.

The bound does not depend on the size of the image, and lazy images are read in patches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field, FloatArray
from napari_diffusion.core.cancellation import CancelEvent, poll
from napari_diffusion.core.geometry import Domain
from napari_diffusion.core.grid import Grid, Place
from napari_diffusion.engine.inputs.guide import guide_of_box, guide_of_frame
from napari_diffusion.engine.problem import FrameIndex, Problem, make_problem
from napari_diffusion.estimation.noise.values import carries_noise
from napari_diffusion.operators.impulses.fill import fill_impulses
from napari_diffusion.operators.impulses.search import find_impulses, impulse_axes, stand_out

#: Maximum number of voxels (times channels) of all patches, and the number of one patch.
MAX_VOXELS, PATCH_VOXELS = 260_000, 32_000
#: Number of patches that are read for each one that is kept.
PATCHES_READ = 3
#: Maximum number of frames from which patches are read.
MAX_FRAMES = 5
#: Share of its voxels in which a patch must carry noise.
MIN_VALID_SHARE = 0.25

#: Smallest number of impulses that share a value, and their smallest share of the voxels with it,
#: from which others with this value may be impulses, too. Measured: shares of 0.39 to 0.64 with 3 %
#: of impulses on a photograph, 0.9 with 1 %, and 0 in saturated and cut-off places.
MIN_SHARED, MIN_SHARED_SHARE = 10, 0.25

#: Start and end of a box along each spatial axis [voxel].
Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Patch:
    """A box of one frame, in the layout of the kernels.

    Attributes
    ----------
    field
        Values, shape ``(C, *space)``.
    regions
        The regions, shape ``space``, or None for a single region.
    valid
        Voxels that carry noise, shape ``space``.
    inside
        Voxels that count, shape ``space``: those that are finite, inside mask and labels.
    spacing
        Voxel size [length].
    source
        Number of the frame.
    first, box, whole
        First voxel of the box, its shape, and that of the image, along the diffusing axes.
    spacings
        Voxel size along the diffusing axes [length].
    impulses
        Hot and dead voxels, shape of the field; None without any.
    place
        Where the box lies in the image, per spatial axis.
    following
        Reads the same box of the next frame along the axis of time; None for a single frame.
    guide
        The guide in the box, with the shape ``space`` or that of the field; None without one.
    """

    field: Field
    regions: NDArray[Any] | None
    valid: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    spacing: tuple[float, ...]
    source: int
    first: tuple[int, ...]
    box: tuple[int, ...]
    whole: tuple[int, ...]
    spacings: tuple[float, ...]
    impulses: NDArray[np.bool_] | None = None
    place: Place | None = None
    following: Callable[[], Patch] | None = None
    guide: NDArray[Any] | None = None

    @property
    def activity(self) -> float:
        """Standard deviation of the values [intensity]."""
        variances = [channel[self.valid].var(dtype=float) for channel in self.field]
        return float(np.sqrt(np.mean(variances)))

    def part(self, box: tuple[slice, ...]) -> Patch:
        """Return a box of the patch, with slices along the axes of ``space``; it has no frames."""
        long = iter([part for part, n in zip(box, self.valid.shape, strict=True) if n > 1])
        slices = [next(long) if n > 1 else slice(0, n) for n in self.box]
        guide = self.guide
        if guide is not None:
            guide = guide[box] if guide.ndim == len(box) else guide[:, *box]
        return replace(
            self,
            field=self.field[:, *box],
            regions=None if self.regions is None else self.regions[box],
            valid=self.valid[box],
            inside=self.inside[box],
            first=tuple(f + part.start for f, part in zip(self.first, slices, strict=True)),
            box=tuple(part.stop - part.start for part in slices),
            impulses=None if self.impulses is None else self.impulses[:, *box],
            place=None if self.place is None else self.place.moved([part.start for part in box]),
            following=None,
            guide=guide,
        )

    def of_guide(self) -> Patch:
        """Return the patch of the guide in the same box, to measure its noise; it has no frames."""
        assert self.guide is not None
        field = np.asarray(self.guide, float).reshape(-1, *self.valid.shape)
        inside = self.inside & np.isfinite(field).all(axis=0)
        _refuse_large_values(field[:, inside])
        return replace(
            self,
            field=field,
            inside=inside,
            valid=carries_noise(field) & inside,
            impulses=None,
            following=None,
            guide=None,
        )

    @cached_property
    def without_impulses(self) -> Field:
        """The field with impulses replaced by the mean of their neighbours."""
        if self.impulses is None:
            return self.field
        grid = Grid(self.field.shape[1:], self.spacing)
        field = self.field.copy()
        fill_impulses(field, self.impulses, self.valid, impulse_axes(grid), grid.spacing)
        return field


def sample_patches(
    problems: Sequence[Problem],
    cancel: CancelEvent | None = None,
    time_axes: Sequence[int] | None = None,
    window: Box | None = None,
) -> list[Patch]:
    """Choose patches from all problems together, or end with `Cancelled` at the ``cancel`` event.

    More patches than needed are read on a lattice over space and frames. The kept ones are evenly
    spaced in the order of their activity. Flat and busy parts are thus represented in the
    proportion that they have in the image. ``time_axes`` are the frame axes along which an object
    is repeated; by default the first one may be. Patches lie in the ``window`` along the diffusing
    axes, by default in the whole image.
    """
    share = max(1, round(MAX_VOXELS / PATCH_VOXELS * PATCHES_READ / len(problems)))

    def read() -> Iterator[Patch]:
        for number, problem in enumerate(problems):
            for patch in _lattice(problem, share, number * MAX_FRAMES, time_axes, window):
                poll(cancel)
                yield patch

    patches = [patch for patch in read() if patch.valid.mean() >= MIN_VALID_SHARE]
    if not patches:
        patches = [patch for patch in read() if patch.valid.any()]
    ordered = sorted(patches, key=lambda patch: patch.activity)
    total = sum(patch.field.size for patch in ordered)
    count = len(ordered) if total <= MAX_VOXELS else max(1, int(MAX_VOXELS * len(ordered) / total))
    kept = [ordered[int((k + 0.5) * len(ordered) / count)] for k in range(count)]
    shared = _shared_values(kept) if kept else []
    return [_with_shared_values(patch, shared) for patch in kept]


def _refuse_large_values(values: NDArray[np.floating]) -> None:
    """Raise ValueError for values whose fourth power overflows: moments of noise have it."""
    limit = float(np.finfo(float).max) ** 0.25 / 16
    if float(np.abs(values).max(initial=0)) > limit:
        raise ValueError(
            f"The image has values beyond {limit:.2g}, whose noise cannot be measured; rescale it."
        )


def _shared_values(patches: Sequence[Patch]) -> list[FloatArray]:
    """Return the values of each channel that are mostly those of impulses.

    Defective pixels and transmission errors leave the same exact value, such as 0 or the largest
    one. Where a filter looks at one voxel alone, an impulse in busy surroundings is not recognised.
    """
    shared = []
    for channel in range(len(patches[0].field)):
        values = [patch.field[channel][patch.valid] for patch in patches]
        marked = [p.field[channel][p.impulses[channel]] for p in patches if p.impulses is not None]
        own, counts = np.unique(np.concatenate([*marked, np.zeros(0)]), return_counts=True)
        own, counts = own[counts >= MIN_SHARED], counts[counts >= MIN_SHARED]
        numbers = [sum(int((part == value).sum()) for part in values) for value in own]
        shared.append(own[counts >= MIN_SHARED_SHARE * np.array(numbers, float)])
    return shared


def _with_shared_values(patch: Patch, shared: Sequence[FloatArray]) -> Patch:
    """Return a patch in which voxels of ``shared`` values that stand out are impulses, too."""
    axes = impulse_axes(Grid(patch.field.shape[1:], patch.spacing))
    if not axes or not any(values.size for values in shared):
        return patch
    marks = np.zeros(patch.field.shape, bool) if patch.impulses is None else patch.impulses.copy()
    for channel, own, values in zip(patch.field, marks, shared, strict=True):
        same = np.isin(channel, values) & patch.valid
        places = np.flatnonzero(same & ~own)
        chosen = places[stand_out(channel, patch.valid & ~same & ~own, axes, places)]
        own.reshape(-1)[chosen] = True
    return replace(patch, impulses=marks if marks.any() else None)


def _lattice(
    problem: Problem,
    share: int,
    source: int,
    time_axes: Sequence[int] | None,
    window: Box | None,
) -> Iterator[Patch]:
    """Read about ``share`` patches of a problem, from at most `MAX_FRAMES` frames."""
    for number, frame, box in _places(problem, share, window):
        patch = _read(problem, frame, box, source + number)
        next_frame = _next_frame(problem, frame, time_axes)
        if next_frame is not None:
            following = partial(_read, problem, next_frame, box, source + number)
            patch = replace(patch, following=following)
        yield patch


def paired_patches(
    problem: Problem, other: Problem, count: int, cancel: CancelEvent | None = None
) -> Iterator[tuple[Patch, Patch]]:
    """Read the same boxes of two images with the same axes, or end with `Cancelled`.

    About ``count`` boxes lie on a lattice over space and at most `MAX_FRAMES` frames. They do not
    overlap. An image of fewer boxes is read whole.
    """
    for number, frame, box in _places(problem, count):
        poll(cancel)
        yield _read(problem, frame, box, number), _read(other, frame, box, number)


def _places(
    problem: Problem, share: int, window: Box | None = None
) -> Iterator[tuple[int, FrameIndex, Box]]:
    """About ``share`` boxes of a problem, with the frame and its number, on a lattice."""
    if 0 in problem.shape:
        return
    window = window or tuple((0, problem.shape[i]) for i in problem.axes)
    sizes = [stop - start for start, stop in window]
    frames = list(problem.frames())
    count = min(MAX_FRAMES, len(frames))
    frames = [frames[int((k + 0.5) * len(frames) / count)] for k in range(count)]
    edges = _box_edges(sizes, max(1, PATCH_VOXELS // problem.channels))
    boxes = list(_boxes(sizes, edges, max(1, math.ceil(share / len(frames)))))
    for (number, frame), box in itertools.product(enumerate(frames), boxes):
        moved = zip(box, window, strict=True)
        yield number, frame, tuple((start + at, stop + at) for (start, stop), (at, _) in moved)


def _next_frame(
    problem: Problem, frame: FrameIndex, time_axes: Sequence[int] | None
) -> FrameIndex | None:
    """Next frame along the axis of time; for the last frame, the one before.

    Without ``time_axes``, it is the first frame axis of several frames.
    """
    axes = [i for i in problem.frame_axes if problem.shape[i] > 1]
    if time_axes is not None:
        axes = [i for i in axes if i in time_axes]
    if not axes:
        return None
    axis = axes[0]
    index = frame[axis]
    index = index + 1 if index + 1 < problem.shape[axis] else index - 1
    return (*frame[:axis], index, *frame[axis + 1 :])


def _box_edges(sizes: Sequence[int], voxels: int) -> list[int]:
    """Edges of a box of about ``voxels`` voxels, as close to a cube as the axes allow."""
    edges = [1] * len(sizes)
    remaining, order = float(voxels), sorted(range(len(sizes)), key=lambda i: sizes[i])
    for rank, axis in enumerate(order):
        edge = round(remaining ** (1 / (len(sizes) - rank)))
        edges[axis] = max(1, min(sizes[axis], edge))
        remaining /= edges[axis]
    # Stretch the edges a little, so that a whole number of boxes fills each axis.
    return [n // max(1, round(n / e)) for n, e in zip(sizes, edges, strict=True)]


def _boxes(sizes: Sequence[int], edges: Sequence[int], count: int) -> Iterator[Box]:
    """Place about ``count`` boxes of these edges on a regular lattice, without overlap."""
    capacity = [n // e for n, e in zip(sizes, edges, strict=True)]
    numbers = [1] * len(sizes)
    while math.prod(numbers) < count and any(k < c for k, c in zip(numbers, capacity, strict=True)):
        free = (i for i in range(len(sizes)) if numbers[i] < capacity[i])
        numbers[max(free, key=lambda i: capacity[i] / numbers[i])] += 1
    starts = [
        [round((k + 0.5) * n / number - e / 2) for k in range(number)]
        for n, e, number in zip(sizes, edges, numbers, strict=True)
    ]
    for corner in itertools.product(*starts):
        limits = zip(corner, edges, sizes, strict=True)
        firsts = [max(0, min(start, size - edge)) for start, edge, size in limits]
        yield tuple((first, first + edge) for first, edge in zip(firsts, edges, strict=True))


def _read(problem: Problem, frame: FrameIndex, box: Box, source: int) -> Patch:
    """Read one box of one frame."""
    space = dict(zip(problem.axes, (slice(*ends) for ends in box), strict=True))
    place = tuple(space.get(i, index) for i, index in enumerate(frame))
    # Frame axes stay, with one entry, so that the axes keep their numbers.
    index = tuple(slice(i, i + 1) if isinstance(i, int) else i for i in place)
    part = problem.image[index]
    regions = problem.regions_of(frame)
    if regions is not None:
        whole = [problem.shape[i] for i in problem.axes]
        regions = regions.reshape(whole)[tuple(space[i] for i in problem.axes)]
    data = part if isinstance(part, np.ma.MaskedArray) else np.asarray(part)
    guide = guide_of_box(problem, index)
    corner = Domain(place=problem.place.moved([first for first, _ in box]), guide=guide)
    own = make_problem(data, problem.recipe, problem.geometry, corner)
    field = own.read(next(iter(own.frames())))[0][own.filtered_channels]
    if regions is None:
        regions = own.regions_of(next(iter(own.frames())))
    else:
        regions = regions.reshape(own.space)
    inside = np.asarray(np.isfinite(field).all(axis=0))
    if regions is not None:
        inside &= regions != 0
    _refuse_large_values(field[:, inside])
    valid = carries_noise(field) & inside
    grid = own.grid()
    offsets, image_shape = _in_whole_image(problem)
    axes = impulse_axes(grid)
    impulses = find_impulses(field, np.asarray(valid, np.uint8), axes) if axes else None
    if impulses is not None and problem.recipe.impulses == "mask":
        field = field.copy()
        fill_impulses(field, impulses, valid, axes, grid.spacing)
        impulses = None
    if problem.recipe.transform != "none":
        field = field.copy()
        problem.recipe.stabilise(field)
    return Patch(
        field=field,
        regions=regions,
        valid=valid,
        inside=inside,
        spacing=own.kernel_spacing,
        source=source,
        first=tuple(start + at for (start, _), at in zip(box, offsets, strict=True)),
        box=tuple(stop - start for start, stop in box),
        whole=image_shape,
        spacings=problem.spacing,
        place=own.grid().place,
        impulses=impulses if impulses is not None and impulses.any() else None,
        guide=None if guide is None else _guide_in(own),
    )


def _guide_in(problem: Problem) -> NDArray[Any]:
    """Return the guide of the only frame of a problem, without channels that are copied."""
    guide = guide_of_frame(problem, next(iter(problem.frames())))
    has_channels = len(guide) == problem.channels > 1
    return guide[problem.filtered_channels] if has_channels else guide[0]


def _in_whole_image(problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First voxel of a problem in the whole image, and the shape of that, per diffusing axis."""
    place, count = problem.place, len(problem.axes)
    levels = [place.along.index(axis) for axis in range(count)]
    return tuple(place.first[k] for k in levels), tuple(place.shape[k] for k in levels)
