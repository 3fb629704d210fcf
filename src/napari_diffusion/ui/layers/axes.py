"""Array, axes, voxel size and unit of a napari layer, as the library takes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core import units
from napari_diffusion.core.arrays import shape_and_dtype
from napari_diffusion.core.axes.affine import (
    ORTHOGONALITY,
    orthogonality_defect,
    voxel_sizes,
)
from napari_diffusion.core.axes.names import (
    AxisKind,
    assumptions,
    describe_axes,
    kind_of,
    space_axes,
)
from napari_diffusion.core.errors import InputError, reason_of
from napari_diffusion.engine.recipe import Recipe

PIXEL = "pixel"
#: Length units to choose from, smallest first; a different unit of the layer is added to them.
LENGTHS = ("nm", "µm", "mm", "cm", "m")
#: Axis label that napari gives to an axis without a name: "-1", or "axis -1" before napari 0.7.
_NAMELESS = re.compile(r"(axis )?-\d+")
#: Significant digits of a voxel size that is computed from several numbers.
_DIGITS = 12


@dataclass(frozen=True)
class Axis:
    """One axis of a layer.

    Attributes
    ----------
    index
        Axis number in the array.
    name
        Axis label, or "axis" and its number where the axis has no label.
    size
        Number of samples.
    scale
        Sample distance [unit]: the length of ``step``.
    unit
        A pint unit.
    is_named
        Whether the axis has a label of its own.
    step
        Vector from a sample to the next one, in the coordinates of the viewer. All coordinates with
        a length as unit have the last such unit.
    """

    index: int
    name: str
    size: int
    scale: float
    unit: Any
    is_named: bool
    step: tuple[float, ...]

    @property
    def has_length(self) -> bool:
        """Whether the unit is a length, unlike pixel or second."""
        return _is_length(self.unit)


def array_of(layer: Any) -> Any:
    """Return the array of a layer, lazy if it is lazy; level 0 of a multiscale layer.

    ``np.asarray`` of multiscale data would give the coarsest level.
    """
    return layer.data[0] if layer.multiscale else layer.data


def shape_of(layer: Any) -> tuple[int, ...]:
    """Return the shape of the array of a layer; errors as `dtype_of`."""
    return _shape_and_dtype(layer)[0]


def dtype_of(layer: Any) -> np.dtype[Any]:
    """Return the data type of the array of a layer for NumPy.

    Raises
    ------
    InputError
        When the array cannot be read, such as that of a closed file.
    """
    return _shape_and_dtype(layer)[1]


def _shape_and_dtype(layer: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        return shape_and_dtype(array_of(layer), "its array")
    except Exception as error:  # what the library of a lazy array raises
        raise InputError(f"The layer {layer.name} cannot be read: {reason_of(error)}") from error


def channel_axis_of(layer: Any) -> int | None:
    """Return the axis of the colour channels, ``None`` without colours."""
    return -1 if layer.rgb else None


def channel_weights_of(layer: Any) -> tuple[float | None, ...] | None:
    """Return the weights of the colour channels; ``None`` where all of them are the same.

    The fourth sample of RGBA is the opacity. It is no part of the image and is copied.
    """
    return (1, 1, 1, None) if layer.rgb and shape_of(layer)[-1] == 4 else None


def is_nameless(label: str) -> bool:
    """Whether an axis label is the number that napari gives to an axis without a name."""
    return not label.strip() or _NAMELESS.fullmatch(label) is not None


def layer_axes(layer: Any) -> tuple[Axis, ...]:
    """Return the axes of an image layer without the colour channels.

    The voxel size along an axis is the length of its column of the linear transform, which is
    affine · rotate · shear · scale. The rows of the transform have the units of the layer. The rows
    of time and channels do not count for other axes.
    """
    shape = shape_of(layer)
    in_space = [_may_be_space(*pair) for pair in zip(layer.axis_labels, layer.units, strict=True)]
    matrix, lengths = _linear_transform(layer), [u for u in layer.units if _is_length(u)]
    world = matrix * _row_factors(layer, lengths[-1] if lengths else None)[:, np.newaxis]
    axes = []
    for i, (label, n) in enumerate(zip(layer.axis_labels, shape[: layer.ndim], strict=True)):
        is_named = not is_nameless(label)
        column = np.where(in_space, matrix[:, i], 0.0) if in_space[i] else matrix[:, i]
        scale, unit = _size_and_unit(column if column.any() else matrix[:, i], layer.units)
        name, step = label if is_named else f"axis {i}", tuple(map(float, world[:, i]))
        axes.append(Axis(i, name, int(n), scale, unit, is_named, step))
    return tuple(axes)


def _may_be_space(label: str, unit: Any) -> bool:
    """Whether neither label nor unit says that an axis is no direction in space."""
    is_other = not is_nameless(label) and kind_of(label) not in (AxisKind.SPACE, AxisKind.UNKNOWN)
    return not is_other and (_is_length(unit) or str(unit) == PIXEL)


def layer_matrix(layer: Any, unit: Any) -> NDArray[np.float64]:
    """Return the transform from voxel indices to coordinates, shape (ndim + 1, ndim + 1).

    Parameters
    ----------
    layer
        A layer.
    unit
        Unit of the coordinates that are lengths; ``None`` for the units of the layer, as napari
        draws layers whose units do not agree.
    """
    from napari.utils.transforms import Affine

    matrix = np.eye(layer.ndim + 1)
    matrix[:-1, :-1] = _linear_transform(layer)
    own = Affine(translate=layer.translate, linear_matrix=np.eye(layer.ndim)).affine_matrix
    moved: NDArray[np.float64] = np.asarray(layer.affine.affine_matrix) @ own
    matrix[:-1, -1] = moved[:-1, -1]
    matrix[:-1] *= _row_factors(layer, unit)[:, np.newaxis]
    return matrix


def _linear_transform(layer: Any) -> NDArray[np.float64]:
    """Return affine · rotate · shear · scale, the linear part of the transform of a layer."""
    from napari.utils.transforms import Affine

    own = Affine(scale=layer.scale, rotate=layer.rotate, shear=layer.shear).linear_matrix
    return np.asarray(layer.affine.linear_matrix @ own, np.float64)


def _row_factors(layer: Any, unit: Any) -> NDArray[np.float64]:
    """Return the factor of each coordinate of a layer to a unit of length; 1 for other units."""
    if unit is None:
        return np.ones(layer.ndim)
    new = unit_name(unit)
    convert = [_is_length(old) for old in layer.units]
    pairs = zip(layer.units, convert, strict=True)
    return np.array([length_conversion(unit_name(old), new) if own else 1.0 for old, own in pairs])


def _size_and_unit(column: NDArray[np.float64], row_units: Sequence[Any]) -> tuple[float, Any]:
    """Return the length of a column of a transform, and its unit: that of its longest part."""
    smallest = 1e-9 * np.abs(column).max(initial=0.0)
    rows = [i for i, part in enumerate(np.abs(column)) if part > smallest]
    if not rows:
        return 0.0, row_units[0]
    longest = int(np.abs(column).argmax())
    unit, parts = row_units[longest], column[rows]
    if len(rows) == 1:
        return abs(float(column[longest])), unit
    if all(_is_length(row_units[i]) for i in rows):
        name = unit_name(unit)
        parts = parts * np.array([length_conversion(unit_name(row_units[i]), name) for i in rows])
    (size,) = voxel_sizes(parts[:, np.newaxis])
    return float(f"{size:.{_DIGITS}g}"), unit


@cache
def _is_length(unit: Any) -> bool:
    """Whether a unit is a length, unlike pixel or second."""
    try:
        return unit_name(unit) != PIXEL
    except ValueError:
        return False


def angle_defect(axes: Sequence[Axis]) -> float:
    """Return the largest deviation of two axes from a right angle [degrees]; 0 up to 0.06."""
    steps = np.array([axis.step for axis in axes]).T
    cosine = orthogonality_defect(steps) if len(axes) > 1 else 0.0
    return float(np.degrees(np.arcsin(min(cosine, 1.0)))) if cosine > ORTHOGONALITY else 0.0


def names_of(axes: Sequence[Axis]) -> tuple[str, ...] | None:
    """Return the names of the axes, ``None`` where one has no name or two have the same.

    Names identify the same axes in another image.
    """
    names = tuple(axis.name for axis in axes)
    is_unique = len({name.lower() for name in names}) == len(names)
    return names if is_unique and all(axis.is_named for axis in axes) else None


def diffusing_by_default(axes: Sequence[Axis]) -> tuple[int, ...]:
    """Return the default axes to smooth along; the rule is that of `space_axes`."""
    return space_axes(*_as_columns(axes))


def describe(axes: Sequence[Axis], chosen: Sequence[int], colours: int = 0, sizes: str = "") -> str:
    """Describe a run along the ``chosen`` axes in words, with what was assumed.

    Parameters
    ----------
    axes
        All axes of the layer.
    chosen
        Numbers of the axes to smooth along.
    colours
        Number of samples of a colour, of which the fourth is copied; 0 without colours.
    sizes
        Voxel size along the chosen axes in words, with its unit.
    """
    if not chosen:
        return ""
    names, shape, has_length = _as_columns(axes)
    together = min(colours, 3)
    if colours:
        with_colours = [*names, "rgb"], [*shape, together]
        sentence = describe_axes(*with_colours, chosen, len(names), sizes)
    else:
        sentence = describe_axes(names, shape, chosen, sizes=sizes)
    sentences = [f"{sentence}{'; opacity is copied' if colours > together else ''}."]
    sentences += assumptions(names, shape, has_length, chosen)
    defect = angle_defect([axes[i] for i in chosen])
    if defect:
        sentences.append(
            f"The axes are {defect:.2g}° off a right angle: they are smoothed as if they were "
            "perpendicular."
        )
    return "\n".join(sentences)


def _as_columns(axes: Sequence[Axis]) -> tuple[list[str | None], list[int], list[bool]]:
    """Return name, number of samples, and whether the unit is a length, of each axis."""
    names = [_name_of_kind(axis) for axis in axes]
    return names, [axis.size for axis in axes], [axis.has_length for axis in axes]


def _name_of_kind(axis: Axis) -> str | None:
    """Return a name that says of which kind an axis is; ``None`` where nothing says so.

    A unit that is neither a length nor pixel outweighs a name of space and an unknown name.
    """
    label = axis.name if axis.is_named else None
    if axis.has_length or str(axis.unit) == PIXEL:
        return label
    if label is not None and kind_of(label) not in (AxisKind.SPACE, AxisKind.UNKNOWN):
        return label
    return "time" if axis.unit.is_compatible_with("second") else "parameter"


def axes_of_recipe(
    recipe: Recipe, axes: Sequence[Axis], ndim: int | None = None
) -> tuple[int, ...] | None:
    """Return the axes of a layer that a recipe refers to, ``None`` where they are ambiguous.

    Axes are matched by name where the layer has all the names of the recipe. Otherwise they are
    matched by number, if some axis of the layer has no name. In addition, the layer must have
    ``ndim`` axes, as the recipe's image had, or its last axis must be the last one of the recipe.
    """
    layer_names = [axis.name.lower() if axis.is_named else None for axis in axes]
    recipe_names = [name.lower() for name in recipe.axis_names or ()]
    if recipe_names and set(recipe_names) <= set(layer_names):
        return tuple(sorted(layer_names.index(name) for name in recipe_names))
    if not recipe.axes or names_of(axes) is not None:
        return None
    last = max(recipe.axes)
    if last < len(axes) and len(axes) in (ndim, last + 1):
        return tuple(sorted(recipe.axes))
    return None


def common_unit(axes: Sequence[Axis]) -> str:
    """Return the unit for the voxel sizes of these axes.

    It is the unit of the last axis, or pixel where some unit is not a length.
    """
    return unit_name(axes[-1].unit) if axes and all(axis.has_length for axis in axes) else PIXEL


def size_in(axis: Axis, unit: str) -> float:
    """Return the voxel size along an axis in a unit.

    In pixel it is the bare scale, as napari draws layers whose units do not agree. The same holds
    for an axis without a length as unit, such as time.
    """
    factor = length_conversion(unit_name(axis.unit), unit) if axis.has_length else 1.0
    return axis.scale * factor or 1.0


@cache
def unit_name(unit: Any) -> str:
    """Return the symbol of a pint unit of length, such as ``µm``.

    Raises
    ------
    ValueError
        If it is no unit of length.
    """
    return units.symbol(f"{unit:D}")


def length_conversion(old: str, new: str) -> float:
    """Return the factor for lengths on screen from unit ``old`` to unit ``new``.

    From and to pixel it is 1: the user says what a pixel is, and the numbers stay the same.
    """
    return 1.0 if PIXEL in (old, new) else units.factor(old, new)
