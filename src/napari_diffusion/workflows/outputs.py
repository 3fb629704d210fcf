"""A run and what can be kept of it: snapshots over diffusion time, the removed noise, a partial result when it is stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from napari_diffusion.core.arrays import Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.dtypes import result_dtype
from napari_diffusion.diagnostics.conductance import conductance_map
from napari_diffusion.diagnostics.orientation import Directions, coherence_map, sample_directions
from napari_diffusion.engine.in_memory import State
from napari_diffusion.engine.memory import format_bytes
from napari_diffusion.engine.request import Request
from napari_diffusion.models import Model

#: The first snapshot is at this share of the diffusion time: an eighth of the Gaussian sigma, which hardly smooths.
FIRST_SNAPSHOT = 1 / 64


@dataclass(frozen=True)
class Outputs:
    """What a run has given.

    Attributes
    ----------
    image
        The result, as `diffuse` returns it; with snapshots they are its first axis.
    times
        Diffusion time of the result, or of every snapshot [length²].
    frame
        ``None`` for a whole run. After a stop the number of the frame that it was at: frames before are done, those after are untouched.
    removed
        What the filter took away, image - result, in floating point; of the last snapshot.
    conductance
        Where the model would go on smoothing (1) and where it holds an edge (0), at the end; without the channel axis.
    coherence
        How much more a tensor model would go on smoothing along a direction than across, from 0 to 1; likewise.
    directions
        That direction, at some voxels.
    """

    image: Image
    times: tuple[float, ...]
    frame: int | None = None
    removed: Image | None = None
    conductance: Image | None = None
    coherence: Image | None = None
    directions: Directions | None = None


@dataclass(frozen=True)
class OutputRequest:
    """What to keep of a run.

    Attributes
    ----------
    snapshots
        Number of snapshots, 0 for the result alone.
    removed
        Whether to return what was removed.
    conductance
        Whether to return the conductance at the end.
    coherence, directions
        Whether to return the coherence at the end, and the directions; of tensor models.
    """

    snapshots: int = 0
    removed: bool = False
    conductance: bool = False
    coherence: bool = False
    directions: bool = False

    def times(self, time: float) -> tuple[float, ...]:
        r"""Return the diffusion times of the snapshots [length²], from :math:`T/64` to T in equal ratios, or T alone.

        Raises
        ------
        ValueError
            For a single snapshot, and for snapshots of nothing.
        """
        if not self.snapshots:
            return (time,)
        if self.snapshots < 2 or not time > 0:
            raise ValueError(
                f"Snapshots need a diffusion time > 0 and at least 2 of them; got a time of {time:g} and {self.snapshots} of them."
            )
        return (
            *(float(t) for t in np.geomspace(time * FIRST_SNAPSHOT, time, self.snapshots)[:-1]),
            time,
        )

    def memory(self, image: Any, model: Model, *, time: float, **options: Any) -> int:
        """Return the predicted peak [bytes], input and all outputs included; arguments as `diffuse`."""
        planned = Request.of(image, model, time=time, **options).plan
        voxels = int(np.prod(image.shape, dtype=np.int64))
        stack = (
            self.snapshots
            * voxels
            * result_dtype(image.dtype, options.get("preserve_dtype", False)).itemsize
        )
        # The maps themselves, and while one is made the field and its gradients.
        count = self.conductance + self.coherence
        maps = (
            (count + 3 * (count + self.directions > 0))
            * voxels
            * result_dtype(image.dtype, False).itemsize
        )
        return (
            planned.memory
            + maps
            + stack
            + self.removed * voxels * result_dtype(image.dtype, False).itemsize
        )


def describe_run(
    image: Any,
    model: Model,
    wanted: OutputRequest,
    *,
    time: float,
    limit: int | None = None,
    **options: Any,
) -> str:
    """Say in a sentence what a run will do and need, snapshots included; arguments as `diffuse`.

    Raises
    ------
    MemoryError
        When it needs more than ``limit`` [bytes], or without one more than is free.
    """
    planned = Request.of(image, model, time=time, **options).plan
    needed = wanted.memory(image, model, time=time, **options)
    check_limit(needed, limit, free_memory(image), bool(wanted.snapshots))
    told = dataclasses.replace(planned, memory=needed).describe()
    return f"{wanted.snapshots} snapshots; the last: {told}" if wanted.snapshots else told


def free_memory(image: Any) -> int:
    """Return what a run on an image may need [bytes]: what is free, and what the image has already."""
    return int(psutil.virtual_memory().available) + (
        image.nbytes if isinstance(image, np.ndarray) else 0
    )


def check_limit(
    needed: int, limit: int | None, free: int | None = None, snapshots: bool = False
) -> None:
    """Raise MemoryError when a run needs more than the user allows [bytes], or where he says nothing more than is free."""
    most = free if limit is None else limit
    if most is None or needed <= most:
        return
    told = (
        f"only {format_bytes(most)} are free"
        if limit is None
        else f"the preferences allow {format_bytes(most)}"
    )
    remedies = [
        "filter a smaller region",
        *["keep fewer snapshots"] * snapshots,
        *["allow more"] * (limit is not None),
    ]
    raise MemoryError(
        f"The run needs {format_bytes(needed)} of memory, and {told}; {' or '.join(remedies)}."
    )


def run_with_outputs(
    image: Any,
    model: Model,
    wanted: OutputRequest,
    *,
    time: float,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    stop: CancelEvent | None = None,
    **options: Any,
) -> Outputs:
    """Filter an image and keep what is wanted.

    Every snapshot is a run of its own from the image, so that it has the bits of `diffuse` to its time, whatever the scheme; as
    the times grow by a constant ratio, all together take about twice the time of the last one when there are six.

    Parameters
    ----------
    image, model, time, options
        As in `diffuse`.
    wanted
        What to keep.
    progress
        Called with the share done, from 0 to 1, in this thread.
    cancel
        When set, `Cancelled` is raised.
    stop
        When set, the run ends after the step under way, with what it has: the snapshots so far or, without any, the image as it is then.

    Raises
    ------
    TypeError, ValueError, MemoryError, Cancelled
        As `diffuse`.
    """
    times = wanted.times(time)
    steps = [max(1, Request.of(image, model, time=t, **options).plan.steps) for t in times]
    report = progress or (lambda fraction: None)
    stack = (
        np.empty(
            (len(times), *image.shape),
            result_dtype(image.dtype, options.get("preserve_dtype", False)),
        )
        if wanted.snapshots
        else None
    )
    kept = 0
    for number, t in enumerate(times):
        before, share = sum(steps[:number]) / sum(steps), steps[number] / sum(steps)
        request = Request.of(image, model, time=t, **options)
        states = request.evolve(_scaled(report, before, share), cancel)
        last, state = _drain(states, stop)
        whole = state.fraction >= 1
        if stack is None or not (whole or kept):
            frame = None if whole else state.frame
            outputs = Outputs(last, (t if whole else state.time,), frame)
            break
        if whole:
            stack[number] = last
            kept += 1
        del last
        if not whole or (stop is not None and stop.is_set()):
            break
    if stack is not None and kept:
        outputs = Outputs(stack[:kept], times[:kept])
        last = stack[kept - 1]
    removed = _removed(image, last) if wanted.removed else None
    request = Request.of(last, model, time=time, **options)
    where = request.geometry, request.domain
    return dataclasses.replace(
        outputs,
        removed=removed,
        conductance=(
            conductance_map(last, model, *where, cancel=cancel) if wanted.conductance else None
        ),
        coherence=coherence_map(last, model, *where, cancel=cancel) if wanted.coherence else None,
        directions=(
            sample_directions(last, model, *where, cancel=cancel) if wanted.directions else None
        ),
    )


def _scaled(
    report: Callable[[float], object], before: float, share: float
) -> Callable[[float], object]:
    return lambda part: report(min(before + part * share, 1.0))


def _drain(states: Generator[State, None, None], stop: CancelEvent | None) -> tuple[Image, State]:
    """Run to the end, or to the end of the step in which ``stop`` is set, and return the image of then."""
    with closing(states):
        for state in states:
            if state.fraction >= 1 or (stop is not None and stop.is_set()):
                break
        return state.image, state


def _removed(image: Any, result: Image) -> Image:
    """Image minus result in floating point, read along the first axis, for the image may be lazy and larger than the memory."""
    difference = np.empty(result.shape, result_dtype(image.dtype, False))
    for i in range(len(difference)):
        with np.errstate(invalid="ignore"):  # infinite values that were left as they are
            difference[i] = np.asarray(image[i], difference.dtype) - result[i]
    return difference
