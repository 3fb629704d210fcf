r"""Operators with a scalar diffusivity g in divergence form.

.. math:: u_t = \operatorname{div}(g\,\nabla u)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.base import Backend
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.base import Operator, operators_made
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.frozen import FaceStepper, FrozenStepper
from napari_diffusion.operators.scalar import ChunkStep, ScalarOperator, ValuedOperator
from napari_diffusion.operators.stepper import StageContext, Stepper

#: Number of stages that take as long as computing the diffusivity once, with a Gaussian of one
#: voxel before (measured: 3.4, docs/develop/decisions.md).
STAGES_PER_DIFFUSIVITY = 3.4
#: As `STAGES_PER_DIFFUSIVITY`, for second derivatives and stages of fourth order (measured: 1.8).
STAGES_PER_CURVATURE = 1.8
#: Processor time of a stage that computes g at the faces, relative to one with stored g (measured).
LIVE_STAGE = 2.6
#: Additional power of small tolerances in the number of cycles of total variation (measured).
EXTRA_POWER = 0.35


@dataclass(frozen=True)
class ConstantDiffusivity(ScalarOperator):
    r"""Constant diffusivity: :math:`u_t = g\,\Delta u`."""

    is_linear = True
    takes_stacks = True
    has_voxel_conductance = True
    diffusivity = Diffusivity()
    maximum: float = 1.0

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage with g at every face."""
        step.with_diffusivity(self.diffusivity, self.maximum)

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return g everywhere."""
        return np.full((features.hi - features.lo, *features.u.shape[2:]), self.maximum)


@dataclass(frozen=True)
class FaceDiffusivity(ScalarOperator):
    r"""Diffusivity of the difference across each face.

    The flux through a face of axis i is :math:`g(|\partial_i u|)\,\partial_i u`. All channels share
    the diffusivity of :math:`s^2 = \sum_c w_c (\partial_i u_c)^2`.
    """

    takes_stacks = True
    diffusivity: Diffusivity
    maximum: float = 1.0

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage with g of each face's difference."""
        step.with_diffusivity(self.diffusivity)

    takes_guide = True

    def guided(self, features: Features) -> Operator:
        """Return the operator of the whole gradient at each face, which can be stored."""
        values = features.grad2(0.0)
        return GradientDiffusivity(values, self.diffusivity, self.maximum, error_factor=4.0)

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return g of the gradient magnitude."""
        return features.apply(self.diffusivity, features.grad2(0.0))


class StorableValues(ValuedOperator):
    """Base class of the operators whose diffusivity at the voxels is stored for later stages.

    Attributes
    ----------
    values
        Diffusivity at the voxels, between 0 and ``maximum``.
    stages_per_operator
        Number of stages that take as long as computing the values once.
    """

    converges = True
    is_storable = True
    diffusivity = Diffusivity()
    stages_per_operator: ClassVar[float] = STAGES_PER_DIFFUSIVITY

    def stepper(self, context: StageContext) -> Stepper:
        """Return the stepper that stores the values, if stages reuse them."""
        if context.stores_operator:
            return FrozenStepper(context, self.apply, self.stencil_reach(context.strict))
        return super().stepper(context)

    def stored_bytes(
        self, backend: Backend, space: Sequence[int], strict: bool, itemsize: int
    ) -> int:
        """Return the memory of the values."""
        return math.prod(space) * itemsize

    def effort(self, stages: Sequence[Stage]) -> float:
        """Return the work of these stages, in units of a stage with new values."""
        work = len(stages) + self.stages_per_operator * operators_made(stages)
        return work / (1 + self.stages_per_operator)

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return the values."""
        return self.values


