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
from timing import alternate, ball, median, processor_seconds, ratio, seconds, table

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


#: Calls on an image of 8² pixels that are measured together.
CALLS = 200
#: Models of the time-lapse.
LAPSE_MODELS = ("Linear", "PeronaMalik", "PeronaMalik, sigma = 1", "MeanCurvature")
#: Models of a call on few pixels, with a diffusion time of a few stages.
SMALL_MODELS = {
    "Linear": (nd.Linear(), 0.5),
    "PeronaMalik": (nd.PeronaMalik(kappa=20.0), 0.2),
    "PeronaMalik, sigma = 1": (nd.PeronaMalik(kappa=20.0, sigma=1.0), 0.2),
    "TotalVariation": (nd.TotalVariation(kappa=20.0, epsilon=0.1), 0.02),
    "MeanCurvature": (nd.MeanCurvature(), 0.1),
    "EdgeEnhancing": (nd.EdgeEnhancing(kappa=20.0), 0.2),
}


def calls(n: int, rounds: int) -> dict:
    """Table of the processor time of a call on 8² pixels, beside the Gaussian of peers."""
    import cv2
    import diplib as dip
    from scipy.ndimage import gaussian_filter

    u = np.random.default_rng(4).normal(100, 10, (8, 8)).astype(np.float32)
    single = {
        f"ours, {name}": partial(nd.diffuse, u, model, time=time)
        for name, (model, time) in SMALL_MODELS.items()
    }
    single["SciPy gaussian_filter, sigma = 1"] = partial(gaussian_filter, u, 1)
    single["DIPlib Gauss, sigma = 1"] = partial(dip.Gauss, dip.Image(u), 1)
    single["OpenCV GaussianBlur, sigma = 1"] = partial(cv2.GaussianBlur, u, (0, 0), 1)

    def many(call: partial) -> None:
        for _ in range(CALLS):
            call()

    contenders = {name: partial(many, call) for name, call in single.items()}
    times = alternate(contenders, 5 * rounds, seconds=processor_seconds)
    stages = {
        f"ours, {name}": nd.plan(u, model, time=time).steps
        for name, (model, time) in SMALL_MODELS.items()
    }
    peer = "SciPy gaussian_filter, sigma = 1"
    rows = [
        [
            name,
            f"{stages.get(name, '')}",
            f"{min(t) / CALLS * 1e6:.0f}",
            f"{ratio(times, name, peer):.1f}",
        ]
        for name, t in times.items()
    ]
    head = ["filter", "stages", "µs per call", "time / SciPy"]
    title = "## A call on 8×8 pixels, float32, processor time\n\n"
    return {"text": title + table(head, rows)}


def time_lapse(n: int, rounds: int) -> dict:
    """Table of the processor time per frame of many small frames in one call.

    The arithmetic is a run on one volume with the same voxels, rows and number of stages.
    """
    rows = []
    for count, side in ((10_000, 32), (1000, 64)):
        frames = np.random.default_rng(5).normal(100, 20, (count, side, side)).astype(np.float32)
        volume = np.ascontiguousarray(frames.transpose(1, 0, 2))
        for name in LAPSE_MODELS:
            model = SMALL_MODELS[name][0]
            options = {"axes": (1, 2), "time": 1.0, "threads": 1, "scheme": "explicit"}
            as_volume = {"time": 1.0, "threads": 1}
            if name == "Linear":
                options["scheme"] = "auto"
            else:
                stages = nd.plan(frames, model, **options).steps
                step = 0.8 * nd.plan(volume, model, time=1e-6).max_step
                as_volume |= {"time": step * stages, "scheme": nd.schemes.Explicit(step=step)}
            contenders = {
                "ours, frames": partial(nd.diffuse, frames, model, **options),
                "ours, volume": partial(nd.diffuse, volume, model, **as_volume),
            }
            times = alternate(contenders, rounds, seconds=processor_seconds)
            rows.append(
                [
                    f"{count:,} × {side}²",
                    name,
                    f"{nd.plan(frames, model, **options).steps}",
                    f"{min(times['ours, frames']) / count * 1e6:.1f}",
                    f"{ratio(times, 'ours, frames', 'ours, volume'):.2f}",
                ]
            )
    head = ["frames", "filter", "stages", "µs per frame", "time / volume of the same voxels"]
    return {"text": "## Time-lapse in one call, float32, one thread\n\n" + table(head, rows)}


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
        "TotalVariation": ("nd.TotalVariation()", {"time": 0.05}),
        "TotalVariation, explicit": (
            "nd.TotalVariation(epsilon=1)",
            {"time": 0.3, "scheme": "explicit"},
        ),
        "FourthOrder": ("nd.FourthOrder()", {"time": 0.03}),
        "MeanCurvature": ("nd.MeanCurvature()", {"time": 0.2}),
        "ModifiedCurvature": ("nd.ModifiedCurvature()", {"time": 0.2}),
        "MinMaxCurvature": ("nd.MinMaxCurvature()", {"time": 0.2}),
        "SpeckleReducing, explicit": ("nd.SpeckleReducing()", {"time": 0.3, "scheme": "explicit"}),
        "Rician, explicit": ("nd.Rician()", {"time": 0.3, "scheme": "explicit"}),
        "EdgeEnhancing": ("nd.EdgeEnhancing()", {"time": 0.6}),
        "CoherenceEnhancing": ("nd.CoherenceEnhancing()", {"time": 0.6}),
        "Hybrid": ("nd.Hybrid()", {"time": 0.6}),
        "VesselEnhancing": ("nd.VesselEnhancing()", {"time": 0.03}),
        "MembraneEnhancing": ("nd.MembraneEnhancing()", {"time": 0.4}),
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
