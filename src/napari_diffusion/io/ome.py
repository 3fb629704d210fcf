"""OME-XML, the metadata of OME-TIFF: reading, updating for a result, and creating."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError
from napari_diffusion.io.time_units import seconds
from napari_diffusion.io.volume import Volume, require
from napari_diffusion.io.voxel_sizes import in_one_unit

#: Pixel types of OME by kind and size of the dtype.
_PIXEL_TYPES = {
    "i1": "int8",
    "i2": "int16",
    "i4": "int32",
    "u1": "uint8",
    "u2": "uint16",
    "u4": "uint32",
    "f4": "float",
    "f8": "double",
}
#: Symbols of units of length in OME's schema, except those of `_OWN_SYMBOLS`.
_SYMBOLS = re.compile("[YZEPTGMkhdcmµnpfazy]?m|dam|Å|in|ft|yd|mi|ly|pc|pixel")
#: Symbols of OME's schema that are not those of `units`.
_OWN_SYMBOLS = {"ua": "astronomical_unit", "pt": "point", "thou": "thou"}
#: Units of OME's schema that `units` does not have, as a number of another unit: the line.
_PARTS = {"li": ("inch", 1 / 12)}
#: Start of the identifiers of our annotations.
_ANNOTATION_ID = "Annotation:napari-diffusion:"
#: Characters that XML 1.0 cannot hold, escaped or not.
_ILLEGAL = re.compile("[^\\t\\n\\r -\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def volume_fields(xml: str, axes: str) -> dict[str, Any]:
    """Return the fields of a `Volume` from the first image of a document.

    Parameters
    ----------
    xml
        OME-XML document.
    axes
        One letter per axis of the image.

    Returns
    -------
    dict
        ``spacing``, ``unit``, ``size_remark``, ``time_step``, ``channel_names`` and ``notes``.
    """
    pixels = _pixels(ET.fromstring(xml))
    sizes, known = {}, {}
    for letter in "XYZ":
        size = _positive(pixels.get(f"PhysicalSize{letter}"))
        symbol = pixels.get(f"PhysicalSize{letter}Unit", "µm")
        name, factor = _length_unit(symbol)
        if size is not None and letter in axes:
            sizes[letter] = (size * factor, symbol)
        if name is not None:
            known[symbol] = name
    voxel = in_one_unit(sizes, known)
    # Without any voxel size, the unit is the pixel; otherwise a missing size is unknown.
    default = None if sizes else 1.0
    spacing = tuple(
        voxel.steps.get(letter, default) if letter in "XYZ" else None for letter in axes
    )
    notes = voxel.notes
    step = _positive(pixels.get("TimeIncrement"))
    time_unit = pixels.get("TimeIncrementUnit", "s")
    scale = seconds(time_unit)
    if step is not None and scale is None:
        notes += (f"Its time step is in {time_unit:.40}, which is no unit of time known here.",)
    names = tuple(channel.get("Name", "") for channel in _children(pixels, "Channel"))
    return {
        "spacing": spacing,
        "unit": voxel.unit,
        "size_remark": voxel.remark,
        "time_step": None if step is None or scale is None else step * scale,
        "channel_names": names if any(names) else (),
        "notes": notes,
    }


def number_of_images(xml: str) -> int:
    """Return the number of images in a document.

    Raises
    ------
    InputError
        When the document is damaged.
    """
    try:
        return len(_children(ET.fromstring(xml), "Image"))
    except ET.ParseError as error:
        raise InputError(f"its OME-XML is damaged: {error}") from None


def update(xml: str, data: Array, recipe: str) -> str:
    """Return the document of a source, adapted to its result.

    The pixel type and the location of the pixels change, and the recipe is added. Everything else
    is kept, apart from the identifiers of the file.

    Parameters
    ----------
    xml
        Document of the source.
    data
        The result.
    recipe
        JSON text of the recipe, or an empty string.
    """
    root = ET.fromstring(xml)
    _remove_file_identifiers(root)
    pixels = _pixels(root)
    pixels.set("Type", _type_of(data))
    pixels.set("BigEndian", "false")
    for name in ("SignificantBits", "Interleaved"):
        pixels.attrib.pop(name, None)
    for name in ("BinData", "TiffData", "MetadataOnly"):
        for old in _children(pixels, name):
            pixels.remove(old)
    namespace = _namespace(root)
    # A TiffData without attributes stands for all planes of this file in their order. The schema
    # requires it after the channels.
    channels = [i for i, child in enumerate(pixels) if child.tag == namespace + "Channel"]
    pixels.insert(1 + max(channels, default=-1), ET.Element(namespace + "TiffData"))
    if recipe:
        _annotate(root, recipe)
    return _to_text(root)


def create(data: Array, axes: str, like: Volume, recipe: str) -> str:
    """Return a document for a result whose source is not an OME-TIFF.

    Parameters
    ----------
    data
        The result.
    axes
        Its axes: a subset of TCZYXS, in this order.
    like
        The source, which gives voxel size, unit, time step and channel names.
    recipe
        JSON text of the recipe, or an empty string.
    """
    sizes = dict(zip(axes, data.shape, strict=True))
    pages = math.prod(n for letter, n in sizes.items() if letter not in "YXS")
    stored = (pages, 1, 1, sizes["Y"], sizes["X"], sizes.get("S", 1))
    writer = require("tifffile", "TIFF files").OmeXml()
    writer.addimage(data.dtype, data.shape, stored, axes=axes, **_calibration(like))
    root = ET.fromstring(writer.tostring())
    _remove_file_identifiers(root)
    pixels = _pixels(root)
    pixels.set("BigEndian", "false")
    _name_channels(pixels, like.channel_names)
    if recipe:
        _annotate(root, recipe)
    return _to_text(root)


def holds(dtype: np.dtype[Any]) -> bool:
    """Return whether OME has a pixel type for a dtype."""
    return dtype.kind + str(dtype.itemsize) in _PIXEL_TYPES


def _calibration(like: Volume) -> dict[str, Any]:
    """Return voxel size and time step as attributes of OME's element Pixels."""
    attributes: dict[str, Any] = {}
    unit, factor = _unit_in_schema(like.unit)
    for letter, step in zip(like.axes, like.spacing, strict=True):
        if letter in "XYZ" and step is not None and like.unit != "pixel":
            attributes[f"PhysicalSize{letter}"] = float(step) * factor
            attributes[f"PhysicalSize{letter}Unit"] = unit
    if like.time_step:
        attributes |= {"TimeIncrement": float(like.time_step), "TimeIncrementUnit": "s"}
    return attributes


