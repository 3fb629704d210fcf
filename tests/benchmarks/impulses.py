"""Hot and dead voxels: ``python tests/benchmarks/impulses.py`` prints what the search finds.

It prints the share of impulses that are found in noisy anatomy, the false alarms in noise alone,
the share of line ends and spots that are taken for impulses, the gain of a run, and the computing
time of the search.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

import napari_diffusion as nd
from napari_diffusion.operators.impulses.search import find_impulses

Image = NDArray[np.float64]
VOLUME, PLANE = (0, 1, 2), (0, 2)


def anatomy() -> Image:
    """Return three levels, 60, 150 and 240, in blobs of about 15 voxels."""
    field = ndi.gaussian_filter(np.random.default_rng(3).normal(size=(28, 88, 88)), 6.0)
    levels = np.digitize(field / field.std(), [-0.4, 0.5]).astype(float)
    return 60 + 90 * ndi.gaussian_filter(levels, 0.8)


def damaged(clean: Image, share: float, seed: int) -> tuple[Image, NDArray[np.bool_]]:
    """Return an image with noise of 10, half as many voxels of 0 as ``share``, half of 400."""
    random = np.random.default_rng(seed)
    noisy = clean + 10 * random.normal(size=clean.shape)
    draw = random.random(clean.shape)
    noisy[draw < share / 2], noisy[draw > 1 - share / 2] = 0, 400
    return noisy, (draw < share / 2) | (draw > 1 - share / 2)


def impulses(image: Image, axes: tuple[int, ...] = VOLUME) -> NDArray[np.bool_]:
    """Return the impulses of an image of three axes."""
    return find_impulses(image[None].astype(np.float32), None, axes)[0]


def noise_kinds(shape: tuple[int, ...]) -> Iterator[tuple[str, Image]]:
    """Yield noise without impulses."""
    random = np.random.default_rng(5)
    yield "Gaussian", random.normal(size=shape)
    yield "Rayleigh", np.hypot(random.normal(size=shape), random.normal(size=shape))
    for looks in (1, 2, 4, 10):
        yield f"speckle, {looks} looks", random.gamma(looks, size=shape)
        yield f"log of speckle, {looks} looks", np.log(random.gamma(looks, size=shape))
    for mean in (0.05, 0.3, 0.5, 0.7, 1, 3, 10):
        yield f"Poisson {mean}", random.poisson(mean, size=shape).astype(float)
    yield "rounded, 0.5 levels", np.round(0.5 * random.normal(size=shape))
    yield "shared, sigma 0.8", ndi.gaussian_filter(random.normal(size=shape), 0.8)
    yield "Laplace", random.laplace(size=shape)


def print_rates() -> None:
    """Print the share of impulses that are found, and of other voxels."""
    clean = anatomy()
    for share in (0.001, 0.01, 0.05):
        hits, false = [], []
        for seed in range(6):
            image, true = damaged(clean, share, seed)
            marks = impulses(image)
            hits.append(marks[true])
            false.append(marks[~true])
        print(
            f"impulses of {share:.1%}: {np.concatenate(hits).mean():.1%} found, "
            f"{np.concatenate(false).mean():.1e} of the others"
        )


def print_false_alarms() -> None:
    """Print the share of voxels that are taken for impulses in noise alone."""
    for name, volume in noise_kinds((100, 100, 100)):
        plane = volume.reshape(1000, 1, 1000)
        print(f"{name}: {impulses(volume).mean():.1e}, plane {impulses(plane, PLANE).mean():.1e}")


def print_structures() -> None:
    """Print how many line ends and blurred spots, at multiples of the noise, are lost."""
    places = [(7 * i + 6, 7 * j + 6, 7 * k + 6) for i, j, k in np.ndindex(8, 8, 8)]
    points, lines = np.zeros((2, 64, 64, 64))
    for z, y, x in places:
        points[z, y, x], lines[z, y, x - 2 : x + 3] = 1, 1
    spots = ndi.gaussian_filter(points, 0.8)
    for name, structure in (("lines of 5 voxels", lines), ("spots of sigma 0.8", spots)):
        structure = structure / structure.max()
        for height in (8, 12, 20, 50):
            noise = np.random.default_rng(1).normal(size=structure.shape)
            hit = impulses(height * structure + noise) & (structure > 0.5)
            count = ndi.label(structure > 0.5)[1]
            print(f"{name}, {height} times the noise: {hit.sum()} of {count} touched")


def print_gain() -> None:
    """Print the gain of linear diffusion against the truth [dB], with and without the option."""
    clean = anatomy()
    image, _ = damaged(clean, 0.01, 101)
    undamaged, _ = damaged(clean, 0.0, 101)
    before = np.mean((image - clean) ** 2)
    for name, values, option in (
        ("keep", image, "keep"),
        ("mask", image, "mask"),
        ("without impulses", undamaged, "keep"),
    ):
        best = max(
            10 * np.log10(before / np.mean((result - clean) ** 2))
            for t in np.geomspace(0.05, 2, 12)
            for result in [nd.diffuse(values, nd.Linear(), time=t, impulses=option)]
        )
        print(f"linear diffusion at its best time, {name}: {best:.2f} dB")


def print_cost() -> None:
    """Print the computing time of a run of time 0, which only replaces impulses."""
    random = np.random.default_rng(0)
    image = random.normal(100, 10, (256, 256, 256)).astype(np.float32)
    image[random.random(image.shape) < 0.01] = 400
    for threads in (1, 2):
        began, worked = time.perf_counter(), time.process_time()
        nd.diffuse(image, nd.Linear(), time=0.0, impulses="mask", threads=threads)
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
        print(f"256³, {threads} threads: {seconds:.1f} s, {processor:.1f} s of processor time")


if __name__ == "__main__":
    print_rates()
    print_false_alarms()
    print_structures()
    print_gain()
    print_cost()
