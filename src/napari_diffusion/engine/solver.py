"""Advances a field by some stages of a plan: the one loop over stages.

The run in memory, previews and runs in blocks call `Solver.advance`. It takes and returns the
arrays that live between two stages (`FieldState`), so that a run may be cut after any stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from napari_diffusion.core.arrays import Field, Stored
from napari_diffusion.core.grid import Grid
from napari_diffusion.engine.frame import FieldState
from napari_diffusion.engine.inputs.guide import feature_weights
from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.problem import Problem
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.operators import Operator
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scratch import Scratch
from napari_diffusion.operators.stepper import StageContext


class Solver:
    """Advances one frame at a time; its work fields are allocated once and serve every frame.

    Parameters
    ----------
    problem, plan
        The problem and its plan.
    slabs
        The threads.
    """

    def __init__(self, problem: Problem, plan: Plan, slabs: SlabPool) -> None:
        self.plan = plan
        self._model = problem.recipe.model
        self._slabs = slabs
        self._weights = problem.weights.astype(problem.working)
        self._feature_weights: Field | None = None
        self._guide_is_alone = problem.is_frozen
        if problem.is_guided:
            self._feature_weights = feature_weights(problem).astype(problem.working)
        self._fields: list[Field] = []
        self._scratch = Scratch(plan.kernels.empty)
        self._stored: Stored | None = None  # of the last frame

    def release_fields(self) -> None:
        """Forget the work fields; a field that is still in use lives on."""
        self._fields.clear()

    def advance(self, grid: Grid, state: FieldState, last: int) -> Iterator[FieldState]:
        """Run stages up to number ``last``, and yield the state after each.

        The fields of a state are overwritten by the stage after the next one.

        Parameters
        ----------
        grid
            Voxel size and open faces of the frame, or of the block that the fields cover.
        state
            State before the first of these stages.
        last
            Number of stages that are done at the end.
        """
        plan = self.plan
        own = [state.u, state.previous, state.superstep_start] if state.is_owned else []
        pool = [*self._fields, *_different(own)]
        context = self._context(grid, pool, state)
        stepper = plan.operator.stepper(context)
        stepper.stored = state.stored
        if state.stored is None:
            stepper.take_memory(self._stored)
        keeps_start = any(stage.needs_start for stage in plan.stages)
        u, previous, start = state.u, state.previous, state.superstep_start
        for number in range(state.stage, last):
            stage = plan.stages[number]
            is_kept = previous is u or (keeps_start and previous is start)
            is_free = not is_kept and _contains(pool, previous)
            out = previous if is_free else self._spare_field(pool, u, start)
            if not plan.scheme.is_direct:
                stepper.prepare(stage, u, out, start, number == 0)
            begins = not number or plan.stages[number - 1].time is not None
            if begins and keeps_start and (number or state.is_owned):
                start = self._spare_field(pool, u, previous, out)
                start[...] = u
            if stage.momentum and previous is not out:
                out[...] = previous
            if plan.scheme.is_direct:
                plan.scheme.solve(stage, u, out, context)
            else:
                stepper.apply(stage, start if stage.from_start else u, out, start)
            self._stored = stepper.stored
            previous, u = start if stage.from_start else u, out
            parts = previous, start, stepper.stored
            yield FieldState(
                number + 1, stage.time, u, *parts, source=state.source, guide=state.guide
            )

    def _build(self, features: Features) -> Operator:
        """Return the operator of the model for some features."""
        operator = self._model.operator(features)
        return operator if self._feature_weights is None else operator.guided(features)

    def _context(self, grid: Grid, pool: list[Field], state: FieldState) -> StageContext:
        return StageContext(
            build=self._build,
            grid=grid,
            backend=self.plan.kernels,
            weights=self._weights,
            scratch=self._scratch,
            slabs=self._slabs,
            height=self.plan.height,
            chunk=self.plan.chunk,
            strict=self.plan.strict,
            new_field=partial(self._spare_field, pool),
            stores_operator=self.plan.stores_operator,
            source=state.source,
            guide=state.guide,
            feature_weights=self._feature_weights,
            guide_is_alone=self._guide_is_alone,
        )

    def _spare_field(self, pool: list[Field], *used: Field) -> Field:
        """Return a work field that is none of the ``used`` ones."""
        for field in pool:
            if field.shape == used[0].shape and not _contains(used, field):
                return field
        field = self.plan.kernels.empty(used[0].shape, used[0].dtype)
        pool.append(field)
        self._fields.append(field)
        return field


def _different(fields: list[Field]) -> list[Field]:
    """Return the fields without repetition, by identity."""
    different: list[Field] = []
    for field in fields:
        if not _contains(different, field):
            different.append(field)
    return different


def _contains(fields: Sequence[Field], field: Field) -> bool:
    """Whether a field is one of these, by identity."""
    return id(field) in map(id, fields)
