r"""The aim ``"segmentation"``: regions as even as their boundaries allow.

A watershed divides a region wherever some relief is left in it, and a least-error filter leaves
relief that is image. For a segmentation, more smoothing is right as long as boundaries stay.

The least-error result u gives the structure. Its *boundaries* are the places whose gradient exceeds
Otsu's threshold of all gradients, and its *regions* are the voxels without a boundary beside them.
For another result v,

.. math:: c = \operatorname{mean}_{boundaries} \min\Bigl(1, \max\Bigl(0,
          \frac{\nabla u \cdot \nabla v}{|\nabla u|^2}\Bigr)\Bigr), \qquad
          r = \operatorname{mean}_{regions} |\nabla v|^2

are the contrast that boundaries keep and the relief of the regions. The choice has the least r with
c of at least `MIN_CONTRAST`. Every boundary place counts alike, weak or strong. Gradients are
differences between voxels, so that neither unit matters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.estimation.patches import Patch
from napari_diffusion.estimation.risk import Sums, mean_squared_error, noise_left, noise_share
from napari_diffusion.estimation.risk_curve import RiskCurve
from napari_diffusion.estimation.search import MAX_TIME_VOXEL2, Choice, Search
from napari_diffusion.models import Model, parameters

#: Share of the contrast that boundaries keep at least.
MIN_CONTRAST = 0.9
#: A curve ends when the relief has fallen by less than this share over one step, and a voxel² has
#: passed.
MIN_RELIEF_FALL = 0.002
#: Number of bins of the histogram for Otsu's threshold.
_BINS = 256
#: Parameters by which a model keeps edges.
_EDGE_PARAMETERS = ("threshold", "flux")


class ImageCurve(RiskCurve):
    """A risk curve that keeps the filtered patches of its last point in `results`."""

    results: Sequence[FloatArray] = ()

    def _sums(self, images: Sequence[FloatArray]) -> list[Sums]:
        starts, number = [], 0
        for probe in self.probes:
            starts.append(number)
            number += 2 if probe.structure is None else 3
        self.results = [images[start] for start in starts]
        return super()._sums(images)


@dataclass(frozen=True)
class Structure:
    """The boundaries and regions of some patches.

    Attributes
    ----------
    directions
        For every patch, the gradient at its boundary places divided by its square, shape
        ``(C, axes, places)`` [1/intensity].
    boundaries, regions
        For every patch, the places of each, shape ``space``.
    """

    directions: Sequence[FloatArray]
    boundaries: Sequence[NDArray[np.bool_]]
    regions: Sequence[NDArray[np.bool_]]

    def contrast(self, results: Sequence[FloatArray]) -> float:
        """Mean share of their contrast that the boundaries have; 1 without boundaries."""
        total = count = 0.0
        for result, direction, places in zip(
            results, self.directions, self.boundaries, strict=True
        ):
            shares = np.sum(_differences(result)[..., places] * direction, axis=(0, 1))
            total += float(np.clip(shares, 0, 1).sum())
            count += shares.size
        return total / count if count else 1.0

    def relief(self, results: Sequence[FloatArray]) -> float:
        """Mean square of the gradient in the regions [intensity²]; 0 without regions."""
        total = count = 0.0
        for result, places in zip(results, self.regions, strict=True):
            total += float(np.sum(_differences(result)[..., places] ** 2))
            count += int(places.sum())
        return total / count if count else 0.0


@dataclass
class StructureSearch(Search):
    """A search for the least relief of the regions of a structure.

    Attributes
    ----------
    structure
        The boundaries and regions of the patches.
    relief
        Relief of the result that the structure was taken from [intensity²].
    """

    structure: Structure = field(kw_only=True)
    relief: float = field(kw_only=True)

    def along(self, model: Model, near: float = 0.0, is_patient: bool = False) -> Choice:
        """Time of the least relief at which boundaries keep their contrast.

        The risk is infinite where they never do. The contrast ends the search, patient or not.
        """
        curve, voxel2 = self.curve, self.curve.voxel**2
        assert isinstance(curve, ImageCurve)
        choice = Choice(model, 0.0, math.inf, math.nan, 1.0)
        last_contrast, last_relief = 0.0, math.inf
        for time, sums in curve.points(model, MAX_TIME_VOXEL2 * voxel2, near / 8):
            contrast = self.structure.contrast(curve.results)
            relief = self.structure.relief(curve.results)
            if contrast >= MIN_CONTRAST and relief < choice.risk:
                numbers = mean_squared_error(sums), noise_left(sums), noise_share(sums)
                choice = Choice(model, time, relief, *numbers)
            # Noise on a boundary first hides its contrast. The contrast rises as noise goes.
            is_over = contrast < MIN_CONTRAST and contrast < last_contrast
            is_flat = relief > (1 - MIN_RELIEF_FALL) * last_relief
            if time > voxel2 / 4 and (is_over or (is_flat and time > voxel2)):
                break
            last_contrast, last_relief = contrast, relief
        return choice


def structure_search(search: Search, least_error: Choice) -> StructureSearch:
    """Make a search over the patches of another search, for the structure of a result."""
    given = search.curve
    weights = np.array(given.weights)
    curve = ImageCurve(given.patches, given.probes, weights, given.cancel, like=given.like)
    for _ in curve.points(least_error.model, least_error.time, least_error.time):
        pass
    structure = structure_of(curve.results, given.patches)
    return StructureSearch(
        curve=curve,
        noise=search.noise,
        edge_noise=search.edge_noise,
        fixed=search.fixed,
        max_combinations=search.max_combinations,
        structure=structure,
        relief=structure.relief(curve.results),
    )


def keeps_edges(model: Model) -> bool:
    """Whether a model has a threshold that keeps edges."""
    return any(p.suggest in _EDGE_PARAMETERS for p in parameters(model))


def structure_of(results: Sequence[FloatArray], patches: Sequence[Patch]) -> Structure:
    """Find the boundaries and the regions of filtered patches, shape ``(C, *space)``."""
    from scipy import ndimage

    inner = [_has_neighbours(patch) for patch in patches]
    gradients = [_differences(result) for result in results]
    magnitudes = [np.sqrt(np.sum(gradient**2, axis=(0, 1))) for gradient in gradients]
    pairs = list(zip(magnitudes, inner, strict=True))
    threshold = otsu_threshold(np.concatenate([m[places] for m, places in pairs]))
    boundaries = [(m > threshold) & places for m, places in pairs]
    regions = [
        places & ~ndimage.binary_dilation(boundary)
        for boundary, places in zip(boundaries, inner, strict=True)
    ]
    directions = [
        gradient[..., places] / magnitude[places] ** 2
        for gradient, magnitude, places in zip(gradients, magnitudes, boundaries, strict=True)
    ]
    return Structure(directions, boundaries, regions)


def otsu_threshold(values: FloatArray) -> float:
    """Threshold between two classes of values with the largest variance between them (Otsu 1979).

    It is the largest value where all values are equal.
    """
    if not values.size or values.min() == values.max():
        return float(values.max(initial=0))
    counts, edges = np.histogram(values, _BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sums = np.cumsum(counts * centres)
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / above
    return float(edges[1:-1][np.argmax(below * above * (means[0] - means[1]) ** 2)])


def _differences(field: FloatArray) -> FloatArray:
    """Central differences of neighbours along every axis of a field, shape ``(C, axes, *space)``.

    Values that are not finite count as 0.
    """
    values = np.where(np.isfinite(field), field, 0).astype(float)
    axes = [axis for axis in range(1, field.ndim) if field.shape[axis] > 1]
    gradients = [np.gradient(values, axis=axis) for axis in axes] or [np.zeros_like(values)]
    return np.stack(gradients, axis=1)


def _has_neighbours(patch: Patch) -> NDArray[np.bool_]:
    """Voxels all of whose neighbours carry noise and belong to the same region."""
    from scipy import ndimage

    regions: NDArray[Any] = np.zeros(patch.valid.shape) if patch.regions is None else patch.regions
    numbers = np.where(patch.valid, regions, regions.min() - 1.0)
    cross = ndimage.generate_binary_structure(numbers.ndim, 1)
    lowest = ndimage.minimum_filter(numbers, footprint=cross)
    highest = ndimage.maximum_filter(numbers, footprint=cross)
    return np.asarray(patch.valid & (lowest == highest))
