"""Noise-free images of kinds that differ: anatomy, cells, membranes, texture, photographs.

All are computed from seeds below 100, or are files of the package scikit-image.
"""

import functools
from collections.abc import Callable

import numpy as np
import scipy.ndimage as ndi

Array = np.ndarray
Scene = Callable[[], Array]


def scene(make: Callable[..., Array]) -> Callable[..., Scene]:
    """Turn a function that makes an image into one that returns its maker, computed once."""

    @functools.wraps(make)
    def prepared(*arguments, **options):
        @functools.cache
        def image() -> Array:
            result = np.asarray(make(*arguments, **options), float)
            result.setflags(write=False)
            return result

        return image

    return prepared


def coordinates(shape) -> list[Array]:
    """Coordinates from -1 to 1 along every axis."""
    return np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")


def scaled(image: Array, low: float, high: float) -> Array:
    """Image with the range from ``low`` to ``high``."""
    return low + (high - low) * (image - image.min()) / np.ptp(image)


def smooth_field(shape, seed, width) -> Array:
    """Smooth random field of unit standard deviation."""
    field = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=shape), width)
    return field / field.std()


def fold_levels(shape, seed, width, blur) -> Array:
    """Cortex-like: a smooth random field cut into three levels and blurred a little."""
    levels = np.digitize(smooth_field(shape, seed, width), [-0.4, 0.5]).astype(float)
    return ndi.gaussian_filter(levels, blur)


@scene
def folds(shape, seed, width, blur, low=60.0, step=90.0) -> Array:
    """Folds of three grey levels ``step`` apart."""
    return low + step * fold_levels(shape, seed, width, blur)


def head_mask(shape) -> Array:
    """Ellipsoid that fills most of a volume."""
    *first, y, x = coordinates(shape)
    radius = (y / 0.8) ** 2 + (x / 0.7) ** 2
    return sum((z**2 for z in first), radius) < 0.9


@scene
def head(shape, seed, low=300.0, step=22.5, width=1.8, blur=0.7) -> Array:
    """Folded anatomy inside an ellipsoid, with exact zeros around it."""
    inside = head_mask(shape)
    anatomy = low + 0.25 * 60 + step * fold_levels(shape, seed, width, blur)
    return ndi.gaussian_filter(anatomy * inside, 0.8) * inside


@scene
def cells(shape, seed, count=14, spacing=(1.0, 1.0, 1.0), low=10.0, high=220.0) -> Array:
    """Nuclei with a brighter membrane, and bright spots, on a dark background."""
    rng = np.random.default_rng(seed)
    size = np.array(shape) * spacing
    axes = ((np.arange(n) + 0.5) * h for n, h in zip(shape, spacing, strict=True))
    x = np.meshgrid(*axes, indexing="ij")
    image, unit = np.zeros(shape), max(size) / 100
    for _ in range(count):
        centre, radii = rng.uniform(0, 1, 3) * size, rng.uniform(8, 16, 3) * unit
        squares = (((c - m) / r) ** 2 for c, m, r in zip(x, centre, radii, strict=True))
        distance = np.sqrt(sum(squares))
        image = np.where(distance < 1, rng.uniform(0.25, 0.7), image)
        image = np.where(abs(distance - 1) < 0.12, 0.95, image)
    for _ in range(2 * count):
        spot = rng.uniform(0, 1, 3) * size
        square = sum((c - m) ** 2 for c, m in zip(x, spot, strict=True))
        image += 0.45 * np.exp(-square / (2 * (1.6 * unit) ** 2))
    return scaled(ndi.gaussian_filter(image, 0.9), low, high)


@scene
def membranes(shape, seed, count=40, low=20.0, high=200.0) -> Array:
    """Bright walls between the regions that are nearest to random points."""
    points = np.random.default_rng(seed).uniform(0, 1, (count, len(shape))) * shape
    grid = np.stack(np.indices(shape), -1) + 0.5
    distances = np.sort(
        np.stack([np.linalg.norm(grid - point, axis=-1) for point in points], -1), axis=-1
    )
    wall = np.exp(-((distances[..., 1] - distances[..., 0]) ** 2) / 4.0)
    return scaled(wall, low, high)


