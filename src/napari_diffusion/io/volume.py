"""What a reader returns and a writer needs: an image, the meaning of its axes, and its file's header for the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.dtypes import store
from napari_diffusion.core.errors import MissingLibraryError

#: Letters of axes whose kind a file leaves open: pages of a plain TIFF, leading axes of an array.
UNKNOWN = "IQ"


@dataclass(frozen=True, eq=False)
class Volume:
    """An image from a file, with all that the file says about it.

    Attributes
    ----------
    data
        Array in real units, memory-mapped where the format allows; never written to.
    axes
        One letter per axis, in the file's order: X, Y, Z space, T time, C channels, S samples of a colour,
        I and Q pages or axes of unknown kind.
    spacing
        Voxel size along X, Y and Z [unit]; ``None`` for other axes, and where the file gives none.
    unit
        Unit of length, such as ``"micrometer"``; ``"pixel"`` when the file has no voxel size.
    channel_axis
        Axis of values that belong together, such as red, green and blue; ``None`` when there is none. Separate
        fluorescence channels (C) are no such axis: they are filtered one by one unless a user couples them.
    time_step
        Time between frames [s], or ``None``.
    channel_names
        Names of the channels, in the order of axis C and empty where one has none; or nothing.
    format, header
        Name of the format, and whatever that format's writer needs to save a result like this file.
    path
        Where it was read from.
    stored, scaling
        Dtype in the file, and (slope, intercept) from numbers in the file to real units.
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

    @property
    def space(self) -> tuple[int, ...]:
        """Axes X, Y and Z, in the file's order."""
        return tuple(i for i, letter in enumerate(self.axes) if letter in "XYZ")

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of samples along each axis."""
        return tuple(int(n) for n in self.data.shape)


@dataclass(frozen=True)
class Format:
    """A file format: the suffixes it is known by, and its three functions.

    ``read(path)`` returns a `Volume`. ``write(path, data, like, recipe)`` writes ``data`` with the header of ``like`` and the
    JSON text of the recipe; it is given a temporary name and need not clean up. ``storable(dtype, like, suffix)`` returns the
    dtype that would be written for a result of ``dtype``, or raises `ValueError` in one sentence, so that a run can be refused
    before it starts. Of several suffixes that fit a name, the first counts. ``keeps`` says what a file gets from a volume of
    another format. ``read_metadata(path)`` reads all but the pixels, where that is quick.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Volume]
    write: Callable[[Path, Array, Volume, str], None]
    storable: Callable[[np.dtype[Any], Volume, str], np.dtype[Any]]
    keeps: str = "axes, voxel size and unit"
    read_metadata: Callable[[Path], Volume] | None = None


def require(library: str, purpose: str) -> Any:
    """Import an optional library, or say what to install.

    Raises
    ------
    MissingLibraryError
        When it is not installed.
    """
    try:
        return import_module(library)
    except ImportError:
        raise MissingLibraryError(
            f'{purpose} need the library {library}: pip install "napari-diffusion[io]".'
        ) from None


def in_real_units(raw: Array, slope: float, inter: float) -> Array:
    """Return ``slope * raw + inter`` in the smallest float type that holds the digits of ``raw``."""
    small = raw.dtype.itemsize <= 2 if raw.dtype.kind in "iub" else raw.dtype.itemsize <= 4
    values: Array = np.asarray(raw).astype(np.float32 if small else np.float64)
    np.multiply(values, slope, out=values)
    return np.add(values, inter, out=values)


def as_stored(data: Array, like: Volume) -> Array:
    """Return real values as the numbers that ``like`` stores, rounded and saturated: the inverse of `in_real_units`."""
    stored = np.dtype(like.stored if like.stored is not None else data.dtype).newbyteorder("=")
    slope, inter = like.scaling
    if (slope, inter) == (1.0, 0.0):
        return data if data.dtype == stored else store(data, stored)
    return store((data.astype(np.float64) - inter) / slope, stored)
