"""Figures on time integration in decisions.md: ``python tests/benchmarks/integration.py``.

It prints how much rounding errors grow in an exponential with two orders of its factors, the least
error on the confocal sample with explicit steps and with the default of a small tolerance, and the
error of `Extrapolated` for each diffusivity, number of cycles and diffusion time. Further parts are
errors of total variation with live and stored diffusivities, and whether explicit steps of
curvature motion converge. ``--only NAME`` prints one part.
"""

from __future__ import annotations

import argparse
import itertools
import math

import numpy as np

import napari_diffusion as nd
from napari_diffusion.io import samples
from napari_diffusion.operators.diffusivity import CODES
from napari_diffusion.schemes import RKL2, Extrapolated
from napari_diffusion.schemes.midpoint import exponential_stages

MODES = -np.linspace(0, 2, 1001)


def product(stages: list[nd.schemes.Stage]) -> np.ndarray:
    """Return the factor by which some stages multiply a mode."""
    u = previous = np.ones_like(MODES)
    for stage in stages:
        u, previous = u + stage.momentum * (u - previous) + stage.step * MODES * u, u
    return u


def growth() -> None:
    """Print the largest product of the factors that follow one, sorted by roots and as they are."""
    print("| stable steps | sorted by the real parts | order of the scheme |\n|---|---|---|")
    for steps in (10, 30, 60, 100):
        stages = exponential_stages(steps, 1.0, 1e-3)
        begins = [i for i, stage in enumerate(stages) if not stage.momentum] + [len(stages)]
        factors = [stages[a:b] for a, b in itertools.pairwise(begins)]
        # The factors that damp the finest modes most have the smallest steps.
        by_root = sorted(factors, key=lambda factor: factor[0].step)
        largest = []
        for order in (by_root, factors):
            later = (list(itertools.chain(*order[i:])) for i in range(1, len(order)))
            largest.append(max(np.abs(product(stages)).max() for stages in later))
        print(f"| {steps} | {largest[0]:.1e} | {largest[1]:.1e} |")


def confocal() -> None:
    """Print the least error over thresholds and times, for explicit and for small steps."""
    noisy, clean, spacing, _ = samples.confocal()
    thresholds = (378, 416, 457, 503, 553, 567, 609, 670, 737)
    for name, options in {"explicit": {"scheme": "explicit"}, "exact": {"tolerance": 1e-4}}.items():
        errors = []
        for kappa, power in itertools.product(thresholds, range(-2, 6)):
            model = nd.PeronaMalik(kappa=float(kappa), sigma=0.14)
            result = nd.diffuse(noisy, model, time=0.0345 * 1.1**power, spacing=spacing, **options)
            errors.append(math.sqrt(np.mean((result - clean) ** 2)))
        print(f"confocal sample, {name}: {min(errors):.2f} (best of {len(errors)})", flush=True)


def cycles() -> None:
    """Print the errors of numbers of cycles, as shares of the range, on edges with noise in 3-D."""
    shape, counts = (32, 32, 32), (2, 4, 8, 12, 16, 24)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = 0.6 * (z**2 + y**2 + x**2 < 0.4) + 0.3 * (np.sin(8 * z) > 0)
    image += np.random.default_rng(5).normal(0, 0.03, shape)
    print("| diffusivity | T | " + " | ".join(map(str, counts)) + " |")
    print("|---|---|" + "---|" * len(counts))
    for name, time in itertools.product(tuple(CODES)[1:], (2.5, 10.0, 50.0, 200.0)):
        model = nd.PeronaMalik(kappa=0.05, sigma=1.0, diffusivity=name)
        coarse, fine = (nd.diffuse(image, model, time=time, scheme=RKL2(n)) for n in (120, 240))
        truth, cells = fine + (fine - coarse) / 3, []
        for count in counts:
            error = nd.diffuse(image, model, time=time, scheme=Extrapolated(count)) - truth
            cells.append(f"{np.sqrt(np.mean(error**2)) / np.ptp(image):.1e}")
        print(f"| {name} | {time:g} | " + " | ".join(cells) + " |", flush=True)


def total_variation() -> None:
    """Print errors and stages of total variation with live and stored diffusivities, by cycles."""
    counts = (4, 6, 8, 12, 16, 24)
    print("| image | T | scheme | " + " | ".join(map(str, counts)) + " |")
    print("|---|---|---|" + "---|" * len(counts))
    for name, time in itertools.product(("2-D", "3-D"), (2.5, 10.0)):
        image = edges((40,) * int(name[0]))
        model = nd.TotalVariation(kappa=0.05)
        coarse, fine = (nd.diffuse(image, model, time=time, scheme=RKL2(n)) for n in (120, 240))
        truth = fine + (fine - coarse) / 3
        for kind in (RKL2, Extrapolated):
            cells = []
            for count in counts:
                options = {"time": time, "scheme": kind(count)}
                error = nd.diffuse(image, model, **options) - truth
                share = np.sqrt(np.mean(error**2)) / np.ptp(image)
                cells.append(f"{share:.1e} ({nd.plan(image, model, **options).steps})")
            print(f"| {name} | {time:g} | {kind.name} | " + " | ".join(cells) + " |", flush=True)


def curvature() -> None:
    """Print how far explicit runs are from those with half of the step, as shares of the range."""
    print("| model | T | steps of 1/1 and 1/2 | 1/2 and 1/4 | 1/4 and 1/8 |\n|---|---|---|---|---|")
    image = edges((64, 64))
    for model, time in itertools.product((nd.MeanCurvature(), nd.ModifiedCurvature()), (2.5, 10)):
        step = nd.plan(image, model, time=time).max_step
        runs = [
            nd.diffuse(image, model, time=time, scheme=nd.schemes.Explicit(step=step / n))
            for n in (1, 2, 4, 8)
        ]
        pairs = itertools.pairwise(runs)
        cells = [f"{np.sqrt(np.mean((a - b) ** 2)) / np.ptp(image):.1e}" for a, b in pairs]
        print(f"| {model.name} | {time:g} | " + " | ".join(cells) + " |", flush=True)


def edges(shape: tuple[int, ...]) -> np.ndarray:
    """Return a ball and stripes with noise."""
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = 0.6 * (sum(c**2 for c in x) < 0.4) + 0.3 * (np.sin(8 * x[-1]) > 0)
    return image + np.random.default_rng(5).normal(0, 0.1, shape)


PARTS = (growth, confocal, cycles, total_variation, curvature)
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS])
    only = parser.parse_args().only
    for part in PARTS:
        if only in (None, part.__name__):
            part()
