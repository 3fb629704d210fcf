"""Images with a known ideal result and noise of many kinds, each repeatable from a seed.

`CASES` has kinds inside and outside the assumptions of `nd.suggest`. The first six are those on
which an automatic choice is easily wrong: detail as fine as noise, noise that neighbours share in a
head with zeros around it, whole numbers, impulses, stripes, and a level that varies with the place.
"""

import numpy as np

from helpers import noise_models as noise
from helpers import noise_scenes as scenes
from helpers.noise_case import NoiseCase

Array = np.ndarray


def bump(shape, low, high, width) -> Array:
    """Level that rises from ``low`` by ``high`` in the middle of every slice."""
    y, x = scenes.coordinates(shape[-2:])
    return low + high * np.exp(-(y**2 + x**2) / width)


def slope(shape, low, high, axis) -> Array:
    """Level that grows from ``low`` to ``high`` along an axis."""
    return low + (high - low) * (scenes.coordinates(shape)[axis] + 1) / 2


def amplification(shape, level, ratio, seed) -> Array:
    """Level times a smooth map from 1 to ``ratio``, as parallel imaging leaves it."""
    return level * scenes.scaled(scenes.smooth_field(shape, seed, 9.0), 1.0, ratio)


VOLUME, SLAB, PLANE = (28, 56, 56), (16, 72, 72), (224, 224)
CUBE, FLAT = (1.0, 1.0, 1.0), (1.0, 1.0)
IMPULSES = ("impulse", "hot", "dead", "outlier")
STRIPES = ("stripe", "streak", "lines", "columns")
RINGS = ("ring", "pattern", *STRIPES)
COMPRESSION = ("JPEG", "compress")
SMALL_FOLDS = scenes.folds((28, 88, 88), 1, 1.4, 0.45)
BLOBS = scenes.folds((28, 88, 88), 3, 6.0, 0.8)
HEAD = scenes.head((24, 64, 64), 2)


def _hard() -> list[NoiseCase]:
    """Six cases on which a choice by one level of white noise everywhere is wrong."""
    whole = scenes.folds((16, 96, 96), 5, 2.5, 1.0)
    lines = scenes.folds((5, 208, 208), 4, 3.0, 0.8)

    def level(shape):
        return 16 * bump(shape, 0.2, 2.0, 0.2)

    def whole_numbers(clean, rng):
        return np.round(clean + 0.7 * rng.normal(size=clean.shape))

    return [
        NoiseCase("A folds, white noise", "white noise", SMALL_FOLDS, noise.white(20)),
        NoiseCase(
            "B head in exact zeros, noise shared by neighbours",
            "zeros around the object",
            HEAD,
            noise.inside_only(noise.shared(6, 0.8), scenes.head_mask),
            region=scenes.head_mask,
        ),
        NoiseCase("C whole numbers, noise below one level", "rounded", whole, whole_numbers),
        NoiseCase(
            "D hot and dead voxels, 1 %",
            "impulses",
            BLOBS,
            noise.impulses(noise.white(10), 0.005, 0.005, 400),
            name_words=IMPULSES,
        ),
        NoiseCase(
            "E stripes along rows",
            "stripes",
            lines,
            noise.stripes(13, 13),
            spacing=(50.0, 9.0, 9.0),
            name_words=STRIPES,
        ),
        NoiseCase(
            "F noise 11 times stronger in the middle", "uneven level", BLOBS, noise.uneven(level)
        ),
    ]


