"""What a file holds: which of its axes are smoothed, with which voxel size, and the regions that bound the smoothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion import io
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import Volume, units
from napari_diffusion.io.volume import UNKNOWN


@dataclass(frozen=True)
class Layout:
    """The settled meaning of a file's axes: one letter each, those that are smoothed, their voxel size [unit], the coupled one."""

    letters: str
    axes: tuple[int, ...]
    channel_axis: int | None
    spacing: tuple[float, ...]
    unit: str


def settle(volume: Volume, options: dict[str, Any]) -> Layout:
    """Combine what the file says with ``--axes``, ``--channel-axis``, ``--spacing`` and ``--unit``.

    Raises
    ------
    ValueError
        When both together leave an axis or a voxel size open: a guess might smooth over time.
    """
    letters, axes, channel = _axes(volume, options)
    unit = volume.unit if options.get("unit") is None else units.canonical(options["unit"])
    if options.get("spacing") is not None:
        return Layout(letters, axes, channel, _numbers(options["spacing"], len(axes)), unit)
    try:
        scale = units.factor(volume.unit, unit)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; give --spacing.") from None
    sizes = []
    for i in axes:
        size = 1.0 if volume.spacing[i] is None and volume.unit == "pixel" else volume.spacing[i]
        if size is None:
            raise ValueError(f"{volume.path} gives no voxel size along {letters[i]}; give --spacing, one number per smoothed axis.")
        sizes.append(size * scale)
    return Layout(letters, axes, channel, tuple(sizes), unit)


def with_places(recipe: Recipe, volume: Volume, options: dict[str, Any]) -> dict[str, Any]:
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


def as_settled(volume: Volume, layout: Layout) -> Volume:
    """Return the volume with what the user said about it, for a target that is not a copy of the source's header."""
    known = dict(zip(layout.axes, layout.spacing, strict=True))
    scale = units.factor(volume.unit, layout.unit) if (volume.unit == "pixel") == (layout.unit == "pixel") else None
    rest = [None if size is None or scale is None else size * scale for size in volume.spacing]
    spacing = tuple(known.get(i, rest[i]) if letter in "XYZ" else None for i, letter in enumerate(layout.letters))
    return replace(volume, axes=layout.letters, spacing=spacing, unit=layout.unit)


def check_recipe(recipe: Recipe, layout: Layout, options: dict[str, Any]) -> None:
    """Refuse a recipe for other axes or for labels that are not here; a recipe knows the axes of its array, not of this file."""
    count, here = len(recipe.axes or layout.axes), len(layout.axes)
    if options.get("axes") is None and count != here:
        raise ValueError(f"The recipe smooths along {count} axes and the file has {here} axes of space; say which with --axes.")
    alike = recipe.axes and recipe.axis_names is None and max(recipe.axes) + 1 == len(layout.letters)
    if options.get("axes") is None and alike and set(recipe.axes or ()) != set(layout.axes):
        meant, space = (", ".join(layout.letters[i] for i in axes) for axes in (recipe.axes or (), layout.axes))
        raise ValueError(
            f"The recipe's axes have no names: by number they are {meant} here, and those of space are {space}; say which with --axes."
        )
    if recipe.labels is not None and options.get("labels") is None and options.get("mask") is None:
        raise ValueError(f"The recipe smooths within {recipe.labels!r}: give --labels or --mask, or take its labels out of it.")
    if recipe.channel_axis is not None and layout.channel_axis is None:
        raise ValueError("The recipe couples channels and the file does not say which axis they are; give --channel-axis.")


def _axes(volume: Volume, options: dict[str, Any]) -> tuple[str, tuple[int, ...], int | None]:
    letters = list(volume.axes)
    channel = volume.channel_axis if options.get("channel_axis") is None else _axis(options["channel_axis"], letters, volume)
    unknown = [i for i, letter in enumerate(letters) if letter in UNKNOWN and i != channel]
    if options.get("axes") is None:
        if any(volume.shape[i] > 1 for i in unknown):
            planes = " x ".join(str(volume.shape[i]) for i in unknown)
            raise ValueError(
                f"{volume.path} does not say what its {planes} planes are: give --axes ZYX if they are a stack, "
                "or --axes YX to filter each by itself."
            )
        axes = [i for i in volume.space if i != channel]
    else:
        axes = []
        for token in options["axes"].upper().replace(",", "").replace(" ", ""):
            if token not in letters and token in "XYZ" and unknown:
                letters[unknown.pop()] = token  # the user says what the file does not; a stack's planes vary fastest
            axes.append(_axis(token, letters, volume))
    if not axes or len(set(axes)) < len(axes) or channel in axes:
        named = "".join(letters[i] for i in axes) or "none"
        raise ValueError(f"--axes must name different axes, without the channel axis; got {named} of {', '.join(letters)}.")
    return "".join(letters), tuple(axes), channel


def _axis(token: str, letters: list[str], volume: Volume) -> int:
    token = token.strip().upper()
    if token and token in letters:
        return letters.index(token)
    if token.removeprefix("-").isdecimal() and -len(letters) <= int(token) < len(letters):
        return int(token) % len(letters)
    raise ValueError(f"{volume.path} has no axis {token or 'without a name'}; its axes are {', '.join(letters)}.")


def _numbers(text: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        values = ()
    if len(values) not in (1, count) or not all(math.isfinite(h) and h > 0 for h in values):
        wanted = "one number > 0" if count == 1 else f"one number > 0, or {count} with commas between them, one per smoothed axis"
        raise ValueError(f"--spacing must be {wanted}; got {text!r}.")
    return values * count if len(values) == 1 else values


def regions(name: str, path: Path, letters: str) -> Any:
    """Read a mask or labels, and bring its axes into the order of ``letters``."""
    other = io.read(path)
    data = np.asarray(other.data)
    # The same axes in another order, such as a TIFF mask (z, y, x) of a NIfTI image (x, y, z).
    order = [other.axes.index(letter) for letter in letters if letter in other.axes]
    if len(order) == data.ndim and len(set(other.axes)) == data.ndim:
        data = data.transpose(order)
    whole = data == np.rint(data)
    if not whole.all():
        raise ValueError(f"{path}: {name} must hold whole numbers, got {data[~whole].flat[0]:g}.")
    return data != 0 if name == "mask" else data.astype(np.int64)


def describe(volume: Volume, layout: Layout, recipe: Recipe) -> str:
    """Say in words what is filtered, along which axes, and how."""
    letters, unit = layout.letters, units.symbol(layout.unit)
    shape = " x ".join(f"{letter} {n}" for letter, n in zip(letters, volume.shape, strict=True))
    along = ", ".join(letters[i] for i in layout.axes)
    voxel = " x ".join(f"{h:.4g}" for h in layout.spacing)
    apart = [letters[i] for i in range(len(letters)) if i not in layout.axes and i != layout.channel_axis]
    others = f"; each position along {', '.join(apart)} by itself" if apart else ""
    coupled = "" if layout.channel_axis is None else f"; {letters[layout.channel_axis]} coupled"
    return f"{volume.path}: {shape}, {volume.stored}. Smooths along {along}, voxel {voxel} {unit}{others}{coupled}.\n{recipe.describe()}."
