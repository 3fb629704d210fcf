"""Risk of a model against diffusion time, on patches of an image.

All times come from one run of each patch and one or two runs of its probe.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.core.resources import cpu_count
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.in_memory import State, evolve, run
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.estimation.noise import fine_axes
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.risk import Probe, Sums, total
from napari_diffusion.models import Model
from napari_diffusion.schemes.intervals import TIME_RATIO, GeometricTimes

#: Patches are filtered in parallel, each in one thread.
_ONE = Execution(threads=1)
#: Shortest time of a risk curve [voxel²].
MIN_TIME_VOXEL2 = 0.03


class RiskCurve:
    """Risk curves of models on the same patches.

    All patches advance together, so that a curve can end once its minimum has been passed.

    Attributes
    ----------
    patches, probes
        The patches, and a probe for each.
    weights
        Weights of the channels.
    cancel
        The runs end with `Cancelled` when this event is set.
    voxel
        Shortest edge of a voxel [length].
    dimensions
        Number of finely sampled axes.
    """

    def __init__(
        self,
        patches: Sequence[Patch],
        probes: Sequence[Probe],
        weights: FloatArray,
        cancel: CancelEvent | None = None,
    ) -> None:
        self.patches, self.probes, self.cancel = patches, probes, cancel
        self.weights = tuple(float(w) for w in weights)
        self.voxel = min(
            h
            for patch in patches
            for h, n in zip(patch.spacing, patch.field.shape[1:], strict=True)
            if n > 1 or math.prod(patch.valid.shape) == 1
        )
        self.dimensions = max(len(fine_axes(patch.valid.shape, patch.spacing)) for patch in patches)

    def points(
        self, model: Model, longest: float, shortest: float = 0.0
    ) -> Generator[tuple[float, Sums], None, None]:
        """Yield time [length²] and `Sums` over the patches.

        The first point has the time 0. Times from about ``shortest`` to ``longest`` follow.
        """
        fields = [
            (field, number) for number, probe in enumerate(self.probes) for field in probe.images
        ]
        yield 0.0, self._sums([field for field, _ in fields])
        first = max(shortest, MIN_TIME_VOXEL2 * self.voxel**2)
        count = 1 + max(0, math.ceil(math.log(longest / first) / math.log(TIME_RATIO) - 1e-9))
        problems = [self._problem(field, number, model, longest) for field, number in fields]
        scheme = make_plan(self._problem(self.patches[0].field, 0, model, longest), _ONE).scheme
        times = GeometricTimes(count, scheme)
        with _thread_map() as each:
            if scheme.is_direct:
                for time in times.times(longest):

                    def solve(problem: Problem, time: float = time) -> FloatArray:
                        return run(
                            replace(problem, recipe=replace(problem.recipe, time=time)),
                            _ONE,
                            cancel=self.cancel,
                        )

                    yield time, self._sums(each(solve, problems))
                return
            runs = [
                evolve(
                    replace(problem, recipe=replace(problem.recipe, scheme=times)),
                    _ONE,
                    cancel=self.cancel,
                )
                for problem in problems
            ]
            try:
                for time in times.times(longest):
                    yield time, self._sums(each(_next_image, runs))
            finally:
                for each_run in runs:
                    each_run.close()

    def _problem(self, field: Any, number: int, model: Model, time: float) -> Problem:
        """Return the run of a model on a field of the patch of that number."""
        patch = self.patches[number]
        has_holes = not np.isfinite(patch.field).all()
        return make_problem(
            field,
            RecipeFields(model, time, nan="mask" if has_holes else "raise"),
            Geometry(patch.spacing, channel_axis=0, channel_weights=self.weights),
            Domain(labels=patch.regions, place=patch.place),
        )

    def _sums(self, images: Sequence[FloatArray]) -> Sums:
        remaining = iter(images)
        return total(
            [
                probe.sums(*itertools.islice(remaining, 2 if probe.structure is None else 3))
                for probe in self.probes
            ]
        )


def _next_image(states: Generator[State, None, None]) -> FloatArray:
    return next(states).image


@contextmanager
def _thread_map() -> Iterator[
    Callable[[Callable[[Any], FloatArray], Sequence[Any]], list[FloatArray]]
]:
    """Map over runs, each in one thread: patches are too small to be divided among threads."""
    with ThreadPoolExecutor(cpu_count(), "napari-diffusion-suggest") as pool:

        def each(work: Callable[[Any], FloatArray], runs: Sequence[Any]) -> list[FloatArray]:
            futures = [pool.submit(work, run) for run in runs]
            wait(futures)  # a run that is cancelled must not be left while another one continues
            return [future.result() for future in futures]

        yield each
