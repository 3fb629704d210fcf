r"""Operators with a diffusion tensor, :math:`u_t = \operatorname{div}(D\,\nabla u)`.

Tensors are stored between stages, because computing them costs more than a stage.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.base import Backend, Tensors
from napari_diffusion.backends.reference.selling import REACH as SELLING_REACH
from napari_diffusion.backends.reference.tensor import (
    LARGEST_SQUARES,
    MIN_EIGENVALUE_GAP,
    MIN_SQUARES,
    SMALLEST_SQUARE,
    cell_counts,
    symmetric,
)
from napari_diffusion.core.arrays import Field, Stored
from napari_diffusion.core.grid import Grid
from napari_diffusion.core.stage import Stage
from napari_diffusion.operators.base import Operator, SlabLayout, operators_made
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scalar import carries
from napari_diffusion.operators.stepper import StageContext, Stepper

#: Largest gradient per size of a float [bytes], in the unit of a matrix: the square of the matrix,
#: in float64, does not overflow.
LARGEST_GRADIENT = {4: 2.0**60, 8: 2.0**240}
#: Number of stages that take as long as computing all tensors once (measured: 6 to 14,
#: docs/develop/decisions.md).
STAGES_PER_TENSOR = 10
#: Planes of tensors that a thread holds: those below and above the cells, and one for others.
PLANES_HELD = 3
#: Voxels whose eigenvalues are computed at once.
EIGENVALUE_VOXELS = 1 << 14
#: Largest chunk [voxels] of a tensor model. Its surroundings are computed twice, but the scratch of
#: all threads together stays below half the image.
MAX_SLAB_VOXELS = 1 << 19
#: Scratch [values] that every thread may have, also of a small image.
MIN_SCRATCH = 14 << 17


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
    error_factor
        Error of a second-order scheme, see `Operator`.
    kernel
        Name and parameters of a kernel that computes ``spectrum``, see `Backend.spectrum`; ``None``
        without any.
    unit
        Unit of the gradients from which ``matrix`` is made [intensity/length]. Infinite if their
        squares cannot overflow.
    """

    has_tensor = True
    is_storable = True
    matrix: NDArray[np.floating]
    spectrum: Callable[..., Sequence[NDArray[np.floating]]]
    maxima: tuple[float, ...] = (1.0,)
    extra: tuple[NDArray[np.floating], ...] = ()
    unit: float = math.inf
    error_factor: float = 1.0
    kernel: tuple[str, tuple[float, ...]] | None = None

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

    def diffusivities(
        self, backend: Backend, mu: Field, planes: slice
    ) -> Sequence[NDArray[np.floating]] | Field:
        """Return the diffusivities for the eigenvalues ``mu`` on some planes of the slab."""
        if self.kernel is not None:
            lam = backend.spectrum(*self.kernel, mu, [field[planes] for field in self.extra])
            if lam is not None:
                return lam
        return self.spectrum(mu, *(field[planes] for field in self.extra))

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

    def stage_calls(self, strict: bool, is_stored: bool) -> tuple[Any, ...]:
        """Return the kernels of both stencils."""
        if strict:
            return ("eigenvalues", "compose", "incident", "selling_step")
        return ("eigenvalues", "compose", "average", "tensor_step")

    def stencil_reach(self, strict: bool) -> int:
        """Return the reach of a stage with given tensors [voxel]."""
        return SELLING_REACH if strict else 1

    def operators_made(self, stages: Sequence[Stage]) -> int:
        """Return how often the tensors of a frame are computed."""
        return operators_made(stages)

    def effort(self, stages: Sequence[Stage]) -> float:
        """Return the work of these stages, in units of a stage with given tensors."""
        return len(stages) + STAGES_PER_TENSOR * float(operators_made(stages))

    def stored_bytes(
        self, backend: Backend, space: Sequence[int], strict: bool, itemsize: int
    ) -> int:
        """Return the memory of the tensors, and of the weights of a strict run."""
        counts, own = (space if strict else cell_counts(space)), backend.tensor_bytes(len(space))
        return math.prod(counts) * (own + strict)

    def scratch_planes(self, layout: SlabLayout) -> int:
        """Return the planes of features, and of the arrays from which tensors are made."""
        wide = min(layout.chunk + 2 * layout.reach, layout.planes)
        slopes = 1 if layout.fuses_products and not layout.has_walls else 4
        features = (slopes * layout.channels + layout.has_walls * 4) * wide
        entries = layout.axes * (layout.axes + 1) // 2
        return features + self._work_arrays(layout.axes) * layout.chunk + PLANES_HELD * entries

    def max_chunk_voxels(self, backend: Backend, voxels: int, threads: int, axes: int) -> int:
        """Return the largest chunk [voxels] of an image with this number of voxels."""
        arrays = self._work_arrays(axes)
        return min(MAX_SLAB_VOXELS, max(MIN_SCRATCH, voxels // (2 * threads)) // arrays)

    def _work_arrays(self, axes: int) -> int:
        """Number of work arrays, each of the size of a slab, for the tensors of a slab.

        They are the entries of the matrix and one more. If the spectrum reads further fields, they
        are two more than twice the entries.
        """
        entries = axes * (axes + 1) // 2
        return entries + (entries + 2 if self.extra else 1)


class CellAverages:
    """Averages the tensors of voxels over the cells between them.

    Where two ranges of planes meet, the thread that computes the second one averages over both. So
    no tensor is computed twice, in whatever order the ranges are computed.

    Parameters
    ----------
    context
        What the stages of the frame share.
    cells
        Stored tensors of the cells, which are overwritten.
    """

    def __init__(self, context: StageContext, cells: Tensors) -> None:
        self._backend, self._planes = context.backend, context.grid.shape[0]
        self._cells = cells
        self._lock = threading.Lock()
        #: Tensors on one side of a border between two ranges, by the first plane above it.
        self._waiting: dict[int, Tensors] = {}

    def add(self, tensors: Tensors, lo: int) -> None:
        """Average over planes from ``lo`` on. The array must not be changed later."""
        hi = lo + tensors.shape[1]
        below = self._meet(lo, tensors) if lo > 0 else None
        above = self._meet(hi, tensors) if hi < self._planes else None
        self._backend.average(below, tensors, self._cells, self._planes, lo)
        if above is not None:
            self._backend.average(tensors, above, self._cells, self._planes, hi)

    def _meet(self, border: int, tensors: Tensors) -> Tensors | None:
        """Return the tensors on the other side of a border, or leave these for the other side."""
        with self._lock:
            other = self._waiting.pop(border, None)
            if other is None:
                self._waiting[border] = tensors
        return other


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
        self.stage_reach = None if context.strict else 1

    @property
    def _uses_cells(self) -> bool:
        """Whether the means of cells are stored: neither walls nor Selling's stencil need more."""
        return not self.context.strict and self.context.grid.open_faces is None

    def _allocated(self) -> Stored:
        """Return the storage of the tensors of all voxels or cells."""
        backend, space = self.context.backend, self.context.grid.shape
        return backend.cell_tensors(space) if self._uses_cells else backend.tensors(space)

    def take_memory(self, stored: Stored | None) -> None:
        """Overwrite what was stored for an earlier frame, if it fits; this saves an allocation."""
        space = self.context.grid.shape
        needed = cell_counts(space) if self._uses_cells else space
        if stored is not None and stored.shape[-len(space) :] == needed:
            self.stored = stored

    def store(self, u: Field) -> None:
        """Compute and store the diffusion tensor of ``u`` at every voxel, or in every cell."""
        context, space = self.context, self.context.grid.shape
        if self.stored is None:
            self.stored = self._allocated()
        cells = CellAverages(context, self.stored) if self._uses_cells else None
        tensors = self.stored
        # Eigenvalues take many work arrays: those of about one plane at a time stay in the cache.
        batch = max(1, round(EIGENVALUE_VOXELS / math.prod(space[1:])))
        if context.backend.takes_whole_fields:
            batch = space[0]
        kept = carries()

        def work(lo: int, hi: int) -> None:
            carry = kept[threading.get_ident()]
            features = context.features(u, lo, hi, carry.features if carry.stop == lo else None)
            tensor: Any = context.build(features)
            carry.features, carry.stop = features, hi
            for first in range(0, hi - lo, batch):
                planes = slice(first, min(first + batch, hi - lo))
                matrix = context.backend.contiguous(tensor.matrix[:, planes])
                mu = context.backend.eigenvalues(matrix)
                lam = tensor.diffusivities(context.backend, mu, planes)
                target, start = tensors, lo + first
                if cells is not None:
                    target, start = context.backend.tensors((len(matrix[0]), *space[1:])), 0
                context.backend.compose(
                    matrix, mu, lam, tensor.maximum, features.axes, target, start
                )
                if cells is not None:
                    cells.add(target, lo + first)

        context.run_on_slabs(work, u, quiet=True)

    def apply(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, quiet: bool = False
    ) -> None:
        """Compute one stage with the stored tensors."""
        if self.context.strict:
            self._selling_step(u, out, stage.step * self._maximum, stage.step * stage.rate)
            return

        def work(lo: int, hi: int) -> None:
            self.apply_on_planes(stage, u, out, superstep_start, lo, hi)

        self.context.run_on_slabs(work, u, quiet)

    def apply_on_planes(
        self, stage: Stage, u: Field, out: Field, superstep_start: Field, lo: int, hi: int
    ) -> None:
        """Compute one stage with the stored tensors on planes ``lo:hi``."""
        grid, scale = self.context.grid, stage.step * self._maximum
        assert self.stored is not None
        self.context.backend.tensor_step(
            u, out, self.stored, lo, hi, scale, grid.spacing, stage.momentum, grid.open_faces
        )
        self.finish(stage, u, out, superstep_start, slice(lo, hi))

    def _selling_step(self, u: Field, out: Field, scale: float, pull: float) -> None:
        r"""One explicit step on Selling's stencil, whose weights are non-negative.

        The weights of a voxel may use up all of its content. The source of the fidelity, with the
        ``pull`` :math:`p = \tau/\ell^2`, is therefore implicit: :math:`(v + p f)/(1 + p)` lies
        between the input f and the result v of the step. The steady state is the same.
        """
        context, grid = self.context, self.context.grid
        assert self.stored is not None
        tensors, spacing, faces = self.stored, grid.spacing, grid.open_faces
        weight_sums = np.empty(grid.shape, np.uint8)

        def add_weights(lo: int, hi: int) -> None:
            context.backend.incident(tensors, lo, hi, scale, spacing, faces, weight_sums)

        def step(lo: int, hi: int) -> None:
            context.backend.selling_step(
                u, out, tensors, weight_sums, lo, hi, scale, spacing, faces
            )
            if context.source is not None:
                self.mix_in_start(out, context.source, pull / (1 + pull), lo, hi)

        context.run_on_slabs(add_weights, u, quiet=True)
        context.run_on_slabs(step, u)


class SteepTensor(DiffusionTensor):
    """Diffusion tensor that changes steeply with the image, as at faint vessels."""

    source_cycles = 16.0  # planes with vessels came to rest with 8 or 16 (measured)
