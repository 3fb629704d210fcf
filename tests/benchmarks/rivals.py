"""Filters of other packages and our models, each with the parameters nearest to the ideal result.

BM3D and BM4D are used if their packages are installed. They are free for non-commercial use only,
and so are no requirement of ours.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.integrate
import scipy.ndimage
import SimpleITK
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

import napari_diffusion as nd

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.judging import Yardstick, smallest_error

Array = np.ndarray
#: Kinds of noise with one power spectrum everywhere, which BM3D and BM4D can be given.
STATIONARY = {"blurred", "zero-filled", "correlated along one axis", "back projection", "stripes"}
#: Number of noises whose mean is the power spectrum, and the seed of the first.
SPECTRA, FIRST_SPECTRUM = 8, 60
#: Maximum number of steps of a climb in one direction.
MAX_CLIMB = 6
#: Iterations of curvature diffusion, and the loss against its best [dB] at which it ends.
MAX_ITERATIONS, MAX_LOSS_DB = 80, 0.2
#: Voxels of the part of a volume on which BM4D is tuned.
TUNED_VOXELS = 20_000


class Best(NamedTuple):
    """Gain [dB] of a filter at its best parameters, and those in words."""

    gain: float
    setting: str


@dataclasses.dataclass(frozen=True)
class Frame:
    """A noisy image that is filtered on its own: a channel, a frame of a series, or everything.

    Attributes
    ----------
    noisy, clean
        The image as floating-point numbers, and the ideal result.
    level
        Root mean square of the noise [intensity].
    spacing
        Voxel size [length].
    """

    noisy: Array
    clean: Array
    level: float
    spacing: tuple[float, ...]


def frames(yardstick: Yardstick) -> tuple[list[Frame], Callable[[list[Array]], Array]]:
    """Frames of a case, and the function that puts results together."""
    case, shape = yardstick.case, yardstick.noisy.shape
    apart: tuple[int, ...] = () if case.channel_axis is None else (case.channel_axis,)
    if case.axes is not None:
        apart = tuple(axis for axis in range(len(shape)) if axis not in case.axes)
    to_front = tuple(range(len(apart)))
    inside = np.zeros(shape, bool)
    inside[yardstick.inside] = True

    def split(image: Array) -> Array:
        moved = np.moveaxis(image, apart, to_front)
        return moved.reshape(-1, *moved.shape[len(apart) :])

    def join(results: list[Array]) -> Array:
        moved = np.moveaxis(np.empty(shape), apart, to_front).shape
        return np.moveaxis(np.reshape(results, moved), to_front, apart)

    images = (split(image) for image in (yardstick.noisy.astype(float), yardstick.clean, inside))
    parts = []
    for noisy, clean, mask in zip(*images, strict=True):
        level = float(np.sqrt(np.mean(np.square(noisy - clean)[mask])))
        parts.append(Frame(noisy, clean, level, case.spacing))
    return parts, join


def climb(gain_of: Callable[[float], float], start: float, ratio: float) -> tuple[float, float]:
    """Best gain and value of a parameter, in steps of a ratio and then of its square root."""
    best, gain = start, gain_of(start)
    for step in (ratio, math.sqrt(ratio)):
        for factor in (step, 1 / step):
            before = best
            for _ in range(MAX_CLIMB if step == ratio else 1):
                higher = gain_of(best * factor)
                if higher <= gain:
                    break
                best, gain = best * factor, higher
            if best != before:
                break
    return gain, best


def each_frame(
    yardstick: Yardstick, work: Callable[[Frame, float], Array]
) -> Callable[[float], float]:
    """Gain of a filter as a function of its parameter."""
    parts, join = frames(yardstick)

    def gain_of(value: float) -> float:
        return yardstick.gain(yardstick.error(join([work(part, value) for part in parts])))

    return gain_of


def gaussian(yardstick: Yardstick) -> Best:
    """Gaussian of SciPy, with widths in lengths or in voxels."""
    best = Best(-math.inf, "")
    for unit in ("voxel", "length"):
        if unit == "length" and len(set(yardstick.case.spacing)) == 1:
            continue

        def work(part: Frame, width: float, unit: str = unit) -> Array:
            smallest = min(part.spacing)
            widths = [width * (smallest / h if unit == "length" else 1) for h in part.spacing]
            return scipy.ndimage.gaussian_filter(part.noisy, widths)

        gain, width = climb(each_frame(yardstick, work), 0.7, 1.5)
        best = max(best, Best(gain, f"sigma {width:.2g} voxel, the same {unit} on every axis"))
    return best


def median(yardstick: Yardstick) -> Best:
    """Median of SciPy over balls and cubes."""
    dimensions = len(yardstick.case.spacing)
    ball = scipy.ndimage.generate_binary_structure(dimensions, 1)
    shapes = {
        "nearest neighbours": ball,
        "3 voxels": np.ones((3,) * dimensions, bool),
        "two steps": scipy.ndimage.iterate_structure(ball, 2),
        "within slices": np.ones((1,) * (dimensions - 2) + (3, 3), bool),
    }
    best = Best(-math.inf, "")
    for words, footprint in shapes.items():

        def work(part: Frame, _: float, footprint: Array = footprint) -> Array:
            return scipy.ndimage.median_filter(part.noisy, footprint=footprint)

        best = max(best, Best(each_frame(yardstick, work)(1.0), words))
    return best


def total_variation(yardstick: Yardstick) -> Best:
    """Total variation denoising of scikit-image."""

    def work(part: Frame, weight: float) -> Array:
        return denoise_tv_chambolle(part.noisy, weight * part.level, eps=1e-5)

    gain, weight = climb(each_frame(yardstick, work), 1.0, 1.6)
    return Best(gain, f"weight {weight:.2g} noise")


def non_local_means(yardstick: Yardstick) -> Best:
    """Non-local means of scikit-image; the strength is tuned with the first size of patches."""
    is_flat = len(yardstick.case.spacing) == 2
    sizes = ((5, 6), (7, 9)) if is_flat else ((5, 3), (3, 2))
    best, h = Best(-math.inf, ""), 0.0
    for patch, distance in sizes:

        def work(part: Frame, h: float, patch: int = patch, distance: int = distance) -> Array:
            level = part.level
            return denoise_nl_means(part.noisy, patch, distance, h * level, sigma=level)

        gain_of = each_frame(yardstick, work)
        gain, h = (gain_of(h), h) if h else climb(gain_of, 0.8, 1.5)
        best = max(best, Best(gain, f"patch {patch}, distance {distance}, h {h:.2g} noise"))
    return best


def _iterations(part: Frame, conductance: float, unit: str) -> Iterator[Array]:
    """Results of curvature diffusion, iteration by iteration.

    The filter recomputes its conductance at every iteration, so that ten runs of one iteration
    equal one run of ten.
    """
    spacing = part.spacing if unit == "length" else (1.0,) * part.noisy.ndim
    image = SimpleITK.GetImageFromArray(part.noisy.astype(np.float32))
    image.SetSpacing(spacing[::-1])
    step = min(spacing) / 2 ** (part.noisy.ndim + 1)
    for _ in range(MAX_ITERATIONS):
        image = SimpleITK.CurvatureAnisotropicDiffusion(image, step, conductance, 1, 1)
        yield SimpleITK.GetArrayFromImage(image)


def curvature_diffusion(yardstick: Yardstick) -> Best:
    """Curvature diffusion of SimpleITK."""
    parts, join = frames(yardstick)
    best = Best(yardstick.gain(yardstick.error(yardstick.noisy)), "no iteration")
    units = ["voxel"] if len(set(yardstick.case.spacing)) == 1 else ["voxel", "length"]
    for unit in units:
        for conductance in (1.0, 1.7, 3.0, 5.0, 9.0):
            own = -math.inf
            runs = [_iterations(part, conductance, unit) for part in parts]
            for count, results in enumerate(zip(*runs, strict=True), 1):
                gain = yardstick.gain(yardstick.error(join(list(results))))
                own = max(own, gain)
                if gain < own - MAX_LOSS_DB:
                    break
                words = f"conductance {conductance:g}, {count} iterations, {unit}"
                best = max(best, Best(gain, words))
    return best


def block_matching(yardstick: Yardstick) -> Best | None:
    """BM3D for pictures, BM4D for volumes; None without their packages.

    The noise level is tuned on the middle slices, with the first of the two stages. Stationary
    noise that neighbours share is also given by its power spectrum.
    """
    parts, join = frames(yardstick)
    name = "bm3d" if parts[0].noisy.ndim == 2 else "bm4d"
    try:
        module = importlib.import_module(name)
    except ImportError:
        return None
    run = getattr(module, name)
    first_stage = getattr(module, f"{name.upper()}Stages").HARD_THRESHOLDING

    def gain_of(work: Callable[[Frame], Array]) -> float:
        return yardstick.gain(yardstick.error(join([work(part) for part in parts])))

    def tuned(factor: float) -> float:
        error = 0.0
        for part in parts[:2]:
            crop = _middle(part)
            result = run(part.noisy[crop], factor * part.level, stage_arg=first_stage)
            error += float(np.mean(np.square(result - part.clean[crop])))
        return -error

    factor = max((0.7, 1.0, 1.4), key=tuned)
    gain = gain_of(lambda part: run(part.noisy, factor * part.level))
    best = Best(gain, f"{name.upper()}, level {factor:g} noise")
    if yardstick.case.kind in STATIONARY:
        # BM4D 4.2 calls this function by a name that NumPy 2.4 does not have any more.
        vars(np).setdefault("trapz", scipy.integrate.trapezoid)
        spectrum = _power_spectrum(yardstick)
        gain = gain_of(lambda part: run(part.noisy, spectrum))
        best = max(best, Best(gain, f"{name.upper()}, power spectrum of the noise"))
    return best


def _middle(part: Frame) -> tuple[slice, ...]:
    """Middle slices of a volume, or the whole of a picture."""
    shape = part.noisy.shape
    count = max(8, TUNED_VOXELS // math.prod(shape[1:]))
    if len(shape) == 2 or count >= shape[0]:
        return (slice(None),) * len(shape)
    start = (shape[0] - count) // 2
    return (slice(start, start + count), *(slice(None),) * (len(shape) - 1))


def _power_spectrum(yardstick: Yardstick) -> Array:
    """Mean power of Fourier coefficients of the noise."""
    case = yardstick.case
    powers = [
        np.abs(np.fft.fftn(case.noisy(seed) - yardstick.clean)) ** 2
        for seed in range(FIRST_SPECTRUM, FIRST_SPECTRUM + SPECTRA)
    ]
    return np.mean(powers, axis=0)


RIVALS: dict[str, Callable[[Yardstick], Best | None]] = {
    "Gaussian": gaussian,
    "median": median,
    "total variation": total_variation,
    "non-local means": non_local_means,
    "curvature diffusion": curvature_diffusion,
    "BM3D, BM4D": block_matching,
}


def words(model: nd.Model) -> str:
    """Title of a model, and its parameters to three digits."""
    values = {p.name: getattr(model, p.name) for p in nd.models.parameters(type(model))}
    numbers = [
        f"{name} {value}" if isinstance(value, str) else f"{name} {value:.3g}"
        for name, value in values.items()
    ]
    return ", ".join([model.title, *numbers])


def ours(yardstick: Yardstick) -> Best:
    """Best of our models that keep the mean, over threshold, scale and time."""
    h = yardstick.voxel
    unit = math.sqrt(yardstick.error(yardstick.noisy)) / h
    tried: list[Best] = []

    def gain_of(model: nd.Model) -> float:
        when, error = smallest_error(yardstick, model)
        tried.append(Best(yardstick.gain(error), f"{words(model)}, time {when:.3g}"))
        return tried[-1].gain

    def search(make: Callable[[float, float], nd.Model], start: float, scales: list[float]) -> None:
        first, *others = scales
        _, kappa = climb(lambda kappa: gain_of(make(kappa, first)), start, 2.0)
        for scale in others:
            gain_of(make(kappa, scale))

    gain_of(nd.Linear())
    search(lambda k, s: nd.PeronaMalik(kappa=k, sigma=s), 0.6 * unit, [0.5 * h, 0.0, h])
    search(lambda k, s: nd.EdgeEnhancing(kappa=k, sigma=s, rho=h), unit, [0.0, 0.5 * h])
    search(lambda k, _: nd.TotalVariation(kappa=k), 0.3 * unit, [0.0])

    def hybrid(kappa: float, scale: float) -> nd.Model:
        return nd.Hybrid(kappa=kappa, contrast=3 * kappa, sigma=scale, rho=h)

    search(hybrid, unit, [0.5 * h, 0.0])
    if yardstick.case.kind == "speckle":
        climb(lambda q0: gain_of(nd.SpeckleReducing(q0=q0)), 0.3, 1.6)
    return max(tried)
