"""The solver of one frame: stages over slabs, the exact solution of the linear model, and values that are not finite."""

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
from napari_diffusion.engine.problem import Problem
from napari_diffusion.engine.slab_pool import SlabPool
from napari_diffusion.models import Model
from napari_diffusion.operators import VoxelOperator
from napari_diffusion.operators.curvature import LevelSetCurvature
from napari_diffusion.operators.diffusivity import LINEAR, Diffusivity
from napari_diffusion.operators.divergence import (
    ConstantDiffusivity,
    GradientDiffusivity,
    VoxelDiffusivity,
)
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scratch import Scratch
from napari_diffusion.operators.smoothing import chebyshev_stage, heat_series_weights
from napari_diffusion.operators.tensor import DiffusionTensor
from napari_diffusion.schemes import Exact, Stage
from napari_diffusion.schemes.exact import transform

#: Voxels that get their eigenvalues at once.
FEW = 1 << 14


class Solver:
    """Advances one frame at a time; its two fields are allocated once and used for every frame."""

    def __init__(
        self, problem: Problem, model: Model, plan: Plan, kernel: Backend, slabs: SlabPool
    ) -> None:
        self.problem, self.model, self.plan, self.kernel, self.slabs = (
            problem,
            model,
            plan,
            kernel,
            slabs,
        )
        self.weights = problem.weights.astype(problem.working)
        self.fields: list[Field] = []
        self.height, self.scratch = plan.height, Scratch()
        self.tensors: Any = None

    def field(self, number: int) -> Field:
        """Work field of that number, allocated when it is first needed."""
        while len(self.fields) <= number:
            self.fields.append(
                np.empty((self.problem.channels, *self.problem.space), self.problem.working)
            )
        return self.fields[number]

    def solve(self, frame: Any) -> Generator[tuple[float | None, Field, Any], None, None]:
        """Yield (time, field, voxels that are not finite) after every stage; the field is overwritten by the stage after the next."""
        problem, plan = self.problem, self.plan
        u, ours = problem.read(frame)
        invalid = self._invalid_voxels(u, frame)
        if invalid is not None:
            u, ours = np.where(invalid, u.dtype.type(0), u), True
        if self.model.has_transform:
            u, ours = u if ours else u.copy(), True
            self.model.encode(u)
        grid = problem.grid(
            problem.open_faces_of(frame, None if invalid is None else np.logical_or.reduce(invalid))
        )
        if isinstance(plan.scheme, Exact):
            solve = self._exact if grid.open_faces is None else self._series
            yield plan.stages[0].time, solve(u, grid), invalid
            return
        start, before, base, fresh = u, u, u, True
        keeps_start = any(stage.start_weight for stage in plan.stages)
        for k, stage in enumerate(plan.stages):
            if keeps_start and fresh and (k or ours):
                base = self.field(2)
                np.copyto(base, u)
            fresh = stage.time is not None
            # A copy of the input serves as the second field as soon as its first step is done.
            out = start if ours and k % 2 else self.field(k % 2)
            if stage.momentum and before is not out:
                np.copyto(out, before)
            if plan.tensor is None:
                self._stage(u, out, base, stage, grid)
            else:
                if not stage.reuse_tensor:
                    self._new_tensors(u, out, stage.predictor_step, grid, first=k == 0)
                self._tensor_stage(u, out, base, stage, grid)
            yield stage.time, out, invalid
            before, u = u, out

    def finished(self, field: Field, invalid: Any, frame: Any, copy: bool) -> NDArray[Any]:
        """Return the field as a piece of the result, with the values that are not finite put back."""
        if copy or self.model.has_transform:  # decoding twice would be wrong
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

    def _stage(self, u: Field, out: Field, base: Field, stage: Stage, grid: Grid) -> None:
        h = np.array(grid.spacing)
        dtype = u.dtype
        b2 = (1 / h**2).astype(dtype)

        def work(lo: int, hi: int) -> None:
            g: Field | None = None
            known = 0  # g holds the planes up to this one
            features: Features | None = None
            for start in range(lo, hi, self.plan.chunk):
                stop = min(start + self.plan.chunk, hi)
                # A face takes the mean of its two voxels: one plane more on either side, two of which the chunk before has left.
                first, last = max(start - 1, 0), min(stop + 1, u.shape[1])
                new = first if g is None else known
                features = Features(
                    u, new, last, grid, self.kernel, self.weights, self.scratch, before=features
                )
                operator = self.model.operator(features)
                assert not isinstance(operator, DiffusionTensor)
                diffusivity = (
                    Diffusivity()
                    if isinstance(operator, ConstantDiffusivity | VoxelDiffusivity)
                    else operator.diffusivity
                )
                if isinstance(operator, VoxelOperator):
                    planes = self.scratch.take("g", (self.plan.chunk + 2, *u.shape[2:]), dtype)
                    if g is not None:
                        planes[: new - first] = g[g.shape[0] - (new - first) :]
                    g = planes[: last - first]
                    g[new - first :] = operator.values
                    known = last
                scale = (
                    operator.maximum
                    if isinstance(operator, ConstantDiffusivity | GradientDiffusivity)
                    else 1.0
                )
                a = (scale * stage.step / h**2).astype(dtype)
                # Neither 1/kappa nor its square may overflow: inf * 0 is NaN.
                most = math.sqrt(np.finfo(dtype).max) / 4
                code, faces, w = diffusivity.code, grid.open_faces, self.weights
                if isinstance(operator, GradientDiffusivity | LevelSetCurvature):
                    assert g is not None
                    cap = operator.maximum if isinstance(operator, LevelSetCurvature) else 0.0
                    k2 = min(1 / diffusivity.kappa, most) ** 2
                    self.kernel.gradient_step(
                        u,
                        out,
                        start,
                        stop,
                        a,
                        b2,
                        stage.momentum,
                        code,
                        k2,
                        cap,
                        g,
                        first,
                        faces,
                        w,
                    )
                else:
                    b = np.minimum(1 / (h * diffusivity.kappa), most).astype(dtype)
                    self.kernel.step(
                        u, out, start, stop, a, b, stage.momentum, code, g, first, faces, w
                    )
                self._draw_back(out, base, stage.start_weight, start, stop)

        self.slabs.run(work, u.shape[1], self.height)

    def _draw_back(
        self, out: Field, base: Field, start_weight: float, start: int, stop: int
    ) -> None:
        """Mix the share ``start_weight`` of the superstep's start into its end."""
        if start_weight:
            pull = self.scratch.take(
                "pull", (out.shape[0], stop - start, *out.shape[2:]), out.dtype
            )
            np.subtract(base[:, start:stop], out[:, start:stop], out=pull)
            pull *= out.dtype.type(start_weight)
            out[:, start:stop] += pull

    def _new_tensors(
        self, u: Field, out: Field, predictor_step: float, grid: Grid, first: bool
    ) -> None:
        """Make the tensors anew, from the field that a step of ``predictor_step`` predicts; ``out``, which the stage will fill, takes it."""
        if first or not predictor_step:
            self._build_tensors(u, grid)
        if predictor_step:
            self._tensor_stage(u, out, u, Stage(0.0, predictor_step, None), grid, quiet=True)
            self._build_tensors(out, grid)

    def _build_tensors(self, u: Field, grid: Grid) -> None:
        """Store the tensor of every voxel, from the field as it is now."""
        if self.tensors is None:
            self.tensors = self.kernel.tensors(grid.shape)
        rows = math.prod(grid.shape[1:])

        def work(lo: int, hi: int) -> None:
            features = Features(u, lo, hi, grid, self.kernel, self.weights, self.scratch)
            tensor = self.model.operator(features)
            assert isinstance(tensor, DiffusionTensor)
            # Eigenvalues and what is made of them take many arrays: a plane or so at a time stays in the cache.
            few = max(1, round(FEW / rows))
            for first in range(0, hi - lo, few):
                planes = slice(first, min(first + few, hi - lo))
                matrix = np.ascontiguousarray(tensor.matrix[:, planes])
                mu = self.kernel.eigenvalues(matrix)
                lam = tensor.spectrum(mu, *(field[planes] for field in tensor.extra))
                self.kernel.compose(
                    matrix, mu, lam, tensor.maximum, features.axes, self.tensors, lo + first
                )

        self.slabs.run(work, u.shape[1], self.height, quiet=True)

    def _tensor_stage(
        self, u: Field, out: Field, base: Field, stage: Stage, grid: Grid, quiet: bool = False
    ) -> None:
        assert self.plan.tensor is not None
        scale, faces = stage.step * self.plan.tensor.maximum, grid.open_faces
        if not self.plan.strict:

            def work(lo: int, hi: int) -> None:
                self.kernel.tensor_step(
                    u, out, self.tensors, lo, hi, scale, grid.spacing, stage.momentum, faces
                )
                self._draw_back(out, base, stage.start_weight, lo, hi)

            self.slabs.run(work, u.shape[1], self.height, quiet)
            return
        full = np.empty(grid.shape, np.uint8)
        self.slabs.run(
            lambda lo, hi: self.kernel.incident(
                self.tensors, lo, hi, scale, grid.spacing, faces, full
            ),
            u.shape[1],
            self.height,
            quiet=True,
        )
        self.slabs.run(
            lambda lo, hi: self.kernel.selling_step(
                u, out, self.tensors, full, lo, hi, scale, grid.spacing, faces
            ),
            u.shape[1],
            self.height,
        )

    def _exact(self, u: Field, grid: Grid) -> Field:
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
            part = (
                slab if slab.flags.c_contiguous else self.scratch.take("part", slab.shape, u.dtype)
            )
            self.kernel.smooth(u, lo, hi, taps, part)
            if part is not slab:
                slab[...] = part

        self.slabs.run(work, u.shape[1], self.height)
        return out

    def _transform(self, out: Field, time: float, grid: Grid) -> None:
        """Exact solution by cosine transforms, one axis after the other, each in slabs across it."""
        real = [i for i, n in enumerate(grid.shape) if n > 1]
        for number, axis in enumerate(real):
            across = next((i for i in real if i != axis), axis)
            planes = out.shape[across + 1] if across != axis else 1
            height = max(
                1, planes // (8 * self.slabs.threads)
            )  # each slab has scratch of twice its size

            def work(
                lo: int, hi: int, axis: int = axis, across: int = across, planes: int = planes
            ) -> None:
                part = out if planes == 1 else out[(slice(None),) * (across + 1) + (slice(lo, hi),)]
                part[...] = transform(part, axis + 1, time, grid.spacing[axis])

            self.slabs.run(work, planes, height, quiet=True)
            self.slabs.report((number + 1) / len(real))

    def _series(self, u: Field, grid: Grid) -> Field:
        """Exact solution between walls, by the Chebyshev series."""
        assert isinstance(self.plan.scheme, Exact)
        weights = heat_series_weights(
            self.plan.stages[0].step, grid, self.plan.scheme.tail(u.dtype)
        )
        total, h = self.field(2), np.array(grid.spacing)
        np.copyto(total, u)
        start, before = u, u
        for k in range(1, len(weights)):
            momentum, tau = chebyshev_stage(k, grid)
            a, weight = (tau / h**2).astype(u.dtype), u.dtype.type(weights[k])
            out = self.field(k % 2)
            if momentum and before is not out:
                np.copyto(out, before)

            def work(
                lo: int,
                hi: int,
                u: Field = u,
                out: Field = out,
                a: Field = a,
                m: float = momentum,
                weight: Any = weight,
            ) -> None:
                self.kernel.step(
                    u, out, lo, hi, a, a, m, LINEAR, None, 0, grid.open_faces, self.weights
                )
                # Written as a change, so that a voxel without open faces keeps every bit.
                total[:, lo:hi] += weight * (out[:, lo:hi] - start[:, lo:hi])

            self.slabs.run(work, u.shape[1], self.height, quiet=True)
            self.slabs.report(k / (len(weights) - 1))
            before, u = u, out
        return total

    def _invalid_voxels(self, u: Field, frame: Any) -> NDArray[np.bool_] | None:
        """Voxels that are not finite, or ``None``; raises when the job refuses them."""
        if self.problem.input_dtype.kind != "f":
            return None
        found: list[int] = []
        largest = float(np.finfo(u.dtype).max)
        # Nonlinear models take squares, and those of intensities that are squares already the fourth power.
        limit = (
            largest
            ** (
                1.0
                if isinstance(self.plan.scheme, Exact)
                else 0.25
                if self.model.has_transform
                else 0.5
            )
            / 16
        )
        per = u.size // u.shape[1]

        def work(lo: int, hi: int) -> None:
            found.append(self.kernel.count_invalid(u, lo * per, hi * per, limit))

        self.slabs.run(work, u.shape[1], self.height, quiet=True)
        if not sum(found):
            return None
        bad = ~np.isfinite(u)
        if u.max(where=~bad, initial=0) > limit or u.min(where=~bad, initial=0) < -limit:
            remedy = (
                "rescale it" if u.dtype == np.float64 else "rescale it, or convert it to float64"
            )
            raise ValueError(
                f"The image has values beyond {limit:.2g}, which overflow in {u.dtype}; {remedy}."
            )
        regions = self.problem.regions_of(frame)
        seen = (
            bad if regions is None else bad & (regions != 0)
        )  # what mask, labels or a masked array hide may be anything
        if self.problem.nan == "raise" and seen.any():
            there = self.problem.whole(seen, frame)  # in the axes of the user's array
            inside = iter(np.unravel_index(there.argmax(), there.shape))
            first = tuple(
                int(next(inside) if isinstance(index, slice) else index) for index in frame
            )
            raise NotFinite(
                int(seen.sum()),
                first,
                "A frame of the image" if self.problem.frame_axes else "The image",
            )
        return bad
