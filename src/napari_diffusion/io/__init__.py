"""Reading and writing volumes with everything their files say about them. A format is one small module, listed in `FORMATS`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import MissingLibraryError, WriteError
from napari_diffusion.io.atomic import explain, free_bytes, replacing
from napari_diffusion.io.nifti import FORMAT as NIFTI
from napari_diffusion.io.npy import FORMAT as NPY
from napari_diffusion.io.tiff import FORMAT as TIFF
from napari_diffusion.io.volume import Format, Volume, as_stored

FORMATS: tuple[Format, ...] = (NIFTI, TIFF, NPY)


class Jsonable(Protocol):
    """Anything that can say itself as JSON, such as a recipe."""

    def to_json(self) -> str:
        """Return JSON text."""
        ...


def format_of(path: str | Path) -> tuple[Format, str]:
    """Return the format of a file name and the suffix that tells it.

    Raises
    ------
    ValueError
        When no format has this suffix.
    """
    name = Path(path).name.lower()
    for known in FORMATS:
        for suffix in known.suffixes:
            if name.endswith(suffix) and name != suffix:
                return known, suffix
    every = ", ".join(suffix for known in FORMATS for suffix in known.suffixes)
    raise ValueError(
        f"{path}: the format is told by the end of the name, which must be one of {every}."
    )


def read(path: str | Path) -> Volume:
    """Read a volume; the data are memory-mapped where the format allows.

    Raises
    ------
    ValueError
        When the file cannot be understood.
    OSError
        When it cannot be opened.
    MissingLibraryError
        When the format needs a library that is not installed.
    """
    path = Path(path)
    known, _ = format_of(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: {'this is a folder, not a file' if path.is_dir() else 'there is no such file'}."
        )
    try:
        return known.read(path)
    except (MissingLibraryError, MemoryError):
        raise
    except PermissionError:
        raise PermissionError(f"{path}: no permission to read this file.") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason.removeprefix(f"{path}: ").rstrip(".")
        raise ValueError(f"{path}: cannot be read as {known.name}: {reason}.") from error


def read_metadata(path: str | Path) -> Volume | None:
    """Return what a file says about its image, whose values are all 0 here; ``None`` for what cannot be read, or not quickly."""
    try:
        known, _ = format_of(path)
        return None if known.read_metadata is None else known.read_metadata(Path(path))
    except Exception:  # a damaged file can make a decoder raise anything
        return None


def sidecar_of(path: str | Path) -> Path:
    """Return the name of the recipe that is written beside a result."""
    path = Path(path)
    return path.with_name(path.name + ".recipe.json")


def check_target(
    path: str | Path,
    like: Volume,
    dtype: Any,
    *,
    overwrite: bool = False,
    preserve_dtype: bool = False,
) -> None:
    """Raise whatever `write` would raise that can be known before the result has been computed.

    Parameters
    ----------
    path, like, overwrite, preserve_dtype
        As for `write`.
    dtype
        Dtype of the result.

    Raises
    ------
    ValueError
        When the format is unknown or cannot hold the result, or ``path`` is the source itself.
    FileExistsError, WriteError
        When there is a file already, the folder is missing or closed, or the disk is too full.
    """
    path = Path(path)
    known, suffix = format_of(path)
    if like.path is not None and path.exists() and like.path.exists() and path.samefile(like.path):
        raise ValueError(f"{path}: the result cannot replace its own source; choose another name.")
    if path.is_dir():
        raise FileExistsError(f"{path}: this is a folder; give the name of a file.")
    for existing in (path, sidecar_of(path)):
        if existing.exists() and not overwrite:
            raise FileExistsError(
                f"{existing}: exists already; allow overwriting or choose another name."
            )
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise WriteError(f"Cannot write {path}: the folder {folder} does not exist.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise WriteError(
            f"Cannot write {path}: no permission to make files in {folder} ({free_bytes(folder):,} bytes free there)."
        )
    wanted = (
        np.dtype(like.stored) if preserve_dtype and like.stored is not None else np.dtype(dtype)
    )
    needed = (
        int(np.prod(like.shape, dtype=np.int64)) * known.storable(wanted, like, suffix).itemsize
    )
    if not suffix.endswith(".gz") and needed > free_bytes(folder):
        raise WriteError(
            f"Cannot write {path}: it needs {needed:,} bytes, and {free_bytes(folder):,} bytes are free there."
        )


def write(
    path: str | Path,
    data: Any,
    like: Volume,
    recipe: Jsonable | None = None,
    *,
    overwrite: bool = False,
    preserve_dtype: bool = False,
) -> tuple[Path, ...]:
    """Write a result as its source was stored, complete or not at all.

    Parameters
    ----------
    path
        Target; its suffix chooses the format. In the format of ``like`` the whole header is kept; another format gets
        axes, voxel size, unit and time step.
    data
        The result, in real units and in the axis order of ``like``.
    like
        The volume that was filtered.
    recipe
        What made the result: it goes into the file where the format has a place for it, and into ``<path>.recipe.json``.
    overwrite
        Replace an existing file.
    preserve_dtype
        Store the dtype of the source, and its slope and intercept where it has them.

    Returns
    -------
    tuple of Path
        The files that were written.

    Raises
    ------
    ValueError, FileExistsError, WriteError
        See `check_target`; after any error no new file is there and an old one is as it was.
    """
    path = Path(path)
    array: Array = np.asarray(data)
    if array.shape != like.shape:
        raise ValueError(
            f"The result has shape {array.shape} and its source {like.shape}; they must agree."
        )
    check_target(path, like, array.dtype, overwrite=overwrite, preserve_dtype=preserve_dtype)
    known, suffix = format_of(path)
    if preserve_dtype:
        array = as_stored(array, like)
    else:
        like = replace(like, scaling=(1.0, 0.0))
    array = array.astype(known.storable(array.dtype, like, suffix), copy=False)
    text = "" if recipe is None else recipe.to_json()
    sidecar = sidecar_of(path)
    try:
        with replacing(path, suffix) as temporary:
            known.write(temporary, array, like, text)
            if recipe is None:
                return (path,)
            # Both files are complete before either gets its name.
            with replacing(sidecar, ".json") as beside:
                beside.write_text(text + "\n", encoding="utf-8")
        return (path, sidecar)
    except WriteError:
        raise
    except OSError as error:
        raise explain(path, error) from error


__all__ = [
    "FORMATS",
    "Format",
    "Jsonable",
    "MissingLibraryError",
    "Volume",
    "WriteError",
    "check_target",
    "format_of",
    "read",
    "sidecar_of",
    "write",
]
