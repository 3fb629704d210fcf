"""Hostile input gives a correct result or a one-sentence error, and is never written to.

The correct result is that of the same run on a clean, native, contiguous float64 copy, rounded to
the promised dtype. The runs on clean input are tested against oracles elsewhere.
"""

import pickle
import re

import dask.array
import numpy as np
import pytest
import zarr

import napari_diffusion as nd
from helpers.hostile import (
    MODELS,
    ROUNDING,
    check_sentence,
    clean,
    compare,
    fingerprint,
    picture,
    scaled,
)
from napari_diffusion import models


def broken(value, shape=(6, 7, 5)):
    image = picture(shape)
    image[tuple(n // 2 for n in shape)] = value
    return image


def unaligned(values):
    raw = np.empty(values.nbytes + 1, np.uint8)
    view = raw[1:].view(values.dtype).reshape(values.shape)
    view[...] = values
    assert not view.flags.aligned
    return view


def frozen(values):
    values.flags.writeable = False
    return values


class Frame:
    """A table as of pandas: with shape and `__array__`, but no dtype and no index by position."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)

    def __getitem__(self, key):
        raise KeyError(key)


def alternating(dtype, low, high):
    """Return an image of two extreme values."""
    return np.where(np.indices((6, 8)).sum(0) % 3, np.array(low, dtype), np.array(high, dtype))


# name: (image, options); the result must be that of the clean float64 copy
RIGHT = {
    "one axis": (lambda: picture((30,)), {}),
    "two axes": (lambda: picture((9, 8)), {}),
    "four axes": (lambda: picture((4, 5, 3, 6)), {}),
    "five axes": (lambda: picture((3, 4, 3, 2, 3)), {}),
    "five axes with frames and channels": (
        lambda: picture((2, 4, 3, 5, 3)),
        {"axes": (1, 3, 2), "channel_axis": -1},
    ),
    "one voxel": (lambda: picture((1,)), {}),
    "one voxel in three axes": (lambda: picture((1, 1, 1)), {}),
    "axis of one": (lambda: picture((7, 1, 6)), {}),
    "axis of two": (lambda: picture((2, 7, 2)), {}),
    "empty": (lambda: picture((0,)), {}),
    "two empty axes": (lambda: picture((0, 2, 0)), {}),
    "axis of zero": (lambda: picture((4, 0, 3)), {}),
    "no channels": (lambda: picture((4, 3, 0)), {"channel_axis": 2}),
    "no frames": (lambda: picture((0, 4, 3)), {"axes": (1, 2)}),
    "float16": (lambda: picture(dtype="f2"), {}),
    "float64": (lambda: picture(dtype="f8"), {}),
    "big-endian float32": (lambda: picture(dtype=">f4"), {}),
    "big-endian float64": (lambda: picture(dtype=">f8"), {}),
    "big-endian uint16": (lambda: picture(dtype=">u2"), {}),
    "big-endian kept": (lambda: picture(dtype=">i4"), {"preserve_dtype": True}),
    "read-only": (lambda: frozen(picture()), {}),
    "negative strides": (lambda: picture()[::-1, :, ::-1], {}),
    "Fortran order": (lambda: np.asfortranarray(picture()), {}),
    "every other voxel": (lambda: picture((12, 14, 5))[::2, 1::2], {}),
    "transposed": (lambda: picture().transpose(2, 0, 1), {}),
    "unaligned": (lambda: unaligned(picture()), {}),
    "stride zero": (lambda: np.broadcast_to(picture((1, 7, 5)), (6, 7, 5)), {}),
    "bool": (lambda: picture() > 50, {}),
    "bool kept": (lambda: picture() > 50, {"preserve_dtype": True}),
    "matrix": (lambda: picture((6, 7)).view(np.matrix), {}),
    "matrix by rows": (lambda: picture((6, 7)).view(np.matrix), {"axes": (1,)}),
    "list of lists": (lambda: picture((6, 7), "f8").tolist(), {}),
    "list of whole numbers": (lambda: [[1, 2, 30], [4, 5, 6]], {}),
    "table": (lambda: Frame(picture((6, 7), "f8")), {}),
    "dask": (lambda: dask.array.from_array(picture(), chunks=(2, 7, 3)), {}),
    "dask by frames": (
        lambda: dask.array.from_array(picture(), chunks=(2, 7, 3)),
        {"axes": (1, 2)},
    ),
    "zarr": (lambda: zarr.array(picture(), chunks=(2, 7, 3)), {}),
    "zarr by frames": (lambda: zarr.array(picture(), chunks=(2, 7, 3)), {"axes": (0, 2)}),
    "denormals": (lambda: picture() * np.float32(1e-41), {}),
    "values 1e-40": (lambda: picture() * np.float32(1e-42), {}),
    "values 1e16": (lambda: picture() * np.float32(1e14), {}),
    "float64 values 1e150": (lambda: picture(dtype="f8") * 1e148, {}),
    "int8 limits": (lambda: alternating("i1", -128, 127), {"preserve_dtype": True}),
    "uint8 limits": (lambda: alternating("u1", 0, 255), {"preserve_dtype": True}),
    "int16 limits": (lambda: alternating("i2", -(2**15), 2**15 - 1), {"preserve_dtype": True}),
    "uint16 limits": (lambda: alternating("u2", 0, 2**16 - 1), {"preserve_dtype": True}),
    "int32 limits": (lambda: alternating("i4", -(2**31), 2**31 - 1), {"preserve_dtype": True}),
    "uint32 limits": (lambda: alternating("u4", 0, 2**32 - 1), {"preserve_dtype": True}),
    "int32 limits as float32": (lambda: alternating("i4", -(2**31), 2**31 - 1), {}),
    "uint64 limits as float32": (lambda: alternating("u8", 0, 2**64 - 1), {}),
    "no time": (lambda: picture(dtype="u1"), {"time": 0}),
    "spacing 1 : 1e6": (lambda: picture(), {"spacing": (1e6, 1.0, 1.0)}),
    "NumPy numbers": (
        lambda: picture(),
        {"time": np.float32(1.5), "spacing": np.array([1, 2, 1]), "axes": np.arange(3)},
    ),
    "more threads than voxels": (lambda: picture((3, 3)), {"threads": 10**6}),
    "empty mask": (lambda: picture((6, 7)), {"mask": np.zeros((6, 7), bool)}),
    "negative labels": (lambda: picture((6, 7)), {"labels": np.indices((6, 7))[0] - 3}),
    "labels of uint64": (
        lambda: picture((6, 7)),
        {"labels": np.uint64(2**64 - 1) - np.indices((6, 7))[0].astype("u8") // 3},
    ),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", RIGHT)
def test_result_is_that_of_a_clean_copy(case, model):
    make, options = RIGHT[case]
    image = make()
    before = fingerprint(image)
    result = nd.diffuse(image, MODELS[model], **{"time": 1.5} | options)
    assert fingerprint(image) == before
    compare(result, image, MODELS[model], options)
    assert type(result) is np.ndarray


@pytest.mark.parametrize("exponent", [-60, -30, 30, 50])
@pytest.mark.parametrize("model", MODELS)
def test_result_scales_with_the_values(model, exponent):
    """A power of two rounds nothing; intensities are 1e-16 for 2^-60 and 1e17 for 2^50."""
    factor = 2.0**exponent
    image = picture()
    result = nd.diffuse(
        image * np.float32(factor), scaled(MODELS[model], factor), time=1.5, scheme="explicit"
    )
    whole = nd.diffuse(image, MODELS[model], time=1.5, scheme="explicit")
    np.testing.assert_allclose(result / factor, whole, rtol=0, atol=ROUNDING["f4"] * 100)


@pytest.mark.parametrize("spacing", [1e-12, 1e12])
@pytest.mark.parametrize("model", MODELS)
def test_result_is_independent_of_the_unit_of_length(model, spacing):
    """The extreme spacings give the result of spacing 1 with lengths and thresholds scaled."""
    scaled_model = MODELS[model]
    if isinstance(scaled_model, nd.PeronaMalik):
        kappa, sigma = scaled_model.kappa / spacing, scaled_model.sigma * spacing
        scaled_model = nd.PeronaMalik(kappa=kappa, sigma=sigma)
    image, options = picture(dtype="u2"), {"spacing": spacing, "scheme": "explicit"}
    result = nd.diffuse(image, scaled_model, time=1.5 * spacing**2, **options)
    whole = nd.diffuse(image, MODELS[model], time=1.5, scheme="explicit")
    np.testing.assert_allclose(result, whole, rtol=0, atol=ROUNDING["f4"] * 100)


@pytest.mark.parametrize("model", MODELS)
def test_values_near_the_limit_are_right_or_refused(model):
    """Up to the end of float32, 3.4e38, the result is finite or the overflow is refused."""
    for largest in (1e19, 1e25, 1e30, 1e35, 1e37, 3e38):
        image = (picture(dtype="f8") / 120 * largest).astype("f4")
        scaled_model = scaled(MODELS[model], largest / 100)
        try:
            result = nd.diffuse(image, scaled_model, time=1.5, scheme="explicit")
        except ValueError as error:
            check_sentence(error, "float32", "float64")
        else:
            compare(result, image, scaled_model, {"scheme": "explicit"})
    with pytest.raises(ValueError, match="overflow"):
        nd.diffuse(image, MODELS[model], time=1.5)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_constant_at_the_limit_of_an_integer_type_is_kept(dtype, model):
    """float(2^64 - 1) is 2^64, which a cast would wrap to 0; 2^63 - 1 likewise."""
    info = np.iinfo(dtype)
    for value in (info.min, info.max):
        image = np.full((5, 6), value, dtype)
        result = nd.diffuse(image, MODELS[model], time=2.0, preserve_dtype=True)
        np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("model", MODELS)
def test_64_bit_integers_are_saturated_and_not_wrapped(model):
    """Beyond 2^53, float64 has no units: results are exact to its rounding."""
    for dtype in ("i8", "u8"):
        info = np.iinfo(dtype)
        image = alternating(dtype, info.min, info.max)
        result = nd.diffuse(image, MODELS[model], time=1.5, preserve_dtype=True)
        assert result.dtype == image.dtype
        truth = nd.diffuse(image.astype("f8"), MODELS[model], time=1.5)
        np.testing.assert_allclose(result.astype("f8"), truth, rtol=0, atol=2.0**64 * 4e-16)


@pytest.mark.parametrize("model", MODELS)
def test_noise_on_a_large_offset_is_smoothed(model):
    """Noise of 0.02 on 1e6: float64 is exact; float32, of steps 0.0625, makes no new extremum."""
    noise = 0.02 * np.random.default_rng(4).normal(size=(20, 21))
    options = {"time": 2.0, "scheme": "explicit"}
    soft = scaled(MODELS[model], 1e-3)  # kappa = 0.01, in the units of the noise
    alone = nd.diffuse(noise, soft, **options)
    on_top = nd.diffuse(1e6 + noise, soft, **options) - 1e6
    # A float64 at 1e6 has steps of 1.2e-10; g takes differences divided by kappa = 0.01.
    np.testing.assert_allclose(on_top, alone, rtol=0, atol=1e-8)
    single = (1e6 + noise).astype("f4")
    result = nd.diffuse(single, soft, **options)
    assert single.min() <= result.min() <= result.max() <= single.max()
    # Ten steps, each rounded to 0.0625.
    np.testing.assert_allclose(result, 1e6 + alone, rtol=0, atol=10 * 0.0625)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_invalid_values_are_refused_or_kept(value, dtype, model):
    image = broken(value).astype(dtype)
    image[0, 0, 0] = value
    before = image.tobytes()
    with pytest.raises(ValueError, match="2 values that are NaN or infinite") as caught:
        nd.diffuse(image, MODELS[model], time=1.5)
    check_sentence(caught.value, "[0, 0, 0]", "nan='mask'")
    # Errors of the processes of a cluster are pickled.
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    result = nd.diffuse(image, MODELS[model], time=1.5, nan="mask")
    invalid = ~np.isfinite(image)
    # The image diffuses around invalid values as around a mask.
    np.testing.assert_array_equal(result[invalid], image[invalid])
    filled = np.where(invalid, 7, clean(image))
    truth = nd.diffuse(filled, MODELS[model], time=1.5, mask=~invalid)
    np.testing.assert_allclose(
        result[~invalid].astype("f8"), truth[~invalid], rtol=0, atol=ROUNDING[dtype] * 120
    )
    assert image.tobytes() == before


@pytest.mark.parametrize("kind", models.BUILTIN, ids=lambda kind: kind.name)
def test_voxel_that_is_invalid_in_one_channel_is_unchanged_in_the_others(kind):
    """It does not diffuse, and no bias is subtracted from it."""
    image = np.stack([picture((6, 7)), picture((6, 7), seed=4)], -1)
    image[3, 4, 0] = np.nan
    result = nd.diffuse(image, kind(), time=0.05, channel_axis=-1, nan="mask")
    np.testing.assert_array_equal(result[3, 4], image[3, 4])
    assert (result[0] != image[0]).any()


@pytest.mark.parametrize(
    ("shape", "at", "options"),
    [
        ((6, 7), (3, 4), {}),
        ((2, 6, 7), (1, 3, 4), {"axes": (1, 2)}),
        ((6, 1, 7), (3, 0, 4), {}),
        ((6, 7, 3), (3, 4, 2), {"channel_axis": 2}),
        ((6, 2, 3, 7), (5, 1, 2, 4), {"axes": (0, 3), "channel_axis": 2}),
    ],
)
def test_error_names_the_index_of_an_invalid_value(shape, at, options):
    image = picture(shape)
    image[at] = np.inf
    has_frames = len(options.get("axes", shape)) + ("channel_axis" in options) < len(shape)
    subject = "A frame of the image" if has_frames else "The image"
    message = (
        f"{subject} has 1 value that is NaN or infinite at index {list(at)}; "
        "use nan='mask' to diffuse around it."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        nd.diffuse(image, nd.Linear(), time=1.5, **options)


@pytest.mark.parametrize("model", MODELS)
def test_image_without_valid_values_is_kept_or_refused(model):
    image = np.full((4, 5), np.nan, "f4")
    np.testing.assert_array_equal(nd.diffuse(image, MODELS[model], time=1.5, nan="mask"), image)
    with pytest.raises(ValueError, match="20 values") as caught:
        nd.diffuse(image, MODELS[model], time=1.5)
    check_sentence(caught.value)


@pytest.mark.parametrize("model", MODELS)
def test_masked_array_is_a_mask(model):
    """Masked voxels are outside, whatever their value: a fill value of 1e20, or NaN."""
    image = picture((8, 9))
    hidden = np.zeros((8, 9), bool)
    hidden[3:5, 2:7] = True
    truth = nd.diffuse(clean(image), MODELS[model], time=1.5, mask=~hidden)
    for fill in (7.0, np.nan, 1e17):
        masked = np.ma.array(np.where(hidden, fill, image).astype("f4"), mask=hidden)
        before = fingerprint(masked)
        result = nd.diffuse(masked, MODELS[model], time=1.5)
        assert fingerprint(masked) == before
        assert isinstance(result, np.ma.MaskedArray)
        np.testing.assert_array_equal(np.ma.getmaskarray(result), hidden)
        np.testing.assert_array_equal(result.data[hidden], masked.data[hidden])
        np.testing.assert_allclose(
            result.data[~hidden], truth[~hidden], rtol=0, atol=ROUNDING["f4"] * 120
        )
    unmasked = nd.diffuse(np.ma.array(image), MODELS[model], time=1.5)
    np.testing.assert_array_equal(unmasked.data, nd.diffuse(image, MODELS[model], time=1.5))


def test_values_outside_the_mask_may_be_nan():
    """Values outside the mask are neither used nor changed."""
    image = broken(np.nan, (8, 9))
    mask = np.ones((8, 9), bool)
    mask[4, 4] = False
    result = nd.diffuse(image, nd.Linear(), time=1.5, mask=mask)
    np.testing.assert_array_equal(np.isnan(result), ~mask)
    image[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"1 value that is .* at index \[0, 0\]"):
        nd.diffuse(image, nd.Linear(), time=1.5, mask=mask)


@pytest.mark.parametrize("model", MODELS)
def test_memory_map_is_read_and_not_written(model, tmp_path):
    picture((20, 9, 8)).tofile(tmp_path / "raw")
    before = (tmp_path / "raw").read_bytes()
    mapped = np.memmap(tmp_path / "raw", "f4", "r+", shape=(20, 9, 8))
    result = nd.diffuse(mapped, MODELS[model], time=1.5)
    compare(result, mapped, MODELS[model], {})
    assert type(result) is np.ndarray
    mapped.flush()
    assert (tmp_path / "raw").read_bytes() == before


@pytest.mark.parametrize("time", [1e4, 1e6, 1e12])
def test_long_time_gives_the_mean_or_is_refused(time):
    image = picture((6, 7))
    flat = nd.diffuse(image, nd.Linear(), time=time)
    np.testing.assert_allclose(flat, image.mean(dtype=float), rtol=3e-6)  # rounding of float32
    if time > 1e5:
        with pytest.raises(ValueError, match="stable steps") as caught:
            nd.diffuse(image, nd.PeronaMalik(), time=time, scheme="explicit")
        check_sentence(caught.value, f"{time:g}", "units")


def test_sigma_of_a_million_voxels_averages_along_the_axis():
    """Spacing 1e-6 : 1 and time 1; the cosine transform solves it in one stage."""
    image = picture((6, 7))
    result = nd.diffuse(image, nd.Linear(), time=1.0, spacing=(1e-6, 1.0))
    mean = np.broadcast_to(image.mean(0, dtype=float), image.shape)
    expected = nd.diffuse(mean, nd.Linear(), time=1.0, axes=(1,))
    np.testing.assert_allclose(result, expected, rtol=3e-6)
