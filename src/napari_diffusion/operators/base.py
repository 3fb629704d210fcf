r"""Base class of the operators that models return, :math:`u_t = A(u)\,u`.

The engine and the schemes ask an operator for its properties and let it apply a stage; they do not
distinguish the classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.base import Backend
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.stepper import StageContext, Stepper


@dataclass(slots=True)
class SlabLayout:
    """Sizes that determine the scratch of a slab.

    Attributes
    ----------
    channels, planes
        Number of channels, and of all planes.
    height, chunk
        As in `StageContext`.
    reach
        Planes by which features extend beyond a slab.
    axes
        Number of axes with more than one voxel.
    has_walls
        Whether some faces may be closed.
    fuses_products
        As `Backend.fuses_products`.
    """

    channels: int
    planes: int
    height: int
    chunk: int
    reach: int
    axes: int
    has_walls: bool
    fuses_products: bool


class Operator(ABC):
    """A diffusion operator, made from the features of some planes.

    Attributes
    ----------
    maximum
        Upper bound of the weight of a neighbour, multiplied by h². In divergence form it is the
        upper bound of g.
    error_factor
        Error of a second-order scheme, relative to that of a smooth diffusivity with the same
        steps. The number of steps follows from it.
    source_cycles
        Number of cycles in the time of a source, 1/rate, with which a run comes to rest. In longer
        ones, old operators and new images change to and fro.
    is_linear
        Whether A does not depend on u; the solution is then known.
    has_tensor
        Whether the diffusivity depends on the direction; `eigenvalues` and `directions` then exist.
    converges
        Whether results converge as the steps shrink, so that a scheme of higher order pays.
    compares_gradients
        Whether gradients of any magnitude matter, because they are compared with one another.
    has_voxel_conductance
        Whether the flux at a face is the mean of `conductance` of its two voxels times the
        gradient, so that a scheme can solve the equation from `conductance` alone.
    is_storable
        Whether the operator can be stored, and reused by later stages (`Stage.reuse_operator`).
    takes_stacks
        Whether a stage treats frames side by side, along an axis of infinite voxel size, like each
        frame alone, bit for bit.
    """

    maximum: float
    error_factor: float = 1.0
    source_cycles: ClassVar[float] = 1.0
    is_linear: ClassVar[bool] = False
    has_tensor: ClassVar[bool] = False
    converges: ClassVar[bool] = False
    compares_gradients: ClassVar[bool] = False
    has_voxel_conductance: ClassVar[bool] = False
    is_storable: ClassVar[bool] = False
    takes_stacks: ClassVar[bool] = False

    @property
    def takes_guide(self) -> bool:
        """Whether the operator can be made of another image, and stored."""
        return self.is_storable

    def guided(self, features: Features) -> Operator:
        """Return the operator that is stored if these are the features of a guide."""
        return self

    @property
    def is_chunked(self) -> bool:
        """Whether a chunk needs scratch for features, so that it has a few planes only."""
        return False

    @property
    def calls_function(self) -> bool:
        """Whether a stage calls a diffusivity function of the user at every face."""
        return False

    @property
    def spread(self) -> float:
        """Largest diffusivity at which a disturbance spreads in practice."""
        return self.maximum

    @property
    def largest_flux(self) -> float:
        """Bound of the flux [intensity/length] of an operator whose flux grows with the gradient.

        It is infinite if no bound is known, or if the flux falls at steep edges: a disturbance can
        then grow.
        """
        return math.inf

    def max_step(self, grid: Grid) -> float:
        """Return the largest explicit step [length²] that satisfies the extremum principle."""
        return grid.max_step(self.maximum)

    def largest_value(self, grid: Grid, dtype: np.dtype[Any]) -> float:
        """Return the largest intensity whose features the operator can compute in ``dtype``."""
        return math.inf

    @abstractmethod
    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return the diffusivity at the voxels of the planes of ``features``."""

    @abstractmethod
    def stepper(self, context: StageContext) -> Stepper:
        """Return the object that applies the stages of a frame."""

    def scheme_tolerance(self, tolerance: float) -> float:
        """Return the tolerance from which a scheme derives its steps, so that the error is kept."""
        return tolerance / self.error_factor

    @abstractmethod
    def stage_calls(self, strict: bool, is_stored: bool) -> tuple[Any, ...]:
        """Return the kernels of a stage, with what selects their compiled forms.

        ``is_stored`` says whether stages reuse the operator.
        """

    def reach_of(
        self, stages: Sequence[Stage], is_start: bool, feature_reach: Sequence[int], strict: bool
    ) -> list[int]:
        """Return the reach of some consecutive stages together, per axis [voxel].

        Parameters
        ----------
        stages
            The stages.
        is_start
            Whether they are the first ones of a run.
        feature_reach
            Reach of the features of one operator, per axis [voxel].
        strict
            Whether the extremum principle is guaranteed.
        """
        if not self.is_storable:
            return [len(stages) * (reach + 1) for reach in feature_reach]
        predictions = sum(stage.predictor_step > 0 for stage in stages)
        made = operators_made(stages, is_start)
        steps = (len(stages) + predictions) * self.stencil_reach(strict)
        return [made * reach + steps for reach in feature_reach]

    def stencil_reach(self, strict: bool) -> int:
        """Return the reach of a stage with a stored operator [voxel]."""
        return 1

    def operators_made(self, stages: Sequence[Stage]) -> int:
        """Return how often a run makes what it stores of the operator: 0 if nothing is stored."""
        return 0

    def keeps_stored(self, stages: Sequence[Stage], stage: int) -> bool:
        """Whether the stage of this number needs what was stored before it."""
        if not stage or not self.operators_made(stages):
            return False
        return stages[stage].reuse_operator or bool(stages[stage].predictor_step)

    def stored_bytes(
        self, backend: Backend, space: Sequence[int], strict: bool, itemsize: int
    ) -> int:
        """Return the memory of what is stored of the operator on a grid of this shape [bytes].

        It is used by runs with `operators_made` above 0. ``itemsize`` is the size of a value of a
        field [bytes].
        """
        return 0

    def effort(self, stages: Sequence[Stage]) -> float:
        """Return the work of these stages, in units of a stage that reuses nothing.

        It is in proportion to the processor time.
        """
        return float(len(stages))

    def scratch_planes(self, layout: SlabLayout) -> int:
        """Return the planes of scratch of one thread."""
        return 3 * layout.channels

    def max_chunk_voxels(self, backend: Backend, voxels: int, threads: int, axes: int) -> int:
        """Return the largest chunk [voxels] of an image with this number of voxels.

        ``axes`` is the number of axes with more than one voxel.
        """
        return backend.max_chunk_voxels

    def eigenvalues(self, features: Features) -> NDArray[np.floating]:
        """Return the diffusivities along the eigenvectors, along the first axis."""
        raise NotImplementedError

    def directions(
        self, selected: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return unit vectors of the largest diffusivity, and all diffusivities.

        Parameters
        ----------
        selected
            Mask of the voxels, on the planes of the features.

        Returns
        -------
        vectors : ndarray, shape (n, axes)
            The directions; their sign is arbitrary.
        diffusivities : ndarray, shape (axes, n)
            The diffusivities along all eigenvectors.
        """
        raise NotImplementedError


def operators_made(stages: Sequence[Stage], is_start: bool = True) -> int:
    """Return how often stages make a stored operator; ``is_start`` if they are the first of a run.

    A first stage with a predictor step makes it twice: of the input and of the predicted state.
    """
    first_predictor = is_start and any(stage.predictor_step for stage in stages[:1])
    return sum(not stage.reuse_operator for stage in stages) + first_predictor


def checked(operator: Any, shape: tuple[int, ...], method: str) -> Operator:
    """Return what the method of a model has returned, if it is an operator.

    Parameters
    ----------
    operator
        What the method has returned.
    shape
        Shape of the slab of the features.
    method
        Name of the method, with which a message starts.

    Raises
    ------
    TypeError
        If it is no operator, or has values of another shape.
    """
    if not isinstance(operator, Operator):
        raise TypeError(
            f"{method} must return an operator of napari_diffusion.operators, such as "
            f"VoxelDiffusivity(g), got {type(operator).__name__}."
        )
    values = getattr(operator, "values", None)
    if values is not None and np.shape(values) != shape:
        raise TypeError(
            f"{method} returns a {type(operator).__name__} with values of shape "
            f"{np.shape(values)} on a slab of shape {shape}; they need the shape of f.grad2(sigma)."
        )
    return operator


@cache
def largest_factor(dtype: np.dtype[Any]) -> float:
    """Return a bound of 1/kappa, so that neither it nor its square overflows: inf * 0 is NaN."""
    return math.sqrt(np.finfo(dtype).max) / 4
