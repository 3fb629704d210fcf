"""Maps over an image of quantities that a model computes from local features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion import backends
from napari_diffusion.core.arrays import Field, FloatArray
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.resources import cpu_count
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.engine.frame import check_finite, check_range, replace_impulses
from napari_diffusion.engine.halo_block import AxisIndex, HaloBlock
from napari_diffusion.engine.planner import CHUNK_PLANES
from napari_diffusion.engine.problem import Problem
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.models import Model
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scratch import Scratch


def map_over_image(
    measure: Callable[[Model, Features], Field],
    problem: Problem,
    region: Sequence[AxisIndex] | None = None,
    cancel: CancelEvent | None = None,
) -> FloatArray:
    """Map a quantity of a model over a region of an image.

    Parameters
    ----------
    measure
        Returns the quantity at the voxels of a few planes, from the features of these planes.
    problem
        Image and model, from `unread_problem`.
    region
        An integer or a slice for every axis of the image; default the whole image.
    cancel
        Event polled between two slabs.

    Returns
    -------
    numpy.ndarray
        Shape of ``image[region]`` without the channel axis; 0 outside mask and labels, and where
        the image is not finite.
    """
    model = problem.recipe.model
    own, before = dry_run(model, problem.grid()).step_reach(problem.space), problem.read_reach
    whole = [slice(None)] * len(problem.shape)
    halo = problem.per_diffusing_axis([a + b for a, b in zip(own, before, strict=True)])
    block = HaloBlock.around(problem, whole if region is None else region, halo)
    on_block = block.problem_of_block()
    values = np.zeros(shape_without_channels(on_block), on_block.working)
    for index, features, valid in frame_features(on_block, True, cancel):
        target = values[index].reshape(on_block.space)

        def work(part: Features, target: Field = target) -> None:
            target[part.lo : part.hi] = measure(model, part)

        for_each_chunk(work, features, cancel)
        target[~valid] = 0
    return block.part_of(values)


def for_each_chunk(
    work: Callable[[Features], object], features: Features, cancel: CancelEvent | None
) -> None:
    """Call ``work`` with the features of a few planes at a time, in several threads."""

    def on_slab(low: int, high: int) -> None:
        for start in range(low, high, CHUNK_PLANES):
            stop = min(start + CHUNK_PLANES, high)
            work(dataclasses.replace(features, lo=start, hi=stop))

    with SlabPool(cpu_count(), cancel, lambda share: None) as slabs:
        slabs.run(on_slab, features.hi, CHUNK_PLANES)


def frame_features(
    problem: Problem, is_transformed: bool = False, cancel: CancelEvent | None = None
) -> Iterator[tuple[Any, Features, NDArray[np.bool_]]]:
    """Yield for every frame its index without channels, its features, and its valid voxels.

    Valid voxels are finite and in a region. Hot and dead voxels are replaced if the recipe says so,
    which ``cancel`` can end. With ``is_transformed``, the features are those of the
    intensities that the model diffuses, such as their squares.
    """
    recipe = problem.recipe
    kernels, scratch = backends.get_backend(None, len(problem.space)), Scratch()
    # A single voxel has no neighbours.
    empty = 0 in problem.shape or problem.space == (1, 1, 1)
    for frame in [] if empty else problem.frames():
        field, _ = problem.read(frame)
        invalid_values = ~np.isfinite(field)
        invalid = np.logical_or.reduce(invalid_values)
        has_invalid = bool(invalid.any())
        if has_invalid:
            check_finite(problem, frame, invalid_values)
            field = np.where(invalid, field.dtype.type(0), field)
        if problem.replaces_impulses:
            with SlabPool(cpu_count(), cancel, lambda share: None) as slabs:
                field, _ = replace_impulses(problem, frame, field, invalid, slabs)
        if is_transformed:
            check_range(problem, field)
        if recipe.transform != "none" or (is_transformed and recipe.has_transform):
            field = field.copy()
            (recipe.encode if is_transformed else recipe.stabilise)(field)
        regions = problem.regions_of(frame)
        grid = problem.grid(problem.open_faces_of(frame, invalid if has_invalid else None))
        weights = problem.weights.astype(field.dtype)
        features = Features(field, 0, field.shape[1], grid, kernels, weights, scratch)
        valid = ~invalid if regions is None else np.logical_and(~invalid, regions != 0)
        index = tuple(part for i, part in enumerate(frame) if i != problem.channel_axis)
        yield index, features, valid


def shape_without_channels(problem: Problem) -> tuple[int, ...]:
    """Shape of the image of a problem without its channel axis."""
    return tuple(n for i, n in enumerate(problem.shape) if i != problem.channel_axis)
