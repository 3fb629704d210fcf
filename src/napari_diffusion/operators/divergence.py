r"""Operators with a scalar diffusivity g in divergence form.

.. math:: u_t = \operatorname{div}(g\,\nabla u)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.grid import Grid
from napari_diffusion.operators.diffusivity import Diffusivity


class BoundedOperator:
    """Base class of the scalar operators, whose weights are bounded.

    Attributes
    ----------
    maximum
        Upper bound of the weight of a neighbour, multiplied by h². In divergence form it is the
        upper bound of g.
    """

    maximum: float

    def max_step(self, grid: Grid) -> float:
        """Return the largest explicit step [length²] that satisfies the extremum principle."""
        return grid.max_step(self.maximum)


@dataclass(frozen=True)
class ConstantDiffusivity(BoundedOperator):
    r"""Constant diffusivity: :math:`u_t = g\,\Delta u`."""

    maximum: float = 1.0


@dataclass(frozen=True)
class FaceDiffusivity(BoundedOperator):
    r"""Diffusivity of the difference across each face.

    The flux through a face of axis i is :math:`g(|\partial_i u|)\,\partial_i u`. All channels share
    the diffusivity of :math:`s^2 = \sum_c w_c (\partial_i u_c)^2`.
    """

    diffusivity: Diffusivity
    maximum: float = 1.0


@dataclass(frozen=True)
class VoxelDiffusivity(BoundedOperator):
    """Diffusivity at the voxels; a face uses the mean of its two voxels (Weickert 1998).

    Attributes
    ----------
    values
        Diffusivity at the voxels, between 0 and ``maximum``.
    """

    values: NDArray[np.floating]
    maximum: float = 1.0


@dataclass(frozen=True)
class GradientDiffusivity(BoundedOperator):
    r"""Diffusivity of the whole gradient at each face.

    The flux through a face of axis i is :math:`c\,g(|\nabla u|)\,\partial_i u` with the bound
    :math:`c` = ``maximum``. The derivative along axis i is the difference across the face itself;
    the transverse derivatives are those of the two voxels. A step edge thus has its whole gradient
    at one face. With gradients of voxels, it would spread over several faces.

    Attributes
    ----------
    values
        :math:`|\nabla u|^2` at the voxels [intensity²/length²].
    diffusivity
        The diffusivity g.
    """

    values: NDArray[np.floating]
    diffusivity: Diffusivity
    maximum: float = 1.0
