"""Waiting times of a user, small images, and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
from timing import alternate, ball, median, ratio, seconds, table

import napari_diffusion as nd

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.peak_memory import peaks

#: Program that runs a first filter.
FIRST_FILTER = (
    "import numpy as np, napari_diffusion as nd; "
    "nd.diffuse(np.zeros((32, 32, 32), np.float32), nd.PeronaMalik(), time=1.0)"
)


def waiting(n: int, rounds: int) -> dict:
    """Table of start-up, cancellation and suggestion."""
    rows = [*start_up(), *cancellation(n, rounds)]
    large = ball(2 * n)
    nd.suggest(large[:40, :60, :60])  # compiles the kernels
    for label, model in (("Perona-Malik", nd.PeronaMalik()), ("no model", "auto")):
        times = [seconds(partial(nd.suggest, large, model)) for _ in range(rounds)]
        rows.append([f"nd.suggest for a volume of {2 * n}³, {label} named", f"{median(times):.1f}"])
    return {"text": "## Waiting\n\n" + table(["what", "seconds"], rows)}


def start_up() -> list[list[str]]:
    """Rows for the import, and for the first filter: compiled, and from the cache."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "XDG_CACHE_HOME": home, "HOME": home, "LOCALAPPDATA": home}

        def run(code: str) -> float:
            return seconds(
                lambda: subprocess.run([sys.executable, "-c", code], env=environment, check=True)
            )

        def median_of_three(code: str) -> float:
            return median([run(code) for _ in range(3)])

        bare = median_of_three("pass")
        times = {
            "import napari_diffusion": median_of_three("import napari_diffusion"),
            "first filter of a new installation, libraries loaded and compiled": run(FIRST_FILTER),
            "first filter of a later process, libraries loaded, kernels cached": median_of_three(
                FIRST_FILTER
            ),
            "of which NumPy and numba take": median_of_three("import numpy, numba"),
        }
    return [[name, f"{spent - bare:.2f}"] for name, spent in times.items()]


def cancellation(n: int, rounds: int) -> list[list[str]]:
    """Rows for the time from a request to cancel to the return of a run."""
    u, delays = ball(n), []
    nd.diffuse(u[:8], nd.PeronaMalik(kappa=20.0, sigma=1.0), time=40.0)  # compiles the kernels
    for wait in (0.05, 0.2, 0.35) * rounds:
        event, pressed = threading.Event(), [0.0]

        def press(event: threading.Event = event, pressed: list[float] = pressed) -> None:
            pressed[0] = time.perf_counter()
            event.set()

        threading.Timer(wait, press).start()
        try:
            nd.diffuse(u, nd.PeronaMalik(kappa=20.0, sigma=1.0), time=40.0, cancel=event)
        except nd.Cancelled:
            delays.append(time.perf_counter() - pressed[0])
    name = f"from cancel to the return of a regularised run at {n}³, median"
    return [[name, f"{median(delays):.2f}"], ["the same, largest", f"{max(delays):.2f}"]]


def small(n: int, rounds: int) -> dict:
    """Table of the time of one call on a small image, beside the same Gaussian of peers."""
    import cv2
    import diplib as dip
    from scipy.ndimage import gaussian_filter
    from skimage.filters import gaussian

    rows = []
    for shape in [(8, 8), (128, 128), (512, 512), (32, 32, 32), (64, 64, 64)]:
        u = np.random.default_rng(4).normal(100, 10, shape).astype(np.float32)
        contenders = {
            "ours, Linear, sigma = 1": partial(nd.diffuse, u, nd.Linear(), time=0.5),
            "ours, PeronaMalik, one step": partial(
                nd.diffuse, u, nd.PeronaMalik(kappa=20.0), time=0.1
            ),
            "SciPy gaussian_filter, sigma = 1": partial(gaussian_filter, u, 1),
            "scikit-image gaussian, sigma = 1": partial(gaussian, u, 1),
            "DIPlib Gauss, sigma = 1": partial(dip.Gauss, dip.Image(u), 1),
        }
        if len(shape) == 2:
            contenders["OpenCV GaussianBlur, sigma = 1"] = partial(cv2.GaussianBlur, u, (0, 0), 1)
        times = alternate(contenders, 50 * rounds)
        mine, size = next(iter(contenders)), "×".join(map(str, shape))
        rows += [
            [size, name, f"{median(t) * 1e6:.0f}", f"{ratio(times, name, mine):.2f}"]
            for name, t in times.items()
        ]
    head = ["image", "filter", "µs per call", "time / ours, Linear"]
    return {"text": "## Small images, float32\n\n" + table(head, rows)}


def memory(n: int, rounds: int) -> dict:
    """Table of the peak memory of every model and scheme, as a multiple of the image.

    Input and output are included.
    """
    long = {"time": 10.0, "scheme": "rkl2"}
    runs = {
        "Linear, sigma = 2 voxels": ("nd.Linear()", {"time": 2.0}),
        "Linear, mask": ("nd.Linear()", {"time": 0.5, "mask": True}),
        "PeronaMalik, explicit": ("nd.PeronaMalik()", {"time": 1.2}),
        "PeronaMalik, sigma = 1 voxel, explicit": (
            "nd.PeronaMalik(sigma=1)",
            {"time": 0.6, "scheme": "explicit"},
        ),
        "PeronaMalik, sigma = 1 voxel, RKL2": ("nd.PeronaMalik(sigma=1)", long),
        "TotalVariation, explicit": (
            "nd.TotalVariation(epsilon=1)",
            {"time": 0.3, "scheme": "explicit"},
        ),
        "MeanCurvature": ("nd.MeanCurvature()", {"time": 0.2}),
        "ModifiedCurvature": ("nd.ModifiedCurvature()", {"time": 0.2}),
        "SpeckleReducing, explicit": ("nd.SpeckleReducing()", {"time": 0.3, "scheme": "explicit"}),
        "Rician, explicit": ("nd.Rician()", {"time": 0.3, "scheme": "explicit"}),
        "EdgeEnhancing": ("nd.EdgeEnhancing()", {"time": 0.6}),
        "CoherenceEnhancing": ("nd.CoherenceEnhancing()", {"time": 0.6}),
        "Hybrid": ("nd.Hybrid()", {"time": 0.6}),
        "VesselEnhancing": ("nd.VesselEnhancing()", {"time": 0.03}),
    }
    memories = peaks(
        {name: ((n, n, n), "f4", model, options) for name, (model, options) in runs.items()}
    )
    rows = [
        [name, f"{peak / image:.1f}", f"{planned / image:.1f}"]
        for name, (peak, planned, image) in memories.items()
    ]
    head = ["run", "peak / image", "predicted by `nd.plan`"]
    return {"text": f"## Memory, {n}³ float32, two threads\n\n" + table(head, rows)}
