"""MetaImage files (.mha, .mhd), which SimpleITK reads and writes.

The header is compared with the file before SimpleITK reads it. Directions and origin, which grow
to the left, back and head, become RAS. Further fields of the header are kept. The unit is mm where
the header names none.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.compressed import (
    LARGEST_RATIO,
    check_memory,
    fill_from_zlib,
    text_values,
)
from napari_diffusion.io.orientation import LPS, affine_in, checked, in_standard_order, sizes_in
from napari_diffusion.io.volume import (
    Format,
    Volume,
    data_file_of,
    only_read,
    require,
    storable_dtype,
)

#: Largest header [bytes], and its last field.
_LONGEST_HEADER = 1 << 20
_LAST = "elementdatafile"
_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "long": "i4",
    "ulong": "u4",
    "long_long": "i8",
    "ulong_long": "u8",
    "float": "f4",
    "double": "f8",
}
_DTYPES = {np.dtype(code) for code in _TYPES.values()}
_UNITS = {"mm": "millimeter", "um": "micrometer", "cm": "centimeter"}
#: Names of the directions and of the origin in a header, and all fields that are lists of numbers.
_DIRECTIONS = ("transformmatrix", "rotation", "orientation")
_ORIGINS = ("offset", "position", "origin")
_NUMBERS = (*_DIRECTIONS, *_ORIGINS, "centerofrotation", "elementspacing", "elementsize")
#: Fields that are true or false.
_BYTE_ORDERS = ("binarydatabyteordermsb", "elementbyteordermsb")
_FLAGS = ("binarydata", "compresseddata", *_BYTE_ORDERS)
_GEOMETRY = ("Spacing", "Origin", "Direction")
_RECIPE = "NapariDiffusionRecipe"
#: Longest text of a field that MetaImage readers take.
_LONGEST_FIELD = 30_000
#: Space for a header besides the texts that are kept [bytes].
_HEADER_BOUND = 4096


def _read(path: Path) -> Volume:
    sitk = require("SimpleITK", "MetaImage files", "formats")
    fields, end = _fields(path)
    shape, dtype, channels = _layout(fields)
    data_path = _data_file(path, fields)
    is_msb = any(fields.get(name, "").lower() == "true" for name in _BYTE_ORDERS)
    stored = dtype.newbyteorder(">" if is_msb else "<")
    image = _information(sitk, path, shape, channels)
    own = (*shape[::-1], channels) if channels > 1 else shape[::-1]
    data = _values(data_path, fields, own, stored, end if data_path == path else 0)
    letters = "XYZT"[: len(shape)][::-1] + ("S" if channels > 1 else "")
    unit, is_assumed = _unit(fields)
    affine, notes = _affine(image, fields, shape)
    has_sizes = "elementspacing" in fields or "elementsize" in fields
    spacing = dict(zip("XYZ", image.GetSpacing(), strict=False))
    return Volume(
        data,
        letters,
        tuple(spacing.get(letter) if has_sizes else None for letter in letters),
        unit if has_sizes else "pixel",
        len(letters) - 1 if channels > 1 else None,
        format="MetaImage",
        header=_header(image),
        path=path,
        stored=data.dtype,
        members=(path, data_path) if data_path != path else (),
        affine=affine if has_sizes else None,
        notes=tuple(notes),
        unit_is_assumed=is_assumed and has_sizes,
    )


def _header(image: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return voxel size, origin and direction, and the texts of an image."""
    geometry = {name: getattr(image, f"Get{name}")() for name in _GEOMETRY}
    texts = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    # ITK adds texts of its own; one of several lines would end the header of a result.
    own = {key: text for key, text in texts.items() if not key.startswith("ITK_")}
    return geometry, {key: text for key, text in own.items() if text.isprintable()}


