"""Contrast of thin structure after filtering: ``python tests/benchmarks/contrast.py``.

The script writes the tables of docs/thin_structure.md between the marks there. All images are
seeded simulations with a known profile, but for the retina of scikit-image. It takes some minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import skimage.data

sys.path.insert(0, str(Path(__file__).parents[1]))
import napari_diffusion as nd
from helpers.tubes import Phantom, around, box, gaussian, sheet, straight, tube

PAGE = Path(__file__).parents[2] / "docs" / "thin_structure.md"
CONTRAST = 100.0
#: Directions over which a mean is taken.
DIRECTIONS = ((0, 0, 1), (0, 1, 1), (1, 1, 1), (0, 1, 3), (1, 2, 4.3))
SIDE = 40


def models(noise: float) -> list[tuple[nd.Model, float]]:
    """Models at their defaults, with thresholds from the noise, and a time in voxel²."""
    level = max(noise, 1.0)
    return [
        (nd.VesselEnhancing(gamma=level), 1.0),
        (nd.VesselEnhancing(gamma=level, omega=10.0, epsilon=0.01, clear=1.0), 1.0),
        (nd.CoherenceEnhancing(), 2.0),
        (nd.CoherenceEnhancing(selectivity=0.0), 2.0),
        (nd.Hybrid(kappa=level, contrast=level), 1.0),
        (nd.EdgeEnhancing(kappa=level), 1.0),
        (nd.PeronaMalik(kappa=level, sigma=0.5), 1.0),
        (nd.Linear(), 1.0),
    ]


def label(model: nd.Model) -> str:
    """Name of a model; published variants are named."""
    published = getattr(model, "clear", 0.0) == 1 or getattr(model, "selectivity", 1.0) == 0
    return f"{model.title}, as published" if published else model.title


def noisy(phantom: Phantom, percent: float, seed: int = 1) -> np.ndarray:
    """Image of a phantom with noise in per cent of the contrast."""
    noise = np.random.default_rng(seed).normal(size=phantom.clean.shape)
    return (CONTRAST * (phantom.clean + percent / 100 * noise)).astype(np.float32)


def measured(
    phantom: Phantom, model: nd.Model, time: float, percent: float
) -> tuple[float, float, float, float]:
    """Contrast kept, relative width, and shares of noise left in background and along the line."""
    before = noisy(phantom, percent)
    after = nd.diffuse(before, model, time=time, spacing=phantom.spacing)
    kept = phantom.kept(after, before)
    width = phantom.fwhm(after) / phantom.fwhm(before)
    if not percent:
        return kept, width, np.nan, np.nan
    share = phantom.contrast(after) / phantom.contrast(phantom.clean)
    line = phantom.along(after) - share * phantom.along(phantom.clean)
    background = after[phantom.background()].std()
    return kept, width, float(background) / percent, float(line.std()) / percent


def table(header: str, rows: Iterator[str]) -> str:
    """Markdown table."""
    return "\n".join([header, "|" + "---|" * (header.count("|") - 1), *rows])


def by_model(percent: float) -> Iterator[str]:
    """Rows: contrast of a tube of radius 1 in five directions, and noise left."""
    for model, time in models(percent):
        values = np.array(
            [measured(tube(1.0, d, shape=(SIDE,) * 3), model, time, percent) for d in DIRECTIONS]
        )
        clean = [measured(tube(1.0, d, shape=(SIDE,) * 3), model, time, 0.0)[0] for d in DIRECTIONS]
        kept, width, background, line = values.mean(0)
        yield (
            f"| {label(model)} | {time:g} | {min(clean):.2f}-{max(clean):.2f} | {kept:.2f} | "
            f"{width:.2f} | {background:.2f} | {line:.2f} |"
        )


def curved(radius: float) -> Phantom:
    """A helix."""
    t = np.linspace(-6, 6, 4000)
    line = np.stack([2.6 * t, 11 * np.cos(t / 2), 11 * np.sin(t / 2)], 1) + SIDE / 2
    return around([line], radius, gaussian, (SIDE,) * 3)


def several(kind: str) -> Phantom:
    """Two tubes of radius 1: crossing, branching, or parallel at a distance of four voxels."""
    middle = np.full(3, SIDE / 2)
    first = straight(middle, (0, 1, 3), SIDE)
    other = straight(middle + np.array([4.0, 0, 0]), (0, 1, 3), SIDE)
    if kind != "pair":
        other = straight(middle, (0, 3, -1), SIDE)
    if kind == "branch":
        other = other[len(other) // 2 :]
    return around([first, other], 1.0, gaussian, (SIDE,) * 3)


def shapes() -> list[tuple[str, Phantom]]:
    """Thin structures of many kinds."""
    cube, oblique = (SIDE,) * 3, (1, 2, 4.3)
    radii = (0.7, 1.0, 1.5, 2.0, 3.0)
    return [
        *((f"tube, Gaussian, radius {r:g}", tube(r, oblique, gaussian, cube)) for r in radii),
        *((f"tube, box, radius {r:g}", tube(r, oblique, box, cube)) for r in radii),
        ("helix, radius 1", curved(1.0)),
        ("crossing tubes, radius 1", several("cross")),
        ("branching tubes, radius 1", several("branch")),
        ("parallel tubes, 4 voxels apart", several("pair")),
        ("voxels 1:1:3, radius 1", tube(1, (0, 1, 3), gaussian, (14, SIDE, SIDE), (3, 1, 1))),
        ("voxels 1:1:3, radius 2", tube(2, (0, 1, 3), gaussian, (14, SIDE, SIDE), (3, 1, 1))),
        ("sheet, Gaussian, radius 1", sheet(1.0, oblique, cube)),
        ("2-D fibre, Gaussian, radius 1", tube(1.0, (1, 2.3), gaussian, (96, 96))),
        ("2-D fibre, box, radius 1", tube(1.0, (1, 2.3), box, (96, 96))),
    ]


def by_shape(percent: float) -> Iterator[str]:
    """Rows: contrast kept of every kind of structure."""
    chosen = models(percent)
    for name, phantom in shapes():
        kept = [measured(phantom, model, time, percent)[0] for model, time in chosen]
        yield f"| {name} | " + " | ".join(f"{value:.2f}" for value in kept) + " |"


def by_time() -> Iterator[str]:
    """Rows: contrast kept against time, for an oblique tube of radius 1 without noise."""
    phantom = tube(1.0, (1, 2, 4.3), gaussian, (SIDE,) * 3)
    cases: list[tuple[str, Callable[[], nd.Model]]] = [
        ("Vessel-enhancing", lambda: nd.VesselEnhancing(gamma=10.0)),
        ("omega 1", lambda: nd.VesselEnhancing(gamma=10.0, omega=1.0)),
        ("omega 10", lambda: nd.VesselEnhancing(gamma=10.0, omega=10.0)),
        ("gamma 30", lambda: nd.VesselEnhancing(gamma=30.0)),
        ("Coherence-enhancing", nd.CoherenceEnhancing),
        ("alpha 0.001", lambda: nd.CoherenceEnhancing(alpha=0.001)),
        ("rho 1", lambda: nd.CoherenceEnhancing(rho=1.0)),
    ]
    for name, make in cases:
        kept = [measured(phantom, make(), time, 0.0)[0] for time in (0.5, 1.0, 2.0, 4.0, 8.0)]
        yield f"| {name} | " + " | ".join(f"{value:.2f}" for value in kept) + " |"


def suggested() -> Iterator[str]:
    """Rows: choices of `suggest` for five oblique tubes of radius 1, and for a retina."""
    middle = np.full(3, 28.0)
    places = ((0, 0, 0), (14, 8, -6), (-15, -9, 0), (-4, 14, 12))
    lines = [straight(middle + p, d, 70) for p, d in zip(places, DIRECTIONS[1:], strict=True)]
    each = [
        around([lines[k], *lines[:k], *lines[k + 1 :]], 1.0, gaussian, (56,) * 3) for k in range(4)
    ]
    for percent in (10.0, 15.0, 20.0, 30.0):
        image = noisy(each[0], percent)
        for model in (nd.VesselEnhancing(), nd.CoherenceEnhancing(), nd.Hybrid(), nd.PeronaMalik()):
            chosen, time = nd.suggest(image, model)
            after = nd.diffuse(image, chosen, time=time)
            kept = [phantom.kept(after, image) for phantom in each]
            left = float(after[each[0].background()].std()) / percent
            yield (
                f"| {percent:g} % | {model.title} | {time:.2g} | {min(kept):.2f}-{max(kept):.2f} | "
                f"{left:.2f} |"
            )


def retina() -> Iterator[str]:
    """Rows: contrast kept of the vessels of a retina, by the template of their shape."""
    import scipy.ndimage

    green = skimage.data.retina()[300:700, 300:700, 1].astype(np.float32)
    clean = scipy.ndimage.zoom(green, 0.5, order=1)
    signed = scipy.ndimage.gaussian_filter(clean, 1.0) - scipy.ndimage.gaussian_filter(clean, 4.0)
    vessels = signed < np.percentile(signed, 4)
    weights = np.where(vessels, signed, 0)
    level = 0.15 * abs(float(signed[vessels].mean()))
    rng = np.random.default_rng(3)
    image = clean + 3 * level * rng.normal(size=clean.shape).astype(np.float32)
    for model in (nd.VesselEnhancing(polarity="dark"), nd.CoherenceEnhancing(), nd.PeronaMalik()):
        chosen, time = nd.suggest(image, model)
        after = nd.diffuse(image, chosen, time=time)
        around_it = scipy.ndimage.gaussian_filter(clean, 4.0)
        kept = float((weights * (after - around_it)).sum() / (weights * (image - around_it)).sum())
        gain = 10 * np.log10(np.mean((image - clean) ** 2) / np.mean((after - clean) ** 2))
        yield f"| {model.title} | {time:.2g} | {kept:.2f} | {gain:.1f} |"


def write(mark: str, text: str) -> None:
    """Replace the text between two marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    start, end = f"<!-- {mark} -->\n", f"<!-- end {mark} -->"
    before, rest = page.split(start)
    PAGE.write_text(before + start + text + "\n" + end + rest.split(end)[1], encoding="utf-8")


def main() -> None:
    """Write all tables."""
    names = " | ".join(label(model) for model, _ in models(10.0))
    write(
        "models",
        table(
            "| model | time | kept, without noise | kept, with noise | width | background | line |",
            by_model(15.0),
        ),
    )
    write("shapes", table(f"| structure | {names} |", by_shape(10.0)))
    write("time", table("| setting | T = 0.5 | 1 | 2 | 4 | 8 |", by_time()))
    write("suggested", table("| noise | model | time | kept | background |", suggested()))
    write("retina", table("| model | time | kept | gain [dB] |", retina()))


if __name__ == "__main__":
    main()
