r"""Base class of the operators that models return, :math:`u_t = A(u)\,u`.

The engine and the schemes ask an operator for its properties and let it apply a stage; they do not
distinguish the classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.base import Backend
from napari_diffusion.core.arrays import Field, Stored
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.features import Features, SmoothedPlanes
from napari_diffusion.operators.scratch import Scratch

#: Voxels of every channel that are mixed at once: they stay in the cache.
MIXED_VOXELS = 1 << 18


class Slabs(Protocol):
    """Runs a function over slabs of planes, in threads."""

    threads: int

    def run(
        self,
        work: Callable[[int, int], None],
        planes: int,
        height: int,
        chunk: int | None = None,
        quiet: bool = False,
    ) -> None:
        """Call ``work(lo, hi)`` on the chunks of all slabs; unless ``quiet``, report the share."""

    def report(self, share: float) -> object:
        """Report the share of the stage that is done."""


@dataclass(slots=True)
class StageContext:
    """What the stages of a frame share.

    Attributes
    ----------
    build
        Returns the operator for features: `Model.operator`.
    grid
        Voxel size and open faces of the frame.
    backend
        The kernels.
    weights
        Weight of each channel's gradient; their sum is 1.
    scratch
        Work arrays of each thread.
    slabs
        Threads, cancel and progress.
    height, chunk
        Planes of a slab, through which one thread passes, and of a chunk, computed at once.
    strict
        Whether the extremum principle is guaranteed.
    new_field
        Returns a work field that is none of the given ones; its contents are arbitrary.
    stores_operator
        Whether a stage of the run reuses the operator of an earlier one.
    source
        The input f, to which stages with a `Stage.rate` return; ``None`` without such stages.
    """

    build: Callable[[Features], Operator]
    grid: Grid
    backend: Backend
    weights: Field
    scratch: Scratch
    slabs: Slabs
    height: int
    chunk: int
    strict: bool
    new_field: Callable[..., Field]
    stores_operator: bool
    source: Field | None = None

    def features(
        self,
        u: Field,
        lo: int,
        hi: int,
        previous: Features | None = None,
        known: Sequence[SmoothedPlanes] = (),
    ) -> Features:
        """Return the features of planes ``lo:hi`` of a field; see `Features`."""
        return Features(
            u,
            lo,
            hi,
            self.grid,
            self.backend,
            self.weights,
            self.scratch,
            previous=previous,
            known=known,
        )

    def run_on_slabs(self, work: Callable[[int, int], None], u: Field, quiet: bool = False) -> None:
        """Call ``work(lo, hi)`` on the chunks of all slabs of a field."""
        self.slabs.run(work, u.shape[1], self.height, self.chunk, quiet)

    def conductance(self, u: Field) -> Field:
        """Return the diffusivity at the voxels of a field, shape ``space``."""
        values = self.backend.empty(u.shape[1:], u.dtype)

        def work(lo: int, hi: int) -> None:
            features = self.features(u, lo, hi)
            values[lo:hi] = self.build(features).conductance(features)

        self.run_on_slabs(work, u, quiet=True)
        return values


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


class Stepper(ABC):
    """Applies the stages of a frame with one kind of operator.

    Attributes
    ----------
    context
        What the stages of the frame share.
    stored
        What is stored of the operator between two stages; ``None`` if nothing is.
    """

    stored: Stored | None = None

    def __init__(self, context: StageContext) -> None:
        self.context = context

    def prepare(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, is_first: bool
    ) -> None:
        """Compute what is stored of the operator, before a stage that does not reuse it.

        Parameters
        ----------
        stage
            The stage.
        u
            Field before the stage.
        out
            Field that a predicted or extrapolated state may overwrite.
        superstep_start
            Field at the start of the superstep to which the previous stage belongs.
        is_first
            Whether this is the first stage of the frame.
        """
        if stage.reuse_operator or not self.context.stores_operator:
            return
        if stage.extrapolation:
            self._extrapolate(u, superstep_start, stage.extrapolation, out)
            self.store(out)
            return
        if is_first or not stage.predictor_step:
            self.store(u)
        if stage.predictor_step:
            predictor = Stage(0.0, stage.predictor_step, None, rate=stage.rate)
            self.apply(predictor, u, out, u, quiet=True)
            self.store(out)

    def store(self, u: Field) -> None:
        """Compute and store the operator of the field ``u``."""
        raise NotImplementedError

    @abstractmethod
    def apply(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, quiet: bool = False
    ) -> None:
        """Compute one stage of the field ``u`` into ``out``.

        Parameters
        ----------
        stage
            The stage.
        u
            Field before the stage.
        out
            Field after the stage. With momentum, it holds the field of the previous stage before.
        superstep_start
            Field at the start of the superstep, of which `Stage.start_weight` mixes in a share.
        quiet
            Whether the progress of the stage is not reported.
        """

    def _extrapolate(self, u: Field, earlier: Field, share: float, out: Field) -> None:
        r"""Write :math:`u + c\,(u - u_0)` to ``out``, with a share c and the ``earlier`` u_0."""

        def work(lo: int, hi: int) -> None:
            out[:, lo:hi] = u[:, lo:hi]
            self.mix_in_start(out, earlier, -share, lo, hi)

        self.context.run_on_slabs(work, u, quiet=True)

    def finish(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, planes: slice
    ) -> None:
        r"""Add the source of the fidelity to ``out``, and mix in the start of the superstep.

        .. math:: out \mathrel{+}= \tau\,(f - u)/\ell^2

        Parameters
        ----------
        stage
            The stage.
        u, out
            Field before the stage, and after it without the source.
        superstep_start
            Field at the start of the superstep.
        planes
            Planes of ``out`` to change.
        """
        source, lo, hi = self.context.source, planes.start, planes.stop
        if source is not None:
            self._add_difference(out, source, u, stage.step * stage.rate, lo, hi)
        self.mix_in_start(out, superstep_start, stage.start_weight, lo, hi)

    def mix_in_start(
        self, out: Field, superstep_start: Field, share: float, lo: int, hi: int
    ) -> None:
        r"""Replace :math:`u` by :math:`u + c\,(u_0 - u)` on planes ``lo:hi`` of ``out``.

        :math:`u_0` is the start of the superstep and c the ``share``.
        """
        self._add_difference(out, superstep_start, out, share, lo, hi)

    def _add_difference(
        self, out: Field, field: Field, other: Field, share: float, lo: int, hi: int
    ) -> None:
        """Add ``share`` times the difference of two fields to planes ``lo:hi`` of ``out``."""
        if not share:
            return
        planes = max(1, MIXED_VOXELS // max(1, math.prod(out.shape[2:])))
        for start in range(lo, hi, planes):
            part = np.s_[:, start : min(start + planes, hi)]
            difference = self.context.scratch.take("pull", out[part].shape, out.dtype)
            np.subtract(field[part], other[part], out=difference)
            difference *= out.dtype.type(share)
            out[part] += difference


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
    is_linear: ClassVar[bool] = False
    has_tensor: ClassVar[bool] = False
    converges: ClassVar[bool] = False
    compares_gradients: ClassVar[bool] = False
    has_voxel_conductance: ClassVar[bool] = False
    is_storable: ClassVar[bool] = False
    takes_stacks: ClassVar[bool] = False

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

    def stored_bytes(self, backend: Backend, axes: int, strict: bool, itemsize: int) -> int:
        """Return the memory per voxel of what is stored of the operator [bytes].

        It is used by runs with `operators_made` above 0. ``itemsize`` is the size of a value of a
        field [bytes].
        """
        return 0

    def effort(self, stages: Sequence[Stage]) -> float:
        """Return the work of these stages, in units of a stage that reuses nothing.

        It is in proportion to the processor time.
        """
        return float(len(stages))

    def scratch_planes(self, layout: SlabLayout, is_direct: bool) -> int:
        """Return the planes of scratch of one thread.

        ``is_direct`` says whether the scheme solves the equation without stages of the operator.
        """
        planes = layout.chunk * is_direct * (1 + layout.has_walls) + 3
        return layout.channels * planes

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
