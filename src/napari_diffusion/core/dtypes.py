"""The grid that everything below the engine speaks: voxel size, regions, border and float rule.

Fields are arrays of shape ``(C, *space)``: channels first, then the axes that diffuse. The border is the
half-sample mirror (no flux through the outer faces), the one that conserves the mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_diffusion.core.arrays import Array


def working_dtype(dtype: DTypeLike) -> np.dtype[np.generic]:
    """Float type to compute in: float16 and small integers in float32, 32- and 64-bit integers in float64 (float32 would lose digits)."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.dtype(np.float64 if kind.itemsize > 4 else np.float32)
    return np.dtype(np.float64 if kind.itemsize > 2 else np.float32)


def result_dtype(dtype: DTypeLike, preserve: bool) -> np.dtype[np.generic]:
    """Float in, same float out; integers and bool come back as float32 in their own units, or as they were with ``preserve``."""
    kind = np.dtype(dtype)
    return kind.newbyteorder("=") if preserve or kind.kind == "f" else np.dtype(np.float32)


def store(values: NDArray[np.floating], dtype: np.dtype[np.generic]) -> Array:
    """Convert to ``dtype``; integers and bool are rounded and saturated, never wrapped."""
    if values.dtype == dtype:
        return values
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind in "iu":
        flat, whole = values.reshape(-1), np.empty(values.size, dtype)
        for start in range(0, flat.size, 1 << 20):  # in pieces: there are five temporaries
            _round(flat[start : start + (1 << 20)], whole[start : start + (1 << 20)])
        return whole.reshape(values.shape)
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _round(values: NDArray[np.floating], out: Array) -> None:
    info = np.iinfo(str(out.dtype))
    # float(2**63 - 1) rounds up to 2**63, which would wrap: saturate where the float reaches the limit, cast elsewhere.
    rounded = np.rint(values)
    inside = (rounded > info.min) & (rounded < float(info.max))
    out[...] = np.where(inside, rounded, 0).astype(out.dtype)
    out[rounded >= float(info.max)] = info.max
    out[rounded <= info.min] = info.min
