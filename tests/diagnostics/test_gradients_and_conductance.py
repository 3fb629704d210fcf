"""Gradient magnitudes, diffusivities and conductances agree with the formulas."""

import threading

import dask.array
import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import models
from napari_diffusion.diagnostics.conductance import diffusivity_curve

SPACING = (2.0, 0.5, 1.0)


def ramp(shape=(9, 14, 20), slopes=(1.0, 2.0, 2.0), spacing=SPACING):
    """Return an image whose gradient has the magnitude 3 [1/length], for any spacing."""
    index = np.indices(shape)
    return sum(s * h * i for s, h, i in zip(slopes, spacing, index, strict=True)).astype(np.float32)


def inside(array):
    """Return the array without its border, where voxels have one neighbour per axis."""
    return array[1:-1, 1:-1, 1:-1]


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_ramp_has_one_gradient_magnitude():
    image = ramp()
    gradients = nd.gradients(image, spacing=SPACING)
    # At the border, one of two squared differences is 0: half the share of that axis in 9.
    smallest = np.sqrt(9 / 2)
    assert gradients.magnitudes.min() >= smallest * (1 - 1e-5)
    np.testing.assert_allclose(gradients.magnitudes.max(), 3.0, rtol=1e-5)
    assert gradients.above(3.0001) == 0
    assert gradients.above(smallest * 0.999) == 1
    planes = gradients.magnitudes.size // (14 * 20)
    assert np.count_nonzero(gradients.magnitudes > 2.9999) == (planes - 2) * 12 * 18


def test_gradients_with_sigma_are_those_of_the_smoothed_image():
    image = noise((9, 60, 60))
    blurred = nd.diffuse(image, nd.Linear(), time=nd.time_for_sigma(1.2))
    shares = [0.1, 0.5, 0.9]
    result = np.quantile(nd.gradients(image, sigma=1.2).magnitudes, shares)
    expected = np.quantile(nd.gradients(blurred).magnitudes, shares)
    # The smoothing of features is truncated at a thousandth of its weight.
    np.testing.assert_allclose(result, expected, rtol=0.01)


def test_sample_has_the_distribution_of_the_whole_image():
    """7 of 100 planes of noise: the share above a threshold agrees to four standard errors."""
    image = noise((100, 128, 128))
    gradients = nd.gradients(image)
    assert gradients.magnitudes.size == 7 * 128 * 128
    share = (nd.conductance(image, nd.PeronaMalik(kappa=2.0)) < 0.5).mean()  # g(kappa) = 1/2
    assert 0.3 < share < 0.9
    # Neighbouring gradients share voxels: count every seventh as independent.
    independent = gradients.magnitudes.size / 7
    assert abs(gradients.above(2.0) - share) < 4 * np.sqrt(share * (1 - share) / independent)


def test_histogram_counts_every_voxel_with_a_gradient():
    image = np.zeros((20, 40, 40), np.float32)
    image[:, :20] = noise((20, 20, 40))
    gradients = nd.gradients(image)
    counts, edges = gradients.histogram(50)
    assert counts.sum() == np.count_nonzero(gradients.magnitudes)
    assert (len(counts), len(edges)) == (50, 51)
    np.testing.assert_allclose(edges[1:] / edges[:-1], edges[1] / edges[0])
    above = gradients.above(np.nextafter(edges[30], 0))
    assert counts[30:].sum() / gradients.magnitudes.size == pytest.approx(above, abs=1e-9)


@pytest.mark.parametrize("image", [np.zeros((4, 5)), np.zeros((0, 5)), np.full((4, 5), np.nan)])
def test_image_without_gradients_has_an_empty_histogram(image):
    gradients = nd.gradients(image)
    assert [len(part) for part in gradients.histogram()] == [0, 0]
    assert gradients.above(1.0) == 0


def test_histogram_of_equal_gradients_has_bins():
    counts, edges = nd.gradients(np.arange(2.0)).histogram(10)
    assert counts.sum() == 2
    assert (np.diff(edges) > 0).all()


