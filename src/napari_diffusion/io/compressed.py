"""Reading of a file from its first byte to its last, where it may be compressed.

gzip and bzip2 are read. What a header declares is compared with the file before memory is taken. A
compressed file is read to its end, because its checksum is there.
"""

from __future__ import annotations

import bz2
import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, NotEnoughMemory, Remedy, reason_of
from napari_diffusion.core.resources import format_bytes, free_memory

#: gzip makes at most so many bytes of one.
LARGEST_RATIO = 1032
#: bzip2 makes at most so many bytes of one: 45.9 MB of a block of 38 bytes or more.
LARGEST_BZIP2_RATIO = 1_300_000
#: Bytes that may follow the image in a compressed file, such as padding. They are read, too.
ALLOWED_REST = 1 << 20
#: Bytes that are decompressed at a time.
_CHUNK = 1 << 20
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"


class CheckedFile:
    """A file that is open for reading; its content decides whether it is compressed.

    Attributes
    ----------
    path
        Path of the file.
    size
        Size of the file as it is stored [bytes].
    is_compressed
        Whether the content begins as gzip or bzip2 does.

    Parameters
    ----------
    path
        Path of the file.
    start
        First byte of the content, for a header in front of compressed data.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self.path = path
        self._file = path.open("rb")
        self._file.seek(start)
        self.size = path.stat().st_size
        beginning = self._file.peek(len(_BZIP2))
        self._content: Any = self._file
        self._largest_ratio = 1
        if beginning.startswith(_GZIP):
            self._content, self._largest_ratio = gzip.GzipFile(fileobj=self._file), LARGEST_RATIO
        elif beginning.startswith(_BZIP2):
            self._content = bz2.BZ2File(self._file)
            self._largest_ratio = LARGEST_BZIP2_RATIO
        self.is_compressed = self._content is not self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._content.close()
        self._file.close()

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes of the content, or all that are left.

        Raises
        ------
        InputError
            When the compressed data are damaged.
        """
        with _damage_described():
            content: bytes = self._content.read(count)
        return content

    def fill(self, array: NDArray[np.uint8]) -> None:
        """Fill an array with the next bytes of the content.

        Raises
        ------
        InputError
            When the content ends before, or when the compressed data are damaged.
        """
        filled, buffer = 0, array.data
        while filled < len(buffer):
            with _damage_described():
                count = self._content.readinto(buffer[filled : filled + _CHUNK])
            if not count:
                raise InputError(
                    f"damaged: it ends after {filled:,} of the {len(buffer):,} bytes of its image",
                    Remedy.REPLACE_DAMAGED,
                )
            filled += count

    def rest(self) -> bytes:
        """Read to the end, which verifies the checksum, and return what is left of the content.

        Raises
        ------
        InputError
            When the compressed data are damaged, or when more than `ALLOWED_REST` bytes are left.
        """
        rest = self.read(ALLOWED_REST + 1)
        if len(rest) > ALLOWED_REST:
            raise InputError(
                f"damaged: its content goes on for more than {ALLOWED_REST:,} bytes after the "
                "image that its header declares",
                Remedy.REPLACE_DAMAGED,
            )
        return rest

    def after(self, offset: int) -> bytes:
        """Return up to `ALLOWED_REST` bytes of a file without compression, from ``offset`` on."""
        self._file.seek(offset)
        return self._file.read(ALLOWED_REST)

    def values_and_rest(
        self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], order: Literal["C", "F"]
    ) -> tuple[Array, bytes]:
        """Return values, memory-mapped or decompressed, and what follows them.

        Parameters
        ----------
        offset
            Bytes in front of the values; they have been read.
        shape, dtype, order
            Shape, stored type and order of the values.

        Raises
        ------
        InputError, NotEnoughMemory
            As `fill`, `rest` and `check_memory`.
        """
        size = math.prod(shape) * dtype.itemsize
        if not self.is_compressed:
            mapped: Array = np.memmap(self.path, dtype, "r", offset, shape, order=order)
            return mapped, self.after(offset + size)
        check_memory(size, self.path)
        content = np.empty(size, np.uint8)
        self.fill(content)
        return content.view(dtype).reshape(shape, order=order), self.rest()

    def check_declared(self, declared: int) -> None:
        """Check that the file can hold the content that its header declares [bytes].

        Raises
        ------
        InputError
            When the file is too small.
        """
        if not self.is_compressed:
            if declared > self.size:
                raise InputError(
                    f"damaged: its header declares {declared:,} bytes, and it has {self.size:,}",
                    Remedy.REPLACE_DAMAGED,
                )
            return
        if declared > self.size * self._largest_ratio:
            raise InputError(
                f"damaged: its header declares {declared:,} bytes, more than its {self.size:,} "
                "compressed bytes can hold",
                Remedy.REPLACE_DAMAGED,
            )


def fill_from_zlib(array: NDArray[np.uint8], path: Path, start: int) -> None:
    """Fill an array from a stream of zlib that begins at ``start`` in a file.

    Raises
    ------
    InputError
        When the stream cannot be decoded, has a wrong checksum, or is too short.
    """
    decoder, size = zlib.decompressobj(), 0
    with path.open("rb") as file, _damage_described():
        file.seek(start)
        while not decoder.eof and size <= len(array) + ALLOWED_REST:
            block = decoder.unconsumed_tail or file.read(_CHUNK)
            if not block:
                raise EOFError
            part = np.frombuffer(decoder.decompress(block, _CHUNK), np.uint8)
            array[size : size + len(part)] = part[: max(0, len(array) - size)]
            size += len(part)
    if size < len(array):
        raise InputError(
            f"damaged: it ends after {size:,} of the {len(array):,} bytes of its image",
            Remedy.REPLACE_DAMAGED,
        )


def text_values(path: Path, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return values that are written as numbers in words, in C order.

    Raises
    ------
    InputError
        When the file has fewer or more words than the shape.
    """
    count, size = math.prod(shape), path.stat().st_size
    if 2 * count - 1 > size - start:
        raise InputError(
            f"damaged: its header declares {count:,} numbers, and {size - start:,} bytes are left",
            Remedy.REPLACE_DAMAGED,
        )
    check_memory(100 * size, path)  # Python takes so many bytes for a number of two letters
    with path.open("rb") as file:
        file.seek(start)
        words = file.read().split()
    if len(words) != count:
        raise InputError(
            f"damaged: its header declares {count:,} numbers, and it has {len(words):,}",
            Remedy.REPLACE_DAMAGED,
        )
    values: Array = np.array(words).astype(dtype).reshape(shape)
    return values


def check_memory(needed: int, path: Path) -> None:
    """Refuse a file whose content does not fit into the free memory.

    Parameters
    ----------
    needed
        Memory for the content [bytes].
    path
        The file.

    Raises
    ------
    NotEnoughMemory
        With both sizes.
    """
    free = free_memory()
    if needed > free.size:
        raise NotEnoughMemory(
            f"its pixels need {format_bytes(needed)} of memory, and {free}", path=path
        )


@contextmanager
def _damage_described() -> Iterator[None]:
    """Say in words what is wrong with compressed data."""
    try:
        yield
    except EOFError:
        reason = "its compressed data end too early"
    except zlib.error:
        reason = "its compressed data cannot be decoded"
    except gzip.BadGzipFile as error:
        reason = f"its compressed data have a wrong checksum or frame ({reason_of(error)})"
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise
        reason = "its compressed data cannot be decoded"  # bzip2 has no error of its own
    else:
        return
    raise InputError(f"damaged: {reason}", Remedy.REPLACE_DAMAGED)
