"""Reading and writing of volumes with the metadata of their files.

Each format is one module, listed in `FORMATS`. Other packages register formats under the entry
point group ``napari_diffusion.formats``.
"""

from __future__ import annotations

import math
import os
import zlib
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_diffusion.core.errors import (
    DescribedError,
    InputError,
    MissingLibraryError,
    Remedy,
    SourceLocked,
    SourceMissing,
    TargetExists,
    WriteError,
    reason_of,
    shown,
)
from napari_diffusion.core.registry import Registry
from napari_diffusion.io.atomic import check_folder, free_bytes, replacing_all, write_error
from napari_diffusion.io.bioio import FORMAT as BIOIO
from napari_diffusion.io.bioio import is_installed as has_bioio
from napari_diffusion.io.dicom import FORMAT as DICOM
from napari_diffusion.io.dicom import holds_series
from napari_diffusion.io.metaimage import FORMAT as METAIMAGE
from napari_diffusion.io.mgh import FORMAT as MGH
from napari_diffusion.io.mrc import FORMAT as MRC
from napari_diffusion.io.nifti import FORMAT as NIFTI
from napari_diffusion.io.nifti_pair import FORMAT as NIFTI_PAIR
from napari_diffusion.io.npy import FORMAT as NPY
from napari_diffusion.io.nrrd import FORMAT as NRRD
from napari_diffusion.io.ome_zarr import FORMAT as ZARR
from napari_diffusion.io.ome_zarr import is_store
from napari_diffusion.io.tiff import FORMAT as TIFF
from napari_diffusion.io.volume import Format, Volume, as_stored, completed

#: A compressed result takes at least this share of the space of its compressed source, because
#: smoothed values differ less; and the number of its samples that are compressed to know it.
_SMALLEST_SHARE, _COMPRESSED_SAMPLE = 0.5, 1 << 20
#: Ends of the suffixes of compressed results.
COMPRESSED = (".gz", ".bz2", ".mgz")

FORMATS: tuple[Format, ...] = (
    NIFTI,
    TIFF,
    NPY,
    ZARR,
    NIFTI_PAIR,
    MGH,
    NRRD,
    MRC,
    METAIMAGE,
    DICOM,
)


def _check(entry: Any) -> None:
    if not isinstance(entry, Format):
        raise TypeError(f"{entry!r} is no napari_diffusion.io.Format")
    suffixes: Any = entry.suffixes
    if not isinstance(suffixes, tuple) or not suffixes:
        raise TypeError(f'suffixes must be a tuple such as (".npz",), got {shown(suffixes)}')
    for suffix in suffixes:
        if suffix[:1] != "." or suffix != suffix.lower():
            raise ValueError(
                f"a suffix starts with a dot and is in lower case, got {shown(suffix)}"
            )


#: The formats of this package and of other packages.
REGISTRY: Registry[Format] = Registry("file format", "napari_diffusion.formats", FORMATS, _check)


class Jsonable(Protocol):
    """An object with a JSON representation, such as a recipe."""

    def to_json(self) -> str:
        """Return the object as JSON text."""
        ...


def format_of(path: str | Path) -> tuple[Format, str]:
    """Return the format of a file, and the suffix of its name that determines the format.

    Raises
    ------
    InputError
        When no format has this suffix.
    """
    name = Path(path).name.lower()
    for file_format in REGISTRY:
        for suffix in file_format.suffixes:
            if name.endswith(suffix) and name != suffix:
                return file_format, suffix
    written = (set(entry.suffixes) - set(entry.results) for entry in REGISTRY)
    pairs = zip(REGISTRY, written, strict=True)
    suffixes = ", ".join(
        next(suffix for suffix in entry.suffixes if suffix in own) for entry, own in pairs if own
    )
    raise InputError(
        f"the suffix of the name chooses the format and must be one such as {suffixes}",
        path=Path(path),
    )


def reader_of(path: str | Path) -> Format:
    """Return the format that reads a file or a folder.

    That is bioio for a suffix that no format has, where bioio is installed.

    Raises
    ------
    InputError
        When no format reads it.
    SourceMissing
        When there is no such file.
    """
    path = Path(path)
    if path.is_dir():
        if is_store(path):
            return ZARR
        if DICOM.reads_folder and holds_series(path):
            return DICOM
        reason = "this is a folder, not a file"
        raise SourceMissing(reason, Remedy.NAME_A_FILE_OF_THE_FOLDER, path)
    if not path.is_file():
        raise SourceMissing("there is no such file", path=path)
    try:
        return format_of(path)[0]
    except InputError as error:
        if has_bioio():
            return BIOIO
        raise InputError(error.description, Remedy.CONVERT_FORMAT, path) from None


