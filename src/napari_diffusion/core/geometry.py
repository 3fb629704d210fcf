"""What the caller says about an image, before anything is checked: its geometry and its domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Geometry:
    """Which axes of an image diffuse, and how large its voxels are; unchecked.

    Attributes
    ----------
    spacing
        Voxel size [length], one number or one per diffusing axis in the order of ``axes``.
    axes
        The axes that diffuse; ``None`` for all but ``channel_axis``.
    channel_axis
        Axis of the channels, which share one diffusivity; ``None`` for an image without channels.
    """

    spacing: float | Sequence[float] = 1.0
    axes: Sequence[int] | None = None
    channel_axis: int | None = None


@dataclass(frozen=True)
class Domain:
    """Where an image diffuses; unchecked.

    Attributes
    ----------
    mask, labels
        Bool mask, or integer labels with 0 outside; ``None`` for the whole image.
    nan
        ``"raise"`` refuses NaN and infinite values, ``"mask"`` excludes them.
    """

    mask: Any = None
    labels: Any = None
    nan: str = "raise"
