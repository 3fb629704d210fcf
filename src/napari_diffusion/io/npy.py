"""NumPy files (.npy): an array without metadata.

The last two axes are taken as y and x, and the kind of the others is unknown. Axes of a few samples
beside longer ones are not taken as y or x.
"""

from __future__ import annotations

import math
import os
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.axes.names import space_axes
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.flat_file import FlatFile
from napari_diffusion.io.volume import Format, Volume

#: Held while NumPy parses a header: in Python 3.11, parsing in two threads at once may fail with a
#: SystemError (python/cpython#106905).
_PARSING = Lock()
if hasattr(os, "register_at_fork"):  # a forked process would otherwise keep a lock that was held
    _free = _PARSING.release
    os.register_at_fork(before=_PARSING.acquire, after_in_parent=_free, after_in_child=_free)


def mapped(path: Path) -> Any:
    """Return the array of a file as a memory map; threads may call this at the same time."""
    with _PARSING:  # a pickle could run code while it is loaded
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _read(path: Path) -> Volume:
    with catch_warnings():
        # NumPy warns of headers that Python 2 has written, and reads them.
        simplefilter("ignore", UserWarning)
        return _read_array(path)


def _read_array(path: Path) -> Volume:
    size, declared = path.stat().st_size, _declared_size(path)
    if declared is not None and declared > size:
        raise InputError(
            f"damaged: its header declares {declared:,} bytes, and it has {size:,}",
            Remedy.REPLACE_DAMAGED,
        )
    data = mapped(path)
    if not isinstance(data, np.memmap) or data.ndim == 0 or data.dtype.kind not in "biuf":
        kind = f"{data.ndim} axes of {data.dtype}" if isinstance(data, np.ndarray) else "an archive"
        raise InputError(f"it holds {kind}, and an image has at least one axis of numbers")
    axes = _letters(data.shape)
    rest = size - data.offset - data.nbytes
    return Volume(
        data,
        axes,
        tuple(1.0 if letter in "XY" else None for letter in axes),
        format="NumPy",
        path=path,
        stored=data.dtype,
        notes=(f"{rest:,} bytes follow its array; they are left out.",) if rest > 0 else (),
    )


def _letters(shape: tuple[int, ...]) -> str:
    """Return the letter of each axis: y and x for the last two, unless one has a few samples.

    An axis of a few samples beside longer axes holds colours or channels more often than rows.
    """
    place = space_axes([None] * len(shape), shape, [False] * len(shape))[-2:]
    letters = ["Q"] * len(shape)
    for letter, i in zip("YX"[-len(place) :], place, strict=True):
        letters[i] = letter
    return "".join(letters)


def _declared_size(path: Path) -> int | None:
    """Return the size of the file that its header declares [bytes]; ``None`` if it is unknown."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0}
    readers[2, 0] = np.lib.format.read_array_header_2_0
    with path.open("rb") as file, _PARSING:
        try:
            shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
        except (ValueError, KeyError):
            return None
        return file.tell() + math.prod(shape) * dtype.itemsize


def _write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    with path.open("wb") as file:
        np.save(file, data, allow_pickle=False)


def _dry_write(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> int:
    header = BytesIO()
    # An empty array with these axes has a header of the same length, up to the digits of its size.
    np.save(header, np.empty((0, *like.shape[1:]), dtype), allow_pickle=False)
    return len(header.getvalue()) + math.prod(like.shape) * dtype.itemsize


def _lay_out(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> FlatFile:
    array = np.lib.format.open_memmap(path, "w+", dtype, like.shape)
    return FlatFile.in_order(like.shape, dtype, int(array.offset), range(len(like.shape)))


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    return dtype


FORMAT = Format(
    "NumPy",
    (".npy",),
    _read,
    _write,
    _storable,
    _dry_write,
    keeps="the numbers only",
    lay_out=_lay_out,
)
