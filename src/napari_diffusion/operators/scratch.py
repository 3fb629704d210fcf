"""Work arrays that are reused instead of allocated for every block of planes."""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import get_ident
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field


class Scratch:
    """Named work arrays, separate for each thread.

    Reuse pays: new memory pages cost as much as the arithmetic that fills them (measured).

    Parameters
    ----------
    empty
        Allocates an array of a shape and a data type.
    """

    def __init__(self, empty: Callable[..., NDArray[Any]] = np.empty) -> None:
        self._empty = empty
        self._buffers: dict[tuple[int, str], NDArray[np.uint8]] = {}
        self._taken: dict[tuple[int, str], Field] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Field:
        """Return the array of this name with its previous contents, allocated on first use."""
        key = get_ident(), name  # `threading.local` takes a microsecond longer
        taken = self._taken.get(key)
        if taken is not None and taken.shape == shape and taken.dtype == dtype:
            return taken
        size = math.prod(shape) * dtype.itemsize
        if key not in self._buffers or self._buffers[key].size < size:
            self._buffers[key] = self._empty((size,), np.uint8)
        taken = self._buffers[key][:size].view(dtype).reshape(shape)
        self._taken[key] = taken
        return taken
