"""Bright tubes, sheets and fibres of known profile, and the contrast that a filter leaves of them.

A profile depends on the distance from the centre line, in units of the radius. Profiles are the
mean over the voxel, so that a box has no staircase.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.floating]
#: Subvoxels per axis over which a box profile is averaged.
SUBVOXELS = 4
#: Distance of the measured part of a line from the border, in shortest edges of a voxel.
MARGIN = 8.0


def gaussian(distance: Array, radius: float) -> Array:
    """Gaussian profile whose standard deviation is the radius."""
    return np.exp(-np.square(distance) / (2 * radius**2))


def box(distance: Array, radius: float) -> Array:
    """Profile that is one up to the radius."""
    return (distance < radius).astype(float)


@dataclass
class Phantom:
    """An image of the values 0 to 1, and where its structure is.

    Attributes
    ----------
    clean
        The image without noise.
    spacing
        Voxel size [length].
    line
        Points of the centre line, shape ``(n, axes)`` [length]; only these are measured.
    distance
        Distance of every voxel from the structure [length].
    radius
        Radius of the structure [length].
    """

    clean: Array
    spacing: tuple[float, ...]
    line: Array
    distance: Array
    radius: float
    measured: Array = field(init=False)

    def __post_init__(self) -> None:
        size = np.array(self.clean.shape) * self.spacing
        margin = np.minimum(MARGIN * min(self.spacing), size / 3)
        keep = ((self.line > margin) & (self.line < size - margin)).all(1)
        self.measured = self.line[keep] / self.spacing - 0.5

    def along(self, image: Array) -> Array:
        """Values of an image along the centre line."""
        return scipy.ndimage.map_coordinates(image, self.measured.T, order=3, mode="nearest")

    def background(self) -> NDArray[np.bool_]:
        """Voxels far from the structure and from the border."""
        inside = np.zeros(self.clean.shape, bool)
        inside[tuple(slice(min(4, n // 4), n - min(4, n // 4)) for n in inside.shape)] = True
        return inside & (self.distance > 4 * self.radius + 3 * min(self.spacing))

    def contrast(self, image: Array) -> float:
        """Mean along the centre line above the background."""
        return float(self.along(image).mean() - image[self.background()].mean())

    def kept(self, result: Array, before: Array) -> float:
        """Contrast of a result relative to that of the image before, noise included.

        The noise changes the mean along the line before and after alike.
        """
        return self.contrast(result) / self.contrast(before)

    def fwhm(self, image: Array) -> float:
        """Full width of the mean profile at half its height [length]; NaN without one."""
        low = image[self.background()].mean()
        step = 0.25 * min(self.spacing)
        inside = np.zeros(self.clean.shape, bool)
        inside[tuple(slice(min(8, n // 4), n - min(8, n // 4)) for n in inside.shape)] = True
        bins = np.rint(self.distance[inside] / step).astype(int)
        count = np.bincount(bins)[:80]
        mean = np.bincount(bins, image[inside] - low)[:80] / np.maximum(count, 1)
        at, mean = np.flatnonzero(count) * step, mean[count > 0]
        half = self.contrast(image) / 2
        below = np.flatnonzero(mean < half)
        if not len(below) or below[0] == 0:
            return float("nan")
        k = below[0]
        share = (mean[k - 1] - half) / (mean[k - 1] - mean[k])
        return 2 * float(at[k - 1] + share * (at[k] - at[k - 1]))


def positions(shape: Sequence[int], spacing: Sequence[float]) -> Array:
    """Centres of voxels, shape ``(*shape, axes)`` [length]."""
    centres = [(np.arange(n) + 0.5) * h for n, h in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*centres, indexing="ij"), -1)


def around(
    lines: Sequence[Array],
    radius: float,
    profile: Callable[[Array, float], Array],
    shape: Sequence[int],
    spacing: Sequence[float] | None = None,
) -> Phantom:
    """Phantom of dense polylines [length]; the first one is measured."""
    spacing = tuple(spacing or (1.0,) * len(shape))
    tree = cKDTree(np.concatenate(lines))
    x = positions(shape, spacing)
    distance = tree.query(x)[0]
    clean = np.zeros(shape)
    near = distance < 5 * radius + max(spacing)
    offsets = (np.arange(SUBVOXELS) + 0.5) / SUBVOXELS - 0.5
    each = [offsets if profile is box else (0.0,) for _ in shape]
    total = np.zeros(int(near.sum()))
    for shift in itertools.product(*each):
        total += profile(tree.query(x[near] + np.array(shift) * spacing)[0], radius)
    clean[near] = total / np.prod([len(e) for e in each])
    return Phantom(clean, spacing, np.asarray(lines[0]), distance, radius)


def straight(centre: Array, direction: Sequence[float], length: float) -> Array:
    """Dense points of a line [length]."""
    unit = np.asarray(direction, float) / np.linalg.norm(direction)
    return centre + np.arange(-length, length, 0.05)[:, None] * unit


def tube(
    radius: float = 1.0,
    direction: Sequence[float] = (0, 0, 1),
    profile: Callable[[Array, float], Array] = gaussian,
    shape: Sequence[int] = (40, 40, 40),
    spacing: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
) -> Phantom:
    """One straight tube through the middle of the image, which it leaves at both ends."""
    spacing = tuple(spacing or (1.0,) * len(shape))
    middle = np.array([(n // 2 + 0.5) * h for n, h in zip(shape, spacing, strict=True)])
    if offset is not None:
        middle = middle + offset
    unit = np.asarray(direction, float) / np.linalg.norm(direction)
    reach = 2 * float(np.linalg.norm(np.array(shape) * spacing))
    line = straight(middle, unit, reach / 2)
    # The distance from an infinite line, exactly.

    def distance_of(x: Array) -> Array:
        rest = x - middle
        return np.linalg.norm(rest - (rest @ unit)[..., None] * unit, axis=-1)

    x = positions(shape, spacing)
    offsets = (np.arange(SUBVOXELS) + 0.5) / SUBVOXELS - 0.5
    each = [offsets if profile is box else (0.0,) for _ in shape]
    shifts = list(itertools.product(*each))
    clean = sum(profile(distance_of(x + np.array(s) * spacing), radius) for s in shifts)
    return Phantom(clean / len(shifts), spacing, line, distance_of(x), radius)


def sheet(radius: float, normal: Sequence[float], shape: Sequence[int]) -> Phantom:
    """Sheet of Gaussian profile through the middle of the image; a line within it is measured."""
    spacing = (1.0,) * len(shape)
    middle = np.array([n / 2 for n in shape])
    unit = np.asarray(normal, float) / np.linalg.norm(normal)
    distance = np.abs((positions(shape, spacing) - middle) @ unit)
    within = np.cross(unit, (1.0, 0.0, 0.0))
    line = straight(middle, within, float(np.linalg.norm(shape)))
    return Phantom(gaussian(distance, radius), spacing, line, distance, radius)