def _information(sitk: Any, path: Path, shape: tuple[int, ...], channels: int) -> Any:
    """Read geometry and texts with SimpleITK, whose own messages are no sentences for users.

    Values are not read by it: where a compressed file does not give the size of its stream, it
    returns arbitrary values (SimpleITK 2.5).
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        reader.ReadImageInformation()
        if (reader.GetSize(), reader.GetNumberOfComponents()) != (shape, channels):
            raise InputError("damaged: its header is not clear", Remedy.REPLACE_DAMAGED)
    except RuntimeError as error:
        raise InputError("damaged: its header cannot be read", Remedy.REPLACE_DAMAGED) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
    return reader


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of the header in lower case, and the number of its bytes."""
    fields, end = {}, 0
    with path.open("rb") as file:
        while end < _LONGEST_HEADER:
            line = file.readline(_LONGEST_HEADER - end)
            end += len(line)
            name, equals, text = line.decode("latin-1").partition("=")
            if not equals:
                break
            key = name.strip().lower()
            # MetaIO also takes a colon for the sign, and the case counts there. A header that it
            # reads in another way than this function could name another file or size.
            if ":" in name or key in fields or (key == _LAST and name.strip() != "ElementDataFile"):
                raise InputError(
                    f"damaged: the field {name.strip()} of its header is not clear",
                    Remedy.REPLACE_DAMAGED,
                )
            fields[key] = text.strip()
            _check_words(key, text)
            if key == _LAST:
                return fields, end
    raise InputError("damaged: it has no header of a MetaImage", Remedy.REPLACE_DAMAGED)


def _check_words(key: str, text: str) -> None:
    """Refuse a field of words that are no numbers, or neither true nor false."""
    try:
        is_clear = key not in _NUMBERS or all(map(math.isfinite, map(float, text.split())))
    except ValueError:
        is_clear = False
    if not is_clear or (key in _FLAGS and text.strip().lower() not in ("true", "false")):
        raise InputError(
            f"damaged: the field {key} of its header is not clear", Remedy.REPLACE_DAMAGED
        )


