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
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.engine.halo_block import (
    AxisIndex,
    HaloBlock,
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

#: Largest difference of a part from the whole run, as a share of the intensity range.
EXACTNESS = 1e-3
#: Effective speed of curvature motion, as a share of the bound of its weights. The weights are 1
#: where the image is smooth, and reach their bound of 2 at single voxels.
CURVATURE_SPREAD = 0.5
#: Factor by which the surroundings of a draft are narrower, and the largest diffusivity assumed for
#: their width: larger diffusivities, of 10 or 100, are rare.
DRAFT_NARROWING, DRAFT_SPREAD = 5, 2.0
#: Cycles of a draft, and the largest diffusivity in it.
DRAFT_CYCLES, DRAFT_MAX_DIFFUSIVITY = 2, 25.0
#: Number of stages that take as long as computing all tensors once (measured: 6 to 14,
#: docs/develop/decisions.md).
STAGES_PER_TENSOR = 10


@dataclass(frozen=True)
class PreviewRequest:
    """A preview, and the work that it takes.

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
        """The plan of the whole run, or one with fewer stages for a draft."""
        integration, execution = self.request.integration, self.request.execution
        plan = make_plan(self.problem, self._model, integration, execution)
        if not self.draft or isinstance(plan.scheme, Exact):
            return plan
        shorter = replace(integration, scheme=FSI(cycles=DRAFT_CYCLES), strict=False)
        draft = make_plan(self.problem, self._model, shorter, execution)
        return draft if draft.steps < plan.steps else plan

    @cached_property
    def block(self) -> HaloBlock:
        """The part with its surroundings; the preview reads nothing else."""
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

        Computing the tensors counts as several stages.
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
            raise NotFinite(error.count, index, "The previewed part of the image") from None
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
        """The model that runs; a draft bounds its diffusivity, so that fewer stages suffice."""
        model = self.request.model
        return model.with_max_diffusivity(DRAFT_MAX_DIFFUSIVITY) if self.draft else model

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
        image = self.request.image
        return np.ma.getmaskarray(image) if isinstance(image, np.ma.MaskedArray) else None

    @cached_property
    def _image_and_mask(self) -> tuple[Any, Any]:
        """The image as an array that can be indexed, and the mask of the domain or the image."""
        image = self.request.image
        if self._hidden is not None:
            channel = self.problem.channel_axis
            hidden = self._hidden if channel is None else self._hidden.any(axis=channel)
            return np.ma.getdata(image), ~hidden
        image = image if hasattr(image, "shape") else np.asarray(image)
        return image, self.request.domain.mask

    @cached_property
    def _has_walls(self) -> bool:
        """Whether there are walls, and features of the model that extend beyond the neighbours."""
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
    r"""Return the surroundings [voxel] of a part along each diffusing axis.

    .. math:: \sqrt{d^2 + r^2}, \qquad P(|X| > d) = \epsilon/m

    The distribution of X is the heat kernel of ``time``, which is :math:`g T` with the largest
    diffusivity g of the model (1 for motion by curvature). :math:`\epsilon` is ``tail``,
    :math:`10^{-3}` divided by `Model.truncation_gain`; m is the number of sides on which the image
    continues, and r the ``reach`` of the features. The result is at most the exact halo.

    Beyond a side, the mirror image of the block replaces the image. This changes the part by half
    the tail of the heat kernel, times the range. The other half of the error budget is for models
    that sharpen, which amplify the difference (measured, docs/develop/decisions.md).
    """
    sides = sum(
        (part.outer[i].start > 0) + (part.outer[i].stop < problem.shape[i]) for i in problem.axes
    )
    reaches = problem.per_diffusing_axis(reach)
    halo = []
    for axis, h, exact, r in zip(problem.axes, problem.spacing, plan.halo, reaches, strict=True):
        n = problem.shape[axis]
        sigma = math.sqrt(2 * time) / h
        wide = sigma >= min(n, MAX_SIGMA_VOXELS)
        spread = n if wide else len(gaussian_taps(sigma, n, tail / max(sides, 1))) - 1
        halo.append(min(exact, math.ceil(math.hypot(spread, r))) if n > 1 else 0)
    return halo


def has_walls(image: Any, domain: Domain, part: HaloBlock) -> bool:
    """Whether mask, labels or NaN make walls in the frames of a part; lazy arrays are not read."""
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
