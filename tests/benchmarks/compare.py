"""Processor time of a step in two checkouts, measured alternately in one run.

``python tests/benchmarks/compare.py OTHER [--rounds 5] [--only WORD]`` compares the sources of this
checkout with those in the folder OTHER. Every checkout has a process, and the two take turns. The
columns are medians of the processor time [ns per voxel and step] of both, and the median of the
ratios of a round. Processor time counts work that is done twice, also by other threads.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

OWN = Path(__file__).resolve().parents[2]
#: Models, by the names of the rows.
MODELS = {
    "Perona-Malik": "nd.PeronaMalik(kappa=10.0)",
    "Perona-Malik, sigma 1": "nd.PeronaMalik(kappa=10.0, sigma=1.0)",
    "total variation": "nd.TotalVariation(kappa=10.0)",
    "mean curvature": "nd.MeanCurvature()",
    "edge-enhancing": "nd.EdgeEnhancing(kappa=10.0)",
}
SHAPES = ((128, 128, 128), (64, 512, 512), (12, 2048, 2048))
THREADS = (1, 8)
#: Runs a case for every line of input, and prints its processor time per voxel and step.
WORKER = """
import sys, time
import numpy as np
import napari_diffusion as nd
rng = np.random.default_rng(0)
shape, image = None, None
for line in sys.stdin:
    next_shape, threads, model = eval(line)
    if next_shape != shape:
        shape, image = next_shape, rng.normal(100, 20, next_shape).astype("f4")
    options = {"time": 0.5, "scheme": "explicit", "threads": threads}
    steps = nd.plan(image, model, **options).steps
    start = time.process_time()
    nd.diffuse(image, model, **options)
    print((time.process_time() - start) / image.size / steps * 1e9, flush=True)
"""


class Checkout:
    """A process that filters with the sources of a folder."""

    def __init__(self, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(folder / "src")}
        command = [sys.executable, "-c", WORKER]
        self._process = subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True)

    def time(self, shape: tuple[int, ...], threads: int, model: str) -> float:
        """Processor time [ns per voxel and step]."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"({shape}, {threads}, {model})\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Print a row for every model, shape and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of the name of the models")
    options = parser.parse_args()
    checkouts = [Checkout(folder) for folder in (options.other, OWN)]
    models = {name: code for name, code in MODELS.items() if options.only in name}
    for code in models.values():  # compile the kernels
        for checkout in checkouts:
            checkout.time((16, 32, 32), 1, code)
    print("| model | voxels | threads | other | own | own / other |\n|---|---|---|---|---|---|")
    for shape in SHAPES:
        for name, code in models.items():
            for threads in THREADS:
                rounds = [
                    [checkout.time(shape, threads, code) for checkout in checkouts]
                    for _ in range(options.rounds)
                ]
                other, own = (statistics.median(column) for column in zip(*rounds, strict=True))
                ratio = statistics.median(pair[1] / pair[0] for pair in rounds)
                size = " × ".join(map(str, shape))
                print(f"| {name} | {size} | {threads} | {other:.2f} | {own:.2f} | {ratio:.2f} |")
                sys.stdout.flush()
    for checkout in checkouts:
        checkout.close()


if __name__ == "__main__":
    main()
