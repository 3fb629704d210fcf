"""Gradient magnitudes, diffusivities and conductances are those of the formulas."""

import threading

import dask.array
import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.diagnostics.conductance import diffusivity_curve

SPACING = (2.0, 0.5, 1.0)


def ramp(shape=(9, 14, 20), slopes=(1.0, 2.0, 2.0), spacing=SPACING):
    """Gradient of length 3 [1/length], whatever the spacing."""
    index = np.indices(shape)
    return sum(s * h * i for s, h, i in zip(slopes, spacing, index, strict=True)).astype(np.float32)


def inside(array):
    """Without the border, whose voxels see one neighbour of two."""
    return array[1:-1, 1:-1, 1:-1]


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_a_ramp_has_one_gradient():
    image = ramp()
    found = nd.gradients(image, spacing=SPACING)
    # At the border one of the two one-sided squares is missing: half of that axis' share of 9.
    smallest = np.sqrt(9 / 2)
    assert found.magnitudes.min() >= smallest * (1 - 1e-5)
    np.testing.assert_allclose(found.magnitudes.max(), 3.0, rtol=1e-5)
    assert found.above(3.0001) == 0
    assert found.above(smallest * 0.999) == 1
    planes = found.magnitudes.size // (14 * 20)
    assert np.count_nonzero(found.magnitudes > 2.9999) == (planes - 2) * 12 * 18


def test_gradients_are_of_the_image_smoothed_first():
    """On noise, smoothing by sigma leaves gradients that no single voxel shows: they are those of the smoothed image."""
    image = noise((9, 60, 60))
    blurred = nd.diffuse(image, nd.Linear(), time=nd.time_for_sigma(1.2))
    found, expected = nd.gradients(image, sigma=1.2).magnitudes, nd.gradients(blurred).magnitudes
    # The smoothing of features is cut at a thousandth of its weight.
    np.testing.assert_allclose(
        np.quantile(found, [0.1, 0.5, 0.9]), np.quantile(expected, [0.1, 0.5, 0.9]), rtol=0.01
    )


def test_a_sample_stands_for_the_whole():
    """Of 1.6 million voxels of noise 7 planes are looked at: their share above a threshold is that of all, to four standard errors."""
    image = noise((100, 128, 128))
    found = nd.gradients(image)
    assert found.magnitudes.size == 7 * 128 * 128
    share = (nd.conductance(image, nd.PeronaMalik(kappa=2.0)) < 0.5).mean()  # g(kappa) = 1/2
    assert 0.3 < share < 0.9
    # Neighbouring gradients share voxels: count every seventh as independent.
    assert abs(found.above(2.0) - share) < 4 * np.sqrt(
        share * (1 - share) / (found.magnitudes.size / 7)
    )


def test_histogram_counts_every_voxel_with_a_gradient():
    image = np.zeros((20, 40, 40), np.float32)
    image[:, :20] = noise((20, 20, 40))
    found = nd.gradients(image)
    counts, edges = found.histogram(50)
    assert counts.sum() == np.count_nonzero(found.magnitudes)
    assert (len(counts), len(edges)) == (50, 51)
    np.testing.assert_allclose(edges[1:] / edges[:-1], edges[1] / edges[0])
    middle = edges[30]
    assert counts[30:].sum() / found.magnitudes.size == pytest.approx(
        found.above(np.nextafter(middle, 0)), abs=1e-9
    )


@pytest.mark.parametrize("image", [np.zeros((4, 5)), np.zeros((0, 5)), np.full((4, 5), np.nan)])
def test_nothing_to_see_is_no_error(image):
    found = nd.gradients(image)
    assert [len(part) for part in found.histogram()] == [0, 0]
    assert found.above(1.0) == 0


def test_one_steepness_has_a_histogram():
    counts, edges = nd.gradients(np.arange(2.0)).histogram(10)
    assert counts.sum() == 2
    assert (np.diff(edges) > 0).all()


def test_what_is_excluded_does_not_count():
    image = noise((8, 30, 30))
    image[:, :, 20:] += 100 * noise((8, 30, 10), seed=1)
    mask = np.zeros(image.shape, bool)
    mask[:, :, :19] = True
    clean = nd.gradients(image, mask=mask)
    assert clean.magnitudes.max() < 10
    assert clean.magnitudes.size == 7 * 30 * 19
    np.testing.assert_array_equal(nd.gradients(image, labels=mask * 5).magnitudes, clean.magnitudes)
    np.testing.assert_array_equal(
        nd.gradients(np.where(mask, image, np.nan).astype("f4")).magnitudes, clean.magnitudes
    )


