"""Data types of the readers and writers: an image with its metadata, and a file format."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.dtypes import store
from napari_diffusion.core.errors import InputError, MissingLibraryError, Remedy, shown
from napari_diffusion.core.units import canonical
from napari_diffusion.io.compressed import check_memory
from napari_diffusion.io.flat_file import FlatFile

#: Letters of axes of unknown kind: I for pages of a plain TIFF, Q for leading axes of an array.
UNKNOWN_AXES = "IQ"


@dataclass(frozen=True, eq=False)
class Volume:
    """An image from a file, with the metadata of the file.

    Attributes
    ----------
    data
        Array in real units, memory-mapped where the format allows. It is never written to.
    axes
        One letter per axis, in the order of the file: X, Y, Z for space, T for time, C for
        channels, S for the samples of a colour, I and Q for pages or axes of unknown kind.
    spacing
        Voxel size along X, Y and Z [unit]; ``None`` for other axes, and for an axis whose size the
        file does not give.
    unit
        Unit of length, such as ``"micrometer"``; ``"pixel"`` when the file has no voxel size.
    channel_axis
        Axis of the channels that share one diffusivity, such as red, green and blue; ``None`` when
        there is none. Fluorescence channels (C) are filtered separately unless the user couples
        them.
    time_step
        Time between frames [s], or ``None``.
    channel_names
        Names of the channels in their order, with an empty string for a channel without a name;
        an empty tuple when the file names no channel. The sources are the channels of OME-XML,
        the labels of ImageJ and the metadata of tifffile. A new OME-TIFF gets these names, unless
        there are more names than channels.
    format, header
        Name of the format, and the header in the form that its writer needs.
    path
        Path of the file.
    stored, scaling
        Dtype in the file, and (slope, intercept) from stored numbers to real units.
    alpha
        Number of the channel along ``channel_axis`` that is the opacity; ``None`` without opacity.
        It is copied.
    members
        Paths of all files of a set of files, such as a multi-file OME-TIFF; empty for one file.
    affine
        Transform from the indices x, y, z to coordinates [unit], shape (4, 4); ``None`` for a file
        without orientation.
    notes
        Sentences about the file for the user: what was assumed, and what a result will not keep.
    unit_is_assumed
        Whether the file gives no unit, and ``unit`` is the custom of its format.
    size_remark
        How the file contradicts itself about the voxel size, or what it says instead, as a part of
        a sentence; empty for a clear voxel size.
    """

    data: Any
    axes: str
    spacing: tuple[float | None, ...]
    unit: str = "pixel"
    channel_axis: int | None = None
    time_step: float | None = None
    channel_names: tuple[str, ...] = ()
    format: str = ""
    header: Any = None
    path: Path | None = None
    stored: np.dtype[Any] | None = None
    scaling: tuple[float, float] = (1.0, 0.0)
    alpha: int | None = None
    members: tuple[Path, ...] = ()
    affine: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()
    unit_is_assumed: bool = False
    size_remark: str = ""

    @property
    def space(self) -> tuple[int, ...]:
        """Indices of the axes X, Y and Z, in the order of the file."""
        return tuple(i for i, letter in enumerate(self.axes) if letter in "XYZ")

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of samples along each axis."""
        return tuple(int(n) for n in self.data.shape)

    @property
    def channel_weights(self) -> tuple[float | None, ...] | None:
        """Weight of each channel, ``None`` for the opacity; ``None`` without opacity."""
        if self.channel_axis is None or self.alpha is None:
            return None
        count = self.shape[self.channel_axis]
        return tuple(None if i == self.alpha else 1.0 for i in range(count))

    def names_of_channels(self, count: int) -> tuple[str, ...]:
        """Return names of so many channels, empty ones unless the file names as many."""
        return self.channel_names if len(self.channel_names) == count else ("",) * count


