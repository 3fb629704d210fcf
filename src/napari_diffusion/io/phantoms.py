"""A simulated confocal stack whose clean truth is known, to see and to measure what a filter does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]
Point = NDArray[np.float64]


@dataclass(frozen=True)
class Confocal:
    """A simulated stack: noisy and clean image in the same units [grey levels], and the voxel size (z, y, x) [µm]."""

    noisy: NDArray[np.uint16]
    truth: Real
    spacing: tuple[float, float, float]


def confocal(
    shape: tuple[int, int, int] = (40, 160, 160),
    spacing: tuple[float, float, float] = (0.5, 0.2, 0.2),
    *,
    nuclei: int = 60,
    filaments: int = 70,
    psf: tuple[float, float, float] = (0.4, 0.13, 0.13),
    photons: float = 60.0,
    gain: float = 20.0,
    offset: float = 200.0,
    read_noise: float = 15.0,
    seed: int = 0,
) -> Confocal:
    r"""Simulate nuclei and filaments as a confocal microscope sees them.

    .. math:: I = o + g\,\mathrm{Poisson}\bigl(n\,(\mathrm{PSF} * f)\bigr) + N(0, r^2)

    with objects :math:`f` of brightness up to 1, offset :math:`o`, gain :math:`g`, photons :math:`n` and read noise :math:`r`.

    Parameters
    ----------
    shape, spacing
        Number of voxels and voxel size [µm] along z, y, x.
    nuclei, filaments
        How many of each.
    psf
        Standard deviation of the Gaussian point spread function along z, y, x [µm].
    photons
        Mean photon count of a bright voxel.
    gain, offset, read_noise
        Of the detector: grey levels per photon, dark level, and standard deviation of its noise [grey levels].
    seed
        The same seed gives the same stack.

    Returns
    -------
    Confocal
        Both images in grey levels; the truth is what infinitely many photons would have given.
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    size = np.multiply(shape, spacing)
    clean = np.full(shape, 0.03, np.float32)  # background light
    for _ in range(nuclei):
        _add_nucleus(clean, spacing, rng, size)
    threads = np.zeros(shape, np.float32)
    for _ in range(filaments):
        _draw_filament(threads, spacing, rng, size)
    # A filament is far thinner than a voxel: it has the width of the point spread function, and its brightness.
    width = [max(s, h / 2) / h for s, h in zip(psf, spacing, strict=True)]
    thin = ndimage.gaussian_filter(np.minimum(threads, 1.0), width)
    clean = ndimage.gaussian_filter(clean, [s / h for s, h in zip(psf, spacing, strict=True)])
    clean += thin * (0.8 / max(float(thin.max()), 1e-6))
    counts = rng.poisson(photons * clean)
    noisy = offset + gain * counts + rng.normal(0.0, read_noise, shape)
    truth = (offset + gain * photons * clean).astype(np.float32)
    return Confocal(np.clip(np.rint(noisy), 0, 65535).astype(np.uint16), truth, spacing)


def _add_nucleus(
    clean: Real, spacing: tuple[float, ...], rng: np.random.Generator, size: Point
) -> None:
    """Add a solid ellipsoid with darker nucleoli."""
    centre, radii = rng.uniform(0.0, 1.0, 3) * size, rng.uniform((1.5, 1.8, 1.8), (3.0, 4.0, 4.0))
    inside = _ellipsoid(clean.shape, spacing, centre, radii)
    bright = rng.uniform(0.5, 1.0)
    clean[inside] = bright
    for _ in range(rng.integers(1, 4)):
        spot = centre + rng.uniform(-0.5, 0.5, 3) * radii
        clean[inside & _ellipsoid(clean.shape, spacing, spot, radii * rng.uniform(0.2, 0.35))] = (
            0.45 * bright
        )


def _ellipsoid(
    shape: tuple[int, ...], spacing: tuple[float, ...], centre: Point, radii: Point
) -> NDArray[np.bool_]:
    z, y, x = (
        ((np.arange(n) * h - c) / r) ** 2
        for n, h, c, r in zip(shape, spacing, centre, radii, strict=True)
    )
    return np.asarray(z[:, None, None] + y[:, None] + x < 1)


def _draw_filament(
    threads: Real, spacing: tuple[float, ...], rng: np.random.Generator, size: Point
) -> None:
    """Draw a smooth curve, as a walk whose direction turns slowly, until it leaves the stack."""
    step = min(spacing) / 2
    point, heading = rng.uniform(0, 1, 3) * size, rng.normal(size=3) * (0.15, 1.0, 1.0)
    for _ in range(int(2 * max(size) / step)):
        heading += rng.normal(size=3) * (0.01, 0.06, 0.06)
        heading /= np.linalg.norm(heading)
        point = point + step * heading
        place = tuple(np.rint(point / spacing).astype(int))
        if any(not 0 <= i < n for i, n in zip(place, threads.shape, strict=True)):
            return
        threads[place] = 1.0
