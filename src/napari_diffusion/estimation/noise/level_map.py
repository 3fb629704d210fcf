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

    def nested(self, along: Sequence[int | None]) -> ThresholdMap:
        """The factors as a map of thresholds: nested tuples, rounded to three digits.

        Parameters
        ----------
        along
            Axis of the grid along which each level of the map runs.
        """
        axes = [axis for axis in along if axis is not None]
        nested: ThresholdMap = _nested(self.grid.transpose(axes).tolist())
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


def _nested(values: Any) -> Any:
    """Return nested lists as nested tuples of numbers with three digits."""
    if isinstance(values, list):
        return tuple(map(_nested, values))
    return float(f"{values:.3g}")
