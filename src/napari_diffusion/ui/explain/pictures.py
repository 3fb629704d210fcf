"""Pictures to explain with: a part of the slice on screen, or generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]

#: Largest side of a picture [pixel]. It bounds the cost of every figure.
MAX_SIDE = 128
#: Side of the generated pictures [pixel].
SAMPLE_SIDE, FIBRE_SIDE = 112, 72
#: Noise of a picture without any, as a share of its range: it keeps every threshold above 0.
MIN_NOISE = 0.01
#: Standard deviation of normal values per median of their magnitude.
_DEVIATION_PER_MEDIAN = 1.4826


@dataclass(frozen=True)
class Picture:
    """A grey picture.

    Attributes
    ----------
    values
        Grey levels, axes (y, x), without NaN.
    pixel
        Pixel size (y, x) [unit].
    unit
        Unit of the pixel size.
    noise
        Standard deviation of the noise [grey level]; above 0.
    own
        Whether it is a part of the user's image.
    """

    values: Real
    pixel: tuple[float, float]
    unit: str
    noise: float
    own: bool

    @property
    def limits(self) -> tuple[float, float]:
        """Grey levels that are shown black and white."""
        low, high = (float(v) for v in np.percentile(self.values, (0.5, 99.8)))
        return (low, high) if high > low else (low - 1.0, low + 1.0)


def picture_of(
    plane: Any, pixel: Sequence[float] = (1.0, 1.0), unit: str = "pixel", own: bool = True
) -> Picture:
    """Return a picture of a plane, with its noise.

    Parameters
    ----------
    plane
        Values, axes (y, x) or (y, x, colour). Colours are averaged, and opacity is left out. Values
        that are not finite become the median of the others. Of a plane larger than `MAX_SIDE`, the
        picture is the middle.
    pixel, unit
        Pixel size (y, x) and its unit.
    own
        Whether the plane is of the user's image.

    Raises
    ------
    ValueError
        If the plane is too small to show anything, or has no finite value.
    """
    values = np.asarray(plane, np.float64)
    if values.ndim == 3:
        values = values[..., :3].mean(axis=-1)
    if values.ndim != 2 or min(values.shape) < 3:
        raise ValueError("The slice is too small to be explained.")
    rows, columns = (_middle(n) for n in values.shape)
    values = values[rows, columns]
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError("The slice has no finite values.")
    values = np.where(finite, values, np.median(values[finite]))
    # Grey levels from 0 to 1000 are in the range of every computation.
    low, span = values.min(), np.ptp(values)
    values = 1000 * (values - low) / span if span > 0 else values * 0
    return Picture(
        values.astype(np.float32),
        (float(pixel[0]), float(pixel[1])),
        unit,
        noise_of(values),
        own,
    )


def noise_of(values: Any) -> float:
    """Return the standard deviation of white noise, from differences of neighbours in a row.

    It is at least `MIN_NOISE` of the range, or of 1 in a constant picture.
    """
    differences = np.diff(np.asarray(values, np.float64), axis=1)
    spread = np.median(np.abs(differences - np.median(differences)))
    least = MIN_NOISE * (float(np.ptp(values)) or 1.0)
    return max(float(_DEVIATION_PER_MEDIAN * spread / np.sqrt(2)), least)


def sample_picture() -> Picture:
    """Return discs of several contrasts, a square with a hole, and a thin line, with noise."""
    y, x = np.indices((SAMPLE_SIDE, SAMPLE_SIDE))
    values = np.full(y.shape, 100.0)
    for row, column, radius, level in (
        (30, 30, 19, 520),
        (32, 80, 14, 300),
        (80, 32, 15, 800),
        (58, 56, 5, 650),
    ):
        values[(y - row) ** 2 + (x - column) ** 2 < radius**2] = level
    values[68:100, 64:100] = 620
    values[78:88, 76:86] = 330
    values[np.abs(y - 0.35 * x - 50) < 1] = 480
    noise = np.random.default_rng(0).normal(0.0, 60.0, values.shape)
    return picture_of(values + noise, own=False)


def fibre_picture() -> Picture:
    """Return wavy lines that are interrupted, with strong noise."""
    y, x = np.indices((FIBRE_SIDE, FIBRE_SIDE))
    phase = 2 * np.pi * (y + 5 * np.sin(x / 13)) / 9
    values = 300 + 250 * np.maximum(np.cos(phase), 0)
    rng = np.random.default_rng(1)
    for row, column in rng.integers(6, FIBRE_SIDE - 6, (16, 2)):
        values[(y - row) ** 2 + (x - column) ** 2 < 7] = 300
    return picture_of(values + rng.normal(0.0, 90.0, values.shape), own=False)


def _middle(size: int) -> slice:
    """Return the middle of an axis, at most `MAX_SIDE` long."""
    start = max(0, (size - MAX_SIDE) // 2)
    return slice(start, min(size, start + MAX_SIDE))
