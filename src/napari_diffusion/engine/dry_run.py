"""Operator of a model and reach of its features, measured on a few voxels of zeros."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from napari_diffusion import backends
from napari_diffusion.core.grid import Grid
from napari_diffusion.models import Model
from napari_diffusion.operators import Operator
from napari_diffusion.operators.features import Features


def dry_run(model: Model, grid: Grid) -> tuple[Operator, list[int]]:
    """Return the operator of a model and the reach of one step per axis [voxel].

    The model runs on a few voxels of zeros, so the result is independent of the image.
    """
    arguments = (
        model,
        tuple(min(n, 3) for n in grid.shape),
        grid.spacing,
        grid.open_faces is not None,
    )
    try:
        hash(model)
    except TypeError:  # a diffusivity function need not be hashable
        return _dry_run.__wrapped__(*arguments)
    return _dry_run(*arguments)


@lru_cache(maxsize=64)
def _dry_run(
    model: Model, shape: tuple[int, ...], spacing: tuple[float, ...], walled: bool
) -> tuple[Operator, list[int]]:
    """Cached, because it takes as long as the filter of a small image."""
    small = Grid(shape, spacing, np.zeros(shape, np.uint8) if walled else None)
    zeros = np.zeros((1, *shape), np.float32)
    kernels = backends.get_backend("reference", len(shape))
    features = Features(zeros, 0, shape[0], small, kernels, np.ones(1, np.float32))
    operator = model.operator(features)
    reach = features.reach or [0] * len(shape)
    return operator, [1 + r if n > 1 else 0 for r, n in zip(reach, shape, strict=True)]
