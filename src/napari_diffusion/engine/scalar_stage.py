"""One stage of a model with a scalar diffusivity or with curvature motion, on a slab of planes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_diffusion.backends.protocol import Backend
from napari_diffusion.core.arrays import Field
from napari_diffusion.core.grid import Grid
from napari_diffusion.models import Model
from napari_diffusion.operators import VoxelOperator
from napari_diffusion.operators.curvature import LevelSetCurvature
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.divergence import (
    ConstantDiffusivity,
    FaceDiffusivity,
    GradientDiffusivity,
    VoxelDiffusivity,
)
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scratch import Scratch
from napari_diffusion.operators.tensor import DiffusionTensor
from napari_diffusion.schemes import Stage

ScalarOperator = (
    ConstantDiffusivity
    | FaceDiffusivity
    | VoxelDiffusivity
    | GradientDiffusivity
    | LevelSetCurvature
)


@dataclass(frozen=True)
class ScalarStage:
    """One stage of a model whose operator has no tensor.

    Attributes
    ----------
    model, stage, grid, kernels
        Model, stage of the scheme, grid of the frame and backend.
    weights
        Weight of each channel's gradient; their sum is 1.
    scratch
        Work arrays of each thread.
    chunk
        Number of planes that get their features at once.
    u
        Field before the stage.
    out
        Field after the stage. With momentum, it holds the field of the previous stage before.
    superstep_start
        Field at the start of the superstep, of which `Stage.start_weight` mixes in a share.
    """

    model: Model
    stage: Stage
    grid: Grid
    kernels: Backend
    weights: Field
    scratch: Scratch
    chunk: int
    u: Field
    out: Field
    superstep_start: Field

    def run(self, lo: int, hi: int) -> None:
        """Compute planes ``lo:hi`` in chunks, each of which reuses planes of the previous one."""
        features: Features | None = None
        values: Field | None = None
        values_end = 0  # plane after the last one of values
        for start in range(lo, hi, self.chunk):
            stop = min(start + self.chunk, hi)
            # A face needs the values of both its voxels: a chunk needs one more plane on either
            # side. The previous chunk has computed the first two planes.
            first, last = max(start - 1, 0), min(stop + 1, self.u.shape[1])
            new = first if values is None else values_end
            features = Features(
                self.u,
                new,
                last,
                self.grid,
                self.kernels,
                self.weights,
                self.scratch,
                previous=features,
            )
            operator = self.model.operator(features)
            assert not isinstance(operator, DiffusionTensor)
            if isinstance(operator, VoxelOperator):
                values = self._append(values, operator.values, new - first, last - first)
                values_end = last
            self._step(operator, values, first, start, stop)
            mix_in_start(
                self.out, self.superstep_start, self.stage.start_weight, start, stop, self.scratch
            )

    def _append(self, previous: Field | None, new: Field, kept: int, planes: int) -> Field:
        """Return the last ``kept`` planes of ``previous`` and the ``new`` planes, in one array."""
        buffer = self.scratch.take("g", (self.chunk + 2, *self.u.shape[2:]), self.u.dtype)
        if previous is not None:
            buffer[:kept] = previous[previous.shape[0] - kept :]
        values = buffer[:planes]
        values[kept:] = new
        return values

    def _step(
        self, operator: ScalarOperator, values: Field | None, first: int, start: int, stop: int
    ) -> None:
        """Apply the operator to planes ``start:stop``; ``values`` begins at plane ``first``."""
        dtype, h = self.u.dtype, np.array(self.grid.spacing)
        if isinstance(operator, ConstantDiffusivity | VoxelDiffusivity):
            diffusivity = Diffusivity()
        else:
            diffusivity = operator.diffusivity
        has_scale = isinstance(operator, ConstantDiffusivity | GradientDiffusivity)
        scale = operator.maximum if has_scale else 1.0
        a = (scale * self.stage.step / h**2).astype(dtype)
        # Neither 1/kappa nor its square may overflow: inf * 0 is NaN.
        limit = math.sqrt(np.finfo(dtype).max) / 4
        code, momentum, faces = diffusivity.code, self.stage.momentum, self.grid.open_faces
        if not isinstance(operator, GradientDiffusivity | LevelSetCurvature):
            b = np.minimum(1 / (h * diffusivity.kappa), limit).astype(dtype)
            self.kernels.step(
                self.u,
                self.out,
                start,
                stop,
                a,
                b,
                momentum,
                code,
                values,
                first,
                faces,
                self.weights,
            )
            return
        assert values is not None
        self.kernels.gradient_step(
            self.u,
            self.out,
            start,
            stop,
            a,
            (1 / h**2).astype(dtype),
            momentum,
            code,
            min(1 / diffusivity.kappa, limit) ** 2,
            operator.maximum if isinstance(operator, LevelSetCurvature) else 0.0,
            values,
            first,
            faces,
            self.weights,
        )


def mix_in_start(
    out: Field, superstep_start: Field, share: float, start: int, stop: int, scratch: Scratch
) -> None:
    r"""Replace :math:`u` by :math:`u + c\,(u_0 - u)` on planes ``start:stop`` of ``out``.

    :math:`u_0` is the start of the superstep and c the ``share``.
    """
    if not share:
        return
    shape = (out.shape[0], stop - start, *out.shape[2:])
    difference = scratch.take("pull", shape, out.dtype)
    np.subtract(superstep_start[:, start:stop], out[:, start:stop], out=difference)
    difference *= out.dtype.type(share)
    out[:, start:stop] += difference
