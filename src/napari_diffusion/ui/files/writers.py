"""Writers for napari's *Save*: OME-Zarr and OME-TIFF with voxel size, units, channels and recipe.

Several layers on the same voxels become the channels of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_diffusion as nd
from napari_diffusion.core.arrays import as_lazy_array
from napari_diffusion.core.errors import InputError, Remedy, TargetExists, WriteError, reason_of
from napari_diffusion.ui.files.layer_volume import LayerRecord
from napari_diffusion.ui.layers.new_layers import METADATA_KEY

if TYPE_CHECKING:
    from napari_diffusion.io.volume import Volume

#: Data, attributes and type of a layer, as napari passes them to a writer.
LayerTuple = tuple[Any, dict[str, Any], str]


def write_ome_zarr(path: str, layers: Sequence[LayerTuple]) -> list[str]:
    """Write image layers as one OME-Zarr 0.5 with a pyramid; lazy layers are read in parts."""
    return _write(path, layers, (".ome.zarr", ".zarr"))


def write_ome_tiff(path: str, layers: Sequence[LayerTuple]) -> list[str]:
    """Write image layers as one OME-TIFF."""
    return _write(path, layers, (".ome.tif", ".ome.tiff"))


def _write(path: str, layers: Sequence[LayerTuple], suffixes: tuple[str, ...]) -> list[str]:
    """Write layers to a file, whose name gets the first suffix if it has none of them.

    napari takes a ValueError for a missing writer, and does not show it.
    """
    target = Path(path)
    if not target.name.lower().endswith(suffixes):
        target = target.with_name(target.name + suffixes[0])
    try:
        _write_to(target, layers)
    except ValueError as error:
        remedy = error.remedy if isinstance(error, InputError) else None
        raise WriteError(reason_of(error), remedy, target) from error
    return [str(target)]


def _write_to(target: Path, layers: Sequence[LayerTuple]) -> None:
    from napari.layers import Image
    from napari.utils.notifications import show_warning

    from napari_diffusion import io

    if target.exists() and not all(isinstance(data, np.ndarray) for data, *_ in layers):
        # The store may be that of the layer, whose chunks would be gone.
        reason = "exists already, and a layer that is read from the disk does not replace a file"
        raise TargetExists(reason, Remedy.CHOOSE_ANOTHER_NAME, target)
    images = [Image(data, **attributes) for data, attributes, _ in layers]
    records = [LayerRecord.of(image) for image in images]
    volume = records[0].volume() if len(images) == 1 else _channels(images, records)
    recipes = [_recipe_of(image) for image in images]
    recipe = _common_recipe(recipes)
    notes = [*volume.notes]
    if recipe is None and any(recipes):
        notes.append("The layers have different recipes, and the file keeps none of them.")
    io.write(target, volume.data, volume, recipe, overwrite=True)
    if recipe is None:
        io.sidecar_of(target).unlink(missing_ok=True)  # of the image that was replaced
    for note in notes:
        show_warning(f"{target.name}: {note}")


def _recipe_of(layer: Any) -> nd.Recipe | None:
    """Return the recipe of a result; ``None`` for other layers."""
    provenance = layer.metadata.get(METADATA_KEY)
    plain = provenance.get("recipe") if isinstance(provenance, dict) else None
    try:
        return None if plain is None else nd.Recipe.from_dict(plain)
    except (TypeError, ValueError):  # not one of ours
        return None


def _common_recipe(recipes: Sequence[nd.Recipe | None]) -> nd.Recipe | None:
    """Return the recipe that all layers have, with all devices that computed them."""
    names = dict.fromkeys(name for each in recipes if each for name in each.computed_on)
    same = [None if each is None else each.on_devices(()) for each in recipes]
    first = same[0]
    return first.on_devices(tuple(names)) if first and all(e == first for e in same) else None


def _channels(images: Sequence[Any], records: Sequence[LayerRecord]) -> Volume:
    """Return layers as the channels of one volume."""
    from napari_diffusion.io.ome_zarr import ZarrHeader

    volumes = [record.volume() for record in records]
    first = volumes[0]
    for other in volumes[1:]:
        if _grid_of(other) != _grid_of(first) or other.data.dtype != first.data.dtype:
            raise InputError(
                f"{images[0].name} and the other layers differ in voxels, place or data type, and "
                "channels of one image have the same",
                Remedy.SAVE_ONE_BY_ONE,
            )
    if "C" in first.axes or "S" in first.axes:
        raise InputError(f"{images[0].name} has channels of its own", Remedy.SAVE_ONE_BY_ONE)
    header: ZarrHeader = first.header
    return replace(
        first,
        data=Stack([as_lazy_array(volume.data, "the layer") for volume in volumes]),
        axes="C" + first.axes,
        spacing=(None, *first.spacing),
        channel_names=tuple(image.name for image in images),
        header=ZarrHeader(
            None,
            {"channels": [_omero_channel(image) for image in images]},
            (0.0, *header.translation),
        ),
    )


def _grid_of(volume: Volume) -> tuple[Any, ...]:
    return (
        volume.shape,
        volume.axes,
        volume.spacing,
        volume.unit,
        volume.time_step,
        volume.header.translation,
    )


def _omero_channel(image: Any) -> dict[str, Any]:
    """Return name, colour and contrast of a layer as OME-Zarr holds them."""
    low, high = map(float, image.contrast_limits)
    lowest, highest = map(float, image.contrast_limits_range)
    red, green, blue = (round(255 * float(part)) for part in image.colormap.colors[-1][:3])
    return {
        "label": image.name,
        "color": f"{red:02X}{green:02X}{blue:02X}",
        "active": bool(image.visible),
        "window": {"min": lowest, "start": low, "end": high, "max": highest},
    }


class Stack:
    """Arrays along a new first axis, which are read where they are indexed.

    Attributes
    ----------
    arrays
        Arrays of the same shape and data type.
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays, self.dtype = arrays, np.dtype(arrays[0].dtype)
        self.shape = (len(arrays), *map(int, arrays[0].shape))
        self.ndim = len(self.shape)

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        """Return a part, a slice for each axis."""
        first, rest = index[0], index[1:]
        return np.stack([np.asarray(array[rest]) for array in self.arrays[first]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Return all values."""
        return np.stack([np.asarray(array, dtype) for array in self.arrays])
