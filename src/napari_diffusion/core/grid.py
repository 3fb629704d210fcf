"""The grid that everything below the engine speaks: voxel size, regions, border and float rule.

Fields are arrays of shape ``(C, *space)``: channels first, then the axes that diffuse. The border is the
half-sample mirror (no flux through the outer faces), the one that conserves the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


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
