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
    """

    patches: Sequence[Patch]
    by_neighbours: dict[int, list[Noise]]

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
        return cls(patches, raised_by_compression(noises, patches) if is_compressed else noises)

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
                _of_scatter(noise, [p for p in self.patches if p.source == source], channel)
                for channel, noise in enumerate(channels)
            ]
            for source, channels in self.by_neighbours.items()
        }
        shown = {s: each for s, each in levels.items() if all(noise.sigma > 0 for noise in each)}
        return shown or levels

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
            and noise.sigma - plain.sigma > MAX_EXCESS_ERRORS * math.hypot(noise.error, plain.error)
            for source, channels in self.measured.items()
            for noise, plain in zip(channels, self.by_neighbours[source], strict=True)
        )


def _of_scatter(noise: Noise, patches: Sequence[Patch], channel: int) -> Noise:
    """Return Gaussian noise with the level of all values of a channel about their planes."""
    noise = replace(noise, level_map=None)
    if noise.kind != "gaussian" or not noise.sigma > 0:
        return noise
    squares, freedom, inflation = 0.0, 0, 1.0
    for patch in patches:
        usable = patch.valid if patch.impulses is None else patch.valid & ~patch.impulses[channel]
        departures = _about_plane(patch.field[channel], usable)
        squares += float(np.square(departures, dtype=float).sum())
        freedom += int(usable.sum()) - 1 - sum(n > 1 for n in usable.shape)
        inflation = max(inflation, _inflation(departures, usable))
    if freedom < 1:
        return noise
    sigma = math.sqrt(squares / freedom)
    error = sigma * math.sqrt(max(noise.kurtosis - 1, 1.0) * inflation / freedom) / 2
    origin: Origin = "none" if noise.origin == "none" else "noise"
    return replace(noise, sigma=sigma, error=error, origin=origin, other_sigma=0.0)


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
