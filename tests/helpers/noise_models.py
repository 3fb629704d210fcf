"""Noise of many kinds: every function returns another, from an image and a generator to data."""

import io
from collections.abc import Callable

import numpy as np
import scipy.ndimage as ndi
import scipy.special
from PIL import Image

Array = np.ndarray
#: Adds noise to a noise-free image.
Noise = Callable[[Array, np.random.Generator], Array]


def white(level) -> Noise:
    """White Gaussian noise of a level [intensity], a number or a map."""
    return lambda clean, rng: clean + level * rng.normal(size=clean.shape)


def uneven(level_of: Callable[[tuple[int, ...]], Array]) -> Noise:
    """White noise whose level is a map, made from the shape."""
    return lambda clean, rng: clean + level_of(clean.shape) * rng.normal(size=clean.shape)


def shared(level, width) -> Noise:
    """Noise blurred over ``width`` voxels, a number or one for every axis."""

    def add(clean, rng):
        field = ndi.gaussian_filter(rng.normal(size=clean.shape), width)
        return clean + level * field / field.std()

    return add


def inside_only(noise: Noise, mask_of: Callable[[tuple[int, ...]], Array]) -> Noise:
    """Noise inside a mask; the image stays as it is outside, as after a brain extraction."""
    return lambda clean, rng: np.where(mask_of(clean.shape), noise(clean, rng), clean)


def interpolated(level, factors) -> Noise:
    """Noise of k-space filled with zeros, by a factor per axis (sinc interpolation)."""

    def add(clean, rng):
        spectrum = np.fft.fftn(rng.normal(size=clean.shape))
        for axis, (n, factor) in enumerate(zip(clean.shape, factors, strict=True)):
            outside = abs(np.fft.fftfreq(n)) > 0.5 / factor
            spectrum[(slice(None),) * axis + (outside,)] = 0
        field = np.fft.ifftn(spectrum).real
        return clean + level * field / field.std()

    return add


def ramp_filtered(level) -> Noise:
    """Noise of filtered back projection: strong at high frequencies within a slice."""

    def add(clean, rng):
        y, x = (np.fft.fftfreq(n) for n in clean.shape[-2:])
        radius = np.hypot(y[:, None], x)
        response = radius * np.cos(np.pi * np.minimum(radius, 0.5)) ** 2
        field = np.fft.ifft2(np.fft.fft2(rng.normal(size=clean.shape)) * response).real
        return clean + level * field / field.std()

    return add


def chi(sigma, coils=1) -> Noise:
    """Magnitude of the sum of squares of ``coils`` complex signals; one coil is Rician noise."""

    def add(clean, rng):
        parts = sigma * rng.normal(size=(2 * coils, *clean.shape))
        parts[0] += clean
        return np.sqrt(np.square(parts).sum(0))

    return add


def chi_mean(sigma, coils=1) -> Callable[[Array], Array]:
    """Mean of `chi` at every voxel, which is what a filter of magnitudes can reach."""
    gamma = scipy.special.gammaln
    factor = sigma * np.sqrt(2) * np.exp(gamma(coils + 0.5) - gamma(coils))
    return lambda clean: factor * scipy.special.hyp1f1(-0.5, coils, -((clean / sigma) ** 2) / 2)


def poisson(photons, offset=0.0, read=0.0) -> Noise:
    """Photon counts of ``photons`` per unit of intensity, an offset, and read noise [counts]."""

    def add(clean, rng):
        counts = rng.poisson(photons * clean) + offset
        return counts + read * rng.normal(size=clean.shape) if read else counts

    return add


def counts_mean(photons, offset=0.0) -> Callable[[Array], Array]:
    """Mean of `poisson`."""
    return lambda clean: photons * clean + offset


def speckle(looks) -> Noise:
    """Multiplicative noise: the mean of ``looks`` independent exponential intensities."""
    return lambda clean, rng: clean * rng.gamma(looks, 1 / looks, clean.shape)


def log_speckle(looks, scale=20.0) -> Noise:
    """Speckle on a logarithmic scale, as a scanner of ultrasound shows it."""
    return lambda clean, rng: scale * np.log(clean * rng.gamma(looks, 1 / looks, clean.shape))


