"""Make the pictures of docs/gallery: ``python docs/make_gallery.py``.

Every script is run. The arrays that it calls ``panels`` are drawn side by side, each from its
smallest to its largest value, with the names below.
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

DOCS = Path(__file__).parent
IMAGES = DOCS / "images" / "gallery"
#: Picture pixels per pixel of an array; gap between panels and height of the names [pixel].
MAGNIFICATION, GAP, NAMES = 2, 8, 28


def grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an array in 64 grey levels between its quantiles of 0.1 % and 99.9 %."""
    numbers = np.asarray(values, dtype=float)
    low, high = np.percentile(numbers, (0.1, 99.9))
    if low == high:
        low, high = numbers.min(), max(numbers.max(), numbers.min() + 1)
    share = np.clip((numbers - low) / (high - low), 0, 1)
    levels = (np.rint(share * 63) * (255 / 63)).astype(np.uint8)
    return levels.repeat(MAGNIFICATION, 0).repeat(MAGNIFICATION, 1)


def draw(panels: Mapping[str, NDArray[Any]]) -> Image.Image:
    """Return the panels side by side, with their names."""
    pictures = [grey(values) for values in panels.values()]
    height = max(len(picture) for picture in pictures)
    width = sum(picture.shape[1] + GAP for picture in pictures) - GAP
    canvas = Image.new("L", (width, height + NAMES), 255)
    pen, font, left = ImageDraw.Draw(canvas), ImageFont.load_default(16), 0
    for name, picture in zip(panels, pictures, strict=True):
        canvas.paste(Image.fromarray(picture), (left, 0))
        pen.text((left + picture.shape[1] / 2, height + 4), name, fill=0, anchor="ma", font=font)
        left += picture.shape[1] + GAP
    return canvas


def main() -> None:
    """Run every script, and save its picture."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for script in sorted((DOCS / "gallery").glob("*.py")):
        panels = runpy.run_path(str(script))["panels"]
        draw(panels).save(IMAGES / f"{script.stem}.png", optimize=True)


if __name__ == "__main__":
    main()
