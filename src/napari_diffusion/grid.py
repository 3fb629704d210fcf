"""The grid that everything below the engine speaks: voxel size, regions, border and float rule.

Fields are arrays of shape ``(C, *space)``: channels first, then the axes that diffuse. The border is the
half-sample mirror (no flux through the outer faces), the one that conserves the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Grid:
    r"""A box of voxels with its voxel size and, optionally, walls between regions.

    Parameters
    ----------
    shape
        Number of voxels along each axis that diffuses.
    spacing
        Voxel size :math:`h_i` along each of these axes [length].
    open_faces
        Bit ``i`` of ``open_faces[x]`` is set where the face between voxel ``x`` and its next neighbour along axis ``i``
        lets flux through; ``None`` when every inner face is open.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    open_faces: NDArray[np.uint8] | None = None

    @cached_property
    def inverse_square_sum(self) -> float:
        r""":math:`\sum_i 1/h_i^2` over the axes with more than one voxel: a dummy axis has no face to flow through."""
        return sum(1.0 / h**2 for n, h in zip(self.shape, self.spacing, strict=True) if n > 1)

    def max_step(self, diffusivity: float) -> float:
        r"""Largest explicit step that keeps the extremum principle, :math:`1 / (2 g_{max} \sum_i h_i^{-2})`.

        It is also the L2 bound :math:`2/\lambda_{max}`, since :math:`\lambda_{max} \le 4 g_{max} \sum_i h_i^{-2}`.
        """
        total = self.inverse_square_sum * diffusivity
        return 1.0 / (2.0 * total) if total > 0 else np.inf


def open_faces(regions: Array) -> NDArray[np.uint8] | None:
    """Mark the faces between voxels of the same region; region 0 is outside and has no open face.

    Returns ``None`` when all faces are open, so that a mask of ones costs nothing and changes no bit.
    """
    faces = np.zeros(regions.shape, np.uint8)
    closed = False
    for axis in range(regions.ndim):
        near = _along(axis, slice(None, -1))
        here, there = regions[near], regions[_along(axis, slice(1, None))]
        flows = (here == there) & (here != 0)
        closed |= not flows.all()
        faces[near] |= flows.astype(np.uint8) << np.uint8(axis)
    return faces if closed or not regions.all() else None


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


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (part,)
