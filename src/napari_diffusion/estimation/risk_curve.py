"""Risk of a model against diffusion time, on patches of an image.

All times come from one run of each patch and one or two runs of its probe.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.in_memory import evolve, run
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe_fields import RecipeFields
from napari_diffusion.estimation.noise.evidence import fine_axes
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.risk import Probe, Sums, total
from napari_diffusion.models import Linear, Model
from napari_diffusion.schemes.intervals import TIME_RATIO, GeometricTimes

#: Number of stages that take as long as the solution of a direct scheme.
STAGES_PER_SOLUTION = 10
#: Patches are filtered one after the other in one thread. Their stages are so short that threads,
#: which wait for the lock of the interpreter, take up to 1.8 times as long, see decisions.
_ONE = Execution(threads=1)
#: Shortest edge to which a patch is cut, as far as it is that long [voxel].
MIN_EDGE = 8
#: Shortest time of a risk curve [voxel²].
MIN_TIME_VOXEL2 = 0.03


class RiskCurve:
    """Risk curves of models on the same patches.

    All patches advance together, so that a curve can end once its minimum has been passed.

    Attributes
    ----------
    patches, probes
        The patches, and a probe for each.
    weights
        Weights of the channels.
    cancel
        The runs end with `Cancelled` when this event is set.
    ratio
        Ratio of consecutive times.
    like
        A recipe with the guide weight and the fidelity length of the runs; None for neither.
    voxel
        Shortest edge of a voxel [length].
    dimensions
        Number of finely sampled axes.
    effort
        Work so far [stages times voxels]. Computing the tensors counts as several stages.
    """

    def __init__(
        self,
        patches: Sequence[Patch],
        probes: Sequence[Probe],
        weights: FloatArray,
        cancel: CancelEvent | None = None,
        ratio: float = TIME_RATIO,
        like: RecipeFields | None = None,
    ) -> None:
        self.patches, self.probes, self.cancel, self.ratio = patches, probes, cancel, ratio
        self.like = RecipeFields(Linear(), 0.0) if like is None else like
        self.weights = tuple(float(w) for w in weights)
        self.voxel = min(
            h
            for patch in patches
            for h, n in zip(patch.spacing, patch.field.shape[1:], strict=True)
            if n > 1 or math.prod(patch.valid.shape) == 1
        )
        self.effort = 0.0
        self._fields, self._places = _fields_of(patches, probes)
        self._voxels = sum(field.size for field, _ in self._fields)
        self.dimensions = max(len(fine_axes(patch.valid.shape, patch.spacing)) for patch in patches)

    def of_middles(self, share: float, ratio: float) -> RiskCurve:
        """Return risk curves over the middle of every patch.

        Parameters
        ----------
        share
            Share of the voxels of a patch that its middle has.
        ratio
            Ratio of consecutive times.
        """
        boxes = [_middle(patch.valid.shape, share) for patch in self.patches]
        patches = [patch.part(box) for patch, box in zip(self.patches, boxes, strict=True)]
        probes = [probe.part(box) for probe, box in zip(self.probes, boxes, strict=True)]
        return RiskCurve(patches, probes, np.array(self.weights), self.cancel, ratio, self.like)

    def points(
        self, model: Model, longest: float, shortest: float = 0.0
    ) -> Generator[tuple[float, Sums], None, None]:
        """Yield time [length²] and `Sums` over all patches; the times are those of `parts`."""
        with closing(self.parts(model, longest, shortest)) as parts:
            for time, sums in parts:
                yield time, total(sums)

    def sums_of_patches(self, model: Model, time: float) -> list[Sums]:
        """Return the `Sums` of every patch at one time [length²], in the order of the patches.

        The runs are those of a filter of this time, whereas a risk curve takes a step from each of
        its times to the next. The scatter of the patches shows how uncertain a risk is.
        """
        problems = [self._problem(field, number, model, time) for field, number in self._fields]
        plan = make_plan(problems[0], _ONE)
        self.effort += plan.effort * self._voxels
        return self._sums([run(problem, _ONE, cancel=self.cancel) for problem in problems])

    def parts(
        self, model: Model, longest: float, shortest: float = 0.0
    ) -> Generator[tuple[float, list[Sums]], None, None]:
        """Yield time [length²] and the `Sums` of every patch.

        The first point has the time 0. Times from about ``shortest`` to ``longest`` follow; the
        last one is exactly ``longest``.
        """
        yield 0.0, self._sums([field for field, _ in self._fields])
        first = max(shortest, MIN_TIME_VOXEL2 * self.voxel**2)
        count = 1 + max(0, math.ceil(math.log(longest / first) / math.log(self.ratio) - 1e-9))
        problems = [self._problem(field, number, model, longest) for field, number in self._fields]
        scheme = make_plan(self._problem(self.patches[0].field, 0, model, longest), _ONE).scheme
        times = GeometricTimes(count, scheme, self.ratio)
        if scheme.is_direct:
            for time in times.times(longest):
                recipes = [replace(problem.recipe, time=time) for problem in problems]
                pairs = zip(problems, recipes, strict=True)
                timed = [replace(problem, recipe=recipe) for problem, recipe in pairs]
                self.effort += STAGES_PER_SOLUTION * self._voxels
                yield time, self._sums([run(each, _ONE, cancel=self.cancel) for each in timed])
            return
        timed = [
            replace(problem, recipe=replace(problem.recipe, scheme=times)) for problem in problems
        ]
        efforts = _efforts(make_plan(timed[0], _ONE))
        runs = [evolve(problem, _ONE, cancel=self.cancel) for problem in timed]
        try:
            for time, stages in zip(times.times(longest), efforts, strict=True):
                self.effort += stages * self._voxels
                yield time, self._sums([next(states).image for states in runs])
        finally:
            for states in runs:
                states.close()

    def _problem(self, field: Any, number: int, model: Model, time: float) -> Problem:
        """Return the run of a model on a field of the patch of that number."""
        patch = self.patches[number]
        has_holes = not np.isfinite(patch.field).all()
        if model.is_for_magnitudes:
            # A probe takes weak magnitudes below 0, and such a model depends on their square.
            field = np.abs(field)
        recipe = RecipeFields(
            model,
            time,
            nan="mask" if has_holes else "raise",
            guide_weight=self.like.guide_weight,
            fidelity_length=self.like.fidelity_length,
        )
        return make_problem(
            field,
            recipe,
            Geometry(patch.spacing, channel_axis=0, channel_weights=self.weights),
            Domain(labels=patch.regions, place=patch.place, guide=patch.guide),
        )

    def _sums(self, images: Sequence[FloatArray]) -> list[Sums]:
        """Return the `Sums` of every probe from the images of `_fields`, filtered."""
        return [
            probe.sums(*(images[k] for k in places))
            for probe, places in zip(self.probes, self._places, strict=True)
        ]


def _fields_of(
    patches: Sequence[Patch], probes: Sequence[Probe]
) -> tuple[list[tuple[FloatArray, int]], list[list[int]]]:
    """Return the images to filter with the numbers of their patches, and their places per probe.

    Several probes of one patch share its image, which is filtered once.
    """
    fields: list[tuple[FloatArray, int]] = []
    places: list[list[int]] = []
    place_of_image: dict[tuple[object, ...], int] = {}
    for number, probe in enumerate(probes):
        image, *others = probe.images
        key = _identity(image, patches[number])
        if key not in place_of_image:
            place_of_image[key] = len(fields)
            fields.append((image, number))
        places.append([place_of_image[key], *range(len(fields), len(fields) + len(others))])
        fields += [(other, number) for other in others]
    return fields, places


def _identity(image: FloatArray, patch: Patch) -> tuple[object, ...]:
    """Return what a run on an image depends on, apart from its recipe."""
    regions = None if patch.regions is None else patch.regions.tobytes()
    guide = None if patch.guide is None else patch.guide.tobytes()
    return image.shape, image.tobytes(), regions, guide, patch.place, patch.spacing


def _middle(shape: Sequence[int], share: float) -> tuple[slice, ...]:
    """Box in the middle of a shape, with a share of its voxels."""
    factor = share ** (1 / max(1, sum(n > 1 for n in shape)))
    edges = [min(n, max(MIN_EDGE, round(factor * n))) for n in shape]
    return tuple(slice((n - e) // 2, (n - e) // 2 + e) for n, e in zip(shape, edges, strict=True))


def _efforts(plan: Plan) -> list[float]:
    """Return the effort of the stages to each of the times of a run, from the time before."""
    efforts, first = [], 0
    for number, stage in enumerate(plan.stages, 1):
        if stage.time is not None:
            stages = plan.stages[first:number]
            efforts.append(plan.operator.effort(stages))
            first = number
    return efforts