@dataclass(frozen=True)
class Format:
    """A file format: its suffixes, and its functions to read and write.

    Attributes
    ----------
    name
        Name for messages.
    suffixes
        Suffixes of the format in lower case. The first one that matches a file name is used.
    read
        ``read(path)`` returns a `Volume`.
    write
        ``write(path, data, like, recipe)`` writes ``data`` with the header of ``like`` and the JSON
        text of the recipe. The path is temporary, and the caller removes it after an error.
    storable
        ``storable(dtype, like, suffix)`` returns the dtype in which a result of ``dtype`` is
        stored. It raises an `InputError` without a path if the format cannot hold the result, so
        that a run is refused before it starts.
    dry_write
        ``dry_write(path, dtype, like, recipe)`` does all that ``write`` does with a result of
        ``dtype``, except for its pixels: it makes the header, tags and texts. It writes nothing and
        returns the size of the file without compression [bytes]. ``None`` for a format whose
        writer refuses nothing beyond ``storable``.
    size_margin
        Largest excess of the size of ``dry_write`` over that of the file [bytes].
    keeps
        Phrase for messages: the metadata that are kept from a volume of another format.
    read_metadata
        ``read_metadata(path)`` returns a `Volume` without reading the pixels; ``None`` where the
        format has no quick way to do so.
    members_of
        ``members_of(path)`` returns the files of the set to which a file belongs, empty for a file
        that is an image by itself. It reads no pixels. ``None`` where each file is an image.
    results
        Suffix of a result for each suffix that is only read; the key ``""`` is for files without a
        suffix of the format.
    reads_folder
        Whether ``read`` also takes a folder, whose files together are one image.
    writes_folder
        Whether ``write`` makes a folder, whose files together are one image.
    writes_lazy
        Whether ``write`` also takes a lazy array, which it reads in parts.
    lay_out
        ``lay_out(path, dtype, like, recipe)`` makes the file of a result with all but its pixels,
        and returns a `FlatFile` by which these are written in parts. It raises an `InputError`
        where it cannot. ``None`` for a format whose pixels have no fixed place.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Volume]
    write: Callable[[Path, Array, Volume, str], None]
    storable: Callable[[np.dtype[Any], Volume, str], np.dtype[Any]]
    dry_write: Callable[[Path, np.dtype[Any], Volume, str], int] | None = None
    size_margin: int = 0
    keeps: str = "axes, voxel size and unit"
    read_metadata: Callable[[Path], Volume] | None = None
    members_of: Callable[[Path], tuple[Path, ...]] | None = None
    results: Mapping[str, str] = field(default_factory=dict)
    reads_folder: bool = False
    writes_folder: bool = False
    writes_lazy: bool = False
    lay_out: Callable[[Path, np.dtype[Any], Volume, str], FlatFile] | None = None


def completed(volume: Volume, name: str, path: Path) -> Volume:
    """Check what a reader returns, and fill in what it may leave out.

    Parameters
    ----------
    volume
        The volume.
    name
        Name of its format.
    path
        Path of its file.

    Returns
    -------
    Volume
        The volume with ``format``, ``path`` and ``stored``.

    Raises
    ------
    InputError
        If the axes, the voxel sizes or the unit do not fit the array.
    """
    count = len(volume.shape)
    if len(volume.axes) != count or len(volume.spacing) != count:
        raise InputError(
            f"its array has {count} axes, with the letters {volume.axes!r} and the voxel sizes "
            f"{volume.spacing}"
        )
    for size in volume.spacing:
        if size is not None and not 0 < size < math.inf:
            raise InputError(f"a voxel size must be a number above 0, got {shown(size)}")
    canonical(volume.unit)
    return replace(
        volume,
        format=volume.format or name,
        path=path if volume.path is None else volume.path,
        stored=np.dtype(volume.data.dtype) if volume.stored is None else volume.stored,
    )


def no_values(shape: Sequence[int], dtype: Any) -> Array:
    """Return zeros that take no memory, in place of values that are not read."""
    zeros: Array = np.broadcast_to(np.zeros((), dtype), tuple(shape))
    return zeros


def storable_dtype(dtype: np.dtype[Any], known: Collection[np.dtype[Any]]) -> np.dtype[Any]:
    """Return the type in which a format stores a result: its own type, or the nearest float.

    ``known`` are the types that the format has; bool becomes uint8.
    """
    native = dtype.newbyteorder("=")
    if native in known:
        return native
    if native.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32 if native.itemsize < 4 else np.float64)


def data_file_of(path: Path, name: str) -> Path:
    """Return the file of the values that a detached header names; it lies in the same folder.

    Raises
    ------
    InputError
        When there are several files, or when it is missing or in another folder. A header from a
        stranger shall not reach other folders.
    """
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError("its values are in several files", Remedy.SAVE_ONE_IMAGE)
    data_path = path.parent / name
    if Path(name).is_absolute() or path.parent.resolve() not in data_path.resolve().parents:
        raise InputError(f"its values are in another folder ({name})")
    if not data_path.is_file():
        raise InputError(f"the file of its values, {name}, is missing")
    return data_path


def only_read(name: str) -> InputError:
    """Return the error about a result in a format that is only read."""
    return InputError(f"{name} files are read, not written", Remedy.WRITE_ANOTHER_FORMAT)


def refuse_to_write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    """Refuse to write: the ``write`` of a format that is only read."""
    raise only_read("such")


def require(library: str, purpose: str, extra: str = "io") -> Any:
    """Import an optional library.

    Parameters
    ----------
    library
        Name of the module.
    purpose
        What the library is needed for, as the plural subject of the message: "NIfTI files".
    extra
        Extra of this package that installs the library.

    Raises
    ------
    MissingLibraryError
        When the library is not installed; the message says how to install it.
    """
    try:
        return import_module(library)
    except ImportError:
        raise MissingLibraryError(
            f'{purpose} need the library {library}: pip install "napari-diffusion[{extra}]".'
        ) from None


def in_real_units(raw: Array, slope: float, inter: float, path: Path) -> Array:
    """Return ``slope * raw + inter`` as float32, or as float64 for types of higher precision.

    Parameters
    ----------
    raw
        Stored numbers, memory-mapped or not.
    slope, inter
        Slope and intercept from stored numbers to real values.
    path
        Path of the file, for messages.

    Raises
    ------
    NotEnoughMemory
        When the real values do not fit into the free memory.
    """
    small = raw.dtype.itemsize <= 2 if raw.dtype.kind in "iub" else raw.dtype.itemsize <= 4
    real = np.dtype(np.float32 if small else np.float64)
    check_memory(raw.size * real.itemsize, path)
    values: Array = np.asarray(raw).astype(real)
    # Values beyond the range become infinite, and a run refuses them with their number.
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(values, slope, out=values)
        return np.add(values, inter, out=values)


def as_stored(data: Array, like: Volume) -> Array:
    """Convert real values to the stored numbers of ``like``: the inverse of `in_real_units`.

    Integers are rounded and saturated.
    """
    stored = np.dtype(like.stored if like.stored is not None else data.dtype).newbyteorder("=")
    slope, inter = like.scaling
    if (slope, inter) == (1.0, 0.0):
        return data if data.dtype == stored else store(data, stored)
    return store((data.astype(np.float64) - inter) / slope, stored)
