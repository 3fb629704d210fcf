"""Fingerprint of a run in blocks: its recipe, version, source and regions."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: Files of a source whose size and time of change are part of the fingerprint.
_SAMPLED_FILES = 256
#: Folders of a source that are searched for them.
_SEARCHED_FOLDERS = 64


def fingerprint_of(settings: dict[str, Any], paths: Sequence[Path]) -> str:
    """Return a text that differs where settings or files differ.

    Parameters
    ----------
    settings
        Settings that decide on the bits of the result, as plain JSON types.
    paths
        Files and stores that the run reads. Of a store with many files, the metadata and a fixed
        selection of the files count. They are compared by size and time of change.
    """
    sampled = [sorted(_states(path)) for path in paths]
    text = json.dumps([settings, sampled], sort_keys=True, default=str)
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
