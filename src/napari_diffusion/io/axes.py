"""What a file holds: which of its axes are smoothed, with which voxel size, and the regions that bound the smoothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from napari_diffusion.core import units
from napari_diffusion.io import Volume
from napari_diffusion.io.volume import UNKNOWN


@dataclass(frozen=True)
class AxisAssignment:
    """The settled meaning of a file's axes: one letter each, those that are smoothed, their voxel size [unit], the coupled one."""

    letters: str
    axes: tuple[int, ...]
    channel_axis: int | None
    spacing: tuple[float, ...]
    unit: str


def resolve_axes(volume: Volume, options: dict[str, Any]) -> AxisAssignment:
    """Combine what the file says with ``--axes``, ``--channel-axis``, ``--spacing`` and ``--unit``.

    Raises
    ------
    ValueError
        When both together leave an axis or a voxel size open: a guess might smooth over time.
    """
    letters, axes, channel = _axes(volume, options)
    unit = volume.unit if options.get("unit") is None else units.canonical(options["unit"])
    if options.get("spacing") is not None:
        return AxisAssignment(letters, axes, channel, _numbers(options["spacing"], len(axes)), unit)
    try:
        scale = units.factor(volume.unit, unit)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; give --spacing.") from None
    sizes = []
    for i in axes:
        size = 1.0 if volume.spacing[i] is None and volume.unit == "pixel" else volume.spacing[i]
        if size is None:
            raise ValueError(
                f"{volume.path} gives no voxel size along {letters[i]}; give --spacing, one number per smoothed axis."
            )
        sizes.append(size * scale)
    return AxisAssignment(letters, axes, channel, tuple(sizes), unit)


def apply_axes(volume: Volume, assignment: AxisAssignment) -> Volume:
    """Return the volume with what the user said about it, for a target that is not a copy of the source's header."""
    known = dict(zip(assignment.axes, assignment.spacing, strict=True))
    scale = (
        units.factor(volume.unit, assignment.unit)
        if (volume.unit == "pixel") == (assignment.unit == "pixel")
        else None
    )
    rest = [None if size is None or scale is None else size * scale for size in volume.spacing]
    spacing = tuple(
        known.get(i, rest[i]) if letter in "XYZ" else None
        for i, letter in enumerate(assignment.letters)
    )
    return replace(volume, axes=assignment.letters, spacing=spacing, unit=assignment.unit)


def _axes(volume: Volume, options: dict[str, Any]) -> tuple[str, tuple[int, ...], int | None]:
    letters = list(volume.axes)
    channel = (
        volume.channel_axis
        if options.get("channel_axis") is None
        else _axis(options["channel_axis"], letters, volume)
    )
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
                letters[unknown.pop()] = (
                    token  # the user says what the file does not; a stack's planes vary fastest
                )
            axes.append(_axis(token, letters, volume))
    if not axes or len(set(axes)) < len(axes) or channel in axes:
        named = "".join(letters[i] for i in axes) or "none"
        raise ValueError(
            f"--axes must name different axes, without the channel axis; got {named} of {', '.join(letters)}."
        )
    return "".join(letters), tuple(axes), channel


def _axis(token: str, letters: list[str], volume: Volume) -> int:
    token = token.strip().upper()
    if token and token in letters:
        return letters.index(token)
    if token.removeprefix("-").isdecimal() and -len(letters) <= int(token) < len(letters):
        return int(token) % len(letters)
    raise ValueError(
        f"{volume.path} has no axis {token or 'without a name'}; its axes are {', '.join(letters)}."
    )


def _numbers(text: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        values = ()
    if len(values) not in (1, count) or not all(math.isfinite(h) and h > 0 for h in values):
        wanted = (
            "one number > 0"
            if count == 1
            else f"one number > 0, or {count} with commas between them, one per smoothed axis"
        )
        raise ValueError(f"--spacing must be {wanted}; got {text!r}.")
    return values * count if len(values) == 1 else values
