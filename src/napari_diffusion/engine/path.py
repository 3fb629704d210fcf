"""The risk of a model along its whole path in time, on pieces of an image, from one run and one beside it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_diffusion.engine.evolve import State, diffuse, evolve
from napari_diffusion.engine.plan import plan
from napari_diffusion.engine.sample import Piece
from napari_diffusion.engine.slabs import cpu_count
from napari_diffusion.estimate import fine_axes
from napari_diffusion.estimate.noise import Array
from napari_diffusion.estimate.risk import Probe, Sums, total
from napari_diffusion.models import Model
from napari_diffusion.schemes import RKL2, Exact, Explicit, Midpoint, Scheme, Stage

#: Shortest time that is looked at, and the ratio of each time to the one before.
SHORTEST, RATIO = 0.03, 1.25
#: A way of more stable steps than this is one superstep; on shorter ones its error would move the risk by a per cent (measured).
LONG_WAY = 16


@dataclass(frozen=True)
class Ladder(Scheme):
    """Steps to ``rungs`` times in geometric progression; one superstep or cycle where a run would take them too."""

    name = "ladder"
    order = 1
    monotone = False
    rungs: int
    supersteps: int = 0
    cycles: int = 0

    def times(self, time: float) -> list[float]:
        """All times up to ``time``, which is the last."""
        return [time / RATIO ** (self.rungs - 1 - k) for k in range(self.rungs)]

    def stages(self, time: float, max_step: float, tolerance: float) -> tuple[Stage, ...]:
        """Stages from one time to the next; only the times themselves are told."""
        stages: list[Stage] = []
        before = 0.0
        for here in self.times(time):
            way = here - before
            scheme: Scheme = RKL2(self.supersteps) if self.supersteps and way > LONG_WAY * max_step else Explicit()
            scheme = Midpoint(self.cycles) if self.cycles and way > max_step else scheme
            told = [stage._replace(time=None) for stage in scheme.stages(way, max_step, tolerance)]
            stages += [*told[:-1], told[-1]._replace(time=here)]
            before = here
        return tuple(stages)

    def with_steps(self, time: float, count: int) -> None:
        """There is nothing to refine."""


class Paths:
    """Runs models over the same pieces; all pieces advance together, so that a path can end when its minimum has been passed."""

    def __init__(self, pieces: Sequence[Piece], probes: Sequence[Probe], weights: Array) -> None:
        self.pieces, self.probes, self.weights = pieces, probes, tuple(float(w) for w in weights)
        self.voxel = min(
            h
            for piece in pieces
            for h, n in zip(piece.spacing, piece.field.shape[1:], strict=True)
            if n > 1 or math.prod(piece.usable.shape) == 1
        )
        self.dimensions = max(len(fine_axes(piece.usable.shape, piece.spacing)) for piece in pieces)

    def walk(self, model: Model, longest: float, shortest: float = 0.0) -> Generator[tuple[float, Sums], None, None]:
        """Yield (time [length²], `Sums` over the pieces): no smoothing, then times from about ``shortest`` up to ``longest``."""
        fields = [(field, number) for number, probe in enumerate(self.probes) for field in probe.images]
        yield 0.0, self._sums([field for field, _ in fields])
        rungs = 1 + max(0, math.ceil(math.log(longest / max(shortest, SHORTEST * self.voxel**2)) / math.log(RATIO) - 1e-9))
        options = [self._options(piece) for piece in self.pieces]
        scheme = plan(self.pieces[0].field, model, time=longest, **options[0]).scheme
        with _pool() as each:
            if isinstance(scheme, Exact):
                for time in Ladder(rungs).times(longest):

                    def solve(run: Any, time: float = time) -> Array:
                        return diffuse(run[0], model, time=time, **options[run[1]])

                    yield time, self._sums(each(solve, fields))
                return
            ladder = Ladder(rungs, int(isinstance(scheme, RKL2)), int(isinstance(scheme, Midpoint)))
            runs = [evolve(field, model, time=longest, scheme=ladder, **options[number]) for field, number in fields]
            try:
                for time in ladder.times(longest):
                    yield time, self._sums(each(_next_image, runs))
            finally:
                for run in runs:
                    run.close()

    def _options(self, piece: Piece) -> dict[str, Any]:
        holes = not np.isfinite(piece.field).all()
        return {
            "spacing": piece.spacing,
            "channel_axis": 0,
            "channel_weights": self.weights,
            "labels": piece.regions,
            "nan": "mask" if holes else "raise",
            "threads": 1,
        }

    def _sums(self, images: Sequence[Array]) -> Sums:
        left = iter(images)
        return total([probe.sums(*itertools.islice(left, 2 if probe.structure is None else 3)) for probe in self.probes])


def _next_image(run: Generator[State, None, None]) -> Array:
    return next(run).image


@contextmanager
def _pool() -> Iterator[Callable[[Callable[[Any], Array], Sequence[Any]], list[Array]]]:
    """Map over the runs, each in one thread: pieces are too small to be cut."""
    with ThreadPoolExecutor(cpu_count(), "napari-diffusion-suggest") as pool:
        yield lambda work, runs: list(pool.map(work, runs))
