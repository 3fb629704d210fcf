"""Labels layers, and layers of a guide, on the grid of an image layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.axes.affine import (
    SAME_GRID,
    Reorientation,
    distance_of_grids,
    reorientation_to,
    voxel_sizes,
)
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.ui.layers.axes import (
    array_of,
    layer_axes,
    layer_matrix,
    shape_of,
    unit_name,
)

#: The last reoriented array of a labels layer, with the array and the reorientation that it is of:
#: the same labels stay the same object.
_reoriented: WeakKeyDictionary[Any, tuple[Any, Reorientation, Any]] = WeakKeyDictionary()


def guide_on_grid(image: Any, guide: Any, axes: Sequence[int]) -> Any:
    """Return the array of a layer of edges in the orientation of an image layer.

    Parameters and errors are those of `labels_on_grid`. Colours stay along the last axis.
    """
    if guide.rgb:
        if not image.rgb or guide.ndim != image.ndim:
            raise InputError(
                f"“{guide.name}” has colours, and edges are taken from an image of one number per "
                "voxel"
            )
        labels_on_grid(image, guide, axes, is_guide=True)  # the transform is checked
        return array_of(guide)
    return labels_on_grid(image, guide, axes, is_guide=True)


def labels_on_grid(image: Any, labels: Any, axes: Sequence[int], *, is_guide: bool = False) -> Any:
    """Return the array of a labels layer in the orientation of an image layer.

    Labels that are flipped or have their axes in another order are reoriented, without a copy if
    they are in memory. Labels with as many axes as the image have the same axes; others have the
    axes to smooth along.

    Parameters
    ----------
    image, labels
        The two layers.
    axes
        Axes of the image to smooth along.
    is_guide
        Whether the labels are a guide instead, for the words of the error.

    Raises
    ------
    InputError
        When the voxels of the two layers are at different places.
    """
    array = array_of(labels)
    shared = list(range(image.ndim)) if labels.ndim == image.ndim else sorted(axes)
    if labels.ndim != len(shared):
        return array  # the run refuses this shape
    unit = _common_unit(image, labels, shared)
    matrix = layer_matrix(image, unit)
    other = _embedded(layer_matrix(labels, unit), matrix, shared)
    shape = shape_of(image)[: image.ndim]
    other_shape = list(shape)
    for place, n in zip(shared, shape_of(labels), strict=True):
        other_shape[place] = n
    if tuple(other_shape) == shape and distance_of_grids(matrix, other, shape) <= SAME_GRID:
        return array
    reorientation = reorientation_to(matrix, shape, other, tuple(other_shape))
    if reorientation is None:
        if tuple(other_shape) != shape:
            return array  # the run refuses this shape
        subject = f"The voxels of “{labels.name}”" if is_guide else f"The labels “{labels.name}”"
        relation = "those of" if is_guide else "on the voxels of"
        raise InputError(
            f"{subject} are not {relation} “{image.name}”: "
            f"{_difference(matrix, other, shared, _unit_text(unit))}",
            Remedy.RESAMPLE_GUIDE if is_guide else Remedy.RESAMPLE_REGIONS,
        )
    order = tuple(shared.index(i) for i in reorientation.order if i in shared)
    own = Reorientation(order, tuple(reorientation.flipped[i] for i in shared))
    return _reorient(labels, array, own)


def _reorient(labels: Any, array: Any, reorientation: Reorientation) -> Any:
    """Return the array of a labels layer with other axes, the same object for the same array."""
    last = _reoriented.get(labels)
    if last is not None and last[0] is array and last[1] == reorientation:
        return last[2]
    source = array if hasattr(array, "transpose") else np.asarray(array)
    result = reorientation.apply_to(source)
    _reoriented[labels] = array, reorientation, result
    return result


def code_of_reorientation(labels: Any, array: Any) -> str:
    """Return the code that makes ``array``, from `labels_on_grid`, of the array of a layer.

    It is empty for the array of the layer itself, and else such as ``.transpose((2, 1, 0))[::-1]``.
    """
    last = _reoriented.get(labels)
    if last is None or array is not last[2]:
        return ""
    order, flipped = last[1].order, last[1].flipped
    transposed = "" if order == tuple(sorted(order)) else f".transpose({order})"
    steps = ", ".join("::-1" if flip else ":" for flip in flipped)
    return f"{transposed}[{steps}]" if any(flipped) else transposed


def _common_unit(image: Any, labels: Any, shared: Sequence[int]) -> Any:
    """Return the unit in which two layers are compared; ``None`` for their bare numbers.

    napari compares bare numbers, too, where some unit is not a length.
    """
    own, other = layer_axes(image), layer_axes(labels)
    axes = [own[i] for i in shared]
    pairs = zip(axes, other, strict=True)
    comparable = all(a.unit == b.unit or (a.has_length and b.has_length) for a, b in pairs)
    lengths = [axis.unit for axis in axes if axis.has_length]
    return lengths[-1] if comparable and lengths else None


def _unit_text(unit: Any) -> str:
    return "" if unit is None else f" {unit_name(unit)}"


def _embedded(
    inner: NDArray[np.float64], outer: NDArray[np.float64], axes: Sequence[int]
) -> NDArray[np.float64]:
    """Return ``outer`` with another transform along some of its axes."""
    full, places = outer.copy(), np.array([*axes, len(outer) - 1])
    full[np.ix_(places[:-1], places)] = inner[:-1]
    return full


def _difference(
    image: NDArray[np.float64], labels: NDArray[np.float64], axes: Sequence[int], unit: str
) -> str:
    """Return the first of voxel size, directions and position that differs, with both values."""
    sizes = [_listed(np.array(voxel_sizes(m[:-1, :-1]))[axes]) for m in (labels, image)]
    if sizes[0] != sizes[1]:
        return f"their voxel size is {sizes[0]}{unit}, and that of the image {sizes[1]}{unit}"
    steps = [_steps(m[:-1, :-1][np.ix_(axes, axes)]) for m in (labels, image)]
    if steps[0] != steps[1]:
        return f"their axes run along {steps[0]}, and those of the image along {steps[1]}"
    places = [_listed(m[:-1, -1][axes]) for m in (labels, image)]
    return f"their first voxel is at {places[0]}{unit}, and that of the image at {places[1]}{unit}"


def _steps(matrix: NDArray[np.float64]) -> str:
    return ", ".join(f"({_listed(column)})" for column in matrix.T)


def _listed(numbers: NDArray[np.float64]) -> str:
    rounding = 1e-12 * float(np.abs(numbers).max(initial=0.0))
    return ", ".join(f"{0.0 if abs(n) <= rounding else n:.6g}" for n in numbers)
