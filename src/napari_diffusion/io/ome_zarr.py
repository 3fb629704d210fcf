"""Zarr stores: OME-Zarr images (0.1 to 0.5) and plain arrays are read, OME-Zarr 0.5 is written.

An image is a folder with an array for each level of its pyramid. Level 0 is read, chunk by chunk.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.time_units import seconds
from napari_diffusion.io.volume import Format, Volume, require
from napari_diffusion.io.zarr_pyramid import Pyramid, level_of_region, pyramid_like, write_group

#: Letters of the axes without a name before the last three: other kinds than channels or time.
_LEADING = "VUWQI"
#: Files of which one stands in every folder of a store.
_NODE_FILES = ("zarr.json", ".zgroup", ".zarray")
#: Key of the attributes of this package.
OWN_KEY = "napari-diffusion"


@dataclass(frozen=True)
class ZarrHeader:
    """Metadata of an OME-Zarr image that a result keeps.

    Attributes
    ----------
    name
        Name of the image, or ``None``.
    omero
        Names, colours and contrast of the channels, or ``None``.
    translation
        Position of the first voxel, per axis, in the unit of the axis.
    """

    name: str | None = None
    omero: dict[str, Any] | None = None
    translation: tuple[float, ...] = ()


def is_store(path: Path) -> bool:
    """Whether a folder is a group or an array of zarr."""
    return path.is_dir() and any((path / name).is_file() for name in _NODE_FILES)


def metadata_file(data: Any) -> Path | None:
    """Return the file of the metadata of an array of zarr on a disk; ``None`` for other arrays.

    A chunk that is missing reads as zeros. Without this file, the whole array is missing.
    """
    root: Any = getattr(getattr(data, "store", None), "root", None)
    if root is None or not hasattr(data, "metadata"):
        return None
    name = "zarr.json" if data.metadata.zarr_format == 3 else ".zarray"
    return Path(root) / str(data.path) / name


def images_in(path: Path) -> tuple[str, ...]:
    """Return the paths of the images in a plate or a set of series; empty for a single image.

    They are relative to the folder, in the order of the metadata.
    """
    zarr = require("zarr", "Zarr stores", "zarr")
    node = zarr.open(str(path), mode="r")
    if not isinstance(node, zarr.Group):
        return ()
    attributes = _ome_attributes(node)
    if "plate" in attributes:
        wells = [str(well["path"]) for well in attributes["plate"]["wells"]]
        return tuple(
            f"{well}/{field['path']}"
            for well in wells
            for field in _ome_attributes(node[well])["well"]["images"]
        )
    if "well" in attributes:
        return tuple(str(field["path"]) for field in attributes["well"]["images"])
    if "bioformats2raw.layout" in attributes:
        if "OME" in node and "series" in _ome_attributes(node["OME"]):
            return tuple(map(str, _ome_attributes(node["OME"])["series"]))
        return tuple(sorted((name for name, _ in node.groups() if name.isdecimal()), key=int))
    return ()


def groups_of(path: Path) -> dict[str, dict[str, Any]]:
    """Return the attributes of the groups above the images of a plate or a set of series.

    They are those of OME-Zarr 0.5, by the path of the group, which is empty for the folder itself.

    Raises
    ------
    InputError
        When an image would be outside of the folder.
    """
    zarr = require("zarr", "Zarr stores", "zarr")
    node = zarr.open(str(path), mode="r")
    images = images_in(path)
    for image in images:
        parts = PurePosixPath(image).parts
        if not parts or PurePosixPath(image).is_absolute() or ".." in parts:
            raise InputError(f"it names an image outside of its folder, {image!r}", path=path)
    names = {str(folder) for image in images for folder in PurePosixPath(image).parents}
    groups: dict[str, dict[str, Any]] = {}
    for name in sorted("" if name == "." else name for name in names):
        own = _ome_attributes(node[name] if name else node)
        kept = {key: own[key] for key in ("plate", "well", "bioformats2raw.layout") if key in own}
        for kind in ("plate", "well"):
            if kind in kept:
                kept[kind] = {k: v for k, v in kept[kind].items() if k != "version"}
        groups[name] = {"ome": {"version": "0.5", **kept}} if kept else {}
    if "bioformats2raw.layout" in groups[""].get("ome", {}) and "plate" not in groups[""]["ome"]:
        groups["OME"] = {"ome": {"version": "0.5", "series": list(images)}}
    return groups


def copy_labels(image: Path, target: Path) -> None:
    """Copy the labels inside an image of OME-Zarr 0.5 into its result, unless they are there.

    Those of an older version are left out: a store has one version.
    """
    labels, final = image / "labels", target / "labels"
    if not (labels / "zarr.json").is_file() or final.exists():
        return
    temporary = target / ".labels.partial"
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    shutil.copytree(labels, temporary)
    os.replace(temporary, final)


def _ome_attributes(node: Any) -> dict[str, Any]:
    attributes = dict(node.attrs)
    return {**attributes, **attributes.get("ome", {})}


def _read(path: Path) -> Volume:
    zarr = require("zarr", "Zarr stores", "zarr")
    node = zarr.open(str(path), mode="r")
    if not isinstance(node, zarr.Group):
        return _plain(node)
    attributes = _ome_attributes(node)
    multiscales = attributes.get("multiscales")
    if not multiscales:
        series = images_in(path)
        if len(series) == 1:
            return _read(path / series[0])
        if series:
            names = f"{series[0]} to {series[-1]}"
            raise InputError(f"it holds {len(series)} images, {names}", Remedy.NAME_AN_IMAGE)
        arrays = [name for name, _ in node.arrays()]
        if len(arrays) == 1:
            return _plain(node[arrays[0]])
        raise InputError(f"it is a group of {len(arrays)} arrays without an image")
    return _image(node, multiscales[0], attributes.get("omero"))


def _checked(array: Any) -> Any:
    if not array.shape or array.dtype.kind not in "biuf":
        raise InputError(
            f"it holds {len(array.shape)} axes of {array.dtype}, and an image has at least one "
            "axis of numbers"
        )
    return array


def _plain(array: Any) -> Volume:
    """Return an array without metadata: the last three axes are z, y and x, in pixels."""
    array = _checked(array)
    names = getattr(array.metadata, "dimension_names", None) or ()
    letters = _letters([str(name or "") for name in names], len(array.shape))
    spacing = tuple(1.0 if letter in "XYZ" else None for letter in letters)
    return Volume(array, letters, spacing, format=FORMAT.name, stored=array.dtype)


def _letters(names: Sequence[str], count: int) -> str:
    """Return one letter per axis from the names of the axes; without names, z, y and x are last."""
    known = [name.strip().upper() for name in names]
    if len(known) == count and len(set(known)) == count and all(n in [*"TCZYX"] for n in known):
        return "".join(known)
    last = "ZYX"[-min(3, count) :]
    return _LEADING[: count - len(last)] + last


def _image(node: Any, multiscale: Mapping[str, Any], omero: dict[str, Any] | None) -> Volume:
    """Return the first level of an OME-Zarr image."""
    dataset = multiscale["datasets"][0]
    array = _checked(node[str(dataset["path"])])
    ndim = len(array.shape)
    axes = [
        axis if isinstance(axis, Mapping) else {"name": str(axis)}
        for axis in multiscale.get("axes") or list("tczyx"[-ndim:])
    ]
    if len(axes) != ndim:
        raise InputError(f"its array has {ndim} axes, and its metadata name {len(axes)}")
    letters = "".join(_letter(axis, i) for i, axis in enumerate(axes))
    scale, translation = _transform(dataset, multiscale, ndim)
    unit, factors, is_assumed = _unit(axes, letters, scale)
    spacing = tuple(
        h * f if letter in "XYZ" else None
        for h, f, letter in zip(scale, factors, letters, strict=True)
    )
    time_step = None
    if "T" in letters:
        place = letters.index("T")
        per_unit = seconds(str(axes[place].get("unit") or ""))
        time_step = None if per_unit is None else scale[place] * per_unit
    channels = (omero or {}).get("channels") or []
    return Volume(
        array,
        letters,
        spacing,
        unit,
        time_step=time_step,
        channel_names=tuple(str(each.get("label") or "") for each in channels),
        format=FORMAT.name,
        header=ZarrHeader(
            multiscale.get("name") or None,
            omero,
            tuple(t * f for t, f in zip(translation, factors, strict=True)),
        ),
        stored=array.dtype,
        unit_is_assumed=is_assumed,
    )


def _letter(axis: Mapping[str, Any], number: int) -> str:
    name = str(axis.get("name", "")).strip().upper()
    if name in [*"TCZYX"]:
        return name
    kinds = {"time": "T", "channel": "C"}
    return kinds.get(str(axis.get("type")), _LEADING[number % len(_LEADING)])


def _transform(
    dataset: Mapping[str, Any], multiscale: Mapping[str, Any], ndim: int
) -> tuple[list[float], list[float]]:
    """Return scale and translation of a level, those of the whole pyramid included."""
    scale, translation = [1.0] * ndim, [0.0] * ndim
    for owner in (dataset, multiscale):
        for transform in owner.get("coordinateTransformations") or ():
            values = transform.get(transform.get("type"))
            if transform.get("type") not in ("scale", "translation") or len(values) != ndim:
                continue
            if transform["type"] == "scale":
                scale = [h * float(v) for h, v in zip(scale, values, strict=True)]
                translation = [t * float(v) for t, v in zip(translation, values, strict=True)]
            else:
                translation = [t + float(v) for t, v in zip(translation, values, strict=True)]
    return scale, translation


def _unit(
    axes: Sequence[Mapping[str, Any]], letters: str, scale: Sequence[float]
) -> tuple[str, list[float], bool]:
    """Return the unit of length, the factor of each axis to it, and whether it is assumed."""
    factors = [1.0] * len(axes)
    space = [i for i, letter in enumerate(letters) if letter in "XYZ"]
    named = [i for i in space if axes[i].get("unit")]
    if not named:
        is_scaled = any(scale[i] != 1.0 for i in space)
        return ("micrometer", factors, True) if is_scaled else ("pixel", factors, False)
    unit = units.canonical(str(axes[named[-1]]["unit"]))
    for i in named:
        factors[i] = units.factor(units.canonical(str(axes[i]["unit"])), unit)
    return unit, factors, False


def _write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    pyramid = pyramid_like(like, data.dtype)
    pyramid.create(path)
    for level in range(len(pyramid.levels)):
        for region in pyramid.regions(level):
            if level == 0:
                place = tuple(region[pyramid.order.index(i)] for i in range(data.ndim))
                pyramid.write(path, 0, region, np.asarray(data[place]).transpose(pyramid.order))
            else:
                pyramid.write(path, level, region, level_of_region(path, pyramid, level, region))
    finish(path, pyramid, like, recipe)


def finish(path: Path, pyramid: Pyramid, like: Volume, recipe: str) -> None:
    """Write the metadata of a result, which make its folder a store; they come last.

    Parameters
    ----------
    path
        Folder of the result, with all levels.
    pyramid
        Its pyramid.
    like
        The source volume.
    recipe
        JSON text of the recipe, or an empty text.
    """
    header = like.header if isinstance(like.header, ZarrHeader) else ZarrHeader()
    ome = pyramid.metadata(header.name or None)
    ome_channels = channels_of(path, pyramid, like, header)
    if ome_channels is not None:
        ome["omero"] = ome_channels
    attributes: dict[str, Any] = {"ome": ome}
    if recipe:
        attributes[OWN_KEY] = {"recipe": json.loads(recipe)}
    write_group(path, attributes)


def channels_of(
    path: Path, pyramid: Pyramid, like: Volume, header: ZarrHeader
) -> dict[str, Any] | None:
    """Return names, colours and contrast of the channels; ``None`` for an image without them."""
    if not pyramid.has_channels:
        return None
    count = pyramid.levels[0].shape[pyramid.channel_place]
    if header.omero is not None and len(header.omero.get("channels", ())) == count:
        return header.omero
    names = like.names_of_channels(count)
    colours = ["FFFFFF"] if count == 1 else _COLOURS
    if "S" in like.axes and count >= 3:
        colours = ["FF0000", "00FF00", "0000FF", "FFFFFF"]
    channels = []
    for number, name in enumerate(names):
        low, high = pyramid.coarse_range(path, number)
        channels.append(
            {
                "label": name or f"Channel {number + 1}",
                "color": colours[number % len(colours)],
                "active": True,
                "window": {"min": low, "start": low, "end": high, "max": high},
            }
        )
    return {"channels": channels}


_COLOURS = ["00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF", "FFFFFF"]


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    pyramid_like(like, dtype)
    return dtype


def _dry_write(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> int:
    require("yaozarrs", "OME-Zarr results", "zarr")
    pyramid = pyramid_like(like, dtype)
    return sum(math.prod(level.shape) for level in pyramid.levels) * dtype.itemsize


FORMAT = Format(
    "OME-Zarr",
    (".ome.zarr", ".zarr"),
    _read,
    _write,
    _storable,
    _dry_write,
    keeps="axes, voxel size, unit, time step and channel names",
    read_metadata=_read,
    reads_folder=True,
    writes_folder=True,
    writes_lazy=True,
)
