"""Make the pictures of docs/models.md: ``python docs/make_model_pictures.py``.

The data are seeded simulations and the MRI scan that comes with nibabel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

import napari_diffusion as nd
from napari_diffusion.io import samples
from napari_diffusion.io.phantoms import confocal

IMAGES = Path(__file__).parent / "images" / "models"
#: Picture pixels per voxel, and gap between two panels [voxels].
MAGNIFICATION, GAP = 2, 4
#: Standard deviation of the simulated noise in the real and in the imaginary part.
MAGNITUDE_NOISE = 90


@dataclass(frozen=True)
class Scene:
    """A noisy volume, its noise-free truth, its voxel size, and the section that is shown."""

    noisy: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, float, float]
    section: tuple[int | slice, ...]

    def grey(self, volume: np.ndarray) -> np.ndarray:
        """Return the section in grey levels, 0 to 1 over the range of the truth there."""
        low, high = np.percentile(self.truth[self.section], (0.1, 99.9))
        return np.clip((volume[self.section] - low) / (high - low) * 0.9 + 0.05, 0, 1)

    def residual(self, result: np.ndarray) -> np.ndarray:
        """Return what a filter removed, on mid-grey.

        Black and white are two standard deviations of the noise.
        """
        noise = np.std((self.noisy - self.truth)[self.section])
        return np.clip(0.5 + (self.noisy - result)[self.section] / (4 * noise), 0, 1)

    def run(self, model: nd.Model, time: float) -> np.ndarray:
        """Filter the noisy volume."""
        return nd.diffuse(self.noisy, model, time=time, spacing=self.spacing)


def microscopy() -> Scene:
    """Return nuclei and filaments with photon noise."""
    stack = confocal((24, 160, 160), nuclei=36, filaments=42, seed=3)
    noisy, section = stack.noisy.astype(np.float32), (12, slice(20, 132), slice(20, 132))
    return Scene(noisy, stack.truth, stack.spacing, section)


def speckle() -> Scene:
    """Return nuclei and filaments with noise in proportion to the brightness."""
    scene = microscopy()
    rng = np.random.default_rng(1)
    gamma = rng.gamma(10.0, 0.1, scene.truth.shape)  # mean 1, standard deviation 0.32
    noisy = (scene.truth * gamma).astype(np.float32)
    return Scene(noisy, scene.truth, scene.spacing, scene.section)


def magnitudes() -> Scene:
    """Return magnitudes of a slightly smoothed scan with noise in both complex parts."""
    data, spacing, _ = samples.mri()
    truth = nd.diffuse(data, nd.Linear(), time=2.0, spacing=spacing)
    rng = np.random.default_rng(2)
    real = truth + rng.normal(0, MAGNITUDE_NOISE, truth.shape)
    imaginary = rng.normal(0, MAGNITUDE_NOISE, truth.shape)
    noisy = np.hypot(real, imaginary).astype(np.float32)
    return Scene(noisy, truth, spacing, (13, slice(0, 96), slice(16, 112)))


def membranes() -> Scene:
    """Return walls between cells, of which a fifth of the voxels is missing, with photon noise."""
    rng, spacing = np.random.default_rng(4), (0.3, 0.2, 0.2)
    shape = (24, 160, 160)
    size = np.multiply(shape, spacing)
    place = np.moveaxis(np.indices(shape), 0, -1) * spacing
    near, far = np.moveaxis(cKDTree(rng.uniform(-3, size + 3, (130, 3))).query(place, 2)[0], -1, 0)
    truth = 20 + 100 * np.exp(-np.square(far - near) / (2 * 0.3**2))
    present = np.where(rng.random(shape) < 0.2, 20, truth)
    noisy = rng.poisson(present).astype(np.float32)
    return Scene(noisy, truth, spacing, (12, slice(20, 132), slice(20, 132)))


def relief() -> Scene:
    """Return a relief of gentle slopes with an edge, with uniform noise."""
    rng, spacing = np.random.default_rng(7), (0.2, 0.2, 0.2)
    _, y, x = 0.2 * np.indices((8, 112, 112))
    hills = 60 + 25 * np.sin(0.45 * x + 0.25 * y) + 12 * np.cos(0.5 * y - 0.2 * x)
    truth = hills + 45 * ((x - 15) ** 2 + (y - 8) ** 2 < 20)
    noisy = (truth + 8 * rng.normal(size=truth.shape)).astype(np.float32)
    return Scene(noisy, truth, spacing, (4, slice(0, 112), slice(0, 112)))


def save(name: str, panels: list[np.ndarray]) -> None:
    """Save panels side by side, in 64 grey levels, which look like 256 in noise."""
    rows, columns = panels[0].shape
    canvas = np.ones((rows, sum(p.shape[1] for p in panels) + GAP * (len(panels) - 1)))
    for k, panel in enumerate(panels):
        canvas[:, k * (columns + GAP) :][:, :columns] = panel
    greys = (np.rint(canvas * 63) * (255 / 63)).astype(np.uint8)
    pixels = greys.repeat(MAGNIFICATION, 0).repeat(MAGNIFICATION, 1)
    Image.fromarray(pixels).save(IMAGES / f"{name}.png", optimize=True)


def save_models(cells: Scene) -> None:
    """Save a picture of every model: noisy, filtered, removed."""
    runs = [
        (cells, nd.Linear(), 0.02),
        (cells, nd.PeronaMalik(kappa=400, sigma=0.1), 0.08),
        (cells, nd.TotalVariation(kappa=50, epsilon=0.05), 0.35),
        (relief(), nd.FourthOrder(kappa=30, sigma=0.15, length=0.2), 0.3),
        (cells, nd.MeanCurvature(), 0.03),
        (cells, nd.ModifiedCurvature(kappa=1500), 0.05),
        (cells, nd.MinMaxCurvature(radius=0.2), 0.1),
        (cells, nd.EdgeEnhancing(kappa=250, sigma=0.1, rho=0.2), 0.06),
        (cells, nd.CoherenceEnhancing(kappa=150, sigma=0.15, rho=0.5), 0.25),
        (cells, nd.Hybrid(kappa=250, contrast=400, sigma=0.1, rho=0.2), 0.06),
        (cells, nd.VesselEnhancing(gamma=30, sigma=0.2, thickest=0.4), 0.02),
        (membranes(), nd.MembraneEnhancing(gamma=10, sigma=0.15, thickest=0.3), 0.16),
        (speckle(), nd.SpeckleReducing(q0=0.2), 0.05),
        (magnitudes(), nd.Rician(sigma_noise=MAGNITUDE_NOISE), 4.0),
    ]
    for scene, model, time in runs:
        result = scene.run(model, time)
        save(model.name, [scene.grey(scene.noisy), scene.grey(result), scene.residual(result)])


def save_parameters(cells: Scene) -> None:
    """Save a row for every parameter: noisy, then too small, right and too large."""

    def coherence_enhancing(rho: float) -> nd.Model:
        return nd.CoherenceEnhancing(kappa=150, sigma=0.15, rho=rho)

    rows = {
        "kappa": [(nd.PeronaMalik(kappa=k, sigma=0.1), 0.08) for k in (80, 400, 4000)],
        "time": [(nd.PeronaMalik(kappa=400, sigma=0.1), t) for t in (0.01, 0.08, 0.6)],
        "sigma": [(nd.PeronaMalik(kappa=400, sigma=s), 0.08) for s in (0.0, 0.1, 0.6)],
        "rho": [(coherence_enhancing(r), 0.25) for r in (0.0, 0.5, 2.0)],
    }
    for name, runs in rows.items():
        results = [cells.grey(cells.run(model, time)) for model, time in runs]
        save(f"parameter_{name}", [cells.grey(cells.noisy), *results])


def main() -> None:
    """Save the data, the results of every model, and the rows of parameters."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    cells = microscopy()
    save("data", [cells.grey(cells.noisy), cells.grey(cells.truth)])
    save_models(cells)
    save_parameters(cells)


if __name__ == "__main__":
    main()
