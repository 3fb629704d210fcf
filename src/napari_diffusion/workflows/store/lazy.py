"""Arrays that are read in blocks: masks, and arrays of dask."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Array


class Nonzero:
    """An array as a mask: where it is neither 0 nor NaN. It is read when it is indexed.

    Attributes
    ----------
    data
        The array.
    """

    def __init__(self, data: Any) -> None:
        self.data, self.dtype = data, np.dtype(bool)
        self.shape = tuple(data.shape)

    def __getitem__(self, index: Any) -> Any:
        """Return a part of the mask."""
        values = np.asarray(self.data[index])
        return (values != 0) & ~np.isnan(values)


class InThread:
    """An array of dask whose parts are computed in the thread that reads them.

    The threads of dask would work beside those of the run, and keep more chunks in memory.

    Attributes
    ----------
    data
        The array.
    """

    def __init__(self, data: Any) -> None:
        self.data, self.dtype, self.ndim = data, np.dtype(data.dtype), data.ndim
        self.shape, self.chunks = tuple(data.shape), data.chunks

    def __getitem__(self, index: Any) -> Array:
        """Return a part of the array."""
        return np.asarray(self.data[index].compute(scheduler="synchronous"))


def read_in_thread(array: Any) -> Any:
    """Return an array of dask as `InThread`, and any other array as it is."""
    return InThread(array) if hasattr(array, "__dask_graph__") else array
