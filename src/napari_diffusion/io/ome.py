"""OME-XML: what an OME-TIFF says about its image, and the same document for a result."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.io.volume import Volume, require

_TYPES = {
    "i1": "int8",
    "i2": "int16",
    "i4": "int32",
    "u1": "uint8",
    "u2": "uint16",
    "u4": "uint32",
    "f4": "float",
    "f8": "double",
}
_SECONDS = {
    "ps": 1e-12,
    "ns": 1e-9,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_ID = "Annotation:napari-diffusion:"
#: Characters that XML 1.0 cannot hold, escaped or not.
_ILLEGAL = re.compile("[^\\t\\n\\r -\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def describe(xml: str, axes: str) -> dict[str, Any]:
    """Return the fields of a `Volume` that a document tells about its first image."""
    pixels = _pixels(ET.fromstring(xml))
    sizes, unit = {}, "pixel"
    for letter in "XYZ":
        size, name = (
            pixels.get(f"PhysicalSize{letter}"),
            units.canonical(pixels.get(f"PhysicalSize{letter}Unit", "µm")),
        )
        if size is None or not 0 < float(size) < np.inf:
            continue
        unit = name if unit == "pixel" else unit  # the first that is given is the unit of all
        sizes[letter] = float(size) * units.factor(name, unit)
    # A document without any voxel size speaks in pixels; one that leaves out an axis leaves it open.
    default = None if sizes else 1.0
    step = pixels.get("TimeIncrement")
    names = tuple(channel.get("Name", "") for channel in _all(pixels, "Channel"))
    return {
        "spacing": tuple(
            sizes.get(letter, default) if letter in "XYZ" else None for letter in axes
        ),
        "unit": unit,
        "time_step": float(step) * _SECONDS.get(pixels.get("TimeIncrementUnit", "s"), 1.0)
        if step
        else None,
        "channel_names": names if any(names) else (),
    }


def number_of_images(xml: str) -> int:
    """Count the images of a document."""
    return len(_all(ET.fromstring(xml), "Image"))


def update(xml: str, data: Array, recipe: str) -> str:
    """Return the document of a source for its result: everything is kept but the type of the pixels and where they are."""
    root = ET.fromstring(xml)
    _forget_file(root)
    pixels = _pixels(root)
    pixels.set("Type", _type_of(data))
    pixels.set("BigEndian", "false")
    for name in ("SignificantBits", "Interleaved"):
        pixels.attrib.pop(name, None)
    for name in ("BinData", "TiffData", "MetadataOnly"):
        for old in _all(pixels, name):
            pixels.remove(old)
    space = _space(root)
    # Without attributes: all planes of this file, in the order of its dimensions. It comes after the channels.
    place = 1 + max(
        (i for i, child in enumerate(pixels) if child.tag == space + "Channel"), default=-1
    )
    pixels.insert(place, ET.Element(space + "TiffData"))
    if recipe:
        _annotate(root, recipe)
    return _text(root)


def create(data: Array, axes: str, like: Volume, recipe: str) -> str:
    """Return a document for data whose axes are a subset of TCZYX, or TCZYXS, in this order."""
    sizes = dict(zip(axes, data.shape, strict=True))
    pages = math.prod(n for letter, n in sizes.items() if letter not in "YXS")
    stored = (pages, 1, 1, sizes["Y"], sizes["X"], sizes.get("S", 1))
    writer = require("tifffile", "TIFF files").OmeXml()
    writer.addimage(data.dtype, data.shape, stored, axes=axes, **_calibration(like))
    root = ET.fromstring(writer.tostring())
    _forget_file(root)
    pixels = _pixels(root)
    pixels.set("BigEndian", "false")
    _name_channels(pixels, like.channel_names)
    if recipe:
        _annotate(root, recipe)
    return _text(root)


def holds(dtype: np.dtype[Any]) -> bool:
    """Tell whether OME has a name for a dtype."""
    return dtype.kind + str(dtype.itemsize) in _TYPES


def _calibration(like: Volume) -> dict[str, Any]:
    """Return voxel size and time step under the names of OME."""
    known: dict[str, Any] = {}
    for letter, step in zip(like.axes, like.spacing, strict=True):
        if letter in "XYZ" and step is not None and like.unit != "pixel":
            known[f"PhysicalSize{letter}"] = float(step)
            known[f"PhysicalSize{letter}Unit"] = units.symbol(like.unit)
    if like.time_step:
        known |= {"TimeIncrement": float(like.time_step), "TimeIncrementUnit": "s"}
    return known


def _forget_file(root: ET.Element) -> None:
    """Remove the identifiers of a file and of its writer, so that equal results are equal files."""
    for name in ("UUID", "Creator"):
        root.attrib.pop(name, None)


def _name_channels(pixels: ET.Element, names: tuple[str, ...]) -> None:
    """Name the channels in their order.

    More names than channels belong to another image, so none of them is written. The names bypass
    tifffile, whose older versions do not escape quotation marks.
    """
    channels = _all(pixels, "Channel")
    if len(names) > len(channels):
        return
    for channel, name in zip(channels, names, strict=False):
        text = _ILLEGAL.sub("", name)
        if text:
            channel.set("Name", text)


def _annotate(root: ET.Element, recipe: str) -> None:
    space = _space(root)
    notes = root.find(space + "StructuredAnnotations")
    if notes is None:
        notes = ET.Element(space + "StructuredAnnotations")
        # The schema wants them after the images and before the regions of interest.
        place = 1 + max(i for i, child in enumerate(root) if child.tag == space + "Image")
        root.insert(place, notes)
    number = sum(note.get("ID", "").startswith(_ID) for note in notes)
    note = ET.SubElement(
        notes, space + "CommentAnnotation", ID=f"{_ID}{number}", Namespace="napari-diffusion/recipe"
    )
    ET.SubElement(note, space + "Value").text = recipe


def _type_of(data: Array) -> str:
    return _TYPES[data.dtype.kind + str(data.dtype.itemsize)]


def _text(root: ET.Element) -> str:
    # Readers look for the literal prefix-free root element.
    namespace = _space(root)[1:-1]
    if namespace:
        ET.register_namespace("", namespace)
    return '<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(root, encoding="unicode")


def _space(element: ET.Element) -> str:
    match = re.match(r"\{.*\}", element.tag)
    return match.group() if match else ""


def _all(parent: ET.Element, name: str) -> list[ET.Element]:
    return parent.findall(_space(parent) + name)


def _pixels(root: ET.Element) -> ET.Element:
    pixels = root.find(f"{_space(root)}Image/{_space(root)}Pixels")
    if pixels is None:
        raise ValueError("its OME-XML describes no image")
    return pixels