@scene
def filaments(shape, seed, count=12, low=5.0, high=150.0) -> Array:
    """Curved bright lines of one to two voxels radius."""
    rng, image = np.random.default_rng(seed), np.zeros(shape)
    for _ in range(count):
        place, direction = rng.uniform(0, 1, len(shape)) * shape, rng.normal(size=len(shape))
        for _ in range(3 * max(shape)):
            direction = direction + 0.12 * rng.normal(size=len(shape))
            place = place + 0.5 * direction / np.linalg.norm(direction)
            index = tuple(np.floor(place).astype(int))
            if all(0 <= k < n for k, n in zip(index, shape, strict=True)):
                image[index] = 1.0
    return scaled(np.minimum(ndi.gaussian_filter(image, 1.1), 0.2), low, high)


@scene
def calm(shape, seed, low=50.0, high=180.0, width=6.0) -> Array:
    """Smooth hills, and two flat bodies with sharp edges."""
    image, bodies = smooth_field(shape, seed, width), coordinates(shape)
    rng = np.random.default_rng(seed + 1)
    for step in (1.5, -1.2):
        squares = ((x - rng.uniform(-0.5, 0.5)) ** 2 for x in bodies)
        image = image + step * (sum(squares) < 0.2)
    return scaled(ndi.gaussian_filter(image, 0.6), low, high)


@scene
def tissue(shape, seed, low=40.0, high=210.0) -> Array:
    """Texture as in electron microscopy: vesicles and membranes of several sizes everywhere."""
    fine, coarse = smooth_field(shape, seed, 1.6), smooth_field(shape, seed + 1, 5.0)
    walls = np.exp(-(coarse**2) / 0.03)
    vesicles = np.where(coarse > 0.3, np.maximum(fine - 0.4, 0), 0.25 * fine)
    return scaled(ndi.gaussian_filter(vesicles - 1.5 * walls, 0.6), low, high)


@scene
def lit(shape, seed, low=20.0, high=240.0) -> Array:
    """Faint blobs under an illumination that falls off to one side."""
    first, *_ = coordinates(shape)[::-1]
    blobs = 0.15 * (smooth_field(shape, seed, 3.5) > 0.9)
    return scaled(ndi.gaussian_filter((1 + blobs) * (1.6 + first), 0.7), low, high)


@scene
def tomogram(shape, seed, low=-900.0, high=300.0) -> Array:
    """Round body with organs, bones and air around it, in Hounsfield units."""
    *_, y, x = coordinates(shape)
    body = (y / 0.9) ** 2 + (x / 0.9) ** 2 < 0.8
    organs = np.digitize(smooth_field(shape, seed, 5.0), [-0.8, 0.2, 1.8])
    values = np.array([0.72, 0.75, 0.79, 1.0])[organs]
    return low + (high - low) * ndi.gaussian_filter(np.where(body, values, 0.0), 0.7)


@scene
def photograph(name, size=(224, 224), start=(64, 64)) -> Array:
    """Part of a photograph of scikit-image, in grey levels from 0 to 255."""
    import skimage.data

    image = getattr(skimage.data, name)().astype(float)
    image = image.mean(-1) if image.ndim == 3 else image
    rows, columns = (slice(s, s + n) for s, n in zip(start, size, strict=True))
    return scaled(image[rows, columns], 0, 255)


@scene
def repeated(still: Scene, count, change=0.0, seed=0) -> Array:
    """Series of a still image; a smooth region grows by ``change`` and falls back over time."""
    image = still()
    region = 0.5 + 0.5 * np.tanh(2 * smooth_field(image.shape, seed, 4.0) - 2)
    course = np.sin(2 * np.pi * np.arange(count) / count)
    return np.stack([image * (1 + change * level * region) for level in course])


@scene
def moving(still: Scene, count, step) -> Array:
    """Series of an image that moves by ``step`` voxels from frame to frame."""
    image = still()
    return np.stack([np.roll(image, step * k, axis=(-2, -1)) for k in range(count)])


@scene
def stacked(*scenes: Scene, axis=0) -> Array:
    """Channels: several images of one shape along a new axis."""
    return np.stack([part() for part in scenes], axis)
