r"""Operators with a diffusion tensor, :math:`u_t = \operatorname{div}(D\,\nabla u)`.

Tensors are stored between stages, because computing them costs more than a stage.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.base import Backend
from napari_diffusion.backends.reference.selling import REACH as SELLING_REACH
from napari_diffusion.backends.reference.tensor import MIN_EIGENVALUE_GAP, symmetric
from napari_diffusion.core.arrays import Field
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.base import Operator, SlabLayout, StageContext, Stepper
from napari_diffusion.operators.features import Features

#: Largest gradient per size of a float [bytes], in the unit of a matrix: the square of the matrix,
#: in float64, does not overflow.
LARGEST_GRADIENT = {4: 2.0**60, 8: 2.0**240}
#: Smallest squares of `resolved`, as shares of the largest eigenvalue, and above zero.
MIN_SQUARES, SMALLEST_SQUARE = (3e-3, 1e-4), 1e-37
#: Largest square of `resolved` in float32, and in float64. Sums with eigenvalues are finite.
LARGEST_SQUARES = 1e38, 1e300
#: Voxels whose eigenvalues are computed at once.
EIGENVALUE_VOXELS = 1 << 14
#: Largest and smallest slab [voxels] of a tensor model. Its surroundings are computed twice, but
#: the scratch of all slabs together stays below half the image.
MAX_SLAB_VOXELS, MIN_SLAB_VOXELS = 1 << 19, 1 << 17


def beyond_rounding(
    mu: NDArray[np.floating], largest: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return eigenvalues, or gaps of eigenvalues, of at least zero.

    Those below `MIN_EIGENVALUE_GAP` of the largest eigenvalue are rounding errors and become
    exactly zero. Those above twice this bound are unchanged, with a linear transition.
    """
    floor = largest * largest.dtype.type(MIN_EIGENVALUE_GAP)
    regular: NDArray[np.floating] = np.maximum(np.minimum(mu, 2 * (mu - floor)), 0)
    return regular


