"""Values to start with: suggested from a small piece of the image, so that it takes a fraction of a second whatever the image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import napari_diffusion as nd
from napari_diffusion.models import Model, parameters

#: Voxels along each axis of the piece that is looked at.
PIECE = 64


def start_sigma(spacing: Sequence[float]) -> float:
    """Return a Gaussian sigma [length] that is visible on every image and destroys none: one voxel, in the geometric mean of its sides."""
    side = math.exp(sum(math.log(size) for size in spacing) / len(spacing)) if spacing else 1.0
    return float(f"{side:.2g}")


def central_piece(image: Any, axes: Sequence[int], channel_axis: int | None) -> Any:
    """Read the middle of an image: at most `PIECE` voxels along ``axes``, one frame of the rest, all channels."""
    ndim = len(image.shape)
    channel = None if channel_axis is None else channel_axis % ndim
    index = []
    for axis, size in enumerate(image.shape):
        length = size if axis == channel else min(size, PIECE if axis in axes else 1)
        start = (size - length) // 2
        index.append(slice(start, start + length))
    return np.asarray(image[tuple(index)])


def suggest(image: Any, model: Model, *, spacing: Sequence[float], axes: Sequence[int], channel_axis: int | None) -> tuple[Model, float]:
    """Return a filled-in model and a diffusion time [length²] from the middle of an image.

    Raises
    ------
    Exception
        Whatever stops the estimate; the declared defaults are what remains.
    """
    piece = central_piece(image, axes, channel_axis)
    filled, time = nd.suggest(piece, model, spacing=tuple(spacing), axes=tuple(axes), channel_axis=channel_axis)
    # Three digits are more than an estimate is worth, and what is on screen is then exactly what runs.
    rounded = {p.name: _short(getattr(filled, p.name)) for p in parameters(filled) if p.suggest is not None}
    return dataclasses.replace(filled, **rounded), _short(time)


def _short(value: float) -> float:
    return float(f"{value:.3g}")