def _white() -> list[NoiseCase]:
    """White Gaussian noise on images that differ."""
    kind, calm = "white noise", {"holds": True}
    shell = scenes.membranes(VOLUME, 21)
    photographs = (("camera", 25, True), ("coins", 38, True), ("gravel", 20, False))
    return [
        NoiseCase("calm hills", kind, scenes.calm(VOLUME, 11), noise.white(12), **calm),
        NoiseCase("cells", kind, scenes.cells(VOLUME, 12), noise.white(9), **calm),
        NoiseCase("cells, strong noise", kind, scenes.cells(SLAB, 13), noise.white(60), **calm),
        NoiseCase("wide folds", kind, scenes.folds(VOLUME, 14, 3.5, 0.7), noise.white(18), **calm),
        NoiseCase("membranes", kind, shell, noise.white(30), **calm),
        NoiseCase("filaments", kind, scenes.filaments(VOLUME, 22), noise.white(14), **calm),
        NoiseCase("light from one side", kind, scenes.lit(VOLUME, 23), noise.white(8), **calm),
        NoiseCase("tissue", "electron microscopy", scenes.tissue(SLAB, 24), noise.white(14)),
        *(
            NoiseCase(
                f"photograph {name}",
                "photographs",
                scenes.photograph(name),
                noise.white(level),
                spacing=FLAT,
                holds=is_calm,
            )
            for name, level, is_calm in photographs
        ),
    ]


def _magnetic_resonance() -> list[NoiseCase]:
    """Noise of magnetic resonance imaging."""
    head, body = scenes.head(VOLUME, 31, 120, 60, 3.0), scenes.head(SLAB, 32, 90, 70, 2.6)
    whole = {"region": scenes.head_mask}
    filled = scenes.folds(VOLUME, 33, 4.0, 0.8)
    coils = ((4, 14, head), (8, 22, body))

    def receive(shape):
        return bump(shape, 6.0, 18.0, 0.25)

    return [
        NoiseCase(
            "head, Rician 6 %",
            "Rician",
            head,
            noise.chi(15),
            noise.chi_mean(15),
            holds=True,
            **whole,
        ),
        NoiseCase("head, Rician 20 %", "Rician", body, noise.chi(50), noise.chi_mean(50), **whole),
        *(
            NoiseCase(
                f"{count} coils, sum of squares",
                "non-central chi",
                image,
                noise.chi(sigma, count),
                noise.chi_mean(sigma, count),
                **whole,
            )
            for count, sigma, image in coils
        ),
        *(
            NoiseCase(
                f"parallel imaging, g-factor to {ratio:g}",
                "g-factor",
                image,
                noise.uneven(lambda shape, r=ratio, s=seed: amplification(shape, 9.0, r, s)),
                **whole,
            )
            for ratio, seed, image in ((1.6, 34, body), (3.0, 35, head))
        ),
        *(
            NoiseCase(
                f"k-space filled with zeros, factors {factors}",
                "zero-filled",
                filled,
                noise.interpolated(level, factors),
            )
            for factors, level in (((1, 1.33, 1.33), 14), ((1, 2, 2), 14))
        ),
        NoiseCase(
            "head in exact zeros, white noise",
            "zeros around the object",
            head,
            noise.inside_only(noise.white(16), scenes.head_mask),
            **whole,
        ),
        NoiseCase("surface coil", "uneven level", head, noise.uneven(receive), **whole),
    ]


def _correlated() -> list[NoiseCase]:
    """Noise that neighbours share."""
    kind, cells, hills = "blurred", scenes.cells(VOLUME, 41), scenes.calm(SLAB, 42, 0, 1, 7.0)
    coins, axis = scenes.photograph("coins", start=(20, 100)), "correlated along one axis"
    hounsfield = scenes.tomogram(SLAB, 45)
    return [
        NoiseCase("cells, blurred 0.5", kind, cells, noise.shared(16, 0.5), holds=True),
        NoiseCase("coins, blurred 0.8", kind, coins, noise.shared(30, 0.8), spacing=FLAT),
        NoiseCase("hills, blurred 0.8", kind, hills, noise.shared(0.08, 0.8), holds=True),
        NoiseCase(
            "folds, blurred 1.2", kind, scenes.folds(VOLUME, 43, 4, 0.8), noise.shared(16, 1.2)
        ),
        NoiseCase("cells, along x 0.5", axis, cells, noise.shared(14, (0, 0, 0.5)), holds=True),
        NoiseCase("hills, along x 1.0", axis, hills, noise.shared(0.1, (0, 0, 1.0))),
        NoiseCase(
            "tomogram, back projection", "back projection", hounsfield, noise.ramp_filtered(45)
        ),
    ]


