"""Axes of a file: which of them are smoothed, and with which voxel size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from napari_diffusion.core import units
from napari_diffusion.io import Volume
from napari_diffusion.io.volume import UNKNOWN_AXES


@dataclass(frozen=True)
class AxisAssignment:
    """The role of each axis of a file in a run.

    Attributes
    ----------
    letters
        One letter per axis, as in `Volume.axes`.
    axes
        Axes to smooth along.
    channel_axis
        Axis whose values are coupled, or ``None``.
    spacing
        Voxel size along ``axes`` [unit].
    unit
        Unit of length.
    """

    letters: str
    axes: tuple[int, ...]
    channel_axis: int | None
    spacing: tuple[float, ...]
    unit: str


def resolve_axes(volume: Volume, options: dict[str, Any]) -> AxisAssignment:
    """Combine the metadata of a file with the options of the user.

    Parameters
    ----------
    volume
        The volume that was read.
    options
        Values of ``--axes``, ``--channel-axis``, ``--spacing`` and ``--unit`` by name. They take
        precedence over the metadata.

    Raises
    ------
    ValueError
        When an axis or a voxel size remains unknown: a guess might smooth over time. Also when an
        option does not fit the file.
    """
    letters, axes, channel = _resolve_letters(volume, options)
    unit = volume.unit if options.get("unit") is None else units.canonical(options["unit"])
    if options.get("spacing") is not None:
        spacing = _parse_spacing(options["spacing"], len(axes))
        return AxisAssignment(letters, axes, channel, spacing, unit)
    try:
        scale = units.factor(volume.unit, unit)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; give --spacing.") from None
    sizes = []
    for i in axes:
        size = 1.0 if volume.spacing[i] is None and volume.unit == "pixel" else volume.spacing[i]
        if size is None:
            raise ValueError(
                f"{volume.path} gives no voxel size along {letters[i]}; "
                "give --spacing, one number per smoothed axis."
            )
        sizes.append(size * scale)
    return AxisAssignment(letters, axes, channel, tuple(sizes), unit)


def apply_axes(volume: Volume, assignment: AxisAssignment) -> Volume:
    """Return the volume with the letters, the voxel size and the unit of an assignment.

    They matter for a target whose header is not a copy of the source's header.
    """
    assigned = dict(zip(assignment.axes, assignment.spacing, strict=True))
    scale = None
    if (volume.unit == "pixel") == (assignment.unit == "pixel"):
        scale = units.factor(volume.unit, assignment.unit)
    own = [None if size is None or scale is None else size * scale for size in volume.spacing]
    spacing = tuple(
        assigned.get(i, own[i]) if letter in "XYZ" else None
        for i, letter in enumerate(assignment.letters)
    )
    return replace(volume, axes=assignment.letters, spacing=spacing, unit=assignment.unit)


def _resolve_letters(
    volume: Volume, options: dict[str, Any]
) -> tuple[str, tuple[int, ...], int | None]:
    """Return the letters of all axes, the axes to smooth along, and the channel axis."""
    letters = list(volume.axes)
    channel = volume.channel_axis
    if options.get("channel_axis") is not None:
        channel = _axis_index(options["channel_axis"], letters, volume)
    unknown = [i for i, letter in enumerate(letters) if letter in UNKNOWN_AXES and i != channel]
    if options.get("axes") is None:
        if any(volume.shape[i] > 1 for i in unknown):
            planes = " x ".join(str(volume.shape[i]) for i in unknown)
            raise ValueError(
                f"{volume.path} does not say what its {planes} planes are: "
                "give --axes ZYX if they are a stack, or --axes YX to filter each by itself."
            )
        axes = [i for i in volume.space if i != channel]
    else:
        axes = []
        for token in options["axes"].upper().replace(",", "").replace(" ", ""):
            if token not in letters and token in "XYZ" and unknown:
                # The last unknown axis gets the letter: planes of a stack vary faster than frames.
                letters[unknown.pop()] = token
            axes.append(_axis_index(token, letters, volume))
    if not axes or len(set(axes)) < len(axes) or channel in axes:
        named = "".join(letters[i] for i in axes) or "none"
        raise ValueError(
            "--axes must name different axes, without the channel axis; "
            f"got {named} of {', '.join(letters)}."
        )
    return "".join(letters), tuple(axes), channel


def _axis_index(token: str, letters: list[str], volume: Volume) -> int:
    """Return the index of an axis that is given by its letter or its number."""
    token = token.strip().upper()
    if token and token in letters:
        return letters.index(token)
    if token.removeprefix("-").isdecimal() and -len(letters) <= int(token) < len(letters):
        return int(token) % len(letters)
    raise ValueError(
        f"{volume.path} has no axis {token or 'without a name'}; its axes are {', '.join(letters)}."
    )


def _parse_spacing(text: str, count: int) -> tuple[float, ...]:
    """Parse ``--spacing`` to ``count`` voxel sizes; a single number holds for all axes."""
    try:
        values = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        values = ()
    if len(values) not in (1, count) or not all(math.isfinite(h) and h > 0 for h in values):
        expected = "one number > 0"
        if count > 1:
            expected += f", or {count} with commas between them, one per smoothed axis"
        raise ValueError(f"--spacing must be {expected}; got {text!r}.")
    return values * count if len(values) == 1 else values
