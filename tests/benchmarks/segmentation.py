"""Table of segmentation errors: ``python tests/benchmarks/segmentation.py`` writes the page.

The page is docs/automatic.md. Noise is added to images with known labels, which are simulated, or
made from the noise-free image by the same segmentation. The images are then segmented in fixed
ways. The table gives the errors for the unfiltered image, for the two aims of `suggest`, and for
the best of our results, found by trial with the labels. The script takes about ten minutes;
``--sets coins`` runs the set of that name and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
from timing import table

sys.path.insert(0, str(Path(__file__).parents[1]))

import napari_diffusion as nd
from helpers.segmented import (
    Labelled,
    by_brightness,
    by_distance,
    by_threshold,
    by_wall_distance,
    by_walls,
    cells,
    errors,
    membranes,
)

PAGE = Path(__file__).parents[2] / "docs" / "automatic.md"
Array = np.ndarray
Segmentation = Callable[[Array], Array]
#: Diffusion times of the trials [voxel²].
TIMES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
NOISES = (10.0, 20.0, 40.0)
CELL_SEGMENTATIONS = {
    "threshold": by_threshold,
    "watershed of distance": by_distance,
    "watershed of brightness": by_brightness,
}
WALL_SEGMENTATIONS = {
    "watershed of walls": by_walls,
    "watershed of wall distance": by_wall_distance,
}


@dataclass(frozen=True)
class ImageSet:
    """Images of one kind, and the ways to segment them."""

    name: str
    make: Callable[[int], Labelled]
    seeds: tuple[int, ...]
    segmentations: dict[str, Segmentation]


def coins(seed: int) -> Labelled:
    """The photograph of coins, whose labels are made by each segmentation."""
    clean = skimage.data.coins().astype(float)
    return Labelled(clean, np.zeros(clean.shape, int), float(np.ptp(np.percentile(clean, (2, 98)))))


def cells_2d(seed: int) -> Labelled:
    """Cells in a plane."""
    return cells((192, 192), seed)


def cells_3d(seed: int) -> Labelled:
    """Cells in a volume."""
    return cells((24, 72, 72), seed)


def membranes_2d(seed: int) -> Labelled:
    """Membranes in a plane."""
    return membranes((192, 192), seed)


def membranes_3d(seed: int) -> Labelled:
    """Membranes in a volume."""
    return membranes((24, 72, 72), seed)


SETS = (
    ImageSet("cells, 2-D", cells_2d, (10, 11, 12), CELL_SEGMENTATIONS),
    ImageSet("cells, 3-D", cells_3d, (10, 11), CELL_SEGMENTATIONS),
    ImageSet("membranes, 2-D", membranes_2d, (10, 11, 12), WALL_SEGMENTATIONS),
    ImageSet("membranes, 3-D", membranes_3d, (10, 11), WALL_SEGMENTATIONS),
    ImageSet("coins", coins, (10,), CELL_SEGMENTATIONS),
)


def trials(noisy: Array, sigma: float) -> Iterator[Array]:
    """Results of our models with different parameters and times."""
    models: list[nd.Model] = [nd.TotalVariation(kappa=sigma)]
    for share in (0.2, 0.4):
        models += [nd.PeronaMalik(kappa=share * sigma, sigma=scale) for scale in (0.0, 0.7)]
    models += [nd.EdgeEnhancing(kappa=share * sigma, sigma=0.5) for share in (0.2, 0.5)]
    for model in models:
        result, before = noisy, 0.0
        for time in TIMES:
            result = nd.diffuse(result, model, time=time - before)
            before = time
            yield result


def measure(job: tuple[int, float, int]) -> tuple[tuple[int, float, int], Array]:
    """Errors of one image, shape (segmentations, contenders, 2)."""
    number, percent, seed = job
    images = SETS[number]
    data = images.make(seed)
    noisy = data.noisy(percent, seed)
    chosen = [nd.suggest(noisy, aim=aim) for aim in ("error", "segmentation")]
    contenders = [data.clean, noisy, *(nd.diffuse(noisy, s.model, time=s.time) for s in chosen)]
    tried = list(trials(noisy, percent / 100 * data.contrast))
    rows = []
    for segment in images.segmentations.values():
        truth = data.labels if data.labels.any() else segment(data.clean)
        own = [errors(segment(image), truth) for image in contenders]
        best = min([errors(segment(image), truth) for image in tried] + own[2:])
        rows.append([*own, best])
    return job, np.array(rows)


def report(results: dict[tuple[int, float, int], Array]) -> str:
    """Table of the mean errors over the seeds, in Markdown."""
    head = ["image", "noise", "segmentation", "noise-free", "unfiltered"]
    head += ['aim "error"', 'aim "segmentation"', "best by the labels"]
    rows, ratios = [], []
    for number, images in enumerate(SETS):
        for percent in NOISES:
            own = [r for (k, p, _), r in results.items() if (k, p) == (number, percent)]
            if not own:
                continue
            mean = np.mean(own, axis=0)
            for name, line in zip(images.segmentations, mean, strict=True):
                cells_of_line = [f"{information:.2f} / {rand:.2f}" for information, rand in line]
                rows.append([images.name, f"{percent:g} %", name, *cells_of_line])
                ratios.append((images.name, name, line[3] / line[2], line[4] / line[2]))
    text = table(head, rows)
    summary = []
    for name, way in dict.fromkeys((name, way) for name, way, *_ in ratios):
        own = [(a, b) for n, w, a, b in ratios if (n, w) == (name, way)]
        geometric = np.exp(np.mean(np.log(np.maximum(own, 1e-3)), axis=0))
        numbers = [f"{geometric[0][0]:.2f}", f"{geometric[1][0]:.2f}", f"{geometric[0][1]:.2f}"]
        summary.append([name, way, *numbers])
    head = ["image", "segmentation", "variation of information, ratio", "best by the labels, ratio"]
    return text + "\n" + table([*head, "adapted Rand error, ratio"], summary)


def main() -> None:
    """Make the table, and put it between the marks of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default="", help="only sets whose name contains this")
    parser.add_argument("--processes", type=int, default=2, help="number of processes")
    arguments = parser.parse_args()
    jobs = [
        (number, percent, seed)
        for number, images in enumerate(SETS)
        if arguments.sets in images.name
        for percent in NOISES
        for seed in images.seeds
    ]
    results = {}
    with ProcessPoolExecutor(arguments.processes) as pool:
        for job, rows in pool.map(measure, jobs):
            results[job] = rows
            print(SETS[job[0]].name, job[1:], np.round(rows[:, :, 0], 2).tolist(), flush=True)
    text = report(results)
    print(text)
    if not arguments.sets:
        page = PAGE.read_text(encoding="utf-8")
        head, rest = page.split("<!-- segmentation -->\n")
        _, after = rest.split("<!-- end -->\n", 1)
        page = f"{head}<!-- segmentation -->\n{text}<!-- end -->\n{after}"
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
