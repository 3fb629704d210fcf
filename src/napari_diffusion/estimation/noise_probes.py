"""The noise of an image's pieces, and the probes that tell how a filter treats it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.estimation.noise import Evidence, busy, calmer, fine_axes, gather
from napari_diffusion.estimation.noise_kinds import Noise, estimate_noise
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.risk import Probe, disturbed, hiding
from napari_diffusion.estimation.search import ESTIMATORS
from napari_diffusion.models import Model, parameters

#: Gradient, in units of that of the noise, from which there is structure, and the share of voxels from which an image is full of it.
STEEP, FULL = 10.0, 0.1
#: How far the Gaussian of one voxel reaches that the gradient is read with.
REACH = 3


def measure_noise(
    patches: Sequence[Patch], kind: Any, model: Model | str
) -> dict[int, list[Noise]]:
    """Noise of every channel of every frame; the channels of a frame have one kind."""
    found: dict[int, list[Noise]] = {}
    for source in sorted({patch.source for patch in patches}):
        own = [patch for patch in patches if patch.source == source]
        valid, spacings = [patch.valid for patch in own], [patch.spacing for patch in own]
        evidence = [
            gather([patch.field[c] for patch in own], valid, spacings)
            for c in range(len(own[0].field))
        ]
        first = estimate_noise(evidence[0], kind)
        series = (
            own[0].following is not None and first.kind != "speckle"
        )  # which may stay the same while nothing moves
        if series and any(busy(still) for still in evidence):
            evidence = [
                calmer(still, change) for still, change in zip(evidence, _changes(own), strict=True)
            ]
            first = estimate_noise(evidence[0], kind)
        found[source] = [first, *(estimate_noise(one, first.kind) for one in evidence[1:])]
    if not any(noise.sigma > 0 for channels in found.values() for noise in channels):
        wanted = (
            [p.name for p in parameters(model) if p.suggest in ESTIMATORS]
            if isinstance(model, Model)
            else []
        )
        raise ValueError(
            f"The image shows no noise to choose {' and '.join([*wanted, 'time'])} by; set them by hand."
        )
    return found


def _changes(patches: Sequence[Patch]) -> list[Evidence]:
    """Evidence of every channel, from the changes to the next frame."""
    after = [patch.following() for patch in patches if patch.following is not None]
    valid = [patch.valid & then.valid for patch, then in zip(patches, after, strict=True)]
    spacings = [patch.spacing for patch in patches]
    channels = range(len(patches[0].field))
    return [
        gather(
            [patch.field[c] for patch in patches],
            valid,
            spacings,
            [then.field[c] for then in after],
        )
        for c in channels
    ]


def combined_noise(noises: Sequence[Noise]) -> Noise:
    """Root mean square of several noises; what else they are is told by the strongest."""
    noises = [noise for noise in noises if noise.sigma > 0]
    squares = np.array([noise.sigma**2 for noise in noises])
    errors = np.array([2 * noise.sigma * noise.error for noise in noises])  # of the squares
    sigma = math.sqrt(squares.mean())
    error = math.sqrt(np.square(errors).sum()) / len(noises) / (2 * sigma)
    return dataclasses.replace(noises[int(squares.argmax())], sigma=sigma, error=error)


def probe(patch: Patch, noises: Sequence[Noise], criterion: str, seed: int) -> Probe:
    """Probe of a piece, for a criterion, with the noise of each of its channels; the same for the same seed."""
    from scipy import ndimage

    size = [
        1.5 if n > 2 and h <= 1.5 * min(patch.spacing) else 0.0
        for n, h in zip(patch.field.shape[1:], patch.spacing, strict=True)
    ]
    deviations = []
    for channel, noise in zip(patch.field, noises, strict=True):
        mean = (
            ndimage.gaussian_filter(np.where(patch.valid, channel, 0).astype(float), size)
            if noise.kind != "gaussian"
            else channel
        )
        deviations.append(np.where(patch.valid, np.sqrt(noise.variance(mean)), 0))
    # The search needs a thousandth of the noise, which single precision nearly always has; a run of long floats takes twice the time.
    largest, level = (
        np.abs(patch.field[:, patch.valid]).max(initial=0),
        max(noise.sigma for noise in noises),
    )
    # In float32 neither the noise may drown in rounding nor a square overflow or vanish.
    single = largest * np.finfo(np.float32).eps < 1e-3 * level and level > 1e-15 and largest < 1e15
    dtype = np.dtype(np.float32 if single else np.float64)
    image, deviation = patch.field.astype(dtype), np.asarray(deviations, dtype)
    if criterion == "j-invariance":
        return hiding(image, deviation)
    fine = fine_axes(image.shape[1:], patch.spacing)
    along = [
        noise.correlations if noise.allowed and len(noise.correlations) == len(fine) else ()
        for noise in noises
    ]
    shared = [
        [own[fine.index(axis)] if own and axis in fine else () for axis in range(image.ndim - 1)]
        for own in along
    ]
    return disturbed(image, deviation, seed, shared)


def structures(patches: Sequence[Patch], probes: Sequence[Probe]) -> list[NDArray[np.bool_]]:
    """Voxels with structure, where the gradient is `STEEP`; all that count in an image that is not `FULL` of it."""
    from scipy import ndimage

    counted, found = [probe.deviation > 0 for probe in probes], []
    for patch, probe, counts in zip(patches, probes, counted, strict=True):
        fine = [axis + 1 for axis in fine_axes(patch.valid.shape, patch.spacing)]
        axes = range(counts.ndim)
        image, width = np.where(counts, probe.image, 0), [float(axis in fine) for axis in axes]
        squares = [
            ndimage.gaussian_filter(image, width, [int(i == axis) for i in axes], truncate=REACH)
            ** 2
            for axis in fine
        ]
        # Where the filter meets no other voxel.
        inside = ndimage.minimum_filter(
            counts, [2 * REACH + 1 if axis in fine else 1 for axis in axes]
        )
        # White noise of deviation 1 has half for every axis, over (4 pi)^(N/2).
        own = len(fine) / 2 / (4 * math.pi) ** (len(fine) / 2)
        found.append(inside & (sum(squares) > STEEP**2 * own * probe.deviation**2).any(axis=0))
    number, steep = (sum(int(part.sum()) for part in parts) for parts in (counted, found))
    return found if steep >= FULL * number else counted
