"""Make the table of docs/learn/measuring.md: ``python docs/make_measuring_table.py``.

A simulated volume holds a ball, a bead, a fibre and a texture of known properties, with white
noise. The automatic parameters of three models filter it. The table gives what is then measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

import napari_diffusion as nd

PAGE = Path(__file__).parent / "learn" / "measuring.md"
Volume = NDArray[np.float64]
SHAPE, NOISE = (32, 96, 96), 10.0
BALL_CENTRE, BALL_RADIUS = (16, 24, 24), 10.0
BEAD_CENTRE, TEXTURE_CENTRE = (16, 24, 72), (16, 72, 24)


def distance(centre: tuple[int, int, int]) -> Volume:
    """Return the distance of every voxel from a point."""
    squares = (x - c for x, c in zip(np.indices(SHAPE, dtype=float), centre, strict=True))
    return np.sqrt(sum((d**2 for d in squares), np.zeros(SHAPE)))


def phantom() -> Volume:
    """Return the volume without noise, slightly blurred as by a microscope."""
    volume = np.full(SHAPE, 20.0)
    volume[distance(BALL_CENTRE) <= BALL_RADIUS] = 100
    grains = ndi.gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 1.2)
    inside = distance(TEXTURE_CENTRE) <= 13
    volume[inside] = 100 + 8 * (grains / grains.std())[inside]
    volume = ndi.gaussian_filter(volume, 0.6)
    volume += 80 * np.exp(-(distance(BEAD_CENTRE) ** 2) / (2 * 1.2**2))
    z, y, x = np.indices(SHAPE, dtype=float)
    return volume + 80 * np.exp(-((z - 16) ** 2 + (x - 72) ** 2) / (2 * 1.5**2)) * (y > 40)


def fibre_width(volume: Volume) -> float:
    """Return the full width at half maximum of the fibre across x [voxel]."""
    profile = volume[16, 50:90, 60:85].mean(axis=0)
    profile = profile - np.median(np.r_[profile[:5], profile[-5:]])
    peak = int(profile.argmax())
    half = profile[peak] / 2
    left = np.interp(half, profile[: peak + 1], np.arange(peak + 1))
    right = np.interp(-half, -profile[peak:], np.arange(peak, len(profile)))
    return float(right - left)


def total(volume: Volume) -> float:
    """Return the sum of brightness above the background in a box around the ball."""
    return float((volume[:, :48, :48] - 20).sum())


QUANTITIES: Mapping[str, tuple[Callable[[Volume], float], str]] = {
    "mean brightness inside a ball": (lambda v: v[distance(BALL_CENTRE) <= 8].mean(), ".1f"),
    "sum of brightness around the ball": (lambda v: total(v) / 1000, ".1f"),
    "volume of the ball, threshold half-way": (
        lambda v: float((v[:, :48, :48] > 60).sum()),
        ".0f",
    ),
    "brightest value of a small bead": (lambda v: v[16, 20:29, 68:77].max(), ".0f"),
    "brightest value of the whole image": (lambda v: v.max(), ".0f"),
    "width of a fibre (FWHM) [voxel]": (fibre_width, ".2f"),
    "standard deviation of a texture": (lambda v: v[distance(TEXTURE_CENTRE) <= 10].std(), ".1f"),
    "standard deviation of the background": (lambda v: v[:, 44:52, 4:40].std(), ".2f"),
}


def rows() -> list[list[str]]:
    """Return the measured quantities: without noise, with noise, and after each filter."""
    clean = phantom()
    noisy = clean + np.random.default_rng(2).normal(0, NOISE, SHAPE)
    volumes = [clean, noisy]
    for model in (nd.Linear(), nd.PeronaMalik(), nd.EdgeEnhancing()):
        chosen, time = nd.suggest(noisy, model)
        volumes.append(nd.diffuse(noisy, chosen, time=time))
    return [
        [name, *(format(measure(volume), style) for volume in volumes)]
        for name, (measure, style) in QUANTITIES.items()
    ]


def main() -> None:
    """Write the table between its marks."""
    header = ["quantity", "true", "noisy", "linear", "Perona-Malik", "edge-enhancing"]
    lines = [header, ["---"] * len(header), *rows()]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = PAGE.read_text(encoding="utf-8")
    pattern = "(<!-- measured -->\n).*(<!-- end measured -->)"
    text = re.sub(pattern, rf"\1\n{table}\n\n\2", text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
