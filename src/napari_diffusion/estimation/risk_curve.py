"""Risk of a model against diffusion time, on patches of an image.

All times come from one run of each patch and one or two runs of its probe.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.engine.in_memory import State
from napari_diffusion.engine.request import Request
from napari_diffusion.engine.slab_pool import cpu_count
from napari_diffusion.estimation.noise import fine_axes
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.risk import Probe, Sums, total
from napari_diffusion.models import Model
from napari_diffusion.schemes import RKL2, Exact, Explicit, Midpoint, Scheme, Stage

#: Shortest time of a risk curve [voxel²], and the ratio of consecutive times.
MIN_TIME_VOXEL2, TIME_RATIO = 0.03, 1.25
#: An interval longer than this number of stable steps is one superstep. On a shorter interval, the
#: error of a superstep would change the risk by a per cent (measured).
MIN_SUPERSTEP = 16


@dataclass(frozen=True)
class GeometricTimes(Scheme):
    """Steps to times in geometric progression.

    Attributes
    ----------
    count
        Number of times.
    supersteps
        Number of supersteps (RKL2) for a long interval; 0 for explicit steps.
    cycles
        Number of cycles (midpoint) for a long interval; 0 for explicit steps.
    """

    name = "geometric-times"
    order = 1
    monotone = False
    count: int
    supersteps: int = 0
    cycles: int = 0

    def times(self, time: float) -> list[float]:
        """All times; the last one is ``time``."""
        return [time / TIME_RATIO ** (self.count - 1 - k) for k in range(self.count)]

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """Stages from one time to the next; only the times themselves are reported."""
        stages: list[Stage] = []
        previous = 0.0
        for end in self.times(time):
            interval = end - previous
            scheme: Scheme = Explicit()
            if self.supersteps and interval > MIN_SUPERSTEP * max_step:
                scheme = RKL2(self.supersteps)
            if self.cycles and interval > max_step:
                scheme = Midpoint(self.cycles)
            silent = [
                stage._replace(time=None) for stage in scheme.stages(interval, max_step, tolerance)
            ]
            stages += [*silent[:-1], silent[-1]._replace(time=end)]
            previous = end
        return tuple(stages)

    def with_steps(self, time: float, count: int) -> None:
        """Return None: the times are given and cannot be refined."""


class RiskCurve:
    """Risk curves of models on the same patches.

    All patches advance together, so that a curve can end once its minimum has been passed.

    Attributes
    ----------
    patches, probes
        The patches, and a probe for each.
    weights
        Weights of the channels.
    voxel
        Shortest edge of a voxel [length].
    dimensions
        Number of finely sampled axes.
    """

    def __init__(
        self, patches: Sequence[Patch], probes: Sequence[Probe], weights: FloatArray
    ) -> None:
        self.patches, self.probes = patches, probes
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
        requests = [self._request(field, number, model, longest) for field, number in fields]
        scheme = self._request(self.patches[0].field, 0, model, longest).plan.scheme
        with _thread_map() as each:
            if isinstance(scheme, Exact):
                for time in GeometricTimes(count).times(longest):

                    def solve(request: Request, time: float = time) -> FloatArray:
                        integration = replace(request.integration, time=time)
                        return replace(request, integration=integration).result()

                    yield time, self._sums(each(solve, requests))
                return
            times = GeometricTimes(
                count, int(isinstance(scheme, RKL2)), int(isinstance(scheme, Midpoint))
            )
            runs = [
                replace(r, integration=replace(r.integration, scheme=times)).evolve()
                for r in requests
            ]
            try:
                for time in times.times(longest):
                    yield time, self._sums(each(_next_image, runs))
            finally:
                for run in runs:
                    run.close()

    def _request(self, field: Any, number: int, model: Model, time: float) -> Request:
        """Return the run of a model on a field of the patch of that number."""
        patch = self.patches[number]
        has_holes = not np.isfinite(patch.field).all()
        return Request.of(
            field,
            model,
            time=time,
            spacing=patch.spacing,
            channel_axis=0,
            channel_weights=self.weights,
            labels=patch.regions,
            nan="mask" if has_holes else "raise",
            threads=1,
        )

    def _sums(self, images: Sequence[FloatArray]) -> Sums:
        remaining = iter(images)
        return total(
            [
                probe.sums(*itertools.islice(remaining, 2 if probe.structure is None else 3))
                for probe in self.probes
            ]
        )


def _next_image(run: Generator[State, None, None]) -> FloatArray:
    return next(run).image


@contextmanager
def _thread_map() -> Iterator[
    Callable[[Callable[[Any], FloatArray], Sequence[Any]], list[FloatArray]]
]:
    """Map over runs, each in one thread: patches are too small to be divided among threads."""
    with ThreadPoolExecutor(cpu_count(), "napari-diffusion-suggest") as pool:
        yield lambda work, runs: list(pool.map(work, runs))
