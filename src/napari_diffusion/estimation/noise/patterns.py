"""Patterns in the noise of an image: stripes, rings and waves.

A pattern is random, but the same or smooth along lines. It enters the probes with its covariance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from napari_diffusion.core.arrays import FloatArray


class Pattern(Protocol):
    """A pattern of a known share of the variance of all noise."""

    @property
    def share(self) -> float:
        """Share of the variance of all noise."""

    @property
    def title(self) -> str:
        """What it is and where, for the beginning of a sentence."""

    @property
    def name(self) -> str:
        """The plural of what it is, for the middle of a sentence."""

    def sample(
        self, rng: np.random.Generator, first: Sequence[int], box: Sequence[int]
    ) -> FloatArray:
        """Return a random pattern of unit variance, to be broadcast to a box.

        Parameters
        ----------
        rng
            Source of the random numbers.
        first, box
            First voxel and shape of the box, along the diffusing axes.
        """


@dataclass(frozen=True)
class Stripes:
    """Stripes, which are constant along some axes.

    Attributes
    ----------
    along
        The diffusing axes along which they are constant.
    share
        Their share of the variance of all noise.
    """

    along: tuple[int, ...]
    share: float
    name = "stripes"

    @property
    def title(self) -> str:
        """The stripes and their axes."""
        axes = " and ".join(str(axis) for axis in self.along)
        return f"Stripes along the diffusing axis {axes}"

    def sample(
        self, rng: np.random.Generator, first: Sequence[int], box: Sequence[int]
    ) -> FloatArray:
        """Return stripes; see `Pattern.sample`."""
        return rng.normal(size=[1 if axis in self.along else n for axis, n in enumerate(box)])


@dataclass(frozen=True)
class Rings:
    """Rings around an axis, whose errors differ from voxel to voxel along the radius.

    Attributes
    ----------
    plane
        The two diffusing axes of the planes of the rings.
    centre
        Their centre in a plane [voxel].
    scale
        Voxel size along both axes, relative to the first.
    is_same
        Whether all planes have the same rings.
    share
        Their share of the variance of all noise.
    """

    plane: tuple[int, int]
    centre: tuple[float, float]
    scale: tuple[float, float]
    is_same: bool
    share: float
    name = "rings"

    @property
    def title(self) -> str:
        """The rings and their centre."""
        place = ", ".join(f"{c:.0f}" for c in self.centre)
        return (
            f"Rings around the voxel ({place}) of each plane, as from the detector of a tomogram,"
        )

    def sample(
        self, rng: np.random.Generator, first: Sequence[int], box: Sequence[int]
    ) -> FloatArray:
        """Return rings; see `Pattern.sample`."""
        y, x = (
            (first[axis] + np.arange(box[axis]) - c) * h
            for axis, c, h in zip(self.plane, self.centre, self.scale, strict=True)
        )
        radius = np.hypot(y[:, None], x)
        below = np.floor(radius).astype(np.intp)
        others = [1 if self.is_same else n for axis, n in enumerate(box) if axis not in self.plane]
        errors = rng.normal(size=(*others, int(radius.max()) + 2))
        weight = radius - below
        rings = (1 - weight) * errors[..., below] + weight * errors[..., below + 1]
        # An interpolation between two independent errors keeps two thirds of the variance.
        return np.moveaxis(math.sqrt(1.5) * rings, (-2, -1), self.plane)


@dataclass(frozen=True)
class Wave:
    """A wave of one frequency, as from the mains.

    Attributes
    ----------
    plane
        The two diffusing axes of the planes of the wave.
    frequency
        Cycles per voxel along both axes.
    share
        Its share of the variance of all noise.
    """

    plane: tuple[int, int]
    frequency: tuple[float, float]
    share: float
    name = "waves"

    @property
    def title(self) -> str:
        """The wave and its period."""
        period = 1 / math.hypot(*self.frequency)
        return f"Waves with a period of {period:.3g} voxels, as hum from the mains,"

    def sample(
        self, rng: np.random.Generator, first: Sequence[int], box: Sequence[int]
    ) -> FloatArray:
        """Return a wave of random phase; see `Pattern.sample`."""
        turns = np.zeros([1] * len(box))
        for axis, frequency in zip(self.plane, self.frequency, strict=True):
            shape = [-1 if i == axis else 1 for i in range(len(box))]
            turns = turns + (frequency * np.arange(box[axis])).reshape(shape)
        return math.sqrt(2) * np.sin(2 * np.pi * (turns + rng.random()))
