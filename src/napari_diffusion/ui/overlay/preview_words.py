"""Sentences about a preview for the two lines below its controls.

They fit into these lines in a narrow dock: a third line would move the drawers.
"""

from __future__ import annotations

from collections.abc import Sequence

from napari_diffusion.ui.overlay.visible_region import Part
from napari_diffusion.ui.run.panel import duration

STARTING_VALUES = "Starting values."
COMPUTING = "Computing… Less smoothing or a smaller preview (Preferences) is faster."


def describe_part(
    part: Part, shown: Sequence[int], ndim: int, region: tuple[slice, ...] | None = None
) -> str:
    """Return what a preview covers.

    Parameters
    ----------
    part
        The previewed part.
    shown
        Axes of the layer that are on screen.
    ndim
        Number of axes of the layer.
    region
        The region of interest, ``None`` for the whole image.
    """
    sizes = [part.region[axis].stop - part.region[axis].start for axis in shown]
    planes = [part.region[i].stop - part.region[i].start for i in range(ndim) if i not in shown]
    is_plane = len(shown) < 3 or 1 in sizes
    if part.whole:
        if len(shown) == 3:
            return "this plane" if is_plane else "the whole volume"
        thick = max(planes, default=1)
        if thick > 1:
            return f"this thick slice ({thick} planes)"
        return "this slice" if ndim > 2 else "this image"
    sides = " × ".join(str(size) for size in sizes if size > 1)
    unit = "pixels" if is_plane else "voxels"
    if region is not None and all(part.region[i] == region[i] for i in shown):
        return f"the region, {sides} {unit}"
    return f"the central {sides} {unit}"


def describe_exact(place: str, seconds: float, measuring: bool = False) -> str:
    """Return the sentence on an exact preview of a place, made in some seconds.

    ``measuring`` says whether the values are starting values, because the noise is being measured.
    """
    note = f" {STARTING_VALUES}" if measuring else ""
    return f"Exact preview of {place} ({seconds:.2g} s).{note}"


def describe_draft(place: str, remaining: float | None, measuring: bool = False) -> str:
    """Return the sentence on a draft of a place; ``remaining`` is the time to the exact one [s]."""
    if measuring:
        return f"Quick draft of {place}. {STARTING_VALUES}"
    when = "follows" if remaining is None else f"in about {duration(remaining)}"
    return f"Quick draft of {place}; exact preview {when}."


def describe_compilation(place: str, model: str) -> str:
    """Return the sentence on a preview that waits for the compiler.

    Parameters
    ----------
    place
        What the draft covers that is shown meanwhile, empty without one.
    model
        Title of the model.
    """
    if place:
        return f"Quick draft of {place}. Compiling once, about 10 s…"
    return f"First use: compiling {model} (once, about 10 s)…"
