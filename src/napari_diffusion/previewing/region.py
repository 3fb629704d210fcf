"""A part of the filtered image without the rest: the planned schedule, run on the part and its surroundings; or a draft of it."""

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
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.engine.halo_block import (
    AxisIndex,
    HaloBlock,
    per_diffusing_axis,
    unread_problem,
)
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import Problem, is_one_region
from napari_diffusion.engine.request import Request
from napari_diffusion.models import Model
from napari_diffusion.operators import Operator
from napari_diffusion.operators.curvature import LevelSetCurvature
from napari_diffusion.operators.smoothing import MAX_SIGMA_VOXELS, gaussian_taps
from napari_diffusion.schemes import FSI, Exact

#: Share of the range by which a part may differ from the whole run.
EXACTNESS = 1e-3
#: Share of the bound of a curvature's weights that spreads over distance. The weights are 1 where the image is smooth,
#: and reach their bound of 2 at single voxels.
CURVATURE_SPREAD = 0.5
#: Factor by which the surroundings of a draft are narrower, and the largest diffusivity that they allow for: 10 and 100
#: are rare.
DRAFT_NARROWING, DRAFT_SPREAD = 5, 2.0
#: Cycles of a draft, and the largest diffusivity in it.
DRAFT_CYCLES, DRAFT_MAX_DIFFUSIVITY = 2, 25.0
#: Stages that take as long as making the tensors once (measured: 6 to 14, docs/develop/decisions.md).
STAGES_PER_TENSOR = 10


@dataclass(frozen=True)
class PreviewRequest:
    """A preview whose work is known before it is made.

    Attributes
    ----------
    request
        The run on the whole image.
    region
        An integer or a slice for every axis of the image.
    draft
        Whether to make a draft, as `napari_diffusion.preview` describes it.
    """

    request: Request
    region: Sequence[AxisIndex]
    draft: bool = False

    @cached_property
    def problem(self) -> Problem:
        """The checked problem on the whole image."""
        request = self.request
        return unread_problem(
            request.image,
            request.geometry,
            request.domain,
            preserve_dtype=request.preserve_dtype,
            channel_weights=request.channel_weights,
        )

    @cached_property
    def plan(self) -> Plan:
        """The schedule: that of the whole run, or a shorter one of a draft."""
        integration, execution = self.request.integration, self.request.execution
        plan = make_plan(self.problem, self._model, integration, execution)
        if not self.draft or isinstance(plan.scheme, Exact):
            return plan
        shorter = replace(integration, scheme=FSI(cycles=DRAFT_CYCLES), strict=False)
        draft = make_plan(self.problem, self._model, shorter, execution)
        return draft if draft.steps < plan.steps else plan

    @cached_property
    def block(self) -> HaloBlock:
        """The part with its surroundings, which is what the preview reads."""
        problem, (operator, reach) = self.problem, self._dry_run
        part = HaloBlock.around(problem, self.region, [0] * len(problem.axes))
        curved = isinstance(operator, LevelSetCurvature)
        fastest = operator.maximum * (CURVATURE_SPREAD if curved else 1.0)
        fastest = min(fastest, DRAFT_SPREAD) if self.draft else fastest
        tail = EXACTNESS / (1.0 if self.draft else self.request.model.truncation_gain)
        time = float(self.request.integration.time) * fastest
        halo = surroundings(problem, self.plan, part, time, reach, tail)
        halo = [math.ceil(h / DRAFT_NARROWING) for h in halo] if self.draft else halo
        return HaloBlock.around(problem, self.region, [h + self._has_walls for h in halo])

    @property
    def work(self) -> float:
        """Voxels times stages, in proportion to the time that the preview takes.

        Making the tensors counts as several stages.
        """
        size = math.prod(part.stop - part.start for part in self.block.outer)
        return float(size) * (self.plan.steps + STAGES_PER_TENSOR * self.plan.tensors_made)

    def run(
        self,
        progress: Callable[[float], object] | None = None,
        cancel: CancelEvent | None = None,
    ) -> Image:
        """Make the preview."""
        block, order = self.block, self._order
        try:
            part = self._request_on_block(order).result(progress, cancel)
        except NotFinite as error:
            index = block.index_of(error.index, order)
            what = "The part of the image that is looked at"
            raise NotFinite(error.count, index, what) from None
        part = block.reordered(part, order, back=True)[block.inner]
        if self._hidden is not None:
            part = np.ma.array(part, mask=self._hidden[tuple(self.region)])
        result: Image = part
        return result

    def _request_on_block(self, order: list[int]) -> Request:
        """Return the planned run on the block alone, with its axes in the given order."""
        request, problem, block = self.request, self.problem, self.block
        image, mask = self._image_and_mask
        mask, labels = block.crop(mask), block.crop(request.domain.labels)
        if self._has_walls and block.cut:
            mask = np.ones(block.shape_of(labels), bool) if mask is None else mask.copy()
            block.close_cut_face(mask)
        spacing = [problem.spacing[problem.axes.index(i)] for i in order]
        return replace(
            request,
            image=block.reordered(np.asarray(block.read(image)), order),
            model=self._model,
            geometry=replace(problem.geometry, spacing=spacing),
            domain=replace(
                request.domain,
                mask=block.reordered(mask, order),
                labels=block.reordered(labels, order),
            ),
            integration=replace(
                request.integration, scheme=self.plan.scheme, strict=self.plan.strict
            ),
        )

    @property
    def _model(self) -> Model:
        """The model that runs: a draft bounds the diffusivity, which takes fewer stages."""
        model = self.request.model
        return model.with_max_diffusivity(DRAFT_MAX_DIFFUSIVITY) if self.draft else model

    @property
    def _order(self) -> list[int]:
        """Diffusing axes in the order in which they run: the longest as rows, the shortest second.

        A thin slice would otherwise have short rows (2 to 3 times slower, measured), or few planes,
        and a slab would read as many planes beyond itself as it has. Neighbouring rows are then
        close together in memory.
        """
        outer = self.block.outer
        size = {i: outer[i].stop - outer[i].start for i in self.problem.axes}
        if self.plan.strict:
            # Its stencil passes around walls along the axes in their order and back.
            return sorted(size, reverse=size[self.problem.axes[0]] > size[self.problem.axes[-1]])
        *rest, longest = sorted(size, key=lambda i: (size[i], i))
        return [*rest[::-1], longest]

    @cached_property
    def _hidden(self) -> Any:
        image = self.request.image
        return np.ma.getmaskarray(image) if isinstance(image, np.ma.MaskedArray) else None

    @cached_property
    def _image_and_mask(self) -> tuple[Any, Any]:
        """Image that can be indexed, and the mask, that of a masked array included."""
        image = self.request.image
        if self._hidden is not None:
            channel = self.problem.channel_axis
            hidden = self._hidden if channel is None else self._hidden.any(axis=channel)
            return np.ma.getdata(image), ~hidden
        image = image if hasattr(image, "shape") else np.asarray(image)
        return image, self.request.domain.mask

    @cached_property
    def _has_walls(self) -> bool:
        """Whether the image has walls that change the features of the model."""
        image, mask = self._image_and_mask
        part = HaloBlock.around(self.problem, self.region, [0] * len(self.problem.axes))
        domain = replace(self.request.domain, mask=mask)
        return max(self._dry_run[1]) > 1 and has_walls(image, domain, part)

    @cached_property
    def _dry_run(self) -> tuple[Operator, list[int]]:
        """Operator and reach of the model."""
        return dry_run(self.request.model, self.problem.grid())


