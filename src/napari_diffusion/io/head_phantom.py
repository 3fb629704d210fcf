"""Simulated magnetic resonance image of a head with a known noise-free image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]

#: Magnitudes of the tissues.
FAT, BONE, FLUID, GREY_MATTER, DEEP_GREY, WHITE_MATTER = 850.0, 80.0, 250.0, 550.0, 620.0, 820.0
#: Thickness of the cortex, and width of a fold where it is open [mm].
CORTEX_MM, FOLD_MM = 3.2, 6.5


@dataclass(frozen=True)
class SimulatedScan:
    """A simulated magnitude image.

    Attributes
    ----------
    noisy
        Image with noise, axes (z, y, x).
    truth
        Image without noise, axes (z, y, x).
    spacing
        Voxel size (z, y, x) [mm].
    """

    noisy: NDArray[np.uint16]
    truth: Real
    spacing: tuple[float, float, float]


def head(
    shape: tuple[int, int, int] = (40, 144, 120),
    spacing: tuple[float, float, float] = (3.0, 1.5, 1.5),
    *,
    noise: float = 60.0,
    seed: int = 0,
) -> SimulatedScan:
    r"""Simulate a magnitude image of a head with Rician noise.

    .. math:: M = \sqrt{(A + N_1)^2 + N_2^2}

    with the noise-free image A, and Gaussian noise in the real and the imaginary part.

    Parameters
    ----------
    shape, spacing
        Number of voxels and voxel size [mm] along z, y, x.
    noise
        Standard deviation of each Gaussian part.
    seed
        Seed of the random generator.

    Returns
    -------
    SimulatedScan
        Both images. Rows run from the front of the head to its back.
    """
    rng = np.random.default_rng(seed)
    truth = _anatomy(shape, spacing, rng)
    real, imaginary = (rng.normal(0.0, noise, shape) for _ in range(2))
    noisy = np.hypot(truth + real, imaginary)
    return SimulatedScan(np.rint(noisy).astype(np.uint16), truth, spacing)


def _anatomy(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], rng: np.random.Generator
) -> Real:
    """Return the noise-free head: fat, bone, fluid, folded cortex, white matter, deep nuclei."""
    from scipy import ndimage

    z, y, x = np.meshgrid(
        *[
            (np.arange(n, dtype=np.float32) - (n - 1) / 2) * h
            for n, h in zip(shape, spacing, strict=True)
        ],
        indexing="ij",
        sparse=True,
    )
    uneven = 1 + 0.02 * _smooth_field(shape, spacing, 18.0, rng)

    def radius(half_z: float, half_y: float, half_x: float) -> Any:
        return np.sqrt((z / half_z) ** 2 + (y / half_y) ** 2 + (x / half_x) ** 2) * uneven

    inside = partial(_ellipsoid, (z, y, np.abs(x)))
    outer = radius(70, 82, 66)
    depth = 1 - outer
    folds = (np.abs(_smooth_field(shape, spacing, FOLD_MM, rng)) < 0.13) & (depth < 0.36)
    midline = (np.abs(x) < 1.6) & (depth < 0.34)
    surface = (outer >= 1) | folds | midline
    slanted = (z, y, np.abs(x) + 0.18 * np.maximum(y, 0))
    ventricles = _ellipsoid(slanted, (4, -4, 10), (16, 34, 6.5))
    ventricles |= inside((-12, 0, 0), (12, 12, 2.2))
    deep = inside((-6, -18, 24), (13, 17, 8)) | inside((-8, 8, 12), (11, 14, 9))

    distance = ndimage.distance_transform_edt(~surface, sampling=spacing)
    cortex = distance < CORTEX_MM + 0.5 * _smooth_field(shape, spacing, 10.0, rng)
    image = np.zeros(shape, np.float32)
    for where, magnitude in (
        (radius(82, 98, 80) < 1, FAT),
        (radius(77, 92, 75) < 1, BONE),
        (radius(73, 85.5, 69) < 1, FLUID),
        (outer < 1, WHITE_MATTER),
        ((outer < 1) & cortex, GREY_MATTER),
        (deep, DEEP_GREY),
        ((outer < 1) & (surface | ventricles), FLUID),
    ):
        image[where] = magnitude
    # A voxel at a border contains both tissues.
    return np.asarray(ndimage.gaussian_filter(image, (0.3, 0.45, 0.45)), np.float32)


def _smooth_field(
    shape: tuple[int, ...], spacing: tuple[float, ...], width: float, rng: np.random.Generator
) -> Real:
    """Return a random field of unit standard deviation, smooth over ``width`` [mm]."""
    from scipy import ndimage

    noise = rng.normal(size=shape).astype(np.float32)
    field = ndimage.gaussian_filter(noise, [width / step for step in spacing])
    return np.asarray(field / field.std(), np.float32)


def _ellipsoid(
    coordinates: tuple[Any, ...], centre: tuple[float, ...], radii: tuple[float, ...]
) -> NDArray[np.bool_]:
    """Return a mask of the voxels inside an ellipsoid."""
    squares = (((c - m) / r) ** 2 for c, m, r in zip(coordinates, centre, radii, strict=True))
    return np.asarray(sum(squares) < 1)
