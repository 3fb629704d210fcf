"""A run on a region of an image: the region is filtered with its surroundings and then cut out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.errors import NotFinite
from napari_diffusion.core.geometry import Domain
from napari_diffusion.diagnostics.orientation import Directions
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.halo_block import HaloBlock
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import Problem, make_problem, unread_problem
from napari_diffusion.previewing.request import has_walls
from napari_diffusion.workflows import outputs
from napari_diffusion.workflows.outputs import OutputRequest, Outputs


@dataclass(frozen=True)
class RegionRun:
    """A run whose result is the region of the run on the whole image, bit for bit.

    The region is filtered with the halo of the run, on a copy of that block. Where the halo is as
    wide as the image, this takes as long as the whole run.

    Attributes
    ----------
    block
        The region with its surroundings.
    problem
        The run on that block.
    """

    block: HaloBlock
    problem: Problem

    @classmethod
    def of(
        cls,
        problem: Problem,
        region: Sequence[slice],
        request: OutputRequest,
        execution: Execution | None = None,
        *,
        read: bool = True,
    ) -> RegionRun:
        """Return the run on a region.

        Parameters
        ----------
        problem
            The run on the whole image.
        region
            A slice with start and stop for every axis of the image.
        request
            Choice of the outputs.
        execution
            Threads and backend.
        read
            Whether mask and labels are read; a plan of the run does not need them.
        """
        plan = make_plan(problem, execution)
        dry, domain = (
            dry_run(problem.recipe.model, problem.grid(), problem.is_guided),
            problem.domain,
        )
        part = HaloBlock.around(problem, tuple(region), [0] * len(problem.axes))
        walls = max(dry.feature_reach) > 0 and has_walls(
            problem.image, domain, problem.recipe.nan, part
        )
        # Maps of the result need the neighbours of the region, and closed faces one more voxel.
        own = problem.per_diffusing_axis(dry.step_reach(problem.space))
        halo = [h + r + walls for h, r in zip(plan.halo, own, strict=True)]
        block = HaloBlock.around(problem, tuple(region), halo)
        mask, labels = block.crop(domain.mask), block.crop(domain.labels)
        if walls and block.cut:
            mask = np.ones(block.shape_of(labels), bool) if mask is None else mask.copy()
            block.close_cut_face(mask)
        recipe = problem.recipe
        if not request.snapshots:  # each snapshot has a schedule of its own
            recipe = replace(recipe, scheme=plan.scheme, strict=plan.strict)
        make = make_problem if read else unread_problem
        cropped = Domain(mask, labels, block.place(), block.crop_guide())
        return cls(block, make(block.read(problem.image), recipe, problem.geometry, cropped))

    def run(
        self,
        request: OutputRequest,
        execution: Execution | None = None,
        *,
        progress: Callable[[float], object] | None = None,
        cancel: CancelEvent | None = None,
        stop: CancelEvent | None = None,
    ) -> Outputs:
        """Filter the block and return the outputs of the region; as `run_with_outputs`."""
        try:
            whole = outputs.run_with_outputs(
                self.problem, request, execution, progress=progress, cancel=cancel, stop=stop
            )
        except NotFinite as error:
            starts = [part.start for part in self.block.outer]
            index = tuple(i + start for i, start in zip(error.index, starts, strict=True))
            raise NotFinite(error.count, index, "The region with its surroundings") from None
        inner = self.block.inner
        stack = (slice(None),) * (whole.image.ndim - len(inner))
        return replace(
            whole,
            image=_own(whole.image[(*stack, *inner)]),
            residual=None if whole.residual is None else _own(whole.residual[inner]),
            conductance=self._part_of(whole.conductance),
            coherence=self._part_of(whole.coherence),
            directions=self._directions_in(whole.directions),
        )

    def _part_of(self, values: Any) -> Any:
        return None if values is None else _own(self.block.part_of(values))

    def _directions_in(self, directions: Directions | None) -> Directions | None:
        """Return the directions inside the region, with positions in it."""
        if directions is None:
            return None
        channel = self.problem.channel_axis
        inner: list[Any] = [part for i, part in enumerate(self.block.inner) if i != channel]
        low = np.array([part.start for part in inner])
        high = np.array([part.stop for part in inner])
        inside = ((directions.positions >= low) & (directions.positions < high)).all(1)
        return replace(
            directions,
            positions=directions.positions[inside] - low,
            vectors=directions.vectors[inside],
            coherence=directions.coherence[inside],
            shape=tuple(int(n) for n in high - low),
        )


def _own(values: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that does not keep the surroundings in memory."""
    return values.copy()
