"""Data types of the computation and of results; conversions round and saturate."""

import numpy as np
import pytest

from napari_diffusion.core.dtypes import result_dtype, store, working_dtype


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [("? i1 u1 i2 u2 f2 f4 >f4", np.float32), ("i4 u4 i8 u8 f8 >f8", np.float64)],
)
def test_computation_keeps_all_digits(dtypes, expected):
    assert {working_dtype(dtype) for dtype in dtypes.split()} == {np.dtype(expected)}


@pytest.mark.parametrize(
    ("dtype", "result", "preserved"),
    [
        ("?", "f4", "?"),
        ("u1", "f4", "u1"),
        (">i2", "f4", "i2"),
        ("i8", "f4", "i8"),
        ("f2", "f2", "f2"),
        (">f8", "f8", "f8"),
    ],
)
def test_result_is_float_or_of_the_dtype_of_the_image(dtype, result, preserved):
    assert result_dtype(dtype, False) == np.dtype(result)
    assert result_dtype(dtype, True) == np.dtype(preserved)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_integers_saturate_at_their_limits_and_never_wrap(dtype):
    """float(2^63 - 1) is 2^63, which a cast would wrap; so is float(2^64 - 1)."""
    limits = np.iinfo(dtype)
    low, high = float(limits.min), float(limits.max)
    values = [-np.inf, -1e30, 2 * low - 1, low, high, 2 * high + 1, 1e30, np.inf]
    expected = [limits.min] * 4 + [limits.max] * 4
    result = store(np.array(values), np.dtype(dtype))
    assert result.dtype == dtype
    assert result.tolist() == expected


def test_largest_floats_below_a_limit_are_kept():
    values = np.nextafter([2.0**63, -(2.0**63)], 0)
    assert store(values, np.dtype("i8")).tolist() == [2**63 - 1024, -(2**63) + 1024]


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 2, 1)])
def test_integers_are_rounded_to_the_nearest_and_halves_to_the_even(shape):
    values = np.array([-1.5, -0.4, 0.5, 1.5, 2.4, 2.6]).reshape(shape)
    result = store(values, np.dtype("i2"))
    assert result.shape == shape
    assert result.ravel().tolist() == [-2, 0, 0, 2, 2, 3]


def test_large_array_is_rounded_up_to_its_last_value():
    """Arrays are rounded in pieces of 2^20 values; the last piece has two values."""
    values = np.arange((1 << 20) + 2) + 0.3
    np.testing.assert_array_equal(store(values, np.dtype("i4")), np.arange(values.size))


def test_bool_is_true_from_one_half():
    values = np.array([-1.0, 0.49, 0.5, 0.51, 7.0])
    assert store(values, np.dtype(bool)).tolist() == [False, False, True, True, True]


def test_float_beyond_the_range_is_infinite_without_a_warning():
    result = store(np.array([1.5, 1e5, -1e5]), np.dtype("f2"))
    assert result.dtype == np.float16
    assert result.tolist() == [1.5, np.inf, -np.inf]


def test_values_of_the_requested_dtype_are_not_copied():
    values = np.ones(3)
    assert store(values, values.dtype) is values