def resolved(
    mu: NDArray[np.floating], square: float, other_square: float
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Return eigenvalues of a structure tensor, and squared thresholds for them.

    Rounding errors of small eigenvalues must not decide. So eigenvalues are those
    `beyond_rounding`, and the squares are at least `MIN_SQUARES` of the largest eigenvalue. The
    squares may be infinite. If one of them is beyond the range of float32, all is in float64.
    """
    in_float32, in_float64 = LARGEST_SQUARES
    if max(square, other_square) > in_float32:
        mu = mu.astype(np.float64)
    limits = [
        np.maximum(min(max(given, SMALLEST_SQUARE), in_float64), mu[0] * mu.dtype.type(share))
        for given, share in zip((square, other_square), MIN_SQUARES, strict=True)
    ]
    return beyond_rounding(mu, mu[0]), limits[0], limits[1]


@dataclass(frozen=True)
class DiffusionTensor(Operator):
    r"""Diffusion tensor :math:`D = \sum_i \lambda_i v_i v_i^T` at the voxels.

    The :math:`v_i` are the eigenvectors of a symmetric matrix, such as the structure tensor.

    Attributes
    ----------
    matrix
        Entries of the symmetric matrix along the first axis: diagonal, then upper triangle.
    spectrum
        Function of the eigenvalues of ``matrix``, largest first, and of ``extra``. It returns
        the :math:`\lambda_i` in the same order.
    maxima
        Upper bounds of the sorted :math:`\lambda_i`, largest first. The last bound holds for all
        further axes of the grid.
    extra
        Further arguments of ``spectrum``: fields at the same voxels.
    unit
        Unit of the gradients from which ``matrix`` is made [intensity/length]. Infinite if their
        squares cannot overflow.
    """

    has_tensor = True
    matrix: NDArray[np.floating]
    spectrum: Callable[..., Sequence[NDArray[np.floating]]]
    maxima: tuple[float, ...] = (1.0,)
    extra: tuple[NDArray[np.floating], ...] = ()
    unit: float = math.inf

    def largest_value(self, grid: Grid, dtype: np.dtype[Any]) -> float:
        """Return the largest intensity whose gradients do not overflow in ``dtype``."""
        return LARGEST_GRADIENT[dtype.itemsize] * self.unit * grid.finest

    @property
    def maximum(self) -> float:  # type: ignore[override]
        """Upper bound of the largest eigenvalue."""
        return self.maxima[0]

    def max_step(self, grid: Grid) -> float:
        r"""Return the largest stable step [length²] of both tensor stencils.

        It is :math:`1/(2\,\mathrm{tr}\,D')` with :math:`D'_{ij} = d_{ij}/(h_i h_j)`. The trace is
        largest if the largest eigenvalues belong to the finest axes (von Neumann's trace
        inequality).
        """
        axes = zip(grid.shape, grid.spacing, strict=True)
        finest_first = sorted((1 / h**2 for n, h in axes if n > 1), reverse=True)
        bounds = itertools.chain(self.maxima, itertools.repeat(self.maxima[-1]))
        total = sum(a * b for a, b in zip(finest_first, bounds, strict=False))
        return 1 / (2 * total) if total > 0 else math.inf

    def stepper(self, context: StageContext) -> Stepper:
        """Return the stepper of the tensor models."""
        return TensorStepper(context, self.maximum)

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return the smallest diffusivity."""
        smallest: NDArray[np.floating] = np.min(self._eigenvalue_list(features), 0)
        return smallest

    def eigenvalues(self, features: Features) -> NDArray[np.floating]:
        """Return the diffusivities along the eigenvectors, along the first axis."""
        return np.stack(self._eigenvalue_list(features))

    def _eigenvalue_list(self, features: Features) -> Sequence[NDArray[np.floating]]:
        return self.spectrum(features.eigenvalues(self.matrix), *self.extra)

    def directions(
        self, selected: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return unit vectors of the largest diffusivity, and all diffusivities."""
        matrices = symmetric(self.matrix[:, selected]).astype(np.float64)
        ascending, vectors = np.linalg.eigh(matrices)
        extra = (field[selected] for field in self.extra)
        # The spectrum takes and returns the order of descending eigenvalues of the matrix. In the
        # reversed order, argmax selects the last of equal diffusivities.
        lam = np.stack(self.spectrum(ascending.T[::-1], *extra))[::-1]
        return np.take_along_axis(vectors, lam.argmax(0)[:, None, None], 2)[..., 0], lam

    def stage_calls(self, strict: bool) -> tuple[Any, ...]:
        """Return the kernels of both stencils."""
        return ("compose", "incident", "selling_step") if strict else ("compose", "tensor_step")

    def reach_of(
        self, stages: Sequence[Stage], is_start: bool, feature_reach: Sequence[int], strict: bool
    ) -> list[int]:
        """Return the reach of some consecutive stages together, per axis [voxel]."""
        predictions = sum(stage.predictor_step > 0 for stage in stages)
        tensors = self._tensors_made(stages, is_start)
        stencil = SELLING_REACH if strict else 1
        return [tensors * r + (len(stages) + predictions) * stencil for r in feature_reach]

    def operators_made(self, stages: Sequence[Stage]) -> int:
        """Return how often the tensors of a frame are computed."""
        return self._tensors_made(stages, is_start=True)

    def _tensors_made(self, stages: Sequence[Stage], is_start: bool) -> int:
        """Return the number of tensors that these stages compute.

        A first stage with a predictor step computes them twice: for the input and at the predicted
        state.
        """
        first_predictor = is_start and any(stage.predictor_step for stage in stages[:1])
        return sum(not stage.reuse_tensor for stage in stages) + first_predictor

    def keeps_tensors(self, stages: Sequence[Stage], stage: int) -> bool:
        """Whether the stage of this number needs tensors that were made before it."""
        return stage > 0 and (stages[stage].reuse_tensor or bool(stages[stage].predictor_step))

    def stored_bytes(self, backend: Backend, axes: int, strict: bool) -> int:
        """Return the memory per voxel of the tensors, and of the weights of a strict run."""
        return backend.tensor_bytes(axes) + strict

    def scratch_planes(self, layout: SlabLayout, is_direct: bool) -> int:
        """Return the planes of features, and of the arrays from which tensors are made."""
        wide = min(layout.chunk + 2 * layout.reach, layout.planes)
        slopes = 1 if layout.fuses_products and not layout.has_walls else 4
        features = (slopes * layout.channels + layout.has_walls * 4) * wide
        return features + self._work_arrays(layout.axes) * layout.chunk

    def max_chunk_voxels(self, backend: Backend, voxels: int, threads: int, axes: int) -> int:
        """Return the largest chunk [voxels] of an image with this number of voxels."""
        share = voxels // (2 * threads * self._work_arrays(axes))
        return min(MAX_SLAB_VOXELS, max(MIN_SLAB_VOXELS, share))

    def _work_arrays(self, axes: int) -> int:
        """Number of work arrays, each of the size of a slab, for the tensors of a slab.

        They are the entries of the matrix and one more. If the spectrum reads further fields, they
        are two more than twice the entries.
        """
        entries = axes * (axes + 1) // 2
        return entries + (entries + 2 if self.extra else 1)


class TensorStepper(Stepper):
    """Makes and stores tensors, and applies the stages with them.

    Parameters
    ----------
    context
        What the stages of the frame share.
    maximum
        Upper bound of the eigenvalues, in whose units tensors are stored.
    """

    def __init__(self, context: StageContext, maximum: float) -> None:
        super().__init__(context)
        self._maximum = maximum

    def apply(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, is_first: bool
    ) -> None:
        """Compute one stage."""
        if not stage.reuse_tensor:
            self._update_tensors(u, out, stage.predictor_step, is_first)
        self._step(u, out, superstep_start, stage)

    def _update_tensors(self, u: Field, out: Field, predictor_step: float, is_first: bool) -> None:
        """Recompute the tensors from ``u``, or from the state that an explicit step predicts.

        The predicted state is written to ``out``, which the stage overwrites afterwards.
        """
        if is_first or not predictor_step:
            self._build_tensors(u)
        if predictor_step:
            self._step(u, out, u, Stage(0.0, predictor_step, None), quiet=True)
            self._build_tensors(out)

    def _build_tensors(self, u: Field) -> None:
        """Compute and store the diffusion tensor of ``u`` at every voxel."""
        context, grid = self.context, self.context.grid
        if self.tensors is None:
            self.tensors = context.backend.tensors(grid.shape)
        tensors = self.tensors
        # Eigenvalues take many work arrays: those of about one plane at a time stay in the cache.
        batch = max(1, round(EIGENVALUE_VOXELS / math.prod(grid.shape[1:])))

        def work(lo: int, hi: int) -> None:
            features = context.features(u, lo, hi)
            tensor: Any = context.build(features)
            for first in range(0, hi - lo, batch):
                planes = slice(first, min(first + batch, hi - lo))
                matrix = np.ascontiguousarray(tensor.matrix[:, planes])
                mu = context.backend.eigenvalues(matrix)
                lam = tensor.spectrum(mu, *(field[planes] for field in tensor.extra))
                context.backend.compose(
                    matrix, mu, lam, tensor.maximum, features.axes, tensors, lo + first
                )

        context.run_on_slabs(work, u, quiet=True)

    def _step(
        self, u: Field, out: Field, superstep_start: Field, stage: Stage, quiet: bool = False
    ) -> None:
        context, grid = self.context, self.context.grid
        assert self.tensors is not None
        tensors, scale = self.tensors, stage.step * self._maximum
        if context.strict:
            self._selling_step(u, out, scale)
            return

        def work(lo: int, hi: int) -> None:
            context.backend.tensor_step(
                u, out, tensors, lo, hi, scale, grid.spacing, stage.momentum, grid.open_faces
            )
            self.mix_in_start(out, superstep_start, stage.start_weight, lo, hi)

        context.run_on_slabs(work, u, quiet)

    def _selling_step(self, u: Field, out: Field, scale: float) -> None:
        """One explicit step on Selling's stencil, whose weights are non-negative."""
        context, grid = self.context, self.context.grid
        assert self.tensors is not None
        tensors, spacing, faces = self.tensors, grid.spacing, grid.open_faces
        weight_sums = np.empty(grid.shape, np.uint8)

        def add_weights(lo: int, hi: int) -> None:
            context.backend.incident(tensors, lo, hi, scale, spacing, faces, weight_sums)

        def step(lo: int, hi: int) -> None:
            context.backend.selling_step(
                u, out, tensors, weight_sums, lo, hi, scale, spacing, faces
            )

        context.run_on_slabs(add_weights, u, quiet=True)
        context.run_on_slabs(step, u)
