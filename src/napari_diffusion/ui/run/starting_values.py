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
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.selection import suggest_for
from napari_diffusion.ui.run.settings import Settings

#: Side of the patch [voxel].
PATCH_SIDE = 64


def start_sigma(spacing: Sequence[float]) -> float:
    """Return an initial Gaussian sigma [length]: one voxel, as the geometric mean of its sides.

    It visibly smooths any image and removes no structure. The number has two significant digits.
    """
    side = math.exp(sum(math.log(size) for size in spacing) / len(spacing)) if spacing else 1.0
    return float(f"{side:.2g}")


def central_patch(
    image: Any, axes: Sequence[int], channel_axis: int | None
) -> tuple[Any, list[int]]:
    """Read a patch from the middle of an image; also return its first voxel along every axis.

    It has at most `PATCH_SIDE` voxels along ``axes``, one frame along other axes, and all channels.
    """
    ndim = len(image.shape)
    channel = None if channel_axis is None else channel_axis % ndim
    index = []
    for axis, size in enumerate(image.shape):
        length = size if axis == channel else min(size, PATCH_SIDE if axis in axes else 1)
        start = (size - length) // 2
        index.append(slice(start, start + length))
    return np.asarray(image[tuple(index)]), [part.start for part in index]


def suggest_values(
    settings: Settings, thorough: bool = False, cancel: CancelEvent | None = None
) -> nd.Suggestion:
    """Return a quick suggestion from the central patch, or a ``thorough`` one from the whole image.

    Raises
    ------
    Cancelled
        When the ``cancel`` event is set.
    Exception
        Any error of the estimate. The declared defaults then remain.
    """
    image, geometry = settings.image, settings.geometry
    axes = range(len(image.shape)) if geometry.axes is None else geometry.axes
    sample, place = image, None
    if not thorough:
        sample, corner = central_patch(image, axes, geometry.channel_axis)
        ascending = sorted(axes)
        place = Place(
            tuple(corner[axis] for axis in axes),
            tuple(image.shape[axis] for axis in axes),
            tuple(ascending.index(axis) for axis in axes),
        )
    recipe = replace(settings.recipe, nan="mask")
    problem = make_problem(sample, recipe, geometry, Domain(place=place))
    options = SuggestionOptions(thorough=thorough, unit=settings.unit, time_axes=settings.time_axes)
    return suggest_for([problem], settings.model, options, cancel)
