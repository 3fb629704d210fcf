"""A napari layer as a volume with the axes, voxel size, unit and place that a file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_diffusion as nd
from napari_diffusion.core import units
from napari_diffusion.core.axes.names import AxisKind, kind_of
from napari_diffusion.ui.layers.axes import (
    Axis,
    array_of,
    channel_weights_of,
    common_unit,
    diffusing_by_default,
    layer_axes,
    layer_matrix,
    length_conversion,
    size_in,
    unit_name,
)
from napari_diffusion.ui.layers.new_layers import METADATA_KEY

if TYPE_CHECKING:
    from napari_diffusion.io.axes import AxisAssignment
    from napari_diffusion.io.volume import Volume

#: Letters of axes of other kinds than space, time and channels.
_OTHERS = "QVUWI"
#: What a file does not hold of the place of a layer.
TURNED = (
    "The layer is rotated, sheared or flipped: the file holds its voxel size and the position of "
    "its first voxel only."
)


@dataclass(frozen=True)
class LayerRecord:
    """What a file holds of an image layer besides its values.

    Attributes
    ----------
    array
        Its array, lazy if it is lazy.
    name, path
        Its name, and the file or the store that it comes from; ``None`` without one that exists.
    axes, origin
        Its axes without colours, and the position of the first voxel in their units.
    colours
        Weights of the colours as in `Geometry`, and whether there are colours.
    is_upright
        Whether its transform consists of a scale above 0 and a translation.
    """

    array: Any
    name: str
    path: Path | None
    axes: tuple[Axis, ...]
    origin: tuple[float, ...]
    colours: tuple[tuple[float | None, ...] | None, bool]
    is_upright: bool

    @classmethod
    def of(cls, layer: Any) -> LayerRecord:
        """Return the record of a layer; its values are not read."""
        matrix = layer_matrix(layer, None)
        linear, origin = matrix[:-1, :-1], matrix[:-1, -1]
        steps = linear.diagonal()
        is_upright = (steps > 0).all() and abs(linear - np.diag(steps)).max() <= 1e-9 * steps.max()
        return cls(
            array_of(layer),
            layer.name,
            _path_of(layer),
            layer_axes(layer),
            tuple(map(float, origin)),
            (channel_weights_of(layer), bool(layer.rgb)),
            bool(is_upright),
        )

    def volume(self, recipe: nd.Recipe | None = None) -> Volume:
        """Return the layer as a volume.

        Parameters
        ----------
        recipe
            Recipe of a run on the layer, whose axes, voxel size and unit are those of the volume.
            Without it, they are those of the layer.
        """
        from napari_diffusion.io.ome_zarr import ZarrHeader
        from napari_diffusion.io.volume import Volume

        axes, (weights, has_colours) = self.axes, self.colours
        if recipe is None:
            chosen, sizes = diffusing_by_default(axes), dict[int, float]()
            unit = common_unit([axes[i] for i in chosen])
        else:
            chosen, unit = tuple(recipe.axes or ()), units.symbol(recipe.unit)
            sizes = dict(zip(chosen, map(float, recipe.spacing or ()), strict=True))
        letters = letters_of(axes, chosen)
        spacing: list[float | None] = [
            sizes.get(axis.index, size_in(axis, unit)) if letter in "XYZ" else None
            for axis, letter in zip(axes, letters, strict=True)
        ]
        origin = [
            start * (length_conversion(unit_name(axis.unit), unit) if axis.has_length else 1.0)
            for start, axis in zip(self.origin, axes, strict=True)
        ]
        return Volume(
            self.array,
            letters + ("S" if has_colours else ""),
            (*spacing, *([None] if has_colours else [])),
            units.canonical(unit),
            channel_axis=len(axes) if has_colours else None,
            time_step=next((_seconds(axis) for axis in axes if letters[axis.index] == "T"), None),
            header=ZarrHeader(self.name, None, (*origin, *([0.0] if has_colours else []))),
            path=self.path,
            alpha=None if weights is None else len(weights) - 1,
            notes=() if self.is_upright else (TURNED,),
        )

    def assignment(self, volume: Volume, recipe: nd.Recipe) -> AxisAssignment:
        """Return the roles of the axes in a run with a recipe, whose volume is given."""
        from napari_diffusion.io.axes import AxisAssignment

        return AxisAssignment(
            volume.axes,
            tuple(recipe.axes or ()),
            volume.channel_axis,
            tuple(map(float, recipe.spacing or ())),
            volume.unit,
            self.colours[0],
        )


def _path_of(layer: Any) -> Path | None:
    """Return the file or the store of a layer; ``None`` without one that exists.

    That of a result is the store that its run has written.
    """
    provenance = layer.metadata.get(METADATA_KEY)
    own = provenance.get("path") if isinstance(provenance, dict) else None
    path = own or layer.source.path
    return Path(path).absolute() if isinstance(path, str) and Path(path).exists() else None


def letters_of(axes: Sequence[Axis], chosen: Sequence[int]) -> str:
    """Return a letter for each axis: z, y, x, t, c, or another one for axes of other kinds.

    Parameters
    ----------
    axes
        All axes of a layer.
    chosen
        Axes of space; those without such names are the last of z, y, x in this order.
    """
    own = {i: axes[i].name.strip().upper() for i in chosen}
    letters = dict.fromkeys(range(len(axes)), "")
    if all(name in [*"ZYX"] for name in own.values()) and len({*own.values()}) == len(own):
        letters |= own
    else:
        letters |= dict(zip(sorted(chosen), "ZYX"[-len(chosen) :], strict=False))
    free = iter(_OTHERS)
    for axis in axes:
        if not letters[axis.index]:
            letter = _letter_of(axis)
            is_free = letter is not None and letter not in letters.values()
            letters[axis.index] = letter if letter is not None and is_free else next(free)
    return "".join(letters[i] for i in range(len(axes)))


def _letter_of(axis: Axis) -> str | None:
    """Return the letter that name or unit of an axis gives, ``None`` without one."""
    kind = kind_of(axis.name) if axis.is_named else AxisKind.UNKNOWN
    if kind is AxisKind.SPACE:
        letter = axis.name.strip().upper()
        return letter if letter in [*"ZYX"] else None
    if kind is AxisKind.UNKNOWN and _seconds(axis) is not None:
        return "T"
    return {AxisKind.TIME: "T", AxisKind.CHANNEL: "C"}.get(kind)


def _seconds(axis: Axis) -> float | None:
    """Return the distance of two samples of an axis of time [s]; ``None`` without a unit of it."""
    from napari_diffusion.io.time_units import seconds

    factor = None if axis.has_length else seconds(f"{axis.unit:~}")
    return None if factor is None else axis.scale * factor