def log_speckle_mean(looks, scale=20.0) -> Callable[[Array], Array]:
    """Mean of `log_speckle`."""
    shift = scipy.special.digamma(looks) - np.log(looks)
    return lambda clean: scale * (np.log(clean) + shift)


def impulses(noise: Noise, hot, dead, value, dead_value=0.0) -> Noise:
    """Noise, and shares of hot and dead voxels of given values."""

    def add(clean, rng):
        data, draw = noise(clean, rng), rng.random(clean.shape)
        return np.where(draw < dead, dead_value, np.where(draw > 1 - hot, value, data))

    return add


def stripes(level, stripe, axis=-1) -> Noise:
    """White noise, and an offset of its own for every line along ``axis``."""

    def add(clean, rng):
        data = clean + level * rng.normal(size=clean.shape)
        lines = tuple(1 if k == axis % clean.ndim else n for k, n in enumerate(clean.shape))
        return data + stripe * rng.normal(size=lines)

    return add


def rings(level, ring) -> Noise:
    """White noise, and an error for every distance from the middle of a slice."""

    def add(clean, rng):
        data = clean + level * rng.normal(size=clean.shape)
        y, x = (np.arange(n) - (n - 1) / 2 for n in clean.shape[-2:])
        detector = np.hypot(y[:, None], x)
        errors = ring * rng.normal(size=int(detector.max()) + 2)
        return data + np.interp(detector, np.arange(errors.size), errors)

    return add


def hum(level, amplitude, period) -> Noise:
    """White noise, and a wave across the rows as from the mains, with a random phase."""

    def add(clean, rng):
        data = clean + level * rng.normal(size=clean.shape)
        rows, columns = np.indices(clean.shape[-2:])
        phase = rng.uniform(0, 2 * np.pi)
        return data + amplitude * np.sin(2 * np.pi * (rows + 0.3 * columns) / period + phase)

    return add


def scmos(photons, offset=100.0, column=0.0, gain=0.02, offset_spread=1.0) -> Noise:
    """Camera with an offset, a gain and a read noise of its own for every pixel.

    ``column`` is the standard deviation of the offsets of columns [counts]. The read noise has a
    median of 1.4 counts and a long tail.
    """

    def add(clean, rng):
        plane = clean.shape[-2:]
        pattern = offset + offset_spread * rng.normal(size=plane)
        pattern = pattern + column * rng.normal(size=plane[-1:])
        gains = 1 + gain * rng.normal(size=plane)
        read = 1.4 * np.exp(0.5 * rng.normal(size=plane))
        counts = gains * rng.poisson(photons * clean)
        return counts + pattern + read * rng.normal(size=clean.shape)

    return add


def jpeg(noise: Noise, quality) -> Noise:
    """Noise, then a compression of every plane as JPEG."""

    def compressed(plane):
        file = io.BytesIO()
        Image.fromarray(plane).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    def add(clean, rng):
        data = np.clip(np.round(noise(clean, rng)), 0, 255).astype(np.uint8)
        planes = data.reshape(-1, *data.shape[-2:])
        return np.stack([compressed(plane) for plane in planes]).reshape(data.shape)

    return add


def rounded(noise: Noise, dtype=np.uint8) -> Noise:
    """Noise, rounded to the whole numbers that a type can hold."""
    limits = np.iinfo(dtype)
    return lambda clean, rng: np.clip(np.round(noise(clean, rng)), limits.min, limits.max).astype(
        dtype
    )


def clipped(level, low, high) -> Noise:
    """White noise, limited to a range as by a saturated detector."""
    return lambda clean, rng: np.clip(clean + level * rng.normal(size=clean.shape), low, high)


def clipped_mean(level, low, high) -> Callable[[Array], Array]:
    """Mean of `clipped`."""

    def excess(distance):
        """Mean of the part of unit Gaussian noise above a distance."""
        density = np.exp(-(distance**2) / 2) / np.sqrt(2 * np.pi)
        return density - distance * scipy.special.ndtr(-distance)

    def mean(clean):
        below, above = (clean - low) / level, (high - clean) / level
        return clean + level * (excess(below) - excess(above))

    return mean
