"""What a file holds: which of its axes are smoothed, with which voxel size, and the regions that bound the smoothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion import io


def read_regions(name: str, path: Path, letters: str) -> Any:
    """Read a mask or labels, and bring its axes into the order of ``letters``."""
    other = io.read(path)
    data = np.asarray(other.data)
    # The same axes in another order, such as a TIFF mask (z, y, x) of a NIfTI image (x, y, z).
    order = [other.axes.index(letter) for letter in letters if letter in other.axes]
    if len(order) == data.ndim and len(set(other.axes)) == data.ndim:
        data = data.transpose(order)
    whole = data == np.rint(data)
    if not whole.all():
        raise ValueError(f"{path}: {name} must hold whole numbers, got {data[~whole].flat[0]:g}.")
    return data != 0 if name == "mask" else data.astype(np.int64)
