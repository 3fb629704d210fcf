"""Headers of NRRD files: shape and place of the values, axes, voxel size, units, orientation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core import units
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io import time_units
from napari_diffusion.io.orientation import LPS, affine_in, checked, in_standard_order, sizes_in
from napari_diffusion.io.volume import Volume, require

#: Types of NRRD by the codes of NumPy.
CODES = {
    "i1": "int8",
    "u1": "uint8",
    "i2": "int16",
    "u2": "uint16",
    "i4": "int32",
    "u4": "uint32",
    "i8": "int64",
    "u8": "uint64",
    "f4": "float",
    "f8": "double",
}
#: Other names of the types.
_SIGNED = {"i1": ("signed char",)} | {
    code: tuple(f"{sign}{kind}{end}" for sign in ("", "signed ") for end in ("", " int"))
    for code, kind in (("i2", "short"), ("i8", "long long"))
}
_NAMES = {name: code for code, name in CODES.items()}
_NAMES |= {f"{name}_t": code for code, name in CODES.items() if code[0] in "iu"}
_NAMES |= {name: code for code, names in _SIGNED.items() for name in names}
_NAMES |= {"int": "i4", "signed int": "i4", "uchar": "u1", "unsigned char": "u1"}
_NAMES |= {"ushort": "u2", "uint": "u4", "unsigned int": "u4"}
_NAMES |= {"longlong": "i8", "ulonglong": "u8"}
for _code, _kind in (("u2", "short"), ("u8", "long long")):
    _NAMES |= {f"unsigned {_kind}{end}": _code for end in ("", " int")}
_ENCODINGS = {"gz": "gzip", "bz2": "bzip2", "ascii": "text", "txt": "text"}
#: To RAS coordinates from those that the names of a space begin with.
_SPACES = {
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "left-posterior-superior": LPS,
    "lps": LPS,
}
_SPACE_KINDS = {"domain", "space"}
_COLOUR_KINDS = {"rgb-color", "hsv-color", "xyz-color", "rgba-color", "3-color", "4-color"}
_VECTOR_KINDS = {"vector", "covariant-vector", "normal", "2-vector", "3-vector", "4-vector"}
_VECTOR_KINDS |= {"3-gradient", "3-normal", "quaternion"}


@dataclass(frozen=True)
class Fields:
    """The fields of a header that say where the values are, and all fields of pynrrd.

    Attributes
    ----------
    shape, dtype
        Shape, the fastest axis first, and type of a value with its byte order.
    encoding
        ``"raw"``, ``"text"``, ``"gzip"`` or ``"bzip2"``.
    data_file
        Name of the file of the values; ``None`` for the file of the header.
    line_skip, byte_skip
        Lines and bytes in front of the values; -1 bytes if the values end the file.
    header
        Fields by their names, as pynrrd reads them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    encoding: str
    data_file: str | None
    line_skip: int
    byte_skip: int
    header: dict[str, Any]


@dataclass(frozen=True)
class Geometry:
    """Axes of an image, as the attributes of `Volume` with these names."""

    letters: str
    spacing: tuple[float | None, ...]
    unit: str
    affine: NDArray[np.float64] | None
    channel_axis: int | None = None
    alpha: int | None = None
    time_step: float | None = None
    notes: tuple[str, ...] = ()
    unit_is_assumed: bool = False
    remark: str = ""


