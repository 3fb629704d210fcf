"""PNG picture of an image before and after a filter, for machines without a display."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array
from napari_diffusion.io.volume import require

_GAP_PIXELS = 6
_MIN_HEIGHT_PIXELS = 480


def side_by_side(path: Path, before: Array, after: Array, spacing: tuple[float, float]) -> None:
    """Save two planes, and 4 times their difference on grey, as one PNG with true proportions.

    Parameters
    ----------
    path
        File to write.
    before, after
        Planes (y, x) in the same units; both are shown with the same contrast.
    spacing
        Pixel size (y, x) [length].
    """
    pil_image = require("PIL.Image", "Pictures")
    first, second = before.astype(np.float64), after.astype(np.float64)
    low, high = np.percentile(first, (0.5, 99.7))
    span = max(float(high - low), 1e-12)
    panels = [(first - low) / span, (second - low) / span, 0.5 + 4 * (first - second) / span]
    pixel = max(_MIN_HEIGHT_PIXELS / (first.shape[0] * spacing[0]), 1 / min(spacing))
    rows, columns = (round(n * h * pixel) for n, h in zip(first.shape, spacing, strict=True))
    picture = pil_image.new("L", (3 * columns + 2 * _GAP_PIXELS, rows), 255)
    for i, panel in enumerate(panels):
        grey: NDArray[np.uint8] = (255 * np.clip(panel, 0, 1)).astype(np.uint8)
        tile = pil_image.fromarray(grey).resize((columns, rows), pil_image.Resampling.NEAREST)
        picture.paste(tile, (i * (columns + _GAP_PIXELS), 0))
    picture.save(path, format="PNG")
