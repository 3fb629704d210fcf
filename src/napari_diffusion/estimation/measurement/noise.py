"""Noise of the patches of an image: kind, level, correlations, place and patterns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field, FloatArray
from napari_diffusion.core.cancellation import CancelEvent, poll
from napari_diffusion.estimation.measurement.artefacts import (
    compressed_level,
    compression_corner,
    find_stripes,
    stripe_offsets,
)
from napari_diffusion.estimation.measurement.lines import variance_within_stripes
from napari_diffusion.estimation.measurement.local_level import level_spread, measure_level_map
from napari_diffusion.estimation.measurement.rings import find_rings, variance_of
from napari_diffusion.estimation.measurement.waves import find_wave
from napari_diffusion.estimation.noise.evidence import (
    Evidence,
    gather,
    is_busy,
    select_evidence,
)
from napari_diffusion.estimation.noise.kinds import Noise, estimate_noise
from napari_diffusion.estimation.noise.level_map import LevelMap
from napari_diffusion.estimation.noise.patterns import Stripes
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.search import ESTIMATORS
from napari_diffusion.models import Model, parameters

#: Largest ratio of the contrasts of two frames of the same object.
MAX_CONTRAST_RATIO = 1.25


class NoNoiseError(ValueError):
    """The noise of an image cannot be measured, because it is constant or already smooth."""


def measure_noise(
    patches: Sequence[Patch],
    kind: Any,
    model: Model | str,
    cancel: CancelEvent | None = None,
    may_be_shared: bool = True,
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
    may_be_shared
        Whether correlations may be those of the noise. Those of a compressed image are the work of
        the compression.

    Raises
    ------
    ValueError
        If no patch shows noise.
    """
    noises: dict[int, list[Noise]] = {}
    by_frame = {
        source: [patch for patch in patches if patch.source == source]
        for source in sorted({patch.source for patch in patches})
    }
    evidence_of: dict[int, list[Evidence]] = {}
    first_of: dict[int, Noise] = {}
    for source, own in by_frame.items():
        poll(cancel)
        evidence_of[source] = _gather_frame(own)
        first_of[source] = estimate_noise(evidence_of[source][0], kind, may_be_shared)
    # Speckle may be the same in the next frame while nothing moves. All frames then show it.
    may_use_changes = any(first.kind != "speckle" for first in first_of.values())
    for source, own in by_frame.items():
        poll(cancel)
        evidence, first = evidence_of[source], first_of[source]
        may_change = may_use_changes and own[0].following is not None
        if may_change and any(is_busy(channel) for channel in evidence):
            changes = _gather_changes(own)
            evidence_of[source] = evidence = [
                frame if change is None else select_evidence(frame, change)
                for frame, change in zip(evidence, changes, strict=True)
            ]
            first = estimate_noise(evidence[0], kind, may_be_shared)
        noises[source] = [first, *_others(evidence, first, may_be_shared)]
    if _leave_out_stripes(patches, evidence_of, noises):
        for source, evidence in evidence_of.items():
            first = estimate_noise(evidence[0], kind, may_be_shared)
            noises[source] = [first, *_others(evidence, first, may_be_shared)]
    if not any(noise.sigma > 0 for channels in noises.values() for noise in channels):
        names = []
        if isinstance(model, Model):
            names = [p.name for p in parameters(model) if p.suggest in ESTIMATORS]
        raise NoNoiseError(
            "The image has no measurable noise, as it is constant or already smooth: "
            f"enter {' and '.join([*names, 'time'])} yourself."
        )
    return _with_patterns(patches, noises, kind is None)


def _others(evidence: Sequence[Evidence], first: Noise, may_be_shared: bool) -> list[Noise]:
    """Noise of the channels after the first, of the same kind as that of the first."""
    return [estimate_noise(channel, first.kind, may_be_shared) for channel in evidence[1:]]


def _leave_out_stripes(
    patches: Sequence[Patch],
    evidence_of: dict[int, list[Evidence]],
    noises: dict[int, list[Noise]],
) -> bool:
    """Replace the evidence of channels with stripes by that without them; whether there is any.

    Stripes do not change the residual. They make calm places seem busy and classes of brightness
    that have the same noise.
    """
    is_any = False
    for channel in range(len(patches[0].field)) if patches else ():
        own: list[Noise | None] = [noises[patch.source][channel] for patch in patches]
        offsets = stripe_offsets(patches, channel, own)
        if offsets is None:
            continue
        for source, evidence in evidence_of.items():
            if not evidence[channel].is_change:
                pairs = zip(patches, offsets, strict=True)
                evidence[channel] = _evidence_without(pairs, source, channel)
                is_any = True
    return is_any


def _evidence_without(
    pairs: Iterable[tuple[Patch, FloatArray]], source: int, channel: int
) -> Evidence:
    """Evidence of a channel of one frame, from pairs of a patch and its offsets to leave out."""
    own = [(patch, offsets) for patch, offsets in pairs if patch.source == source]
    return gather(
        [patch.without_impulses[channel] for patch, _ in own],
        [patch.valid for patch, _ in own],
        [patch.spacing for patch, _ in own],
        stripes=[offsets for _, offsets in own],
    )


