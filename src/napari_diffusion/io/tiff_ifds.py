"""The chain of image file directories of a TIFF file, read without a decoder.

Decoders accept a chain that breaks off, and go on with the pages before the break. A file that is
cut short would be read as a smaller image.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from napari_diffusion.core.errors import InputError

#: Largest number of tags of a page; more are a sign of damage.
_MAX_TAGS = 4096
#: Size of a value of each TIFF type [byte].
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_SIZES |= {16: 8, 17: 8, 18: 8}
_INTEGER_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_IMAGE_DESCRIPTION = 270
#: Tags of the standard, and ImageJ's metadata. Values of private tags may be anywhere.
_FIRST_PRIVATE, _IMAGEJ_TAGS = 32768, (50838, 50839)
#: Tags that all pages of an image share, with their names for messages.
LAYOUT_TAGS = {
    256: "width",
    257: "height",
    258: "bits per sample",
    259: "compression",
    277: "samples per pixel",
    284: "order of samples",
    317: "prediction",
    339: "sample format",
}


@dataclass(frozen=True)
class Directory:
    """A page's directory.

    Attributes
    ----------
    start, stop
        Its place in the file [byte].
    values
        Places of the values of its tags outside of it [byte].
    entries
        Type, count and value field of each tag by its code.
    order
        Byte order as `struct` writes it.
    """

    start: int
    stop: int
    entries: dict[int, tuple[int, int, bytes]] = field(repr=False)
    order: str = "<"
    values: tuple[tuple[int, int], ...] = ()

    def number(self, code: int) -> int | None:
        """Return the value of a tag that is one whole number, ``None`` for other tags."""
        kind, count, value = self.entries.get(code, (0, 0, b""))
        if count != 1 or kind not in _INTEGER_CODES:
            return None
        return int(struct.unpack_from(self.order + _INTEGER_CODES[kind], value)[0])


def truncated(name: str = "") -> InputError:
    """Return the error about a file that is shorter than its image.

    Parameters
    ----------
    name
        Name of the file if it is another file of a set.
    """
    return InputError(
        f"the file {name} ends before its image does; it is damaged".replace("  ", " ")
    )


def directories(path: Path) -> list[Directory]:
    """Return the directories of a file in their order.

    Raises
    ------
    InputError
        When the chain does not end as the format says: the file is cut short or damaged.
    """
    with path.open("rb") as file:
        chain = list(_walk(file))
    if not chain:
        raise InputError("it holds no image; it is damaged, or no TIFF")
    return chain


def first_description(path: Path) -> str:
    """Return the text of the first page's description; empty if the file is no TIFF or damaged."""
    try:
        with path.open("rb") as file:
            directory = next(_walk(file), None)
            if directory is None:
                return ""
            _, count, value = directory.entries.get(_IMAGE_DESCRIPTION, (0, 0, b""))
            if count > len(value):
                size = os.fstat(file.fileno()).st_size
                file.seek(int.from_bytes(value, "big" if directory.order == ">" else "little"))
                value = file.read(min(count, size))
    except (InputError, OSError, OverflowError, ValueError):
        return ""
    return value[:count].rstrip(b"\0").decode("utf-8", "replace")


def _walk(file: BinaryIO) -> Iterator[Directory]:
    size = os.fstat(file.fileno()).st_size
    order, is_big, offset = _header(file)
    visited: set[int] = set()
    while offset:
        if offset in visited:
            raise InputError("its list of pages is circular; it is damaged")
        if offset >= size:
            raise truncated()
        visited.add(offset)
        file.seek(offset)
        directory, offset = _directory(file, offset, order, is_big)
        if any(stop > size for _, stop in directory.values):
            raise truncated()
        yield directory


def _header(file: BinaryIO) -> tuple[str, bool, int]:
    """Return the byte order, whether offsets have 64 bits, and the offset of the first page."""
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    version = struct.unpack_from(f"{order}H", start, 2)[0] if order and len(start) >= 8 else 0
    if order is None or version not in (42, 43) or (version == 43 and len(start) < 16):
        raise InputError("it holds no image; it is damaged, or no TIFF")
    place, code = (8, "Q") if version == 43 else (4, "I")
    return order, version == 43, int(struct.unpack_from(order + code, start, place)[0])


def _directory(file: BinaryIO, start: int, order: str, is_big: bool) -> tuple[Directory, int]:
    """Return the directory at the position of the file, and the offset of the next one."""
    count_code, entry_code, offset_code = ("Q", "HHQ8s", "Q") if is_big else ("H", "HHI4s", "I")
    head = file.read(struct.calcsize(f"={count_code}"))
    if len(head) < struct.calcsize(f"={count_code}"):
        raise truncated()
    count = struct.unpack(order + count_code, head)[0]
    if not 0 < count <= _MAX_TAGS:
        raise InputError(f"one of its pages has {count} tags; it is damaged")
    entry = struct.Struct(order + entry_code)
    length = count * entry.size + struct.calcsize(f"={offset_code}")
    block = file.read(length)
    if len(block) < length:
        raise truncated()
    entries = {
        code: (kind, number, value)
        for code, kind, number, value in entry.iter_unpack(block[: count * entry.size])
    }
    following = struct.unpack_from(order + offset_code, block, count * entry.size)[0]
    values = []
    for code, (kind, number, value) in entries.items():
        extent = _TYPE_SIZES.get(kind, 0) * number
        if extent > len(value) and (code < _FIRST_PRIVATE or code in _IMAGEJ_TAGS):
            place = struct.unpack(order + offset_code, value)[0]
            values.append((place, place + extent))
    directory = Directory(start, start + len(head) + length, entries, order, tuple(values))
    return directory, int(following)
