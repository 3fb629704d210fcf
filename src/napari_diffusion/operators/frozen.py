"""Values of a scalar operator that are stored, and reused by several stages."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

from napari_diffusion.backends.reference.stages import STORED_TYPES
from napari_diffusion.core.arrays import Field, Stored
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.scalar import ChunkStep, ScalarStepper, carries
from napari_diffusion.operators.stepper import StageContext


class FrozenStepper(ScalarStepper):
    """Stores the diffusivity at the voxels, and applies the stages with it.

    Parameters
    ----------
    context
        What the stages of the frame share.
    apply
        Function that computes one stage with the stored values.
    reach
        Reach of such a stage [voxel].
    """

    def __init__(
        self, context: StageContext, apply: Callable[[ChunkStep], None], reach: int = 1
    ) -> None:
        super().__init__(context, has_values=True)
        self._apply, self.stage_reach = apply, reach

    def on_chunk(self, step: ChunkStep) -> None:
        """Compute one stage on a chunk with the stored values."""
        self._apply(step)

    def store(self, u: Field) -> None:
        """Compute and store the diffusivity of ``u`` at every voxel."""
        context, edges, kept = self.context, self.edges(u), carries()
        if self.stored is None:
            self.stored = context.backend.empty(u.shape[1:], u.dtype)
        stored = self.stored

        def work(lo: int, hi: int) -> None:
            carry = kept[get_ident()]
            previous = carry.features if carry.stop == lo else None
            carry.features = context.features(u, lo, hi, previous, self.known(edges, lo, hi))
            operator: Any = context.build(carry.features)
            stored[lo:hi] = operator.values
            carry.stop = hi

        context.run_on_slabs(work, u, quiet=True)

    def apply(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, quiet: bool = False
    ) -> None:
        """Compute one stage with the stored diffusivity."""

        def work(lo: int, hi: int) -> None:
            self.apply_on_planes(stage, u, out, superstep_start, lo, hi)

        self.context.run_on_slabs(work, u, quiet)

    def apply_on_planes(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, lo: int, hi: int
    ) -> None:
        """Compute one stage with the stored diffusivity on planes ``lo:hi``."""
        self.on_chunk(ChunkStep.of(self.context, stage, u, out, slice(lo, hi), self.stored))
        self.finish(stage, u, out, superstep_start, slice(lo, hi))


class FaceStepper(FrozenStepper):
    r"""Stores the diffusivity of the full gradient at the faces, and applies the stages with it.

    Parameters
    ----------
    context
        What the stages of the frame share.
    maximum
        Bound c of the diffusivity :math:`c\,g`, of which g is stored.
    """

    stage_reach = 1

    def __init__(self, context: StageContext, maximum: float) -> None:
        ScalarStepper.__init__(self, context, has_values=True)
        self._maximum = maximum
        self._axes = tuple(axis for axis, n in enumerate(context.grid.shape) if n > 1)

    def store(self, u: Field) -> None:
        """Compute and store g at every face."""
        context, planes = self.context, u.shape[1]
        if self.stored is None:
            shape = len(self._axes), *u.shape[1:]
            self.stored = context.backend.empty(shape, STORED_TYPES[u.dtype])
        stored: Stored = self.stored

        def work(lo: int, hi: int) -> None:
            # A face needs the gradients of both its voxels.
            last = min(hi + 1, planes)
            features = context.features(u, lo, last)
            operator: Any = context.build(features)
            kappa_map, factors = operator.diffusivity.kappa_map, None
            if kappa_map is not None:
                factors = features.reciprocal_factors(kappa_map)
            parts = slice(lo, hi), operator.values, lo, factors
            step = ChunkStep.of(context, Stage(0.0, 0.0, None), u, u, *parts)
            step.weights = context.weights_of_features
            step.store_diffusivities(operator.diffusivity, self._axes, stored)

        context.run_on_slabs(work, u, quiet=True)

    def on_chunk(self, step: ChunkStep) -> None:
        """Compute one stage on a chunk with the stored diffusivity."""
        step.with_stored(self._axes, self._maximum)
