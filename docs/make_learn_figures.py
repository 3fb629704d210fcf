"""Make the figures and tables of docs/learn: ``python docs/make_learn_figures.py``.

Everything is computed by this package from seeded simulations. Films are pictures with all frames
side by side; the site shows them with a slider. Tables are written into the page between marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi

import napari_diffusion as nd
from napari_diffusion.io.phantoms import confocal

DOCS = Path(__file__).parent
IMAGES = DOCS / "images" / "learn"
PAGE = DOCS / "learn" / "what_is_diffusion.md"
Pixels = NDArray[np.float64]
#: Colours from cold to hot.
HEAT = np.array(
    [(20, 20, 70), (70, 25, 120), (180, 45, 95), (240, 115, 45), (250, 200, 80), (255, 252, 230)]
)
#: Gap between two panels of a frame [pixel].
GAP = 4


def heat_colours(values: Pixels) -> NDArray[np.uint8]:
    """Return colours of values from 0 (cold) to 1 (hot)."""
    position = np.clip(values, 0, 1) * (len(HEAT) - 1)
    channels = [np.interp(position, np.arange(len(HEAT)), HEAT[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def greys(values: Pixels) -> NDArray[np.uint8]:
    """Return grey levels of values from 0 to 1, in 64 steps."""
    return (np.rint(np.clip(values, 0, 1) * 63) * (255 / 63)).astype(np.uint8)


def side_by_side(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return panels in one row with white gaps."""
    gap = np.full((len(panels[0]), GAP, *panels[0].shape[2:]), 255, np.uint8)
    parts = [part for panel in panels for part in (panel, gap)]
    return np.concatenate(parts[:-1], axis=1)


def save_film(name: str, frames: Sequence[NDArray[np.uint8]], columns: int) -> None:
    """Save all frames in one picture, row by row."""
    rows = [frames[k : k + columns] for k in range(0, len(frames), columns)]
    pixels = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
    Image.fromarray(pixels).save(IMAGES / f"{name}_film.png", optimize=True)


def plate() -> dict[str, object]:
    """Save a plate that is hot in an L, while its heat spreads."""
    start = np.full((96, 128), 0.1)
    start[24:72, 30:46] = 1
    start[56:72, 30:98] = 1
    times = [0, 2, 5, 12, 30, 80, 200, 600]
    frames = [nd.diffuse(start, nd.Linear(), time=time) for time in times]
    save_film("plate", [heat_colours(frame) for frame in frames], columns=4)
    labels = [f"after the time {time}" for time in times]
    return {"columns": 4, "labels": labels, "seen": "Temperature of the plate"}


def cells() -> tuple[Pixels, Pixels]:
    """Return a noisy section of simulated cells and the same without noise, from 0 to 1."""
    stack = confocal((12, 112, 112), nuclei=14, filaments=14, seed=5)
    truth, noisy = stack.truth[6].astype(float), stack.noisy[6].astype(float)
    low, high = truth.min(), np.percentile(truth, 99.9)
    # The square root shows faint and bright cells at once, and has nearly even photon noise.
    share = (np.stack([noisy, truth]) - low) / (high - low)
    return np.sqrt(np.clip(share[0], 0, None)), np.sqrt(share[1])


def edges_film() -> dict[str, object]:
    """Save cells under linear and under Perona-Malik diffusion over the same times."""
    noisy, _ = cells()
    times = [0, 0.25, 0.5, 1, 2, 4, 8, 16]
    models = (nd.Linear(), nd.PeronaMalik(kappa=0.05, sigma=0.7))
    frames = []
    for time in times:
        results = [nd.diffuse(noisy, model, time=time) for model in models]
        frames.append(side_by_side([greys(result) for result in results]))
    save_film("edges", frames, columns=4)
    labels = [f"after the time {time:g} pixel²" for time in times]
    seen = "Left: the same blur everywhere. Right: Perona-Malik"
    return {"columns": 4, "labels": labels, "seen": seen}


def fibres() -> tuple[Pixels, Pixels]:
    """Return noisy curved fibres and the same without noise."""
    y, x = np.indices((96, 96), dtype=float)
    phase = np.hypot(y + 60, x - 20) * (2 * np.pi / 9)
    truth = 0.5 + 0.35 * np.cos(phase)
    return truth + np.random.default_rng(1).normal(0, 0.25, truth.shape), truth


FIBRE_MODELS = {
    "Linear": nd.Linear(),
    "Perona-Malik": nd.PeronaMalik(kappa=0.15, sigma=1.0),
    "Coherence-enhancing": nd.CoherenceEnhancing(kappa=0.02, sigma=0.7, rho=4.0),
}


