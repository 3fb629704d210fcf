"""Geometry and domain of an image, as passed by the caller and not yet checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    """Regions in which an image diffuses, and where it lies in a larger image; unchecked.

    Attributes
    ----------
    mask, labels
        Bool mask, or integer labels with 0 outside; ``None`` for the whole image. No flux passes
        between voxels of different regions.
    place
        Where the image lies in the larger image that it is cut out of, along the diffusing axes:
        maps of thresholds cover the larger image. ``None`` for a whole image.
    """

    mask: Any = None
    labels: Any = None
    place: Place | None = None
