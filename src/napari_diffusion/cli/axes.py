"""The options that say something about the axes of a file: their text, and the typed request."""

from __future__ import annotations

import math
import re
from typing import Any

import click

from napari_diffusion.io.axes import AxisRequest

_NUMBER = re.compile(r"-?\d+")


def axis_request(options: dict[str, Any]) -> AxisRequest:
    """Read ``--axes``, ``--channel-axis``, ``--spacing`` and ``--unit``.

    Parameters
    ----------
    options
        Options of the command ``run`` by name; absent ones have their defaults.

    Raises
    ------
    click.UsageError
        When the text of an option cannot be read.
    """
    axes, channel_axis = options.get("axes"), options.get("channel_axis")
    spacing = options.get("spacing")
    return AxisRequest(
        None if axes is None else _read_axes(axes),
        None if channel_axis is None else _read_axis(channel_axis),
        None if spacing is None else _read_spacing(spacing),
        options.get("unit"),
    )


def _read_axes(text: str) -> tuple[str | int, ...]:
    """Read axes such as ``ZYX``, ``z,y,x``, ``012`` or ``0,1,-1``.

    Digits without a comma or a space between them are one axis each.
    """
    words = text.replace(",", " ").split()
    axes: list[str | int] = []
    for word in words:
        if _NUMBER.fullmatch(word) and (len(words) > 1 or int(word) < 0):
            axes.append(int(word))
        elif word.isalnum():
            axes += [int(sign) if sign.isdecimal() else sign.upper() for sign in word]
        else:
            axes = []
            break
    if not axes:
        raise click.UsageError(
            f"--axes must be letters such as ZYX or numbers such as 0,1; got {text!r}."
        )
    return tuple(axes)


def _read_axis(text: str) -> str | int:
    """Read one axis, a letter or a number."""
    word = text.strip()
    if _NUMBER.fullmatch(word):
        return int(word)
    if len(word) == 1 and word.isalpha():
        return word.upper()
    raise click.UsageError(
        f"--channel-axis must be a letter such as C or a number such as 0; got {text!r}."
    )


def _read_spacing(text: str) -> tuple[float, ...]:
    """Read voxel sizes such as ``2`` or ``2,0.5,0.5``."""
    try:
        sizes = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        sizes = ()
    if not sizes or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise click.UsageError(
            "--spacing must be one number > 0, or one per smoothed axis as in 2,0.5,0.5; "
            f"got {text!r}."
        )
    return sizes
