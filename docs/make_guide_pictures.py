"""Make the pictures of docs/guide.md: ``python docs/make_guide_pictures.py``.

It needs scikit-image, which comes with a photograph of a retina.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from make_gallery import DOCS, draw
from skimage import data

import napari_diffusion as nd

sys.path.insert(0, str(DOCS.parent / "tests" / "benchmarks"))
import guided

IMAGES = DOCS / "images"
#: Part of the retina beside the optic disc.
VESSELS = np.s_[520:680, 860:1020]


def pet() -> dict[str, np.ndarray]:
    """Return a plane of the simulated PET image with the best parameters of the benchmark."""
    _, image, guide, *_, spacing, _ = guided.scene()
    alone = nd.EdgeEnhancing(kappa=0.19, sigma=1.5, rho=1.5)
    with_guide = nd.EdgeEnhancing(kappa=12.0, sigma=1.5, rho=1.5)
    options = {"spacing": spacing}
    results = {
        "PET": image,
        "alone": nd.diffuse(image, alone, time=32.0, **options),
        "guided": nd.diffuse(image, with_guide, time=16.0, guide=guide, **options),
        "guide": guide,
    }
    return {name: values[4] for name, values in results.items()}


def retina() -> dict[str, np.ndarray]:
    """Return the blue channel of a photograph, smoothed alone and guided by the green one."""
    _, green, blue = np.moveaxis(data.retina()[VESSELS].astype(float), -1, 0)
    model = nd.EdgeEnhancing(kappa=1.0, sigma=1.0, rho=2.0)
    return {
        "blue": blue,
        "alone": nd.diffuse(blue, model, time=6.0),
        "guided": nd.diffuse(blue, model, time=6.0, guide=green),
        "green": green,
    }


def main() -> None:
    """Save both pictures."""
    for name, panels in (("guided_pet", pet()), ("guided_retina", retina())):
        draw(panels).save(Path(IMAGES) / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
