"""NumPy's .npy: an array and nothing else. The last two axes are a picture; what the others are, only its owner knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.io.volume import Format, Volume


def _read(path: Path) -> Volume:
    # Refusing pickles refuses code that a file could otherwise run.
    data = np.load(path, mmap_mode="r", allow_pickle=False)
    if data.ndim == 0 or data.dtype.kind not in "biuf":
        raise ValueError(
            f"it holds {data.ndim} axes of {data.dtype}, and an image has at least one axis of numbers"
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