def test_the_frame_and_the_channels():
    series = np.stack([noise((6, 20, 20)) * (t + 1) for t in range(3)])
    first = nd.gradients(series[0]).magnitudes
    np.testing.assert_array_equal(
        nd.gradients(series, axes=(1, 2, 3), frame=(0,)).magnitudes, first
    )
    np.testing.assert_allclose(
        nd.gradients(series, axes=(1, 2, 3)).magnitudes, 2 * first, rtol=1e-6
    )
    # Channels share the root mean square of their gradients: here sqrt((1 + 4 + 9) / 3).
    np.testing.assert_allclose(
        nd.gradients(series, channel_axis=0).magnitudes, np.sqrt(14 / 3) * first, rtol=1e-5
    )


def test_a_lazy_image_is_read_in_part():
    image, read = noise((70, 30, 30)), []
    lazy = dask.array.from_array(image, chunks=(1, 30, 30)).map_blocks(
        lambda part: (read.append(part.size), part)[1], dtype=image.dtype, meta=image[:0]
    )
    np.testing.assert_array_equal(nd.gradients(lazy).magnitudes, nd.gradients(image).magnitudes)
    assert sum(read) == 7 * 3 * 30 * 30


@pytest.mark.parametrize("sigma", [0.0, 1.5])
@pytest.mark.parametrize(
    ("diffusivity", "at_kappa"),
    [
        ("rational", 0.5),
        ("exponential", np.exp(-0.5)),
        ("tukey", 0.64),
        ("weickert", 1 - np.exp(-3.31488)),
        ("charbonnier", 1 / np.sqrt(2)),
    ],
)
def test_diffusivity_over_the_gradient(diffusivity, at_kappa, sigma):
    model = nd.PeronaMalik(kappa=7.0, diffusivity=diffusivity, sigma=sigma)
    values = diffusivity_curve(model, np.array([0.0, 7.0, 7e5]), spacing=0.5)
    # exp is a polynomial in the kernels, and weickert's 3.31488 has six digits.
    np.testing.assert_allclose(values, [1, at_kappa, 0], atol=1e-5)


@pytest.mark.parametrize("model", models.BUILTIN, ids=lambda cls: cls.name)
def test_every_model_has_a_conductance(model):
    image = noise((12, 14, 16))
    whole = nd.conductance(image, model())
    assert whole.shape == image.shape
    assert np.isfinite(whole).all()
    region = (slice(3, 9), 7, slice(None, None, 2))
    np.testing.assert_array_equal(nd.conductance(image, model(), region=region), whole[region])
    assert np.isfinite(diffusivity_curve(model(), np.geomspace(0.01, 1000, 9))).all()


def test_conductance_of_a_ramp():
    image = ramp()
    for model in (nd.PeronaMalik(kappa=3.0), nd.PeronaMalik(kappa=3.0, sigma=0.6)):
        found = nd.conductance(image, model, spacing=SPACING)
        # Smoothing is cut at a thousandth of its weight, also that of the mirrored border.
        np.testing.assert_allclose(inside(found)[2:-2, 3:-3, 3:-3], 0.5, atol=1e-3)
    np.testing.assert_array_equal(nd.conductance(image, nd.Linear(), spacing=SPACING), 1)


def test_conductance_is_what_the_run_begins_with():
    """The regularised model takes a step of exactly div(g grad u), g from the map, at the mean of the two voxels of a face."""
    image, step = noise((20, 30)).astype(float) * 20, 0.1
    model = nd.PeronaMalik(kappa=10.0, sigma=1.0)
    g = nd.conductance(image, model)
    change = np.zeros_like(image)
    for axis in range(2):
        near, far = [slice(None)] * 2, [slice(None)] * 2
        near[axis], far[axis] = slice(None, -1), slice(1, None)
        flux = (g[tuple(near)] + g[tuple(far)]) / 2 * np.diff(image, axis=axis)
        change[tuple(near)] += flux
        change[tuple(far)] -= flux
    run = nd.diffuse(image, model, time=step, scheme=nd.schemes.Explicit(step=step))
    np.testing.assert_allclose(image + step * change, run, rtol=0, atol=1e-12)


def test_conductance_outside_is_zero_and_channels_share_one():
    image = noise((3, 12, 14))
    labels = np.ones((12, 14), int)
    labels[:, 7:] = 2
    labels[0] = 0
    model = nd.PeronaMalik(kappa=1.0)
    found = nd.conductance(image, model, channel_axis=0, labels=labels)
    assert found.shape == (12, 14)
    assert not found[0].any()
    alone = nd.conductance(image[:, 1:, :7], model, channel_axis=0)
    np.testing.assert_allclose(found[1:, :7], alone, rtol=1e-6)
    image[0, 5, 5] = np.nan
    assert nd.conductance(image, model, channel_axis=0, nan="mask")[5, 5] == 0
    with pytest.raises(ValueError, match="NaN or infinite"):
        nd.conductance(image, model, channel_axis=0)


def test_cancel():
    cancel = threading.Event()
    cancel.set()
    for call in (
        lambda: nd.gradients(noise((9, 9)), cancel=cancel),
        lambda: nd.conductance(noise((9, 9)), nd.Linear(), cancel=cancel),
    ):
        with pytest.raises(nd.Cancelled):
            call()