@dataclass(frozen=True)
class VoxelDiffusivity(StorableValues):
    """Diffusivity at the voxels; a face uses the mean of its two voxels (Weickert 1998).

    Attributes
    ----------
    values
        Diffusivity at the voxels, between 0 and ``maximum``.
    error_factor
        Error of a second-order scheme, see `Operator`.
    """

    takes_stacks = True
    has_voxel_conductance = True
    values: NDArray[np.floating]
    maximum: float = 1.0
    error_factor: float = 4.0

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage with the mean of both voxels at each face."""
        step.with_diffusivity(self.diffusivity)


@dataclass(frozen=True)
class GradientDiffusivity(ValuedOperator):
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

    converges = True
    takes_stacks = True
    is_storable = True
    kernel = "gradient_step"
    feature_arrays = 1
    values: NDArray[np.floating]
    diffusivity: Diffusivity
    maximum: float = 1.0
    error_factor: float = 0.5

    @property
    def largest_flux(self) -> float:
        """Bound of the flux of total variation; other fluxes fall at steep edges."""
        return self.maximum * self.diffusivity.largest_flux

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage with g of the whole gradient at each face."""
        step.with_full_gradient(self.diffusivity, self.maximum)

    def stepper(self, context: StageContext) -> Stepper:
        """Return the stepper that stores g at the faces, if stages reuse it."""
        if context.stores_operator:
            return FaceStepper(context, self.maximum)
        return super().stepper(context)

    def scheme_tolerance(self, tolerance: float) -> float:
        """Return the tolerance from which a scheme derives its steps.

        The flow is not smooth in time where plateaus merge. Its error falls with the power 1.2 of
        the number of cycles.
        """
        return tolerance / self.error_factor * math.pow(min(tolerance / 1e-3, 1.0), EXTRA_POWER)

    def stage_calls(self, strict: bool, is_stored: bool) -> tuple[Any, ...]:
        """Return the kernels with g at the faces, if it is stored."""
        if not is_stored:
            return super().stage_calls(strict, is_stored)
        code, mapped = self.diffusivity.code, self.diffusivity.has_map
        return ("face_diffusivities", "face_step", code, mapped)

    def stored_bytes(
        self, backend: Backend, space: Sequence[int], strict: bool, itemsize: int
    ) -> int:
        """Return the memory of g at the faces."""
        return math.prod(space) * len(space) * itemsize // 2

    def effort(self, stages: Sequence[Stage]) -> float:
        """Return the work of these stages, in units of a stage with new values."""
        made = self.operators_made(stages)
        return made + (len(stages) - made) / LIVE_STAGE if made else float(len(stages))

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return c g of the gradient magnitude."""
        conductance: NDArray[np.floating] = self.maximum * features.apply(
            self.diffusivity, self.values
        )
        return conductance


@lru_cache(maxsize=64)
def _curvature_factors(
    step: float,
    length: float,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Return the factors of two second differences in a step, by their axes.

    Cached, because the steps of a run repeat; nobody writes to them.
    """
    h = np.array([h if n > 1 else np.inf for n, h in zip(shape, spacing, strict=True)])
    factor = np.sqrt(step) * length / h**2
    return np.asarray(np.multiply.outer(factor, factor), dtype)


@dataclass(frozen=True)
class CurvatureDiffusivity(StorableValues):
    r"""Diffusion of second derivatives, with a diffusivity g at the voxels.

    .. math:: u_t = -\ell^2 \sum_{i,j} \partial_{ij} (g\,\partial_{ij} u)

    The discrete operator is minus the gradient of the energy

    .. math:: \frac{\ell^2}{2} \Bigl(\sum_{i,x} g\,(\delta_{ii} u)^2
       + 2 \sum_{i<j,\,cells} \bar g\,(\delta_{ij} u)^2\Bigr)

    with second differences :math:`\delta_{ii}` at the voxels, and :math:`\delta_{ij}` in the cells
    of four voxels, whose diffusivities have the mean :math:`\bar g`. Differences through the border
    or a closed face are left out. So linear images are at rest, up to the border. With
    :math:`g \le 1`, the eigenvalues are at least :math:`-16\,\ell^2 (\sum_i h_i^{-2})^2`.

    Attributes
    ----------
    values
        Diffusivity at the voxels, between 0 and 1.
    length
        Length :math:`\ell`.
    error_factor
        Error of a second-order scheme, see `Operator`.
    """

    kernel = "fourth_order_step"
    stages_per_operator = STAGES_PER_CURVATURE
    values: NDArray[np.floating]
    length: float = 1.0
    error_factor: float = 1.0
    maximum: float = 1.0

    def max_step(self, grid: Grid) -> float:
        r"""Return the largest stable step [length²], :math:`2/(16\,\ell^2 (\sum h_i^{-2})^2)`."""
        root = self.length * grid.inverse_square_sum
        # Above 0: the number of steps is then refused, and not a division.
        return max(1 / (8 * root * root), sys.float_info.min) if root * root > 0 else math.inf

    def stencil_reach(self, strict: bool) -> int:
        """Return the reach of a stage with given values [voxel]."""
        return 2

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage."""
        assert step.values is not None
        grid = step.grid
        step.backend.fourth_order_step(
            step.u,
            step.out,
            step.start,
            step.stop,
            _curvature_factors(
                step.stage.step, self.length, grid.shape, grid.spacing, step.u.dtype
            ),
            step.stage.momentum,
            step.values,
            step.first,
            step.grid.open_faces,
        )
