"""Affine transforms from voxel indices to coordinates in space."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array

#: Largest cosine between two axes that are called orthogonal; 0.06 degrees.
ORTHOGONALITY = 1e-3
#: Largest distance of two grids that are called the same [voxel].
SAME_GRID = 1e-3


def voxel_sizes(matrix: Array) -> tuple[float, ...]:
    r"""Return the voxel size along each axis: the length of the columns of the matrix.

    .. math:: h_i = \lVert M e_i \rVert

    Parameters
    ----------
    matrix
        Linear part of the transform, shape (coordinates, axes). For a layer of napari it is the
        product affine · rotate · shear · scale.
    """
    columns = np.asarray(matrix, np.float64)
    return tuple(float(size) for size in np.linalg.norm(columns, axis=0))


def orthogonality_defect(matrix: Array) -> float:
    """Return the largest cosine between two axes; 0 for orthogonal axes.

    Parameters
    ----------
    matrix
        Linear part of the transform, shape (coordinates, axes). Columns of zeros are ignored.
    """
    columns = np.asarray(matrix, np.float64)
    lengths = np.linalg.norm(columns, axis=0)
    units = columns[:, lengths > 0] / lengths[lengths > 0]
    cosines = np.abs(units.T @ units)
    np.fill_diagonal(cosines, 0.0)
    return float(cosines.max(initial=0.0))


@dataclass(frozen=True)
class Reorientation:
    """An exact change of the order and the direction of axes.

    Attributes
    ----------
    order
        Axis of the old array that becomes each axis of the new one.
    flipped
        Whether each axis of the new array runs in the other direction than before.
    """

    order: tuple[int, ...]
    flipped: tuple[bool, ...]

    def apply_to(self, array: Array) -> Array:
        """Return a view of the array with the new axes."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return array.transpose(self.order)[steps]

    def affine_of(self, affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the transform of the new indices.

        Parameters
        ----------
        affine, shape
            Transform and shape of the old array.
        """
        ndim = len(self.order)
        to_old = np.zeros((ndim + 1, ndim + 1))
        to_old[-1, -1] = 1.0
        for new, (old, flip) in enumerate(zip(self.order, self.flipped, strict=True)):
            to_old[old, new] = -1.0 if flip else 1.0
            to_old[old, -1] = shape[old] - 1 if flip else 0.0
        product_: NDArray[np.float64] = np.asarray(affine, np.float64) @ to_old
        return product_


def distance_of_grids(
    affine: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]
) -> float:
    """Return the largest distance between two grids, in voxels of the first.

    Parameters
    ----------
    affine, other
        Transforms from voxel indices to coordinates, shape (n + 1, n + 1).
    shape
        Number of voxels along each axis. The largest distance is at one of the corners.
    """
    corners = np.array(list(product(*[(0, max(n - 1, 0)) for n in shape])), np.float64)
    difference = np.asarray(other, np.float64) - np.asarray(affine, np.float64)
    offsets = corners @ difference[:-1, :-1].T + difference[:-1, -1]
    # In voxels along the axes of the first grid; its axes need not be orthogonal.
    in_voxels = np.linalg.lstsq(np.asarray(affine, np.float64)[:-1, :-1], offsets.T, rcond=None)[0]
    return float(np.linalg.norm(in_voxels, axis=0).max(initial=0.0))


def reorientation_to(
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
    other: NDArray[np.float64],
    other_shape: tuple[int, ...],
    tolerance: float = SAME_GRID,
) -> Reorientation | None:
    """Return the reorientation that brings another grid onto this one; ``None`` without one.

    Parameters
    ----------
    affine, shape
        Transform and shape of this grid.
    other, other_shape
        Transform and shape of the grid whose array is reoriented.
    tolerance
        Largest distance between the two grids then [voxel].
    """
    ndim = len(shape)
    try:
        # The index in the other grid of each index of this grid.
        transform = np.linalg.solve(np.asarray(other, np.float64), np.asarray(affine, np.float64))
    except np.linalg.LinAlgError:
        return None
    linear = transform[:ndim, :ndim]
    order = tuple(int(i) for i in np.abs(linear).argmax(axis=0))
    if sorted(order) != list(range(ndim)) or tuple(other_shape[i] for i in order) != tuple(shape):
        return None
    reorientation = Reorientation(
        order, tuple(bool(linear[old, new] < 0) for new, old in enumerate(order))
    )
    reached = reorientation.affine_of(other, other_shape)
    return reorientation if distance_of_grids(affine, reached, shape) <= tolerance else None
