"""Width of the surroundings of a preview of total variation, and its error, on public images.

``python tests/benchmarks/surroundings.py`` prints a row for each image that scikit-image carries,
and for an MRI volume. Three parts of each image are previewed. The thresholds are shares of the
intensity range of the image.

``python tests/benchmarks/surroundings.py vessels`` prints the error of parts of two photographs
under vessel-enhancing diffusion, for several shares of the heat kernel beyond the surroundings.

``python tests/benchmarks/surroundings.py ramp`` compares the bound of the change of a row with the
change by a steep ramp, which begins a given number of rows from it.
"""

from __future__ import annotations

import sys
from unittest.mock import patch

import numpy as np
import skimage.data
from timing import table

import napari_diffusion as nd
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.problem import unread_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import samples
from napari_diffusion.previewing.request import PreviewRequest
from napari_diffusion.previewing.surroundings import largest_change

#: Images of scikit-image that need no download.
IMAGES = (
    "astronaut",
    "brick",
    "camera",
    "cell",
    "checkerboard",
    "clock",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "horse",
    "hubble_deep_field",
    "immunohistochemistry",
    "microaneurysms",
    "moon",
    "page",
    "rocket",
    "text",
)
#: Thresholds [intensity range/voxel], diffusion time [voxel²], and places of the parts.
THRESHOLDS, TIME, PLACES = (0.003, 0.02, 0.1, 2.0), 2.5, (0.3, 0.5, 0.8)


def rows_of(name: str, image: np.ndarray, spacing: tuple[float, ...]) -> list[list[str]]:
    """Return a row for every threshold: the widest block, and the largest error."""
    rows, extent = [], float(np.ptp(image))
    for share in THRESHOLDS:
        model = nd.TotalVariation(kappa=share * extent)
        whole = nd.diffuse(image, model, time=TIME, spacing=spacing)
        problem = unread_problem(image, Recipe(model, TIME), Geometry(spacing=spacing), Domain())
        planes, error = 0, 0.0
        for place in PLACES:
            first = int(place * len(image))
            rest = (slice(None),) * 2 if image.ndim == 3 else (slice(40, 80),)
            region = (first if image.ndim == 3 else slice(first, first + 20), *rest)
            request = PreviewRequest(problem, region, Execution())
            planes = max(planes, request.block.shape_of()[0])
            error = max(error, float(np.abs(request.run() - whole[region]).max()) / extent)
        rows.append([name, f"{share:g}", f"{planes}", f"{error:.0e}"])
    return rows


def ramp() -> None:
    """Print bound and change of a row with two flat halves, as shares of their difference."""
    rows, middle, columns = [], 200, np.where(np.arange(16) < 8, 0.0, 1.0)
    for time in (2.5, 20.0):
        for threshold in (0.01, 0.1, 1.0, 10.0):
            model = nd.TotalVariation(kappa=threshold)
            for distance in (5, 10, 20, 40, 60, 80, 120):
                bound = largest_change(float(distance), threshold, time, 1 / model.epsilon)
                image = np.tile(columns, (2 * middle, 1))
                end = middle + distance + 1
                part = nd.diffuse(image[:end], model, time=time, tolerance=1e-4)[middle]
                image[end:] += np.arange(1, 2 * middle - end + 1)[:, None]
                whole = nd.diffuse(image, model, time=time, tolerance=1e-4)[middle]
                change = float(np.abs(part - whole).max())
                rows.append(
                    [f"{time:g}", f"{threshold:g}", f"{distance}", f"{bound:.1e}", f"{change:.1e}"]
                )
    print(table(["time", "threshold", "distance", "bound", "change"], rows))


def vessels() -> None:
    """Print a row for every photograph and time."""
    cases = (
        ("coins", (slice(89, 129), slice(160, 200)), 2.5),
        ("camera", (slice(403, 443), slice(264, 304)), 5.0),
        ("camera", (slice(403, 443), slice(264, 304)), 10.0),
    )
    rows, gains = [], (1.0, 1e2, 1e3, 3e3)
    for name, region, time in cases:
        image, row = getattr(skimage.data, name)(), [name, f"{time:g}"]
        whole = nd.diffuse(image, nd.VesselEnhancing(), time=time)
        for gain in gains:
            with patch.object(nd.VesselEnhancing, "truncation_gain", gain):
                part = nd.preview(image, nd.VesselEnhancing(), region=region, time=time)
            row.append(f"{np.abs(part - whole[region]).max() / np.ptp(image):.1e}")
        rows.append(row)
    print(table(["image", "time", *(f"{1e-3 / gain:.0e}" for gain in gains)], rows))


if __name__ == "__main__":
    tables = {"ramp": ramp, "vessels": vessels}
    if sys.argv[1:]:
        tables[sys.argv[1]]()
        sys.exit()
    volume, spacing, _ = samples.mri()
    rows = rows_of("MRI volume", np.asarray(volume, np.float32), spacing)
    for name in IMAGES:
        image = np.asarray(getattr(skimage.data, name)(), np.float32)
        rows += rows_of(name, image[..., 1] if image.ndim == 3 else image, (1.0, 1.0))
    print(table(["image", "threshold", "planes or rows", "error"], rows))
