"""Work against accuracy: evaluations and time of each scheme, and its error against the converged solution of the same equation."""

from __future__ import annotations

from functools import partial

import numpy as np
from timing import median, seconds, table

import napari_diffusion as nd
from napari_diffusion.schemes import FSI, RKL2, Explicit


def picture(shape: tuple[int, ...]) -> np.ndarray:
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    clean = 0.6 * (sum(c * c for c in x) < 0.4) + 0.3 * (np.sin(8 * x[0]) > 0)
    return clean + np.random.default_rng(5).normal(0, 0.1, shape)


def accuracy_table() -> str:
    """Root mean square error as a share of the range; the converged solution is the Richardson limit of two fine second-order runs."""
    rows = []
    problems = [((160, 160), (1.0, 1.0)), ((48, 48, 48), (1.0, 1.0, 1.0)), ((16, 56, 56), (5.0, 1.0, 1.0))]
    for shape, spacing in problems:
        image = picture(shape)
        model = nd.PeronaMalik(kappa=0.05, sigma=1.0)
        for time in (2.5, 10.0, 50.0, 200.0):
            options = {"time": time, "spacing": spacing}
            fine = [nd.diffuse(image, model, scheme=RKL2(supersteps=m), **options) for m in (150, 300)]
            limit = (4 * fine[1] - fine[0]) / 3
            schemes = {
                "auto": "auto",
                "explicit": Explicit(),
                "rkl2, 6": RKL2(supersteps=6),
                "rkl2, 12": RKL2(supersteps=12),
                "fsi, 4": FSI(cycles=4),
            }
            for name, scheme in schemes.items():
                plan = nd.plan(image, model, scheme=scheme, **options)
                run = partial(nd.diffuse, image, model, scheme=scheme, **options)
                times = [seconds(run) for _ in range(3)]
                error = np.sqrt(np.mean((run() - limit) ** 2)) / np.ptp(image)
                label = f"auto ({plan.scheme.name})" if name == "auto" else name
                rows.append(
                    [
                        "×".join(map(str, shape)),
                        str(spacing),
                        f"{time:g}",
                        label,
                        str(plan.steps),
                        f"{median(times) * 1e3:.0f}",
                        f"{error:.1e}",
                    ]
                )
    head = ["volume", "spacing", "T", "scheme", "evaluations", "ms", "rms error / range"]
    return "## Work against accuracy, regularised Perona-Malik (rational, sigma = 1, float64)\n\n" + table(head, rows)
