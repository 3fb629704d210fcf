"""Figures behind the recognition of patterns in noise, and behind the share of noise.

``python tests/benchmarks/noise_decisions.py`` prints them all in some minutes, ``--only WORD`` one
of ``compression``, ``rings``, ``waves``, ``share``, ``wide`` and ``columns``.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import napari_diffusion as nd
from helpers import noise_scenes as scenes
from helpers.noise_cases import CASES as ALL_CASES
from helpers.noisy import blocks, evidence, patch_of, smooth_scene, white
from napari_diffusion.estimation import risk
from napari_diffusion.estimation.measurement import artefacts, rings, waves
from napari_diffusion.estimation.measurement.noise import measure_noise
from napari_diffusion.estimation.noise.correlations import (
    band_variance,
    far_growth,
    measure_correlations,
)
from napari_diffusion.estimation.noise.evidence import robust_deviation
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.probes import make_probe

CASES = {case.name: case for case in ALL_CASES}
Plane = NDArray[np.float64]
SHAPE = (224, 224)
PERIODS, QUALITIES = (4, 5, 6, 7, 8, 10, 12, 16), (30, 50, 75, 90)
#: Shapes with about 49, 9 and 4 blocks of rings.
RING_SHAPES = ((224, 224), (96, 96), (64, 64))
SEEDS = range(4)


def grids(period: int) -> Iterator[Plane]:
    """Yield man-made pictures whose edges are at the multiples of a period."""
    place = np.indices(SHAPE) // period
    cells = np.random.default_rng(period).uniform(20, 200, [-(-n // period) for n in SHAPE])
    scaled_up = cells[tuple(place)]
    yield 40 + 60.0 * (place.sum(axis=0) % 3)
    yield 40 + 60.0 * (place.sum(axis=0) % 2)
    yield scaled_up
    yield ndi.gaussian_filter(scaled_up, 0.7)
    photograph = scenes.photograph("camera")()
    yield photograph * (0.95 + scaled_up / 2000)
    yield np.where((np.indices(SHAPE) % period == 0).any(axis=0), 0.8, 1.0) * photograph


def jpeg(image: Plane, quality: int) -> Plane:
    """Return an image after compression."""
    file = io.BytesIO()
    Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8)).save(
        file, "jpeg", quality=quality
    )
    return np.asarray(Image.open(file)).astype(float)


def print_compression() -> None:
    """Print the fall of weak coefficients, for grids and for compressed pictures."""
    for level in (1, 3):
        falls = {
            period: max(fall(image + level * white(SHAPE, 3)) for image in grids(period))
            for period in PERIODS
        }
        rows = ", ".join(f"{period}: {value:.3f}" for period, value in falls.items())
        print(f"largest fall of grids by their period, noise {level}: {rows}")
    pictures = [scenes.photograph(name)() for name in ("camera", "gravel", "brick")]
    for quality in QUALITIES:
        values = [fall(jpeg(p + 3 * white(p.shape, 2), quality)) for p in pictures]
        print(f"falls with JPEG {quality}, noise 3: {listed(values)}")


def fall(image: Plane) -> float:
    """Fall of the median coefficients at the position of the blocks, see `artefacts`."""
    levels = artefacts.coefficient_levels([patch_of(image[None])], 0)
    return math.nan if levels is None else artefacts.lowest_fall(levels)[0]


def ringed(shape: tuple[int, int], seed: int, share: float) -> Plane:
    """Return a smooth picture with noise of 10, of which a share of the variance is rings."""
    random = np.random.default_rng(seed)
    y, x = np.indices(shape)
    radius = np.hypot(y - shape[0] / 2 + 3, x - shape[1] / 2 - 2)
    errors = random.normal(size=max(shape) + 2)[np.rint(radius).astype(int)]
    noise = math.sqrt(1 - share) * random.normal(size=shape) + math.sqrt(share) * errors
    return smooth_scene(shape) + 10 * noise


def print_rings() -> None:
    """Print the correlation of halves of arcs at the best centre, without rings and with them."""
    for shape in RING_SHAPES:
        for share in (0.0, 1 / 3):
            results = [ring_correlation(ringed(shape, seed, share)) for seed in SEEDS]
            count = results[0][1]
            values = listed([correlation for correlation, _ in results])
            print(f"correlation in {count} blocks, share of rings {share:.2f}: {values}")


def ring_correlation(image: Plane) -> tuple[float, int]:
    """Correlation of halves of arcs at the best centre, and the number of blocks."""
    cut = rings.blocks_of([patch_of(image[None])], 0, (0, 1), (1.0, 1.0))
    assert cut is not None
    centre, _ = rings.search_centre(cut, image.shape)
    return cut.strength(centre).correlation, cut.count


def disturbed(seed: int) -> Iterator[tuple[str, Plane]]:
    """Yield images with and without a wave."""
    y, x = np.indices(SHAPE)
    hum = math.sqrt(2) * np.sin(2 * np.pi * (0.15 * y + 0.05 * x))
    lines = np.broadcast_to(white((SHAPE[0], 1), 9), SHAPE)
    noise = 10 * math.sqrt(0.75) * white(SHAPE, seed)
    yield "wave of a quarter of the variance", smooth_scene(SHAPE) + noise + 5 * hum
    yield "stripes of a quarter of the variance", smooth_scene(SHAPE) + noise + 5 * lines
    yield "rings of a quarter of the variance", ringed(SHAPE, seed, 0.25)
    for name in ("camera", "brick", "gravel", "grass"):
        yield name, scenes.photograph(name)() + noise


def print_waves() -> None:
    """Print the energy of the strongest frequency in blocks, relative to those around it."""
    ratios: dict[str, list[float]] = {}
    for seed in SEEDS:
        for name, image in disturbed(seed):
            energies = waves.energies_of([patch_of(image[None])], 0, (0, 1))
            assert energies is not None
            ratios.setdefault(name, []).append(energies.own / energies.around)
    for name, values in ratios.items():
        print(f"energy relative to the frequencies around, {name}: {listed(values)}")


def print_share() -> None:
    """Print how far estimated shares of noise are from the true ones, by the two constants."""
    measured = [pair for model in models() for pair in shares(model)]
    for title, each in (("strong probe", risk.strong_noise_share), ("both", risk.noise_share)):
        print(f"share by the {title}: {errors([each(s) - truth for s, truth in measured])}")
    usual = risk.WEAK_WEIGHT, risk.MAX_WEAK_SHARE
    try:
        for weight in (0, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1):
            for largest in (1.1, 1.3, 1.6):
                risk.WEAK_WEIGHT, risk.MAX_WEAK_SHARE = weight, largest
                off = [risk.noise_share(sums) - truth for sums, truth in measured]
                print(f"weight {weight:.2f}, up to {largest}: {errors(off)}")
    finally:
        risk.WEAK_WEIGHT, risk.MAX_WEAK_SHARE = usual


def print_wide() -> None:
    """Print what tells noise over 1.2 voxels from pictures behind a Gaussian of that width."""
    rng = np.random.default_rng(0)
    case = CASES["folds, blurred 1.2"]
    images = {f"noise, seed {seed}": case.noisy(seed).astype(float) for seed in range(300, 306)}
    for name in ("tissue", "membranes", "filaments", "wide folds"):
        clean = ndi.gaussian_filter(CASES[name].clean(), 1.2)
        images[name] = clean + 2e-3 * np.ptp(clean) * rng.normal(size=clean.shape)
    for width in (1.4, 1.8, 2.5):
        images[f"folds of {width:g}"] = ndi.gaussian_filter(
            scenes.folds((28, 56, 56), 9, width, 0.7)(), 1.2
        )
    print("picture or noise: energy in the coarser band, growth at 4 voxels, and beyond")
    for name, image in images.items():
        data = evidence(image)
        flat = data.flattest()
        measured = measure_correlations(data)
        gamma = [
            float(np.mean([robust_deviation(along[k][flat]) ** 2 for along in data.differences]))
            for k in (2, 3)
        ]
        energy = float(np.median(data.activity[flat]))
        if measured.along:
            energy /= measured.sigma**2 * band_variance(measured.along)
        growth = far_growth(data, flat)
        print(
            f"{name}: {energy:.2f}, {1 - gamma[0] / gamma[1]:.2f}, {growth:.2f}: {measured.origin}"
        )


def print_columns() -> None:
    """Print level and share of column offsets beside the truth, for twelve noises of a camera."""
    case = CASES["sCMOS, offsets of columns"]
    levels, differences, kinds = [], [], []
    for seed in range(100, 112):
        image, clean = case.noisy(seed), case.clean()
        patches = [patch_of(image[None].astype("f4"))]
        ((noise,),) = measure_noise(patches, None, "auto").values()
        truth = (image - clean).mean(axis=(0, 1)).var() / np.var(image - clean)
        levels.append(noise.sigma / float(np.std(image - clean)))
        differences.append((noise.pattern.share if noise.pattern else 0.0) - float(truth))
        kinds.append(noise.kind)
    print(f"camera with column offsets: level over the true one {listed(levels)}")
    print(f"share of the columns less the true one: {listed(differences)}; kinds {set(kinds)}")


def models() -> Iterator[nd.Model]:
    """Yield models in units of a noise of 10, below and near the usual thresholds."""
    for kappa in (1.5, 3.3, 7.0):
        yield nd.PeronaMalik(kappa=kappa, sigma=0.5)
    yield nd.TotalVariation()
    yield nd.EdgeEnhancing(kappa=3.3)
    yield nd.Linear()


def shares(model: nd.Model) -> Iterator[tuple[risk.Sums, float]]:
    """Yield sums and the true share of noise, near the best time of a model for some pictures."""
    pictures = [scenes.photograph(name)() for name in ("camera", "gravel", "grass", "brick")]
    for clean in (*pictures, blocks(SHAPE), smooth_scene(SHAPE)):
        clean = clean[:128, :128]
        noisy = [(clean + 10 * white(clean.shape, seed)).astype("f4") for seed in (1, 2)]
        times = [0.25, 1.0, 4.0, 16.0]
        results = [nd.diffuse(noisy[0], model, time=time) for time in times]
        time = times[int(np.argmin([np.mean((result - clean) ** 2) for result in results]))]
        first, second = (image - nd.diffuse(image, model, time=time) for image in noisy)
        truth = min(1.0, float(np.mean((first - second) ** 2) / 2 / np.mean(first**2)))
        patch = patch_of(noisy[0][None])
        probe = make_probe(patch, [Noise("gaussian", 10.0, 0.1)], "sure", 0)
        probe = replace(probe, structure=np.ones(patch.field.shape, bool))
        images = [nd.diffuse(each[0], model, time=time)[None] for each in probe.images]
        yield probe.sums(*images), truth


def errors(values: list[float]) -> str:
    """Mean, root mean square and largest magnitude of errors, and those within 0.15."""
    off = np.array(values)
    within = int((abs(off) <= 0.15).sum())
    return (
        f"mean {off.mean():+.3f}, rms {np.sqrt(np.mean(off**2)):.3f}, "
        f"largest {abs(off).max():.2f}, within 0.15 {within} of {len(off)}"
    )


def listed(values: list[float]) -> str:
    """Values in one line."""
    return ", ".join(f"{value:.2f}" for value in values)


PARTS = {
    "compression": print_compression,
    "rings": print_rings,
    "waves": print_waves,
    "share": print_share,
    "wide": print_wide,
    "columns": print_columns,
}


def main() -> None:
    """Print all figures, or one part of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(PARTS))
    chosen = parser.parse_args().only
    for name, part in PARTS.items():
        if chosen in (None, name):
            part()


if __name__ == "__main__":
    main()
