"""A constant image keeps every bit: any value, data type, voxel size, time, scheme and domain."""

import numpy as np
import pytest

import napari_diffusion as nd

SEEDED = np.random.default_rng(9).normal(0, 100, 6).tolist()
VALUES = [0.0, 0.1, 1 / 3, 1e-30, 1e30, -37.3, 255.0, 5e-324, *SEEDED]
#: From a Gaussian of hundredths of a voxel to one that is wider than the image, in which the cosine
#: transform replaces the convolution.
TIMES = [1e-4, 0.3, 2.0, 30.0, 1e3, 1e7]
GRIDS = [((9,), (0.3,)), ((6, 40), (4.0, 0.3)), ((5, 6, 29), (2.0, 0.5, 0.07))]


def constants(dtype):
    """Finite values, rounded to the data type."""
    with np.errstate(over="ignore"):
        values = [np.array(value).astype(dtype) for value in VALUES]
    return [value for value in values if np.isfinite(value)]


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_linear_diffusion_keeps_constants(shape, spacing, dtype, backend):
    bands = np.indices(shape).sum(0) // 3 % 3
    for value in constants(dtype):
        image = np.full(shape, value, dtype)
        for time in TIMES:
            run = {"time": time, "spacing": spacing, "backend": backend}
            result = nd.diffuse(image, nd.Linear(), **run)
            np.testing.assert_array_equal(result, image, strict=True)
        for domain in ({"mask": bands > 0}, {"labels": bands}, {"nan": "mask"}):
            result = nd.diffuse(image, nd.Linear(), time=spacing[-1], spacing=spacing, **domain)
            np.testing.assert_array_equal(result, image, strict=True)


@pytest.mark.parametrize("time", [0.3, 30.0, 1e4])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4"])
def test_linear_diffusion_keeps_constant_integers(dtype, time):
    limits = np.iinfo(dtype)
    for value in (limits.min, limits.max, 7, limits.max // 3):
        image = np.full((7, 30), value, dtype)
        kept = nd.diffuse(image, nd.Linear(), time=time, preserve_dtype=True)
        np.testing.assert_array_equal(kept, image, strict=True)
        floats = nd.diffuse(image, nd.Linear(), time=time)
        np.testing.assert_array_equal(floats, image.astype(np.float32), strict=True)


@pytest.mark.parametrize("time", [0.3, 30.0, 1e4])
def test_constant_frames_and_channels_are_kept_each(time):
    """Each frame and channel has a value of its own."""
    values = np.array(SEEDED[:6]).reshape(3, 1, 1, 2)
    image = np.broadcast_to(values, (3, 8, 31, 2)).copy()
    result = nd.diffuse(image, nd.Linear(), time=time, axes=(1, 2), channel_axis=3)
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("time", [0.3, 2.0])
def test_flat_parts_of_an_image_are_kept(time):
    """Beyond the reach of the Gaussian from an edge, a plateau keeps every bit."""
    image = np.where(np.indices((70, 20))[0] < 35, 0.1, 1 / 3).astype(np.float32)
    result = nd.diffuse(image, nd.Linear(), time=time, spacing=0.7)
    reach = nd.plan(image, nd.Linear(), time=time, spacing=0.7).halo[0]
    assert 3 < reach < 30
    np.testing.assert_array_equal(result[: 35 - reach], image[: 35 - reach])
    np.testing.assert_array_equal(result[35 + reach :], image[35 + reach :])
    assert (result != image)[35 - reach // 3 : 35 + reach // 3].any()
