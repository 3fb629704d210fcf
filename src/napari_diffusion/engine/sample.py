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

from napari_diffusion.engine.job import Field, Index, Job, make_job
from napari_diffusion.estimate import carries_noise

#: Voxels (times channels) that are looked at, and of one piece.
BUDGET, PIECE = 260_000, 32_000
#: Pieces that are read for each one that is taken, and the most frames they come from.
CANDIDATES, FRAMES = 3, 5
#: A piece must carry noise in this share of its voxels.
LIVELY = 0.25


@dataclass(frozen=True)
class Piece:
    """A box of one frame, as kernels see it: field ``(C, *space)``, its regions, the voxels that carry noise, and which frame it is of.

    ``following`` reads the same box of the next frame, along the first axis of frames; ``None`` where there is one frame only.
    """

    field: Field
    regions: NDArray[Any] | None
    usable: NDArray[np.bool_]
    spacing: tuple[float, ...]
    source: int
    following: Callable[[], Piece] | None = None

    @property
    def activity(self) -> float:
        """Scatter of the values [intensity]."""
        return float(np.sqrt(np.mean([channel[self.usable].var(dtype=float) for channel in self.field])))


def sample(jobs: Sequence[Job]) -> list[Piece]:
    """Choose pieces from all jobs together.

    More pieces than needed are read on a lattice over space and frames; those that are taken stand evenly in the order of their scatter,
    so that flat and busy parts are there in the proportion in which the image has them.
    """
    share = max(1, round(BUDGET / PIECE * CANDIDATES / len(jobs)))
    found = [piece for number, job in enumerate(jobs) for piece in _lattice(job, share, number * FRAMES) if piece.usable.mean() >= LIVELY]
    if not found:
        found = [piece for number, job in enumerate(jobs) for piece in _lattice(job, share, number * FRAMES) if piece.usable.any()]
    ordered = sorted(found, key=lambda piece: piece.activity)
    total = sum(piece.field.size for piece in ordered)
    count = len(ordered) if total <= BUDGET else max(1, int(BUDGET * len(ordered) / total))
    return [ordered[int((k + 0.5) * len(ordered) / count)] for k in range(count)]


def _lattice(job: Job, share: int, source: int) -> Iterator[Piece]:
    if 0 in job.shape:
        return
    sizes = [job.shape[i] for i in job.axes]
    frames = list(job.frames())
    frames = [frames[int((k + 0.5) * len(frames) / min(FRAMES, len(frames)))] for k in range(min(FRAMES, len(frames)))]
    edges = _edges(sizes, max(1, PIECE // job.channels))
    boxes = list(_boxes(sizes, edges, max(1, math.ceil(share / len(frames)))))
    for (number, frame), box in itertools.product(enumerate(frames), boxes):
        piece, then = _read(job, frame, box, source + number), _next(job, frame)
        yield piece if then is None else replace(piece, following=partial(_read, job, then, box, source + number))


def _next(job: Job, frame: Index) -> Index | None:
    """Next frame along the first axis that has several, or the one before the last; the first axis is time, if one is."""
    axis = next((i for i in job.frame_axes if job.shape[i] > 1), None)
    if axis is None:
        return None
    here = frame[axis]
    return (*frame[:axis], here + 1 if here + 1 < job.shape[axis] else here - 1, *frame[axis + 1 :])


def _edges(sizes: Sequence[int], voxels: int) -> list[int]:
    """Edges of a box of about ``voxels``, as nearly a cube of voxels as the axes allow."""
    edges = [1] * len(sizes)
    left, order = float(voxels), sorted(range(len(sizes)), key=lambda i: sizes[i])
    for rank, axis in enumerate(order):
        edges[axis] = max(1, min(sizes[axis], round(left ** (1 / (len(sizes) - rank)))))
        left /= edges[axis]
    # Stretched a little where that many of them fill the axis.
    return [n // max(1, round(n / e)) for n, e in zip(sizes, edges, strict=True)]


def _boxes(sizes: Sequence[int], edges: Sequence[int], count: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Place about ``count`` boxes of these edges on an even lattice, without overlap."""
    room = [n // e for n, e in zip(sizes, edges, strict=True)]
    numbers = [1] * len(sizes)
    while math.prod(numbers) < count and any(k < r for k, r in zip(numbers, room, strict=True)):
        axis = max((i for i in range(len(sizes)) if numbers[i] < room[i]), key=lambda i: room[i] / numbers[i])
        numbers[axis] += 1
    starts = [[round((k + 0.5) * n / number - e / 2) for k in range(number)] for n, e, number in zip(sizes, edges, numbers, strict=True)]
    for corner in itertools.product(*starts):
        yield tuple((max(0, min(s, n - e)), max(0, min(s, n - e)) + e) for s, e, n in zip(corner, edges, sizes, strict=True))


def _read(job: Job, frame: Index, box: tuple[tuple[int, int], ...], source: int) -> Piece:
    space = dict(zip(job.axes, (slice(*ends) for ends in box), strict=True))
    place = tuple(space.get(i, index) for i, index in enumerate(frame))
    # A frame axis stays, with one entry, so that the axes keep their numbers.
    part = job.image[tuple(slice(i, i + 1) if isinstance(i, int) else i for i in place)]
    regions = job.regions_of(frame)
    kept = None
    if regions is not None:
        whole = [job.shape[i] for i in job.axes]
        kept = regions.reshape(whole)[tuple(space[i] for i in job.axes)]
    own = make_job(
        part if isinstance(part, np.ma.MaskedArray) else np.asarray(part),
        job.spacing,
        job.axes,
        job.channel_axis,
        None,
        None,
        "mask",
        False,
        None,
    )
    field, _ = own.read(next(iter(own.frames())))
    regions = own.regions_of(next(iter(own.frames()))) if kept is None else kept.reshape(own.space)
    usable = carries_noise(field)
    return Piece(field, regions, usable if regions is None else usable & (regions != 0), own.kernel_spacing, source)
