"""Work arrays that are allocated once per thread."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Field


class Scratch(threading.local):
    """Work arrays of each thread, allocated once: new pages cost as much as the arithmetic that fills them (measured)."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[np.uint8]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Field:
        """Return the array of that name, with whatever was left in it."""
        size = math.prod(shape) * dtype.itemsize
        if name not in self._held or self._held[name].size < size:
            self._held[name] = np.empty(size, np.uint8)
        return self._held[name][:size].view(dtype).reshape(shape)
