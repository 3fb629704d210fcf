"""What the tests of previews share: models, a picture, and what counts as the same picture."""

import itertools
from functools import cache

import numpy as np

import napari_diffusion as nd
from napari_diffusion import models

#: What a draft promises, as a share of the range.
DRAFT = 0.02
#: What `nd.preview` promises, as a share of the range.
PROMISED = 1e-3
MODELS = [cls() for cls in models.BUILTIN] + [
    nd.PeronaMalik(kappa=10.0, diffusivity=g, sigma=sigma)
    for g, sigma in itertools.product(
        ["rational", "exponential", "tukey", "weickert", "charbonnier"], [0.0, 1.5]
    )
]


def name(model):
    return "-".join([model.name, *(str(getattr(model, p.name)) for p in models.parameters(model))])


def picture(shape, dtype="f4", seed=0):
    """A ball and a slanted edge in noise, and a bright wall beyond the middle plane that no preview of it may feel or lose."""
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ball = 40 * (np.sum([c**2 for c in x], axis=0) < 0.4) + 30 * (x[0] + x[-1] > 0.3)
    wall = 60 * (x[0] > 0.45)
    return (50 + ball + wall + 6 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def agrees(part, whole, image, share=PROMISED):
    assert part.shape == whole.shape
    assert part.dtype == whole.dtype
    apart = np.abs(np.asarray(part, float) - np.asarray(whole, float))
    assert np.nanmax(apart, initial=0) <= share * np.ptp(
        np.asarray(image, float)[np.isfinite(image)]
    )
    np.testing.assert_array_equal(np.isnan(part), np.isnan(whole))


class Watched:
    """An array that notes which part of it was read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.reads = array, array.shape, array.dtype, []

    def __getitem__(self, index):
        part = self.array[index]
        self.reads.append(part.size)
        return part


SPACING = (1.0, 1.0, 1.3)
PLANES = [
    (22, slice(None), slice(None)),
    (slice(None), 11, slice(None)),
    (slice(None), slice(None), 29),
]


@cache
def whole_run(model):
    return nd.diffuse(picture((40, 26, 30)), model, time=2.5, spacing=SPACING)
