"""How near the presets are to the programs that they convert, on the same noisy step.

Prints the table of docs/conversion.md: the difference of the results as a share of the change.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import diplib
import numpy as np
import SimpleITK
from medpy.filter.smoothing import anisotropic_diffusion

import napari_diffusion as nd

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.peers import mismatch

#: Shapes with their voxel sizes.
IMAGES = {
    "plane, 1 × 1": ((96, 96), (1.0, 1.0)),
    "volume, 1 × 1 × 1": ((40, 40, 40), (1.0, 1.0, 1.0)),
    "volume, 4 × 1 × 1": ((32, 40, 40), (4.0, 1.0, 1.0)),
}
#: Iterations of every filter, and its step, which is stable in all of them.
COUNT, STEP = 10, 0.0625


def noisy_step(shape: tuple[int, ...]) -> np.ndarray:
    """A step of 60 grey levels across the last axis, with noise of 10, in 8 bits."""
    noise = 10 * np.random.default_rng(0).normal(size=shape)
    step = 60 * (np.indices(shape)[-1] > shape[-1] // 2)
    return np.clip(np.rint(100 + step + noise), 0, 255).astype(np.uint8)


def itk(name: str, image: np.ndarray, spacing: tuple[float, ...], *values: float) -> np.ndarray:
    """Run a filter of SimpleITK."""
    volume = SimpleITK.GetImageFromArray(image.astype(np.float32))
    volume.SetSpacing(spacing[::-1])
    return SimpleITK.GetArrayFromImage(getattr(SimpleITK, name)(volume, *values))


def pairs(image: np.ndarray, h: tuple[float, ...]) -> dict[str, tuple[np.ndarray, nd.Recipe]]:
    """Return the result of each program, and the recipe of its preset."""
    presets, n, step = nd.presets, COUNT, STEP
    anisotropic = step, 2.0, 1, n
    made = {
        "itk_gradient": (
            itk("GradientAnisotropicDiffusion", image, h, *anisotropic),
            presets.itk_gradient(image, 2.0, n, step, spacing=h),
        ),
        "itk_curvature": (
            itk("CurvatureAnisotropicDiffusion", image, h, *anisotropic),
            presets.itk_curvature(image, 2.0, n, step, spacing=h),
        ),
        "itk_curvature_flow": (
            itk("CurvatureFlow", image, h, step, n),
            presets.itk_curvature_flow(image, step, n, spacing=h),
        ),
        "medpy": (
            anisotropic_diffusion(image, n, 25.0, step),
            presets.medpy(image, n, 25.0, step, spacing=h),
        ),
        "medpy, voxelspacing": (
            anisotropic_diffusion(image, n, 25.0, step, h),
            presets.medpy(image, n, 25.0, step, True, spacing=h),
        ),
        "diplib": (
            np.array(diplib.PeronaMalikDiffusion(diplib.Image(image), n, 25.0, step)),
            presets.diplib(image, n, 25.0, step, spacing=h),
        ),
    }
    if image.ndim == 2:
        colours = np.repeat(image[..., None], 3, 2)
        theirs = cv2.ximgproc.anisotropicDiffusion(colours, step, 0.1, n)[..., 0]
        made["opencv"] = theirs, presets.opencv(image, step, 0.1, n, spacing=h)
    return made


def main() -> None:
    """Print the table."""
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    columns = {}
    for title, (shape, spacing) in IMAGES.items():
        image, share = noisy_step(shape), columns.setdefault(title, {})
        for name, (theirs, recipe) in pairs(image, spacing).items():
            border = COUNT if name == "diplib" else 0  # through which it loses intensity
            inside = tuple(slice(border, n - border) for n in shape)
            ours = nd.diffuse(image, recipe)
            share[name] = mismatch(theirs[inside] * 1.0, ours[inside], image[inside])
    print("| preset |", " | ".join(columns), "|")
    print("|---" * (len(columns) + 1) + "|")
    for name in columns["plane, 1 × 1"]:
        shares = [column.get(name) for column in columns.values()]
        cells = [
            "—"
            if share is None
            else "0.0001 % and less"
            if share < 1e-6
            else f"{100 * share:.2g} %"
            for share in shares
        ]
        print(f"| `{name}` |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
