"""What automatic filtering removes from real scans: ``python tests/benchmarks/residuals.py`` makes a picture and a table.

Needs nibabel and, for the diffusion scans, ``pip install --no-deps dipy``: only their files are read. The last row is simulated: the MNI
template (``pip install --no-deps nilearn``) with Rician noise, where what a perfect filter removes is known.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import scipy.ndimage
import scipy.stats
from cases import CASES, package_file
from PIL import Image
from skimage.filters import threshold_otsu

import napari_diffusion as nd

DOCS = Path(__file__).parents[2] / "docs"
HEIGHT = 200


def scans() -> dict[str, tuple[np.ndarray, tuple[float, ...]]]:
    """Name, volume and voxel size [mm] of each scan; of a series, one volume."""
    found = {}
    for name, package, path, which in (
        ("EPI, nibabel", "nibabel", "tests/data/example4d.nii.gz", 0),
        ("b0 4x4x5 mm, dipy", "dipy", "data/files/aniso_vox.nii.gz", None),
        ("b0 slices, dipy", "dipy", "data/files/S0_10slices.nii.gz", 0),
        ("diffusion-weighted, dipy", "dipy", "data/files/small_64D.nii", 20),
    ):
        image = nibabel.load(package_file(package, path))
        data = np.asarray(image.dataobj, np.float32)
        data = data if which is None or data.ndim == 3 else data[..., which]
        found[name] = data, tuple(float(h) for h in image.header.get_zooms()[:3])
    return found


def neighbours(removed: np.ndarray, inside: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Largest correlation of the removed part with its neighbour, over the finely sampled axes."""
    found = []
    for axis in [i for i in range(3) if spacing[i] <= 1.5 * min(spacing)]:
        near = tuple(slice(None, -1) if i == axis else slice(None) for i in range(3))
        far = tuple(slice(1, None) if i == axis else slice(None) for i in range(3))
        both = inside[near] & inside[far]
        found.append(float(np.corrcoef(removed[near][both], removed[far][both])[0, 1]))
    return max(found, key=abs)


def smoothed(u: np.ndarray, spacing: tuple[float, ...], width: float, order: int | None = None) -> np.ndarray:
    """Gaussian over the finely sampled axes, in voxels; a derivative along the axis ``order``."""
    fine = [h <= 1.5 * min(spacing) for h in spacing]
    return scipy.ndimage.gaussian_filter(u, [width * f for f in fine], order=[int(i == order) for i in range(3)])


def anatomy(removed: np.ndarray, result: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Rank correlation of the removed part's magnitude with the gradient of the result, in the head; 0 where edges do not show."""
    head = result > threshold_otsu(result)
    fine = [axis for axis in range(3) if spacing[axis] <= 1.5 * min(spacing)]
    gradient = np.sqrt(sum(smoothed(result, spacing, 1.0, axis) ** 2 for axis in fine))
    return float(scipy.stats.spearmanr(np.abs(removed)[head], gradient[head]).statistic)


def tile(plane: np.ndarray, low: float, high: float) -> Image.Image:
    grey = np.clip((np.rot90(plane) - low) / max(high - low, 1e-9), 0, 1) * 255
    image = Image.fromarray(grey.astype(np.uint8))
    return image.resize((max(1, round(image.width * HEIGHT / image.height)), HEIGHT), Image.Resampling.NEAREST)


def main() -> None:
    """Filter every scan, and show original, result, what was removed, and that over its local strength, side by side."""
    rows, lines = [], ["| scan | noise | chosen | neighbours of the removed part correlate | edges in it |", "|---|---|---|---|---|"]
    template = next(case for case in CASES if case.kind == "rician")
    clean, noisy, _ = template.make()
    for name, (data, spacing) in {**scans(), "MNI template with Rician noise": (noisy, template.spacing)}.items():
        found = nd.suggest(data, spacing=spacing, unit="mm")
        result = nd.diffuse(data, found.model, time=found.time, spacing=spacing)
        removed, inside = data - result, data > 0
        correlation, edges = neighbours(removed, inside, spacing), anatomy(removed, result, spacing)
        print(name, data.shape, spacing, found.report, f"neighbours {correlation:.3f}, edges {edges:.3f}", sep="\n", flush=True)
        model = found.model
        told = ", ".join(f"{k} {getattr(model, k):.3g} {u}" for k, u in (("kappa", "/mm"), ("sigma", "mm")) if hasattr(model, k))
        noise = f"{found.noise.kind}, {found.noise.sigma:.3g} ± {found.noise.error:.1g}; correlation {found.noise.correlation:.2f}"
        shown = [f"{correlation:.2f}", f"{edges:.2f}"]
        if data is noisy:
            perfect = f"{neighbours(noisy - clean, inside, spacing):.2f}", f"{anatomy(noisy - clean, clean, spacing):.2f}"
            shown = [f"{here}, by a perfect filter {best}" for here, best in zip(shown, perfect, strict=True)]
        lines.append(f"| {name} | {noise} | {model.name}, {told}, time {found.time:.3g} mm² | {' | '.join(shown)} |")
        z, top = data.shape[2] // 2, float(np.quantile(data, 0.995))
        spread = 4 * float(np.std(removed[inside]))
        local = np.sqrt(smoothed(removed**2, spacing, 2.0)) + 1e-3 * spread
        planes = ((data, 0, top), (result, 0, top), (removed, -spread, spread), (removed / local, -4, 4))
        rows.append([tile(volume[..., z], low, high) for volume, low, high in planes])
    width = max(sum(part.width + 4 for part in row) for row in rows)
    picture = Image.new("L", (width, len(rows) * (HEIGHT + 4)), 255)
    for number, row in enumerate(rows):
        x = 0
        for part in row:
            picture.paste(part, (x, number * (HEIGHT + 4)))
            x += part.width + 4
    picture.save(DOCS / "images" / "residuals.png", optimize=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
