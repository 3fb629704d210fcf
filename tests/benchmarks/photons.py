"""Photon noise with and without a transform: ``python tests/benchmarks/photons.py``.

It writes the table of ``docs/data.md``.

Cells in a background, whose brightness rises from left to right by a factor, in photon noise. The
columns are the gains in the signal-to-noise ratio [dB] with parameters from `suggest`, and with the
parameters of smallest error: medians over seeds. Squared errors are divided by the photons.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

import napari_diffusion as nd

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
SHAPE = (160, 192)
SEEDS = range(3)
GAIN, OFFSET, READ_NOISE = 4.0, 100.0, 3.0
NUMBERS = {"gain": GAIN, "offset": OFFSET, "read_noise": READ_NOISE}
CAMERA = {"transform": "anscombe", **NUMBERS}


def photons(factor: float, dimmest: float, seed: int) -> np.ndarray:
    """Return mean numbers of photons: cells of three times the background, under a rising light."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(SHAPE)
    cells = np.ones(SHAPE)
    for _ in range(40):
        centre, radius = rng.uniform(0, 1, 2) * SHAPE, rng.uniform(4, 12)
        cells[np.hypot(y - centre[0], x - centre[1]) < radius] = 3.0
    light = factor ** (x / (SHAPE[1] - 1))
    return dimmest * gaussian_filter(cells, 0.7) * light


def gains(model: nd.PeronaMalik | nd.TotalVariation, rate: np.ndarray, seed: int) -> list[float]:
    """Return the gains [dB] without and with the transform: suggested, then best parameters."""
    rng = np.random.default_rng(100 + seed)
    truth = GAIN * rate + OFFSET
    image = GAIN * rng.poisson(rate) + OFFSET + READ_NOISE * rng.normal(size=rate.shape)

    def gain(result: np.ndarray) -> float:
        before, after = (np.mean((u - truth) ** 2 / (truth - OFFSET)) for u in (image, result))
        return float(10 * np.log10(before / after))

    values = []
    for options in ({}, CAMERA):
        suggestion = nd.suggest(image, model, **options)
        run = dict(suggestion.options) if options else {}
        values.append(gain(nd.diffuse(image, suggestion.model, time=suggestion.time, **run)))
        start = np.log([suggestion.model.kappa, suggestion.time])

        def loss(numbers: np.ndarray, run: dict = run, suggestion: nd.Suggestion = suggestion):
            kappa, time = np.exp(np.clip(numbers, -6, (12, 5)))
            parameters = {**vars(suggestion.model), "kappa": float(kappa)}
            return -gain(nd.diffuse(image, type(model)(**parameters), time=float(time), **run))

        values.append(-minimize(loss, start, method="Nelder-Mead", options={"maxfev": 60}).fun)
    return [values[0], values[2], values[1], values[3]]


def table() -> list[str]:
    """Return the rows of the table."""
    rows = ["| light | photons | model | suggested | with transform | best | with transform |"]
    rows.append("|---|---|---|---|---|---|---|")
    for factor, dimmest in ((1, 2), (1, 30), (10, 5), (100, 2)):
        for model in (nd.PeronaMalik(), nd.TotalVariation()):
            values = [gains(model, photons(factor, dimmest, seed), seed) for seed in SEEDS]
            cells = " | ".join(f"{value:.1f}" for value in np.median(values, 0))
            light = "even" if factor == 1 else f"factor {factor}"
            rows.append(
                f"| {light} | {dimmest} to {3 * dimmest * factor} | {model.title} | {cells} |"
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Write the table into the page."""
    rows = "\n".join(table())
    parts = r"(<!-- photons -->\n).*?(<!-- end photons -->)"
    text = PAGE.read_text(encoding="utf-8")
    text = re.sub(parts, lambda m: f"{m[1]}{rows}\n{m[2]}", text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
