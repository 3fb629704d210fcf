"""One block of a pass: its state before the pass, its stages, and its part of the result.

A block has the bits of the whole run. Where the whole frame has walls, so has the block, even if
all its own faces are open: the same kernels then run on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array, Field, OpenFaces
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.errors import NotFinite
from napari_diffusion.core.geometry import Domain
from napari_diffusion.core.grid import Grid
from napari_diffusion.engine.blocks import Block, carried, part_of
from napari_diffusion.engine.frame import FieldState, Frame, read_frame
from napari_diffusion.engine.halo_block import HaloBlock
from napari_diffusion.engine.out_of_core.block_plan import Pass
from napari_diffusion.engine.out_of_core.planning import plan_on_block, problem_of_shape
from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.problem import FrameIndex, Problem, make_problem
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.engine.solver import Solver

#: Reads an array that the pass before has kept, by its name, in a box of the grid.
ReadKept = Callable[[str, tuple[slice, ...]], Field]


@dataclass(frozen=True)
class FrameFacts:
    """Facts about a whole frame that its blocks need.

    Attributes
    ----------
    has_walls
        Whether a face of the frame is closed: between regions, or at a value that is not finite.
    has_invalid
        Whether the frame has NaN or infinite values.
    """

    has_walls: bool = False
    has_invalid: bool = False


@dataclass(frozen=True)
class BlockRun:
    """A pass of one block of one frame.

    Attributes
    ----------
    problem, plan
        The run on the whole image, which may be lazy, and its plan.
    index, facts
        The frame, and facts about all of it.
    stages
        The pass.
    block
        The block.
    threads
        Number of threads.
    devices
        Names of the devices that have computed stages of the block.
    """

    problem: Problem
    plan: Plan
    index: FrameIndex
    facts: FrameFacts
    stages: Pass
    block: Block
    threads: int = 1
    devices: dict[str, None] = field(default_factory=dict, compare=False)

    def kept_arrays(
        self, read_kept: ReadKept, cancel: CancelEvent | None = None
    ) -> dict[str, Field]:
        """Run the pass and return what the next one needs, inside the block."""
        end = self._advance(read_kept, cancel, self.stages.carried)
        sizes = [part.stop - part.start for part in self.block.outer]
        return {name: part_of(end[name], sizes, self.block.inner) for name in self.stages.carried}

    def result(self, read_kept: ReadKept, cancel: CancelEvent | None = None) -> NDArray[Any]:
        """Run the last pass and return the result in the block, with all axes of the image."""
        inner: Any = (..., *self.block.inner)
        # The other fields of the state are free for the result.
        field = np.ascontiguousarray(self._advance(read_kept, cancel, ("u",))["u"][inner])
        place = self._in_image([0] * len(self.problem.axes))
        recipe = self.problem.recipe
        needs_image = (
            self.facts.has_invalid
            or bool(self.problem.copied_channels)
            or (recipe.has_transform and self.problem.regions is not None)
        )
        own = _part(place, self.problem, needs_image)
        index = _frame_of(own)
        invalid = ~np.isfinite(own.read(index)[0]) if self.facts.has_invalid else None
        frame = Frame(own, index, own.grid(), invalid, 0)
        finished = frame.finished(field.reshape(own.channels, *own.space), copy=False)
        return finished.reshape(own.shape)

    def region(self) -> tuple[slice, ...]:
        """Return the place of the block in the image, a slice for every axis."""
        return self._in_image([0] * len(self.problem.axes)).outer

    def _in_image(self, halo: list[int]) -> HaloBlock:
        """Return the block in the image, with a halo along each diffusing axis."""
        problem = self.problem
        region: list[Any] = list(self.index)
        for axis, place in zip(problem.axes, problem.places_in_space, strict=True):
            region[axis] = slice(0, 1) if place is None else self.block.place[place]
        return HaloBlock.around(problem, region, halo)

    def _advance(
        self, read_kept: ReadKept, cancel: CancelEvent | None, names: Sequence[str]
    ) -> dict[str, Array]:
        """Return arrays of the state after the pass, by their names, with the halo."""
        outer = tuple(part.stop - part.start for part in self.block.outer)
        own = problem_of_shape(self.problem, outer)
        plan = plan_on_block(self.plan, own, self.threads)
        # Neighbouring values of a block may differ by less than those of the image.
        plan = replace(plan, limits=replace(plan.limits, is_of_frame=False))
        with SlabPool(self.threads, cancel, lambda share: None) as slabs:
            if self.stages.first == 0:
                grid, state = self._first_state(plan, slabs)
            else:
                grid, state = self._kept_state(read_kept)
            # Blocks that are read and written beside each other take turns on a device.
            with plan.device.turn if plan.device else nullcontext():
                solver = Solver(self.problem, plan, slabs)
                for each in solver.advance(grid, state, self.stages.last):
                    state = each
                self.devices.update(dict.fromkeys(solver.devices))
                return {name: solver.fetch(getattr(state, name)) for name in names}

    def _halo(self) -> list[int]:
        return self.problem.per_diffusing_axis(self.stages.halo)

    def _first_state(self, plan: Plan, slabs: SlabPool) -> tuple[Grid, FieldState]:
        """Read the block from the image."""
        place = self._in_image(self._halo())
        own = _part(place, self.problem, needs_image=True, needs_guide=True)
        try:
            frame, state = read_frame(own, _frame_of(own), plan, slabs)
        except NotFinite as error:
            starts = [part.start for part in place.outer]
            index = tuple(i + a for i, a in zip(error.index, starts, strict=True))
            raise NotFinite(error.count, index, "A block of the image") from None
        return self._with_walls(frame.grid), state

    def _kept_state(self, read_kept: ReadKept) -> tuple[Grid, FieldState]:
        """Read the block from what the pass before has kept."""
        names = carried(self.plan, self.stages.first)
        arrays = {name: read_kept(name, self.block.outer) for name in names}
        u = arrays["u"]
        state = FieldState(
            self.stages.first,
            None,
            u,
            arrays.get("previous", u),
            arrays.get("superstep_start", u),
            arrays.get("stored"),
            source=arrays.get("source"),
            guide=arrays.get("guide"),
        )
        return self._grid(), state

    def _grid(self) -> Grid:
        """Return the grid of the block; its walls are made from regions and invalid values."""
        place = self._in_image(self._halo())
        own = _part(place, self.problem, needs_image=self.facts.has_invalid)
        invalid = None
        if self.facts.has_invalid:
            invalid = np.logical_or.reduce(~np.isfinite(own.read(_frame_of(own))[0]))
            invalid = invalid if invalid.any() else None
        return self._with_walls(own.grid(own.open_faces_of(_frame_of(own), invalid)))

    def _with_walls(self, grid: Grid) -> Grid:
        """Return the grid with faces where the whole frame has walls."""
        if not self.facts.has_walls or grid.open_faces is not None:
            return grid
        return replace(grid, open_faces=_all_open(grid.shape))


def _all_open(shape: tuple[int, ...]) -> OpenFaces:
    """Return the faces of a box whose own border is closed, and no other face."""
    faces = np.full(shape, (1 << len(shape)) - 1, np.uint8)
    for axis in range(len(shape)):
        last = (slice(None),) * axis + (-1,)
        faces[last] &= np.uint8(~(1 << axis) & 0xFF)
    return faces


def _part(
    place: HaloBlock, problem: Problem, needs_image: bool, needs_guide: bool = False
) -> Problem:
    """Return the problem on a block of the image; image and guide are read only if needed."""
    domain = problem.domain
    mask, labels = place.crop(domain.mask), place.crop(domain.labels)
    shape = tuple(part.stop - part.start for part in place.outer)
    image: Array = np.empty(0)
    if needs_image:
        image = np.asarray(place.read(problem.image))
    else:
        image = np.broadcast_to(np.zeros((), problem.input_dtype), shape)
    cropped = Domain(mask, labels, place.place(), place.crop_guide() if needs_guide else None)
    return make_problem(image, problem.recipe, problem.geometry, cropped)


def _frame_of(problem: Problem) -> FrameIndex:
    """Return the only frame of a block."""
    (index,) = problem.frames()
    return index


@dataclass(frozen=True)
class Survey:
    """Facts about the values of a part of a frame, which add up to those of the frame.

    Attributes
    ----------
    invalid
        Number of NaN and infinite values.
    region
        Region of the voxels, 0 outside; ``None`` if there are several, or some voxel is invalid.
    low, high
        Smallest and largest finite value.
    """

    invalid: int
    region: int | None
    low: float
    high: float

    @classmethod
    def of(cls, run: BlockRun) -> Survey:
        """Return the facts about a block without its halo."""
        place = run._in_image([0] * len(run.problem.axes))
        own = _part(place, run.problem, needs_image=True)
        index = _frame_of(own)
        field, _ = own.read(index)
        finite = np.isfinite(field)
        values = field[finite]
        low = float(values.min(initial=math.inf))
        high = float(values.max(initial=-math.inf))
        regions = own.regions_of(index)
        region: int | None = 1
        if regions is not None:
            first = regions.flat[0]
            region = int(first) if (regions == first).all() else None
        elif run.problem.domain.labels is not None or run.problem.domain.mask is not None:
            region = _single_region(place, run.problem)
        invalid = int(finite.size - values.size)
        return cls(invalid, None if invalid else region, low, high)

    def __add__(self, other: Survey) -> Survey:
        """Return the facts about both parts."""
        return Survey(
            self.invalid + other.invalid,
            self.region if self.region == other.region else None,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def facts(self) -> FrameFacts:
        """Facts about the whole frame, if this is the survey of all its parts."""
        return FrameFacts(not self.region, self.invalid > 0)


def _single_region(place: HaloBlock, problem: Problem) -> int:
    """Return the region of a block that lies in a single one."""
    domain = problem.domain
    if domain.labels is None:
        return 1
    labels = place.crop(domain.labels)
    return 1 if labels is None or not labels.size else int(labels.flat[0])
