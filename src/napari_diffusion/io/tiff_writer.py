"""Writing of TIFF files: OME-TIFF, ImageJ hyperstacks, "shaped" TIFF of tifffile, plain TIFF.

A result is written in the layout of its source. Where ImageJ's layout cannot hold it, it is written
as OME-TIFF: 64-bit floats, colour that is not 8-bit, axes in another order.
"""

from __future__ import annotations

import math
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io import ome
from napari_diffusion.io.flat_file import FlatFile
from napari_diffusion.io.tiff_header import MIN_IS_WHITE, RGB, TiffHeader
from napari_diffusion.io.volume import Volume, require

#: ImageJ metadata that tifffile derives from the shape.
_IMAGEJ_COUNTS = {"ImageJ", "images", "channels", "slices", "frames", "hyperstack"}
_IMAGEJ_CALIBRATION = {"cf", "c0", "c1", "vunit"}
_IMAGEJ_DTYPES = ("u1", "u2", "f4")
#: Largest ImageJ file [byte]: offsets have 32 bits.
_IMAGEJ_MAX_BYTES = 2**32 - 2**25


def _target_kind(dtype: np.dtype[Any], like: Volume, name: str) -> str:
    """Return the layout of a result: that of its source, or OME.

    OME-TIFF is written in three cases: for a source of another format or of a layout that is not
    written, for a name that ends in ``.ome.tif`` or ``.ome.tiff``, and for a result that ImageJ's
    layout cannot hold.
    """
    if like.format != "TIFF" or name.lower().endswith((".ome.tif", ".ome.tiff")):
        return "ome"
    kind = str(like.header.kind)
    if kind == "other":
        return "ome"
    if kind == "imagej":
        colour = "S" in like.axes and (dtype != np.uint8 or like.header.photometric != RGB)
        size = math.prod(like.shape) * dtype.itemsize
        reordered = like.axes != "".join(letter for letter in "TZCYXS" if letter in like.axes)
        if dtype.str[1:] not in _IMAGEJ_DTYPES or colour or reordered or size > _IMAGEJ_MAX_BYTES:
            return "ome"
    return kind


def write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    """Write a result; see `Format`."""
    tifffile = require("tifffile", "TIFF files")
    data, options = _arranged(data, like, recipe, path.name)
    tifffile.imwrite(path, data, **options)


