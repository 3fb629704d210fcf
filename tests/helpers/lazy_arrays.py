"""Lazy arrays, such as those of dask or zarr, that record what is read of them."""

import numpy as np

from helpers.noisy import white


class RecordingArray:
    """A lazy array that records how many values each access reads, and is never read whole."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.reads = values, values.shape, values.dtype, []

    def __getitem__(self, index):
        part = self.values[index]
        self.reads.append(part.size)
        return part

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("the whole array was read at once")


class GeneratedNoise:
    """White noise of any size, generated where it is read; an index is one slice per axis."""

    def __init__(self, shape):
        self.shape, self.dtype = shape, np.dtype(np.float32)

    def __getitem__(self, index):
        sizes = [len(range(*i.indices(n))) for i, n in zip(index, self.shape, strict=True)]
        return white(sizes).astype("f4")
