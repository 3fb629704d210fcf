"""Noise of the patches of an image, and the probes that measure the response of a filter to it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.cancellation import CancelEvent, poll
from napari_diffusion.estimation.noise import (
    Evidence,
    fine_axes,
    gather,
    is_busy,
    select_evidence,
)
from napari_diffusion.estimation.noise_kinds import Noise, estimate_noise
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.risk import Probe, hidden_voxel_probe, noise_probe
from napari_diffusion.estimation.search import ESTIMATORS
from napari_diffusion.models import Model, parameters

#: Minimum gradient of structure, in units of the gradient of the noise.
MIN_GRADIENT_RATIO = 10.0
#: Share of voxels with structure below which structure is not considered separately.
MIN_STRUCTURE_SHARE = 0.1
#: Radius of the Gaussian derivative of one voxel that measures the gradient [voxel].
GRADIENT_RADIUS = 3


def measure_noise(
    patches: Sequence[Patch], kind: Any, model: Model | str, cancel: CancelEvent | None = None
) -> dict[int, list[Noise]]:
    """Return the noise of every channel of each frame.

    All channels of a frame have the same kind of noise.

    Parameters
    ----------
    patches
        Patches of the image.
    kind
        Kind of the noise, or None to choose it from the image.
    model
        The model, or ``"auto"``; an error message names its parameters.
    cancel
        The measurement ends with `Cancelled` when this event is set.

    Raises
    ------
    ValueError
        If no patch shows noise.
    """
    noises: dict[int, list[Noise]] = {}
    for source in sorted({patch.source for patch in patches}):
        poll(cancel)
        own = [patch for patch in patches if patch.source == source]
        valid, spacings = [patch.valid for patch in own], [patch.spacing for patch in own]
        evidence = [
            gather([patch.field[c] for patch in own], valid, spacings)
            for c in range(len(own[0].field))
        ]
        first = estimate_noise(evidence[0], kind)
        # Speckle may be the same in the next frame while nothing moves.
        may_use_changes = own[0].following is not None and first.kind != "speckle"
        if may_use_changes and any(is_busy(channel) for channel in evidence):
            changes = _gather_changes(own)
            evidence = [
                select_evidence(frame, change)
                for frame, change in zip(evidence, changes, strict=True)
            ]
            first = estimate_noise(evidence[0], kind)
        others = [estimate_noise(channel, first.kind) for channel in evidence[1:]]
        noises[source] = [first, *others]
    if not any(noise.sigma > 0 for channels in noises.values() for noise in channels):
        names = []
        if isinstance(model, Model):
            names = [p.name for p in parameters(model) if p.suggest in ESTIMATORS]
        raise ValueError(
            f"The image shows no noise to choose {' and '.join([*names, 'time'])} by; "
            f"set {'them' if names else 'it'} by hand."
        )
    return noises


def _gather_changes(patches: Sequence[Patch]) -> list[Evidence]:
    """Evidence of every channel, from the changes to the next frame."""
    after = [patch.following() for patch in patches if patch.following is not None]
    valid = [patch.valid & later.valid for patch, later in zip(patches, after, strict=True)]
    spacings = [patch.spacing for patch in patches]
    return [
        gather(
            [patch.field[c] for patch in patches],
            valid,
            spacings,
            [later.field[c] for later in after],
        )
        for c in range(len(patches[0].field))
    ]


def combined_noise(noises: Sequence[Noise]) -> Noise:
    """Noise whose level is the root mean square of several.

    The other attributes are those of the strongest noise.
    """
    noises = [noise for noise in noises if noise.sigma > 0]
    squares = np.array([noise.sigma**2 for noise in noises])
    errors = np.array([2 * noise.sigma * noise.error for noise in noises])  # of the squares
    sigma = math.sqrt(squares.mean())
    error = math.sqrt(np.square(errors).sum()) / len(noises) / (2 * sigma)
    return dataclasses.replace(noises[int(squares.argmax())], sigma=sigma, error=error)


def make_probe(patch: Patch, noises: Sequence[Noise], criterion: str, seed: int) -> Probe:
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
    """
    image, deviation = _with_precision(patch, noises, _deviation(patch, noises))
    if criterion == "j-invariance":
        return hidden_voxel_probe(image, deviation)
    axes = fine_axes(image.shape[1:], patch.spacing)
    correlations = []
    for noise in noises:
        usable = noise.origin == "noise" and len(noise.correlations) == len(axes)
        by_axis = dict(zip(axes, noise.correlations, strict=True)) if usable else {}
        correlations.append([by_axis.get(axis, ()) for axis in range(image.ndim - 1)])
    return noise_probe(image, deviation, seed, correlations)


def _deviation(patch: Patch, noises: Sequence[Noise]) -> list[NDArray[np.floating]]:
    """Standard deviation of the noise at every voxel of each channel; 0 where not valid."""
    from scipy import ndimage

    sigmas = [
        1.5 if n > 2 and h <= 1.5 * min(patch.spacing) else 0.0
        for n, h in zip(patch.field.shape[1:], patch.spacing, strict=True)
    ]
    deviations = []
    for channel, noise in zip(patch.field, noises, strict=True):
        mean = channel
        if noise.kind != "gaussian":
            valid_values = np.where(patch.valid, channel, 0).astype(float)
            mean = ndimage.gaussian_filter(valid_values, sigmas)
        deviations.append(np.where(patch.valid, np.sqrt(noise.variance(mean)), 0))
    return deviations


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
