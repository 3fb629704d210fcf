"""Operator of a model, reach of its features and their kernels, from a few voxels of zeros."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from napari_diffusion import backends
from napari_diffusion.backends.recording import Recorder
from napari_diffusion.core.grid import Grid, Place
from napari_diffusion.models import Model
from napari_diffusion.operators import Operator
from napari_diffusion.operators.base import checked
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.threshold_map import nodes_per_axis


@dataclass(frozen=True)
class DryRun:
    """What the operator of a model says about a grid, whatever the image.

    Attributes
    ----------
    operator
        The operator, evaluated on a few voxels of zeros.
    feature_reach
        Reach of the features of one operator, per axis [voxel].
    calls
        The kernels that the features call.
    """

    operator: Operator
    feature_reach: tuple[int, ...]
    calls: tuple[Any, ...]

    def step_reach(self, shape: tuple[int, ...]) -> list[int]:
        """Return the reach of one step with new features, per axis [voxel]."""
        return [1 + r if n > 1 else 0 for r, n in zip(self.feature_reach, shape, strict=True)]


def dry_run(model: Model, grid: Grid) -> DryRun:
    """Return the operator of a model, the reach of its features and their kernels.

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


def _place(model: Model, shape: tuple[int, ...]) -> Place | None:
    """Return some place of a grid in an image, so that the maps of a model act on it."""
    maps = list(model.maps.values())
    if not maps:
        return None
    levels, long = len(nodes_per_axis(maps[0])), [i for i, n in enumerate(shape) if n > 1]
    axes = ([None] * levels + (long or [len(shape) - 1]))[-levels:]
    sizes = tuple(1 if axis is None else shape[axis] for axis in axes)
    return Place((0,) * levels, sizes, tuple(axes))


@lru_cache(maxsize=64)
def _dry_run(
    model: Model, shape: tuple[int, ...], spacing: tuple[float, ...], walled: bool
) -> DryRun:
    """Cached, because it takes as long as the filter of a small image."""
    place = _place(model, shape)
    small = Grid(shape, spacing, np.zeros(shape, np.uint8) if walled else None, place)
    zeros = np.zeros((1, *shape), np.float32)
    recorder: Any = Recorder(backends.get_backend("reference", len(shape)))
    features = Features(zeros, 0, shape[0], small, recorder, np.ones(1, np.float32))
    operator = checked(model.operator(features), shape, f"{type(model).__name__}.operator")
    reach = features.reach or [0] * len(shape)
    return DryRun(operator, tuple(reach), tuple(sorted(recorder.calls, key=repr)))
