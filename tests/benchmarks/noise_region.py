"""What a noise region is worth in an image full of texture: the table of docs/automatic.md.

The texture is as fine as the voxels, with a standard deviation of 40, and a corner of a third of
each axis has none. Results are of `suggest` for Perona-Malik; the best time is that of many runs.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

import napari_diffusion as nd

SHAPES = {"plane": (128, 136), "volume": (32, 40, 44)}
LEVELS = (8.0, 20.0)


def texture(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return an image without noise, and its corner without texture."""
    detail = gaussian_filter(np.random.default_rng(0).normal(size=shape), 0.7)
    corner = np.zeros(shape, bool)
    corner[tuple(slice(0, n // 3) for n in shape)] = True
    clean = 100 + 40 * detail / detail.std()
    clean[corner] = 100
    return clean, corner


def gain(result: np.ndarray, noisy: np.ndarray, clean: np.ndarray) -> float:
    """Return the gain in signal-to-noise ratio [dB]."""
    return 10 * np.log10(np.mean((noisy - clean) ** 2) / np.mean((result - clean) ** 2))


def row(name: str, sigma: float) -> str:
    """Return a row of the table."""
    clean, corner = texture(SHAPES[name])
    noisy = clean + sigma * np.random.default_rng(1005).normal(size=clean.shape)
    cells = [name, f"{sigma:g}"]
    for region in (None, corner):
        suggestion = nd.suggest(noisy, nd.PeronaMalik(), noise_region=region)
        result = nd.diffuse(noisy, suggestion.model, time=suggestion.time)
        cells += [f"{suggestion.noise.sigma:.1f} ± {suggestion.noise.error:.1g}"]
        cells += [f"{gain(result, noisy, clean):.2f}"]
    times = suggestion.time * np.geomspace(0.2, 5, 33)
    runs = (nd.diffuse(noisy, suggestion.model, time=time) for time in times)
    cells.append(f"{max(gain(run, noisy, clean) for run in runs):.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    print("| image | noise | level, whole image | gain [dB] | level, region | gain [dB] | best |")
    print("|---|---|---|---|---|---|---|")
    for name in SHAPES:
        for sigma in LEVELS:
            print(row(name, sigma))


if __name__ == "__main__":
    main()
