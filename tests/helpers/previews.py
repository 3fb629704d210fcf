"""Shared helpers of the tests of previews: models, an image, and the comparison with a run."""

import itertools
from functools import cache

import numpy as np

import napari_diffusion as nd
from helpers.problems import problem_of
from napari_diffusion import models
from napari_diffusion.previewing.request import PreviewRequest

#: Largest root mean square error of a draft, as a share of the range.
DRAFT = 0.02
#: Largest error of `nd.preview`, as a share of the range.
PROMISED = 1e-3
MODELS = [cls() for cls in models.BUILTIN] + [
    nd.PeronaMalik(kappa=10.0, diffusivity=g, sigma=sigma)
    for g, sigma in itertools.product(
        ["rational", "exponential", "tukey", "weickert", "charbonnier"], [0.0, 1.5]
    )
]

#: Models with a map of their threshold.
MAPPED = [cls for cls in models.BUILTIN if any(p.is_map for p in models.parameters(cls))]


def name(model):
    return "-".join([model.name, *(str(getattr(model, p.name)) for p in models.parameters(model))])


def picture(shape, dtype="f4", seed=0):
    """Return a ball and a slanted edge in noise, and a bright step beyond the middle plane.

    The step tests the surroundings of previews of that plane.
    """
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ball = 40 * (np.sum([c**2 for c in x], axis=0) < 0.4) + 30 * (x[0] + x[-1] > 0.3)
    step = 60 * (x[0] > 0.45)
    return (50 + ball + step + 6 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def preview_of(image, model, region, *, draft=False, **options):
    """Return the request of a preview, from the keywords of `nd.preview`."""
    problem, execution = problem_of(image, model, read=False, **options)
    return PreviewRequest(problem, region, execution, draft)


def assert_agrees(part, whole, image, share=PROMISED):
    """Assert that a part differs from the whole run by at most ``share`` of the range."""
    assert part.shape == whole.shape
    assert part.dtype == whole.dtype
    difference = np.abs(np.asarray(part, float) - np.asarray(whole, float))
    extent = np.ptp(np.asarray(image, float)[np.isfinite(image)])
    assert np.nanmax(difference, initial=0) <= share * extent
    np.testing.assert_array_equal(np.isnan(part), np.isnan(whole))


SPACING = (1.0, 1.0, 1.3)
PLANES = [
    (22, slice(None), slice(None)),
    (slice(None), 11, slice(None)),
    (slice(None), slice(None), 29),
]


@cache
def whole_run(model):
    return nd.diffuse(picture((40, 26, 30)), model, time=2.5, spacing=SPACING)
