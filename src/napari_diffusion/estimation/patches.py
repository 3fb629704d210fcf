"""A few representative pieces of an image, so that choosing takes a bounded time and memory, however large or lazy the image is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.problem import FrameIndex, Problem, make_problem
from napari_diffusion.estimation.noise import carries_noise

#: Voxels (times channels) that are looked at, and of one piece.
MAX_VOXELS, PATCH_VOXELS = 260_000, 32_000
#: Pieces that are read for each one that is taken, and the most frames they come from.
PATCHES_READ, MAX_FRAMES = 3, 5
#: A piece must carry noise in this share of its voxels.
MIN_VALID_SHARE = 0.25


@dataclass(frozen=True)
class Patch:
    """A box of one frame, as kernels see it: field ``(C, *space)``, its regions, the voxels that carry noise, and which frame it is of.

    ``following`` reads the same box of the next frame, along the first axis of frames; ``None`` where there is one frame only.
    """

    field: Field
    regions: NDArray[Any] | None
    valid: NDArray[np.bool_]
    spacing: tuple[float, ...]
    source: int
    following: Callable[[], Patch] | None = None

    @property
    def activity(self) -> float:
        """Scatter of the values [intensity]."""
        return float(
            np.sqrt(np.mean([channel[self.valid].var(dtype=float) for channel in self.field]))
        )


def sample_patches(problems: Sequence[Problem]) -> list[Patch]:
    """Choose pieces from all jobs together.

    More pieces than needed are read on a lattice over space and frames; those that are taken stand evenly in the order of their scatter,
    so that flat and busy parts are there in the proportion in which the image has them.
    """
    share = max(1, round(MAX_VOXELS / PATCH_VOXELS * PATCHES_READ / len(problems)))
    found = [
        patch
        for number, problem in enumerate(problems)
        for patch in _lattice(problem, share, number * MAX_FRAMES)
        if patch.valid.mean() >= MIN_VALID_SHARE
    ]
    if not found:
        found = [
            patch
            for number, problem in enumerate(problems)
            for patch in _lattice(problem, share, number * MAX_FRAMES)
            if patch.valid.any()
        ]
    ordered = sorted(found, key=lambda patch: patch.activity)
    total = sum(patch.field.size for patch in ordered)
    count = len(ordered) if total <= MAX_VOXELS else max(1, int(MAX_VOXELS * len(ordered) / total))
    return [ordered[int((k + 0.5) * len(ordered) / count)] for k in range(count)]


def _lattice(problem: Problem, share: int, source: int) -> Iterator[Patch]:
    if 0 in problem.shape:
        return
    sizes = [problem.shape[i] for i in problem.axes]
    frames = list(problem.frames())
    frames = [
        frames[int((k + 0.5) * len(frames) / min(MAX_FRAMES, len(frames)))]
        for k in range(min(MAX_FRAMES, len(frames)))
    ]
    edges = _edges(sizes, max(1, PATCH_VOXELS // problem.channels))
    boxes = list(_boxes(sizes, edges, max(1, math.ceil(share / len(frames)))))
    for (number, frame), box in itertools.product(enumerate(frames), boxes):
        patch, then = _read(problem, frame, box, source + number), _next(problem, frame)
        yield (
            patch
            if then is None
            else replace(patch, following=partial(_read, problem, then, box, source + number))
        )


def _next(problem: Problem, frame: FrameIndex) -> FrameIndex | None:
    """Next frame along the first axis that has several, or the one before the last; the first axis is time, if one is."""
    axis = next((i for i in problem.frame_axes if problem.shape[i] > 1), None)
    if axis is None:
        return None
    here = frame[axis]
    return (
        *frame[:axis],
        here + 1 if here + 1 < problem.shape[axis] else here - 1,
        *frame[axis + 1 :],
    )


def _edges(sizes: Sequence[int], voxels: int) -> list[int]:
    """Edges of a box of about ``voxels``, as nearly a cube of voxels as the axes allow."""
    edges = [1] * len(sizes)
    left, order = float(voxels), sorted(range(len(sizes)), key=lambda i: sizes[i])
    for rank, axis in enumerate(order):
        edges[axis] = max(1, min(sizes[axis], round(left ** (1 / (len(sizes) - rank)))))
        left /= edges[axis]
    # Stretched a little where that many of them fill the axis.
    return [n // max(1, round(n / e)) for n, e in zip(sizes, edges, strict=True)]


def _boxes(
    sizes: Sequence[int], edges: Sequence[int], count: int
) -> Iterator[tuple[tuple[int, int], ...]]:
    """Place about ``count`` boxes of these edges on an even lattice, without overlap."""
    room = [n // e for n, e in zip(sizes, edges, strict=True)]
    numbers = [1] * len(sizes)
    while math.prod(numbers) < count and any(k < r for k, r in zip(numbers, room, strict=True)):
        axis = max(
            (i for i in range(len(sizes)) if numbers[i] < room[i]),
            key=lambda i: room[i] / numbers[i],
        )
        numbers[axis] += 1
    starts = [
        [round((k + 0.5) * n / number - e / 2) for k in range(number)]
        for n, e, number in zip(sizes, edges, numbers, strict=True)
    ]
    for corner in itertools.product(*starts):
        yield tuple(
            (max(0, min(s, n - e)), max(0, min(s, n - e)) + e)
            for s, e, n in zip(corner, edges, sizes, strict=True)
        )


def _read(
    problem: Problem, frame: FrameIndex, box: tuple[tuple[int, int], ...], source: int
) -> Patch:
    space = dict(zip(problem.axes, (slice(*ends) for ends in box), strict=True))
    place = tuple(space.get(i, index) for i, index in enumerate(frame))
    # A frame axis stays, with one entry, so that the axes keep their numbers.
    part = problem.image[tuple(slice(i, i + 1) if isinstance(i, int) else i for i in place)]
    regions = problem.regions_of(frame)
    kept = None
    if regions is not None:
        whole = [problem.shape[i] for i in problem.axes]
        kept = regions.reshape(whole)[tuple(space[i] for i in problem.axes)]
    data = part if isinstance(part, np.ma.MaskedArray) else np.asarray(part)
    own = make_problem(data, problem.geometry, Domain(nan="mask"))
    field, _ = own.read(next(iter(own.frames())))
    regions = own.regions_of(next(iter(own.frames()))) if kept is None else kept.reshape(own.space)
    valid = carries_noise(field)
    return Patch(
        field,
        regions,
        valid if regions is None else valid & (regions != 0),
        own.kernel_spacing,
        source,
    )