def raised_by_compression(
    noises: dict[int, list[Noise]], patches: Sequence[Patch]
) -> dict[int, list[Noise]]:
    """Return the noises of a compressed image with the level that its low frequencies show.

    Second differences contain next to none of it.
    """
    corner = compression_corner(patches)
    result = {source: list(channels) for source, channels in noises.items()}
    for source, channels in result.items():
        own = [patch for patch in patches if patch.source == source]
        for channel, noise in enumerate(channels):
            level = 0.0 if corner is None else compressed_level(own, channel, corner)
            # A change between frames has the level of both, which one frame does not show.
            if level > noise.sigma > 0 and not noise.between_frames:
                error = level * noise.error / noise.sigma
                channels[channel] = Noise("gaussian", level, error, skewness=noise.skewness)
    return result


def _gather_frame(patches: Sequence[Patch]) -> list[Evidence]:
    """Evidence of every channel of one frame."""
    valid, spacings = [patch.valid for patch in patches], [patch.spacing for patch in patches]
    return [
        gather([patch.without_impulses[c] for patch in patches], valid, spacings)
        for c in range(len(patches[0].field))
    ]


def _with_patterns(
    patches: Sequence[Patch], noises: dict[int, list[Noise]], may_be_gaussian: bool
) -> dict[int, list[Noise]]:
    """Return the noises with their level map and with patterns, which all frames share.

    Noise whose level varies with the place as well as with the intensity is taken for Gaussian
    noise where its level map explains the blocks better. ``may_be_gaussian`` allows this.
    """
    result = {source: list(channels) for source, channels in noises.items()}
    for channel in range(len(patches[0].field)):
        own: list[Noise | None] = [noises[patch.source][channel] for patch in patches]
        level_map = measure_level_map(patches, channel, own)
        if level_map is not None and may_be_gaussian and _any_other_kind(own):
            constant = [noise and noise.as_gaussian() for noise in own]
            constant_map = measure_level_map(patches, channel, constant)
            spreads = [
                level_spread(patches, channel, each, by_place)
                for each, by_place in ((constant, constant_map), (own, level_map))
            ]
            if spreads[0] < spreads[1]:
                own, level_map = constant, constant_map
        finders = (find_stripes, find_rings, find_wave)
        patterns = (find(patches, channel, own) for find in finders)
        pattern = next((each for each in patterns if each is not None), None)
        level = 1.0 if level_map is None else _mean_level(patches, level_map)
        within = 0.0
        if isinstance(pattern, Stripes):
            rest = variance_of(own)
            within = variance_within_stripes(patches, channel, pattern) / rest
            ratio = pattern.share / (1 - pattern.share) / (1 + within)
            pattern = replace(pattern, share=ratio / (1 + ratio))
        share = 0.0 if pattern is None else pattern.share
        is_gaussian = not _any_other_kind(own)
        for channels in result.values():
            noise = channels[channel].as_gaussian() if is_gaussian else channels[channel]
            noise = noise.scaled(level * math.sqrt((1 + within) / (1 - share)))
            scaled = None if level_map is None else level_map.times(1 / level)
            channels[channel] = replace(noise, level_map=scaled, pattern=pattern)
    return result


def _any_other_kind(noises: Sequence[Noise | None]) -> bool:
    """Whether the level of some noise depends on the intensity."""
    return any(noise is not None and noise.kind != "gaussian" for noise in noises)


def _mean_level(patches: Sequence[Patch], level_map: LevelMap) -> float:
    """Root mean square of the factors over the usable voxels."""
    squares, voxels = 0.0, 0
    for patch in patches:
        factors = level_map.on(patch.first, patch.box, patch.whole)
        valid = patch.valid.reshape(patch.box)
        squares += float(np.square(factors[valid]).sum())
        voxels += int(valid.sum())
    return math.sqrt(squares / voxels)


def _gather_changes(patches: Sequence[Patch]) -> list[Evidence | None]:
    """Evidence of every channel, from the changes to the next frame.

    It is None where the contrast of the next frame differs, as that of another stain does.
    """
    after = [patch.following() for patch in patches if patch.following is not None]
    valid = [patch.valid & later.valid for patch, later in zip(patches, after, strict=True)]
    spacings = [patch.spacing for patch in patches]
    changes: list[Evidence | None] = []
    for channel in range(len(patches[0].field)):
        first = [patch.without_impulses[channel] for patch in patches]
        second = [later.without_impulses[channel] for later in after]
        contrasts = [_contrast(fields, valid) for fields in (first, second)]
        is_same = max(contrasts) <= MAX_CONTRAST_RATIO * min(contrasts)
        changes.append(gather(first, valid, spacings, second) if is_same else None)
    return changes


def _contrast(fields: Sequence[Field], valid: Sequence[NDArray[np.bool_]]) -> float:
    """Standard deviation of the usable values of some fields [intensity]."""
    values = [field[mask] for field, mask in zip(fields, valid, strict=True)]
    return float(np.concatenate(values).std(dtype=float)) if values else 0.0


def combined_noise(noises: Sequence[Noise]) -> Noise:
    """Noise whose level is the root mean square of several.

    The other attributes are those of the strongest noise.
    """
    noises = [noise for noise in noises if noise.sigma > 0]
    squares = np.array([noise.sigma**2 for noise in noises])
    errors = np.array([2 * noise.sigma * noise.error for noise in noises])  # of the squares
    sigma = math.sqrt(squares.mean())
    error = math.sqrt(np.square(errors).sum()) / len(noises) / (2 * sigma)
    return replace(noises[int(squares.argmax())], sigma=sigma, error=error)
