"""Operator of a model, reach of its features and their kernels, from a few voxels of zeros."""

from __future__ import annotations

import marshal
import math
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from napari_diffusion import backends
from napari_diffusion.backends.recording import Recorder
from napari_diffusion.core.grid import Grid, Place
from napari_diffusion.core.parameters import parameters
from napari_diffusion.core.units import Dimension
from napari_diffusion.models import Model
from napari_diffusion.operators import Operator
from napari_diffusion.operators.base import checked
from napari_diffusion.operators.features import Features
from napari_diffusion.operators.threshold_map import nodes_per_axis, smallest_factor

#: Squares of gradients lose digits below this multiple of the root of the smallest normal number.
UNDERFLOW_MARGIN = 300.0
#: Version of `marshal` in which equal values have equal bytes.
MARSHAL_VERSION = 2


@dataclass(frozen=True)
class ValueLimits:
    """Values of an image with which a run can compute.

    Attributes
    ----------
    largest
        Largest magnitude whose powers do not overflow.
    of_model
        Largest magnitude that the thresholds of the model allow.
    smallest_difference
        Smallest difference, other than 0, of the largest and the smallest value; 0 for none. The
        squares of gradients below it underflow.
    is_of_frame
        Whether whole frames are read. Values of a part may differ by less.
    """

    largest: float
    of_model: float
    smallest_difference: float
    is_of_frame: bool = True


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

    def limits(
        self, model: Model, grid: Grid, dtype: np.dtype[Any], is_solved: bool
    ) -> ValueLimits:
        """Return the limits of the values of a run in this data type.

        Nonlinear models take squares. Models with a transform square the intensities before, so
        they take the fourth power. ``is_solved`` says whether neither is done.
        """
        exponent = 1.0 if is_solved else 0.25 if model.has_transform else 0.5
        limit: float = float(np.finfo(dtype).max) ** exponent / 16
        return ValueLimits(
            min(limit, self.largest_with_gradients(model, grid, dtype)),
            self.largest_of_model(model, grid, dtype),
            self._smallest_difference(model, grid, dtype),
        )

    def largest_with_gradients(self, model: Model, grid: Grid, dtype: np.dtype[Any]) -> float:
        """Return the largest magnitude of a value whose gradients have finite squares.

        Models with a tensor square gradients in units of their thresholds.
        """
        if self.operator.has_tensor or all(kernel != "grad2" for kernel, *_ in self.calls):
            return self.largest_of_model(model, grid, dtype)
        limit: float = float(np.finfo(dtype).max) ** 0.5 / 16 * min(1.0, grid.finest)
        return limit

    def largest_of_model(self, model: Model, grid: Grid, dtype: np.dtype[Any]) -> float:
        """Return the largest magnitude of a value that the thresholds of the model allow."""
        return self.operator.largest_value(grid, dtype) * _smallest_factor(model)

    def _smallest_difference(self, model: Model, grid: Grid, dtype: np.dtype[Any]) -> float:
        """Return the smallest difference of two values whose gradient has a normal square.

        It is 0 where gradients far below a threshold may underflow, because they count as zero
        anyway. They matter where they are compared with one another. Models with a tensor square
        gradients in units of their thresholds.
        """
        if self.operator.has_tensor:
            return 0.0
        smallest = UNDERFLOW_MARGIN * float(np.finfo(dtype).tiny) ** 0.5
        thresholds = [
            getattr(model, p.name) * _smallest_factor(model)
            for p in parameters(model)
            if Dimension.parse(p.unit) == Dimension(length=-1, intensity=1)
        ]
        is_safe = min(thresholds, default=math.inf) >= smallest
        return 0.0 if is_safe and not self.operator.compares_gradients else smallest * grid.finest


def _smallest_factor(model: Model) -> float:
    """Return the smallest factor of a threshold in the maps of a model, at most 1."""
    return min(map(smallest_factor, model.maps.values()), default=1.0)


def content_of(settings: Any) -> Hashable | None:
    """Return type and content of a model or scheme at this moment, as a key.

    Contents are compared to the type and the bit: to Python, 1 and True are equal, also 0.0 and
    -0.0. The result is ``None`` for settings beyond numbers and texts, such as functions and
    arrays, which a key would keep alive.
    """
    try:
        items = tuple(vars(settings).items())
        hash(items)  # arrays have bytes, but no hash
        return type(settings), marshal.dumps(items, MARSHAL_VERSION)
    except (TypeError, ValueError):
        return None


def dry_run(model: Model, grid: Grid, is_guided: bool = False) -> DryRun:
    """Return the operator of a model, the reach of its features and their kernels.

    The model runs on a few voxels of zeros, so the result is independent of the image.

    Raises
    ------
    ValueError
        If the run ``is_guided`` and the model takes no edges from a guide.
    """
    arguments = (
        model,
        content_of(model),
        tuple(min(n, 3) for n in grid.shape),
        grid.spacing,
        grid.open_faces is not None,
        is_guided,
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
    model: Model,
    content: Hashable | None,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    walled: bool,
    is_guided: bool,
) -> DryRun:
    """Cached, because it takes as long as the filter of a small image."""
    place = _place(model, shape)
    small = Grid(shape, spacing, np.zeros(shape, np.uint8) if walled else None, place)
    zeros = np.zeros((1, *shape), np.float32)
    recorder: Any = Recorder(backends.get_backend("reference", len(shape)))
    features = Features(zeros, 0, shape[0], small, recorder, np.ones(1, np.float32))
    operator = checked(model.operator(features), shape, f"{type(model).__name__}.operator")
    if is_guided:
        if not operator.takes_guide:
            raise ValueError(
                f"{model.title} takes no edges from a guide; choose a model with a diffusivity, "
                "such as Perona-Malik or edge-enhancing."
            )
        operator = operator.guided(features)
    reach = features.reach or [0] * len(shape)
    return DryRun(operator, tuple(reach), tuple(sorted(recorder.calls, key=repr)))
