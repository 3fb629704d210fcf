"""From a napari layer to what the library takes (array, axes, spacing, unit), and from a result to a layer that looks like its source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from napari_diffusion.core.units import length_factor
from napari_diffusion.engine.recipe import Recipe

PIXEL = "pixel"
#: Length units on offer, smallest first; the layer's own is added when it is another one.
LENGTHS = ("nm", "µm", "mm", "cm", "m")
#: Names under which an axis is not a direction in space, whatever its unit says.
_NOT_SPACE = re.compile(
    r"t|time|frames?|c|ch|channels?|w|wavelengths?|s|scenes?|series|p|pos|positions?|b|batch|l|lambda|diffusion time.*",
    re.IGNORECASE,
)
_NAMELESS = re.compile(r"-\d+")


@dataclass(frozen=True)
class Axis:
    """One axis of a layer: its number in the array, name, number of samples, and sample distance ``scale`` × ``unit`` (a pint unit)."""

    index: int
    name: str
    size: int
    scale: float
    unit: Any

    @property
    def has_length(self) -> bool:
        """Whether its unit is a length, not pixel, seconds or anything else."""
        return bool(self.unit.is_compatible_with("m"))

    @property
    def may_be_space(self) -> bool:
        """Whether nothing says that it is time, channel or position."""
        return not _NOT_SPACE.fullmatch(self.name) and (self.has_length or str(self.unit) == PIXEL)


def array_of(layer: Any) -> Any:
    """Return the array of a layer, as lazy as it is: level 0 of a multiscale layer (``np.asarray`` of it would give the coarsest)."""
    return layer.data[0] if layer.multiscale else layer.data


def channel_axis_of(layer: Any) -> int | None:
    """Return the axis of the colour channels."""
    return -1 if layer.rgb else None


def is_nameless(label: str) -> bool:
    """Whether an axis label is napari's own number, which it gives to what has no name."""
    return _NAMELESS.fullmatch(label) is not None


def layer_axes(layer: Any) -> tuple[Axis, ...]:
    """Return the axes of an image layer, the colour channels left out."""
    shape = array_of(layer).shape
    names = (f"axis {i}" if is_nameless(name) else name for i, name in enumerate(layer.axis_labels))
    entries = zip(names, shape[: layer.ndim], layer.scale, layer.units, strict=True)
    return tuple(
        Axis(i, name, int(n), abs(float(scale)), unit)
        for i, (name, n, scale, unit) in enumerate(entries)
    )


def names_of(axes: Sequence[Axis]) -> tuple[str, ...] | None:
    """Return the names of axes that all have one, by which the same axes are found in another image; ``None`` otherwise."""
    return (
        None
        if any(axis.name.startswith("axis ") for axis in axes)
        else tuple(axis.name for axis in axes)
    )


def diffusing_by_default(axes: Sequence[Axis]) -> tuple[int, ...]:
    """Return the axes to smooth along unless the user says otherwise: the last three that are space.

    Where some axes have a length as unit, the others are not space. Time and channels never are; with nothing else left, the last two.
    """
    space = [axis for axis in axes if axis.may_be_space]
    if any(axis.has_length for axis in space):
        space = [axis for axis in space if axis.has_length]
    return tuple(axis.index for axis in (space or axes[-2:])[-3:])


def axes_of_recipe(
    recipe: Recipe, axes: Sequence[Axis], ndim: int | None = None
) -> tuple[int, ...] | None:
    """Return which axes of a layer a recipe means, ``None`` where that cannot be told.

    By name where the layer has them all. By number where the layer has axes without names and as many axes as the recipe's image
    (``ndim``), or where it ends with the same axis.
    """
    here, wanted = (
        [axis.name.lower() for axis in axes],
        [name.lower() for name in recipe.axis_names or ()],
    )
    if wanted and set(wanted) <= set(here):
        return tuple(sorted(here.index(name) for name in wanted))
    if (
        recipe.axes
        and names_of(axes) is None
        and max(recipe.axes) < len(axes)
        and len(axes) in (ndim, max(recipe.axes) + 1)
    ):
        return tuple(sorted(recipe.axes))
    return None


def common_unit(axes: Sequence[Axis]) -> str:
    """Return the unit for the voxel sizes of these axes: that of the last one, or pixel where not all are lengths."""
    return unit_name(axes[-1].unit) if axes and all(axis.has_length for axis in axes) else PIXEL


def size_in(axis: Axis, unit: str) -> float:
    """Return the voxel size along an axis in a unit.

    In pixel it is the bare scale, which is how napari draws layers whose units do not agree; likewise for an axis that has no
    length, such as time, should somebody want to smooth along it.
    """
    ratio = length_conversion(unit_name(axis.unit), unit) if axis.has_length else None
    return axis.scale * (1.0 if ratio is None else ratio) or 1.0


def unit_name(unit: Any) -> str:
    """Return the symbol of a pint unit, such as ``µm``."""
    return f"{unit:~P}"


def recipe_unit(symbol: str) -> str:
    """Return the name that recipes use for a unit: ``micrometer`` for ``µm``."""
    import pint

    registry: Any = pint.get_application_registry()  # type: ignore[no-untyped-call]
    return str(registry.Unit(symbol))


def length_conversion(old: str, new: str) -> float | None:
    """Return how many ``new`` one ``old`` is, or ``None`` where one of them is pixel."""
    if PIXEL in (old, new):
        return None
    # Rounded, so that 0.002 mm is 2 µm and not 2.0000000000000004 µm.
    return 1.0 if old == new else float(f"{length_factor(old, new):.12g}")
