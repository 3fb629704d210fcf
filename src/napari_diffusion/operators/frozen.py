"""Values of a scalar operator that are stored, and reused by several stages."""

from __future__ import annotations

from typing import Any

from napari_diffusion.core.arrays import Field
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.scalar import Carry, ChunkStep, ScalarStepper


class FrozenStepper(ScalarStepper):
    """Stores the diffusivity at the voxels, and applies the stages with it."""

    def store(self, u: Field) -> None:
        """Compute and store the diffusivity of ``u`` at every voxel."""
        context, edges, carry = self.context, self.edges(u), Carry()
        if self.stored is None:
            self.stored = context.backend.empty(u.shape[1:], u.dtype)
        stored = self.stored

        def work(lo: int, hi: int) -> None:
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
        context, diffusivity = self.context, Diffusivity()

        def work(lo: int, hi: int) -> None:
            step = ChunkStep(
                u=u,
                out=out,
                start=lo,
                stop=hi,
                values=self.stored,
                factors=None,
                first=0,
                stage=stage,
                grid=context.grid,
                backend=context.backend,
                weights=context.weights,
            )
            step.with_diffusivity(diffusivity)
            self.mix_in_start(out, superstep_start, stage.start_weight, lo, hi)

        context.run_on_slabs(work, u, quiet)