def _patterns() -> list[NoiseCase]:
    """Rings, stripes, waves, compression, impulses."""
    slices, flat = scenes.tomogram(SLAB, 51), scenes.tomogram(PLANE, 52)
    tissue, camera = scenes.tissue(PLANE, 53), scenes.photograph("camera", start=(120, 160))
    cells, light = scenes.cells(VOLUME, 54), scenes.cells(SLAB, 55)
    pepper = noise.impulses(noise.white(8), 0.015, 0.015, 255)
    return [
        NoiseCase(
            "tomogram with rings",
            "rings",
            slices,
            noise.rings(30, 20),
            name_words=RINGS,
        ),
        NoiseCase(
            "slice with strong rings",
            "rings",
            flat,
            noise.rings(30, 40),
            spacing=FLAT,
            name_words=RINGS,
        ),
        NoiseCase(
            "light sheet with stripes",
            "stripes",
            light,
            noise.stripes(10, 6, axis=1),
            spacing=(2.0, 1.0, 1.0),
            name_words=STRIPES,
        ),
        NoiseCase("camera with hum", "wave", camera, noise.hum(12, 10, 6.0), spacing=FLAT),
        NoiseCase(
            "tissue, JPEG 75",
            "JPEG",
            tissue,
            noise.jpeg(noise.white(20), 75),
            spacing=FLAT,
            name_words=COMPRESSION,
        ),
        NoiseCase(
            "camera, JPEG 50",
            "JPEG",
            camera,
            noise.jpeg(noise.white(16), 50),
            spacing=FLAT,
            name_words=COMPRESSION,
        ),
        NoiseCase(
            "camera, salt and pepper 3 %",
            "impulses",
            camera,
            pepper,
            spacing=FLAT,
            name_words=IMPULSES,
        ),
        NoiseCase(
            "cells, hot pixels 0.3 %",
            "impulses",
            cells,
            noise.impulses(noise.poisson(0.6, 20, 2), 0.003, 0, 900),
            noise.counts_mean(0.6, 20),
            name_words=IMPULSES,
        ),
    ]


def _cameras() -> list[NoiseCase]:
    """Photon counting, cameras, whole numbers, saturation, speckle."""
    cells, deep = scenes.cells(VOLUME, 61), scenes.cells(SLAB, 62, spacing=(3.0, 1.0, 1.0))
    hills, sparse = scenes.calm(VOLUME, 63), scenes.filaments(VOLUME, 64, low=3, high=60)
    rounded_counts = noise.rounded(noise.poisson(0.5, 100, 3), np.uint16)
    bright = scenes.calm(SLAB, 65, 90, 250)
    logarithms = ((1, hills, CUBE), (3, scenes.calm(PLANE, 68, 20, 200), FLAT))
    return [
        NoiseCase(
            "camera with offset",
            "Poisson with offset",
            cells,
            rounded_counts,
            noise.counts_mean(0.5, 100),
            holds=True,
        ),
        NoiseCase(
            "photons, thick slices",
            "Poisson with offset",
            deep,
            noise.poisson(0.2, 10, 1),
            noise.counts_mean(0.2, 10),
            spacing=(3.0, 1.0, 1.0),
            holds=True,
        ),
        NoiseCase(
            "filaments, below 3 photons",
            "low counts",
            sparse,
            noise.rounded(noise.poisson(0.04), np.uint16),
            noise.counts_mean(0.04),
        ),
        NoiseCase(
            "cells, below 1 photon",
            "low counts",
            cells,
            noise.poisson(0.004),
            noise.counts_mean(0.004),
        ),
        NoiseCase(
            "sCMOS, offsets of columns",
            "sCMOS",
            cells,
            noise.rounded(noise.scmos(0.3, column=2.5), np.uint16),
            noise.counts_mean(0.3, 100),
            name_words=STRIPES,
        ),
        NoiseCase(
            "sCMOS, gains of pixels",
            "sCMOS",
            deep,
            noise.rounded(noise.scmos(0.8, gain=0.06, offset_spread=3.0), np.uint16),
            noise.counts_mean(0.8, 100),
            spacing=(3.0, 1.0, 1.0),
        ),
        NoiseCase(
            "saturated at 220",
            "saturation",
            bright,
            noise.clipped(25, 0, 220),
            noise.clipped_mean(25, 0, 220),
        ),
        NoiseCase(
            "cut off below 0",
            "saturation",
            scenes.cells(VOLUME, 66, low=0),
            noise.clipped(20, 0, 255),
            noise.clipped_mean(20, 0, 255),
        ),
        NoiseCase(
            "8 bit, noise of 0.45 levels", "rounded", hills, noise.rounded(noise.white(0.45))
        ),
        NoiseCase(
            "8 bit, noise of 5 levels",
            "rounded",
            hills,
            noise.rounded(noise.white(5)),
            holds=True,
        ),
        NoiseCase("speckle of 12 looks", "speckle", hills, noise.speckle(12), holds=True),
        NoiseCase(
            "speckle of 3 looks", "speckle", scenes.calm(PLANE, 67), noise.speckle(3), spacing=FLAT
        ),
        *(
            NoiseCase(
                f"logarithm of speckle, {looks} looks",
                "logarithm of speckle",
                image,
                noise.log_speckle(looks),
                noise.log_speckle_mean(looks),
                spacing=spacing,
            )
            for looks, image, spacing in logarithms
        ),
    ]


