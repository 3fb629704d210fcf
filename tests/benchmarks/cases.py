"""Noise-free images and noise for the tables of automatic parameters.

The photographs and volumes are data files of Python packages. The MRI template is in the wheel of
nilearn, the scans are in those of nibabel and dipy. ``pip install --no-deps nilearn dipy`` is
enough, as only their files are read.
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
    """One noise-free image and the noise that is added to it.

    Attributes
    ----------
    name
        Name of the image.
    clean
        Loads the image, with values from 0 to 255.
    spacing
        Voxel size [length].
    percent
        Noise level, in per cent of the range.
    kind
        Kind of the noise: ``"gaussian"``, ``"smoothed"`` with a width [voxel], ``"interpolated"``,
        ``"rician"``, ``"speckle"`` or ``"poisson"``.
    """

    name: str
    clean: Callable[[], np.ndarray]
    spacing: tuple[float, ...]
    percent: float
    kind: str = "gaussian"

    def make(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return (ideal result of a filter, noisy image, root mean square of the noise)."""
        clean = self.clean().astype(np.float32)
        rng, sigma = np.random.default_rng(20260), 2.55 * self.percent
        if self.kind == "gaussian":
            return clean, clean + sigma * rng.normal(size=clean.shape).astype("f4"), sigma
        if self.kind.startswith("smoothed"):
            width = float(self.kind.split()[1])
            noise = scipy.ndimage.gaussian_filter(rng.normal(size=clean.shape), width)
            return clean, clean + (sigma / noise.std() * noise).astype("f4"), sigma
        if self.kind == "interpolated":  # half a voxel along every axis
            noise = rng.normal(size=clean.shape)
            for axis in range(noise.ndim):
                noise = noise + np.roll(noise, 1, axis)
            return clean, clean + (sigma / noise.std() * noise).astype("f4"), sigma
        if self.kind == "rician":
            real = clean + sigma * rng.normal(size=clean.shape)
            noisy = np.hypot(real, sigma * rng.normal(size=clean.shape))
            return rician_mean(clean, sigma), noisy.astype("f4"), sigma
        if self.kind == "speckle":
            looks = 1e4 / self.percent**2
            noisy = clean * rng.gamma(looks, 1 / looks, clean.shape)
            return clean, noisy.astype("f4"), float(np.sqrt(np.mean((noisy - clean) ** 2)))
        # The photon noise of the brightest voxel has the variance 2 sigma².
        photons = rng.poisson((255 / sigma) ** 2 * clean / 255 / 2.0)
        noisy = photons * 255 * 2.0 / (255 / sigma) ** 2 + 2.0 * rng.normal(size=clean.shape)
        return clean, noisy.astype("f4"), float(np.sqrt(np.mean((noisy - clean) ** 2)))


def rician_mean(amplitude: np.ndarray, sigma: float) -> np.ndarray:
    """Mean magnitude at an amplitude, which is the ideal result of a filter of magnitudes."""
    from scipy.special import ive

    x = (amplitude / sigma) ** 2 / 4
    return (sigma * np.sqrt(np.pi / 2) * ((1 + 2 * x) * ive(0, x) + 2 * x * ive(1, x))).astype("f4")


def photograph(name: str) -> Callable[[], np.ndarray]:
    """Loader of a photograph of scikit-image, in grey levels from 0 to 255."""

    def load() -> np.ndarray:
        image = getattr(skimage.data, name)().astype(np.float32)
        image = image.mean(-1) if image.ndim == 3 else image
        return (image - image.min()) * (255 / np.ptp(image))

    return load


def cells(
    spacing: tuple[float, float, float], shape: tuple[int, int, int] = (40, 144, 144)
) -> Callable[[], np.ndarray]:
    """Loader of a simulated confocal stack: nuclei with a membrane, and bright spots.

    The blur is wider across the slices than within them.
    """

    def load() -> np.ndarray:
        rng = np.random.default_rng(7)
        size = np.array(shape) * spacing
        centres = ((np.arange(n) + 0.5) * h for n, h in zip(shape, spacing, strict=True))
        x = np.meshgrid(*centres, indexing="ij")
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
            square = sum((c - m) ** 2 for c, m in zip(x, spot, strict=True))
            image += 90 * np.exp(-square / (2 * (1.5 * unit) ** 2))
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
    """Loader of the middle of the MNI template, 1 mm; every ``step``-th slice of the last axis."""

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
#: Cases of correlated noise: smoothed by a Gaussian, or linearly interpolated.
CORRELATED = (
    Case("camera", photograph("camera"), FLAT, 10, "smoothed 0.5"),
    Case("coins", photograph("coins"), FLAT, 15, "smoothed 0.8"),
    Case("brick", photograph("brick"), FLAT, 10, "interpolated"),
    Case("confocal 1:1", cells(CUBE, (64, 112, 112)), CUBE, 10, "smoothed 0.6"),
    Case("MNI 1 mm", template(), CUBE, 9, "smoothed 0.4"),
    Case("MNI 1 mm", template(), CUBE, 9, "interpolated"),
)
