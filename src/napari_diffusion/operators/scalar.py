"""Operators whose weights are scalars at faces or voxels, and how their stages are applied."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import get_ident
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.base import Backend, DiffusivityFunction
from napari_diffusion.core.arrays import Field, Stored
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.base import Operator, SlabLayout, largest_factor, operators_made
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.smoothing import SmoothedPlanes
from napari_diffusion.operators.stepper import StageContext, Stepper


@lru_cache(maxsize=256)
def _face_factors(
    step: float, kappa: float, spacing: tuple[float, ...], dtype: np.dtype[Any]
) -> tuple[Field, Field]:
    """Return the factors of the differences in a step, and in the argument of the diffusivity.

    Cached, because the steps of a run repeat; nobody writes to them.
    """
    h = np.array(spacing)
    largest = largest_factor(dtype)
    return (step / h**2).astype(dtype), np.minimum(1 / (h * kappa), largest).astype(dtype)


@lru_cache(maxsize=256)
def _gradient_factors(
    step: float, spacing: tuple[float, ...], dtype: np.dtype[Any]
) -> tuple[Field, Field]:
    """Return the factors of the differences in a step, and of their squares; cached as above."""
    h = np.array(spacing)
    return (step / h**2).astype(dtype), (1 / h**2).astype(dtype)


@dataclass(slots=True)
class ChunkStep:
    """One stage on planes ``start:stop`` of a field.

    Attributes
    ----------
    u, out
        Field before and after the stage.
    start, stop
        First plane, and the plane after the last.
    values, factors, first
        Values of the operator, and reciprocal factors of its threshold, at the voxels from plane
        ``first`` on; ``None`` without any.
    stage
        The stage.
    grid, backend, weights
        As in `StageContext`.
    """

    u: Field
    out: Field
    start: int
    stop: int
    values: Stored | None
    factors: Field | None
    first: int
    stage: Stage
    grid: Grid
    backend: Backend
    weights: Field

    @classmethod
    def of(
        cls,
        context: StageContext,
        stage: Stage,
        u: Field,
        out: Field,
        planes: slice,
        values: Stored | None,
        first: int = 0,
        factors: Field | None = None,
    ) -> Self:
        """Return the stage on some planes, with the values and factors from ``first`` on."""
        parts = context.grid, context.backend, context.weights
        return cls(u, out, planes.start, planes.stop, values, factors, first, stage, *parts)

    def with_diffusivity(self, diffusivity: Diffusivity, scale: float = 1.0) -> None:
        """Apply the differences at the faces, times ``scale`` and the diffusivity g."""
        step, kappa = scale * self.stage.step, diffusivity.kappa
        self.backend.step(
            self.u,
            self.out,
            self.start,
            self.stop,
            *_face_factors(step, kappa, self.grid.spacing, self.u.dtype),
            self.stage.momentum,
            diffusivity.code,
            self.values,
            self.factors,
            self.first,
            self.grid.open_faces,
            self.weights,
        )

    def with_full_gradient(
        self, diffusivity: Diffusivity, scale: float = 1.0, cap: float = 0.0
    ) -> None:
        """Apply a diffusivity of the whole gradient at the faces; ``cap`` limits a ratio."""
        assert self.values is not None
        dtype = self.u.dtype
        self.backend.gradient_step(
            self.u,
            self.out,
            self.start,
            self.stop,
            *_gradient_factors(scale * self.stage.step, self.grid.spacing, dtype),
            self.stage.momentum,
            diffusivity.code,
            min(1 / diffusivity.kappa, largest_factor(dtype)) ** 2,
            cap,
            self.values,
            self.factors,
            self.first,
            self.grid.open_faces,
            self.weights,
        )

    def store_diffusivities(
        self,
        diffusivity: Diffusivity,
        axes: Sequence[int],
        stored: Stored,
    ) -> None:
        """Store a diffusivity of the whole gradient at the faces along ``axes``."""
        assert self.values is not None
        dtype = self.u.dtype
        self.backend.face_diffusivities(
            self.u,
            self.start,
            self.stop,
            _gradient_factors(1.0, self.grid.spacing, dtype)[1],
            diffusivity.code,
            min(1 / diffusivity.kappa, largest_factor(dtype)) ** 2,
            self.values,
            self.factors,
            self.first,
            axes,
            self.grid.open_faces,
            self.weights,
            stored,
        )

    def with_stored(self, axes: Sequence[int], scale: float) -> None:
        """Apply the differences at the faces, times ``scale`` and the stored diffusivity."""
        assert self.values is not None
        self.backend.face_step(
            self.u,
            self.out,
            self.values,
            axes,
            self.start,
            self.stop,
            _face_factors(scale * self.stage.step, 1.0, self.grid.spacing, self.u.dtype)[0],
            self.stage.momentum,
            self.grid.open_faces,
        )


class ScalarOperator(Operator):
    """Base class of the operators without a tensor.

    Attributes
    ----------
    values
        Values at the voxels, from which the weights of the faces are computed; only of operators
        with ``has_values``.
    has_values
        Whether the operator has values at the voxels.
    diffusivity
        The diffusivity g.
    kernel
        Name of the kernel of a stage.
    """

    values: NDArray[np.floating]
    diffusivity: Diffusivity
    kernel: ClassVar[str] = "step"
    has_values: ClassVar[bool] = False

    @abstractmethod
    def apply(self, step: ChunkStep) -> None:
        """Compute one stage on the planes of a chunk."""

    def stepper(self, context: StageContext) -> Stepper:
        """Return the stepper of the scalar operators."""
        return ScalarStepper(context, self.has_values)

    @property
    def is_chunked(self) -> bool:
        """Whether there are values, or factors of the threshold, at the voxels."""
        return self.has_values or self.diffusivity.has_map

    @property
    def calls_function(self) -> bool:
        """Whether a stage calls a diffusivity function of the user at every face."""
        return callable(self.diffusivity.code)

    def stage_calls(self, strict: bool, is_stored: bool) -> tuple[Any, ...]:
        """Return the kernel, the diffusivity and the class, which says how values are used."""
        code: int | DiffusivityFunction = self.diffusivity.code
        mapped = ("mapped",) if self.diffusivity.has_map else ()
        return (self.kernel, code, type(self).__name__, *mapped)


class ValuedOperator(ScalarOperator):
    """Base class of the scalar operators that are built from features at the voxels.

    Attributes
    ----------
    feature_arrays
        Number of features of a channel from which the values at the voxels are computed.
    """

    has_values = True
    feature_arrays: ClassVar[int] = 2

    def operators_made(self, stages: Sequence[Stage]) -> int:
        """Return how often a storable operator is computed, or 0 if no stage reuses it."""
        is_reused = self.is_storable and any(stage.reuse_operator for stage in stages)
        return operators_made(stages) * is_reused

    def scratch_planes(self, layout: SlabLayout) -> int:
        """Return the planes of features, of values and of their surroundings."""
        if layout.reach <= 1:  # nothing is smoothed
            arrays = 1 + self.feature_arrays * layout.channels
            return arrays * (layout.chunk + 2) + 4
        wide = layout.chunk + 4 + 2 * (1 + layout.reach) * layout.has_walls
        smoothed = layout.channels * min(wide, layout.planes) * (5 if layout.has_walls else 1)
        edges = 4 + 2  # smoothed planes and values at one edge of a slab
        return smoothed + 2 * (layout.chunk + 2) + 4 + edges


class Carry:
    """What a thread keeps of the last chunk of a stage, for the chunk that follows it.

    `carries` holds those of all threads; `threading.local` takes a microsecond longer.

    Attributes
    ----------
    stop
        Plane after the last one of that chunk.
    features, values
        Its features, and the values of the operator, of which the last are at plane ``stop``.
    """

    stop = -1
    features: Features | None = None
    values: Field | None = None


def carries() -> defaultdict[int, Carry]:
    """Return what the threads of a stage keep, by their identifiers."""
    return defaultdict(Carry)


@dataclass(frozen=True, slots=True)
class Edge:
    """What the two slabs beside an edge share.

    Attributes
    ----------
    values
        Values of the operator at the planes before and after the edge.
    smoothed
        The smoothed planes from which they were computed.
    """

    values: Field
    smoothed: SmoothedPlanes


class ScalarStepper(Stepper):
    """Passes through a slab in chunks, each of which reuses planes of the previous one.

    Planes that two slabs need are computed first, once for both.

    Parameters
    ----------
    context
        What the stages of the frame share.
    has_values
        Whether the operator has values at the voxels.
    """

    def __init__(self, context: StageContext, has_values: bool) -> None:
        super().__init__(context)
        self._has_values = has_values

    def apply(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, quiet: bool = False
    ) -> None:
        """Compute one stage."""
        edges, kept = self.edges(u), carries()

        def work(lo: int, hi: int) -> None:
            self._run(stage, u, out, edges, kept[get_ident()], lo, hi)
            self.finish(stage, u, out, superstep_start, slice(lo, hi))

        self.context.run_on_slabs(work, u, quiet)

    def edges(self, u: Field) -> dict[int, Edge]:
        """Compute what slabs share, by the number of the plane after an edge.

        It is empty for an operator that smooths nothing: the other planes cost little.
        """
        context = self.context
        edges: dict[int, Edge] = {}  # dict[int, Edge]() takes ten times as long
        starts = range(context.height, u.shape[1], context.height)
        if not self._has_values or not starts:
            return edges

        def work(lo: int, hi: int) -> None:
            for start in starts[lo:hi]:
                features = context.features(u, start - 1, start + 1)
                operator: Any = context.build(features)
                smoothed = features.smoothed()
                if smoothed is not None:
                    edges[start] = Edge(operator.values.copy(), smoothed)

        work(0, 1)
        if edges:
            context.slabs.run(lambda lo, hi: work(lo + 1, hi + 1), len(starts) - 1, 1, quiet=True)
        return edges

    def _run(
        self,
        stage: Stage,
        u: Field,
        out: Field,
        edges: dict[int, Edge],
        carry: Carry,
        lo: int,
        hi: int,
    ) -> None:
        """Compute planes ``lo:hi``."""
        context, before, after = self.context, edges.get(lo), edges.get(hi)
        if carry.stop != lo:
            carry.features, carry.values = None, None if before is None else before.values
        # A face needs the values of both its voxels: a chunk needs one more plane on either side.
        # The previous chunk, or the edge, has the first two planes.
        first, last = max(lo - 1, 0), min(hi + 1, u.shape[1])
        new = first if carry.values is None else min(lo + 1, u.shape[1])
        end = last if after is None else max(new, hi - 1)
        known = self.known(edges, lo, hi)
        carry.features = context.features(u, new, end, carry.features, known)
        operator: Any = context.build(carry.features)
        kappa_map, factors = operator.diffusivity.kappa_map, None
        if operator.has_values and hi - lo == u.shape[1] and kappa_map is None:
            carry.values = context.backend.contiguous(operator.values)  # no chunk follows
        elif operator.has_values:
            following = None if after is None else after.values[end - (hi - 1) :]
            parts = (carry.values, new - first), operator.values, following
            carry.values = self._joined(*parts, last - first)
        carry.stop = hi
        if kappa_map is not None:
            factors = context.features(u, first, last).reciprocal_factors(kappa_map)
        values = carry.values
        planes = slice(lo, hi)
        operator.apply(ChunkStep.of(context, stage, u, out, planes, values, first, factors))

    def known(self, edges: dict[int, Edge], lo: int, hi: int) -> list[SmoothedPlanes]:
        """Return the smoothed planes at the edges of the slab to which planes ``lo:hi`` belong."""
        slab_end = -(-hi // self.context.height) * self.context.height
        near = (edges.get(lo), edges.get(slab_end))
        return [edge.smoothed for edge in near if edge is not None]

    def _joined(
        self,
        previous: tuple[Field | None, int],
        new: Field,
        following: Field | None,
        planes: int,
    ) -> Field:
        """Return the last planes of the previous values, new and following ones, in one array.

        ``previous`` has the previous values and the number of their planes that are kept;
        ``planes`` is the number of all planes.
        """
        shape = (self.context.chunk + 2, *new.shape[1:])
        values = self.context.scratch.take("g", shape, new.dtype)[:planes]
        before, kept = previous
        if before is not None:
            values[:kept] = before[before.shape[0] - kept :]
        values[kept : kept + len(new)] = new
        if following is not None:
            values[kept + len(new) :] = following
        return values