def parse(lines: Sequence[str]) -> Fields:
    """Read the lines of a header.

    Raises
    ------
    InputError
        When a field is missing or impossible.
    """
    nrrd = require("nrrd", "NRRD files", "formats")
    try:
        header = dict(nrrd.read_header([line + "\n" for line in lines]))
    except Exception as error:  # pynrrd raises several kinds of errors for a damaged field
        raise InputError("damaged: its header cannot be read", Remedy.REPLACE_DAMAGED) from error
    missing = [name for name in ("type", "dimension", "sizes", "encoding") if name not in header]
    if missing:
        raise InputError(f"damaged: its header has no {missing[0]}", Remedy.REPLACE_DAMAGED)
    shape = tuple(int(n) for n in header["sizes"])
    if not 1 <= len(shape) <= 16 or len(shape) != header["dimension"] or min(shape) < 1:
        declared = " x ".join(map(str, shape)) or "no"
        raise InputError(f"its header declares {declared} samples, so it has no image")
    code = _NAMES.get(" ".join(str(header["type"]).lower().split()))
    if code is None:
        raise InputError(f"its values are of type {header['type']}, and an image has numbers")
    encoding = str(header["encoding"]).lower()
    encoding = _ENCODINGS.get(encoding, encoding)
    if encoding not in ("raw", "text", "gzip", "bzip2"):
        raise InputError(f"its encoding is {encoding}, which cannot be read")
    order = {"little": "<", "big": ">"}.get(str(header.get("endian", "little")).lower())
    if order is None or ("endian" not in header and code[1] != "1" and encoding != "text"):
        raise InputError("damaged: its header has no byte order", Remedy.REPLACE_DAMAGED)
    line_skip, byte_skip = (
        int(header.get(f"{unit} skip", header.get(f"{unit}skip", 0)) or 0)
        for unit in ("line", "byte")
    )
    if line_skip < 0 or byte_skip < -1:
        raise InputError("damaged: its header skips less than nothing", Remedy.REPLACE_DAMAGED)
    name = header.get("data file", header.get("datafile"))
    return Fields(
        shape,
        np.dtype(order + code),
        encoding,
        None if name is None else str(name),
        line_skip,
        byte_skip,
        header,
    )


def geometry_of(fields: Fields) -> Geometry:
    """Return axes, voxel size, unit and orientation."""
    header, ndim = fields.header, len(fields.shape)
    kinds = [str(kind).lower() for kind in header.get("kinds", ["???"] * ndim)]
    if len(kinds) != ndim:
        raise InputError("damaged: it does not give one kind for each axis", Remedy.REPLACE_DAMAGED)
    if "complex" in kinds:
        raise InputError("its values are complex numbers, and an image has real ones")
    directions, time_axis, time_step = _directions(header, ndim)
    space = [i for i in range(ndim) if np.isfinite(directions[i]).all()]
    if not space:
        space = [i for i in range(ndim) if kinds[i] in _SPACE_KINDS]
        known = any(kind not in ("???", "none") for kind in kinds)
        space = space or ([] if known or ndim > 3 else list(range(ndim)))
    letters, channel_axis = _letters(kinds, space[:3], time_axis, ndim)
    affine, notes = _affine(header, directions, space[:3], fields.shape)
    lengths = [float(np.linalg.norm(direction)) for direction in directions]
    spacings = header.get("spacings", [math.nan] * ndim)
    sizes: list[float | None] = []
    for i, letter in enumerate(letters):
        size = lengths[i] if math.isfinite(lengths[i]) else abs(float(spacings[i]))
        sizes.append(size if letter in "XYZ" and 0 < size < math.inf else None)
        if letter == "T" and time_step is None and 0 < float(spacings[i]) < math.inf:
            time_step = _seconds(header, i, float(spacings[i]))
    unit, is_assumed, remark = _unit(header, space[:3], sizes)
    if unit == "pixel":
        sizes, affine = [None] * ndim, None
    is_rgba = channel_axis is not None and kinds[channel_axis] == "rgba-color"
    return Geometry(
        letters,
        tuple(sizes),
        unit,
        affine,
        channel_axis,
        3 if is_rgba and channel_axis is not None and fields.shape[channel_axis] == 4 else None,
        time_step,
        tuple(notes),
        is_assumed,
        remark,
    )


def _letters(
    kinds: list[str], space: list[int], time_axis: int | None, ndim: int
) -> tuple[str, int | None]:
    """Return one letter per axis, and the axis of coupled channels."""
    letters, channel_axis = ["Q"] * ndim, None
    for letter, i in zip("XYZ", space, strict=False):
        letters[i] = letter
    for i, kind in enumerate(kinds):
        if i in space:
            continue
        if i == time_axis or kind == "time":
            letters[i] = "T"
        elif kind in _COLOUR_KINDS | _VECTOR_KINDS:
            letters[i] = "S" if kind in _COLOUR_KINDS else "C"
            channel_axis = i
        elif kind not in ("???", "none", "domain", "space"):
            letters[i] = "C"
    return "".join(letters), channel_axis


