"""Probes, which measure the response of a filter to the noise of the patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.noise.correlations import correlated_noise, residual_variance
from napari_diffusion.estimation.noise.evidence import MAX_DEPARTURE, fine_axes, local_quantities
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.noise.values import grey_step
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.risk import Probe, hidden_voxel_probe, noise_probe
from napari_diffusion.estimation.squared_magnitudes import SquaredMagnitudes

#: Edge of the windows in which noise and picture are compared [voxel], by number of fine axes.
SHARE_WINDOW = {1: 63, 2: 15, 3: 7}
#: Level of a window, relative to the noise, below which it is quiet, and the least that counts.
QUIET_LEVEL, QUIET_FLOOR = 0.3, 0.01
#: Smallest grey level, relative to the noise, at which values are spread.
MIN_GREY_STEP = 0.5
#: Minimum gradient of structure, in units of the gradient of the noise.
MIN_GRADIENT_RATIO = 10.0
#: Share of voxels with structure below which structure is not considered separately.
MIN_STRUCTURE_SHARE = 0.1
#: Edge of the windows [voxel] in which all local amplitudes exceed the noise where a signal is:
#: beside an object, its blurred border does.
SIGNAL_WINDOW = 5
#: Share of voxels with a signal below which magnitudes without one count, too.
MIN_SIGNAL_SHARE = 0.05
#: Radius of the Gaussian derivative of one voxel that measures the gradient [voxel].
GRADIENT_RADIUS = 3


def make_probe(
    patch: Patch, noises: Sequence[Noise], criterion: str, seed: int, removes_bias: bool = False
) -> Probe:
    """Probe of a patch, deterministic for a given seed.

    Parameters
    ----------
    patch
        The patch.
    noises
        The noise of each channel.
    criterion
        Name of the criterion to minimise. ``"j-invariance"`` hides voxels, the others add noise.
    seed
        Seed of the random numbers.
    removes_bias
        Whether the filter removes the bias of the noise of magnitudes.
    """
    step = _coarse_step(patch.field[:, patch.valid], noises)
    deviations = _deviation(patch, noises, step > 0)
    image, deviation = _with_precision(patch, noises, deviations)
    squares, weight = None, None
    if removes_bias:
        squares = _squares(patch, noises, deviation)
        weight = _relative_root(squares.kernel(image), squares.deviation).astype(image.dtype)
        image, deviation = squares.of_image(image), squares.deviation.astype(image.dtype)
    if criterion == "j-invariance":
        return replace(hidden_voxel_probe(image, deviation), squares=squares)
    rng = np.random.default_rng(seed)
    # Spread values no longer have light tails.
    has_light_tails = step == 0 and any(noise.has_light_tails for noise in noises)
    is_skewed = any(noise.kind == "poisson" or noise.is_skewed for noise in noises)
    if squares is None and (has_light_tails or is_skewed):
        weights = [
            _weight(patch, number, noise, deviations[number], step > 0)
            for number, noise in enumerate(noises)
        ]
        weight = np.stack(weights).astype(image.dtype)
    if step > 0 and not any(noise.kind == "poisson" for noise in noises):
        image, deviation = _dithered(image, deviation, step, rng)
    patterns = [_pattern(patch, n, d, rng) for n, d in zip(noises, deviation, strict=True)]
    pattern = np.stack(patterns).astype(image.dtype)
    fine = fine_axes(patch.valid.shape, patch.spacing)
    window = SHARE_WINDOW.get(len(fine), 7)
    probe = noise_probe(image, deviation, pattern, weight)
    sizes = tuple(window if axis in fine else 1 for axis in range(patch.valid.ndim))
    reference = None
    if patch.impulses is not None:
        # Values of impulses say nothing about the picture; their neighbours do.
        field, without = patch.field, patch.without_impulses
        if squares is not None:
            field, without = squares.of_image(field), squares.of_image(without)
        difference = without - field
        reference = np.where(patch.impulses, image + difference, image).astype(image.dtype)
    return replace(probe, window=sizes, reference=reference, squares=squares)


def with_signal(probes: Sequence[Probe]) -> list[Probe]:
    """Let only the voxels with a signal count, for a filter that removes the bias of magnitudes.

    The amplitude of noise alone is 0 and needs no filter. There, squares of magnitudes would count
    errors of the amplitude too little. All voxels count if nearly none has a signal.
    """
    signals = [_signal(probe) for probe in probes]
    voxels = sum(int((probe.deviation > 0).sum()) for probe in probes)
    if sum(int(signal.sum()) for signal in signals) < MIN_SIGNAL_SHARE * voxels:
        return list(probes)
    return [
        replace(probe, deviation=np.where(signal, probe.deviation, 0).astype(probe.deviation.dtype))
        for probe, signal in zip(probes, signals, strict=True)
    ]


def _signal(probe: Probe) -> NDArray[np.bool_]:
    """Mark the voxels whose neighbours, too, have a local amplitude above the noise."""
    from scipy import ndimage

    scale = probe.squares
    if scale is None:
        return np.zeros(probe.deviation.shape, bool)
    window = (1, *(SIGNAL_WINDOW if size > 1 else 1 for size in probe.window))
    amplitude = ndimage.minimum_filter(scale.amplitude, window)
    return np.asarray((amplitude > scale.noise) & (scale.noise > 0))


def _squares(patch: Patch, noises: Sequence[Noise], deviation: FloatArray) -> SquaredMagnitudes:
    """Scale of squared magnitudes, from the ``deviation`` of the noise of the magnitudes."""
    noise, mean_square = [], []
    for channel, own, level in zip(patch.without_impulses, noises, deviation, strict=True):
        typical = np.sqrt(own.variance(_local_mean(patch, channel)))
        noise.append(own.sigma * level / np.where(typical > 0, typical, np.inf))
        mean_square.append(_local_mean(patch, channel.astype(float) ** 2))
    sigma = max(own.sigma for own in noises)
    return SquaredMagnitudes.of(
        np.stack(mean_square), np.stack(noise), sigma, max(own.coils for own in noises)
    )


def _pattern(
    patch: Patch, noise: Noise, deviation: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Random numbers with the correlations of the noise and its pattern, of unit variance."""
    shape, axes = patch.valid.shape, fine_axes(patch.valid.shape, patch.spacing)
    pattern = np.asarray(rng.choice(np.array([-1.0, 1.0]), shape))
    if noise.origin == "noise" and len(noise.correlations) == len(axes):
        by_axis = dict(zip(axes, noise.correlations, strict=True))
        along = [by_axis.get(axis, ()) for axis in range(len(shape))]
        pattern = correlated_noise(rng.normal(size=shape), along)
    if noise.pattern is None:
        return pattern
    sample = noise.pattern.sample(rng, patch.first, patch.box)
    lines = np.broadcast_to(sample, patch.box).reshape(shape)
    # A pattern has some tens of independent numbers, whose mean square scatters by a fifth. Where
    # the filter keeps it, the error of the divergence would be as large.
    lines = lines / math.sqrt(max(float(np.mean(lines[patch.valid] ** 2)), 1e-12))
    level = math.sqrt(noise.pattern.share) * noise.sigma
    own = np.sqrt(np.maximum(deviation**2 - level**2, 0)) * pattern
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation > level, (own + level * lines) / deviation, pattern)


