"""Pairs of a header (.hdr) and an image (.img): NIfTI, and Analyze 7.5, from which NIfTI comes.

They are read with the checks of a single NIfTI file; a result is a single file. Analyze has no
orientation: programs differ in which side is left. Its result has none either.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core.errors import InputError
from napari_diffusion.io.compressed import CheckedFile
from napari_diffusion.io.nifti import values_of, volume_of
from napari_diffusion.io.nifti_header import (
    is_analyze,
    read_analyze_header,
    read_header,
)
from napari_diffusion.io.volume import Format, Volume, only_read, refuse_to_write

#: Suffixes of the two files, also compressed ones.
_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz", ".hdr.bz2", ".img.bz2")
#: Bytes of a header of NIfTI-1 and Analyze.
_HEADER_SIZE = 348
#: Bytes that are skipped at a time.
_CHUNK = 1 << 20


def _members(path: Path) -> tuple[Path, Path]:
    """Return header and image of a pair, in the same upper or lower case as the given file."""
    suffix = next(
        end for end in sorted(_SUFFIXES, key=len)[::-1] if path.name.lower().endswith(end)
    )
    stem = path.name[: -len(suffix)]
    is_upper = path.name[len(stem) + 1 :][:3].isupper()
    ends = (".HDR", ".IMG") if is_upper else (".hdr", ".img")
    members = []
    for end in ends:
        packed = [f"{end}{pack}" for pack in ("", path.name[len(stem) + 4 :], ".gz", ".bz2")]
        candidates = [path.with_name(stem + each) for each in packed]
        existing = [candidate for candidate in candidates if candidate.exists()]
        if not existing:
            raise InputError(f"the other file of its pair, {candidates[0].name}, is missing")
        members.append(existing[0])
    return members[0], members[1]


def _read(path: Path) -> Volume:
    header_path, image_path = _members(path)
    notes: tuple[str, ...] = ()
    scale = 1.0
    with CheckedFile(header_path) as file:
        block = file.read(_HEADER_SIZE)
    if is_analyze(block) and len(block) == _HEADER_SIZE:
        header, layout, scale = read_analyze_header(block)
        header["scl_slope"] = scale
        notes = ("An Analyze file does not say which side is left; the result has no orientation.",)
    else:
        with CheckedFile(header_path) as file:
            header, layout = read_header(file, pair=True)
    with CheckedFile(image_path) as file:
        file.check_declared(layout.offset + layout.size)
        if file.is_compressed:
            _skip(file, layout.offset)
        raw, rest = values_of(file, layout)
    volume = volume_of(path, header, raw, (*notes, *rest))
    return replace(volume, members=(header_path, image_path))


def _skip(file: CheckedFile, count: int) -> None:
    """Read bytes in front of the image, in parts, because a header may declare any number."""
    for start in range(0, count, _CHUNK):
        file.fill(np.empty(min(_CHUNK, count - start), np.uint8))


def _members_of(path: Path) -> tuple[Path, ...]:
    return _members(path)


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    raise only_read("pairs of .hdr and .img")


FORMAT = Format(
    "NIfTI or Analyze pair",
    _SUFFIXES,
    _read,
    refuse_to_write,
    _storable,
    members_of=_members_of,
    results=dict.fromkeys(_SUFFIXES, ".nii"),
)
