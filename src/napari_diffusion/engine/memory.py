"""Peak memory of a run, predicted before it starts, and the refusal of runs that would not fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import psutil

from napari_diffusion.backends.protocol import Backend
from napari_diffusion.core.grid import Grid
from napari_diffusion.engine.problem import Problem
from napari_diffusion.operators import Operator, VoxelOperator
from napari_diffusion.operators.tensor import DiffusionTensor
from napari_diffusion.schemes import Exact, Scheme, Stage

#: Runs that need less [bytes] are not checked: asking the system takes as long as a small image.
UNCHECKED_BYTES = 16 << 20
#: Margin for memory that is not counted: a factor, and a fixed part [bytes].
MARGIN, FIXED_BYTES = 1.05, 4 << 20


@dataclass(frozen=True)
class MemoryDemand:
    """Quantities that determine the peak memory of a run.

    Attributes
    ----------
    problem, operator, scheme, stages, backend, strict
        As in the plan of the run.
    reach
        Voxels per axis by which the features of one operator extend beyond a slab.
    height, chunk
        Planes of a slab, and of the part of it whose features are computed at once.
    busy_threads
        Threads that have a slab to work on.
    has_transform
        Whether the model transforms intensities.
    """

    problem: Problem
    operator: Operator
    scheme: Scheme
    stages: tuple[Stage, ...]
    backend: Backend
    strict: bool
    reach: list[int]
    height: int
    chunk: int
    busy_threads: int
    has_transform: bool

    @property
    def peak(self) -> int:
        """Predicted peak [bytes]; tests hold it within 0 to 30 % above the measured one."""
        problem, voxels = self.problem, math.prod(self.problem.space)
        field = voxels * problem.channels * problem.working.itemsize
        whole = field // problem.working.itemsize * self._frames
        in_memory = isinstance(problem.image, np.ndarray)
        # A lazy image is read frame by frame.
        image = whole * problem.input_dtype.itemsize if in_memory else field
        region_bytes = 0 if problem.regions is None else problem.regions.nbytes
        face_bytes = voxels * (problem.may_have_walls + 4 * (problem.nan == "mask"))
        fields = self._fields(field, whole * problem.dtype.itemsize)
        if isinstance(self.operator, DiffusionTensor):
            axes = len(problem.space)
            tensor_bytes = 16 if self.backend.name == "compiled" else 2 * axes * (axes + 1)
            fields += voxels * (tensor_bytes + self.strict)
        plane = voxels // max(1, problem.space[0]) * problem.working.itemsize
        scratch = self.busy_threads * self._scratch_planes() * plane
        total = image + fields + region_bytes + face_bytes + scratch
        return int(total * MARGIN) + FIXED_BYTES

    @property
    def _exact(self) -> bool:
        return isinstance(self.scheme, Exact)

    @property
    def _frames(self) -> int:
        return math.prod(self.problem.shape[i] for i in self.problem.frame_axes)

    @property
    def _copies_input(self) -> bool:
        """Whether the input is copied; without a copy, the input itself is the first field."""
        problem = self.problem
        usable_as_field = (
            isinstance(problem.image, np.ndarray)
            and problem.input_dtype == problem.working
            and problem.channel_axis in (None, 0)
            and problem.image.flags.carray
            and problem.frame_axes == tuple(range(len(problem.frame_axes)))
        )
        return self.has_transform or problem.nan == "mask" or not usable_as_field

    def _fields(self, field: int, result: int) -> int:
        """Bytes of work fields and result together, from those of one field and of the result."""
        problem, copied = self.problem, self._copies_input
        walled_exact = self._exact and problem.may_have_walls
        if walled_exact:
            count = 3 + copied
        else:
            anchored = any(stage.start_weight for stage in self.stages)
            count = min(len(self.stages) + copied, 2) + anchored
        total = count * field
        if self._frames > 1:
            # The last field of a frame is still alive when the next frame is read.
            return total + result + field * (copied and not self._exact)
        if problem.dtype != problem.working or problem.channel_axis not in (None, 0):
            # A transformed field is decoded into a field of its own.
            last = field * (1 + (walled_exact and copied)) + result
            return max(total, last) + self.has_transform * field
        return total

    def _scratch_planes(self) -> int:
        """Planes of scratch per thread."""
        problem, walled = self.problem, self.problem.may_have_walls
        channels, planes = problem.channels, problem.space[0]
        reference = self.backend.name == "reference"
        if isinstance(self.operator, DiffusionTensor):
            wide = min(self.chunk + 2 * max(self.reach), planes)
            slopes = 1 if not reference and not walled else 4
            arrays = tensor_arrays(self.operator, problem.grid())
            scratch = (slopes * channels + walled * 4) * wide + arrays * self.chunk
        elif isinstance(self.operator, VoxelOperator):
            wide = min(self.chunk + 4 + 2 * (1 + max(self.reach)) * walled, planes)
            scratch = channels * wide * (5 if walled else 1) + 2 * (self.chunk + 2) + 4
        else:
            scratch = channels * (self.height * (self._exact + walled) + 3)
        if reference:
            scratch += channels * (5 * self.height if self._exact else 6 * (self.height + 2))
        return scratch


def tensor_arrays(tensor: DiffusionTensor, grid: Grid) -> int:
    """Number of work arrays, each of the size of a slab, for the tensors of a slab.

    They are the entries of the matrix and one more. If the spectrum reads further fields, they are
    two more than twice the entries.
    """
    axes = sum(n > 1 for n in grid.shape)
    entries = axes * (axes + 1) // 2
    return entries + (entries + 2 if tensor.extra else 1)


def check_memory(problem: Problem, peak: int) -> None:
    """Refuse a run that does not fit into the free memory, instead of freezing the machine."""
    held = problem.image.nbytes if isinstance(problem.image, np.ndarray) else 0
    if peak - held < UNCHECKED_BYTES:
        return
    free = psutil.virtual_memory().available
    if peak - held > free:
        raise MemoryError(
            f"The run needs {format_bytes(peak - held)} more memory and "
            f"{format_bytes(free)} are free; "
            "filter a smaller region, fewer axes at once, or convert the image to float32."
        )


def format_bytes(count: int) -> str:
    """Return a number of bytes with a binary unit, such as ``1.5 GiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"
