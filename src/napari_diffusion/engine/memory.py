"""Peak memory of a run, predicted before it starts, and the refusal of runs that would not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from napari_diffusion.backends.base import Backend
from napari_diffusion.core.errors import NotEnoughMemory, Remedy
from napari_diffusion.core.resources import format_bytes, free_memory
from napari_diffusion.engine.inputs.guide import guide_channels, guide_is_copied
from napari_diffusion.engine.problem import Problem
from napari_diffusion.operators.base import Operator, SlabLayout
from napari_diffusion.operators.impulses.search import search_bytes
from napari_diffusion.schemes import Scheme, Stage

#: Runs that need less [bytes] are not checked: asking the system takes as long as a small image.
UNCHECKED_BYTES = 16 << 20
#: Margin for memory that is not counted: a factor, and a fixed part [bytes].
MARGIN, FIXED_BYTES = 1.05, 4 << 20


@dataclass(slots=True)
class MemoryDemand:
    """Quantities that determine the peak memory of a run.

    Attributes
    ----------
    problem, operator, scheme, stages, backend
        As in the plan of the run.
    layout
        Sizes of the slabs.
    threads, busy_threads
        Threads of the run, and those that have a slab to work on.
    stack
        Number of frames that are advanced side by side.
    is_block
        Whether the image is a block that was read for the run, and not kept by its caller.
    """

    problem: Problem
    operator: Operator
    scheme: Scheme
    stages: tuple[Stage, ...]
    backend: Backend
    layout: SlabLayout
    threads: int
    busy_threads: int
    stack: int
    is_block: bool = False

    @property
    def peak(self) -> int:
        """Predicted peak [bytes]; tests hold it within 0 to 30 % above the measured one."""
        problem, voxels = self.problem, math.prod(self.problem.space) * self.stack
        field = voxels * problem.channels * problem.working.itemsize
        whole = field // problem.working.itemsize * self._frames // self.stack
        in_memory = isinstance(problem.image, np.ndarray)
        # A lazy image is read frame by frame.
        image = whole * problem.input_dtype.itemsize if in_memory else field
        region_bytes = 0 if problem.regions is None else problem.regions.nbytes
        face_bytes = voxels * (problem.may_have_walls + 4 * (problem.recipe.nan == "mask"))
        fields = self._fields(field, whole * problem.dtype.itemsize)
        if problem.is_guided or self.operator.operators_made(self.stages):
            fields += self.stack * self.operator.stored_bytes(
                self.backend, problem.space, problem.recipe.strict, problem.working.itemsize
            )
        plane = voxels // max(1, problem.space[0]) * problem.working.itemsize
        scratch = self.busy_threads * self._scratch_planes() * plane
        region_bytes += self._guide_bytes(voxels)
        stages = fields + face_bytes + scratch
        if self.is_block and self.copies_input:  # the image is gone when the stages begin
            stages = max(stages - image, field)
        total = image + region_bytes + max(stages, self._searching(field))
        return int(total * MARGIN) + FIXED_BYTES

    def _guide_bytes(self, voxels: int) -> int:
        """Bytes of the guide, if it is in memory, and of the field of the features."""
        problem, guide = self.problem, self.problem.domain.guide
        if guide is None:
            return 0
        held = guide.nbytes if isinstance(guide, np.ndarray) else 0
        channels = guide_channels(problem) * guide_is_copied(problem)
        return held + voxels * channels * problem.working.itemsize

    def _searching(self, field: int) -> int:
        """Bytes of the search for impulses before the first stage, besides the image."""
        problem, itemsize = self.problem, self.problem.working.itemsize
        if not problem.replaces_impulses:
            return 0
        marks, read = field // itemsize, field * self._copies_when_read
        return read + marks + search_bytes(problem.grid(), self.threads, itemsize)

    @property
    def _frames(self) -> int:
        return math.prod(self.problem.shape[i] for i in self.problem.frame_axes)

    @property
    def copies_input(self) -> bool:
        """Whether the input is copied; without a copy, the input itself is the first field."""
        is_changed = self._has_transform or self.problem.replaces_impulses or self.stack > 1
        return is_changed or self._copies_when_read

    @property
    def _copies_when_read(self) -> bool:
        """Whether a frame is copied when it is read."""
        problem = self.problem
        usable_as_field = (
            isinstance(problem.image, np.ndarray)
            and problem.input_dtype == problem.working
            and problem.channel_axis in (None, 0)
            and problem.image.flags.carray
            and problem.frame_axes == tuple(range(len(problem.frame_axes)))
        )
        return problem.recipe.nan == "mask" or not usable_as_field

    def _fields(self, field: int, result: int) -> int:
        """Bytes of work fields and result together, from those of one field and of the result."""
        problem, copied = self.problem, self.copies_input
        has_walls = problem.may_have_walls
        # With a fidelity length, the first field is never overwritten.
        is_kept = problem.recipe.fidelity_length is not None
        total = field * self.scheme.field_count(self.stages, copied and not is_kept, has_walls)
        total += field * (copied and is_kept)
        if self._frames > 1:
            # The last field of a frame is still alive when the next frame is read.
            return total + result + field * (copied and self.scheme.reads_ahead)
        if problem.dtype != problem.working or problem.channel_axis not in (None, 0):
            # A transformed field is decoded into a field of its own.
            last = field * self.scheme.fields_at_end(copied, has_walls) + result
            return max(total, last) + self._has_transform * field
        return total

    @property
    def _has_transform(self) -> bool:
        """Whether transformed intensities are diffused."""
        return self.problem.recipe.has_transform

    def _scratch_planes(self) -> int:
        """Planes of scratch per thread."""
        layout, is_direct = self.layout, self.scheme.is_direct
        if is_direct:
            grid, dtype = self.problem.grid(), self.problem.working
            if self.problem.may_have_walls:
                grid = replace(grid, open_faces=np.zeros((1,) * len(grid.shape), np.uint8))
            sizes = layout.chunk, layout.channels, self.threads
            own = self.scheme.scratch_planes(self.stages, grid, dtype, *sizes)
        else:
            own = self.operator.scratch_planes(layout)
        # The factors of a map at the voxels of a chunk and of the planes beside it.
        own += (layout.chunk + 2) * bool(self.problem.recipe.model.maps)
        return own + layout.channels * self.backend.scratch_planes(layout.chunk, is_direct)


def long_axes(problem: Problem) -> int:
    """Return the number of axes with more than one voxel."""
    return sum(n > 1 for n in problem.space)


def peak_memory(
    problem: Problem,
    model: tuple[Operator, int],
    scheme: Scheme,
    stages: tuple[Stage, ...],
    backend: Backend,
    sizes: tuple[int, int, int],
    threads: int,
    is_block: bool = False,
) -> int:
    """Return the predicted peak memory [bytes] for these planes of a slab and of a chunk.

    ``model`` is its operator and the largest reach of its features. The last of the ``sizes`` is
    the number of frames that are advanced side by side. The other parameters are those of
    `MemoryDemand`.
    """
    (operator, reach), (height, chunk, stack) = model, sizes
    layout = SlabLayout(
        channels=problem.channels,
        planes=problem.space[0],
        height=height,
        chunk=chunk,
        reach=reach,
        axes=long_axes(problem),
        has_walls=problem.may_have_walls,
        fuses_products=backend.fuses_products,
    )
    demand = MemoryDemand(
        problem=problem,
        operator=operator,
        scheme=scheme,
        stages=stages,
        backend=backend,
        layout=layout,
        threads=threads,
        busy_threads=min(threads, -(-problem.space[0] // height)),
        stack=stack,
        is_block=is_block,
    )
    return demand.peak


@contextmanager
def shortage_described(peak: int) -> Iterator[None]:
    """Say in words that the system has refused memory to a run with a predicted ``peak`` [bytes].

    Limits of the address space count memory that threads and libraries reserve, too.
    """
    try:
        yield
    except NotEnoughMemory:
        raise
    except MemoryError as error:
        raise NotEnoughMemory(
            f"The system refuses memory to the run, which needs {format_bytes(peak)}, and "
            f"{free_memory()}",
            Remedy.FILTER_LESS,
        ) from error


def check_memory(problem: Problem, peak: int) -> None:
    """Refuse a run that does not fit into the free memory, instead of freezing the machine.

    Raises
    ------
    NotEnoughMemory
        If the run needs more memory, besides its input, than is free.
    """
    inputs = problem.image, problem.domain.guide
    held = sum(each.nbytes for each in inputs if isinstance(each, np.ndarray))
    if peak - held < UNCHECKED_BYTES:
        return
    free = free_memory()
    if peak - held > free.size:
        raise NotEnoughMemory(
            f"The run needs {format_bytes(peak - held)} more memory and {free}",
            Remedy.FILTER_LESS,
        )