def surroundings(
    problem: Problem,
    plan: Plan,
    part: HaloBlock,
    time: float,
    reach: Sequence[int],
    tail: float = EXACTNESS,
) -> list[int]:
    """Voxels along each diffusing axis that a part needs around it, at most the exact halo.

    Beyond a side, the mirror image of the block takes the place of the image. That changes the part
    by half the tail of the heat kernel of ``time``, of which the share ``tail`` lies outside, times
    the range. The other half of the error budget is for models that sharpen, which amplify the
    difference (measured, docs/develop/decisions.md).
    """
    sides = sum(
        (part.outer[i].start > 0) + (part.outer[i].stop < problem.shape[i]) for i in problem.axes
    )
    reaches = per_diffusing_axis(problem, reach)
    halo = []
    for axis, h, exact, r in zip(problem.axes, problem.spacing, plan.halo, reaches, strict=True):
        n = problem.shape[axis]
        sigma = math.sqrt(2 * time) / h
        wide = sigma >= min(n, MAX_SIGMA_VOXELS)
        spread = n if wide else len(gaussian_taps(sigma, n, tail / max(sides, 1))) - 1
        halo.append(min(exact, math.ceil(math.hypot(spread, r))) if n > 1 else 0)
    return halo


def has_walls(image: Any, domain: Domain, part: HaloBlock) -> bool:
    """Whether mask, labels or NaN make walls in the frames of a part. Lazy arrays are not read."""
    axes = part.problem.axes
    frames = tuple(slice(None) if i in axes else index for i, index in enumerate(part.outer))
    for regions in (domain.mask, domain.labels):
        if isinstance(regions, np.ndarray):
            own = part.frames_of(regions)
            if own.size and not is_one_region(own):
                return True
    if domain.nan == "mask" and isinstance(image, np.ndarray) and image.dtype.kind == "f":
        return not bool(np.isfinite(image[frames]).all())
    return False
