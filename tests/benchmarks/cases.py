"""Noise-free images and noise for the tables of automatic parameters. Photographs and volumes come inside Python packages.

The MRI template is in the wheel of nilearn and the scans in those of nibabel and dipy: ``pip install --no-deps nilearn dipy`` is enough,
as only their files are read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import scipy.ndimage
import skimage.data


@dataclass(frozen=True)
class Case:
    """One noise-free image [0, 255] with its voxel size and the noise added to it, in per cent of the range."""

    name: str
    clean: Callable[[], np.ndarray]
    spacing: tuple[float, ...]
    percent: float
    kind: str = "gaussian"

    def make(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return (what the filter should give, noisy image, root mean square of the noise)."""
        clean = self.clean().astype(np.float32)
        rng, sigma = np.random.default_rng(20260), 2.55 * self.percent
        if self.kind == "gaussian":
            return clean, clean + sigma * rng.normal(size=clean.shape).astype("f4"), sigma
        if self.kind.startswith("smoothed"):
            noise = scipy.ndimage.gaussian_filter(
                rng.normal(size=clean.shape), float(self.kind.split()[1])
            )
            return clean, clean + (sigma / noise.std() * noise).astype("f4"), sigma
        if self.kind == "interpolated":  # half a voxel along every axis
            noise = rng.normal(size=clean.shape)
            for axis in range(noise.ndim):
                noise = noise + np.roll(noise, 1, axis)
            return clean, clean + (sigma / noise.std() * noise).astype("f4"), sigma
        if self.kind == "rician":
            noisy = np.hypot(
                clean + sigma * rng.normal(size=clean.shape), sigma * rng.normal(size=clean.shape)
            )
            return rician_mean(clean, sigma), noisy.astype("f4"), sigma
        if self.kind == "speckle":
            looks = 1e4 / self.percent**2
            noisy = clean * rng.gamma(looks, 1 / looks, clean.shape)
            return clean, noisy.astype("f4"), float(np.sqrt(np.mean((noisy - clean) ** 2)))
        photons = (
            (255 / sigma) ** 2 * clean / 255 / 2.0
        )  # the noise of the brightest voxel is twice that share in variance
        noisy = rng.poisson(photons) * 255 * 2.0 / (255 / sigma) ** 2 + 2.0 * rng.normal(
            size=clean.shape
        )
        return clean, noisy.astype("f4"), float(np.sqrt(np.mean((noisy - clean) ** 2)))


def rician_mean(amplitude: np.ndarray, sigma: float) -> np.ndarray:
    """Mean magnitude at an amplitude: what a filter of magnitudes can reach."""
    from scipy.special import ive

    x = (amplitude / sigma) ** 2 / 4
    return (sigma * np.sqrt(np.pi / 2) * ((1 + 2 * x) * ive(0, x) + 2 * x * ive(1, x))).astype("f4")


def photograph(name: str) -> Callable[[], np.ndarray]:
    def load() -> np.ndarray:
        image = getattr(skimage.data, name)().astype(np.float32)
        image = image.mean(-1) if image.ndim == 3 else image
        return (image - image.min()) * (255 / np.ptp(image))

    return load


def cells(
    spacing: tuple[float, float, float], shape: tuple[int, int, int] = (40, 144, 144)
) -> Callable[[], np.ndarray]:
    """Nuclei with bright spots and a membrane, blurred like a confocal stack: wider along the slices."""

    def load() -> np.ndarray:
        rng = np.random.default_rng(7)
        size = np.array(shape) * spacing
        x = np.meshgrid(
            *((np.arange(n) + 0.5) * h for n, h in zip(shape, spacing, strict=True)), indexing="ij"
        )
        image = np.full(shape, 10.0)
        unit = size[1] / 144
        for _ in range(40):
            centre, radii = rng.uniform(0, 1, 3) * size, rng.uniform(7, 14, 3) * unit
            distance = np.sqrt(
                sum(((c - m) / r) ** 2 for c, m, r in zip(x, centre, radii, strict=True))
            )
            image = np.where(distance < 1, rng.uniform(60, 140), image)
            image = np.where(abs(distance - 1) < 0.12, 200.0, image)
        for _ in range(120):
            spot = rng.uniform(0, 1, 3) * size
            image += 90 * np.exp(
                -sum((c - m) ** 2 for c, m in zip(x, spot, strict=True)) / (2 * (1.5 * unit) ** 2)
            )
        blurred = scipy.ndimage.gaussian_filter(image, [2.5 * unit / spacing[0], 1.0, 1.0])
        return (blurred - blurred.min()) * (255 / np.ptp(blurred))

    return load


def package_file(package: str, path: str) -> Path:
    """Return a data file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"The tables need {package}: pip install --no-deps {package}")
    return Path(spec.origin).parent / path


def template(step: int = 1) -> Callable[[], np.ndarray]:
    """Middle of the MNI template, 1 mm; ``step`` takes thicker slices."""

    def load() -> np.ndarray:
        file = package_file(
            "nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
        )
        image = np.asarray(nibabel.load(file).dataobj, np.float32)[50:146, 60:172, 30:150:step]
        return (image - image.min()) * (255 / np.ptp(image))

    return load


FLAT = (1.0, 1.0)
CUBE = (1.0, 1.0, 1.0)
CASES = (
    Case("camera", photograph("camera"), FLAT, 3),
    Case("camera", photograph("camera"), FLAT, 10),
    Case("camera", photograph("camera"), FLAT, 20),
    Case("coins", photograph("coins"), FLAT, 5),
    Case("coins", photograph("coins"), FLAT, 15),
    Case("moon", photograph("moon"), FLAT, 8),
    Case("brick", photograph("brick"), FLAT, 10),
    Case("astronaut", photograph("astronaut"), FLAT, 6),
    Case("chelsea", photograph("chelsea"), FLAT, 12),
    Case("cell", photograph("cell"), FLAT, 5),
    Case("clock", photograph("clock"), FLAT, 4),
    Case("confocal 1:1", cells(CUBE, (64, 112, 112)), CUBE, 10),
    Case("confocal 1:5", cells((5.0, 1.0, 1.0)), (5.0, 1.0, 1.0), 5),
    Case("confocal 1:5", cells((5.0, 1.0, 1.0)), (5.0, 1.0, 1.0), 20),
    Case("confocal 1:3", cells((3.0, 1.0, 1.0)), (3.0, 1.0, 1.0), 12, "poisson"),
    Case("MNI 1 mm", template(), CUBE, 3),
    Case("MNI 1 mm", template(), CUBE, 9),
    Case("MNI 1 mm", template(), CUBE, 20),
    Case("MNI 1 mm", template(), CUBE, 9, "rician"),
    Case("MNI 1:1:5", template(5), (1.0, 1.0, 5.0), 7),
)
#: Noise whose neighbours are correlated: smoothed by a Gaussian of so many voxels, or linearly interpolated.
CORRELATED = (
    Case("camera", photograph("camera"), FLAT, 10, "smoothed 0.5"),
    Case("coins", photograph("coins"), FLAT, 15, "smoothed 0.8"),
    Case("brick", photograph("brick"), FLAT, 10, "interpolated"),
    Case("confocal 1:1", cells(CUBE, (64, 112, 112)), CUBE, 10, "smoothed 0.6"),
    Case("MNI 1 mm", template(), CUBE, 9, "smoothed 0.4"),
    Case("MNI 1 mm", template(), CUBE, 9, "interpolated"),
)
