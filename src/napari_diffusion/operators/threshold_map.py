r"""Maps of thresholds: factors of a threshold that differ from place to place.

A map is a grid of factors f that covers the whole image, whatever its number of voxels. Along an
axis with m nodes, node k lies at the share :math:`(k + \tfrac12)/m` of the extent of the image.
Between the nodes f is linear along each axis; beyond the outermost nodes it is constant. The
threshold at a voxel is :math:`\kappa f`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.base import Backend
from napari_diffusion.core.arrays import Field
from napari_diffusion.core.errors import shown
from napari_diffusion.core.grid import Place

#: Nested tuples of factors, with one level for each diffusing axis.
ThresholdMap = tuple[Any, ...]
#: Largest number of nodes of a map.
MAX_NODES = 4096
#: Smallest and largest factor: squares of ratios of two factors are normal numbers in float32.
SMALLEST_FACTOR, LARGEST_FACTOR = 1e-9, 1e9


def map_checker(name: str) -> Callable[[Any], ThresholdMap]:
    """Return a function that converts a parameter of this name to a `ThresholdMap`.

    It raises ValueError for values that are no grid of factors.
    """

    def convert(values: Any) -> ThresholdMap:
        try:
            nodes = np.asarray(values)
        except ValueError:  # rows of different lengths
            nodes = np.zeros(0, object)
        if nodes.dtype.kind not in "iuf" or not nodes.ndim:
            raise ValueError(
                f"{name} must be a grid of numbers, nested lists with one level per diffusing "
                f"axis and rows of equal length; got {shown(values)}."
            )
        if not 0 < nodes.size <= MAX_NODES:
            raise ValueError(f"{name} must have 1 to {MAX_NODES} numbers, got {nodes.size}.")
        allowed = (nodes >= SMALLEST_FACTOR) & (nodes <= LARGEST_FACTOR)
        if not allowed.all():
            raise ValueError(
                f"{name} must hold factors > 0, from {SMALLEST_FACTOR:g} to {LARGEST_FACTOR:g}, "
                f"got {nodes[~allowed][0]}."
            )
        nested: ThresholdMap = _nested(nodes.astype(float).tolist())
        return nested

    return convert


def _nested(values: Any) -> Any:
    return tuple(map(_nested, values)) if isinstance(values, list) else values


@lru_cache(maxsize=32)
def _padded(threshold_map: ThresholdMap) -> NDArray[np.float64]:
    """Return the factors as an array, with the outermost ones repeated beyond the border."""
    return np.pad(np.array(threshold_map, float), 1, mode="edge")


def nodes_per_axis(threshold_map: ThresholdMap) -> tuple[int, ...]:
    """Return the number of nodes of a map along each diffusing axis."""
    return tuple(n - 2 for n in _padded(threshold_map).shape)


def in_words(threshold_map: ThresholdMap) -> str:
    """Return size and range of a map, such as ``"4×6×6 factors from 0.5 to 4"``."""
    factors, nodes = _padded(threshold_map), nodes_per_axis(threshold_map)
    size = "×".join(map(str, nodes))
    plural = "" if factors.size == 3 ** len(nodes) else "s"
    low, high = f"{factors.min():.3g}", f"{factors.max():.3g}"
    return f"{size} factor{plural} " + (f"of {low}" if low == high else f"from {low} to {high}")


def smallest_factor(threshold_map: ThresholdMap | None) -> float:
    """Return the smallest factor, at most 1; 1 without a map."""
    return 1.0 if threshold_map is None else min(1.0, float(_padded(threshold_map).min()))


def largest_map_factor(threshold_map: ThresholdMap | None) -> float:
    """Return the largest factor; 1 without a map."""
    return 1.0 if threshold_map is None else float(_padded(threshold_map).max())


@lru_cache(maxsize=32)
def _is_one(threshold_map: ThresholdMap) -> bool:
    return bool((_padded(threshold_map) == 1).all())


def differs(threshold_map: ThresholdMap | None) -> bool:
    """Whether at least one factor is not 1."""
    return threshold_map is not None and not _is_one(threshold_map)


def write_reciprocals(
    threshold_map: ThresholdMap, place: Place, lo: int, hi: int, kernels: Backend, out: Field
) -> None:
    r"""Write :math:`1/f` at the voxels of planes ``lo:hi``.

    The numbers depend on the position in the image only, bit for bit.

    Parameters
    ----------
    threshold_map
        The map.
    place
        Where the grid lies in the image.
    lo, hi
        Range of planes along the first axis of the grid.
    kernels
        Backend that computes the rows.
    out
        The result, shape ``(hi - lo, *shape[1:])`` for a grid of this ``shape``.
    """
    if not out.size:
        return
    factors = _padded(threshold_map)
    # Axes of the image without an axis of the grid come first, the others in the order of the grid.
    levels = sorted(
        range(factors.ndim), key=lambda level: -1 if (a := place.along[level]) is None else a
    )
    factors = factors.transpose(levels)
    for number, level in enumerate(levels):
        axis, first, count = place.along[level], place.first[level], 1
        if axis is not None:
            first, count = (first + lo if axis == 0 else first), out.shape[axis]
        node, offset = _positions(first, count, place.shape[level], factors.shape[number] - 2)
        if number + 1 < len(levels):
            factors = _between(factors, number, node, offset)
        else:
            pieces = _pieces(factors, node, out.dtype)
            kernels.reciprocals(*pieces, offset.astype(out.dtype), out.reshape(-1, count))


def _positions(
    first: int, count: int, size: int, nodes: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the padded node before each voxel, and the offset from the middle to the next node.

    An offset is a share of the distance of two nodes, from -1/2 to 1/2. The quotient of integers
    makes it exact: it changes its sign if the axis is flipped.
    """
    size = max(size, 1)
    numerator = (2 * np.arange(first, first + count) + 1) * nodes - size
    node, rest = np.divmod(numerator, 2 * size)
    return node + 1, (rest - size) / (2 * size)


def _between(
    factors: NDArray[np.float64], axis: int, node: NDArray[np.intp], offset: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate along one axis; equal neighbours give exactly their value."""
    low, high = factors.take(node, axis), factors.take(node + 1, axis)
    along = offset.reshape([-1 if i == axis else 1 for i in range(factors.ndim)])
    between: NDArray[np.float64] = (low + high) / 2 + along * (high - low)
    return np.maximum(between, np.minimum(low, high))  # of very unequal factors, digits cancel


def _pieces(
    factors: NDArray[np.float64], node: NDArray[np.intp], dtype: np.dtype[Any]
) -> tuple[Field, Field, Field, NDArray[np.intp]]:
    """Return middle, difference and smaller value of the nodes around each piece of a row.

    A piece is all voxels between the same two nodes. The last result says where the pieces start,
    and how many voxels a row has.
    """
    starts = np.flatnonzero(np.diff(node, prepend=-1, append=-1))
    rows = factors.reshape(-1, factors.shape[-1])
    low, high = rows[:, node[starts[:-1]]], rows[:, node[starts[:-1]] + 1]
    ends = (low + high) / 2, high - low, np.minimum(low, high)
    middle, difference, lowest = (np.ascontiguousarray(values, dtype) for values in ends)
    return middle, difference, lowest, starts
