"""Processor time of runs with and without a map of the threshold: a Markdown table.

``python tests/benchmarks/threshold_map.py [SIDE]``, by default in 128³ voxels. Runs with and
without the map alternate in one thread; the table shows the smallest time of each.
"""

from __future__ import annotations

import dataclasses
import sys
import time

import numpy as np

import napari_diffusion as nd

#: Factors from 0.5 to 4 on 4 × 6 × 6 nodes.
NODES = 2.0 ** np.random.default_rng(0).uniform(-1, 2, (4, 6, 6))
#: Models, options and number of explicit steps.
RUNS = {
    "classic Perona-Malik": (nd.PeronaMalik(), 5),
    "regularised Perona-Malik": (nd.PeronaMalik(sigma=1.0), 5),
    "total variation": (nd.TotalVariation(epsilon=0.1), 5),
    "modified curvature": (nd.ModifiedCurvature(), 5),
    "edge-enhancing": (nd.EdgeEnhancing(), 3),
}
ROUNDS = 5


def nanoseconds(image: np.ndarray, model: nd.models.Model, step: float, steps: int) -> float:
    """Return the processor time of a step per voxel [ns]."""
    scheme = nd.schemes.Explicit(step=step)
    start = time.process_time()
    nd.diffuse(image, model, time=steps * step, scheme=scheme, threads=1)
    return (time.process_time() - start) / image.size / steps * 1e9


def main() -> None:
    """Print the table."""
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    image = np.random.default_rng(1).normal(100, 10, (side,) * 3).astype(np.float32)
    print("| model | without [ns/voxel/step] | with | ratio |\n|---|---|---|---|")
    for name, (model, steps) in RUNS.items():
        step = 0.9 * nd.plan(image, model, time=1e-6).max_step
        mapped = dataclasses.replace(model, kappa_map=NODES)
        times: dict[str, list[float]] = {"plain": [], "mapped": []}
        for _ in range(ROUNDS + 1):  # the first round compiles
            times["plain"].append(nanoseconds(image, model, step, steps))
            times["mapped"].append(nanoseconds(image, mapped, step, steps))
        plain, other = (min(values[1:]) for values in times.values())
        print(f"| {name} | {plain:.1f} | {other:.1f} | {other / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
