"""Make the pictures of docs/models.md: ``python docs/make_model_pictures.py``. Seeded data and the MRI scan that comes with nibabel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import napari_diffusion as nd
from napari_diffusion.io import samples
from napari_diffusion.io.phantoms import confocal

IMAGES = Path(__file__).parent / "images" / "models"
MAGNIFIED, GAP = 2, 4


@dataclass(frozen=True)
class Scene:
    """A noisy volume, what it would be without noise, its voxel size, and the part that is shown."""

    noisy: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, float, float]
    show: tuple[int | slice, ...]

    def grey(self, volume: np.ndarray) -> np.ndarray:
        """Return the part that is shown, 0 to 1 over the range of the truth there."""
        low, high = np.percentile(self.truth[self.show], (0.1, 99.9))
        return np.clip((volume[self.show] - low) / (high - low) * 0.9 + 0.05, 0, 1)

    def removed(self, result: np.ndarray) -> np.ndarray:
        """Return what a filter took away, on grey; black and white are two standard deviations of the noise."""
        noise = np.std((self.noisy - self.truth)[self.show])
        return np.clip(0.5 + (self.noisy - result)[self.show] / (4 * noise), 0, 1)

    def run(self, model: nd.Model, time: float) -> np.ndarray:
        """Filter the noisy volume."""
        return nd.diffuse(self.noisy, model, time=time, spacing=self.spacing)


def microscopy() -> Scene:
    """Nuclei and filaments with the noise of photons."""
    stack = confocal((24, 160, 160), nuclei=36, filaments=42, seed=3)
    return Scene(
        stack.noisy.astype(np.float32),
        stack.truth,
        stack.spacing,
        (12, slice(20, 132), slice(20, 132)),
    )


def speckle() -> Scene:
    """The same with noise in proportion to the brightness."""
    scene = microscopy()
    gamma = np.random.default_rng(1).gamma(
        10.0, 0.1, scene.truth.shape
    )  # mean 1, standard deviation 0.32
    return Scene((scene.truth * gamma).astype(np.float32), scene.truth, scene.spacing, scene.show)


def magnitudes() -> Scene:
    """Amplitudes of a real scan, smoothed by a hair, with noise of 90 in the real and the imaginary part."""
    data, spacing, _ = samples.mri()
    truth = nd.diffuse(data, nd.Linear(), time=2.0, spacing=spacing)
    rng = np.random.default_rng(2)
    noisy = np.hypot(truth + rng.normal(0, 90, truth.shape), rng.normal(0, 90, truth.shape)).astype(
        np.float32
    )
    return Scene(noisy, truth, spacing, (13, slice(0, 96), slice(16, 112)))


def save(name: str, panels: list[np.ndarray]) -> None:
    """Save panels side by side, in 64 greys, which nobody can tell from 256 in noise."""
    rows, columns = panels[0].shape
    whole = np.ones((rows, sum(p.shape[1] for p in panels) + GAP * (len(panels) - 1)))
    for k, panel in enumerate(panels):
        whole[:, k * (columns + GAP) :][:, :columns] = panel
    greys = (
        (np.rint(whole * 63) * (255 / 63))
        .astype(np.uint8)
        .repeat(MAGNIFIED, 0)
        .repeat(MAGNIFIED, 1)
    )
    Image.fromarray(greys).save(IMAGES / f"{name}.png", optimize=True)


def main() -> None:
    """Filter, and save before, after and what was removed; then rows of one parameter after the other."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    cells = microscopy()
    runs = [
        (cells, nd.Linear(), 0.02),
        (cells, nd.PeronaMalik(kappa=400, sigma=0.1), 0.08),
        (cells, nd.TotalVariation(kappa=50, epsilon=0.05), 0.35),
        (cells, nd.MeanCurvature(), 0.03),
        (cells, nd.ModifiedCurvature(kappa=1500), 0.05),
        (cells, nd.EdgeEnhancing(kappa=250, sigma=0.1, rho=0.2), 0.06),
        (cells, nd.CoherenceEnhancing(kappa=150, sigma=0.15, rho=0.5), 0.25),
        (cells, nd.Hybrid(kappa=250, contrast=400, sigma=0.1, rho=0.2), 0.06),
        (cells, nd.VesselEnhancing(gamma=30, sigma=0.2, thickest=0.4), 0.02),
        (speckle(), nd.SpeckleReducing(q0=0.2), 0.05),
        (magnitudes(), nd.Rician(sigma_noise=90), 4.0),
    ]
    save("data", [cells.grey(cells.noisy), cells.grey(cells.truth)])
    for scene, model, time in runs:
        result = scene.run(model, time)
        save(model.name, [scene.grey(scene.noisy), scene.grey(result), scene.removed(result)])
    rows = {
        "kappa": [(nd.PeronaMalik(kappa=k, sigma=0.1), 0.08) for k in (80, 400, 4000)],
        "time": [(nd.PeronaMalik(kappa=400, sigma=0.1), t) for t in (0.01, 0.08, 0.6)],
        "sigma": [(nd.PeronaMalik(kappa=400, sigma=s), 0.08) for s in (0.0, 0.1, 0.6)],
        "rho": [
            (nd.CoherenceEnhancing(kappa=150, sigma=0.15, rho=r), 0.25) for r in (0.0, 0.5, 2.0)
        ],
    }
    for name, row in rows.items():
        save(
            f"parameter_{name}",
            [cells.grey(cells.noisy), *(cells.grey(cells.run(*one)) for one in row)],
        )


if __name__ == "__main__":
    main()
