"""Tests share the results of calls whose arguments have the same content, and no others."""

import dask.array
import numpy as np
import pytest

import napari_diffusion as nd
from helpers.remembered import MAX_BYTES, remember

IMAGE = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def calls():
    return []


@pytest.fixture
def counted(calls):
    """A function that notes its calls; its second argument does not count."""

    def note(*arguments):
        calls.append(arguments)
        return len(calls)

    return remember(note, {}, lambda index: index != 1)


def test_a_call_with_equal_content_is_made_once(counted, calls):
    first = counted([IMAGE, nd.PeronaMalik(kappa=3.0)], "one")
    assert counted([IMAGE.copy(), nd.PeronaMalik(kappa=3.0)], "other") == first
    assert len(calls) == 1


@pytest.mark.parametrize(
    "other",
    [
        IMAGE + 1,
        IMAGE.T,
        IMAGE.reshape(3, 2),
        IMAGE.astype(np.float32),
        nd.PeronaMalik(kappa=3.0),
        nd.PeronaMalik(kappa=3.5),
        nd.Linear(),
        None,
        1,
        1.0,
        True,
        "1",
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_call_with_other_content_is_made_again(counted, calls, other):
    values = [IMAGE, nd.PeronaMalik(kappa=2.0), 2, 2.0, "2"]
    for value in (*values, other):
        counted(value, None)
    assert len(calls) == len(values) + 1
    assert counted(other, None) == len(calls)


@pytest.mark.parametrize(
    "value",
    [dask.array.from_array(IMAGE), np.zeros(MAX_BYTES + 1, np.uint8), object()],
    ids=["lazy", "large", "unknown"],
)
def test_nothing_is_remembered_that_cannot_be_compared(counted, calls, value):
    counted([value], None)
    counted([value], None)
    assert len(calls) == 2


def test_an_error_is_not_remembered(calls):
    def fail_once(value):
        calls.append(value)
        if len(calls) == 1:
            raise OSError
        return value

    once = remember(fail_once, {}, lambda index: True)
    with pytest.raises(OSError, match=r"^$"):
        once(3)
    assert once(3) == once(3) == 3
    assert len(calls) == 2
