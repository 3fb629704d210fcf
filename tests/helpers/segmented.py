"""Images with known labels, segmentations of them, and the errors of these segmentations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.morphology import local_minima, reconstruction
from skimage.segmentation import watershed

#: Objects of fewer voxels are removed after a threshold.
MIN_VOXELS = 30
#: Depth of the markers of a watershed, as a share of the range of the image.
MARKER_DEPTH = 0.1


@dataclass(frozen=True)
class Labelled:
    """A noise-free image, its labels (0 is the background), and the contrast of its regions."""

    clean: np.ndarray
    labels: np.ndarray
    contrast: float = 100.0

    def noisy(self, percent: float, seed: int) -> np.ndarray:
        """The image with white Gaussian noise of a percentage of the contrast."""
        noise = np.random.default_rng(1000 + seed).normal(size=self.clean.shape)
        return (self.clean + percent / 100 * self.contrast * noise).astype(np.float32)


def _nearest_two(shape: tuple[int, ...], count: int, rng: np.random.Generator):
    """Number of the nearest of ``count`` random seeds, and the distance to the second, in voxels.

    Space is bent by a smooth random field, so that the cells are not polygons.
    """
    where = np.indices(shape).astype(float)
    for axis in range(len(shape)):
        bend = scipy.ndimage.gaussian_filter(rng.normal(size=shape), 8)
        where[axis] += 4 * bend / bend.std()
    low, high = np.zeros(len(shape)), np.array(shape, float)
    seeds = [rng.uniform(low, high)]
    spread = 0.8 * (np.prod(high) / count) ** (1 / len(shape))
    while len(seeds) < count:  # seeds at a distance, so that the sizes of cells differ little
        new, spread = rng.uniform(low, high), spread * 0.995
        if min(np.linalg.norm(new - seed) for seed in seeds) > spread:
            seeds.append(new)
    points = where.reshape(len(shape), -1).T
    distance, number = cKDTree(np.array(seeds)).query(points, k=2)
    gap = (distance[:, 1] - distance[:, 0]) / 2
    return number[:, 0].reshape(shape), gap.reshape(shape), distance[:, 0].reshape(shape)


def membranes(shape: tuple[int, ...] = (256, 256), seed: int = 0) -> Labelled:
    """Bright cells between dark walls of two to three voxels, as in electron micrographs.

    The cytoplasm has a texture with a standard deviation of a tenth of the contrast, and dark
    granules of 40 % of it.
    """
    rng = np.random.default_rng(seed)
    volume = float(np.prod(shape))
    number, gap, _ = _nearest_two(shape, round(volume / (28 ** len(shape) * 0.9)), rng)
    clean = 100.0 * (gap > 1.2)
    grains = scipy.ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    clean -= 40 * ((grains > 2.3 * grains.std()) & (gap > 4))
    texture = scipy.ndimage.gaussian_filter(rng.normal(size=shape), 2)
    clean += 10 * (gap > 1.2) * texture / texture.std()
    return Labelled(100 + scipy.ndimage.gaussian_filter(clean, 0.6), number + 1)


def cells(shape: tuple[int, ...] = (256, 256), seed: int = 0, clumps: float = 0.25) -> Labelled:
    """Bright cell bodies of different brightness in a dark background; many are close together.

    Their brightness varies inside by a standard deviation of ``clumps``, in grains of four voxels.
    """
    rng = np.random.default_rng(seed)
    volume = float(np.prod(shape))
    number, gap, distance = _nearest_two(shape, round(volume / (26 ** len(shape) * 0.8)), rng)
    radius = rng.uniform(8, 13, number.max() + 1)[number]
    inside = (distance < radius) & (gap > 1.2)
    brightness = rng.uniform(0.8, 1.2, number.max() + 1)[number]
    texture = scipy.ndimage.gaussian_filter(rng.normal(size=shape), 1.7)
    clean = 100 * inside * brightness * (1 + clumps * texture / texture.std())
    return Labelled(100 + scipy.ndimage.gaussian_filter(clean, 0.8), (number + 1) * inside)


def _bright(image: np.ndarray) -> np.ndarray:
    """Voxels above Otsu's threshold, in objects of at least `MIN_VOXELS` voxels."""
    numbers = label(image > threshold_otsu(image), connectivity=1)
    is_large = np.bincount(numbers.ravel()) >= MIN_VOXELS
    is_large[0] = False
    return is_large[numbers]


def by_threshold(image: np.ndarray) -> np.ndarray:
    """Connected components above Otsu's threshold."""
    return label(_bright(image), connectivity=1)


def by_distance(image: np.ndarray) -> np.ndarray:
    """Watershed of the distance to the background of Otsu's threshold, one marker per maximum."""
    bright = _bright(image)
    distance = scipy.ndimage.distance_transform_edt(bright)
    smooth = scipy.ndimage.gaussian_filter(distance, 1)
    peaks = peak_local_max(smooth, min_distance=6, labels=bright.astype(int))
    markers = np.zeros(image.shape, int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-smooth, markers, mask=bright)


def _relief(image: np.ndarray) -> np.ndarray:
    """Darkness from 0 at the 98th percentile to 1 at the 2nd."""
    low, high = np.percentile(image, (2, 98))
    return np.clip((high - image) / (high - low), 0, 1)


def _basins(relief: np.ndarray, depth: float) -> np.ndarray:
    """Numbered minima of a relief that are deeper than ``depth``."""
    filled = reconstruction(relief + depth, relief, method="erosion")
    return label(local_minima(np.round(filled, 6)))


def by_brightness(image: np.ndarray) -> np.ndarray:
    """Watershed of the brightness above Otsu's threshold, one marker per maximum.

    A marker exceeds its surroundings by `MARKER_DEPTH`.
    """
    relief = _relief(image)
    bright = _bright(image)
    return watershed(relief, _basins(relief, MARKER_DEPTH), mask=bright)


def by_walls(image: np.ndarray) -> np.ndarray:
    """Watershed of dark walls, one marker per bright basin.

    A marker exceeds its surroundings by `MARKER_DEPTH`.
    """
    relief = _relief(image)
    return watershed(relief, _basins(relief, MARKER_DEPTH))


def by_wall_distance(image: np.ndarray) -> np.ndarray:
    """Watershed of the distance to dark walls, which are the voxels below Otsu's threshold."""
    bright = _bright(image)
    distance = scipy.ndimage.distance_transform_edt(bright)
    smooth = scipy.ndimage.gaussian_filter(distance, 1)
    peaks = peak_local_max(smooth, min_distance=8, labels=bright.astype(int))
    markers = np.zeros(image.shape, int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-smooth, markers)


def errors(labels: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Variation of information [bit], and adapted Rand error (background left out)."""
    information = float(sum(variation_of_information(truth, labels)))
    return information, float(adapted_rand_error(truth, labels)[0])
