"""Images with exact zeros and constant patches, and intensities of any magnitude.

A model whose parameters are scaled with the image scales its result, and both backends agree: to
1e-6 of the range in float32, and to 1e-12 in float64.
"""

import numpy as np
import pytest

import napari_diffusion as nd

SHAPE, SPACING = (16, 16, 16), (2.0, 0.5, 0.7)
LIMIT = {"f4": 1e-6, "f8": 1e-12}


def pictures():
    rng = np.random.default_rng(3)
    binary, patches = rng.random(SHAPE) < 0.1, rng.random(SHAPE) < 0.3
    return {
        "sparse binary": binary * 1.0,
        "dense binary": (rng.random(SHAPE) < 0.5) * 1.0,
        "one voxel": (np.arange(16**3) == 2184).reshape(SHAPE) * 1.0,
        "patches": np.where(patches, 0.0, 7.3),
        "impulses on a constant": 7.3 + 1e4 * (rng.random(SHAPE) < 0.02),
        "block on zeros": 3.1 * (np.indices(SHAPE).max(0) < 8),
        "noise": 50 + rng.normal(0, 5, SHAPE),
        "ramp from zero": np.indices(SHAPE).sum(0) * 1.0,
    }


PICTURES = pictures()
MODELS = {
    "speckle": lambda scale: nd.SpeckleReducing(),
    "rician": lambda scale: nd.Rician(sigma_noise=3.0 * scale),
}
#: What does not fit into float32. The squares of intensities of Rician diffusion need more room.
REFUSED = {
    "speckle": [("f4", 1e30)],
    "rician": [("f4", 1e12), ("f4", 1e-30), ("f4", 1e30)],
}
WALLS = {"plain": {}, "labels": {"labels": np.indices(SHAPE).sum(0) // 5 % 3}}


def filtered(model, image, **options):
    return nd.diffuse(image, model, time=0.5, spacing=SPACING, **options)


def difference(left, right, image):
    return np.abs(left.astype(float) - right).max() / np.ptp(image)


@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("model", MODELS)
def test_backends_agree_where_neighbours_are_zero_or_equal(model, name, dtype, walls):
    image = PICTURES[name].astype(dtype)
    compiled, reference = (
        filtered(MODELS[model](1), image, backend=backend, scheme="explicit", **WALLS[walls])
        for backend in ("compiled", "reference")
    )
    assert difference(compiled, reference, image) <= LIMIT[dtype]


@pytest.mark.parametrize("factor", [255.0, 1 / 3, 1e-5, 2e4, 1e-12, 1e12, 1e-30, 1e30])
@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("model", MODELS)
def test_scaled_image_gives_the_scaled_result_or_is_refused(model, name, dtype, factor):
    image, scale = PICTURES[name].astype(dtype), np.dtype(dtype).type(factor)
    if (dtype, factor) in REFUSED[model]:
        with pytest.raises(ValueError, match=r"(over|under)flow in float32"):
            filtered(MODELS[model](factor), image * scale)
        return
    expected = filtered(MODELS[model](1), image)
    result = filtered(MODELS[model](factor), image * scale)
    assert difference(result / scale, expected, image) <= LIMIT[dtype]


@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e-30, 7.3, -1 / 3])
def test_equal_neighbours_have_no_variation(value, dtype):
    """Around one voxel of another value, q is exactly zero: c is 1, whatever the value."""
    image = np.full((7, 8, 9), value, dtype)
    image[3, 4, 4] = 100.0
    c = nd.conductance(image, nd.SpeckleReducing(q0=1e-3), spacing=SPACING)
    assert c[3, 4, 4] == 1
    assert c[0, 0, 0] == 1
    assert c[3, 4, 5] < 1e-3


@pytest.mark.parametrize("dtype", LIMIT)
def test_rician_weight_has_its_limit_between_equal_neighbours(dtype):
    """It is 1 above the noise floor and 0 below it, also beside a voxel of another value."""
    for value, expected in ((7.3, 1.0), (2.9, 0.0), (0.0, 0.0)):
        image = np.full((7, 8, 9), value, dtype)
        image[3, 4, 4] = 1e4
        c = nd.conductance(image, nd.Rician(sigma_noise=3.0), spacing=SPACING)
        assert c[3, 4, 4] == c[0, 0, 0] == expected


def test_rician_refuses_image_and_noise_whose_squares_underflow():
    image = np.full((4, 5), 1e-25, np.float32)
    with pytest.raises(ValueError, match="because their squares underflow in float32"):
        nd.diffuse(image, nd.Rician(sigma_noise=1e-26), time=1.0)
    # Noise of another magnitude than the image leaves nothing of it, or all of it.
    np.testing.assert_array_equal(nd.diffuse(image, nd.Rician(sigma_noise=1.0), time=1.0), 0)
    ones = np.ones((4, 5), np.float32)
    np.testing.assert_array_equal(nd.diffuse(ones, nd.Rician(sigma_noise=1e-30), time=1.0), ones)
    zeros = np.zeros((4, 5), np.float32)
    np.testing.assert_array_equal(nd.diffuse(zeros, nd.Rician(sigma_noise=1e-30), time=1.0), zeros)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("model", [nd.PeronaMalik, nd.TotalVariation])
def test_image_and_threshold_whose_squares_underflow_are_refused(model, dtype):
    factor = {"f4": 2.0**-60, "f8": 2.0**-520}[dtype]
    image = (np.random.default_rng(1).random((8, 9, 10)) * factor).astype(dtype)
    with pytest.raises(ValueError, match="gradients underflow in float"):
        nd.diffuse(image, model(kappa=0.2 * factor), time=1.0)
    # The threshold is far above all gradients: the model is linear then, and nothing is wrong.
    assert np.isfinite(nd.diffuse(image, model(kappa=10.0), time=1.0)).all()


@pytest.mark.parametrize("model", [nd.PeronaMalik, nd.TotalVariation])
def test_smallest_accepted_images_keep_the_scale_law(model):
    image = np.random.default_rng(1).random((8, 9, 10)).astype("f4")
    factor = 2.0**-44
    small = nd.diffuse(image * np.float32(factor), model(kappa=0.2 * factor), time=1.0)
    large = nd.diffuse(image, model(kappa=0.2), time=1.0)
    np.testing.assert_allclose(small / np.float32(factor), large, rtol=0, atol=2e-6)
