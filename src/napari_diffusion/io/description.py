"""What a file says: one description for the command line, for programs and for the widgets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.core.errors import InputError
from napari_diffusion.core.resources import format_bytes
from napari_diffusion.io.axes import AxisRequest, resolve_axes
from napari_diffusion.io.orientation import directions
from napari_diffusion.io.volume import Volume

#: Values that are read at a time.
_CHUNK = 1 << 24
#: Facts that the brief description has.
_BRIEF = ("format", "voxel size", "time step", "orientation")


def facts_of(volume: Volume, *, values: bool = True) -> dict[str, Any]:
    """Return what is known about a volume, as an object of JSON.

    Parameters
    ----------
    volume
        A volume, or its metadata alone.
    values
        Whether to read the values for their range.
    """
    channels = volume.shape[volume.axes.index("C")] if "C" in volume.axes else 0
    facts: dict[str, Any] = {
        "file": str(volume.path),
        "format": volume.format,
        "axes": list(volume.axes),
        "shape": list(volume.shape),
        "spacing": list(volume.spacing),
        "unit": volume.unit,
        "unit_is_assumed": volume.unit_is_assumed,
        "time_step_s": volume.time_step,
        "channels": list(volume.names_of_channels(channels)),
        "coupled_axis": None if volume.channel_axis is None else volume.axes[volume.channel_axis],
        "dtype": str(volume.stored),
        "scaling": list(volume.scaling),
        "orientation": (
            None
            if volume.affine is None
            else dict(zip("xyz", directions(volume.affine), strict=True))
        ),
        "affine_ras": None if volume.affine is None else volume.affine.tolist(),
        "files": [str(member) for member in volume.members],
        "memory_bytes": math.prod(volume.shape) * volume.data.dtype.itemsize,
    }
    facts |= _range(volume.data) if values else {"min": None, "max": None, "not_finite": 0}
    facts["notes"] = list(volume.notes)
    try:
        assignment = resolve_axes(volume, AxisRequest())
    except InputError as error:
        facts["smoothed_axes"], facts["question"] = None, error
    else:
        facts["smoothed_axes"] = [volume.axes[i] for i in assignment.axes]
        facts["notes"] += assignment.notes
        if volume.unit == "pixel":
            facts["notes"].append("It gives no voxel size; lengths are in pixels.")
    facts["napari"] = _in_napari(volume)
    return facts


def _range(data: Any) -> dict[str, Any]:
    """Return the smallest and the largest value, and how many are not finite, in small parts."""
    low, high, wrong = math.inf, -math.inf, 0
    # The axis that varies slowest in the file comes first, so that the file is read once.
    strides = getattr(data, "strides", (1,))
    slowest = int(np.argmax(np.abs(np.asarray(strides)))) if data.ndim else 0
    count = data.shape[slowest] if data.ndim else 1
    step = max(1, _CHUNK * count // max(1, data.size))
    chunks = getattr(data, "chunks", None)
    if chunks:  # each chunk is read once
        step = -(-step // chunks[0]) * chunks[0]
    before = (slice(None),) * slowest
    for start in range(0, count, step):
        part = np.asarray(data[(*before, slice(start, start + step))] if data.ndim else data)
        finite = part[np.isfinite(part)]
        wrong += part.size - finite.size
        if finite.size:
            low, high = min(low, finite.min().item()), max(high, finite.max().item())
    known = low <= high
    return {"min": low if known else None, "max": high if known else None, "not_finite": wrong}


def _in_napari(volume: Volume) -> str:
    """Return the scale of a layer with this image, in the order of its axes, as a sentence."""
    order = [i for i, letter in enumerate(volume.axes) if letter not in "XYZS"]
    order += [volume.axes.index(letter) for letter in "ZYX" if letter in volume.axes]
    names = ", ".join(volume.axes[i].lower() for i in order)
    scale = ", ".join(f"{volume.spacing[i] or 1:.4g}" for i in order)
    unit = units.symbol(volume.unit)
    return f"axes ({names}), scale ({scale}) in {unit}; the slider moves along the first axes"


def rows_of(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts as names and texts for people, without those that are unknown."""
    letters, shape = facts["axes"], facts["shape"]
    unit = units.symbol(facts["unit"])
    sizes = [
        f"{letter.lower()} {'unknown' if size is None else f'{size:.6g} {unit}'}"
        for letter, size in zip(letters, facts["spacing"], strict=True)
        if letter in "XYZ"
    ]
    rows = [
        ("format", facts["format"]),
        ("axes", ", ".join(f"{a.lower()} {n}" for a, n in zip(letters, shape, strict=True))),
        ("voxel size", ", ".join(sizes) + (" (unit assumed)" if facts["unit_is_assumed"] else "")),
        ("time step", "" if facts["time_step_s"] is None else f"{facts['time_step_s']:.6g} s"),
        ("channels", ", ".join(name or "without a name" for name in facts["channels"])),
        ("coupled", facts["coupled_axis"] or ""),
        ("values", _values_text(facts)),
        ("orientation", _orientation_text(facts["orientation"])),
        ("files", f"{len(facts['files'])}" if facts["files"] else ""),
        ("memory", format_bytes(facts["memory_bytes"])),
        ("smoothed", ", ".join(axis.lower() for axis in facts["smoothed_axes"] or [])),
        ("question", str(facts.get("question", ""))),
        ("in napari", facts["napari"]),
        *(("note", note) for note in facts["notes"]),
    ]
    return [(name, text) for name, text in rows if text]


def in_brief(rows: list[tuple[str, str]]) -> str:
    """Return voxel size, time step, orientation and assumptions of `rows_of` in a line or two.

    Axes and values are left out: they are seen in the image.
    """
    texts = [text for name, text in rows if name in _BRIEF]
    notes = [text for name, text in rows if name == "note"]
    return "\n".join(["; ".join(texts) + ".", *notes])


def _values_text(facts: dict[str, Any]) -> str:
    text = f"{facts['dtype']}"
    if facts["scaling"] != [1.0, 0.0]:
        slope, inter = facts["scaling"]
        text += f" x {slope:g} + {inter:g}"
    if facts["min"] is not None:
        text += f", from {facts['min']:.6g} to {facts['max']:.6g}"
    if facts["not_finite"]:
        text += f", {facts['not_finite']:,} NaN or infinite"
    return text


def _orientation_text(orientation: dict[str, str] | None) -> str:
    if orientation is None:
        return "unknown"
    return ", ".join(f"{axis} to the {place}" for axis, place in orientation.items())
