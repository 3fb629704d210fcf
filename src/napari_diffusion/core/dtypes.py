"""Data types of the computation and of the result, and the conversion to the latter."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_diffusion.core.arrays import Array


def working_dtype(dtype: DTypeLike) -> np.dtype[np.generic]:
    """Return the float type of the computation.

    float16, bool and integers of 8 or 16 bits are computed in float32. Integers of 32 or 64 bits
    are computed in float64, since float32 would lose digits.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.dtype(np.float64 if kind.itemsize > 4 else np.float32)
    return np.dtype(np.float64 if kind.itemsize > 2 else np.float32)


def result_dtype(dtype: DTypeLike, preserve: bool) -> np.dtype[np.generic]:
    """Return the type of the result.

    Floats keep their type. Integers and bool become float32 with the same unit of intensity, or
    keep their type with ``preserve``.
    """
    kind = np.dtype(dtype)
    return kind.newbyteorder("=") if preserve or kind.kind == "f" else np.dtype(np.float32)


def store(values: NDArray[np.floating], dtype: np.dtype[np.generic]) -> Array:
    """Convert to ``dtype``; integers and bool are rounded and saturated, never wrapped."""
    if values.dtype == dtype:
        return values
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind in "iu":
        flat, integers = values.reshape(-1), np.empty(values.size, dtype)
        # In pieces, since rounding needs five temporary arrays.
        for start in range(0, flat.size, 1 << 20):
            _round(flat[start : start + (1 << 20)], integers[start : start + (1 << 20)])
        return integers.reshape(values.shape)
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _round(values: NDArray[np.floating], out: Array) -> None:
    info = np.iinfo(str(out.dtype))
    # float(2**63 - 1) rounds up to 2**63, which would wrap. Values at a limit or beyond saturate;
    # only the others are cast.
    rounded = np.rint(values)
    inside = (rounded > info.min) & (rounded < float(info.max))
    out[...] = np.where(inside, rounded, 0).astype(out.dtype)
    out[rounded >= float(info.max)] = info.max
    out[rounded <= info.min] = info.min