def _layout(fields: dict[str, str]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape (x first), type of a value, and number of channels."""
    try:
        shape = tuple(int(word) for word in fields["dimsize"].split())
        channels = int(fields.get("elementnumberofchannels", "1"))
        count = int(fields["ndims"])
        kind = fields["elementtype"].lower().removeprefix("met_").removesuffix("_array")
    except (KeyError, ValueError):
        raise InputError("damaged: its header cannot be read", Remedy.REPLACE_DAMAGED) from None
    if not 2 <= count <= 4 or len(shape) != count:
        raise InputError(f"its header declares {count} axes, and 2 to 4 can be read")
    if min(shape) < 1 or channels < 1:
        declared = " x ".join(map(str, shape))
        raise InputError(f"its header declares {declared} samples, so it has no image")
    if kind not in _TYPES:
        raise InputError(f"its header declares the data type {kind}, which cannot be read")
    return shape, np.dtype(_TYPES[kind]), channels


def _data_file(path: Path, fields: dict[str, str]) -> Path:
    """Return the file of the values."""
    name = fields[_LAST]
    if name.upper() == "LOCAL":
        return path
    return data_file_of(path, name)


def _values(
    path: Path, fields: dict[str, str], shape: tuple[int, ...], dtype: np.dtype[Any], header: int
) -> Array:
    """Return the values; what the header declares is compared with their file before.

    Parameters
    ----------
    path, header
        File of the values, and number of bytes of the header in front of them.
    fields, shape, dtype
        Fields of the header, shape of the array, and type of a stored number.
    """
    declared, size = math.prod(shape) * dtype.itemsize, path.stat().st_size - header
    is_binary = fields.get("binarydata", "true").lower() == "true"
    is_compressed = fields.get("compresseddata", "false").lower() == "true"
    start = header + _skipped(fields, size, 0 if is_compressed or not is_binary else declared)
    size = path.stat().st_size - start
    if not is_binary:
        return text_values(path, start, shape, dtype)
    if declared > size * (LARGEST_RATIO if is_compressed else 1):
        hold = ", more than its compressed bytes can hold" if is_compressed else ""
        raise InputError(
            f"damaged: its header declares {declared:,} bytes{hold}, and it has {size:,}",
            Remedy.REPLACE_DAMAGED,
        )
    if not is_compressed:
        raw: Array = np.memmap(path, dtype, "r", start, shape)
        return raw
    check_memory(declared, path)
    content = np.empty(declared, np.uint8)
    fill_from_zlib(content, path, start)
    return content.view(dtype).reshape(shape)


def _skipped(fields: dict[str, str], size: int, declared: int) -> int:
    """Return the number of bytes in front of the values; -1 means that the values end the file."""
    text = fields.get("headersize", "0") or "0"
    skipped = int(text) if text.removeprefix("-").isdecimal() else -2
    skipped = size - declared if skipped == -1 and declared else skipped
    if not 0 <= skipped <= size:
        raise InputError(
            f"damaged: its values begin at {text}, outside of its file", Remedy.REPLACE_DAMAGED
        )
    return skipped


def _unit(fields: dict[str, str]) -> tuple[str, bool]:
    """Return the unit of length, and whether it is assumed."""
    unit = _UNITS.get(fields.get("distanceunits", "").lower())
    return unit or "millimeter", unit is None


def _affine(
    image: Any, fields: dict[str, str], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Return the transform from x, y, z to RAS; ``None`` where the header gives none."""
    if not any(name in fields for name in (*_DIRECTIONS, *_ORIGINS)):
        return None, []
    ndim = len(shape)
    count = min(ndim, 3)
    matrix = np.array(image.GetDirection()).reshape(ndim, ndim)[:count, :count]
    affine = np.eye(4)
    affine[:count, :count] = matrix * np.array(image.GetSpacing()[:count])
    affine[:count, 3] = image.GetOrigin()[:count]
    return checked(LPS @ affine, (*shape[:3], 1)[:3], "direction")


def _write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    sitk = require("SimpleITK", "MetaImage files", "formats")
    if like.format != "MetaImage":
        standard, letters = in_standard_order(data, like.axes)
        is_colour = letters.endswith("S")
        order = [*range(standard.ndim - is_colour)][::-1] + [standard.ndim - 1] * is_colour
        data = standard.transpose(order)
        if is_colour and len(letters) == 5 and "T" in letters and data.shape[0] == 1:
            data = data[0]  # colours are no axis of MetaImage
    image = sitk.GetImageFromArray(np.ascontiguousarray(data), isVector="S" in like.axes)
    _set_geometry(image, like)
    if recipe and len(recipe) < _LONGEST_FIELD:
        image.SetMetaData(_RECIPE, " ".join(recipe.split()))
    sitk.WriteImage(image, str(path), useCompression=False)


def _set_geometry(image: Any, like: Volume) -> None:
    """Set voxel size, orientation, origin and texts."""
    if like.format == "MetaImage":
        geometry, texts = like.header
        for name, numbers in geometry.items():
            getattr(image, f"Set{name}")(numbers)
        for key, text in texts.items():
            image.SetMetaData(key, text)
        return
    ndim = image.GetDimension()
    affine, sizes = affine_in(like, "millimeter"), sizes_in(like, "millimeter")
    spacing, direction, origin = np.ones(ndim), np.eye(ndim), np.zeros(ndim)
    count = min(ndim, 3)
    if affine is not None:
        affine = LPS @ affine
        spacing[:count] = np.linalg.norm(affine[:3, :count], axis=0)
        direction[:count, :count] = affine[:count, :count] / spacing[:count]
        origin[:count] = affine[:count, 3]
    elif sizes:
        spacing[:count] = [sizes.get(letter, 1.0) for letter in "XYZ"[:count]]
    if ndim == 4 and like.time_step:
        spacing[3] = like.time_step
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(direction.ravel().tolist())


def _dry_write(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> int:
    """Return a bound: SimpleITK writes the header only together with the values."""
    require("SimpleITK", "MetaImage files", "formats")
    size = math.prod(like.shape) * dtype.itemsize + _HEADER_BOUND + len(recipe.encode())
    if like.format == "MetaImage":
        size += sum(len(key) + len(text.encode()) + 4 for key, text in like.header[1].items())
    return size


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    if suffix == ".mhd":
        raise only_read("MetaImage pairs (.mhd)")
    others = [letter for letter in like.axes if letter not in "XYZS"]
    if len(others) > 1:
        raise InputError(
            f"MetaImage holds x, y, z, one further axis and colours, and the image has the axes "
            f"{', '.join(like.axes)}",
            Remedy.WRITE_ANOTHER_FORMAT,
        )
    return storable_dtype(dtype, _DTYPES)


FORMAT = Format(
    "MetaImage",
    (".mha", ".mhd"),
    _read,
    _write,
    _storable,
    _dry_write,
    _HEADER_BOUND,
    results={".mhd": ".mha"},
)
