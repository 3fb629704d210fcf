"""Gain, offset and read noise of photon counts, measured for the transform of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.engine.problem import Problem
from napari_diffusion.engine.recipe_fields import transform_numbers
from napari_diffusion.estimation.measurement.noise import combined_noise, measure_noise
from napari_diffusion.estimation.noise.kinds import MIN_GROWTH, Noise
from napari_diffusion.estimation.patches import sample_patches
from napari_diffusion.models import Linear


def photon_values(noise: Noise) -> dict[str, float]:
    r"""Return gain, offset and read noise of photon noise; nothing for other noise.

    The variance at the mean m is :math:`a\,m + b` with the gain a. The offset o and the read noise
    s obey :math:`b = s^2 - a\,o`. An image tells only b apart: a positive b is taken for read
    noise, and a negative one for an offset.
    """
    if noise.kind != "poisson" or not noise.gain > 0:
        return {}
    offset, read_noise = max(0.0, -noise.offset / noise.gain), math.sqrt(max(0.0, noise.offset))
    return dict(zip(transform_numbers(), (noise.gain, offset, read_noise), strict=True))


def measured_values(
    problems: Sequence[Problem],
    time_axes: Sequence[int] | None = None,
    cancel: CancelEvent | None = None,
) -> dict[str, float]:
    """Measure gain, offset and read noise of images, rounded to three digits.

    Raises
    ------
    ValueError
        If the noise cannot be measured, or does not grow with the intensity.
    Cancelled
        When ``cancel`` was set.
    """
    plain = [replace(p, recipe=replace(p.recipe, transform="none")) for p in problems]
    patches = sample_patches(plain, cancel, time_axes)
    values: dict[str, float] = {}
    for kind in (None, "poisson"):  # an offset may make photon noise look like speckle
        noises = measure_noise(patches, kind, Linear(), cancel)
        noise = combined_noise([noise for channels in noises.values() for noise in channels])
        values = photon_values(noise)
        if values:
            break
    spread = max((float(np.ptp(np.quantile(p.field, (0.05, 0.95)))) for p in patches), default=0.0)
    if not values or noise.gain * spread < MIN_GROWTH * noise.sigma**2:
        raise ValueError(
            "The noise of the image does not grow with the intensity, as that of photons does: "
            "leave out the transform, or give gain, offset and read_noise."
        )
    return {name: float(f"{value:.3g}") for name, value in values.items()}


def with_transform(
    problems: Sequence[Problem],
    given: dict[str, float],
    time_axes: Sequence[int] | None = None,
    cancel: CancelEvent | None = None,
) -> list[Problem]:
    """Return problems with the values of their transform: those ``given``, the others measured."""
    values: dict[str, Any] = dict(given)
    if not set(transform_numbers()) <= given.keys():
        values = measured_values(problems, time_axes, cancel) | values
    return [replace(p, recipe=replace(p.recipe, **values)) for p in problems]
