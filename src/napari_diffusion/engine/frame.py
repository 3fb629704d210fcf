"""One frame of a problem as a field: reading with checks, and conversion to the result.

Intensities are transformed (`Model.encode`) when a frame is read, and back when it is finished.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field, Image, Stored
from napari_diffusion.core.dtypes import store
from napari_diffusion.core.errors import NotFinite
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.transforms import anscombe
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.engine.inputs.guide import read_guide
from napari_diffusion.engine.planner import STACK_AXIS, Plan, frames_first, stack_grid
from napari_diffusion.engine.problem import FrameIndex, Problem
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.operators.impulses.fill import fill_impulses
from napari_diffusion.operators.impulses.search import (
    impulse_axes,
    impulses_of_planes,
    search_height,
)

#: Bound of all integers of an image.
LARGEST_INTEGER = 2.0**64


@dataclass(slots=True)
class FieldState:
    """The arrays of a frame between two stages.

    Attributes
    ----------
    stage
        Number of stages that are done.
    time
        Diffusion time [length²]; None inside a superstep, and before the first stage.
    u
        The field, shape ``(C, *space)``.
    previous
        The field before the last stage, of which `Stage.momentum` takes a share.
    superstep_start
        The field at the start of the superstep, see `Stage.needs_start`.
    stored
        What is stored of the operator; ``None`` if nothing is.
    is_owned
        Whether the fields may be overwritten.
    source
        The field before the first stage, to which a run with a fidelity length returns; it is
        never overwritten. ``None`` without a fidelity length.
    guide
        The field of `read_guide`; ``None`` without a guide.
    """

    stage: int
    time: float | None
    u: Field
    previous: Field
    superstep_start: Field
    stored: Stored | None = None
    is_owned: bool = True
    source: Field | None = None
    guide: Field | None = None


@dataclass(frozen=True)
class Frame:
    """One frame of a problem.

    Attributes
    ----------
    problem, index
        The problem, and the index of the frame.
    grid
        Voxel size and open faces.
    invalid
        Mask of the values that are NaN or infinite, shape of the field; ``None`` without any.
    replaced
        Number of hot and dead voxels that were replaced, in all channels.
    """

    problem: Problem
    index: FrameIndex
    grid: Grid
    invalid: NDArray[np.bool_] | None
    replaced: int

    def finished(self, field: Field, copy: bool) -> NDArray[Any]:
        """Return a field as a frame of the result, with the invalid values of the input.

        Parameters
        ----------
        field
            The field after a stage.
        copy
            Whether the field must be kept.
        """
        problem, recipe = self.problem, self.problem.recipe
        if copy or recipe.has_transform or problem.copied_channels:  # not decoded twice
            field = field.copy()
        if recipe.has_transform:
            recipe.decode(field)
            outside = self._outside()
            if outside is not None:
                np.copyto(field, problem.read(self.index)[0], where=outside)
        if problem.copied_channels:
            copied = list(problem.copied_channels)
            field[copied] = problem.read(self.index)[0][copied]
        image = problem.whole(field, self.index)
        if self.invalid is not None:
            original = problem.whole(problem.read(self.index)[0], self.index)
            image[~np.isfinite(original)] = original[~np.isfinite(original)]
        return image

    def _outside(self) -> NDArray[np.bool_] | None:
        """Return a mask of the voxels that do not diffuse; ``None`` without any.

        They are outside the regions, or invalid in one of the channels.
        """
        regions = self.problem.regions_of(self.index)
        outside = None if regions is None else np.asarray(regions == 0)
        if self.invalid is None:
            return outside
        invalid = np.asarray(np.logical_or.reduce(self.invalid))
        return invalid if outside is None else invalid | outside


class Stacks:
    """Reads and writes frames side by side, so that a kernel call computes many small frames.

    Parameters
    ----------
    problem, plan
        The problem and its plan, which says how many frames a stack has.
    result
        The result, of the shape of the image.
    slabs
        The threads.
    """

    def __init__(self, problem: Problem, plan: Plan, result: Image, slabs: SlabPool) -> None:
        self._problem, self._plan, self._slabs = problem, plan, slabs
        self._frames: Any = frames_first(problem, np.asarray(problem.image))
        self._result: Any = frames_first(problem, result)
        shape = problem.channels, *stack_grid(problem, plan.stack).shape
        self._memory = plan.kernels.empty((math.prod(shape),), problem.working)

    def _field(self, lo: int, hi: int) -> Field:
        """Return the values of frames ``lo:hi`` as a field, always in the same memory."""
        shape = self._problem.channels, *stack_grid(self._problem, hi - lo).shape
        field = self._memory[: math.prod(shape)].reshape(shape)
        field[...] = np.moveaxis(self._frames[lo:hi], 0, STACK_AXIS + 1)
        return field

    def read(self, lo: int, hi: int) -> tuple[Grid, FieldState] | None:
        """Return frames ``lo:hi`` before the first stage; ``None`` if one has unusual values.

        Unusual are NaN, infinite values and those that a run refuses.
        """
        problem, plan, recipe = self._problem, self._plan, self._problem.recipe
        u = self._field(lo, hi)
        if _count_invalid(problem, u, plan, self._slabs):
            return None
        others = tuple(i for i in range(u.ndim) if i != STACK_AXIS + 1)
        if recipe.transform != "none":
            if not _is_resolved(problem, u.min(others), u.max(others)):
                return None
            recipe.encode(u)
            if not u.max(initial=0) <= plan.limits.largest:
                return None
        if plan.limits.smallest_difference:
            differences = u.max(others).astype(float) - u.min(others)
            if ((differences > 0) & (differences < plan.limits.smallest_difference)).any():
                return None
        if recipe.model.is_for_magnitudes and u.min(initial=0) < 0:
            return None
        if recipe.model.has_transform:
            recipe.encode(u)
        return stack_grid(problem, hi - lo), _first_state(problem, u, None, True)

    def write(self, field: Field, lo: int, hi: int) -> None:
        """Write a field after the last stage to frames ``lo:hi`` of the result."""
        problem, recipe = self._problem, self._problem.recipe
        if recipe.has_transform:
            recipe.decode(field)
        if problem.copied_channels:
            copied = list(problem.copied_channels)
            field[copied] = np.moveaxis(self._frames[lo:hi], 0, STACK_AXIS + 1)[copied]
        stored = store(field, problem.dtype)
        self._result[lo:hi] = np.moveaxis(stored, STACK_AXIS + 1, 0)


def read_frame(
    problem: Problem, index: FrameIndex, plan: Plan, slabs: SlabPool
) -> tuple[Frame, FieldState]:
    """Read a frame, check its values and transform its intensities.

    Returns
    -------
    frame : Frame
        The frame.
    state : FieldState
        Its state before the first stage.

    Raises
    ------
    NotFinite
        When the problem refuses NaN and infinite values and one of them is in a region.
    ValueError
        When a value is so large that its powers would overflow.
    """
    recipe = problem.recipe
    u, is_copy = problem.read(index)
    invalid = _invalid_voxels(problem, index, u, plan, slabs)
    if invalid is not None:
        u, is_copy = np.where(invalid, u.dtype.type(0), u), True
    invalid_in_any = None if invalid is None else np.logical_or.reduce(invalid)
    replaced = 0
    if problem.replaces_impulses:
        u, replaced = replace_impulses(problem, index, u, invalid_in_any, slabs)
        is_copy = is_copy or replaced > 0
    if recipe.transform != "none":
        if plan.limits.is_of_frame:
            _refuse_unresolved(problem, u)
        u, is_copy = u if is_copy else u.copy(), True
        recipe.encode(u)
        _refuse_large_values(u, plan.limits.largest, plan.limits.of_model, "transformed image")
    _refuse_small_values(plan, u)
    _refuse_negative_values(problem, index, u)
    if recipe.model.has_transform:
        u, is_copy = u if is_copy else u.copy(), True
        recipe.encode(u)
    grid = problem.grid(problem.open_faces_of(index, invalid_in_any))
    frame = Frame(problem, index, grid, invalid, replaced)
    guide = read_guide(problem, index, partial(_check_guide, plan))
    return frame, _first_state(problem, u, guide, is_copy)


def _first_state(problem: Problem, u: Field, guide: Field | None, is_owned: bool) -> FieldState:
    """Return the state of a field before the first stage."""
    if problem.recipe.fidelity_length is None:
        return FieldState(0, None, u, u, u, None, is_owned, guide=guide)
    return FieldState(0, None, u, u, u, None, is_owned=False, source=u, guide=guide)


def replace_impulses(
    problem: Problem,
    index: FrameIndex,
    u: Field,
    invalid: NDArray[np.bool_] | None,
    slabs: SlabPool,
) -> tuple[Field, int]:
    """Replace the hot and dead voxels of a frame.

    Parameters
    ----------
    problem, index
        The problem, and the index of the frame.
    u
        The field, which is not changed; values that are not valid are 0.
    invalid
        Mask of voxels that are not valid, shape ``space``; ``None`` without any.
    slabs
        The threads.

    Returns
    -------
    field : Field
        The field; a copy if a value was replaced.
    count : int
        Number of values that were replaced.
    """
    grid = problem.grid()
    axes, height = impulse_axes(grid), search_height(grid.shape, slabs.threads)
    if not axes:
        return u, 0
    regions = problem.regions_of(index)
    if invalid is not None:
        regions = np.where(invalid, np.uint8(0), np.uint8(1) if regions is None else regions)
    impulses = np.zeros(u.shape, bool)

    def search(lo: int, hi: int) -> None:
        for i in problem.filtered_channels:
            impulses[i, lo:hi] = impulses_of_planes(u[i : i + 1], regions, axes, lo, hi)[0]

    slabs.run(search, u.shape[1], height, quiet=True)
    if not impulses.any():
        return u, 0
    filled, counts = u.copy(), list[int]()

    def fill(lo: int, hi: int) -> None:
        planes = slice(lo, hi)
        counts.append(fill_impulses(filled, impulses, regions, axes, grid.spacing, planes))

    slabs.run(fill, u.shape[1], height, quiet=True)
    return filled, sum(counts)


def _invalid_voxels(
    problem: Problem, index: FrameIndex, u: Field, plan: Plan, slabs: SlabPool
) -> NDArray[np.bool_] | None:
    """Return a mask of the values that are NaN or infinite, ``None`` without any."""
    if not _count_invalid(problem, u, plan, slabs):
        return None
    invalid, limit = ~np.isfinite(u), _largest_value(problem, plan)
    _refuse_large_values(np.where(invalid, 0, u), limit, plan.limits.of_model)
    check_finite(problem, index, invalid)
    return invalid


def _count_invalid(problem: Problem, u: Field, plan: Plan, slabs: SlabPool) -> int:
    """Return the number of values that are NaN, infinite or too large for the run."""
    limit = _largest_value(problem, plan)
    if problem.input_dtype.kind != "f" and limit >= LARGEST_INTEGER:
        return 0
    if u.shape[1] <= min(plan.height, plan.chunk):  # in one piece
        return plan.kernels.count_invalid(u, 0, u.size, limit)
    counts: list[int] = []
    values_per_plane = u.size // u.shape[1]

    def work(lo: int, hi: int) -> None:
        start, stop = lo * values_per_plane, hi * values_per_plane
        counts.append(plan.kernels.count_invalid(u, start, stop, limit))

    slabs.run(work, u.shape[1], plan.height, plan.chunk, quiet=True)
    return sum(counts)


def _largest_value(problem: Problem, plan: Plan) -> float:
    """Return the largest magnitude of a value of the image; transformed values are others."""
    if problem.recipe.transform != "none":
        return float(np.finfo(problem.working).max)
    return plan.limits.largest


def _check_guide(plan: Plan, guide: Field) -> None:
    """Raise ValueError for values of a guide with which the features cannot be computed."""
    _refuse_large_values(guide, plan.limits.largest, plan.limits.of_model, "guide")
    _refuse_small_values(plan, guide, "guide")


def _refuse_large_values(u: Field, limit: float, of_model: float, subject: str = "image") -> None:
    """Raise ValueError if values are beyond a limit; the message says where it comes from.

    ``of_model`` is the limit that the thresholds of the model set.
    """
    if u.max(initial=0) <= limit and u.min(initial=0) >= -limit:
        return
    remedies = [] if u.dtype == np.float64 else ["convert it to float64"]
    if subject == "transformed image":
        remedies = ["check gain and offset"]
    if limit < of_model:
        reason, remedies = f"which overflow in {u.dtype}", ["rescale it", *remedies]
    else:
        reason = f"which are too large in {u.dtype} for the thresholds of the model"
        remedies = ["raise the thresholds", *remedies]
    raise ValueError(
        f"The {subject} has values beyond {limit:.2g}, {reason}; {', or '.join(remedies)}."
    )


def _refuse_small_values(plan: Plan, u: Field, subject: str = "image") -> None:
    """Raise ValueError if differences are so small that squares of gradients underflow."""
    smallest = plan.limits.smallest_difference
    if not smallest or not u.size or not plan.limits.is_of_frame:
        return
    difference = float(u.max()) - float(u.min())
    if 0 < difference < smallest:
        raise ValueError(
            f"The values of the {subject} differ by {difference:.2g}, and squares of its gradients "
            f"underflow in {u.dtype}; multiply the {subject}, and thresholds of the model, by the "
            "same number."
        )


def _is_resolved(problem: Problem, low: Any, high: Any) -> bool:
    """Whether a transform keeps the values of images with these extrema, and its result fits."""
    recipe = problem.recipe
    types = [dtype for dtype in (problem.working, problem.dtype) if dtype.kind == "f"]
    largest = min(float(np.finfo(dtype).max) for dtype in types)
    numbers = recipe.gain, recipe.offset, recipe.read_noise
    if max(recipe.gain, abs(recipe.offset)) > largest:
        return False
    return bool(np.all(anscombe.resolves(low, high, problem.working, *numbers)))


def _refuse_unresolved(problem: Problem, u: Field) -> None:
    """Raise ValueError if a transform would lose the values of a frame."""
    if not u.size or _is_resolved(problem, u.min(), u.max()):
        return
    recipe = problem.recipe
    raise ValueError(
        f"The transform of photon noise would lose the values of the image, from {u.min():.7g} to "
        f"{u.max():.7g}, with a gain of {recipe.gain:g}, an offset of {recipe.offset:g} and a read "
        f"noise of {recipe.read_noise:g}; check these numbers."
    )


def _refuse_negative_values(problem: Problem, index: FrameIndex, u: Field) -> None:
    """Raise ValueError for values below 0 in a region if the model holds for magnitudes only."""
    if not problem.recipe.model.is_for_magnitudes or u.min(initial=0) >= 0:
        return
    regions = problem.regions_of(index)
    inside = u if regions is None else u[:, regions != 0]
    smallest = float(inside.min(initial=0))
    if smallest < 0:
        raise ValueError(
            f"{problem.recipe.model.title}: the image has values down to {smallest:.4g}, and a "
            "magnitude is not below 0; choose another model, or set them to 0."
        )


def check_range(problem: Problem, u: Field) -> None:
    """Raise ValueError if values are too large for the features of the model.

    ``u`` is a field without NaN and infinite values.
    """
    model, grid = problem.recipe.model, problem.grid()
    dry = dry_run(model, grid)
    limit = dry.largest_with_gradients(model, grid, u.dtype)
    _refuse_large_values(u, limit, dry.largest_of_model(model, grid, u.dtype))


def check_finite(problem: Problem, index: FrameIndex, invalid: NDArray[np.bool_]) -> None:
    """Raise `NotFinite` if the problem refuses the ``invalid`` values of a frame.

    Values outside mask, labels or a masked array may be anything.
    """
    regions = problem.regions_of(index)
    refused = invalid if regions is None else invalid & (regions != 0)
    if problem.recipe.nan == "raise" and refused.any():
        raise _not_finite(problem, index, refused)


def _not_finite(problem: Problem, index: FrameIndex, refused: Any) -> NotFinite:
    """Return the error for a mask of refused values, with the index of the first one."""
    in_frame = problem.whole(refused, index)
    position = iter(np.unravel_index(in_frame.argmax(), in_frame.shape))
    place = tuple(int(next(position) if isinstance(i, slice) else i) for i in index)
    subject = "A frame of the image" if problem.frame_axes else "The image"
    return NotFinite(int(refused.sum()), place, subject)
