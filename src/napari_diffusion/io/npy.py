"""NumPy files (.npy): an array without metadata.

The last two axes are taken as y and x; the kind of the leading axes is unknown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError
from napari_diffusion.io.volume import Format, Volume


def _read(path: Path) -> Volume:
    # A pickle could run code while it is loaded.
    data = np.load(path, mmap_mode="r", allow_pickle=False)
    if data.ndim == 0 or data.dtype.kind not in "biuf":
        raise InputError(
            f"it holds {data.ndim} axes of {data.dtype}, "
            "and an image has at least one axis of numbers"
        )
    axes = ("Q" * max(data.ndim - 2, 0) + "YX")[-data.ndim :]
    return Volume(
        data,
        axes,
        tuple(1.0 if letter in "XY" else None for letter in axes),
        format="NumPy",
        path=path,
        stored=data.dtype,
    )


def _write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    with path.open("wb") as file:
        np.save(file, data, allow_pickle=False)


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    return dtype


FORMAT = Format("NumPy", (".npy",), _read, _write, _storable, keeps="the numbers only")