def _weight(
    patch: Patch, channel: int, noise: Noise, deviation: FloatArray, is_coarse: bool
) -> FloatArray:
    """Root of the Stein kernel at the values of a channel, relative to the variance."""
    values = patch.without_impulses[channel]
    mean = _local_mean(patch, values)
    departure = (values - mean) / np.where(deviation > 0, deviation, np.inf)
    limit = np.inf if noise.measured_kernel else MAX_DEPARTURE
    departure = np.clip(np.where(patch.valid, departure, 0), -limit, limit)
    kernel = noise.kernel(mean, departure, is_coarse)
    return _relative_root(np.square(deviation, dtype=float) * kernel, deviation)


def _relative_root(kernel: FloatArray, deviation: FloatArray) -> FloatArray:
    """Root of a Stein kernel [intensity²] relative to the variance.

    The mean of the kernel is the variance, which steps of the picture change.
    """
    squares = np.square(deviation, dtype=float)
    share = squares.sum() / max(float(kernel.sum()), 1e-300)
    return np.asarray(np.sqrt(share * kernel / np.where(squares > 0, squares, np.inf)))


def _local_mean(patch: Patch, channel: NDArray[np.floating]) -> FloatArray:
    """Local mean [intensity] by a Gaussian along the fine axes."""
    from scipy import ndimage

    fine = fine_axes(patch.valid.shape, patch.spacing)
    sigmas = [1.5 if axis in fine else 0.0 for axis in range(patch.valid.ndim)]
    valid_values = np.where(patch.valid, channel, 0).astype(float)
    return np.asarray(ndimage.gaussian_filter(valid_values, sigmas))


def _coarse_step(values: NDArray[np.floating], noises: Sequence[Noise]) -> float:
    """Distance of the grey levels, if it is half the noise or more; otherwise 0."""
    step = grey_step(values)
    level = math.sqrt(sum(noise.sigma**2 for noise in noises) / len(noises))
    return step if step >= MIN_GREY_STEP * level else 0.0


