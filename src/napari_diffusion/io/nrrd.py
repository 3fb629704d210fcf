"""NRRD files (.nrrd, .nhdr), whose header pynrrd reads.

All lines of the header are kept, except for those that describe the stored numbers. The values are
in the order of the header: the first axis varies fastest. A result is raw, in one file.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError
from napari_diffusion.io.compressed import ALLOWED_REST, CheckedFile, check_memory, text_values
from napari_diffusion.io.nrrd_header import (
    CODES,
    Fields,
    geometry_lines,
    geometry_of,
    parse,
)
from napari_diffusion.io.orientation import in_standard_order
from napari_diffusion.io.volume import (
    Format,
    Volume,
    data_file_of,
    no_values,
    only_read,
    storable_dtype,
)

#: Largest header [bytes].
_LONGEST_HEADER = 1 << 20
#: Fields that describe the stored numbers and their place; a result has its own.
_REPLACED = {"type", "endian", "encoding", "datafile", "byteskip", "lineskip", "sizes", "dimension"}
_REPLACED |= {"min", "max", "oldmin", "oldmax", "blocksize"}
_RECIPE = "napari_diffusion_recipe"
#: Types of stored numbers.
_DTYPES = {np.dtype(code) for code in CODES}


def _volume(path: Path, *, values: bool) -> Volume:
    lines, end = _header_of(path)
    fields = parse(lines)
    data_path, start = _data_file(path, fields, end)
    raw: Array = no_values(fields.shape, fields.dtype)
    rest: list[str] = []
    if values:
        raw, rest = _values(data_path, start, fields)
    geometry = geometry_of(fields)
    return Volume(
        raw,
        geometry.letters,
        geometry.spacing,
        geometry.unit,
        geometry.channel_axis,
        time_step=geometry.time_step,
        format="NRRD",
        header=lines,
        path=path,
        stored=raw.dtype,
        alpha=geometry.alpha,
        members=(path, data_path) if data_path != path else (),
        affine=geometry.affine,
        notes=(*geometry.notes, *rest),
        unit_is_assumed=geometry.unit_is_assumed,
        size_remark=geometry.remark,
    )


def _header_of(path: Path) -> tuple[list[str], int]:
    """Return the lines of the header, and the number of its bytes."""
    with path.open("rb") as file:
        block = file.read(_LONGEST_HEADER)
    if not block.startswith(b"NRRD000"):
        raise InputError("it does not begin as NRRD files do")
    ends = [block.find(mark) + len(mark) for mark in (b"\n\n", b"\n\r\n") if mark in block]
    end = min(ends, default=len(block))
    if not ends and len(block) == _LONGEST_HEADER:
        raise InputError(f"damaged: its header has no end within {_LONGEST_HEADER:,} bytes")
    try:
        text = block[:end].decode("utf-8")
    except UnicodeDecodeError:
        text = block[:end].decode("latin-1")
    return [line.rstrip("\r") for line in text.split("\n")], end


def _data_file(path: Path, fields: Fields, end: int) -> tuple[Path, int]:
    """Return the file of the values, and the number of bytes in front of them."""
    name = fields.data_file
    if name is None:
        return path, end
    return data_file_of(path, name), 0


def _values(path: Path, start: int, fields: Fields) -> tuple[Array, list[str]]:
    """Return the stored values, memory-mapped or decompressed, and notes about what follows."""
    size = math.prod(fields.shape) * fields.dtype.itemsize
    start = _after_lines(path, start, fields.line_skip)
    if fields.encoding == "text":
        # The first axis varies fastest.
        return text_values(path, start, fields.shape[::-1], fields.dtype).T, []
    if fields.encoding == "raw":
        total = path.stat().st_size
        offset = total - size if fields.byte_skip < 0 else start + fields.byte_skip
        with CheckedFile(path) as file:
            file.check_declared(max(offset, start) + size)
        raw: Array = np.memmap(path, fields.dtype, "r", offset, fields.shape, order="F")
        return raw, _note_on_rest(total - offset - size)
    skip = max(fields.byte_skip, 0)
    with CheckedFile(path, start) as file:
        if not file.is_compressed:
            raise InputError("damaged: its values are not compressed as its header says")
        if skip > ALLOWED_REST:
            raise InputError(f"its header declares {skip:,} bytes in front of its values")
        file.check_declared(skip + size)
        check_memory(size, path)
        content = np.empty(size, np.uint8)
        file.read(skip)
        file.fill(content)
        rest = file.rest()
    if fields.byte_skip < 0 and rest:  # the values end the content
        content = np.concatenate([content, np.frombuffer(rest, np.uint8)])[len(rest) :]
        rest = b""
    values: Array = content.view(fields.dtype).reshape(fields.shape, order="F")
    return values, _note_on_rest(len(rest))


def _note_on_rest(count: int) -> list[str]:
    return [f"{count:,} bytes follow its image; they are left out."] if count > 0 else []


def _after_lines(path: Path, start: int, count: int) -> int:
    """Return the place after some lines, which may precede the values."""
    with path.open("rb") as file:
        file.seek(start)
        for _ in range(min(count, _LONGEST_HEADER)):
            if not file.readline(_LONGEST_HEADER):
                break
        return file.tell()


def _write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    header = _header_text(data.dtype, like, recipe)
    if like.format != "NRRD":
        data, _ = in_standard_order(data, like.axes)
    with path.open("wb") as file:
        file.write(header)
        for plane in data.T:  # the first axis varies fastest
            file.write(plane.tobytes())


def _dry_write(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> int:
    return len(_header_text(dtype, like, recipe)) + math.prod(like.shape) * dtype.itemsize


def _header_text(dtype: np.dtype[Any], like: Volume, recipe: str) -> bytes:
    """Return the header of a result with the empty line at its end."""
    shape = like.shape
    if like.format != "NRRD":
        shape = in_standard_order(np.broadcast_to(0, like.shape), like.axes)[0].shape
    lines = [
        "NRRD0005",
        f"type: {CODES[dtype.newbyteorder('=').str[1:]]}",
        f"dimension: {len(shape)}",
        f"sizes: {' '.join(map(str, shape))}",
        "encoding: raw",
    ]
    if dtype.itemsize > 1:
        lines.append(f"endian: {'little' if np.little_endian else 'big'}")
    if like.format == "NRRD":
        lines += [line for line in like.header[1:] if line.strip() and _name(line) not in _REPLACED]
    else:
        lines += geometry_lines(like)
    if recipe:
        lines = [line for line in lines if not line.startswith(f"{_RECIPE}:=")]
        lines.append(f"{_RECIPE}:={_one_line(recipe)}")
    return ("\n".join(lines) + "\n\n").encode("utf-8")


def _name(line: str) -> str:
    """Return the name of the field of a line, without the spaces that are optional."""
    name, colon, rest = line.partition(":")
    return "" if line.startswith("#") or not colon or rest[:1] == "=" else name.replace(" ", "")


def _one_line(recipe: str) -> str:
    """Return a recipe without line ends, which would end its field."""
    try:
        return json.dumps(json.loads(recipe), ensure_ascii=False)
    except ValueError:
        return " ".join(recipe.split())


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    if suffix == ".nhdr":
        raise only_read("detached NRRD headers (.nhdr)")
    return storable_dtype(dtype, _DTYPES)


FORMAT = Format(
    "NRRD",
    (".nrrd", ".nhdr"),
    partial(_volume, values=True),
    _write,
    _storable,
    _dry_write,
    read_metadata=partial(_volume, values=False),
    results={".nhdr": ".nrrd"},
)