def fibres_film() -> dict[str, object]:
    """Save noisy fibres under three models over the same times."""
    noisy, _ = fibres()
    times = [0, 0.5, 1, 2, 4, 8]
    frames = []
    for time in times:
        results = [nd.diffuse(noisy, model, time=time) for model in FIBRE_MODELS.values()]
        frames.append(side_by_side([greys(result) for result in results]))
    save_film("fibres", frames, columns=3)
    labels = [f"after the time {time:g} pixel²" for time in times]
    seen = "From left to right: " + ", ".join(FIBRE_MODELS)
    return {"columns": 3, "labels": labels, "seen": seen}


def gaussian_rows() -> list[list[str]]:
    """Save linear diffusion beside a Gaussian blur, and return their largest differences."""
    noisy, _ = cells()
    rows, panels = [], [greys(noisy)]
    for sigma in (1.0, 2.0, 5.0):
        blurred = ndi.gaussian_filter(noisy, sigma, truncate=8)
        diffused = nd.diffuse(noisy, nd.Linear(), time=nd.time_for_sigma(sigma))
        difference = np.abs(blurred - diffused).max() / np.ptp(noisy)
        change = np.abs(noisy - diffused).max() / np.ptp(noisy)
        rows.append(
            [
                f"{sigma:g}",
                f"{sigma**2 / 2:g}",
                f"{100 * change:.0f} %",
                f"{100 * difference:.2f} %",
            ]
        )
        if sigma == 2:
            panels += [greys(blurred), greys(diffused)]
    Image.fromarray(side_by_side(panels)).resize((688, 224), Image.Resampling.NEAREST).save(
        IMAGES / "gaussian.png", optimize=True
    )
    return rows


def widths(image: Pixels, spacing: Sequence[float]) -> list[float]:
    """Return the standard deviation of a blob along each axis [length]."""
    weights = image / image.sum()
    sizes = []
    for axis, step in enumerate(spacing):
        positions = np.arange(image.shape[axis]) * step
        profile = weights.sum(axis=1 - axis)
        mean = (profile * positions).sum()
        sizes.append(float(np.sqrt((profile * (positions - mean) ** 2).sum())))
    return sizes


def isotropic_rows() -> list[list[str]]:
    """Return the widths of a point after smoothing, in voxels of 2 x 0.5 µm."""
    spacing, point = (2.0, 0.5), np.zeros((61, 201))
    point[30, 100] = 1
    results = {
        "diffusion, σ = 3 µm": nd.diffuse(
            point, nd.Linear(), time=nd.time_for_sigma(3.0), spacing=spacing
        ),
        "Gaussian, σ = 3 voxels": ndi.gaussian_filter(point, 3.0),
    }
    return [
        [name, *(f"{size:.2f} µm" for size in widths(result, spacing))]
        for name, result in results.items()
    ]


def steepness(profile: Pixels) -> float:
    """Return the largest difference of neighbouring pixels."""
    return float(np.abs(np.diff(profile)).max())


def edge_rows() -> list[list[str]]:
    """Return how steep edges of several steepnesses are after diffusion, relative to before."""
    x, kappa, rows = np.arange(160.0), 1.0, []
    for share in (0.25, 0.5, 0.8, 1.5, 2.0, 4.0):
        width = 6.0  # standard deviation of the edge [pixel]
        slope = np.exp(-((x[:-1] - 79.5) ** 2) / (2 * width**2)) * share * kappa
        profile = np.concatenate([[0.0], np.cumsum(slope)])
        row = [f"{share:g} κ"]
        for model in (nd.Linear(), nd.PeronaMalik(kappa=kappa)):
            after = nd.diffuse(profile, model, time=20.0)
            row.append(f"{steepness(after) / steepness(profile):.2f}")
        rows.append(row)
    return rows


def place_rows() -> list[list[str]]:
    """Return the noise left in a flat region, and the width of an edge, under two models."""
    truth = 10.0 * (np.arange(128) >= 64) * np.ones((128, 1))
    noisy = truth + np.random.default_rng(2).normal(0, 1, truth.shape)
    models = {
        "Linear": nd.Linear(),
        "Perona-Malik": nd.PeronaMalik(kappa=1.0, sigma=1.0),
    }
    rows = []
    for name, model in models.items():
        result = nd.diffuse(noisy, model, time=8.0)
        flat = result[:, 8:48].std() / noisy[:, 8:48].std()
        at_edge = (result - result.mean(axis=0))[:, 62:66].std()
        profile = result.mean(axis=0)
        rise = np.interp([1, 9], profile[48:80], np.arange(48, 80))
        edge_noise = at_edge / (noisy - noisy.mean(axis=0))[:, 62:66].std()
        rows.append(
            [name, f"{100 * flat:.0f} %", f"{100 * edge_noise:.0f} %", f"{np.ptp(rise):.1f}"]
        )
    return rows


