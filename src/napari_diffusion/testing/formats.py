"""Laws that every file format satisfies, as public checks.

``check_format("name", folder)`` checks all laws for a registered format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_diffusion import io
from napari_diffusion.core.units import factor
from napari_diffusion.io.volume import UNKNOWN_AXES, Format, Volume
from napari_diffusion.testing.cases import named

DTYPES = ("uint8", "int16", "uint16", "float32", "float64")
SPACING = {"Z": 2.0, "Y": 0.5, "X": 0.25}


def volumes(file_format: Format, suffix: str) -> Iterator[Volume]:
    """Yield volumes that the format can hold: a plane and a stack of each data type."""
    for axes in ("YX", "ZYX"):
        shape = {"Z": 3, "Y": 5, "X": 4}
        numbers = np.random.default_rng(1).integers(0, 200, [shape[axis] for axis in axes])
        for dtype in DTYPES:
            volume = Volume(
                numbers.astype(dtype),
                axes,
                tuple(SPACING[axis] for axis in axes),
                "micrometer",
                stored=np.dtype(dtype),
            )
            try:
                stored = file_format.storable(np.dtype(dtype), volume, suffix)
            except ValueError:
                continue
            yield replace(volume, data=volume.data.astype(stored), stored=stored)


def some_volume_is_storable(file_format: Format, suffix: str, folder: Path) -> None:
    """The format can hold a floating point image; otherwise no result could be written."""
    kinds = {volume.data.dtype.kind for volume in volumes(file_format, suffix)}
    assert "f" in kinds, "no floating point image can be stored"


def values_survive(file_format: Format, suffix: str, folder: Path) -> None:
    """Every value that is written is read, bit for bit, in the same order of axes."""
    for number, volume in enumerate(volumes(file_format, suffix)):
        read, order = _written_and_read(volume, folder / f"values{number}{suffix}")
        data = np.asarray(read.data).transpose(order).reshape(volume.shape)
        np.testing.assert_array_equal(data, volume.data)


def metadata_survive(file_format: Format, suffix: str, folder: Path) -> None:
    """A voxel size that the file holds is the one that was written, in its unit."""
    for number, volume in enumerate(volumes(file_format, suffix)):
        read, _ = _written_and_read(volume, folder / f"metadata{number}{suffix}")
        if read.unit == "pixel":
            continue  # the format holds no unit
        for axis, size in zip(read.axes, read.spacing, strict=True):
            if axis in SPACING and axis in volume.axes and size is not None:
                length = size * factor(read.unit, "micrometer")
                assert abs(length / SPACING[axis] - 1) < 1e-6, f"{axis}: {length} µm"


def size_is_known_before(file_format: Format, suffix: str, folder: Path) -> None:
    """The dry write gives the size of the file, to its margin, and leaves nothing behind.

    Compressed files are smaller.
    """
    if file_format.dry_write is None or suffix.endswith(io.COMPRESSED):
        return
    if file_format.writes_folder:  # whose files may be compressed
        return
    for number, volume in enumerate(volumes(file_format, suffix)):
        path = folder / f"size{number}{suffix}"
        before = sorted(folder.iterdir())
        size = file_format.dry_write(path, volume.data.dtype, volume, "")
        assert sorted(folder.iterdir()) == before, "the dry write has made a file"
        io.write(path, volume.data, volume)
        written = path.stat().st_size
        excess = size - written
        known = 0 <= excess <= file_format.size_margin
        assert known, f"{size} bytes were expected, and {written} were written"


def damage_is_refused(file_format: Format, suffix: str, folder: Path) -> None:
    """A file that is cut off is refused by an error that names it; an empty one, too.

    A cut that takes no value away may be accepted. The files of a folder are cut one by one.
    """
    if file_format.writes_folder:
        _damaged_folder_is_refused(file_format, suffix, folder)
        return
    volume = list(volumes(file_format, suffix))[-1]
    path = folder / f"damaged{suffix}"
    intact = np.asarray(_written_and_read(volume, path)[0].data)
    whole = path.read_bytes()
    for count in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:count])
        try:
            values, message = np.asarray(io.read(path).data), None
        except (ValueError, OSError) as error:
            values, message = np.zeros(0), str(error)
        if message is not None:
            assert path.name in message, f"the error does not name the file: {message}"
        else:
            is_same = np.array_equal(values, intact)
            assert is_same, f"{count} of {len(whole)} bytes were read as another image"


def _damaged_folder_is_refused(file_format: Format, suffix: str, folder: Path) -> None:
    """A folder without one of its files, or with an empty one, is refused or has the same image."""
    volume = list(volumes(file_format, suffix))[-1]
    path = folder / f"damaged{suffix}"
    intact = np.asarray(_written_and_read(volume, path)[0].data)
    for file, content in _files_of(path).items():
        file.write_bytes(content[: len(content) // 2])
        try:
            values = np.asarray(io.read(path).data)
        except Exception:  # the library may refuse a chunk when it is read
            values = intact
        assert np.array_equal(values, intact), f"half of {file.name} was read as another image"
        file.write_bytes(content)


def _files_of(path: Path) -> dict[Path, bytes]:
    """Return the files of an image, which may be a folder, with their contents."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file: file.read_bytes() for file in files if file.is_file()}


def an_error_keeps_the_old_file(file_format: Format, suffix: str, folder: Path) -> None:
    """A failed write leaves the old file as it was."""
    volume = list(volumes(file_format, suffix))[-1]
    path = folder / f"kept{suffix}"
    io.write(path, volume.data, volume)
    before = _files_of(path)
    try:
        io.write(path, volume.data[:-1], volume, overwrite=True)
    except ValueError:
        assert _files_of(path) == before
    else:
        raise AssertionError("a result of another shape was written")


LAWS: tuple[Callable[[Format, str, Path], None], ...] = (
    some_volume_is_storable,
    values_survive,
    metadata_survive,
    size_is_known_before,
    damage_is_refused,
    an_error_keeps_the_old_file,
)


def check_format(name: str, folder: Path) -> None:
    """Check every law in `LAWS` for a file format, with each suffix that it writes.

    Parameters
    ----------
    name
        Name of the format, which is registered under the entry point group
        ``napari_diffusion.formats``.
    folder
        Empty folder for the files of the checks.

    Raises
    ------
    AssertionError
        If the format violates a law. The message names the law, what it states, and the suffix.
    """
    file_format = io.REGISTRY.get(name)
    for suffix in file_format.suffixes:
        if suffix in file_format.results:
            continue  # only read
        for law in LAWS:
            with named(f"{name} ({suffix})", law):
                law(file_format, suffix, folder)


def _written_and_read(volume: Volume, path: Path) -> tuple[Volume, list[int]]:
    """Write a volume and read it again; also return the order of the axes that were written."""
    io.write(path, volume.data, volume)
    read = io.read(path)
    axes = read.axes
    letters = [axis for axis in axes if axis not in UNKNOWN_AXES]
    if set(volume.axes) <= set(letters):
        others = [i for i, axis in enumerate(axes) if axis not in volume.axes]
        return read, [*others, *(axes.index(axis) for axis in volume.axes)]
    return read, list(range(len(axes)))