def read(path: str | Path) -> Volume:
    """Read a volume; the data are memory-mapped where the format allows.

    Parameters
    ----------
    path
        A file, or the folder of a DICOM series.

    Raises
    ------
    InputError
        When the format is unknown or the content cannot be decoded.
    SourceMissing, SourceLocked
        When the file cannot be opened.
    MissingLibraryError
        When the format needs a library that is not installed.
    """
    path = Path(path)
    file_format = reader_of(path)
    try:
        return completed(file_format.read(path), file_format.name, path)
    except (MissingLibraryError, MemoryError):
        raise
    except PermissionError:
        raise SourceLocked("no permission to read this file", path=path) from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = f"cannot be read as {file_format.name}: {reason_of(error)}"
        remedy = error.remedy if isinstance(error, DescribedError) else None
        raise InputError(reason, remedy, path) from error


def read_metadata(path: str | Path) -> Volume | None:
    """Read the metadata of a file without its pixels; all values of the volume are 0.

    Returns
    -------
    Volume or None
        ``None`` when the file cannot be read, or when its format cannot skip the pixels.
    """
    try:
        file_format, _ = format_of(path)
        return None if file_format.read_metadata is None else file_format.read_metadata(Path(path))
    except Exception:  # a damaged file can make a decoder raise anything
        return None


def members_of(path: str | Path) -> tuple[Path, ...]:
    """Return the files of the set to which a file belongs, such as a multi-file OME-TIFF.

    It is empty for a file that is an image by itself.
    """
    try:
        file_format = reader_of(path)
        return () if file_format.members_of is None else file_format.members_of(Path(path))
    except (InputError, OSError, MissingLibraryError):
        return ()


def result_name(source: str | Path, pattern: str = "{stem}{suffix}") -> str:
    """Return the name of the file of a result.

    Parameters
    ----------
    source
        Path of the image.
    pattern
        Pattern of the name. ``{stem}`` is the name of the image without its suffix, ``{folder}``
        the name of its folder, and ``{suffix}`` its suffix, or that of the format in which a
        result is written where that of the image is only read.

    Raises
    ------
    InputError
        When the pattern has other fields, or names another folder.
    """
    source = Path(source)
    file_format = reader_of(source)
    lower = source.name.lower()
    suffix = next((end for end in file_format.suffixes if lower.endswith(end)), "")
    own = source.name[len(source.name) - len(suffix) :]
    if not suffix and not source.is_dir():
        own = source.suffix
    stem = source.name[: len(source.name) - len(own)]
    try:
        name = pattern.format(
            stem=stem,
            suffix=file_format.results.get(suffix, own),
            folder=source.resolve().parent.name,
        )
    except (KeyError, IndexError, ValueError):
        name = ""
    if not name or Path(name).name != name:
        raise InputError(
            f"a pattern of names has the fields {{stem}}, {{suffix}} and {{folder}}, got "
            f"{pattern!r}"
        )
    return name


def sidecar_of(path: str | Path) -> Path:
    """Return the path of the recipe that is written beside a result."""
    path = Path(path)
    return path.with_name(path.name + ".recipe.json")


def check_target(
    path: str | Path,
    like: Volume,
    dtype: Any,
    recipe: Jsonable | None = None,
    *,
    overwrite: bool = False,
    preserve_dtype: bool = False,
) -> None:
    """Raise the errors of `write` before the result is computed.

    The writer makes the header, tags and texts of the file, and a temporary file is made in the
    folder and removed. Only the pixels are left out.

    Parameters
    ----------
    path, like, recipe, overwrite, preserve_dtype
        As for `write`.
    dtype
        Dtype of the result.

    Raises
    ------
    InputError
        When the format is unknown or cannot hold the result, or ``path`` is the source itself.
    TargetExists, WriteError
        When the file exists, the folder is missing or not writable, or the disk is too full.
    """
    path = Path(path)
    _, suffix = format_of(path)
    check_folder(path)
    if recipe is not None:
        check_folder(sidecar_of(path), probe=path.is_symlink())
    _check_name(path, like, overwrite=overwrite)
    folder = Path(os.path.realpath(path)).parent
    if preserve_dtype and like.stored is not None:
        dtype = like.stored
    else:
        like = replace(like, scaling=(1.0, 0.0), stored=np.dtype(dtype))
    needed = _size_of_result(path, like, np.dtype(dtype), recipe)
    if suffix.endswith(COMPRESSED):
        needed = int(needed * _SMALLEST_SHARE * _compressed_share(like))
    if needed > free_bytes(folder):
        raise WriteError(
            f"cannot be written: it needs {needed:,} bytes, "
            f"and {free_bytes(folder):,} bytes are free there",
            path=path,
        )


def _check_name(path: Path, like: Volume, *, overwrite: bool) -> None:
    """Refuse a name that belongs to the source, to a folder or to a file that stays."""
    sources = (*([like.path] if like.path is not None else []), *like.members)
    if path.exists() and any(own.exists() and path.samefile(own) for own in sources):
        raise InputError(
            "the result cannot replace its own source", Remedy.CHOOSE_ANOTHER_NAME, path
        )
    if path.is_dir() and not (format_of(path)[0].writes_folder and is_store(path)):
        raise TargetExists("this is a folder, not a file", Remedy.CHOOSE_ANOTHER_NAME, path)
    for existing in (path, sidecar_of(path)):
        # A name may be too long to ask for. A link that leads to no file is a name in use, too.
        if os.path.lexists(existing) and not overwrite:
            raise TargetExists("exists already", Remedy.ALLOW_OVERWRITING, existing)


