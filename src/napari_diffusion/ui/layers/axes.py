"""Array, axes, voxel size and unit of a napari layer, as the library takes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from napari_diffusion.core import units
from napari_diffusion.engine.recipe import Recipe

PIXEL = "pixel"
#: Length units to choose from, smallest first; a different unit of the layer is added to them.
LENGTHS = ("nm", "µm", "mm", "cm", "m")
#: Names of axes that are not directions in space, whatever their unit.
_NOT_SPACE = re.compile(
    r"t|time|frames?|c|ch|channels?|w|wavelengths?|s|scenes?|series|p|pos|positions?|b|batch"
    r"|l|lambda|diffusion time.*",
    re.IGNORECASE,
)
#: Axis label that napari gives to an axis without a name.
_NAMELESS = re.compile(r"-\d+")


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
        Sample distance [unit].
    unit
        A pint unit.
    is_named
        Whether the axis has a label of its own.
    """

    index: int
    name: str
    size: int
    scale: float
    unit: Any
    is_named: bool

    @property
    def has_length(self) -> bool:
        """Whether the unit is a length, unlike pixel or second."""
        try:
            return unit_name(self.unit) != PIXEL
        except ValueError:
            return False

    @property
    def may_be_space(self) -> bool:
        """Whether neither name nor unit marks the axis as time, channel or position."""
        return not _NOT_SPACE.fullmatch(self.name) and (self.has_length or str(self.unit) == PIXEL)


def array_of(layer: Any) -> Any:
    """Return the array of a layer, lazy if it is lazy; level 0 of a multiscale layer.

    ``np.asarray`` of multiscale data would give the coarsest level.
    """
    return layer.data[0] if layer.multiscale else layer.data


def channel_axis_of(layer: Any) -> int | None:
    """Return the axis of the colour channels, ``None`` without colours."""
    return -1 if layer.rgb else None


def is_nameless(label: str) -> bool:
    """Whether an axis label is the number that napari gives to an axis without a name."""
    return _NAMELESS.fullmatch(label) is not None


def layer_axes(layer: Any) -> tuple[Axis, ...]:
    """Return the axes of an image layer without the colour channels."""
    shape = array_of(layer).shape
    entries = zip(layer.axis_labels, shape[: layer.ndim], layer.scale, layer.units, strict=True)
    axes = []
    for i, (label, n, scale, unit) in enumerate(entries):
        is_named = not is_nameless(label)
        name = label if is_named else f"axis {i}"
        axes.append(Axis(i, name, int(n), abs(float(scale)), unit, is_named))
    return tuple(axes)


def names_of(axes: Sequence[Axis]) -> tuple[str, ...] | None:
    """Return the names of the axes, ``None`` where one has no name or two have the same.

    Names identify the same axes in another image.
    """
    names = tuple(axis.name for axis in axes)
    is_unique = len({name.lower() for name in names}) == len(names)
    return names if is_unique and all(axis.is_named for axis in axes) else None


def diffusing_by_default(axes: Sequence[Axis]) -> tuple[int, ...]:
    """Return the default axes to smooth along: the last three that are space.

    Where some axes have a length as unit, the others are not space. Time and channels never are.
    Without any axis of space, they are the last two axes.
    """
    space = [axis for axis in axes if axis.may_be_space]
    if any(axis.has_length for axis in space):
        space = [axis for axis in space if axis.has_length]
    return tuple(axis.index for axis in (space or axes[-2:])[-3:])


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
