"""The first picture of a new installation: what the NumPy kernels can do in a moment, while the others are being compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from napari_diffusion.engine.preview import Excerpt, Look, Previewer
from napari_diffusion.engine.slabs import Cancelled, Event, cpu_count

#: How long a first picture may take [s].
MOMENT = 0.8
#: What one unit of `Excerpt.work` takes the NumPy kernels in one thread, with tensors and without [s] (docs/develop/decisions.md).
TENSORS, OTHERS = 6e-7, 8e-8
#: Voxels along each side of the smallest picture that is worth showing.
LEAST = 24


@dataclass(frozen=True)
class _Either:
    """An event that is set when one is, or when something has come true."""

    event: Event | None
    came: Callable[[], bool]

    def is_set(self) -> bool:
        return self.came() or (self.event is not None and self.event.is_set())


def first_look(
    previewer: Previewer,
    excerpt: Excerpt,
    middle: Sequence[int],
    ready: Callable[[], bool],
    wait: Callable[[Event | None], object],
    cancel: Event | None = None,
) -> Look:
    """Show something while kernels are compiled: without them, and without loading the compiler.

    Parameters
    ----------
    previewer, excerpt
        What makes the better ones, and of what.
    middle
        The voxel around which a part is shown where all of it would take too long.
    ready
        Whether the kernels are there; asked often, from the thread of the call. The picture is given up when they are.
    wait
        Called with an event that ends it, before anything better is made; returns when the kernels are there or cannot be had.
    cancel
        As in `diffuse`.

    Returns
    -------
    Look
        A draft that can be asked for a better one; the exact one where that is little work, or where the kernels came first.

    Raises
    ------
    TypeError, ValueError, MemoryError, Cancelled
        As `preview`.
    """

    def better(cancel: Event | None) -> Look:
        wait(cancel)
        return previewer.look(excerpt, cancel, drafted=early is not None and early.region == excerpt.region)

    if ready():
        return previewer.look(excerpt, cancel)
    early = affordable(excerpt, middle)
    if early is not None:
        try:
            picture = early.run(cancel=_Either(cancel, ready))
        except Cancelled:
            if not ready() or (cancel is not None and cancel.is_set()):
                raise
            early = None
        else:
            return Look(picture, better if early.draft else None, region=tuple(early.region))
    return better(cancel)


def affordable(excerpt: Excerpt, middle: Sequence[int]) -> Excerpt | None:
    """Return what the NumPy kernels make of a preview in a moment: all of it, a draft, or a draft of a part around a voxel.

    ``None`` where all of these would take too long: with much diffusion, the surroundings of the smallest part are large. The region is
    a slice with start and stop for every axis.
    """
    # One processor is left to the compiler.
    exact = replace(excerpt, backend="reference", threads=max(1, (excerpt.threads or cpu_count()) - 1))
    most = MOMENT / (OTHERS if exact.plan.tensor is None else TENSORS)
    if exact.work <= most:
        return exact
    one = replace(exact, draft=True)
    while one.work > most:
        smaller = _smaller(one, middle, most / one.work)
        if smaller == one.region:
            return None
        one = replace(one, region=smaller)
    return one


def _smaller(excerpt: Excerpt, middle: Sequence[int], share: float) -> tuple[slice, ...]:
    """Return a region around a voxel with somewhat less than a share of the voxels, but sides that are not too small."""
    region: Any = list(excerpt.region)
    wide = [i for i in excerpt.job.axes if region[i].stop - region[i].start > LEAST]
    for i in wide:
        size = region[i].stop - region[i].start
        side = max(LEAST, int(0.95 * size * share ** (1 / len(wide))))
        start = min(max(middle[i] - side // 2, region[i].start), region[i].stop - side)
        region[i] = slice(start, start + side)
    return tuple(region)
