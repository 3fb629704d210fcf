"""Initial parameter values, suggested from a small patch of the image.

A patch takes a fraction of a second, whatever the size of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import napari_diffusion as nd
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.geometry import Domain
from napari_diffusion.core.grid import Place
from napari_diffusion.engine.inputs.guide import guide_of_box
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.selection import suggest_for
from napari_diffusion.estimation.starting_model import starting_model
from napari_diffusion.models import Model
from napari_diffusion.ui.run.settings import Settings

#: Number of voxels of the patch: the first values and the first preview wait for its suggestion.
#: Measured on the confocal sample: 0.27 s of processor time; 0.6 s for 32³ voxels, 1.7 s for 64³.
PATCH_VOXELS = 24**3


def central_patch(
    image: Any, axes: Sequence[int], channel_axis: int | None
) -> tuple[Any, list[int]]:
    """Read a patch from the middle of an image; also return its first voxel along every axis.

    It has the same length along all ``axes`` that are long enough, at most `PATCH_VOXELS` voxels,
    one frame along other axes, and all channels.
    """
    ndim = len(image.shape)
    side = patch_side([image.shape[axis] for axis in axes])
    channel = None if channel_axis is None else channel_axis % ndim
    index = []
    for axis, size in enumerate(image.shape):
        length = size if axis == channel else min(size, side if axis in axes else 1)
        start = (size - length) // 2
        index.append(slice(start, start + length))
    return np.asarray(image[tuple(index)]), [part.start for part in index]


def patch_side(sizes: Sequence[int]) -> int:
    """Return the largest side of a patch of `PATCH_VOXELS` voxels in an image of these sizes."""
    voxels, remaining = PATCH_VOXELS, len(sizes)
    side = PATCH_VOXELS
    for size in sorted(sizes):  # what a short axis leaves is for the longer ones
        side = max(1, math.floor(voxels ** (1 / remaining) + 1e-9))
        if size >= side:
            break
        voxels, remaining = voxels // max(size, 1), remaining - 1
    return side


def suggest_values(
    settings: Settings,
    thorough: bool = False,
    cancel: CancelEvent | None = None,
    model: Model | str | None = None,
    noise_reduction: float | None = None,
) -> nd.Suggestion:
    """Return a quick suggestion from the central patch, or a ``thorough`` one from the whole image.

    Parameters
    ----------
    settings
        Image, axes and model.
    thorough
        Whether to measure the whole image.
    cancel
        Event that ends the computation.
    model
        Model whose parameters are chosen, or ``"auto"``; by default that of the settings.
    noise_reduction
        Factor by which the noise shall fall, as in `nd.suggest`.

    Raises
    ------
    Cancelled
        When the ``cancel`` event is set.
    Exception
        Any error of the estimate. The declared defaults then remain.
    """
    if thorough:
        recipe, domain = replace(settings.recipe, nan="mask"), Domain(guide=settings.guide)
        problem = make_problem(settings.image, recipe, settings.geometry, domain)
    else:
        problem = _central_problem(settings)
    steady_time = settings.recipe.steady_time
    options = SuggestionOptions(
        thorough=thorough,
        unit=settings.unit,
        time_axes=settings.time_axes,
        noise_reduction=noise_reduction if steady_time is None else None,
        noise_region=settings.noise_region if thorough else None,
        steady_time=steady_time,
    )
    return suggest_for([problem], settings.model if model is None else model, options, cancel)


def model_from_noise(settings: Settings, cancel: CancelEvent | None = None) -> Model:
    """Return the model of the settings with values from the noise of the central patch.

    It needs no compiled kernel: on the confocal sample, 0.1 s of processor time.

    Parameters
    ----------
    settings
        Image, axes and model.
    cancel
        Event that ends the computation.

    Raises
    ------
    Cancelled
        When the ``cancel`` event is set.
    Exception
        Any error of the estimate. The declared defaults then remain.
    """
    return starting_model(_central_problem(settings), settings.model, settings.time_axes, cancel)


def _central_problem(settings: Settings) -> Problem:
    """Return the settings for the central patch only, in its place in the image."""
    image, geometry = settings.image, settings.geometry
    axes = range(len(image.shape)) if geometry.axes is None else geometry.axes
    sample, corner = central_patch(image, axes, geometry.channel_axis)
    ascending = sorted(axes)
    place = Place(
        tuple(corner[axis] for axis in axes),
        tuple(image.shape[axis] for axis in axes),
        tuple(ascending.index(axis) for axis in axes),
    )
    box = tuple(slice(start, start + n) for start, n in zip(corner, sample.shape, strict=True))
    guide = guide_of_box(settings.unread_problem(), box)
    domain = Domain(place=place, guide=None if guide is None else np.asarray(guide))
    return make_problem(sample, replace(settings.recipe, nan="mask"), geometry, domain)
