"""Operators whose weights are scalars at faces or voxels, and how their stages are applied."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.base import Backend, DiffusivityFunction
from napari_diffusion.core.arrays import Field
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.base import (
    Operator,
    SlabLayout,
    StageContext,
    Stepper,
    largest_factor,
)
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.features import Features


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
    values: Field | None
    factors: Field | None
    first: int
    stage: Stage
    grid: Grid
    backend: Backend
    weights: Field

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
        dtype, h = self.u.dtype, np.array(self.grid.spacing)
        self.backend.gradient_step(
            self.u,
            self.out,
            self.start,
            self.stop,
            (scale * self.stage.step / h**2).astype(dtype),
            (1 / h**2).astype(dtype),
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
        return ScalarStepper(context)

    @property
    def is_chunked(self) -> bool:
        """Whether there are values, or factors of the threshold, at the voxels."""
        return self.has_values or self.diffusivity.has_map

    @property
    def calls_function(self) -> bool:
        """Whether a stage calls a diffusivity function of the user at every face."""
        return callable(self.diffusivity.code)

    def stage_calls(self, strict: bool) -> tuple[Any, ...]:
        """Return the kernel, the diffusivity and the class, which says how values are used."""
        code: int | DiffusivityFunction = self.diffusivity.code
        mapped = ("mapped",) if self.diffusivity.has_map else ()
        return (self.kernel, code, type(self).__name__, *mapped)


class ValuedOperator(ScalarOperator):
    """Base class of the scalar operators that are built from features at the voxels."""

    has_values = True

    def scratch_planes(self, layout: SlabLayout, is_direct: bool) -> int:
        """Return the planes of features, of values and of their surroundings."""
        wide = layout.chunk + 4 + 2 * (1 + layout.reach) * layout.has_walls
        features = layout.channels * min(wide, layout.planes) * (5 if layout.has_walls else 1)
        return features + 2 * (layout.chunk + 2) + 4


class ScalarStepper(Stepper):
    """Passes through a slab in chunks, each of which reuses planes of the previous one."""

    def apply(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, is_first: bool
    ) -> None:
        """Compute one stage."""

        def work(lo: int, hi: int) -> None:
            self._run(stage, u, out, superstep_start, lo, hi)

        self.context.run_on_slabs(work, u)

    def _run(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, lo: int, hi: int
    ) -> None:
        """Compute planes ``lo:hi``."""
        context, chunk = self.context, self.context.chunk
        features: Features | None = None
        values: Field | None = None
        values_end = 0  # plane after the last one of values
        for start in range(lo, hi, chunk):
            stop = min(start + chunk, hi)
            # A face needs the values of both its voxels: a chunk needs one more plane on either
            # side. The previous chunk has computed the first two planes.
            first, last = max(start - 1, 0), min(stop + 1, u.shape[1])
            new = first if values is None else values_end
            features = context.features(u, new, last, features)
            operator: Any = context.build(features)
            if operator.has_values:
                values = self._append(values, operator.values, new - first, last - first)
                values_end = last
            kappa_map = operator.diffusivity.kappa_map
            factors = None
            if kappa_map is not None:
                factors = context.features(u, first, last).reciprocal_factors(kappa_map)
            operator.apply(
                ChunkStep(
                    u=u,
                    out=out,
                    start=start,
                    stop=stop,
                    values=values,
                    factors=factors,
                    first=first,
                    stage=stage,
                    grid=context.grid,
                    backend=context.backend,
                    weights=context.weights,
                )
            )
            self.mix_in_start(out, superstep_start, stage.start_weight, start, stop)

    def _append(self, previous: Field | None, new: Field, kept: int, planes: int) -> Field:
        """Return the last ``kept`` planes of ``previous`` and the ``new`` planes, in one array."""
        shape = (self.context.chunk + 2, *new.shape[1:])
        buffer = self.context.scratch.take("g", shape, new.dtype)
        if previous is not None:
            buffer[:kept] = previous[previous.shape[0] - kept :]
        values = buffer[:planes]
        values[kept:] = new
        return values
