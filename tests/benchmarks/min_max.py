"""Width of the switch of min/max curvature flow: ``python tests/benchmarks/min_max.py``.

It prints the table of docs/develop/decisions.md: the error of a noisy disc after a short and a long
time, and the growth of rounding errors, for several widths of the switch as shares of radius times
slope. A rounding error is the difference between runs in float32 and float64, in units of the
rounding of the largest intensity.
"""

from __future__ import annotations

import numpy as np
from timing import table

import napari_diffusion as nd
from napari_diffusion.backends.reference import min_max

WIDTHS = (0.002, 0.005, 0.01, 0.02, 0.05)
#: Radius of the disc and of the flow [voxel], height and noise of the disc [intensity].
DISC, RADIUS, HEIGHT, NOISE = 15.0, 2.0, 100.0, 12.5
TIMES = (1.0, 40.0)


def disc(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the clean and the noisy image of a disc."""
    clean = HEIGHT * (np.hypot(*np.mgrid[-24:25, -24:25]) < DISC)
    return clean, clean + np.random.default_rng(seed).normal(0, NOISE, clean.shape)


def row(width: float) -> list[str]:
    """Return the width, the errors at both times, and the largest growth of rounding errors."""
    min_max.SOFTNESS = width
    errors, growth, model = np.zeros((3, len(TIMES))), 0.0, nd.MinMaxCurvature(radius=RADIUS)
    for seed in range(3):
        clean, noisy = disc(seed)
        noisy = noisy.astype(np.float32).astype(float)
        for number, time in enumerate(TIMES):
            fine = nd.diffuse(noisy, model, time=time, backend="reference")
            errors[seed, number] = np.sqrt(np.mean((fine - clean) ** 2))
        coarse = nd.diffuse(noisy.astype(np.float32), model, time=2.0, backend="reference")
        fine = nd.diffuse(noisy, model, time=2.0, backend="reference")
        unit = np.finfo(np.float32).eps * np.abs(noisy).max()
        growth = max(growth, float(np.abs(coarse - fine).max() / unit))
    return [f"{width:g}", *(f"{error:.1f}" for error in errors.mean(0)), f"{growth:.0f}"]


def main() -> None:
    """Print the table."""
    head = ["width", *(f"error at T = {time:g}" for time in TIMES), "growth of rounding, T = 2"]
    print(table(head, [row(width) for width in WIDTHS]))


if __name__ == "__main__":
    main()
