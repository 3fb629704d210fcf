"""What a user waits for, small images, and memory."""

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
from timing import ball, in_turn, median, ratio, seconds, table

import napari_diffusion as nd

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.peak_memory import peaks


def waiting(n: int, rounds: int) -> dict:
    """Import, first filter of a new installation (compilation), first filter of a later process (cached), and cancel."""
    first = "import numpy as np, napari_diffusion as nd; nd.diffuse(np.zeros((32, 32, 32), np.float32), nd.PeronaMalik(), time=1.0)"
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "XDG_CACHE_HOME": home, "HOME": home, "LOCALAPPDATA": home}

        def run(code: str) -> float:
            return seconds(
                lambda: subprocess.run([sys.executable, "-c", code], env=environment, check=True)
            )

        bare = median([run("pass") for _ in range(3)])
        rows = [
            [
                "import napari_diffusion",
                f"{median([run('import napari_diffusion') for _ in range(3)]) - bare:.2f}",
            ],
            [
                "first filter of a new installation, libraries loaded and compiled",
                f"{run(first) - bare:.2f}",
            ],
            [
                "first filter of a later process, libraries loaded, kernels cached",
                f"{median([run(first) for _ in range(3)]) - bare:.2f}",
            ],
            [
                "of which NumPy and numba take",
                f"{median([run('import numpy, numba') for _ in range(3)]) - bare:.2f}",
            ],
        ]
    u, late = ball(n), []
    nd.diffuse(u[:8], nd.PeronaMalik(kappa=20.0, sigma=1.0), time=40.0)  # compiled
    for wait in (0.05, 0.2, 0.35) * rounds:
        event, pressed = threading.Event(), [0.0]

        def press(event: threading.Event = event, pressed: list[float] = pressed) -> None:
            pressed[0] = time.perf_counter()
            event.set()

        threading.Timer(wait, press).start()
        try:
            nd.diffuse(u, nd.PeronaMalik(kappa=20.0, sigma=1.0), time=40.0, cancel=event)
        except nd.Cancelled:
            late.append(time.perf_counter() - pressed[0])
    rows.append(
        [f"from cancel to the return of a regularised run at {n}³, median", f"{median(late):.2f}"]
    )
    rows.append(["the same, largest", f"{max(late):.2f}"])
    large = ball(2 * n)
    nd.suggest(large[:40, :60, :60])  # compiled
    for named, model in (("Perona-Malik", nd.PeronaMalik()), ("no model", "auto")):
        times = [seconds(partial(nd.suggest, large, model)) for _ in range(rounds)]
        rows.append([f"nd.suggest for a volume of {2 * n}³, {named} named", f"{median(times):.1f}"])
    return {"text": "## Waiting\n\n" + table(["what", "seconds"], rows)}


def small(n: int, rounds: int) -> dict:
    """Many small images: what one call takes, beside the same Gaussian of the peers."""
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
        times = in_turn(contenders, 50 * rounds)
        mine = next(iter(contenders))
        rows += [
            [
                "×".join(map(str, shape)),
                name,
                f"{median(t) * 1e6:.0f}",
                f"{ratio(times, name, mine):.2f}",
            ]
            for name, t in times.items()
        ]
    head = ["image", "filter", "µs per call", "time / ours, Linear"]
    return {"text": "## Small images, float32\n\n" + table(head, rows)}


def memory(n: int, rounds: int) -> dict:
    """Peak memory of one run of every model and scheme, input and output included, as a multiple of the image."""
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
    found = peaks(
        {name: ((n, n, n), "f4", model, options) for name, (model, options) in runs.items()}
    )
    rows = [
        [name, f"{peak / image:.1f}", f"{planned / image:.1f}"]
        for name, (peak, planned, image) in found.items()
    ]
    return {
        "text": f"## Memory, {n}³ float32, two threads\n\n"
        + table(["run", "peak / image", "predicted by `nd.plan`"], rows)
    }
