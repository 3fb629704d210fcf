"""Advances a field by some stages of a plan: the one loop over stages.

The run in memory, previews and runs in blocks call `Solver.advance`. It takes and returns the
arrays that live between two stages (`FieldState`), so that a run may be cut after any stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from napari_diffusion.backends.base import Backend
from napari_diffusion.backends.devices import PROCESSOR, Device
from napari_diffusion.core.arrays import Array, Field, Stored
from napari_diffusion.core.errors import DeviceFailed, DeviceMemoryError
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.regions import open_faces
from napari_diffusion.core.stage import Stage
from napari_diffusion.engine.blocks import advance_in_blocks, device_passes
from napari_diffusion.engine.devices.choice import say_fallback
from napari_diffusion.engine.devices.records import Proof, proof_of
from napari_diffusion.engine.devices.verdicts import (
    MEASURED_STAGES,
    MOST_PIECES,
    TEST_STAGES,
    TEST_VOXELS,
    Verdict,
    compared,
    measured_shape,
    pieces_of,
)
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
        self.plan, self._problem = plan, problem
        self._model = problem.recipe.model
        self._slabs = slabs
        # Kernels of the device are taken in `advance`, which the processor replaces if they fail.
        self._kernels, self._device, self._is_open = plan.kernels, plan.device, False
        self._weights = problem.weights.astype(problem.working)
        self._feature_weights: Field | None = None
        self._guide_is_alone = problem.is_frozen
        if problem.is_guided:
            self._feature_weights = feature_weights(problem).astype(problem.working)
        self._fields: list[Field] = []
        self._scratch = Scratch(self._kernels.empty)
        self._stored: Stored | None = None  # of the last frame
        self._used: dict[str, None] = {}

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices that computed the states so far, such as ``("cpu",)``."""
        return tuple(self._used)

    def release_fields(self) -> None:
        """Forget the work fields; a field that is still in use lives on."""
        self._fields.clear()

    def fetch(self, array: Any) -> Array:
        """Return an array of a state as one of NumPy; it is copied if it is on a device."""
        return array if isinstance(array, np.ndarray) else self._kernels.fetch(array)

    def advance(self, grid: Grid, state: FieldState, last: int) -> Iterator[FieldState]:
        """Run stages up to number ``last``, and yield the state after each pass over memory.

        A pass is one stage, or several that share a stored operator; none continues beyond the end
        of a superstep. The fields of a state are overwritten by the stage after the next one. They
        are on the device, if the plan has one: `fetch` copies them. If the device fails, the
        processor goes on from the given state. If its memory is too small, it computes blocks, and
        only the states at the end of a block pass are yielded.

        Parameters
        ----------
        grid
            Voxel size and open faces of the frame, or of the block that the fields cover.
        state
            State before the first of these stages.
        last
            Number of stages that are done at the end.
        """
        done, pieces, used = state.stage, 1, self._used
        if self._device is not None:
            voxels = math.prod(grid.shape)
            pieces = pieces_of(self._device, self.plan.device_bytes * voxels)
        while self._device is not None:
            try:
                self._open(self._device)
                self._check_device(self._device)
                for each in self._advance_on_device(grid, state, last, pieces):
                    if each.stage > done:
                        done, self._used = each.stage, used | {self._device.name: None}
                        yield each
                return
            except DeviceFailed as error:
                can_halve = isinstance(error, DeviceMemoryError) and pieces < MOST_PIECES
                pieces *= 2
                self._leave_device()
                if not can_halve:
                    self._device.renew()
                    self._device = None
                    say_fallback(f"{error}")
        for each in self._advance(grid, state, last):
            if each.stage > done:
                self._used = used | {PROCESSOR: None}
                yield each

    def _advance_on_device(
        self, grid: Grid, state: FieldState, last: int, pieces: int
    ) -> Iterator[FieldState]:
        """Run stages on the device, in so many ``pieces`` of the frame."""
        if pieces == 1:
            for each in self._advance(*self._loaded(grid, state), last):
                if each.stage < last:
                    yield each
            # Here, where a failure of the last kernels or of the copy can still be replaced.
            self._kernels.finish()
            yield replace(each, u=self._kernels.fetch(each.u))
            return
        whole = _WholeBlocks(self)
        for cut, shape in device_passes(self.plan, state.stage, last, grid.shape, pieces):
            state = advance_in_blocks(whole, grid, state, cut, shape)
            yield state

    def _check_device(self, device: Device) -> None:
        """Raise `DeviceFailed` if the device has not the bits of the processor in such runs.

        A device that rounds otherwise is used if it is named.
        """
        prove = partial(self._prove, device)
        verdict = proof_of(device, self.plan.device_kind(self._problem), prove).verdict
        is_named = self.plan.is_device_named
        if verdict is Verdict.EXACT or (verdict is Verdict.ROUNDED and is_named):
            return
        title = self._model.title
        raise DeviceFailed(
            {
                Verdict.ROUNDED: f"{device.name} rounds otherwise than the processor, up to 1e-5, "
                f"and only its name instead of 'gpu' uses it all the same ({title})",
                Verdict.WRONG: f"{device.name} has other results than the processor ({title})",
                Verdict.FAILED: f"{device.name} cannot run {title}",
            }[verdict]
        )

    def _prove(self, device: Device) -> Proof:
        """Compare the device with the processor on a small field of noise, and measure a card."""
        stages, shape = self.plan.stages, self.plan.grid.shape
        places = replace(self.plan, device=None), self.plan
        small = tuple(min(n, TEST_VOXELS) for n in shape)
        try:
            results = [self._trial(plan, small, TEST_STAGES, 1)[0] for plan in places]
        except DeviceFailed:
            raise
        except Exception:  # a model that computes in a way that only the processor can
            return Proof(Verdict.FAILED)
        proof = Proof(compared(*results))
        if proof.verdict is Verdict.EXACT and not device.is_accurate:
            return Proof(Verdict.ROUNDED)  # such as the smallest numbers, which are not in the test
        if proof.verdict is not Verdict.EXACT or not device.is_card:
            return proof
        large = measured_shape(shape)
        work = float(math.prod(large) * len(self._weights))
        work *= max(1.0, self.plan.operator.effort(stages[:MEASURED_STAGES]))
        try:
            processor, card = (self._trial(plan, large, MEASURED_STAGES, 2) for plan in places)
        except DeviceFailed:  # its memory is too small
            return proof
        processor_pace = processor[1] * self.plan.threads / work
        return replace(proof, pace=card[1] / work, processor_pace=processor_pace, transfer=card[2])

    def _trial(
        self, plan: Plan, shape: tuple[int, ...], stages: int, rounds: int
    ) -> tuple[Field, float, float]:
        """Run the first stages of a plan on noise, once or in several rounds.

        Returns
        -------
        tuple
            The result, the time of the last round, and the time in it to copy a byte to the device
            or back [s].
        """
        rng = np.random.default_rng(0)

        def noise(channels: int) -> Field:
            return np.abs(rng.normal(100, 30, (channels, *shape))).astype(plan.working)

        faces = None
        if plan.grid.open_faces is not None:
            faces = open_faces(np.indices(shape).sum(0) // 5 % 3)
        grid, u = replace(plan.grid, shape=shape, open_faces=faces), noise(len(self._weights))
        guide = None if self._feature_weights is None else noise(len(self._feature_weights))
        source = u.copy() if plan.stages[0].rate else None
        state = FieldState(0, None, u, u, u, None, source is None, source, guide)
        last = min(stages, len(plan.stages))
        with SlabPool(plan.threads, None, lambda share: None) as slabs:
            solver = Solver(self._problem, plan, slabs)
            if plan.device is not None:
                solver._open(plan.device)
            for _ in range(rounds):
                begin = perf_counter()
                start = solver._loaded(grid, state) if plan.device else (grid, _copied(state))
                loaded = perf_counter()
                *_, end = solver._advance(*start, last)
                solver._kernels.finish()
                done = perf_counter()
                result = solver.fetch(end.u)
                copied = perf_counter() - done + loaded - begin
        return result, done - loaded, copied / (2 * u.nbytes)

    def _loaded(self, grid: Grid, state: FieldState) -> tuple[Grid, FieldState]:
        """Return a grid and a state with their arrays on the device."""
        loaded: dict[int, Any] = {}

        def load(array: Any) -> Any:
            if array is not None and id(array) not in loaded:
                loaded[id(array)] = self._kernels.load(array)
            return None if array is None else loaded[id(array)]

        names = ("u", "previous", "superstep_start", "stored", "source", "guide")
        arrays: Any = {name: load(getattr(state, name)) for name in names}
        is_owned = state.is_owned or state.source is None
        faces = load(grid.open_faces)
        return replace(grid, open_faces=faces), replace(state, is_owned=is_owned, **arrays)

    def _open(self, device: Device) -> None:
        """Take the kernels of a device, unless they are taken; raises `DeviceFailed`."""
        if not self._is_open:
            self._take(device.kernels())
            self._is_open = True

    def _leave_device(self) -> None:
        """Go back to the kernels of the processor; all memory of the device is free then."""
        self._take(self.plan.kernels)
        self._is_open = False

    def _take(self, kernels: Backend) -> None:
        """Use kernels, and forget all arrays of the others."""
        self._kernels, self._stored, self._scratch = kernels, None, Scratch(kernels.empty)
        self._fields.clear()

    def _advance(self, grid: Grid, state: FieldState, last: int) -> Iterator[FieldState]:
        """Run stages up to number ``last`` on arrays of the kernels; see `advance`."""
        plan = self.plan
        own = [state.u, state.previous, state.superstep_start] if state.is_owned else []
        pool = [*self._fields, *_different(own)]
        context = self._context(grid, pool, state)
        stepper = plan.operator.stepper(context)
        stepper.stored = state.stored
        if state.stored is None:
            stepper.take_memory(self._stored)
        keeps_start = plan.keeps_start
        u, previous, start = state.u, state.previous, state.superstep_start
        number = state.stage
        while number < last:
            stage = plan.stages[number]
            is_kept = previous is u or (keeps_start and previous is start)
            is_free = not is_kept and _contains(pool, previous)
            out = previous if is_free else self._spare_field(pool, u, start)
            if not plan.scheme.is_direct:
                stepper.prepare(stage, u, out, start, number == 0)
            begins = not number or plan.stages[number - 1].time is not None
            if begins and keeps_start and (number or state.is_owned):
                start = self._spare_field(pool, u, previous, out)
                _copy(context, u, start)
            if stage.momentum and previous is not out:
                out[...] = previous
            together: tuple[Stage, ...] = (stage,)
            if plan.scheme.is_direct:
                plan.scheme.solve(stage, u, out, context)
            else:
                is_free = _contains(pool, u) and not (keeps_start and u is start)
                if is_free and stepper.stage_reach is not None:
                    together = self._stages_of_a_pass(number, last, stepper.pass_stages(u))
                if len(together) > 1:
                    stepper.apply_in_one_pass(together, u, out, start)
                else:
                    stepper.apply(stage, start if stage.from_start else u, out, start)
            self._stored = stepper.stored
            previous, u = start if stage.from_start else u, out
            if len(together) % 2 == 0:
                previous, u = u, previous
            number += len(together)
            parts = previous, start, stepper.stored
            time = together[-1].time
            yield FieldState(number, time, u, *parts, source=state.source, guide=state.guide)

    def _stages_of_a_pass(self, first: int, last: int, count: int) -> tuple[Stage, ...]:
        """Return at most ``count`` stages from number ``first`` on that one pass can compute.

        They end before number ``last``, and share the operator that is stored for the first one.
        """
        stages = self.plan.stages
        end = first + 1
        if self._device is None and not stages[first].from_start:
            while (
                end < min(first + count, last)
                and stages[end].reuse_operator
                and not stages[end].from_start
                and stages[end - 1].time is None
            ):
                end += 1
        return stages[first:end]

    def _build(self, features: Features) -> Operator:
        """Return the operator of the model for some features."""
        operator = self._model.operator(features)
        return operator if self._feature_weights is None else operator.guided(features)

    def _context(self, grid: Grid, pool: list[Field], state: FieldState) -> StageContext:
        return StageContext(
            build=self._build,
            grid=grid,
            backend=self._kernels,
            weights=self._weights,
            scratch=self._scratch,
            slabs=self._slabs,
            height=grid.shape[0] if self._device else self.plan.height,
            chunk=grid.shape[0] if self._device else self.plan.chunk,
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
        field = self._kernels.empty(used[0].shape, used[0].dtype)
        pool.append(field)
        self._fields.append(field)
        return field


class _WholeBlocks:
    """Advances a block on the device in one piece, for `advance_in_blocks`."""

    def __init__(self, solver: Solver) -> None:
        self.plan, self.fetch, self._solver = solver.plan, solver.fetch, solver

    def advance(self, grid: Grid, state: FieldState, last: int) -> Iterator[FieldState]:
        """See `Solver.advance`."""
        return self._solver._advance_on_device(grid, state, last, pieces=1)


def _copied(state: FieldState) -> FieldState:
    """Return a state whose fields are copies; a run overwrites them."""
    u, guide = state.u.copy(), state.guide
    return replace(
        state, u=u, previous=u, superstep_start=u, guide=None if guide is None else guide.copy()
    )


def _copy(context: StageContext, u: Field, out: Field) -> None:
    """Copy a field to another one, in all threads."""

    def work(lo: int, hi: int) -> None:
        out[:, lo:hi] = u[:, lo:hi]

    context.run_on_slabs(work, u, quiet=True)


def _different(fields: list[Field]) -> list[Field]:
    """Return the fields without repetition, by identity."""
    return list({id(field): field for field in fields}.values())


def _contains(fields: Sequence[Field], field: Field) -> bool:
    """Whether a field is one of these, by identity."""
    return id(field) in map(id, fields)
