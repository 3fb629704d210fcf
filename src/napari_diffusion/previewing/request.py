"""Preview of a part: the schedule of the whole run, applied to the part and its surroundings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.errors import NotFinite
from napari_diffusion.core.geometry import Domain
from napari_diffusion.core.parameters import checked_flag
from napari_diffusion.core.regions import is_one_region
from napari_diffusion.engine.dry_run import DryRun, dry_run
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.halo_block import AxisIndex, HaloBlock
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.models import Model
from napari_diffusion.previewing.surroundings import EXACTNESS, intensity_range, surroundings
from napari_diffusion.schemes import FSI

#: Factor by which the surroundings of a draft are narrower, and the largest diffusivity assumed for
#: their width: larger diffusivities, of 10 or 100, are rare.
DRAFT_NARROWING, DRAFT_SPREAD = 5, 2.0
#: Cycles of a draft: of a model that keeps its operator for a cycle, and of the others.
STORED_DRAFT_CYCLES, DRAFT_CYCLES = 4, 2
#: Largest diffusivity in a draft.
DRAFT_MAX_DIFFUSIVITY = 25.0


@dataclass(frozen=True)
class PreviewRequest:
    """A preview, and the work that it takes.

    Attributes
    ----------
    problem
        The run on the whole image, from `unread_problem`.
    region
        An integer or a slice for every axis of the image.
    execution
        Threads and backend.
    draft
        Whether to make a draft, as `napari_diffusion.preview` describes it.
    """

    problem: Problem
    region: Sequence[AxisIndex]
    execution: Execution
    draft: bool = False

    def __post_init__(self) -> None:
        """Check the flag."""
        checked_flag("draft", self.draft)

    @cached_property
    def plan(self) -> Plan:
        """The plan of the whole run, or one with fewer stages for a draft."""
        if not self.draft:
            return make_plan(self.problem, self.execution)
        recipe = replace(self.problem.recipe, model=self._bounded_model)
        plan = make_plan(replace(self.problem, recipe=recipe), self.execution)
        if plan.scheme.is_direct:
            return plan
        cycles = STORED_DRAFT_CYCLES if plan.operator.is_storable else DRAFT_CYCLES
        shorter = replace(recipe, scheme=FSI(cycles=cycles), strict=False)
        draft = make_plan(replace(self.problem, recipe=shorter), self.execution)
        return draft if draft.steps < plan.steps else plan

    @cached_property
    def block(self) -> HaloBlock:
        """The part with its surroundings; the preview reads nothing else."""
        problem, dry = self.problem, self._dry_run
        part = HaloBlock.around(problem, self.region, [0] * len(problem.axes))
        spread = dry.operator.spread
        spread = min(spread, DRAFT_SPREAD) if self.draft else spread
        tail = EXACTNESS / (1.0 if self.draft else problem.recipe.model.truncation_gain)
        reach = dry.step_reach(problem.space)
        flux = math.inf if self.draft else self._largest_flux(part)
        halo = surroundings(problem, self.plan, part, spread, reach, tail, flux)
        halo = [math.ceil(h / DRAFT_NARROWING) for h in halo] if self.draft else halo
        own = problem.per_diffusing_axis(problem.read_reach)
        halo = [h + before + self._has_walls for h, before in zip(halo, own, strict=True)]
        return HaloBlock.around(problem, self.region, halo)

    @property
    def work(self) -> float:
        """Voxels times effort of the stages, in proportion to the time that the preview takes."""
        size = math.prod(part.stop - part.start for part in self.block.outer)
        return float(size) * self.plan.effort

    def run(
        self,
        progress: Callable[[float], object] | None = None,
        cancel: CancelEvent | None = None,
    ) -> Image:
        """Make the preview."""
        block, order = self.block, self._order
        try:
            part = run(self._problem_on_block(order), self.execution, progress, cancel)
        except NotFinite as error:
            index = block.index_of(error.index, order)
            raise NotFinite(error.count, index, "The previewed part of the image") from None
        part = block.reordered(part, order, back=True)[block.inner]
        if self._hidden is not None:
            part = np.ma.array(part, mask=self._hidden[tuple(self.region)])
        result: Image = part
        return result

    def _problem_on_block(self, order: list[int]) -> Problem:
        """Return the planned run on the block alone, with its axes in the given order."""
        problem, block = self.problem, self.block
        image, mask = self._image_and_mask
        mask, labels = block.crop(mask), block.crop(problem.domain.labels)
        if self._has_walls and block.cut:
            mask = np.ones(block.shape_of(labels), bool) if mask is None else mask.copy()
            block.close_cut_face(mask)
        spacing = [problem.spacing[problem.axes.index(i)] for i in order]
        model = self._bounded_model if self.draft else problem.recipe.model
        return make_problem(
            block.reordered(np.asarray(block.read(image)), order),
            replace(problem.recipe, model=model, scheme=self.plan.scheme, strict=self.plan.strict),
            replace(problem.geometry, spacing=spacing),
            Domain(
                block.reordered(mask, order),
                block.reordered(labels, order),
                block.place(order),
                block.reordered(block.crop_guide(), order),
            ),
        )

    @property
    def _bounded_model(self) -> Model:
        """The model of a draft; its diffusivity is bounded, so that fewer stages suffice."""
        return self.problem.recipe.model.with_max_diffusivity(DRAFT_MAX_DIFFUSIVITY)

    @property
    def _order(self) -> list[int]:
        """Order of the diffusing axes in memory: the longest last, the shortest in the middle.

        A thin slice then has long rows (2 to 3 times faster than short ones, measured) and many
        planes, so that a slab reads a small share beyond itself. Neighbouring rows are close
        together in memory.
        """
        outer = self.block.outer
        size = {i: outer[i].stop - outer[i].start for i in self.problem.axes}
        if self.plan.strict:
            # The stencil of strict runs finds paths around walls along the axes in ascending and
            # descending order: other orders would change it.
            return sorted(size, reverse=size[self.problem.axes[0]] > size[self.problem.axes[-1]])
        *rest, longest = sorted(size, key=lambda i: (size[i], i))
        return [*rest[::-1], longest]

    @cached_property
    def _hidden(self) -> Any:
        image = self.problem.image
        return np.ma.getmaskarray(image) if isinstance(image, np.ma.MaskedArray) else None

    @cached_property
    def _image_and_mask(self) -> tuple[Any, Any]:
        """The image as an array that can be indexed, and the mask of the domain or the image."""
        image = self.problem.image
        if self._hidden is not None:
            channel = self.problem.channel_axis
            hidden = self._hidden if channel is None else self._hidden.any(axis=channel)
            return np.ma.getdata(image), ~hidden
        return image, self.problem.domain.mask

    @cached_property
    def _has_walls(self) -> bool:
        """Whether there are walls, and features of the model that extend beyond the neighbours."""
        image, mask = self._image_and_mask
        part = HaloBlock.around(self.problem, self.region, [0] * len(self.problem.axes))
        domain = replace(self.problem.domain, mask=mask)
        has_features = max(self._dry_run.feature_reach) > 0
        return has_features and has_walls(image, domain, self.problem.recipe.nan, part)

    def _largest_flux(self, part: HaloBlock) -> float:
        """Return the bound of the flux [1/length] of an image with the intensity range 1.

        The range of the ``part`` is at most that of the image, so the bound is on the safe side. It
        is infinite for lazy images, of which only the surroundings are read, and wherever the
        intensities of the run are not those of the image.
        """
        problem = self.problem
        image, mask = self._image_and_mask
        limit, is_changed = self._dry_run.operator.largest_flux, problem.recipe.transform != "none"
        is_read = isinstance(image, np.ndarray)
        if math.isinf(limit) or problem.is_guided or is_changed or not is_read:
            return math.inf
        copied = problem.copied_channels
        weights = [w for i, w in enumerate(problem.weights) if i not in copied]
        contrast = math.sqrt(min(weights, default=0.0)) * intensity_range(part, image, mask)
        return limit / contrast if contrast > 0 else math.inf

    @cached_property
    def _dry_run(self) -> DryRun:
        """Operator of the model and reach of its features."""
        return dry_run(self.problem.recipe.model, self.problem.grid(), self.problem.is_guided)


def has_walls(image: Any, domain: Domain, nan: str, part: HaloBlock) -> bool:
    """Whether mask, labels or NaN make walls in the frames of a part; lazy arrays are not read."""
    axes = part.problem.axes
    frames = tuple(slice(None) if i in axes else index for i, index in enumerate(part.outer))
    for regions in (domain.mask, domain.labels):
        if isinstance(regions, np.ndarray):
            own = part.frames_of(regions)
            if own.size and not is_one_region(own):
                return True
    if nan == "mask" and isinstance(image, np.ndarray) and image.dtype.kind == "f":
        return not bool(np.isfinite(image[frames]).all())
    return False