def test_gradients_outside_mask_and_labels_or_beside_nan_do_not_count():
    image = noise((8, 30, 30))
    image[:, :, 20:] += 100 * noise((8, 30, 10), seed=1)
    mask = np.zeros(image.shape, bool)
    mask[:, :, :19] = True
    clean = nd.gradients(image, mask=mask)
    assert clean.magnitudes.max() < 10
    assert clean.magnitudes.size == 7 * 30 * 19
    with_labels = nd.gradients(image, labels=mask * 5)
    np.testing.assert_array_equal(with_labels.magnitudes, clean.magnitudes)
    with_nan = nd.gradients(np.where(mask, image, np.nan).astype("f4"))
    np.testing.assert_array_equal(with_nan.magnitudes, clean.magnitudes)


def test_gradients_of_frames_and_channels():
    series = np.stack([noise((6, 20, 20)) * (t + 1) for t in range(3)])
    first = nd.gradients(series[0]).magnitudes
    frame = nd.gradients(series, axes=(1, 2, 3), frame=(0,)).magnitudes
    np.testing.assert_array_equal(frame, first)
    middle = nd.gradients(series, axes=(1, 2, 3)).magnitudes
    np.testing.assert_allclose(middle, 2 * first, rtol=1e-6)
    # Channels share the root mean square of their gradients: sqrt((1 + 4 + 9) / 3).
    channels = nd.gradients(series, channel_axis=0).magnitudes
    np.testing.assert_allclose(channels, np.sqrt(14 / 3) * first, rtol=1e-5)


def test_lazy_image_is_read_in_part():
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
def test_diffusivity_curve_is_that_of_the_formula(diffusivity, at_kappa, sigma):
    model = nd.PeronaMalik(kappa=7.0, diffusivity=diffusivity, sigma=sigma)
    values = diffusivity_curve(model, np.array([0.0, 7.0, 7e5]), spacing=0.5)
    # The kernels approximate exp by a polynomial, and the 3.31488 of weickert has six digits.
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


def test_conductance_of_a_ramp_is_that_of_the_formula():
    image = ramp()
    for model in (nd.PeronaMalik(kappa=3.0), nd.PeronaMalik(kappa=3.0, sigma=0.6)):
        conductance = nd.conductance(image, model, spacing=SPACING)
        # Smoothing is truncated at a thousandth of its weight, and mirrored at the border.
        np.testing.assert_allclose(inside(conductance)[2:-2, 3:-3, 3:-3], 0.5, atol=1e-3)
    np.testing.assert_array_equal(nd.conductance(image, nd.Linear(), spacing=SPACING), 1)


def test_conductance_is_that_of_the_first_step():
    """A step of the regularised model is div(g grad u), with the mean g of two voxels at a face."""
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


def test_conductance_is_zero_outside_and_shared_by_channels():
    image = noise((3, 12, 14))
    labels = np.ones((12, 14), int)
    labels[:, 7:] = 2
    labels[0] = 0
    model = nd.PeronaMalik(kappa=1.0)
    conductance = nd.conductance(image, model, channel_axis=0, labels=labels)
    assert conductance.shape == (12, 14)
    assert not conductance[0].any()
    alone = nd.conductance(image[:, 1:, :7], model, channel_axis=0)
    np.testing.assert_allclose(conductance[1:, :7], alone, rtol=1e-6)
    image[0, 5, 5] = np.nan
    assert nd.conductance(image, model, channel_axis=0, nan="mask")[5, 5] == 0
    with pytest.raises(ValueError, match="NaN or infinite"):
        nd.conductance(image, model, channel_axis=0)


def test_gradients_and_conductance_can_be_cancelled():
    cancel = threading.Event()
    cancel.set()
    for call in (
        lambda: nd.gradients(noise((9, 9)), cancel=cancel),
        lambda: nd.conductance(noise((9, 9)), nd.Linear(), cancel=cancel),
    ):
        with pytest.raises(nd.Cancelled):
            call()
