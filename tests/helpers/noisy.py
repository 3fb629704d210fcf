"""Pictures and noise for tests of the noise estimate, the risk and the suggestion."""

import math

import numpy as np
import scipy.ndimage

from napari_diffusion.estimation import risk
from napari_diffusion.estimation.noise.correlations import correlated_noise
from napari_diffusion.estimation.noise.evidence import gather
from napari_diffusion.estimation.noise.values import carries_noise
from napari_diffusion.estimation.patches import Patch


def blocks(shape, height=60.0):
    """Blocks of twelve voxels in three grey levels."""
    index = np.indices(shape)
    return 40 + height * ((index // 12).sum(0) % 3)


def white(shape, seed=1):
    """White Gaussian noise of unit variance."""
    return np.random.default_rng(seed).normal(size=shape)


def smoothing_gain(width):
    """Standard deviation of unit white noise after a Gaussian along one axis."""
    impulse = scipy.ndimage.gaussian_filter1d(np.eye(1, 41, 20)[0], width)
    return math.sqrt(np.sum(impulse**2))


def shared_by_smoothing(width):
    """Correlations over one, two and three voxels that a Gaussian gives to white noise."""
    impulse = scipy.ndimage.gaussian_filter1d(np.eye(1, 41, 20)[0], width)
    return tuple(float(impulse[k:] @ impulse[:-k] / np.sum(impulse**2)) for k in (1, 2, 3))


def noise_probe(image, deviation, seed, correlations=()):
    """Probe of signs, or of noise with the correlations of each channel along every axis."""
    rng = np.random.default_rng(seed)
    pattern = rng.choice(np.array([-1, 1], image.dtype), image.shape)
    for channel, own in enumerate(correlations):
        if any(own):
            pattern[channel] = correlated_noise(rng.normal(size=image.shape[1:]), own)
    return risk.noise_probe(image, deviation, pattern)


def evidence(image):
    """Evidence from the whole image, with unit voxels."""
    return gather([image], [carries_noise(image[None])], [(1.0,) * image.ndim])


def patch_of(field, spacing=None, valid=None, inside=None, impulses=None):
    """Patch that is the whole of a field ``(C, *space)``; by default what varies carries noise."""
    space = field.shape[1:]
    spacing = (1.0,) * len(space) if spacing is None else tuple(spacing)
    return Patch(
        field=field,
        regions=None,
        valid=carries_noise(field) if valid is None else valid,
        inside=np.isfinite(field).all(axis=0) if inside is None else inside,
        spacing=spacing,
        source=0,
        first=(0,) * len(space),
        box=space,
        whole=space,
        spacings=spacing,
        impulses=impulses,
    )


def smooth_scene(shape=(256, 256), low=0.0):
    """Smooth picture with flat parts and gradients, range from ``low`` to 200."""
    field = scipy.ndimage.gaussian_filter(white(shape, 8), 8)
    return low + (200 - low) * np.clip((field - field.min()) / np.ptp(field), 0, 1)
