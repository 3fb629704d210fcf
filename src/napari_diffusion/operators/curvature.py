"""Motion of level sets by their curvature."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.operators.base import SlabLayout
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.scalar import ChunkStep, ValuedOperator

#: Largest radius [voxel] of surroundings that a stage reads voxel by voxel. The number of voxels
#: grows with its third power. Far below the smallest radius, rounding errors of the means decide.
MIN_RADIUS_VOXELS, MAX_RADIUS_VOXELS = 0.1, 16.0
#: Effective speed of the motion, as a share of the bound of its weights. The weights are 1 where
#: the image is smooth, and reach their bound of 2 at single voxels.
SPREAD_SHARE = 0.5


def effective_spacing(shape: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[float, ...]:
    """Return the voxel size, infinite along axes of one voxel."""
    return tuple(h if n > 1 else math.inf for n, h in zip(shape, spacing, strict=True))


@lru_cache(maxsize=64)
def ball(radius: float, spacing: tuple[float, ...]) -> NDArray[np.int64]:
    """Return the offsets of the voxels in a ball, shape (n, axes); nobody writes to them."""
    counts = [math.floor(radius / h) for h in spacing]
    offsets = itertools.product(*(range(-n, n + 1) for n in counts))
    inside = [
        k
        for k in offsets
        if sum((i * h) ** 2 for i, h in zip(k, spacing, strict=True) if i) <= radius**2
    ]
    return np.array(inside, np.int64)


@dataclass(frozen=True)
class LevelSetCurvature(ValuedOperator):
    r"""Curvature motion of level sets, which is not in divergence form.

    .. math:: u_t = |\nabla u| \operatorname{div}\left(
       g(|\nabla u|)\,\frac{\nabla u}{|\nabla u|}\right)

    It is discretised as

    .. math:: u_t = \sum_{\text{faces}} \frac{g}{h_i^2}
       \min\Bigl(\frac{|\nabla u|}{|\nabla u|_{face}}, C\Bigr)\,\delta_i u.

    The ratio of gradients is 1 where the image is smooth. Limiting it to C keeps the weights
    positive and bounded. Steps up to :math:`1/(2C\sum_i h_i^{-2})` therefore satisfy the extremum
    principle.

    Attributes
    ----------
    values
        :math:`|\nabla u|^2` at the voxels [intensity²/length²].
    diffusivity
        The diffusivity g.
    maximum
        The limit C of the ratio.
    """

    kernel = "gradient_step"
    feature_arrays = 1
    compares_gradients = True
    takes_stacks = True
    values: NDArray[np.floating]
    diffusivity: Diffusivity
    maximum: float = 2.0

    @property
    def spread(self) -> float:
        """Largest diffusivity at which a disturbance spreads in practice."""
        return self.maximum * SPREAD_SHARE

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage with limited ratios of gradients."""
        step.with_full_gradient(self.diffusivity, cap=self.maximum)

    def conductance(self, features: Features) -> NDArray[np.floating]:
        """Return g of the gradient magnitude."""
        return features.apply(self.diffusivity, self.values)

    def stage_calls(self, strict: bool, is_stored: bool) -> tuple[Any, ...]:
        """Return the kernel, the diffusivity and the limit."""
        return (*super().stage_calls(strict, is_stored), bool(self.maximum))


def one_sided_curvature(f: Features, radius: float) -> OneSidedCurvature:
    """Return curvature motion of one sign at each voxel, by the mean over a radius [length].

    Raises
    ------
    ValueError
        If the radius is not within `MIN_RADIUS_VOXELS` and `MAX_RADIUS_VOXELS` along the axis of
        the smallest voxel size.
    """
    voxels = radius / f.grid.finest
    if not MIN_RADIUS_VOXELS <= voxels <= MAX_RADIUS_VOXELS:
        bound = (
            f"small, at least {MIN_RADIUS_VOXELS:g}"
            if voxels < MIN_RADIUS_VOXELS
            else f"large, at most {MAX_RADIUS_VOXELS:g}"
        )
        raise ValueError(
            f"A radius of {voxels:g} voxels is too {bound}; check the units of radius and spacing."
        )
    f.reserve(radius)
    return OneSidedCurvature(f.grad2(0.0), Diffusivity(), radius=radius)


@dataclass(frozen=True)
class OneSidedCurvature(LevelSetCurvature):
    """Curvature motion that is either upwards or downwards at each voxel.

    `backends.reference.min_max` states the condition.

    Attributes
    ----------
    radius
        Radius of the ball over which the image is averaged [length].
    """

    radius: float = 1.0

    def apply(self, step: ChunkStep) -> None:
        """Compute one stage without momentum, take back one sign, and add the momentum."""
        stage, grid = step.stage, step.grid
        previous = step.out[:, step.start : step.stop].copy() if stage.momentum else None
        super().apply(replace(step, stage=stage._replace(momentum=0.0)))
        spacing = effective_spacing(grid.shape, grid.spacing)
        step.backend.min_max(
            step.u,
            step.out,
            previous,
            step.start,
            step.stop,
            stage.momentum,
            ball(self.radius, spacing),
            self.radius,
            spacing,
            grid.open_faces,
        )

    def stage_calls(self, strict: bool, is_stored: bool) -> tuple[Any, ...]:
        """Return the kernels of a stage."""
        return (*super().stage_calls(strict, is_stored), "min_max")

    def scratch_planes(self, layout: SlabLayout) -> int:
        """Return the planes of scratch, with those of the field before the stage."""
        return super().scratch_planes(layout) + layout.channels * layout.chunk
