"""Values to start with: suggested from a small piece of the image, so that it takes a fraction of a second whatever the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import napari_diffusion as nd
from napari_diffusion.models import Model

#: Voxels along each axis of the piece that is looked at.
PATCH_SIDE = 64


def start_sigma(spacing: Sequence[float]) -> float:
    """Return a Gaussian sigma [length] that is visible on every image and destroys none: one voxel, in the geometric mean of its sides."""
    side = math.exp(sum(math.log(size) for size in spacing) / len(spacing)) if spacing else 1.0
    return float(f"{side:.2g}")


def central_patch(image: Any, axes: Sequence[int], channel_axis: int | None) -> Any:
    """Read the middle of an image: at most `PATCH_SIDE` voxels along ``axes``, one frame of the rest, all channels."""
    ndim = len(image.shape)
    channel = None if channel_axis is None else channel_axis % ndim
    index = []
    for axis, size in enumerate(image.shape):
        length = size if axis == channel else min(size, PATCH_SIDE if axis in axes else 1)
        start = (size - length) // 2
        index.append(slice(start, start + length))
    return np.asarray(image[tuple(index)])


def suggest_values(
    image: Any,
    model: Model,
    *,
    spacing: Sequence[float],
    axes: Sequence[int],
    channel_axis: int | None,
    thorough: bool = False,
    unit: str = "pixel",
) -> nd.Suggestion:
    """Return a suggestion from the middle of an image, quickly, or a ``thorough`` one from all of it.

    Raises
    ------
    Exception
        Whatever stops the estimate; the declared defaults are what remains.
    """
    seen = image if thorough else central_patch(image, axes, channel_axis)
    return nd.suggest(
        seen,
        model,
        spacing=tuple(spacing),
        axes=tuple(axes),
        channel_axis=channel_axis,
        thorough=thorough,
        unit=unit,
    )
