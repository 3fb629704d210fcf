"""Processor time of a step in two checkouts, measured alternately in one run.

``python tests/benchmarks/compare.py OTHER [--rounds 5] [--only WORD]`` compares the sources of this
checkout with those in the folder OTHER. Every checkout has a process, and the two take turns. The
columns are medians of the processor time [ns per voxel and step] of both, and the median of the
ratios of a round. Processor time counts work that is done twice, also by other threads.

``--schedules`` compares whole runs with the default scheme and tolerance, in one thread: the
processor time [ns per voxel] and the error of both, as a share of the range of the image. The truth
is Richardson's limit of 120 and 240 live supersteps in float64, which takes minutes. ``--times``
names other diffusion times, and ``--no-errors`` leaves the errors out. ``--scheme`` names a scheme
for both, such as ``"nd.schemes.Midpoint(cycles=3)"``, where their default schedules differ.

``--shape 24 2048 2048`` replaces the shapes of both tables by one.

``--calls`` compares calls on small images: medians of the processor time of a call [µs].
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
    "min/max curvature": "nd.MinMaxCurvature()",
}
#: Models of whole runs: a diffusivity at the voxels, and tensors.
SCHEDULED = {
    **{
        name: f"nd.PeronaMalik(kappa=0.05, sigma=1.0, diffusivity='{name}')"
        for name in ("rational", "charbonnier", "exponential", "tukey", "weickert")
    },
    "Rician": "nd.Rician(sigma_noise=0.1)",
    "speckle reducing": "nd.SpeckleReducing(q0=0.1)",
    "total variation": "nd.TotalVariation(kappa=0.05)",
    "edge-enhancing": "nd.EdgeEnhancing(kappa=0.05)",
    "coherence-enhancing": "nd.CoherenceEnhancing()",
}
TIMES = (2.5, 10.0, 50.0, 200.0)
SHAPES = ((128, 128, 128), (64, 512, 512), (12, 2048, 2048))
SCHEDULED_SHAPE = (48, 192, 192)
THREADS = (1, 8)
#: Runs a case for every line of input, and prints its processor time per voxel and its error.
SCHEDULE_WORKER = """
import sys, time
import numpy as np
import napari_diffusion as nd
shape, cases, RKL2 = eval(sys.argv[1]), {}, nd.schemes.RKL2
z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
image = 1 + 0.6 * (z**2 + y**2 + x**2 < 0.4) + 0.3 * (np.sin(8 * x) > 0)
image += np.random.default_rng(5).normal(0, 0.1, shape)
for line in sys.stdin:
    model, duration, has_truth, scheme = eval(line)
    start = time.process_time()
    result = nd.diffuse(image.astype("f4"), model, time=duration, scheme=scheme, threads=1)
    seconds = time.process_time() - start
    if (model, duration) not in cases and has_truth:
        coarse, fine = (
            nd.diffuse(image, model, time=duration, scheme=RKL2(supersteps=n)) for n in (120, 240)
        )
        cases[model, duration] = fine + (fine - coarse) / 3
    truth = cases.get((model, duration))
    error = 0.0 if truth is None else np.sqrt(np.mean((result - truth) ** 2)) / np.ptp(image)
    print(seconds / image.size * 1e9, error, flush=True)
"""
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
#: Calls on small images: model, shape, data type and options.
CALLS = {
    "Linear": ("nd.Linear(), (8, 8), 'f4'", "time=0.5"),
    "Linear, uint16": ("nd.Linear(), (8, 8), 'u2'", "time=0.5"),
    "Linear, 8³": ("nd.Linear(), (8, 8, 8), 'f4'", "time=0.5"),
    "Perona-Malik": ("nd.PeronaMalik(kappa=20.0), (8, 8), 'f4'", "time=0.2"),
    "Perona-Malik, uint16": ("nd.PeronaMalik(kappa=20.0), (8, 8), 'u2'", "time=0.2"),
    "Perona-Malik, 8³": ("nd.PeronaMalik(kappa=20.0), (8, 8, 8), 'f4'", "time=0.1"),
    "Perona-Malik, spacing": (
        "nd.PeronaMalik(kappa=20.0), (8, 8), 'f4'",
        "time=0.2, spacing=(1.0, 2.0)",
    ),
    "Perona-Malik, channels": (
        "nd.PeronaMalik(kappa=20.0), (8, 8, 3), 'f4'",
        "time=0.2, channel_axis=-1",
    ),
    "Perona-Malik, mask": (
        "nd.PeronaMalik(kappa=20.0), (8, 8), 'f4'",
        "time=0.2, mask=np.arange(64).reshape(8, 8) > 0",
    ),
    "Perona-Malik, sigma 1": ("nd.PeronaMalik(kappa=20.0, sigma=1.0), (8, 8), 'f4'", "time=0.2"),
    "Perona-Malik, sigma 1, 8³": (
        "nd.PeronaMalik(kappa=20.0, sigma=1.0), (8, 8, 8), 'f4'",
        "time=0.1",
    ),
    "mean curvature": ("nd.MeanCurvature(), (8, 8), 'f4'", "time=0.1"),
    "total variation": ("nd.TotalVariation(kappa=20.0, epsilon=0.1), (8, 8), 'f4'", "time=0.02"),
    "edge-enhancing": ("nd.EdgeEnhancing(kappa=20.0), (8, 8), 'f4'", "time=0.2"),
    "coherence-enhancing": ("nd.CoherenceEnhancing(kappa=20.0), (8, 8), 'f4'", "time=0.2"),
}
#: Makes 200 equal calls for every line of input, and prints the processor time of one [µs].
CALL_WORKER = """
import sys, time
import numpy as np
import napari_diffusion as nd
rng = np.random.default_rng(4)
for line in sys.stdin:
    (model, shape, dtype), options = eval(line)
    image = rng.normal(100, 10, shape).astype(dtype)
    start = time.process_time()
    for _ in range(200):
        nd.diffuse(image, model, **options)
    print((time.process_time() - start) / 200 * 1e6, flush=True)
