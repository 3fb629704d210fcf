"""The grid of a computation: shape, voxel size and open faces.

Fields on a grid are arrays of shape ``(C, *space)``: channels first, then the diffusing axes. The
border is the half-sample mirror: no flux passes the outer faces, which conserves the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


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
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    open_faces: NDArray[np.uint8] | None = None

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

    def max_step(self, diffusivity: float) -> float:
        r"""Largest explicit step [length²] that keeps the extremum principle.

        It is :math:`1 / (2 g_{max} \sum_i h_i^{-2})`, with the largest ``diffusivity``
        :math:`g_{max}`. This is also the L2 bound :math:`2/\lambda_{max}`, since
        :math:`\lambda_{max} \le 4 g_{max} \sum_i h_i^{-2}`. Infinite where nothing diffuses.
        """
        total = self.inverse_square_sum * diffusivity
        return 1.0 / (2.0 * total) if total > 0 else np.inf
