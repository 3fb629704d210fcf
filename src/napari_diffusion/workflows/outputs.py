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
    residual: Image | None = None
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
    residual: bool = False
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
        """Return the predicted peak [bytes], input and all outputs included.

        The arguments are those of `diffuse`.
        """
        plan = Request.of(image, model, time=time, **options).plan
        voxels = int(np.prod(image.shape, dtype=np.int64))
        result = voxels * result_dtype(image.dtype, options.get("preserve_dtype", False)).itemsize
        floats = voxels * result_dtype(image.dtype, False).itemsize
        # The maps themselves, and while one is made the field and its gradients.
        count = self.conductance + self.coherence
        maps = count + 3 * (count + self.directions > 0)
        return plan.memory + self.snapshots * result + (maps + self.residual) * floats


def describe_run(
    image: Any,
    model: Model,
    request: OutputRequest,
    *,
    time: float,
    limit: int | None = None,
    **options: Any,
) -> str:
    """Describe in one sentence what a run does and needs, snapshots included.

    Parameters
    ----------
    image, model, time, options
        As in `diffuse`.
    request
        What to keep.
    limit
        Memory that the user allows [bytes]; ``None`` for what is free.

    Raises
    ------
    MemoryError
        When the run needs more.
    """
    plan = Request.of(image, model, time=time, **options).plan
    needed = request.memory(image, model, time=time, **options)
    check_limit(needed, limit, free_memory(image), bool(request.snapshots))
    sentence = dataclasses.replace(plan, memory=needed).describe()
    if request.snapshots:
        return f"{request.snapshots} snapshots; the last: {sentence}"
    return sentence


def free_memory(image: Any) -> int:
    """Return the memory that a run on an image may use [bytes]: the free one, and the image's own."""
    own = image.nbytes if isinstance(image, np.ndarray) else 0
    return int(psutil.virtual_memory().available) + own


def check_limit(
    needed: int, limit: int | None, free: int | None = None, snapshots: bool = False
) -> None:
    """Raise MemoryError when a run needs more than the user allows [bytes], or more than is free."""
    available = free if limit is None else limit
    if available is None or needed <= available:
        return
    size = format_bytes(available)
    bound = f"only {size} are free" if limit is None else f"the preferences allow {size}"
    remedies = ["filter a smaller region"]
    remedies += ["keep fewer snapshots"] if snapshots else []
    remedies += ["allow more"] if limit is not None else []
    raise MemoryError(
        f"The run needs {format_bytes(needed)} of memory, and {bound}; {' or '.join(remedies)}."
    )


def run_with_outputs(
    image: Any,
    model: Model,
    request: OutputRequest,
    *,
    time: float,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
    stop: CancelEvent | None = None,
    **options: Any,
) -> Outputs:
    """Filter an image and keep the requested outputs.

    Every snapshot is a run of its own from the image, so that it has the bits of `diffuse` to its
    time, whatever the scheme. The times grow by a constant ratio: six snapshots together take about
    twice the time of the last one.

    Parameters
    ----------
    image, model, time, options
        As in `diffuse`.
    request
        What to keep.
    progress
        Called with the completed share, from 0 to 1, in this thread.
    cancel
        When set, `Cancelled` is raised.
    stop
        When set, the run ends after the current step with what it has: the snapshots so far or,
        without any, the image at that time.

    Raises
    ------
    TypeError, ValueError, MemoryError, Cancelled
        As `diffuse`.
    """
    times = request.times(time)
    steps = [max(1, Request.of(image, model, time=t, **options).plan.steps) for t in times]
    report = progress or (lambda fraction: None)
    stack = None
    if request.snapshots:
        dtype = result_dtype(image.dtype, options.get("preserve_dtype", False))
        stack = np.empty((len(times), *image.shape), dtype)
    kept = 0
    for number, t in enumerate(times):
        before, share = sum(steps[:number]) / sum(steps), steps[number] / sum(steps)
        run = Request.of(image, model, time=t, **options)
        last, state = _drain(run.evolve(_scaled(report, before, share), cancel), stop)
        complete = state.fraction >= 1
        if stack is None or not (complete or kept):
            frame = None if complete else state.frame
            outputs = Outputs(last, (t if complete else state.time,), frame)
            break
        if complete:
            stack[number] = last
            kept += 1
        del last
        if not complete or (stop is not None and stop.is_set()):
            break
    if stack is not None and kept:
        outputs = Outputs(stack[:kept], times[:kept])
        last = stack[kept - 1]
    residual = _residual(image, last) if request.residual else None
    where = Request.of(last, model, time=time, **options)
    subject = last, model, where.geometry, where.domain
    return dataclasses.replace(
        outputs,
        residual=residual,
        conductance=conductance_map(*subject, cancel=cancel) if request.conductance else None,
        coherence=coherence_map(*subject, cancel=cancel) if request.coherence else None,
        directions=sample_directions(*subject, cancel=cancel) if request.directions else None,
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


def _residual(image: Any, result: Image) -> Image:
    """Image minus result in floating point, read along the first axis, for the image may be lazy and larger than the memory."""
    difference = np.empty(result.shape, result_dtype(image.dtype, False))
    for i in range(len(difference)):
        with np.errstate(invalid="ignore"):  # infinite values that were left as they are
            difference[i] = np.asarray(image[i], difference.dtype) - result[i]
    return difference
