"""The guide of a run: another image on the same grid, from which a model takes its edges.

The guide enters where features are made. A run with the guide alone makes its operator once, of the
guide, and is linear. With a `RecipeFields.guide_weight` below 1, the features are those of image
and guide as channels that share one diffusivity, with the weights of both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field
from napari_diffusion.engine.problem import FrameIndex, Problem


def _has_channels(problem: Problem) -> bool:
    """Whether the guide has the channels of the image."""
    is_whole = problem.domain.guide.ndim == len(problem.shape)
    return problem.channel_axis is not None and is_whole


def guide_channels(problem: Problem) -> int:
    """Return the number of channels of the features of a run with a guide."""
    own = problem.channels if _has_channels(problem) else 1
    return own + problem.channels * (not problem.is_frozen)


def feature_weights(problem: Problem) -> NDArray[np.float64]:
    """Return the weight of the gradient of each channel of the features; their sum is 1."""
    own = problem.weights if _has_channels(problem) else np.ones(1)
    if problem.is_frozen:
        return own
    share = problem.recipe.guide_weight
    return np.concatenate([(1 - share) * problem.weights, share * own])


def read_guide(problem: Problem, index: FrameIndex, check: Callable[[Field], None]) -> Field | None:
    """Return the features' field of one frame, shape ``(channels, *space)``; None without a guide.

    Its last channels are those of the guide, with transformed intensities. With a weight below 1,
    the first ones are left for the image.

    Parameters
    ----------
    problem, index
        The problem, and the index of the frame.
    check
        Raises ValueError for values with which features cannot be computed.

    Raises
    ------
    ValueError
        When the guide is not finite in a region, or negative for a model of magnitudes.
    """
    guide, model = problem.domain.guide, problem.recipe.model
    if guide is None:
        return None
    part = guide_of_frame(problem, index)
    if guide_is_copied(problem):
        field = np.empty((guide_channels(problem), *problem.space), problem.working)
        own = field[-len(part) :]
        own[...] = part
    else:
        field = own = part
    regions = problem.regions_of(index)
    invalid = ~np.isfinite(own)
    if invalid.any():
        inside = invalid if regions is None else invalid & (regions != 0)
        if inside.any():
            raise ValueError(
                f"The guide has {int(inside.sum())} values that are NaN, infinite or too large; "
                "fill them, or leave them outside a mask."
            )
        if field is part:  # the memory of the caller
            field = own = part.copy()
        own[invalid] = 0
    check(own)
    if model.is_for_magnitudes and own.min(initial=0) < 0:
        raise ValueError(
            f"{model.title}: the guide has values below 0, and a magnitude is not below 0; set "
            "them to 0."
        )
    if model.has_transform:
        model.encode(own)
    return field


def guide_is_copied(problem: Problem) -> bool:
    """Whether a frame of the guide is copied when it is read."""
    guide = problem.domain.guide
    usable_as_field = (
        type(guide) is np.ndarray
        and guide.dtype == problem.working
        and guide.flags.carray
        and not (_has_channels(problem) and problem.channel_axis != 0)
        and problem.frame_axes == tuple(range(len(problem.frame_axes)))
    )
    return not (usable_as_field and problem.is_frozen) or problem.recipe.model.has_transform


def _own_channels(problem: Problem) -> int:
    """Return the number of channels of the guide."""
    return problem.channels if _has_channels(problem) else 1


def guide_of_frame(problem: Problem, index: FrameIndex) -> NDArray[Any]:
    """Return the guide of one frame as it is given, shape ``(channels, *space)``."""
    part = _part(problem, problem.domain.guide, index)
    return part.reshape(_own_channels(problem), *problem.space)


def guide_of_box(problem: Problem, index: FrameIndex) -> Any:
    """Return the guide of a box of a frame; None without a guide.

    Axes of the image that the guide has keep their place.

    Parameters
    ----------
    problem
        The problem.
    index
        A slice for every axis of the image.
    """
    guide = problem.domain.guide
    if guide is None:
        return None
    if len(guide.shape) == len(index):
        return guide[index]
    without_channel = tuple(part for i, part in enumerate(index) if i != problem.channel_axis)
    if len(guide.shape) == len(without_channel):
        return guide[without_channel]
    return guide[tuple(index[i] for i in problem.axes)]


def _part(problem: Problem, guide: Any, index: FrameIndex) -> NDArray[Any]:
    """Return the part of the guide for one frame, with its channels first."""
    if _has_channels(problem):
        assert problem.channel_axis is not None
        before = sum(i < problem.channel_axis for i in problem.frame_axes)
        return np.moveaxis(np.asarray(guide[index]), problem.channel_axis - before, 0)
    without_channel = tuple(part for i, part in enumerate(index) if i != problem.channel_axis)
    has_frames = guide.ndim == len(without_channel)
    return np.asarray(guide[without_channel] if has_frames else guide)
