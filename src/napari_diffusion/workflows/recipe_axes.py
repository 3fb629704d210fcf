"""What a file holds: which of its axes are smoothed, with which voxel size, and the regions that bound the smoothing."""

from __future__ import annotations

from typing import Any

from napari_diffusion.core import units
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment
from napari_diffusion.io.volume import UNKNOWN


def axes_from_recipe(recipe: Recipe, volume: Volume, options: dict[str, Any]) -> dict[str, Any]:
    """Add axes and voxel size of a recipe to the options, where neither the user nor the file says otherwise.

    Axes are found by name where the file has them all. By number where neither has names and both end with the same axis: stacks as plain
    TIFF and NumPy files hold them. The voxel size of a recipe in pixel is that of a file that has none and counts its axes as arrays do.
    """
    sizes, letters = recipe.spacing or (), [letter for letter in volume.axes if letter in "XYZ"]
    if options.get("axes") is None:
        names = [name.upper() for name in recipe.axis_names or ()]
        places = [i for i in range(len(volume.axes)) if i != volume.channel_axis]
        nameless = any(volume.axes[i] in UNKNOWN and volume.shape[i] > 1 for i in places)
        if names and all(name in list(volume.axes) for name in names):
            options = options | {"axes": ",".join(names)}
        elif nameless and recipe.axes and not names and max(recipe.axes) == max(places):
            options = options | {"axes": ",".join(map(str, recipe.axes))}
        elif len(letters) != len(sizes) or letters != sorted(letters, reverse=True):
            sizes = ()
        unsized = recipe.unit == volume.unit == "pixel" and {*volume.spacing} <= {None, 1.0}
        if sizes and unsized and options.get("spacing") is None and options.get("unit") is None:
            options = options | {"spacing": ",".join(map(repr, sizes))}
    return options


def check_recipe(recipe: Recipe, assignment: AxisAssignment, options: dict[str, Any]) -> None:
    """Refuse a recipe for other axes or for labels that are not here; a recipe knows the axes of its array, not of this file."""
    count, here = len(recipe.axes or assignment.axes), len(assignment.axes)
    if options.get("axes") is None and count != here:
        raise ValueError(
            f"The recipe smooths along {count} axes and the file has {here} axes of space; say which with --axes."
        )
    alike = (
        recipe.axes
        and recipe.axis_names is None
        and max(recipe.axes) + 1 == len(assignment.letters)
    )
    if options.get("axes") is None and alike and set(recipe.axes or ()) != set(assignment.axes):
        meant, space = (
            ", ".join(assignment.letters[i] for i in axes)
            for axes in (recipe.axes or (), assignment.axes)
        )
        raise ValueError(
            f"The recipe's axes have no names: by number they are {meant} here, and those of space are {space}; say which with --axes."
        )
    if recipe.labels is not None and options.get("labels") is None and options.get("mask") is None:
        raise ValueError(
            f"The recipe smooths within {recipe.labels!r}: give --labels or --mask, or take its labels out of it."
        )
    if recipe.channel_axis is not None and assignment.channel_axis is None:
        raise ValueError(
            "The recipe couples channels and the file does not say which axis they are; give --channel-axis."
        )


def describe(volume: Volume, assignment: AxisAssignment, recipe: Recipe) -> str:
    """Say in words what is filtered, along which axes, and how."""
    letters, unit = assignment.letters, units.symbol(assignment.unit)
    shape = " x ".join(f"{letter} {n}" for letter, n in zip(letters, volume.shape, strict=True))
    along = ", ".join(letters[i] for i in assignment.axes)
    voxel = " x ".join(f"{h:.4g}" for h in assignment.spacing)
    apart = [
        letters[i]
        for i in range(len(letters))
        if i not in assignment.axes and i != assignment.channel_axis
    ]
    others = f"; each position along {', '.join(apart)} by itself" if apart else ""
    coupled = (
        "" if assignment.channel_axis is None else f"; {letters[assignment.channel_axis]} coupled"
    )
    return f"{volume.path}: {shape}, {volume.stored}. Smooths along {along}, voxel {voxel} {unit}{others}{coupled}.\n{recipe.describe()}."