def _dithered(
    image: NDArray[np.floating],
    deviation: NDArray[np.floating],
    step: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Spread the values of grey levels that are ``step`` apart over one level.

    SURE holds for continuous noise. Where a grey level is half the noise and more, a filter with a
    threshold below the level removes nothing. It then seems to remove nothing of the picture.
    """
    dither = (step * rng.uniform(-0.5, 0.5, image.shape)).astype(image.dtype)
    wider = np.sqrt(deviation**2 + step**2 / 12).astype(image.dtype)
    return image + dither, np.where(deviation > 0, wider, deviation)


def _deviation(
    patch: Patch, noises: Sequence[Noise], is_coarse: bool
) -> list[NDArray[np.floating]]:
    """Standard deviation of the noise at every voxel of each channel; 0 where not valid."""
    deviations = []
    for number, (channel, noise) in enumerate(zip(patch.without_impulses, noises, strict=True)):
        mean = channel
        if noise.kind != "gaussian":
            mean = _local_mean(patch, channel)
        share = 0.0 if noise.pattern is None else noise.pattern.share
        deviation = np.sqrt(noise.variance(mean) * (1 - share))
        if noise.level_map is not None:
            factors = noise.level_map.on(patch.first, patch.box, patch.whole)
            deviation = deviation * factors.reshape(deviation.shape)
        deviation = np.minimum(deviation, _quiet(patch, channel, noise, deviation))
        if patch.impulses is not None:
            # The mean of the neighbours has little noise.
            deviation = np.where(patch.impulses[number], QUIET_FLOOR * deviation, deviation)
        deviation = np.hypot(deviation, math.sqrt(share) * noise.sigma)
        # Constant places are free of noise: whatever a filter changes there is an error.
        free = QUIET_FLOOR**2 * noise.sigma * patch.inside
        if is_coarse and noise.kind == "poisson":
            # Where no photon falls, the place is constant by chance.
            darkest = channel[patch.valid].min()
            free = np.where(patch.inside & (channel <= darkest), deviation, free)
        deviations.append(np.where(patch.valid, deviation, free))
    return deviations


def _quiet(
    patch: Patch, channel: NDArray[np.floating], noise: Noise, deviation: FloatArray
) -> FloatArray:
    """Upper bound of the deviation: that of the values themselves where there is nearly no noise.

    Such places are the surroundings of an object, which a reconstruction has set to about 0.
    """
    from scipy import ndimage

    axes = fine_axes(patch.valid.shape, patch.spacing)
    if not axes:  # a voxel without neighbours
        return deviation
    local = local_quantities(np.asarray(channel, float), patch.valid, axes)
    window = [SHARE_WINDOW.get(len(axes), 7) if i in axes else 1 for i in range(channel.ndim)]
    weight = ndimage.uniform_filter(local.inside.astype(float), window)
    squares = ndimage.uniform_filter(np.where(local.inside, local.residual, 0) ** 2, window)
    usable = weight > 0.2
    along = noise.correlations if noise.origin == "noise" else ()
    variance = squares / np.where(usable, weight, 1.0) / residual_variance(along)
    own = np.sqrt(np.maximum(variance, QUIET_FLOOR**2 * deviation**2))
    return np.where(usable & (own < QUIET_LEVEL * deviation), own, np.inf)


def _with_precision(
    patch: Patch, noises: Sequence[Noise], deviations: list[NDArray[np.floating]]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return image and deviations in float32 where that is precise enough, else in float64.

    The search needs a precision of a thousandth of the noise, which float32 nearly always has. Runs
    in float64 take twice the time.
    """
    largest = np.abs(patch.field[:, patch.valid]).max(initial=0)
    level = max(noise.sigma for noise in noises)
    # Rounding must be small beside the noise, and squares must neither overflow nor vanish.
    single = largest * np.finfo(np.float32).eps < 1e-3 * level and level > 1e-15 and largest < 1e15
    dtype = np.dtype(np.float32 if single else np.float64)
    return patch.field.astype(dtype), np.asarray(deviations, dtype)


def structure_masks(patches: Sequence[Patch], probes: Sequence[Probe]) -> list[NDArray[np.bool_]]:
    """Mark the voxels with structure.

    Their gradient exceeds `MIN_GRADIENT_RATIO` times that of the noise. All voxels that count are
    marked if less than `MIN_STRUCTURE_SHARE` of them have structure.
    """
    counted = [probe.deviation > 0 for probe in probes]
    steep = [
        _steep_voxels(patch, probe, mask)
        for patch, probe, mask in zip(patches, probes, counted, strict=True)
    ]
    voxels, steep_voxels = (sum(int(mask.sum()) for mask in masks) for masks in (counted, steep))
    return steep if steep_voxels >= MIN_STRUCTURE_SHARE * voxels else counted


def _steep_voxels(patch: Patch, probe: Probe, counts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the voxels with a steep gradient, away from voxels that do not count."""
    from scipy import ndimage

    fine = [axis + 1 for axis in fine_axes(patch.valid.shape, patch.spacing)]
    axes = range(counts.ndim)
    image, sigmas = np.where(counts, probe.image, 0), [float(axis in fine) for axis in axes]
    squares = []
    for axis in fine:
        order = [int(i == axis) for i in axes]
        derivative = ndimage.gaussian_filter(image, sigmas, order, truncate=GRADIENT_RADIUS)
        squares.append(derivative**2)
    # Voxels whose Gaussian covers no voxel that does not count.
    inside = ndimage.minimum_filter(
        counts, [2 * GRADIENT_RADIUS + 1 if axis in fine else 1 for axis in axes]
    )
    # Mean squared gradient of white noise of unit variance: 1/2 for every axis, over (4 pi)^(N/2).
    unit_noise = len(fine) / 2 / (4 * math.pi) ** (len(fine) / 2)
    limit = MIN_GRADIENT_RATIO**2 * unit_noise * probe.deviation**2
    return np.asarray(inside & (sum(squares) > limit).any(axis=0))
