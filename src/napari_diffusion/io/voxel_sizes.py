"""Voxel sizes in several units, as ImageJ and OME give them: conversion to one unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_diffusion.core import units


@dataclass(frozen=True)
class VoxelSizes:
    """Voxel sizes of a file in one unit.

    Attributes
    ----------
    steps
        Voxel size by axis [unit]; an axis without a size is left out.
    unit
        Full name of the unit; ``"pixel"`` when the file has no voxel size.
    remark
        What the file says instead of a size, as a part of a sentence; empty if it says nothing.
    notes
        The remark as a sentence for the user.
    """

    steps: dict[str, float]
    unit: str = "pixel"
    remark: str = ""
    notes: tuple[str, ...] = ()


def in_one_unit(sizes: Mapping[str, tuple[float, str]], known: Mapping[str, str]) -> VoxelSizes:
    """Convert sizes to the first unit that is a length.

    A size in an unknown unit is no size. Neither is one in pixels beside a length: nobody knows the
    length of the pixel.

    Parameters
    ----------
    sizes
        Size of each axis, and its unit as the file writes it.
    known
        Full names of these units; an unknown unit is left out.
    """
    names = {axis: known.get(unit) for axis, (_, unit) in sizes.items()}
    lengths = [name for name in names.values() if name not in (None, "pixel")]
    unit = "pixel"
    if lengths or None in names.values():
        unit = lengths[0] or unit if lengths else "micrometer"
    steps = {
        axis: sizes[axis][0] * units.factor(name, unit)
        for axis, name in names.items()
        if name is not None and (name == "pixel") == (unit == "pixel")
    }
    lost = [axis for axis in names if axis not in steps]
    if not lost:
        return VoxelSizes(steps, unit)
    texts = " and ".join(dict.fromkeys(f"{sizes[axis][1]!r:.40}" for axis in lost))
    remark = f"its voxel size along {' and '.join(lost)} is in {texts}, which is no length"
    return VoxelSizes(steps, unit, remark, (f"{remark[0].upper()}{remark[1:]}.",))
