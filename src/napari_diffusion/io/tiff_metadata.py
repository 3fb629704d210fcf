"""Voxel size, time step, channel names and calibration of a TIFF that is not OME."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.io.tiff_header import CENTIMETER, INCH, TiffHeader
from napari_diffusion.io.time_units import seconds
from napari_diffusion.io.voxel_sizes import VoxelSizes, in_one_unit

#: A character as ImageJ writes it where it is not ASCII.
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")


def voxel_fields(header: TiffHeader, axes: str) -> dict[str, Any]:
    """Return spacing, unit, time step, notes and remark of a `Volume`, by their names."""
    sizes = map(_pixel_size, header.resolution or ())
    steps = {letter: step for letter, step in zip("XY", sizes, strict=False) if step}
    fields: dict[str, Any] = {}
    if header.kind == "imagej":
        voxel = _imagej_sizes(header, steps, axes)
        fields = _time_fields(header)
    elif header.resolution_unit == CENTIMETER and len(steps) == 2:
        scale = units.factor("centimeter", "micrometer")
        voxel = VoxelSizes({a: step * scale for a, step in steps.items()}, "micrometer")
    else:
        # A resolution in dots per inch is the size in print, not the size of a voxel.
        voxel = VoxelSizes(dict.fromkeys("XYZ", 1.0))
    spacing = tuple(voxel.steps.get(letter) if letter in "XYZ" else None for letter in axes)
    notes = (*voxel.notes, *fields.pop("notes", ()))
    fields |= {"spacing": spacing, "unit": voxel.unit, "size_remark": voxel.remark, "notes": notes}
    return fields


def _imagej_sizes(header: TiffHeader, steps: dict[str, float], axes: str) -> VoxelSizes:
    """Return the voxel sizes of an ImageJ file.

    ImageJ writes the unit of x, and those of y and z where they differ. A unit that is no length
    counts as the pixel.
    """
    metadata = header.metadata
    unit = metadata.get("unit")
    if unit is None:
        unit = "cm" if header.resolution_unit == CENTIMETER else "pixel"
        if header.resolution_unit == INCH:  # dots per inch are the size in print
            steps = {}
    names = [str(name) for name in (unit, metadata.get("yunit", unit), metadata.get("zunit", unit))]
    depth = abs(_number(metadata.get("spacing")) or 1.0)
    sizes = [steps.get("X", 1.0), steps.get("Y", 1.0), depth]
    own = dict(zip("XYZ", zip(sizes, names, strict=True), strict=True))
    own = {letter: size for letter, size in own.items() if letter in axes}
    return in_one_unit(own, {name: _length(name) for name in names})


def _time_fields(header: TiffHeader) -> dict[str, Any]:
    """Return the time step of an ImageJ file, and a note if its unit is not known."""
    time, unit = _number(header.metadata.get("finterval")), header.metadata.get("tunit", "sec")
    if not time:
        return {"time_step": None}
    scale = seconds(str(unit))
    if scale is None:
        note = f"Its frame interval is in {unit!r:.40}, which is no unit of time known here."
        return {"time_step": None, "notes": (note,)}
    return {"time_step": time * scale}


def _length(name: str) -> str:
    """Return the full name of a unit of length, and the pixel for all other text."""
    try:
        return units.canonical(_ESCAPED.sub(lambda match: chr(int(match[1], 16)), name))
    except ValueError:
        return "pixel"


def _number(value: Any) -> float | None:
    """Return a finite number of the metadata, ``None`` for all else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _pixel_size(resolution: Any) -> float:
    """Return the inverse of a resolution, a number or a fraction; 0 for a resolution of 0."""
    numerator, denominator = resolution if isinstance(resolution, tuple) else (resolution, 1)
    size = float(denominator) / float(numerator) if numerator else 0.0
    return size if 0 < size < math.inf else 0.0


def channel_names(header: TiffHeader, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names along axis C, from the OME key "Channel" or from the labels of ImageJ."""
    if "C" not in axes:
        return ()
    channels = shape[axes.index("C")]
    channel = header.metadata.get("Channel")
    names = _first_lines(channel.get("Name")) if isinstance(channel, dict) else []
    if not any(names):
        names = _names_from_labels(_first_lines(header.metadata.get("Labels")), axes, shape)
    if not any(names) or len(names) > channels:
        return ()
    return (*names, *[""] * (channels - len(names)))


def _names_from_labels(labels: list[str], axes: str, shape: tuple[int, ...]) -> list[str]:
    """Return channel names from ImageJ labels: one label per channel, or one per plane.

    With one label per plane, a channel has a name if all its planes have the same label.
    """
    while labels and not labels[-1]:  # ImageJ pads a short list with empty labels
        labels = labels[:-1]
    plane_axes = [i for i, letter in enumerate(axes) if letter not in "YXS"]
    planes = [shape[i] for i in plane_axes]
    if len(labels) != math.prod(planes):
        return labels
    place = plane_axes.index(axes.index("C"))
    by_channel = np.moveaxis(np.reshape(labels, planes), place, 0).reshape(planes[place], -1)
    return [str(row[0]) if (row == row[0]).all() else "" for row in by_channel]


def _first_lines(texts: Any) -> list[str]:
    """Return the first line of each text: further lines of an ImageJ label are remarks.

    The list is empty if ``texts`` is neither a text nor a list of texts.
    """
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        return []
    return [text.strip().partition("\n")[0].strip() for text in texts]


def calibration(header: TiffHeader) -> tuple[float, float]:
    """Return slope and intercept of ImageJ's linear calibration.

    ImageJ stores signed 16-bit images as unsigned numbers with such a calibration.
    """
    metadata = header.metadata
    slope, inter = _number(metadata.get("c1")), _number(metadata.get("c0"))
    linear = metadata.get("cf") == 0 and slope is not None and inter is not None
    if header.kind != "imagej" or not linear or slope is None or inter is None:
        return 1.0, 0.0
    return slope, inter
