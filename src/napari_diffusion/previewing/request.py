"""Preview of a part: the schedule of the whole run, applied to the part and its surroundings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from napari_diffusion.operators.smoothing import MAX_SIGMA_VOXELS, gaussian_taps
from napari_diffusion.schemes import FSI

#: Largest difference of a part from the whole run, as a share of the intensity range.
EXACTNESS = 1e-3
#: Number of voxels of a part from which its intensity range is estimated, and the percentiles.
RANGE_SAMPLE, RANGE_PERCENTILES = 1 << 16, (1.0, 99.0)
#: Argument z at which z ierfc(z) is largest.
DEPTH_OF_LARGEST_FLUX = 0.44
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


def surroundings(
    problem: Problem,
    plan: Plan,
    part: HaloBlock,
    diffusivity: float,
    reach: Sequence[int],
    tail: float = EXACTNESS,
    flux: float = math.inf,
) -> list[int]:
    r"""Return the surroundings [voxel] of a part along each diffusing axis.

    .. math:: \sqrt{d^2 + r^2}, \qquad P(|X| > d) = \epsilon/m

    The distribution of X is the heat kernel of the time :math:`g T` with the largest
    ``diffusivity`` g of the model (1 for motion by curvature). :math:`\epsilon` is ``tail``,
    :math:`10^{-3}` divided by `Model.truncation_gain`; m is the number of sides on which the image
    continues, and r the ``reach`` of the features. The result is at most the exact halo.

    Beyond a side, the mirror image of the block replaces the image. This changes the part by half
    the tail of the heat kernel, times the range. The other half of the error budget is for models
    that sharpen, which amplify the difference (measured, docs/develop/decisions.md).

    With a fidelity length :math:`\ell`, the kernel of the steady state is narrower after a long
    time. On the grid it is :math:`q^{|n|}`, :math:`q = e^{-\theta}`,
    :math:`2\sinh(\theta/2) = h/(\ell\sqrt g)`, with the weight :math:`2q^{d+1}/(1+q)` beyond d.

    A bound F of the ``flux`` (`Operator.largest_flux` of an image with the range 1) narrows the
    surroundings: no more than F enters the block through its border. Diffusion with a constant
    diffusivity :math:`D \le g` carries this flux to the depth d, where the intensity changes by

    .. math:: 2 F \sqrt{T/D}\;\mathrm{ierfc}(z) = \frac{4 F T}{d}\,z\,\mathrm{ierfc}(z),
       \qquad z = \frac{d}{2\sqrt{D T}}, \qquad
       \mathrm{ierfc}(z) = \frac{e^{-z^2}}{\sqrt\pi} - z\,\mathrm{erfc}(z)

    The depth is chosen for the D of the largest change. Source: Carslaw & Jaeger 1959,
    section 2.9.
    """
    recipe_time, length = problem.recipe.time, problem.recipe.fidelity_length
    time = recipe_time * diffusivity
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
        if length is not None and diffusivity > 0:
            rate = 2 * math.asinh(h / (2 * length * math.sqrt(diffusivity)))
            spread = min(spread, math.ceil(math.log(2 * max(sides, 1) / tail) / rate))
        if diffusivity > 0:
            limit = tail / (2 * max(sides, 1))
            spread = _flux_limited(spread, h, flux, recipe_time, diffusivity, limit)
        halo.append(min(exact, math.ceil(math.hypot(spread, r))) if n > 1 else 0)
    return halo


def _flux_limited(
    spread: int, h: float, flux: float, time: float, diffusivity: float, change: float
) -> int:
    """Return the depth [voxel], at most ``spread``, at which a flux causes at most this change."""
    if math.isinf(flux) or time == 0:
        return spread
    depths = range(1, spread)
    enough = (d for d in depths if largest_change(d * h, flux, time, diffusivity) <= change)
    return next(enough, spread)


def largest_change(depth: float, flux: float, time: float, diffusivity: float) -> float:
    """Return the largest change of the intensity at a depth by a flux through the border.

    Parameters
    ----------
    depth
        Distance from the border [length].
    flux
        Largest flux [intensity/length].
    time
        Diffusion time [length²].
    diffusivity
        Largest diffusivity.
    """
    z = max(depth / (2 * math.sqrt(diffusivity * time)), DEPTH_OF_LARGEST_FLUX)
    ierfc = math.exp(-z * z) / math.sqrt(math.pi) - z * math.erfc(z)
    return 4 * flux * time / depth * z * ierfc


def intensity_range(part: HaloBlock, image: NDArray[Any], mask: NDArray[Any] | None) -> float:
    """Return the difference of two percentiles of a part of an image, 0 without finite values.

    Bright or dark outliers do not widen it.
    """
    values = part.read(image)
    axes = max(sum(n > 1 for n in values.shape), 1)
    step = max(math.ceil((values.size / RANGE_SAMPLE) ** (1 / axes)), 1)
    sample = (slice(None, None, step),) * values.ndim
    values = values[sample]
    inside = np.isfinite(values)
    if mask is not None:
        inside &= part.crop_for_image(mask)[sample]
    chosen = values[inside]
    if not chosen.size:
        return 0.0
    low, high = np.percentile(chosen.astype(float), RANGE_PERCENTILES)
    return float(high - low)


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