def fibre_rows() -> list[list[str]]:
    """Return noise and contrast left of fibres, from runs on the noisy and the clean picture."""
    noisy, truth = fibres()
    inner = (slice(12, -12), slice(12, -12))
    rows = []
    for name, model in FIBRE_MODELS.items():
        result = nd.diffuse(noisy, model, time=4.0)[inner]
        wave = (truth - truth.mean())[inner]
        kept = (result * wave).sum() / (wave * wave).sum()
        rest = result - result.mean() - kept * (wave - wave.mean())
        noise = rest.std() / (noisy - truth)[inner].std()
        rows.append([name, f"{100 * kept:.0f} %", f"{100 * noise:.0f} %"])
    return rows


def curve(points: Sequence[tuple[float, float]], colour: str) -> str:
    """Return a line through points of the unit square as SVG."""
    text = " ".join(f"{60 + 400 * x:.1f},{230 - 190 * y:.1f}" for x, y in points)
    return f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="3"/>'


def save_conductivity() -> None:
    """Save the curves of c and of the flux over the gradient as SVG."""
    s = np.linspace(0, 4, 161)
    c = 1 / (1 + s**2)
    flux = s * c
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 520 290">',
        '<g font-family="sans-serif" font-size="15">',
        '<rect width="520" height="290" fill="#ffffff"/>',
        '<path d="M60 30V230H470" fill="none" stroke="#333333"/>',
        '<path d="M160 40V230" stroke="#777777" stroke-dasharray="4 4"/>',
        curve(list(zip(s / 4, c, strict=True)), "#1f5fa8"),
        curve(list(zip(s / 4, flux, strict=True)), "#b04a00"),
        '<g fill="#333333">',
        '<text x="470" y="252" text-anchor="end">gradient ‖∇u‖</text>',
        '<text x="160" y="252" text-anchor="middle">κ</text>',
        '<text x="260" y="252" text-anchor="middle">2 κ</text>',
        '<text x="50" y="45" text-anchor="end">1</text>',
        '<text x="50" y="235" text-anchor="end">0</text>',
        '<text x="75" y="275">smoothed</text><text x="175" y="275">sharpened</text></g>',
        '<text x="100" y="50" fill="#1f5fa8">conductivity c</text>',
        '<text x="250" y="140" fill="#b04a00">flux c·‖∇u‖</text></g>',
        "</svg>",
    ]
    (IMAGES / "conductivity.svg").write_text("\n".join(parts) + "\n", encoding="utf-8")


def save_profiles() -> None:
    """Save a noisy edge after several times with several thresholds, for the interactive figure."""
    x = np.arange(120)
    truth = np.where(x < 40, 20.0, np.where(x < 80, 80.0, 65.0))
    noisy = truth + np.random.default_rng(4).normal(0, 4, x.shape)
    kappas, times = [1, 2, 4, 8, 16, 32, 64], [0, 1, 2, 5, 10, 20, 50, 100, 200]
    results = [
        [
            nd.diffuse(noisy, nd.PeronaMalik(kappa=float(kappa), sigma=0.5), time=float(time))
            .round(1)
            .tolist()
            for time in times
        ]
        for kappa in kappas
    ]
    data = {"kappas": kappas, "times": times, "image": noisy.round(1).tolist(), "results": results}
    text = json.dumps(data, separators=(",", ":"))
    path = DOCS / "_static" / "profiles.js"
    path.write_text(f"window.diffusionProfiles = {text};\n", encoding="utf-8")


def write_table(name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table into the page, between its marks."""
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = PAGE.read_text(encoding="utf-8")
    pattern = f"(<!-- {name} -->\n).*?(<!-- end {name} -->)"
    assert len(re.findall(pattern, text, flags=re.DOTALL)) == 1, name
    text = re.sub(
        pattern, lambda m: f"{m.group(1)}\n{table}\n\n{m.group(2)}", text, flags=re.DOTALL
    )
    PAGE.write_text(text, encoding="utf-8")


def main() -> None:
    """Make all figures, and write the tables."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    films = {"plate": plate(), "edges": edges_film(), "fibres": fibres_film()}
    text = json.dumps(films, indent=1, ensure_ascii=False)
    (IMAGES / "films.json").write_text(text + "\n", encoding="utf-8")
    save_conductivity()
    save_profiles()
    header = ["σ [pixel]", "T = σ²/2 [pixel²]", "change of the image", "difference of the two"]
    write_table("gaussian", header, gaussian_rows())
    write_table("isotropic", ["filter", "width along z", "width along x"], isotropic_rows())
    write_table("edges", ["steepest gradient", "linear", "Perona-Malik"], edge_rows())
    header = ["model", "noise left in the flat part", "noise left on the edge", "width of the edge"]
    write_table("places", [*header[:3], f"{header[3]} [pixel]"], place_rows())
    write_table("fibres", ["model", "contrast kept", "noise left"], fibre_rows())


if __name__ == "__main__":
    main()
