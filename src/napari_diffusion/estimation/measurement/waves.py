r"""A wave of one frequency all over the image, as hum from the mains in a scanned image.

The spectrum of a plane shows it as one point, far above the frequencies around it. Texture that is
nearly periodic has such points too, but not in every part of the image. The energy at the frequency
is therefore compared with that of the frequencies around it in blocks. Stripes along an axis have
as much energy at the neighbours along the other axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.measurement.rings import planes_of, variance_of, whole_boxes
from napari_diffusion.estimation.noise.evidence import fine_axes
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.noise.patterns import Wave
from napari_diffusion.estimation.patches import Patch

#: Edge of a block [voxel], and the minimum number of blocks for a decision.
BLOCK, MIN_BLOCKS = 32, 4
#: Longest period [voxel]: half of a block. Longer waves look like the picture.
MAX_PERIOD = 16
#: Distances of the frequencies around one frequency: in bins of the spectrum, and for a block.
NEAR_BINS, NEAR_IN_BLOCK = (3, 6), 2.5
#: Smallest energy of a wave in a block, relative to the frequencies around it. It is 0.2 to 1.8 for
#: noise, pictures, stripes and rings, and 29 and more for a wave of a quarter of the variance
#: (`tests/benchmarks/noise_decisions.py`).
MIN_RATIO = 4.0
#: Smallest share of usable voxels of a block.
MIN_FULL = 0.5
#: Largest variance of a wave, as a share of that of the image. A stronger wave is the picture, such
#: as a grating.
MAX_OF_PICTURE = 0.5
#: Smallest share of a wave in the variance of all noise that is named.
MIN_SHARE = 0.08


def find_wave(
    patches: Sequence[Patch], channel: int, noises: Sequence[Noise | None]
) -> Wave | None:
    """Find a wave in the planes of one channel of some patches; None without any.

    The planes are those of the last two finely sampled axes. ``noises`` are the noises of the
    patches without the wave, or None for a patch without noise.
    """
    axes = fine_axes(patches[0].box, patches[0].spacings)
    if len(axes) < 2:
        return None
    plane = (axes[-2], axes[-1])
    energies = energies_of(patches, channel, plane)
    if energies is None or energies.own < MIN_RATIO * energies.around:
        return None
    frequency, own, around = energies
    # The images lack slow changes, and have the share 1 - exp(-2 pi² f²) of a wave.
    kept = -math.expm1(-2 * math.pi**2 * (frequency[0] ** 2 + frequency[1] ** 2))
    variance = 2 * (own - around) / kept**2
    if variance > MAX_OF_PICTURE * _picture_variance(patches, channel):
        return None
    share = float(variance / (variance + variance_of(noises)))
    return Wave(plane, frequency, share) if share >= MIN_SHARE else None


class Energies(NamedTuple):
    """Energy of a wave in the blocks of an image.

    Attributes
    ----------
    frequency
        Frequency along both axes [cycles/voxel].
    own, around
        Energy at the frequency, and at those around it [intensity²]; the medians over the blocks.
    """

    frequency: tuple[float, float]
    own: float
    around: float


def energies_of(patches: Sequence[Patch], channel: int, plane: tuple[int, int]) -> Energies | None:
    """Measure the frequency that stands out most in planes; None with too few blocks."""
    images = list(planes_of(patches, channel, plane, is_single=True))
    if not images:
        return None
    frequency = _candidate(max((image for image, _, _ in images), key=lambda image: image.size))
    energies = [
        _energies(image[box], frequency)
        for image, full, _ in images
        for box in whole_boxes(image.shape, BLOCK)
        if full[box].mean() >= MIN_FULL
    ]
    if len(energies) < MIN_BLOCKS:
        return None
    own, around = np.median(energies, axis=0)
    return Energies(frequency, float(own), float(around))


def _picture_variance(patches: Sequence[Patch], channel: int) -> float:
    """Largest variance of the values of a patch: picture, wave and noise."""
    values = (patch.without_impulses[channel][patch.valid] for patch in patches)
    return max((float(np.var(v, dtype=float)) for v in values if v.size), default=0.0)


def _candidate(image: FloatArray) -> tuple[float, float]:
    """Frequency whose energy is the largest relative to those around it [cycles/voxel]."""
    from scipy import ndimage

    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in image.shape))
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    reach = np.hypot(*np.indices((2 * NEAR_BINS[1] + 1,) * 2) - NEAR_BINS[1])
    ring = (reach >= NEAR_BINS[0]) & (reach <= NEAR_BINS[1])
    around = ndimage.median_filter(power, footprint=ring, mode="wrap")
    y, x = (np.fft.fftfreq(n) for n in image.shape)
    is_short = np.hypot(y[:, None], x) >= 1 / MAX_PERIOD
    ratio = np.where(is_short, power / np.maximum(around, 1e-300), 0)
    k, m = np.unravel_index(ratio.argmax(), ratio.shape)
    return float(y[k]), float(x[m])


def _energies(image: FloatArray, frequency: Sequence[float]) -> tuple[float, float]:
    """Energy of a block at a frequency, and the largest mean of two opposite ones around it."""
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in image.shape))
    weighted = (image - image.mean()) * window / window.sum()

    def energy(shift: Sequence[float]) -> float:
        y, x = (
            np.exp(-2j * np.pi * (f + s * NEAR_IN_BLOCK / n) * np.arange(n))
            for f, s, n in zip(frequency, shift, image.shape, strict=True)
        )
        return float(np.abs(y @ weighted @ x) ** 2)

    pairs = ((1, 0), (0, 1), (0.7, 0.7), (0.7, -0.7))
    around = max((energy(pair) + energy([-s for s in pair])) / 2 for pair in pairs)
    return energy((0, 0)), around
