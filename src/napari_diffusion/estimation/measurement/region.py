"""Noise of a place that the user points at, such as background without structure.

An image full of detail has no calm place that a measurement can find by itself. The noise is then
measured in the given region alone, and taken to be the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array, FloatArray, as_array
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.estimation.measurement.noise import (
    NoNoiseError,
    combined_noise,
    measure_noise,
    raised_by_compression,
)
from napari_diffusion.estimation.noise.correlations import Origin
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.patches import Box, Patch, sample_patches

#: Smallest number of voxels of a region. The level of so many independent values has a standard
#: error of 5 %.
MIN_REGION_VOXELS = 200
#: Standard deviation of magnitudes of noise alone, in units of that of its real part; their mean in
#: units of their standard deviation, and their skewness (distribution of Rayleigh).
RAYLEIGH = math.sqrt(2 - math.pi / 2)
RAYLEIGH_MEAN = math.sqrt(math.pi / 2) / RAYLEIGH
RAYLEIGH_SKEWNESS = math.sqrt(math.pi / 2) * (math.pi - 3) / RAYLEIGH**3

_NO_NOISE = (
    "No noise can be measured in the noise region, as it is constant or already smooth: mark "
    "another place."
)
#: A scatter that exceeds that of neighbours by so many standard errors is not noise alone.
MAX_EXCESS_ERRORS = 3.0
#: Largest correlation of neighbours that counts: so long waves are no noise of a region.
MAX_CORRELATION = 0.95


@dataclass(frozen=True)
class NoiseRegion:
    """A region of an image in which the noise is measured.

    Attributes
    ----------
    patches
        Patches of the image around the region; their usable voxels are inside it.
    by_neighbours
        Noise of every channel of each frame from differences of neighbours, as that of a whole
        image.
    finds_air
        Whether the noise may be Rician: its kind is not given.
    """

    patches: Sequence[Patch]
    by_neighbours: dict[int, list[Noise]]
    finds_air: bool

    @classmethod
    def of(
        cls,
        problem: Problem,
        options: SuggestionOptions,
        is_compressed: bool,
        cancel: CancelEvent | None = None,
    ) -> NoiseRegion:
        """Check the region of the options, and measure the noise in it.

        Mask and labels of the problem do not limit it: the background outside may show the noise
        best.

        Raises
        ------
        TypeError, ValueError
            For a region of another type or shape, with too few voxels, or without noise.
        """
        region = _checked(problem, options.noise_region)
        domain = Domain(mask=region, place=problem.place)
        own = make_problem(problem.image, problem.recipe, problem.geometry, domain)
        patches = sample_patches([own], cancel, options.time_axes, _window(own, region))
        # Of a region that is nowhere usable, there are no patches.
        voxels = sum(int(patch.inside.sum()) for patch in patches) if patches else int(region.sum())
        if voxels < MIN_REGION_VOXELS:
            raise ValueError(
                f"The noise region has {voxels} voxels that can be used, and {MIN_REGION_VOXELS} "
                "are the least for a noise level: mark a larger place without structure."
            )
        shared = not is_compressed
        try:
            noises = measure_noise(patches, options.noise, "auto", cancel, may_be_shared=shared)
        except NoNoiseError:
            raise NoNoiseError(_NO_NOISE) from None
        if is_compressed:
            noises = raised_by_compression(noises, patches)
        return cls(patches, noises, options.noise is None and not is_compressed)

    @property
    def voxels(self) -> int:
        """Number of usable voxels."""
        return sum(int(patch.valid.sum()) for patch in self.patches)

    @cached_property
    def measured(self) -> dict[int, list[Noise]]:
        """Noise of every channel of the frames that show some in the region.

        Gaussian noise has the standard deviation of all values about a plane, since there is no
        structure, and its correlations are its own. The level has no map: one of the region would
        say nothing about other places.
        """
        levels = {
            source: [
                _of_scatter(noise, self._of(source), channel, self.finds_air)
                for channel, noise in enumerate(channels)
            ]
            for source, channels in self.by_neighbours.items()
        }
        shown = {s: each for s, each in levels.items() if all(noise.sigma > 0 for noise in each)}
        return shown or levels

    def _of(self, source: int) -> list[Patch]:
        return [patch for patch in self.patches if patch.source == source]

    def noises(self, sources: Sequence[int]) -> dict[int, list[Noise]]:
        """Return the noise of every channel of some frames, by their numbers.

        Frames without a part of the region have the mean level of the others.
        """
        mean = [combined_noise(channel) for channel in zip(*self.measured.values(), strict=True)]
        return {source: self.measured.get(source, mean) for source in sources}

    @property
    def has_structure(self) -> bool:
        """Whether values of the region scatter more than differences of neighbours explain."""
        return any(
            noise.origin == "none"
            and noise.kind == plain.kind
            and noise.sigma - plain.sigma > MAX_EXCESS_ERRORS * math.hypot(noise.error, plain.error)
            for source, channels in self.measured.items()
            for noise, plain in zip(channels, self.by_neighbours[source], strict=True)
        )


def _of_scatter(noise: Noise, patches: Sequence[Patch], channel: int, finds_air: bool) -> Noise:
    """Return Gaussian noise with the level of all values of a channel about their planes.

    With ``finds_air``, values of the air around a magnitude image are Rician noise.
    """
    noise = replace(noise, level_map=None)
    if noise.kind != "gaussian" or not noise.sigma > 0:
        return noise
    parts: list[FloatArray] = []
    means: list[FloatArray] = []
    inflation, lost = 1.0, 0
    for patch in patches:
        usable = patch.valid if patch.impulses is None else patch.valid & ~patch.impulses[channel]
        departures = _about_plane(patch.field[channel], usable)
        parts.append(departures[usable])
        means.append(np.asarray(patch.field[channel][usable], float))
        lost += 1 + sum(n > 1 for n in usable.shape)
        inflation = max(inflation, _inflation(departures, usable))
    values = np.concatenate(parts) if parts else np.zeros(0)
    freedom = values.size - lost
    if freedom < 1:
        return noise
    sigma = math.sqrt(float(values @ values) / freedom)
    error = sigma * math.sqrt(max(noise.kurtosis - 1, 1.0) * inflation / freedom) / 2
    if finds_air and _is_air(
        values / sigma, float(np.concatenate(means).mean()) / sigma, inflation
    ):
        return replace(noise, kind="rician", sigma=sigma / RAYLEIGH, error=error / RAYLEIGH)
    origin: Origin = "none" if noise.origin == "none" else "noise"
    return replace(noise, sigma=sigma, error=error, origin=origin, other_sigma=0.0)


def _is_air(values: FloatArray, mean: float, inflation: float) -> bool:
    """Whether departures and their mean, in standard deviations, are those of magnitudes of noise.

    Mean and skewness have to agree with those of Rayleigh within three of their standard errors,
    which are 0.72 (relative) and 2.5 divided by the root of the number of values (simulated). A
    region that is too small to tell is not air.
    """
    scatter = 3 * math.sqrt(inflation / values.size)
    skewness = float(np.mean(values**3))
    is_near = abs(mean / RAYLEIGH_MEAN - 1) < 0.72 * scatter
    return is_near and abs(skewness - RAYLEIGH_SKEWNESS) < 2.5 * scatter < RAYLEIGH_SKEWNESS / 2


def _about_plane(values: FloatArray, usable: NDArray[np.bool_]) -> FloatArray:
    """Return the departures of the usable values from the plane of least squares; 0 elsewhere."""
    places = np.argwhere(usable)
    long = [axis for axis, n in enumerate(usable.shape) if n > 1]
    terms = np.column_stack([np.ones(len(places)), *(places[:, axis] for axis in long)])
    own = np.asarray(values[usable], float)
    solution = np.linalg.lstsq(terms, own, rcond=None)[0]
    result = np.zeros(usable.shape)
    result[usable] = own - terms @ solution
    return result


def _inflation(departures: FloatArray, usable: NDArray[np.bool_]) -> float:
    """Factor by which correlations of neighbours raise the variance of a squared level."""
    factor = 1.0
    for axis, n in enumerate(usable.shape):
        if n < 3:
            continue
        first, second = np.moveaxis(departures, axis, 0), np.moveaxis(usable, axis, 0)
        pairs = second[1:] & second[:-1]
        product = float((first[1:] * first[:-1])[pairs].sum())
        square = float((np.square(first[1:]) + np.square(first[:-1]))[pairs].sum()) / 2
        r = min(abs(product) / square, MAX_CORRELATION) if square > 0 else 0.0
        factor *= (1 + r**2) / (1 - r**2)
    return factor


def _checked(problem: Problem, region: Any) -> Array:
    """Return a region as an array of the shape of the image without channels, or of its axes."""
    array = as_array(region, "noise_region")
    if array.dtype.kind != "b":
        raise TypeError(f"noise_region must be bool, got dtype {array.dtype}.")
    space = tuple(problem.shape[i] for i in problem.axes)
    whole = tuple(n for i, n in enumerate(problem.shape) if i != problem.channel_axis)
    if array.shape not in (space, whole):
        other = "" if space == whole else f", {space}, or of the image without channels"
        raise ValueError(
            f"noise_region must have the shape of the diffusing axes{other}, {whole}; "
            f"got {array.shape}."
        )
    return array


def _window(problem: Problem, region: Array) -> Box:
    """Return the box around a region, along the diffusing axes."""
    count = len(problem.axes)
    places = list(range(region.ndim))
    if region.ndim != count:
        without_channel = [i for i in range(len(problem.shape)) if i != problem.channel_axis]
        places = [without_channel.index(axis) for axis in problem.axes]
    box = []
    for place in places:
        others = tuple(axis for axis in range(region.ndim) if axis != place)
        used = np.flatnonzero(region.any(axis=others))
        box.append((int(used[0]), int(used[-1]) + 1) if used.size else (0, region.shape[place]))
    return tuple(box)