def _positive(text: str | None) -> float | None:
    """Return a number that is positive and finite, ``None`` for all other text."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def _length_unit(symbol: str) -> tuple[str | None, float]:
    """Return the full name of a unit and a factor; ``None`` for an unknown unit."""
    name, factor = _PARTS.get(symbol, (_OWN_SYMBOLS.get(symbol, symbol), 1.0))
    try:
        return units.canonical(name), factor
    except ValueError:
        return None, factor


def _unit_in_schema(unit: str) -> tuple[str, float]:
    """Return the symbol of a unit in OME's schema and 1; for other units, µm and their size."""
    own = {name: symbol for symbol, name in _OWN_SYMBOLS.items()}
    symbol = own.get(unit) or units.symbol(unit)
    if unit in own or _SYMBOLS.fullmatch(symbol):
        return symbol, 1.0
    return "µm", units.factor(unit, "µm")


def _remove_file_identifiers(root: ET.Element) -> None:
    """Remove the identifiers of the file and its writer, so that equal results are equal files."""
    for name in ("UUID", "Creator"):
        root.attrib.pop(name, None)


def _name_channels(pixels: ET.Element, names: tuple[str, ...]) -> None:
    """Set the names of the channels in their order.

    If there are more names than channels, the names belong to another image, and none is written.
    tifffile is bypassed, because its older versions do not escape quotation marks.
    """
    channels = _children(pixels, "Channel")
    if len(names) > len(channels):
        return
    for channel, name in zip(channels, names, strict=False):
        text = _ILLEGAL.sub("", name)
        if text:
            channel.set("Name", text)


def _annotate(root: ET.Element, recipe: str) -> None:
    """Add the recipe as an annotation, beside those of earlier runs."""
    namespace = _namespace(root)
    notes = root.find(namespace + "StructuredAnnotations")
    if notes is None:
        notes = ET.Element(namespace + "StructuredAnnotations")
        # The schema requires annotations after the images and before the regions of interest.
        place = 1 + max(i for i, child in enumerate(root) if child.tag == namespace + "Image")
        root.insert(place, notes)
    number = sum(note.get("ID", "").startswith(_ANNOTATION_ID) for note in notes)
    note = ET.SubElement(
        notes,
        namespace + "CommentAnnotation",
        ID=f"{_ANNOTATION_ID}{number}",
        Namespace="napari-diffusion/recipe",
    )
    ET.SubElement(note, namespace + "Value").text = recipe


def _type_of(data: Array) -> str:
    return _PIXEL_TYPES[data.dtype.kind + str(data.dtype.itemsize)]


def _to_text(root: ET.Element) -> str:
    # Readers search for the literal root element without a prefix.
    namespace = _namespace(root)[1:-1]
    if namespace:
        ET.register_namespace("", namespace)
    return '<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(root, encoding="unicode")


def _namespace(element: ET.Element) -> str:
    """Return the namespace of an element in braces, as ElementTree writes it before a tag."""
    match = re.match(r"\{.*\}", element.tag)
    return match.group() if match else ""


def _children(parent: ET.Element, name: str) -> list[ET.Element]:
    return parent.findall(_namespace(parent) + name)


def _pixels(root: ET.Element) -> ET.Element:
    pixels = root.find(f"{_namespace(root)}Image/{_namespace(root)}Pixels")
    if pixels is None:
        raise InputError("its OME-XML describes no image")
    return pixels
