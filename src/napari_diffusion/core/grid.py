"""The grid of a computation: shape, voxel size and open faces.

Fields on a grid are arrays of shape ``(C, *space)``: channels first, then the diffusing axes. The
border is the half-sample mirror: no flux passes the outer faces, which conserves the mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Place:
    """Where a part lies in the image that it is cut out of.

    All fields have one entry for each diffusing axis of the image.

    Attributes
    ----------
    first
        Index in the image of the first voxel of the part.
    shape
        Number of voxels of the image.
    axes
        Axis of the part along which each of them runs, ``None`` for an axis that the part lacks;
        by default 0, 1, ...
    """

    first: tuple[int, ...]
    shape: tuple[int, ...]
    axes: tuple[int | None, ...] | None = None

    @cached_property
    def along(self) -> tuple[int | None, ...]:
        """Axis of the part along which each diffusing axis of the image runs."""
        return tuple(range(len(self.shape))) if self.axes is None else self.axes

    def moved(self, starts: Sequence[int]) -> Place:
        """Return the place of a smaller part, which starts at these indices of the part."""
        pairs = zip(self.first, self.along, strict=True)
        first = tuple(i if axis is None else i + starts[axis] for i, axis in pairs)
        return replace(self, first=first)

    def renumbered(self, axes: Sequence[int | None]) -> Place:
        """Return the place of the part with other axes: ``axes[i]`` is the number of axis i."""
        along = tuple(None if axis is None else axes[axis] for axis in self.along)
        return replace(self, axes=along)


@dataclass(frozen=True)
class Grid:
    """A box of voxels with its voxel size and, optionally, walls between regions.

    Parameters
    ----------
    shape
        Number of voxels along each diffusing axis.
    spacing
        Voxel size :math:`h_i` along each diffusing axis [length].
    open_faces
        Bit ``i`` of ``open_faces[x]`` is set where flux passes the face between voxel ``x`` and
        its next neighbour along axis ``i``; ``None`` when every inner face is open.
    place
        Where the box lies in the image; ``None`` for a box that is no part of an image, on which
        maps of thresholds have no effect.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    open_faces: NDArray[np.uint8] | None = None
    place: Place | None = None

    @cached_property
    def inverse_square_sum(self) -> float:
        r""":math:`\sum_i 1/h_i^2` [1/length²] over the axes with more than one voxel.

        An axis of one voxel has no inner face.
        """
        return sum(1.0 / h**2 for n, h in zip(self.shape, self.spacing, strict=True) if n > 1)

    @cached_property
    def finest(self) -> float:
        """Smallest voxel size [length] of the axes with more than one voxel; 1 without any."""
        axes = zip(self.shape, self.spacing, strict=True)
        return min((h for n, h in axes if n > 1), default=1.0)

    @cached_property
    def tensor_axes(self) -> tuple[int, ...]:
        """Axes of a tensor: those along which the image changes, or the last axis without any.

        Along an axis of infinite voxel size lie the frames of a stack.
        """
        sizes = enumerate(zip(self.shape, self.spacing, strict=True))
        axes = tuple(i for i, (n, h) in sizes if n > 1 and h < math.inf)
        return axes or (len(self.shape) - 1,)

    @cached_property
    def tensor_entries(self) -> tuple[tuple[int, int], ...]:
        """Axes of the entries of a symmetric matrix: diagonal, then upper triangle."""
        axes = self.tensor_axes
        return tuple((i, i) for i in axes) + tuple((i, j) for i in axes for j in axes if i < j)

    def max_step(self, diffusivity: float) -> float:
        r"""Largest explicit step [length²] that keeps the extremum principle.

        It is :math:`1 / (2 g_{max} \sum_i h_i^{-2})`, with the largest ``diffusivity``
        :math:`g_{max}`. This is also the L2 bound :math:`2/\lambda_{max}`, since
        :math:`\lambda_{max} \le 4 g_{max} \sum_i h_i^{-2}`. Infinite where nothing diffuses.
        """
        total = self.inverse_square_sum * diffusivity
        return 1.0 / (2.0 * total) if total > 0 else np.inf
