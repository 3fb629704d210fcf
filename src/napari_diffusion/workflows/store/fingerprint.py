"""Fingerprint of a run in blocks: its recipe, version, source and regions."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: Files of a source whose size and time of change are part of the fingerprint.
_SAMPLED_FILES = 256
#: Folders of a source that are searched for them.
_SEARCHED_FOLDERS = 64
#: Places of a lazy array whose values are part of the fingerprint, and their length along an axis.
_SAMPLED_PLACES, _SAMPLE_LENGTH = 8, 8


def fingerprint_of(
    settings: dict[str, Any], paths: Sequence[Path], arrays: Sequence[Any] = ()
) -> str:
    """Return a text that differs where settings, files or arrays differ.

    Parameters
    ----------
    settings
        Settings that decide on the bits of the result, as plain JSON types.
    paths
        Files and stores that the run reads. Of a store with many files, the metadata and a fixed
        selection of the files count. They are compared by size and time of change.
    arrays
        Arrays that the run reads. All values of a NumPy array count, and some of a lazy one.
    """
    sampled = [sorted(_states(path)) for path in paths]
    values = [_state_of_array(array) for array in arrays]
    text = json.dumps([settings, sampled, values], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _states(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of change of a file, or of some files of a folder."""
    if not path.is_dir():
        state = path.stat()
        yield path.name, state.st_size, state.st_mtime_ns
        return
    count = 0
    for folders, (folder, names, files) in enumerate(os.walk(path), 1):
        names.sort()
        for name in sorted(files):
            state = os.stat(os.path.join(folder, name))
            yield (
                os.path.relpath(os.path.join(folder, name), path),
                state.st_size,
                state.st_mtime_ns,
            )
            count += 1
        if count >= _SAMPLED_FILES or folders >= _SEARCHED_FOLDERS:
            return


def _state_of_array(array: Any) -> list[Any]:
    """Return shape, data type and a checksum of an array."""
    shape, checksum = [int(n) for n in array.shape], 0
    parts = _planes(array) if isinstance(array, np.ndarray) else _places(array)
    for part in parts:
        values: Any = np.ascontiguousarray(part).view(np.uint8)
        checksum = zlib.crc32(values.reshape(-1), checksum)
    return [shape, str(array.dtype), checksum]


def _planes(array: Any) -> Iterator[Any]:
    """Yield all values of an array, one index of the first axis at a time."""
    yield from (np.atleast_1d(plane) for plane in array)


def _places(array: Any) -> Iterator[Any]:
    """Yield the values at some places on the diagonal of an array."""
    for number in range(_SAMPLED_PLACES):
        starts = [max(0, n - _SAMPLE_LENGTH) * number // (_SAMPLED_PLACES - 1) for n in array.shape]
        yield np.asarray(array[tuple(slice(a, a + _SAMPLE_LENGTH) for a in starts)])
