"""The solver of one frame: runs the stages of a scheme over slabs of planes."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.backends.protocol import Backend
from napari_diffusion.core.arrays import Field
from napari_diffusion.core.errors import NotFinite
from napari_diffusion.core.grid import Grid
from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.problem import FrameIndex, Problem
from napari_diffusion.engine.scalar_stage import ScalarStage, mix_in_start
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.models import Model
from napari_diffusion.operators.diffusivity import LINEAR
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scratch import Scratch
from napari_diffusion.operators.smoothing import chebyshev_stage, heat_series_weights
from napari_diffusion.operators.tensor import DiffusionTensor
from napari_diffusion.schemes import Exact, Stage
from napari_diffusion.schemes.exact import transform

#: Voxels whose eigenvalues are computed at once.
EIGENVALUE_VOXELS = 1 << 14


class Solver:
    """Advances one frame at a time; its work fields are allocated once and serve every frame."""

    def __init__(
        self, problem: Problem, model: Model, plan: Plan, kernels: Backend, slabs: SlabPool
    ) -> None:
        self.problem = problem
        self.model = model
        self.plan = plan
        self.kernels = kernels
        self.slabs = slabs
        self.weights = problem.weights.astype(problem.working)
        self.fields: list[Field] = []
        self.scratch = Scratch()
        self.tensors: Any = None  # allocated for tensor models only

    def field(self, number: int) -> Field:
        """Return a work field by its number; it is allocated on first use."""
        while len(self.fields) <= number:
            shape = (self.problem.channels, *self.problem.space)
            self.fields.append(np.empty(shape, self.problem.working))
        return self.fields[number]

    def solve(self, frame: FrameIndex) -> Generator[tuple[float | None, Field, Any], None, None]:
        """Yield (time, field, invalid voxels) after every stage of a frame.

        The time is ``None`` inside a superstep. A field is overwritten by the stage after the next.
        """
        problem, plan = self.problem, self.plan
        u, is_copy = problem.read(frame)
        invalid = self._invalid_voxels(u, frame)
        if invalid is not None:
            u, is_copy = np.where(invalid, u.dtype.type(0), u), True
        if self.model.has_transform:
            u, is_copy = u if is_copy else u.copy(), True
            self.model.encode(u)
        invalid_in_any = None if invalid is None else np.logical_or.reduce(invalid)
        grid = problem.grid(problem.open_faces_of(frame, invalid_in_any))
        if isinstance(plan.scheme, Exact):
            solve = self._exact if grid.open_faces is None else self._exact_between_walls
            yield plan.stages[0].time, solve(u, grid), invalid
            return
        initial, previous, superstep_start = u, u, u
        keeps_start = any(stage.start_weight for stage in plan.stages)
        begins_superstep = True
        for k, stage in enumerate(plan.stages):
            if keeps_start and begins_superstep and (k or is_copy):
                superstep_start = self.field(2)
                np.copyto(superstep_start, u)
            begins_superstep = stage.time is not None
            # After the first stage, a copy of the input serves as the second field.
            out = initial if is_copy and k % 2 else self.field(k % 2)
            if stage.momentum and previous is not out:
                np.copyto(out, previous)
            if plan.tensor is None:
                self._scalar_stage(u, out, superstep_start, stage, grid)
            else:
                if not stage.reuse_tensor:
                    self._update_tensors(u, out, stage.predictor_step, grid, is_first=k == 0)
                self._tensor_stage(u, out, superstep_start, stage, grid)
            yield stage.time, out, invalid
            previous, u = u, out

    def finished(self, field: Field, invalid: Any, frame: FrameIndex, copy: bool) -> NDArray[Any]:
        """Return the field as a frame of the result, with the invalid values of the input."""
        if copy or self.model.has_transform:  # a field must not be decoded twice
            field = field.copy()
        if self.model.has_transform:
            self.model.decode(field)
            regions = self.problem.regions_of(frame)
            if regions is not None:
                np.copyto(field, self.problem.read(frame)[0], where=regions == 0)
        image = self.problem.whole(field, frame)
        if invalid is not None:
            original = self.problem.whole(self.problem.read(frame)[0], frame)
            image[~np.isfinite(original)] = original[~np.isfinite(original)]
        return image

    def _scalar_stage(
        self, u: Field, out: Field, superstep_start: Field, stage: Stage, grid: Grid
    ) -> None:
        slab_stage = ScalarStage(
            self.model,
            stage,
            grid,
            self.kernels,
            self.weights,
            self.scratch,
            self.plan.chunk,
            u,
            out,
            superstep_start,
        )
        self.slabs.run(slab_stage.run, u.shape[1], self.plan.height)

    def _update_tensors(
        self, u: Field, out: Field, predictor_step: float, grid: Grid, is_first: bool
    ) -> None:
        """Recompute the tensors from ``u``, or from the state that an explicit step predicts.

        The predicted state is written to ``out``, which the stage overwrites afterwards.
        """
        if is_first or not predictor_step:
            self._build_tensors(u, grid)
        if predictor_step:
            self._tensor_stage(u, out, u, Stage(0.0, predictor_step, None), grid, quiet=True)
            self._build_tensors(out, grid)

    def _build_tensors(self, u: Field, grid: Grid) -> None:
        """Compute and store the diffusion tensor of ``u`` at every voxel."""
        if self.tensors is None:
            self.tensors = self.kernels.tensors(grid.shape)
        # Eigenvalues take many work arrays: those of about one plane at a time stay in the cache.
        batch = max(1, round(EIGENVALUE_VOXELS / math.prod(grid.shape[1:])))

        def work(lo: int, hi: int) -> None:
            features = Features(u, lo, hi, grid, self.kernels, self.weights, self.scratch)
            tensor = self.model.operator(features)
            assert isinstance(tensor, DiffusionTensor)
            for first in range(0, hi - lo, batch):
                planes = slice(first, min(first + batch, hi - lo))
                matrix = np.ascontiguousarray(tensor.matrix[:, planes])
                mu = self.kernels.eigenvalues(matrix)
                lam = tensor.spectrum(mu, *(field[planes] for field in tensor.extra))
                self.kernels.compose(
                    matrix, mu, lam, tensor.maximum, features.axes, self.tensors, lo + first
                )

        self.slabs.run(work, u.shape[1], self.plan.height, quiet=True)

    def _tensor_stage(
        self,
        u: Field,
        out: Field,
        superstep_start: Field,
        stage: Stage,
        grid: Grid,
        quiet: bool = False,
    ) -> None:
        assert self.plan.tensor is not None
        scale = stage.step * self.plan.tensor.maximum
        if self.plan.strict:
            self._selling_stage(u, out, scale, grid)
            return

        def work(lo: int, hi: int) -> None:
            self.kernels.tensor_step(
                u, out, self.tensors, lo, hi, scale, grid.spacing, stage.momentum, grid.open_faces
            )
            mix_in_start(out, superstep_start, stage.start_weight, lo, hi, self.scratch)

        self.slabs.run(work, u.shape[1], self.plan.height, quiet)

    def _selling_stage(self, u: Field, out: Field, scale: float, grid: Grid) -> None:
        """One explicit step on Selling's stencil, whose weights are non-negative."""
        spacing, faces = grid.spacing, grid.open_faces
        weight_sums = np.empty(grid.shape, np.uint8)

        def add_weights(lo: int, hi: int) -> None:
            self.kernels.incident(self.tensors, lo, hi, scale, spacing, faces, weight_sums)

        def step(lo: int, hi: int) -> None:
            self.kernels.selling_step(
                u, out, self.tensors, weight_sums, lo, hi, scale, spacing, faces
            )

        self.slabs.run(add_weights, u.shape[1], self.plan.height, quiet=True)
        self.slabs.run(step, u.shape[1], self.plan.height)

    def _exact(self, u: Field, grid: Grid) -> Field:
        """Exact solution without walls: by convolution, or by cosine transforms at long times."""
        time = self.plan.stages[0].step
        assert isinstance(self.plan.scheme, Exact)
        taps = self.plan.scheme.taps(time, grid, u.dtype)
        out = self.field(0)
        if taps is None:
            np.copyto(out, u)
            self._transform(out, time, grid)
            return out

        def work(lo: int, hi: int) -> None:
            slab = out[:, lo:hi]
            contiguous = slab.flags.c_contiguous
            part = slab if contiguous else self.scratch.take("part", slab.shape, u.dtype)
            self.kernels.smooth(u, lo, hi, taps, part)
            if part is not slab:
                slab[...] = part

        self.slabs.run(work, u.shape[1], self.plan.height)
        return out

    def _transform(self, out: Field, time: float, grid: Grid) -> None:
        """Apply the exact solution to ``out`` in place, by cosine transforms axis by axis."""
        axes = [i for i, n in enumerate(grid.shape) if n > 1]
        for number, axis in enumerate(axes):
            # Slabs are cut along another axis; a single axis is transformed in one piece.
            across = next((i for i in axes if i != axis), axis)
            planes = out.shape[across + 1] if across != axis else 1
            # A transform needs scratch of twice the size of its slab.
            height = max(1, planes // (8 * self.slabs.threads))

            def work(
                lo: int, hi: int, axis: int = axis, across: int = across, planes: int = planes
            ) -> None:
                part = out if planes == 1 else out[(slice(None),) * (across + 1) + (slice(lo, hi),)]
                part[...] = transform(part, axis + 1, time, grid.spacing[axis])

            self.slabs.run(work, planes, height, quiet=True)
            self.slabs.report((number + 1) / len(axes))

    def _exact_between_walls(self, u: Field, grid: Grid) -> Field:
        """Exact solution between walls, by the Chebyshev series of the matrix exponential."""
        assert isinstance(self.plan.scheme, Exact)
        time, tail = self.plan.stages[0].step, self.plan.scheme.tail(u.dtype)
        weights = heat_series_weights(time, grid, tail)
        total, h = self.field(2), np.array(grid.spacing)
        np.copyto(total, u)
        initial, previous = u, u
        for k in range(1, len(weights)):
            momentum, tau = chebyshev_stage(k, grid)
            a, weight = (tau / h**2).astype(u.dtype), u.dtype.type(weights[k])
            out = self.field(k % 2)
            if momentum and previous is not out:
                np.copyto(out, previous)

            def work(
                lo: int,
                hi: int,
                u: Field = u,
                out: Field = out,
                a: Field = a,
                momentum: float = momentum,
                weight: Any = weight,
            ) -> None:
                self.kernels.step(
                    u, out, lo, hi, a, a, momentum, LINEAR, None, 0, grid.open_faces, self.weights
                )
                # Added as a difference, so that a voxel without open faces keeps every bit.
                total[:, lo:hi] += weight * (out[:, lo:hi] - initial[:, lo:hi])

            self.slabs.run(work, u.shape[1], self.plan.height, quiet=True)
            self.slabs.report(k / (len(weights) - 1))
            previous, u = u, out
        return total

    def _invalid_voxels(self, u: Field, frame: FrameIndex) -> NDArray[np.bool_] | None:
        """Return a mask of the values that are NaN or infinite, ``None`` without any.

        Raises
        ------
        NotFinite
            When the problem refuses such values and one of them is in a region.
        ValueError
            When a value is so large that its powers would overflow.
        """
        if self.problem.input_dtype.kind != "f":
            return None
        limit = self._largest_value(u.dtype)
        counts: list[int] = []
        values_per_plane = u.size // u.shape[1]

        def work(lo: int, hi: int) -> None:
            start, stop = lo * values_per_plane, hi * values_per_plane
            counts.append(self.kernels.count_invalid(u, start, stop, limit))

        self.slabs.run(work, u.shape[1], self.plan.height, quiet=True)
        if not sum(counts):
            return None
        invalid = ~np.isfinite(u)
        if u.max(where=~invalid, initial=0) > limit or u.min(where=~invalid, initial=0) < -limit:
            remedy = (
                "rescale it" if u.dtype == np.float64 else "rescale it, or convert it to float64"
            )
            raise ValueError(
                f"The image has values beyond {limit:.2g}, which overflow in {u.dtype}; {remedy}."
            )
        regions = self.problem.regions_of(frame)
        # Values outside mask, labels or a masked array may be anything.
        refused = invalid if regions is None else invalid & (regions != 0)
        if self.problem.nan == "raise" and refused.any():
            raise self._not_finite(refused, frame)
        return invalid

    def _largest_value(self, dtype: np.dtype[Any]) -> float:
        """Largest magnitude of a value whose powers do not overflow.

        Nonlinear models take squares. Models with a transform square the intensities before, so
        they take the fourth power.
        """
        largest = float(np.finfo(dtype).max)
        if isinstance(self.plan.scheme, Exact):
            exponent = 1.0
        else:
            exponent = 0.25 if self.model.has_transform else 0.5
        limit: float = largest**exponent / 16
        return limit

    def _not_finite(self, refused: Any, frame: FrameIndex) -> NotFinite:
        """Return the error for a mask of refused values, with the index of the first one."""
        in_frame = self.problem.whole(refused, frame)
        position = iter(np.unravel_index(in_frame.argmax(), in_frame.shape))
        index = tuple(int(next(position) if isinstance(i, slice) else i) for i in frame)
        subject = "A frame of the image" if self.problem.frame_axes else "The image"
        return NotFinite(int(refused.sum()), index, subject)
