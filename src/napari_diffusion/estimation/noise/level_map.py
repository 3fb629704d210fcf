"""A factor on the noise level that varies slowly with the place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import FloatArray
from napari_diffusion.operators.threshold_map import ThresholdMap


@dataclass(frozen=True)
class LevelMap:
    """Factor on the noise level, on a grid over the image, interpolated linearly.

    Attributes
    ----------
    factors
        Factor at every node, in C order.
    shape
        Number of nodes along each diffusing axis. Node k of m lies at (k + 0.5)/m of the extent of
        the image; beyond the outer nodes the factor is constant.
    """

    factors: tuple[float, ...]
    shape: tuple[int, ...]

    @property
    def grid(self) -> FloatArray:
        """The factors as an array."""
        return np.array(self.factors).reshape(self.shape)

    @property
    def ratio(self) -> float:
        """Ratio of the largest and the smallest factor."""
        return max(self.factors) / min(self.factors)

    @property
    def nested(self) -> ThresholdMap:
        """The factors as a map of thresholds: nested tuples, rounded to three digits."""
        nested: ThresholdMap = _nested([float(f"{v:.3g}") for v in self.factors], self.shape)
        return nested

    def times(self, factor: float) -> LevelMap:
        """Return the map times a constant."""
        return LevelMap(tuple(factor * value for value in self.factors), self.shape)

    def on(self, first: Sequence[int], shape: Sequence[int], whole: Sequence[int]) -> FloatArray:
        """Return the factor at the voxels of a box.

        Parameters
        ----------
        first, shape
            First voxel and shape of the box, along the diffusing axes.
        whole
            Shape of the image along these axes.
        """
        values = self.grid
        for axis, (start, count, n) in enumerate(zip(first, shape, whole, strict=True)):
            nodes = (np.arange(self.shape[axis]) + 0.5) / self.shape[axis] * n - 0.5
            voxels = np.arange(start, start + count)
            weights = np.array([np.interp(voxels, nodes, row) for row in np.eye(len(nodes))])
            values = np.moveaxis(np.tensordot(values, weights, (axis, 0)), -1, axis)
        return values


def _nested(values: Sequence[float], shape: tuple[int, ...]) -> Any:
    """Return values in C order as nested tuples of a shape."""
    if len(shape) == 1:
        return tuple(values)
    size = len(values) // shape[0]
    return tuple(_nested(values[k * size : (k + 1) * size], shape[1:]) for k in range(shape[0]))
