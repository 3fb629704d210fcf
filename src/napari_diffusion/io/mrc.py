"""MRC and CCP4 maps of electron microscopy (.mrc, .map, .rec, .st, .ali), through mrcfile.

Bytes are signed, except in files of IMOD, whose bytes count from 0 to 255.
The unit is the angstrom. The header, its labels and the extended header are kept. The axes of the
array are sections, rows and columns; the header says which of them is x, y and z. A stack of
pictures, such as a tilt series, has no z axis.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.compressed import CheckedFile, check_memory
from napari_diffusion.io.orientation import in_standard_order, sizes_in
from napari_diffusion.io.volume import Format, Volume, no_values, require

_SIZE = 1024
_UNIT = "angstrom"
#: Modes by the codes of the values.
_MODES = {"i1": 0, "i2": 1, "f4": 2, "u2": 6}
_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
#: Stamp of IMOD, and the flag for signed bytes in the number behind it.
_IMOD_STAMP, _SIGNED_BYTES = 1146047817, 1
#: IMOD stores bytes from 0 to 255 less this number where it marks them as signed.
_SIGNED_ZERO = 128
_STAMP_AT, _FLAGS_AT = 152, 156
#: Place of the size of the extended header.
_EXTENDED_AT = 92
#: Suffixes of tilt series.
_STACKS = (".st", ".ali")
#: Kinds of extended headers of tilt series: those of SerialEM.
_STACK_HEADERS = {b"SERI"}
#: Space groups: pictures, and volumes one behind the other.
_PICTURES, _VOLUMES = 0, range(401, 631)
_SUFFIXES = (".mrc", ".map", ".rec", ".st", ".ali", ".mrcs", ".ccp4")
_PACKED = tuple(f"{suffix}{pack}" for suffix in _SUFFIXES for pack in (".gz", ".bz2"))


def _volume(path: Path, *, values: bool) -> Volume:
    with CheckedFile(path) as file:
        block = file.read(_SIZE)
        header, notes = _header(block)
        extended = int(header["nsymbt"])
        dtype, is_unsigned = _dtype(header, block)
        shape = tuple(int(header[name]) for name in ("nz", "ny", "nx"))
        if min(shape) < 1 or extended < 0:
            declared = " x ".join(map(str, shape[::-1]))
            raise InputError(f"its header declares {declared} samples, so it has no image")
        size = math.prod(shape) * dtype.itemsize
        file.check_declared(_SIZE + extended + size)
        check_memory(extended, path)
        extension = file.read(extended)
        raw, rest = no_values(shape, dtype), b""
        if values:
            raw, rest = file.values_and_rest(_SIZE + extended, shape, dtype, "C")
    if values and is_unsigned and block[_flags_place(header)] & _SIGNED_BYTES:
        check_memory(size, path)
        raw = raw ^ np.uint8(_SIGNED_ZERO)
        header = _with_unsigned_bytes(header)
    if rest:
        notes.append(f"{len(rest):,} bytes follow its image; they are left out.")
    letters, order_notes = _axes(header, path)
    sizes, size_notes = _sizes(header, letters)
    if header["ispg"] in _VOLUMES and int(header["mz"]) > 1 and shape[0] % int(header["mz"]) == 0:
        raw = raw.reshape(-1, int(header["mz"]), *shape[1:])
        letters, sizes = "V" + letters, (None, *sizes)
    return Volume(
        raw,
        letters,
        sizes,
        _UNIT if any(sizes) else "pixel",
        format="MRC",
        header=(header, extension, is_unsigned),
        path=path,
        stored=raw.dtype,
        notes=(*notes, *order_notes, *size_notes),
    )


def _header(block: bytes) -> tuple[Any, list[str]]:
    """Return the header in its byte order, and what mrcfile objects to."""
    interpreter = require("mrcfile.mrcinterpreter", "MRC files", "formats").MrcInterpreter
    if len(block) < _SIZE:
        raise InputError(
            f"damaged: it ends within its header, after {len(block):,} bytes",
            Remedy.REPLACE_DAMAGED,
        )
    # mrcfile takes the memory for an extended header of any size.
    bounded = block[:_EXTENDED_AT] + bytes(4) + block[_EXTENDED_AT + 4 :]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parsed = interpreter(BytesIO(bounded), permissive=True, header_only=True).header
    header = np.frombuffer(bytearray(block), parsed.dtype)[0:1].reshape(()).copy()
    reasons = ["; ".join(str(each.message).split("\n")) for each in caught]
    return header, [f"It is no regular MRC file ({reason})." for reason in reasons]


def _dtype(header: Any, block: bytes) -> tuple[np.dtype[Any], bool]:
    """Return the type of a value, and whether bytes are unsigned, as in files of IMOD."""
    mode = int(header["mode"])
    if mode in (3, 4):
        raise InputError("its values are complex numbers, and an image has real ones")
    if mode not in _TYPES:
        raise InputError(f"its header declares the mode {mode}, which cannot be read")
    order = _order(header)
    stamp = int.from_bytes(block[_STAMP_AT : _STAMP_AT + 4], "little" if order == "<" else "big")
    is_unsigned = mode == 0 and stamp == _IMOD_STAMP
    return np.dtype("u1" if is_unsigned else order + _TYPES[mode]), is_unsigned


def _order(header: Any) -> Literal["<", ">"]:
    return "<" if header.dtype["nx"] == np.dtype("<i4") else ">"


def _flags_place(header: Any) -> int:
    """Return the place of the lowest byte of the flags of IMOD."""
    return _FLAGS_AT if _order(header) == "<" else _FLAGS_AT + 3


def _with_unsigned_bytes(header: Any) -> Any:
    """Return the header of IMOD for bytes from 0 to 255 that are stored as they are."""
    block = bytearray(header.tobytes())
    block[_flags_place(header)] &= 0xFF ^ _SIGNED_BYTES
    return np.frombuffer(block, header.dtype)[0:1].reshape(()).copy()


def _axes(header: Any, path: Path) -> tuple[str, list[str]]:
    """Return the letters of sections, rows and columns, and notes about them."""
    numbers = [int(header[name]) for name in ("maps", "mapr", "mapc")]
    notes = []
    if sorted(numbers) != [1, 2, 3]:
        if any(numbers):
            notes.append(f"Its axes are {numbers[::-1]}, which is no order; x, y, z is used.")
        numbers = [3, 2, 1]
    letters = "".join("XYZ"[number - 1] for number in numbers)
    count = int(header["nz"])
    name = path.name.lower()
    is_stack = any(name.endswith(suffix) or f"{suffix}." in name for suffix in _STACKS)
    is_stack |= bytes(header["exttyp"]) in _STACK_HEADERS
    is_stack |= int(header["ispg"]) == _PICTURES and int(header["mz"]) == 1
    return ("I" + letters[1:] if is_stack and count > 1 else letters), notes


def _sizes(header: Any, letters: str) -> tuple[tuple[float | None, ...], list[str]]:
    """Return the voxel size along each axis [Å], and notes about it."""
    sizes: dict[str, float | None] = {}
    for letter in "XYZ":
        count = int(header[f"m{letter.lower()}"])
        length = float(header["cella"][letter.lower()])
        sizes[letter] = length / count if count > 0 and 0 < length < math.inf else None
    notes = []
    angles = [float(header["cellb"][name]) for name in ("alpha", "beta", "gamma")]
    if any(angle and abs(angle - 90) > 0.06 for angle in angles):
        text = ", ".join(f"{angle:.4g}" for angle in angles)
        notes.append(
            f"The angles of its axes are {text} degrees; the filter takes them as orthogonal."
        )
    used = [sizes.get(letter) for letter in letters if letter in "XYZ"]
    if all(size == 1.0 for size in used):
        notes.append(
            "Its voxel size is 1 Å, which many programs write when they do not know the size."
        )
    return tuple(sizes.get(letter) for letter in letters), notes


def _write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    header, extension = _result_header(data.dtype, like)
    if like.format != "MRC":
        data = in_standard_order(data, like.axes)[0].T
    else:
        data = data.reshape(-1, *data.shape[-2:])
    count = data.size
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    order = _order(header)
    with path.open("wb") as file:
        file.write(header.tobytes() + extension)
        for plane in data:
            file.write(plane.astype(data.dtype.newbyteorder(order)).tobytes())
            finite = plane[np.isfinite(plane)].astype(np.float64)
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
                total, squares = total + float(finite.sum()), squares + float((finite**2).sum())
        if count and low <= high:
            mean = total / count
            deviation = math.sqrt(max(squares / count - mean**2, 0.0))
            for name, number in zip(
                ("dmin", "dmax", "dmean", "rms"), (low, high, mean, deviation), strict=True
            ):
                header[name] = number
        file.seek(0)
        file.write(header.tobytes())


def _result_header(dtype: np.dtype[Any], like: Volume) -> tuple[Any, bytes]:
    """Return header and extended header of a result; statistics follow later."""
    if like.format == "MRC":
        header, extension = like.header[0].copy(), like.header[1]
        header["mode"] = 0 if dtype.itemsize == 1 else _MODES[dtype.newbyteorder("=").str[1:]]
        return header, extension
    dtypes = require("mrcfile.dtypes", "MRC files", "formats")
    header = np.zeros((), dtypes.HEADER_DTYPE.newbyteorder("<"))
    shape = in_standard_order(np.broadcast_to(0, like.shape), like.axes)[0].shape
    sizes = sizes_in(like, _UNIT)
    for letter, count in zip("xyz", shape, strict=True):
        header[f"n{letter}"] = header[f"m{letter}"] = count
        header["cella"][letter] = sizes.get(letter.upper(), 0.0) * count
    header["cellb"] = (90.0, 90.0, 90.0)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["mode"] = _MODES[dtype.newbyteorder("=").str[1:]]
    header["ispg"] = 1
    header["nversion"] = 20141
    header["map"], header["machst"] = b"MAP ", (0x44, 0x44, 0, 0)
    header["nlabl"] = 1
    header["label"][0] = b"napari-diffusion"
    return header, b""


def _dry_write(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> int:
    _, extension = _result_header(dtype, like)
    return _SIZE + len(extension) + math.prod(like.shape) * dtype.itemsize


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    if suffix in _PACKED:
        raise InputError("MRC results are not compressed", Remedy.WRITE_ANOTHER_FORMAT)
    others = [letter for letter in like.axes if letter not in "XYZ"]
    if like.format != "MRC" and others:
        raise InputError(
            f"MRC holds x, y and z, and the image has the axes {', '.join(like.axes)}",
            Remedy.WRITE_ANOTHER_FORMAT,
        )
    native = dtype.newbyteorder("=")
    if native == np.uint8:  # bytes are signed, except in files of IMOD that say otherwise
        own = like.format == "MRC" and like.header[2]
        return native if own else np.dtype(np.uint16)
    if native == np.int8 and like.format == "MRC" and like.header[2]:
        return np.dtype(np.int16)
    if native.str[1:] in _MODES:
        return native
    if native.kind == "b":
        return np.dtype(np.int16)
    if native.kind == "f":
        return np.dtype(np.float32)
    raise InputError(f"MRC holds no {native} values", Remedy.WRITE_FLOATING_POINT)


FORMAT = Format(
    "MRC",
    (*_PACKED, *_SUFFIXES),
    partial(_volume, values=True),
    _write,
    _storable,
    _dry_write,
    read_metadata=partial(_volume, values=False),
    results={packed: packed.rpartition(".")[0] for packed in _PACKED},
)
