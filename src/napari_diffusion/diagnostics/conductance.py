"""Diffusivity of a model, as a function of the gradient and as a map over an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_diffusion import backends
from napari_diffusion.core.arrays import Field, FloatArray
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.grid import Grid
from napari_diffusion.diagnostics.feature_maps import map_over_image
from napari_diffusion.engine.dry_run import dry_run
from napari_diffusion.engine.halo_block import AxisIndex
from napari_diffusion.engine.problem import Problem
from napari_diffusion.models import Model
from napari_diffusion.operators.features import Features


def diffusivity_curve(
    model: Model, gradient: FloatArray, spacing: float = 1.0
) -> NDArray[np.float64]:
    r"""Return the diffusivity g(s) of a model at the slopes s = ``gradient`` [intensity/length].

    The model is evaluated on ramps sampled with ``spacing`` [length]. The curve is therefore valid
    for every model whose operator depends on the gradient.
    """
    kernels = backends.get_backend("reference", 1)
    (reach,) = dry_run(model, Grid((3,), (spacing,))).step_reach((3,))
    size = 4 * reach + 5
    grid, ramp, middle = Grid((size,), (spacing,)), np.arange(size) * spacing, size // 2
    slopes = np.asarray(gradient, float)

    def diffusivity(slope: float) -> float:
        features = Features((slope * ramp)[None], 0, size, grid, kernels, np.ones(1))
        return float(_at_voxels(model, features)[middle])

    values = [diffusivity(slope) for slope in slopes.ravel()]
    return np.asarray(values, float).reshape(slopes.shape)


def conductance_map(
    problem: Problem,
    region: Sequence[AxisIndex] | None = None,
    cancel: CancelEvent | None = None,
) -> FloatArray:
    """Return the initial diffusivity g of a run, as `napari_diffusion.conductance`.

    The problem is one of `unread_problem`.
    """
    return map_over_image(_at_voxels, problem, region, cancel)


def _at_voxels(model: Model, features: Features) -> Field:
    """Return the diffusivity of a model's operator at the voxels of the planes of ``features``."""
    return model.operator(features).conductance(features)
