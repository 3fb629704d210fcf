"""Make the pictures of "My image shows" in the widget: ``python docs/make_structure_pictures.py``.

Each picture is a small noisy image, filtered in its right half. The images are seeded simulations
and the MRI scan that comes with nibabel. Grey pictures suit a dark and a light theme.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

import napari_diffusion as nd
from napari_diffusion.io import samples
from napari_diffusion.io.phantoms import Microscope, confocal
from napari_diffusion.ui.structures.table import CELLS, FIBRES, FLAT, MAGNITUDE, Structure

#: Side of a picture [voxel]; a voxel is one pixel, or four on a fine screen.
SIDE = 64
#: Grey level of the line between the halves.
LINE = 1.0


def cells() -> tuple[np.ndarray, np.ndarray]:
    """Return nuclei with photon noise, and the same filtered."""
    dim = Microscope(photons=12.0)
    stack = confocal((12, 72, 72), (0.5, 0.3, 0.3), nuclei=16, filaments=0, microscope=dim, seed=7)
    noisy = stack.noisy.astype(np.float32)
    model = nd.PeronaMalik(kappa=100, sigma=0.3, diffusivity="weickert")
    result = nd.diffuse(noisy, model, time=0.12, spacing=stack.spacing)
    return noisy[8], result[8]


def flat() -> tuple[np.ndarray, np.ndarray]:
    """Return flat regions with Gaussian noise, and the same filtered."""
    rng = np.random.default_rng(4)
    points = rng.uniform(0, SIDE, (13, 2))
    levels = rng.permutation(np.linspace(0.0, 100.0, len(points)))
    y, x = np.mgrid[:SIDE, :SIDE]
    nearest = np.argmin([(y - a) ** 2 + (x - b) ** 2 for a, b in points], axis=0)
    noisy = levels[nearest] + rng.normal(0, 14, (SIDE, SIDE))
    return noisy, nd.diffuse(noisy, nd.TotalVariation(kappa=6), time=3.0)


def fibres() -> tuple[np.ndarray, np.ndarray]:
    """Return wavy fibres with Gaussian noise, and the same filtered."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    phase = 7 * (y + 0.25 * x + 0.12 * np.sin(5 * x + 1))
    width = gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 7)
    truth = 100 * np.clip(np.cos(2 * np.pi * phase) + 3 * width, 0, 1)
    noisy = truth + rng.normal(0, 30, truth.shape)
    model = nd.CoherenceEnhancing(kappa=4, sigma=0.8, rho=3.0)
    return noisy, nd.diffuse(noisy, model, time=12.0)


def magnitude() -> tuple[np.ndarray, np.ndarray]:
    """Return a section of a scan with noise in both complex parts, and the same filtered."""
    data, spacing, _ = samples.mri()
    truth = nd.diffuse(data, nd.Linear(), time=2.0, spacing=spacing)
    rng = np.random.default_rng(2)
    noise = 130.0
    real, imaginary = (rng.normal(0, noise, truth.shape) for _ in range(2))
    noisy = np.hypot(truth + real, imaginary).astype(np.float32)
    result = nd.diffuse(noisy, nd.Rician(sigma_noise=noise), time=6.0, spacing=spacing)
    section = (13, slice(2, 98), slice(16, 112))
    return noisy[section], result[section]


def picture(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return grey levels from 0 to 1 of the left half before and the right half after."""
    both = [resized(before), resized(after)]
    low, high = np.percentile(both[1], (1, 99.5))
    left, right = (np.clip((each - low) / (high - low) * 0.9 + 0.05, 0, 1) for each in both)
    return np.where(np.arange(SIDE) < SIDE // 2, left, right)


def resized(image: np.ndarray) -> np.ndarray:
    """Return the middle of an image, or an image of the MRI scan, in the size of a picture."""
    if len(image) > 80:
        return zoom(image, np.divide(SIDE, image.shape), order=1)
    start = (len(image) - SIDE) // 2
    return image[start : start + SIDE, start : start + SIDE]


def save(structure: Structure, grey: np.ndarray) -> None:
    """Save a picture for both kinds of screens."""
    for scale in (1, 2):
        pixels = grey.repeat(scale, 0).repeat(scale, 1)
        middle = pixels.shape[1] // 2
        pixels[:, middle : middle + scale] = LINE
        levels = (np.rint(pixels * 63) * (255 / 63)).astype(np.uint8)
        file = structure.picture_at(scale)
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(levels).save(file, optimize=True)


def main() -> None:
    """Save the pictures of all structures."""
    makers = {CELLS: cells, FLAT: flat, FIBRES: fibres, MAGNITUDE: magnitude}
    for structure, make in makers.items():
        save(structure, picture(*make()))


if __name__ == "__main__":
    main()