"""


class Checkout:
    """A process that filters with the sources of a folder."""

    def __init__(self, folder: Path, worker: str = WORKER, *arguments: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(folder / "src")}
        command = [sys.executable, "-c", worker, *arguments]
        self._process = subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True)

    def time(self, shape: tuple[int, ...], threads: int, model: str) -> float:
        """Processor time [ns per voxel and step]."""
        (time,) = self.run(f"({shape}, {threads}, {model})")
        return time

    def run(self, case: str) -> list[float]:
        """Run a case and return the numbers that the process prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(case + "\n")
        self._process.stdin.flush()
        return [float(number) for number in self._process.stdout.readline().split()]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def compare_schedules(options: argparse.Namespace, shape: tuple[int, ...], has_truth: bool) -> None:
    """Print a row for every model and diffusion time."""
    folders = (options.other, OWN)
    checkouts = [Checkout(folder, SCHEDULE_WORKER, str(shape)) for folder in folders]
    print("| model | T | other | its error | own | own error | own / other |")
    print("|---|---|---|---|---|---|---|")
    for name, code in SCHEDULED.items():
        if options.only not in name:
            continue
        for duration in options.times:
            for checkout in checkouts:  # compile the kernels, and compute the truth
                checkout.run(f"({code}, {duration}, {has_truth}, {options.scheme})")
            case = f"({code}, {duration}, False, {options.scheme})"
            pairs = [[checkout.run(case) for checkout in checkouts] for _ in range(options.rounds)]
            ratio = statistics.median(own[0] / other[0] for other, own in pairs)
            cells = [f"{name} | {duration:g}"]
            for column in zip(*pairs, strict=True):
                time = statistics.median(time for time, _ in column)
                cells.append(f"{time:.0f} | {column[0][1]:.1e}")
            print("| " + " | ".join([*cells, f"{ratio:.2f}"]) + " |", flush=True)
    for checkout in checkouts:
        checkout.close()


def compare_calls(options: argparse.Namespace) -> None:
    """Print a row for every kind of call on a small image."""
    checkouts = [Checkout(folder, CALL_WORKER) for folder in (options.other, OWN)]
    print("| call | other [µs] | own [µs] | own / other |\n|---|---|---|---|")
    for name, (positional, keywords) in CALLS.items():
        if options.only not in name:
            continue
        case = f"(({positional}), dict({keywords}))"
        for checkout in checkouts:  # compile the kernels
            checkout.run(case)
        pairs = [
            [checkout.run(case)[0] for checkout in checkouts] for _ in range(5 * options.rounds)
        ]
        other, own = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
        print(f"| {name} | {other:.0f} | {own:.0f} | {ratio:.2f} |", flush=True)
    for checkout in checkouts:
        checkout.close()


def main() -> None:
    """Print a row for every model, shape and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of the name of the models")
    parser.add_argument("--schedules", action="store_true", help="compare whole runs")
    parser.add_argument("--calls", action="store_true", help="compare calls on small images")
    parser.add_argument("--times", type=float, nargs="+", default=TIMES, help="of whole runs")
    parser.add_argument("--no-errors", action="store_true", help="print no errors of whole runs")
    parser.add_argument("--shape", type=int, nargs="+", help="of the image")
    parser.add_argument("--scheme", default="'auto'", help="of whole runs, as Python code")
    options = parser.parse_args()
    if options.calls:
        compare_calls(options)
        return
    own_shape = tuple(options.shape or ())
    if options.schedules:
        compare_schedules(options, own_shape or SCHEDULED_SHAPE, not options.no_errors)
        return
    checkouts = [Checkout(folder) for folder in (options.other, OWN)]
    models = {name: code for name, code in MODELS.items() if options.only in name}
    for code in models.values():  # compile the kernels
        for checkout in checkouts:
            checkout.time((16, 32, 32), 1, code)
    print("| model | voxels | threads | other | own | own / other |\n|---|---|---|---|---|---|")
    for shape in [own_shape] if own_shape else SHAPES:
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
