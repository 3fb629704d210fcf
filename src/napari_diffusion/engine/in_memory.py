r"""The engine: it alone knows models and schemes, and runs one through the other.

`evolve` is a generator; progress bars, cancel, previews and the command line all drain the same one. `diffuse` returns its last image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion import backends
from napari_diffusion.core.arrays import Field
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.problem import Problem
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.engine.solver import Solver
from napari_diffusion.models import Model

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


def evolve(
    problem: Problem,
    model: Model,
    plan: Plan,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
) -> Generator[State, None, None]:
    """Run a plan; yields a `State` after every step of every frame."""
    progress = progress or (lambda fraction: None)
    kernel = backends.get_backend(plan.backend, len(problem.space))
    frames = list(problem.frames()) if 0 not in problem.shape else []
    if not frames or not plan.stages:
        progress(1.0)
        yield State(
            0.0,
            1.0,
            0,
            lambda: _masked(
                problem, _untouched(problem, np.empty(problem.shape, problem.dtype), frames)
            ),
        )
        return
    done, share = 0, 1.0 / (len(frames) * len(plan.stages))
    with SlabPool(
        plan.threads, cancel, lambda part: progress(min((done + part) * share, 1.0))
    ) as slabs:
        solver = Solver(problem, model, plan, kernel, slabs)
        whole: Image | None = None
        for number, frame in enumerate(frames):
            for time, field, invalid in solver.solve(frame):
                done += 1
                last = done == len(frames) * len(plan.stages)
                if time is None:
                    continue
                after = frames[number + 1 :]
                if len(frames) > 1 and time == plan.stages[-1].time:
                    whole = np.empty(problem.shape, problem.dtype) if whole is None else whole
                    whole[frame] = solver.finished(field, invalid, frame, copy=False)
                    yield State(
                        time,
                        done * share,
                        number,
                        partial(_snapshot, problem, whole, after, copy=not last),
                    )
                else:
                    seen = partial(
                        _assemble,
                        problem,
                        solver,
                        field,
                        invalid,
                        frame,
                        after,
                        whole,
                        copy=not last,
                    )
                    yield State(time, done * share, number, seen)
    progress(1.0)


def _snapshot(problem: Problem, whole: Image, after: list[Any], copy: bool) -> Image:
    return _masked(problem, _untouched(problem, whole.copy() if copy else whole, after))


def _assemble(
    problem: Problem,
    solver: Solver,
    field: Field,
    invalid: Any,
    frame: Any,
    after: list[Any],
    whole: Image | None,
    copy: bool,
) -> Image:
    if not copy:
        solver.fields.clear()  # nothing runs any more, and the result may need a field of its own
    here = solver.finished(field, invalid, frame, copy)
    if here.size == math.prod(problem.shape):
        return _masked(problem, np.ascontiguousarray(here).reshape(problem.shape))
    image = _untouched(
        problem, np.empty(problem.shape, problem.dtype) if whole is None else whole.copy(), after
    )
    image[frame] = here
    return _masked(problem, image)


def _untouched(problem: Problem, image: Image, frames: list[Any]) -> Image:
    """Fill ``frames`` of ``image`` with the input, one at a time."""
    for frame in frames:
        part = problem.image[frame]
        image[frame] = (
            np.ma.getdata(part) if isinstance(part, np.ma.MaskedArray) else np.asarray(part)
        )
    return image


def _masked(problem: Problem, image: Image) -> Image:
    """Masked array in, masked array out."""
    return (
        np.ma.array(image, mask=np.ma.getmaskarray(problem.image))
        if isinstance(problem.image, np.ma.MaskedArray)
        else image
    )