def _directions(
    header: dict[str, Any], ndim: int
) -> tuple[NDArray[np.float64], int | None, float | None]:
    """Return the direction of each axis, NaN for axes without one, and the time axis with its step.

    A space with time has a fourth coordinate.
    """
    given = header.get("space directions")
    rows = np.full((ndim, 3), np.nan)
    if given is None:
        return rows, None, None
    matrix = [[math.nan] if row is None else np.asarray(row, np.float64).tolist() for row in given]
    if len(matrix) != ndim:
        raise InputError(
            "damaged: it does not give one direction for each axis", Remedy.REPLACE_DAMAGED
        )
    time_axis, time_step = None, None
    for i, row in enumerate(matrix):
        if not np.isfinite(row).all():
            continue
        if len(row) == 4 and not any(row[:3]) and row[3]:
            time_axis, time_step = i, abs(row[3])
        else:
            rows[i] = [*row, 0.0, 0.0][:3]
    return rows, time_axis, time_step


def _affine(
    header: dict[str, Any],
    directions: NDArray[np.float64],
    space: list[int],
    shape: tuple[int, ...],
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Return the transform from x, y, z to RAS; ``None`` where the space has no such directions."""
    name = str(header.get("space", "")).lower().removesuffix("-time")
    name = name[:-1] if name in ("rast", "last", "lpst") else name
    if name not in _SPACES or not np.isfinite(directions[space]).all() or not space:
        return None, []
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    affine[:3, : len(space)] = directions[space].T
    origin = np.asarray(header.get("space origin", np.zeros(3)), np.float64).ravel()[:3]
    affine[:3, 3] = np.where(np.isfinite(origin), origin, 0.0) if len(origin) == 3 else 0.0
    sizes = [shape[i] for i in space] + [1] * (3 - len(space))
    return checked(_SPACES[name] @ affine, sizes, "space directions")


def _unit(
    header: dict[str, Any], space: list[int], sizes: list[float | None]
) -> tuple[str, bool, str]:
    """Return the unit of length, whether it is assumed, and a remark on an unusable one."""
    if all(size is None for size in sizes):
        return "pixel", False, ""
    if "space directions" in header:
        texts = [str(text) for text in header.get("space units", [])][:3]
    else:
        own = header.get("units", [])
        texts = [str(own[i]) for i in space if i < len(own)]
    texts = [text.strip().strip('"') for text in texts]
    named = {text for text in texts if text and text != "???"}
    if not named:
        return "millimeter", True, ""
    try:
        names = {units.canonical(text) for text in named}
    except ValueError:
        names = set()
    if len(names) != 1:
        return "pixel", False, f"its units of length are {', '.join(sorted(named))}"
    return names.pop(), False, ""


def _seconds(header: dict[str, Any], axis: int, step: float) -> float | None:
    """Return a time step in seconds; its unit is s where the header gives none."""
    own = header.get("units", [])
    text = str(own[axis]).strip().strip('"') if axis < len(own) else ""
    factor = 1.0 if text in ("", "???") else time_units.seconds(text)
    return None if factor is None else step * factor


def geometry_lines(like: Volume) -> list[str]:
    """Return the fields for axes, voxel size, unit and orientation of another format."""
    empty, letters = in_standard_order(np.broadcast_to(0, like.shape), like.axes)
    colours = {3: "RGB-color", 4: "RGBA-color"}.get(empty.shape[-1], "vector")
    kinds = {"T": "time", "S": colours} | dict.fromkeys("XYZ", "domain")
    lines = [f"kinds: {' '.join(kinds.get(letter, 'list') for letter in letters)}"]
    unit = like.unit if like.unit != "pixel" else "millimeter"
    affine, sizes = affine_in(like, unit), sizes_in(like, unit)
    symbol = "um" if unit == "micrometer" else units.symbol(unit)
    if affine is not None:
        rows = [
            _vector(affine[:3, "XYZ".index(letter)]) if letter in "XYZ" else "none"
            for letter in letters
        ]
        lines += [
            "space: right-anterior-superior",
            f"space directions: {' '.join(rows)}",
            f"space origin: {_vector(affine[:3, 3])}",
            f'space units: "{symbol}" "{symbol}" "{symbol}"',
        ]
    elif sizes:
        steps = sizes | ({"T": like.time_step} if like.time_step else {})
        names = dict.fromkeys(sizes, symbol) | ({"T": "s"} if like.time_step else {})
        lines += [
            f"spacings: {' '.join(repr(steps.get(letter, math.nan)) for letter in letters)}",
            "units: " + " ".join(f'"{names.get(letter, "")}"' for letter in letters),
        ]
    return lines


def _vector(numbers: Any) -> str:
    return f"({','.join(repr(float(number)) for number in numbers)})"
