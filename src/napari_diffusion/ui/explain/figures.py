"""Frames of the animated figures, computed from a picture by the filters themselves.

All of it runs in NumPy without compiled kernels, so that the first figure needs no compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import napari_diffusion as nd
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.gaussian import equivalent_sigma
from napari_diffusion.models import Model
from napari_diffusion.ui.explain.pictures import Picture, Real, fibre_picture

#: Diffusion times of the figures [pixel²]: first, last, and their number.
FIRST_TIME, LAST_TIME, TIME_STEPS = 0.15, 40.0, 20
#: Last diffusion time along fibres, and number of times; a step along fibres is expensive.
LAST_FIBRE_TIME, FIBRE_STEPS = 12.0, 7
#: Scale of the gradients [pixel], and the edge threshold per standard deviation of the noise.
GRADIENT_SCALE, THRESHOLD_PER_NOISE = 1.0, 0.5
#: Thresholds of a figure, per standard deviation of the noise, and the recommended time [pixel²].
THRESHOLDS, RECOMMENDED_TIME = tuple(np.geomspace(0.03, 10.0, 13)), 8.0
#: Positions of the strength slider; each is a factor of four in time per unit.
STRENGTHS = tuple(np.linspace(-1.0, 1.0, 9))


@dataclass(frozen=True)
class Panel:
    """One picture of a figure, over the positions of its slider.

    Attributes
    ----------
    title
        What the picture shows.
    images
        Grey levels, axes (position, y, x).
    limits
        Grey levels that are shown black and white.
    marks
        Pixels that are coloured, axes (position, y, x), or ``None``.
    """

    title: str
    images: Real
    limits: tuple[float, float]
    marks: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Figure:
    """Two pictures side by side that a slider changes, and a profile through both.

    Attributes
    ----------
    panels
        The two pictures.
    captions
        Text for each position of the slider.
    start
        Position that is shown first.
    profile
        Panels whose grey levels along ``row`` are drawn as curves; empty without a curve.
    row
        Row of the profile.
    original
        Grey levels of the picture before any filter.
    pixel
        Pixel size (y, x), for the proportions.
    own
        Whether the picture is the user's own.
    """

    panels: tuple[Panel, Panel]
    captions: tuple[str, ...]
    start: int
    profile: tuple[int, ...]
    row: int
    original: Real
    pixel: tuple[float, float]
    own: bool

    @property
    def positions(self) -> int:
        """Number of positions of the slider."""
        return len(self.captions)


Maker = Callable[[Picture, CancelEvent | None], Figure]


def isotropic(picture: Picture, cancel: CancelEvent | None = None) -> Figure:
    """Return the heat equation on a picture, beside the picture."""
    times = _times(LAST_TIME, TIME_STEPS)
    smooth = _evolution(picture.values, nd.Linear(), times, cancel)
    panels = _still(picture, len(times)), Panel("Smoothed", smooth, picture.limits)
    return _figure(picture, panels, _widths(picture, times), profile=(1,))


def anisotropic(picture: Picture, cancel: CancelEvent | None = None) -> Figure:
    """Return the same amount of smoothing with edges ignored and with edges kept."""
    times = _times(LAST_TIME, TIME_STEPS)
    smooth = _evolution(picture.values, nd.Linear(), times, cancel)
    kept = _evolution(picture.values, _edge_preserving(picture), times, cancel)
    panels = (
        Panel("Edges ignored", smooth, picture.limits),
        Panel("Edges kept", kept, picture.limits),
    )
    return _figure(picture, panels, _widths(picture, times), profile=(0, 1))


def edge_threshold(picture: Picture, cancel: CancelEvent | None = None) -> Figure:
    """Return the edges of a picture and the result, for thresholds from low to high."""
    from scipy import ndimage

    gradient = ndimage.gaussian_gradient_magnitude(picture.values, GRADIENT_SCALE)
    results, marks, captions = [], [], []
    for factor in THRESHOLDS:
        model = _edge_preserving(picture, factor)
        results.append(_filter(picture.values, model, RECOMMENDED_TIME, cancel))
        marks.append(gradient > model.kappa)
        captions.append(f"{marks[-1].mean():.0%} of the pixels count as edges.")
    images = np.repeat(picture.values[None], len(THRESHOLDS), axis=0)
    panels = (
        Panel("Edges (orange)", images, picture.limits, np.stack(marks)),
        Panel("Result", np.stack(results), picture.limits),
    )
    return _figure(picture, panels, captions, profile=(1,))


def strength(picture: Picture, cancel: CancelEvent | None = None) -> Figure:
    """Return what is removed and the result, from gentle to strong."""
    times = [RECOMMENDED_TIME * 4.0**value for value in STRENGTHS]
    kept = _evolution(picture.values, _edge_preserving(picture), times, cancel)
    limit = 3 * picture.noise
    panels = (
        Panel("What is removed", picture.values - kept, (-limit, limit)),
        Panel("Result", kept, picture.limits),
    )
    captions = [_strength_words(value) for value in STRENGTHS]
    return _figure(picture, panels, captions, start=len(STRENGTHS) // 2, profile=(1,))


def fibres(_: Picture, cancel: CancelEvent | None = None) -> Figure:
    """Return generated fibres, smoothed with edges kept and smoothed along the fibres."""
    picture = fibre_picture()
    times = _times(LAST_FIBRE_TIME, FIBRE_STEPS)
    along = nd.CoherenceEnhancing(kappa=0.5 * picture.noise, sigma=0.7, rho=3.0)
    panels = (
        Panel(
            "Edges kept",
            _evolution(picture.values, _edge_preserving(picture), times, cancel),
            picture.limits,
        ),
        Panel(
            "Along the fibres",
            _evolution(picture.values, along, times, cancel),
            picture.limits,
        ),
    )
    return _figure(picture, panels, _widths(picture, times))


def _figure(
    picture: Picture,
    panels: tuple[Panel, Panel],
    captions: Sequence[str],
    start: int = 0,
    profile: tuple[int, ...] = (),
) -> Figure:
    return Figure(
        panels,
        tuple(captions),
        start,
        profile,
        telling_row(picture.values),
        picture.values,
        picture.pixel,
        picture.own,
    )


def telling_row(values: Real) -> int:
    """Return the row with the largest differences between broad regions, away from the border."""
    from scipy import ndimage

    margin = len(values) // 8
    spread = ndimage.gaussian_filter(values, 2.0).std(axis=1)
    return margin + int(np.argmax(spread[margin : len(values) - margin]))


def _edge_preserving(picture: Picture, factor: float = THRESHOLD_PER_NOISE) -> nd.PeronaMalik:
    return nd.PeronaMalik(kappa=factor * picture.noise, sigma=GRADIENT_SCALE)


def _times(last: float, count: int) -> list[float]:
    """Return 0 and then times with a constant ratio [pixel²]."""
    return [0.0, *(float(t) for t in np.geomspace(FIRST_TIME, last, count))]


def _evolution(
    values: Real, model: Model, times: Sequence[float], cancel: CancelEvent | None
) -> Real:
    """Return a picture at each of several ascending times, axes (time, y, x)."""
    images, reached = [values], 0.0
    for time in times:
        images.append(_filter(images[-1], model, time - reached, cancel))
        reached = time
    return np.stack(images[1:])


def _filter(values: Real, model: Model, time: float, cancel: CancelEvent | None) -> Real:
    result = nd.diffuse(values, model, time=time, threads=1, backend="reference", cancel=cancel)
    return np.asarray(result, np.float32)


def _still(picture: Picture, count: int) -> Panel:
    images = np.repeat(picture.values[None], count, axis=0)
    return Panel("Original", images, picture.limits)


def _widths(picture: Picture, times: Sequence[float]) -> list[str]:
    """Return the width of the equivalent Gaussian in words, for each time."""
    side = min(picture.pixel)
    return [
        f"Like a Gaussian of σ = {equivalent_sigma(time) * side:.2g} {picture.unit}."
        if time > 0
        else "Not smoothed yet."
        for time in times
    ]


def _strength_words(value: float) -> str:
    if value == 0:
        return "Recommended."
    side = "Gentle" if value < 0 else "Strong"
    return f"{side}: {4.0**value:.2g} times the recommended amount."
