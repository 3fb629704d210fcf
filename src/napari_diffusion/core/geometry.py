"""Geometry and domain of an image, as passed by the caller; the check of a guide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import as_lazy_array, shape_and_dtype
from napari_diffusion.core.errors import shown
from napari_diffusion.core.grid import Place


@dataclass(frozen=True)
class Geometry:
    """Diffusing axes and voxel size of an image; unchecked.

    Attributes
    ----------
    spacing
        Voxel size [length], one number or one per diffusing axis in the order of ``axes``.
    axes
        The axes that diffuse; ``None`` for all but ``channel_axis``.
    channel_axis
        Axis of the channels, which share one diffusivity; ``None`` for an image without channels.
    channel_weights
        Weight of each channel's gradient; ``None`` for equal weights. A channel whose weight is
        ``None`` is no part of the image, such as the opacity of RGBA, and is copied.
    """

    spacing: float | Sequence[float] = 1.0
    axes: Sequence[int] | None = None
    channel_axis: int | None = None
    channel_weights: Sequence[float | None] | None = None


@dataclass(frozen=True)
class Domain:
    """Regions in which an image diffuses, its place in a larger image, and its guide; unchecked.

    Attributes
    ----------
    mask, labels
        Bool mask, or integer labels with 0 outside; ``None`` for the whole image. No flux passes
        between voxels of different regions.
    place
        Where the image lies in the larger image that it is cut out of, along the diffusing axes:
        maps of thresholds cover the larger image. ``None`` for a whole image.
    guide
        Another image on the same grid, from which the model takes its edges; ``None`` for the image
        itself.
    """

    mask: Any = None
    labels: Any = None
    place: Place | None = None
    guide: Any = None


def axis_number(value: Any, ndim: int, name: str) -> int:
    """Return the number of an axis from the front; ``name`` is that of the argument.

    Raises
    ------
    TypeError, ValueError
        When it is no integer, or there is no such axis.
    """
    try:
        if isinstance(value, bool) or getattr(value, "ndim", False):
            raise TypeError
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must hold integers, got {shown(value)}.") from None
    if not -ndim <= number < ndim:
        raise ValueError(
            f"{name}: the image has {ndim} axes, so axis {shown(number)} does not exist."
        )
    return int(number % ndim)


def checked_guide(
    guide: Any, shape: tuple[int, ...], axes: list[int], channel_axis: int | None
) -> Any:
    """Return a guide as an array that can be indexed; ``None`` without a guide.

    Parameters
    ----------
    guide
        The guide as the caller passes it.
    shape, axes, channel_axis
        Shape of the image, its diffusing axes, and its channel axis.

    Raises
    ------
    TypeError, ValueError
        When it is no array of real numbers, or on another grid.
    """
    if guide is None:
        return None
    guide = as_lazy_array(guide, "guide")
    own, dtype = shape_and_dtype(guide, "guide")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise TypeError(
            f"guide must hold real numbers: bool, integers or float16, 32 or 64, got {dtype!s:.60}."
        )
    if isinstance(guide, np.ma.MaskedArray) and np.ma.getmask(guide).any():
        raise TypeError("guide has masked values; use guide.filled(...) and a mask instead.")
    space = tuple(shape[i] for i in sorted(axes))
    without_channel = tuple(n for i, n in enumerate(shape) if i != channel_axis)
    allowed = dict.fromkeys((shape, without_channel, space))
    if own not in allowed:
        raise ValueError(
            f"guide must be on the grid of the image, with the shape "
            f"{' or '.join(map(str, allowed))}, got {own}; resample it first."
        )
    return guide