def _shapes() -> list[NoiseCase]:
    """Thick slices, tiny volumes, levels by depth, series and channels."""
    thick, deep = (5.0, 1.0, 1.0), scenes.cells((12, 80, 80), 71, spacing=(5.0, 1.0, 1.0))
    sheet, frame = scenes.cells(VOLUME, 73), scenes.folds((8, 40, 40), 74, 3.0, 0.8)
    stains = scenes.stacked(scenes.cells((10, 56, 56), 75), scenes.filaments((10, 56, 56), 76))
    mixed = scenes.stacked(
        scenes.cells((12, 48, 48), 77), scenes.membranes((12, 48, 48), 78), axis=1
    )
    channels = np.reshape((18.0, 6.0), (2, 1, 1, 1))
    series = {"axes": (1, 2, 3)}
    return [
        NoiseCase("cells 1:1:5", "thick slices", deep, noise.white(16), None, thick, holds=True),
        NoiseCase(
            "folds 1:1:5",
            "thick slices",
            scenes.folds((12, 80, 80), 72, (1.0, 4.0, 4.0), 0.7),
            noise.white(35),
            None,
            thick,
            holds=True,
        ),
        NoiseCase(
            "8,400 voxels, SNR 2",
            "tiny volumes",
            scenes.calm((21, 20, 20), 81, 60, 140, 4.0),
            noise.white(50),
        ),
        NoiseCase(
            "4,600 voxels, SNR 2",
            "tiny volumes",
            scenes.folds((16, 17, 17), 82, 4.0, 1.0, 70, 40),
            noise.white(55),
        ),
        NoiseCase(
            "light sheet, noise by depth",
            "uneven level",
            sheet,
            noise.uneven(lambda shape: slope(shape, 5.0, 25.0, 0)),
        ),
        NoiseCase(
            "series with repeats",
            "series",
            scenes.repeated(frame, 6, 0.02, 79),
            noise.white(14),
            holds=True,
            **series,
        ),
        NoiseCase(
            "series of a moving object",
            "series",
            scenes.moving(scenes.cells((8, 40, 40), 80, count=10), 6, 5),
            noise.white(25),
            holds=True,
            **series,
        ),
        NoiseCase(
            "channels between z and y",
            "channels",
            mixed,
            noise.white(channels[:, 0]),
            axes=(0, 2, 3),
        ),
        NoiseCase("two stains", "channels", stains, noise.white(channels), channel_axis=0),
    ]


CASES: tuple[NoiseCase, ...] = (
    *_hard(),
    *_white(),
    *_magnetic_resonance(),
    *_correlated(),
    *_patterns(),
    *_cameras(),
    *_shapes(),
)