def _compressed_share(like: Volume) -> float:
    """Return the share of its size that the middle of the source takes after compression."""
    if 0 in like.shape:
        return 0.0
    middle, count = [], _COMPRESSED_SAMPLE
    for n in like.shape:
        length = max(1, min(n, count))
        middle.append(slice((n - length) // 2, (n - length) // 2 + length))
        count //= length
    sample = as_stored(np.asarray(like.data[tuple(middle)]), like).tobytes()
    return len(zlib.compress(sample, 1)) / len(sample)


def _size_of_result(path: Path, like: Volume, dtype: np.dtype[Any], recipe: Jsonable | None) -> int:
    """Return the size of a result without compression [bytes], after all checks of its format."""
    file_format, suffix = format_of(path)
    text = "" if recipe is None else recipe.to_json()
    try:
        stored = file_format.storable(dtype, like, suffix)
        if file_format.dry_write is None:
            size = math.prod(like.shape) * stored.itemsize
        else:
            size = file_format.dry_write(path, stored, like, text)
    except InputError as error:
        raise InputError(error.description, error.remedy, path) from None
    except (MissingLibraryError, MemoryError):
        raise
    except Exception as error:  # a writer may refuse its metadata with any exception
        reason = f"the result cannot be written as {file_format.name}: {reason_of(error)}"
        raise InputError(reason, Remedy.WRITE_ANOTHER_FORMAT, path) from error
    return size + len(text)


def write(
    path: str | Path,
    data: Any,
    like: Volume,
    recipe: Jsonable | None = None,
    *,
    overwrite: bool = False,
    preserve_dtype: bool = False,
    commit: AbstractContextManager[object] | None = None,
    checked: bool = False,
) -> tuple[Path, ...]:
    """Write a result with the metadata of its source. Either the whole file is written or none.

    Parameters
    ----------
    path
        Path of the result. Its suffix determines the format. If this is the format of ``like``, the
        whole header is kept. Otherwise axes, voxel size, unit, time step and channel names are kept
        as far as the format can hold them.
    data
        The result, in real units and in the axis order of ``like``. It may be lazy for a format
        that is written in parts.
    like
        The source volume.
    recipe
        Recipe of the result. It is written to ``<path>.recipe.json`` and, where the format has a
        place for it, into the file.
    overwrite
        Replace an existing file.
    preserve_dtype
        Store the result in the dtype of the source, with the slope and intercept of the source.
    commit
        Context in which the files get their final names; it may defer signals.
    checked
        Whether `check_target` has checked this result before. Only its name is checked then. A
        file that appears at this name before the end is not replaced in either case.

    Returns
    -------
    tuple of Path
        The files that were written.

    Raises
    ------
    InputError, TargetExists, WriteError
        See `check_target`. After an error there is no new file, and an old file is unchanged.
    """
    path = Path(path)
    file_format, suffix = format_of(path)
    is_lazy = file_format.writes_lazy and not preserve_dtype and hasattr(data, "__getitem__")
    array: Any = data if is_lazy else np.asarray(data)
    if tuple(array.shape) != like.shape:
        raise InputError(
            f"the result has shape {array.shape} and its source {like.shape}", path=path
        )
    if checked:
        _check_name(path, like, overwrite=overwrite)
    else:
        check_target(
            path, like, array.dtype, recipe, overwrite=overwrite, preserve_dtype=preserve_dtype
        )
    if preserve_dtype:
        array = as_stored(array, like)
    else:
        like = replace(like, scaling=(1.0, 0.0))
    stored = file_format.storable(np.dtype(array.dtype), like, suffix)
    array = array if stored == array.dtype else np.asarray(array).astype(stored)
    text = "" if recipe is None else recipe.to_json()
    targets = [(path, suffix)] + ([] if recipe is None else [(sidecar_of(path), ".json")])
    try:
        with replacing_all(targets, commit, overwrite=overwrite) as temporaries:
            file_format.write(temporaries[0], array, like, text)
            for sidecar in temporaries[1:]:
                sidecar.write_text(text + "\n", encoding="utf-8")
    except WriteError:
        raise
    except FileExistsError:
        reason = "exists already: it has appeared during the run"
        raise TargetExists(reason, Remedy.ALLOW_OVERWRITING, path) from None
    except OSError as error:
        raise write_error(path, error) from error
    return tuple(target for target, _ in targets)


__all__ = [
    "FORMATS",
    "REGISTRY",
    "Format",
    "Jsonable",
    "MissingLibraryError",
    "Volume",
    "WriteError",
    "check_target",
    "format_of",
    "members_of",
    "read",
    "read_metadata",
    "reader_of",
    "result_name",
    "sidecar_of",
    "write",
    "write_error",
]