def dry_write(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> int:
    """Return the size of a file after writing all but its pixels to nowhere; see `Format`."""
    tifffile = require("tifffile", "TIFF files")
    # tifffile packs 8 samples of bool into a byte, but not in a file without pixels.
    dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    data = np.broadcast_to(np.zeros((), dtype.newbyteorder("=")), like.shape)
    data, options = _arranged(data, like, recipe, path.name)
    file = _Nowhere()
    tifffile.imwrite(file, shape=data.shape, dtype=data.dtype, **options)
    return file.size


def lay_out(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> FlatFile:
    """Write a file without its pixels, and return their place; see `Format`."""
    tifffile = require("tifffile", "TIFF files")
    placeholder = np.broadcast_to(np.zeros((), dtype.newbyteorder("=")), like.shape)
    data, options = _arranged(placeholder, like, recipe, path.name)
    tifffile.imwrite(path, shape=data.shape, dtype=data.dtype, **options)
    order = tuple(range(len(like.shape)))
    own_kind = like.header.kind if like.format == "TIFF" else "none"
    if _target_kind(placeholder.dtype, like, path.name) == "ome" and own_kind != "ome":
        sizes = np.empty([i + 2 for i in order], np.uint8)  # they show their places
        order = tuple(n - 2 for n in _ome_order(sizes, like.axes)[0].shape)
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[0].dataoffsets[0], sum(file.pages[0].databytecounts)
        if not (file.pages[0].is_contiguous or size == data.nbytes):
            raise InputError("its pixels are not written in blocks", Remedy.WRITE_STORE)
        stored = data.dtype.newbyteorder(file.byteorder)
    return FlatFile.in_order(like.shape, stored, int(offset), order)


class _Nowhere(RawIOBase):
    """A file that counts its bytes and keeps none.

    Attributes
    ----------
    size
        Size that the file would have [bytes].
    """

    def __init__(self) -> None:
        self.size = self._position = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        start = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self.size}[whence]
        self._position = start + offset
        return self._position

    def write(self, data: Any) -> int:
        count = memoryview(data).nbytes
        self._position += count
        self.size = max(self.size, self._position)
        return count


def _arranged(data: Array, like: Volume, recipe: str, name: str) -> tuple[Array, dict[str, Any]]:
    """Return the pixels in the order of the file, and the arguments of tifffile's writer."""
    kind = _target_kind(data.dtype, like, name)
    header = like.header if like.format == "TIFF" else TiffHeader("none")
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    options: dict[str, Any] = {}
    if kind == "ome" and header.kind != "ome":
        data, axes = _ome_order(data, like.axes)
        text = ome.create(data, axes, like, recipe)
    else:
        axes = like.axes
        if kind == "ome":
            text = ome.update(header.description, data, recipe)
        else:
            text = _append_recipe(header.description, recipe)
    if "S" in axes:
        options |= _colour_options(data.shape[axes.index("S")], axes, like)
    else:
        is_inverted = header.photometric == MIN_IS_WHITE and header.kind == kind
        options["photometric"] = "miniswhite" if is_inverted else "minisblack"
    if header.kind == kind and header.resolution is not None:
        options |= {"resolution": header.resolution, "resolutionunit": header.resolution_unit}
    if kind == "imagej":
        options |= {"metadata": _imagej_metadata(header, axes, like, recipe)}
        return data, options | {"imagej": True, "extratags": header.tags}
    options |= {"extratags": header.tags, "byteorder": "<"}
    if kind == "shaped":
        metadata = header.metadata | {"axes": axes}
        metadata |= {"napari-diffusion": recipe} if recipe else {}
        return data, options | {"shaped": True, "metadata": metadata}
    return data, options | {"ome": False, "metadata": None, "description": text.encode()}


def _colour_options(samples: int, axes: str, like: Volume) -> dict[str, Any]:
    """Return the arguments of tifffile's writer for an image of several samples per pixel.

    A TIFF keeps the kind of its samples. Three or four samples of another format are RGB or RGBA.
    """
    if like.format == "TIFF":
        photometric = {RGB: "rgb", MIN_IS_WHITE: "miniswhite"}.get(
            like.header.photometric, "minisblack"
        )
        extra = like.header.extrasamples
    else:
        photometric = "rgb" if samples in (3, 4) else "minisblack"
        first = 3 if photometric == "rgb" else 1
        extra = tuple(2 if i == like.alpha else 0 for i in range(first, samples))
    options = {
        "photometric": photometric,
        "planarconfig": "contig" if axes.endswith("S") else "separate",
    }
    return options | ({"extrasamples": extra} if extra else {})


def _imagej_metadata(header: TiffHeader, axes: str, like: Volume, recipe: str) -> dict[str, Any]:
    """Return the metadata of a result in ImageJ's layout.

    The recipe is appended to the text of Image > Show Info.
    """
    dropped = _IMAGEJ_COUNTS | (_IMAGEJ_CALIBRATION if like.scaling == (1.0, 0.0) else set())
    kept = {name: value for name, value in header.metadata.items() if name not in dropped}
    info = _append_recipe(str(kept.pop("Info", "")), recipe)
    kept = {name: _escaped(value) for name, value in kept.items()}
    return kept | {"axes": axes} | ({"Info": info} if info else {})


def _escaped(value: Any) -> Any:
    """Return text in the ASCII of ImageJ's description: a code for each other character."""
    if not isinstance(value, str) or value.isascii():
        return value
    return "".join(letter if letter.isascii() else f"\\u{ord(letter):04X}" for letter in value)


def _append_recipe(text: str, recipe: str) -> str:
    """Append a recipe to a description, on a line of its own."""
    note = f"napari-diffusion recipe: {recipe}" if recipe else ""
    return "\n".join(part for part in (text.rstrip(), note) if part)


def _ome_letters(axes: str) -> str:
    """Return the letters of OME for axes.

    An axis of unknown kind gets the first free letter of T, C and Z: time first, because no default
    smooths over time.
    """
    free = [letter for letter in "TCZ" if letter not in axes]
    unknown = [letter for letter in axes if letter not in "TCZYXS"]
    if len(unknown) > len(free) or not {"Y", "X"} <= set(axes):
        raise InputError(
            "OME-TIFF holds the axes T, C, Z, Y and X, and an image with the axes "
            f"{', '.join(axes)} does not fit",
            Remedy.WRITE_ANOTHER_FORMAT,
        )
    return "".join(letter if letter in "TCZYXS" else free.pop(0) for letter in axes)


def _ome_order(data: Array, axes: str) -> tuple[Array, str]:
    """Bring axes into the order TCZYXS of OME; return the data and the letters of OME."""
    letters = _ome_letters(axes)
    order = sorted(range(len(letters)), key=lambda i: "TCZYXS".index(letters[i]))
    return data.transpose(order), "".join(letters[i] for i in order)


def storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    """Return the dtype in which a result is stored; see `Format`."""
    native = dtype.newbyteorder("=")
    if _target_kind(native, like, suffix) in ("shaped", "plain", "imagej"):
        return native
    if like.format != "TIFF" or like.header.kind != "ome":
        _ome_letters(like.axes)
        if 0 in like.shape:
            raise InputError("OME-TIFF holds no image without samples", Remedy.WRITE_ANOTHER_FORMAT)
    if native.kind == "b":
        return np.dtype(np.uint8)
    if native == np.float16:
        return np.dtype(np.float32)
    if not ome.holds(native):
        raise InputError(f"OME-TIFF has no {native}", Remedy.WRITE_FLOATING_POINT)
    return native
