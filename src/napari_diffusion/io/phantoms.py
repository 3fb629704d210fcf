"""Simulated confocal stack with a known noise-free image, to show and to measure filters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]
Point = NDArray[np.float64]


@dataclass(frozen=True)
class Confocal:
    """A simulated stack.

    Attributes
    ----------
    noisy
        Image with noise, axes (z, y, x) [grey levels].
    truth
        Image without noise, axes (z, y, x) [grey levels].
    spacing
        Voxel size (z, y, x) [µm].
    """

    noisy: NDArray[np.uint16]
    truth: Real
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class Microscope:
    """Optics and detector of a simulated confocal microscope.

    Attributes
    ----------
    psf
        Standard deviation of the Gaussian point spread function along z, y, x [µm].
    photons
        Mean photon count of a bright voxel.
    gain
        Gain of the detector [grey levels per photon].
    offset
        Dark level of the detector [grey levels].
    read_noise
        Standard deviation of the detector noise [grey levels].
    """

    psf: tuple[float, float, float] = (0.4, 0.13, 0.13)
    photons: float = 60.0
    gain: float = 20.0
    offset: float = 200.0
    read_noise: float = 15.0


_MICROSCOPE = Microscope()


def confocal(
    shape: tuple[int, int, int] = (40, 160, 160),
    spacing: tuple[float, float, float] = (0.5, 0.2, 0.2),
    *,
    nuclei: int = 60,
    filaments: int = 70,
    microscope: Microscope = _MICROSCOPE,
    seed: int = 0,
) -> Confocal:
    r"""Simulate a confocal microscopy stack of nuclei and filaments.

    .. math:: I = o + g\,\mathrm{Poisson}\bigl(n\,(\mathrm{PSF} * f)\bigr) + N(0, r^2)

    with objects :math:`f` of brightness up to 1, offset :math:`o`, gain :math:`g`, photons
    :math:`n` and read noise :math:`r`.

    Parameters
    ----------
    shape, spacing
        Number of voxels and voxel size [µm] along z, y, x.
    nuclei, filaments
        Number of nuclei and number of filaments.
    microscope
        Point spread function, photon count and detector.
    seed
        Seed of the random generator.

    Returns
    -------
    Confocal
        Both images. The truth is the limit of infinitely many photons.
    """
    from scipy import ndimage

    psf, photons = microscope.psf, microscope.photons
    gain, offset = microscope.gain, microscope.offset
    rng = np.random.default_rng(seed)
    size = np.multiply(shape, spacing)
    clean = np.full(shape, 0.03, np.float32)  # background light
    for _ in range(nuclei):
        _add_nucleus(clean, spacing, rng, size)
    threads = np.zeros(shape, np.float32)
    for _ in range(filaments):
        _draw_filament(threads, spacing, rng, size)
    # A filament is far thinner than a voxel: its image has the width of the point spread function.
    width = [max(s, h / 2) / h for s, h in zip(psf, spacing, strict=True)]
    thin = ndimage.gaussian_filter(np.minimum(threads, 1.0), width)
    clean = ndimage.gaussian_filter(clean, [s / h for s, h in zip(psf, spacing, strict=True)])
    clean += thin * (0.8 / max(float(thin.max()), 1e-6))
    counts = rng.poisson(photons * clean)
    noisy = offset + gain * counts + rng.normal(0.0, microscope.read_noise, shape)
    truth = (offset + gain * photons * clean).astype(np.float32)
    return Confocal(np.clip(np.rint(noisy), 0, 65535).astype(np.uint16), truth, spacing)


def _add_nucleus(
    clean: Real, spacing: tuple[float, ...], rng: np.random.Generator, size: Point
) -> None:
    """Add a nucleus: an ellipsoid of uniform brightness with darker nucleoli."""
    centre, radii = rng.uniform(0.0, 1.0, 3) * size, rng.uniform((1.5, 1.8, 1.8), (3.0, 4.0, 4.0))
    inside = _ellipsoid(clean.shape, spacing, centre, radii)
    brightness = rng.uniform(0.5, 1.0)
    clean[inside] = brightness
    for _ in range(rng.integers(1, 4)):
        spot = centre + rng.uniform(-0.5, 0.5, 3) * radii
        nucleolus = _ellipsoid(clean.shape, spacing, spot, radii * rng.uniform(0.2, 0.35))
        clean[inside & nucleolus] = 0.45 * brightness


def _ellipsoid(
    shape: tuple[int, ...], spacing: tuple[float, ...], centre: Point, radii: Point
) -> NDArray[np.bool_]:
    """Return a mask of the voxels inside an ellipsoid."""
    z, y, x = (
        ((np.arange(n) * h - c) / r) ** 2
        for n, h, c, r in zip(shape, spacing, centre, radii, strict=True)
    )
    return np.asarray(z[:, None, None] + y[:, None] + x < 1)


def _draw_filament(
    threads: Real, spacing: tuple[float, ...], rng: np.random.Generator, size: Point
) -> None:
    """Draw a random walk whose direction turns slowly, until it leaves the stack."""
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
