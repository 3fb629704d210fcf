r"""The pyramid of an OME-Zarr result: its levels, their chunks and shards, and their metadata.

A level halves axes of the level before it, by the mean of two voxels. Its voxel :math:`i` covers
the voxels :math:`2i` and :math:`2i + 1` of that axis. A level that is coarser by the factor f
begins at :math:`(f - 1)/2` voxels of level 0.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.dtypes import store, working_dtype
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.volume import Volume, require

#: Order of the axes of an OME-Zarr image.
_ORDER = "TCZYX"
#: The pyramid ends where no axis of space is longer [voxel].
COARSEST = 256
#: Chunk of a result [voxel], for one, two and three axes of space; and largest shard of a level
#: above the first one [bytes].
CHUNKS = {1: (1 << 18,), 2: (512, 512), 3: (64, 64, 64)}
MAX_COARSE_SHARD_BYTES = 2 << 20
#: Shards of a result that is written from an array in memory [bytes].
_SHARD_BYTES = 32 << 20

Region = tuple[slice, ...]

#: Chunks that zarr reads or writes at the same time in a run in blocks. Each thread of zarr keeps
#: memory: with the 10 of zarr, 200 MiB for chunks of 4 MiB (measured, docs/develop/decisions.md).
CONCURRENCY = 2


def few_chunks_at_once() -> Any:
    """Set `CONCURRENCY` for this process, or within a ``with`` block; the default is that of zarr.

    Returns
    -------
    context manager
        It restores the setting at its end.
    """
    zarr = require("zarr", "OME-Zarr results", "zarr")
    return zarr.config.set({"async.concurrency": CONCURRENCY})


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Attributes
    ----------
    shape, chunks, shards
        Shapes of the array, of its chunks and of its shards.
    factor
        Voxels of level 0 in a voxel, per axis.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    factor: tuple[int, ...]


@dataclass(frozen=True)
class Pyramid:
    """The levels of a result.

    Attributes
    ----------
    order
        Axes of the image in the order of the result.
    names
        Name of each axis of the result.
    scale, translation
        Voxel size, and position of the first voxel, of level 0 per axis.
    axis_units
        Unit of each axis, ``None`` without one.
    dtype
        Data type.
    levels
        The levels, the finest one first.
    """

    order: tuple[int, ...]
    names: tuple[str, ...]
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    axis_units: tuple[str | None, ...]
    dtype: str
    levels: tuple[Level, ...]

    @property
    def has_channels(self) -> bool:
        """Whether the result has an axis of channels."""
        return "c" in self.names

    @property
    def channel_place(self) -> int:
        """Number of the axis of channels."""
        return self.names.index("c")

    def to_plain(self) -> dict[str, Any]:
        """Return the pyramid as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Rebuild a pyramid from plain JSON types."""
        own: dict[str, Any] = {
            name: value if name == "dtype" else tuple(value) for name, value in plain.items()
        }
        levels = [
            Level(**{name: tuple(value) for name, value in level.items()})
            for level in plain["levels"]
        ]
        return cls(**{**own, "levels": tuple(levels)})

    def create(self, folder: Path) -> None:
        """Make the empty arrays of all levels in a folder, which is no store yet."""
        zarr = require("zarr", "OME-Zarr results", "zarr")
        folder.mkdir(parents=True, exist_ok=True)
        for number, level in enumerate(self.levels):
            zarr.create_array(
                str(folder / str(number)),
                shape=level.shape,
                chunks=level.chunks,
                shards=None if level.shards == level.chunks else level.shards,
                dtype=np.dtype(self.dtype),
                compressors=zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
                fill_value=0,
                dimension_names=self.names,
                zarr_format=3,
                overwrite=True,
            )

    def open_level(self, folder: Path, number: int, mode: Any = "r") -> Any:
        """Return the array of a level."""
        zarr = require("zarr", "OME-Zarr results", "zarr")
        return zarr.open_array(str(folder / str(number)), mode=mode)

    def write(self, folder: Path, number: int, region: Region, values: Array) -> None:
        """Write values to a region of whole shards of a level, and wait until they are kept.

        Shards are written one after another, because each takes memory.
        """
        array, shards = self.open_level(folder, number, "r+"), self.levels[number].shards
        places = [
            range(part.start // size, -(-part.stop // size))
            for part, size in zip(region, shards, strict=True)
        ]
        for place in itertools.product(*places):
            own = tuple(
                slice(max(i * size, part.start), min((i + 1) * size, part.stop))
                for i, size, part in zip(place, shards, region, strict=True)
            )
            inside: Any = tuple(
                slice(o.start - part.start, o.stop - part.start)
                for o, part in zip(own, region, strict=True)
            )
            array[own] = values[inside]
            _sync(folder / str(number) / "c" / "/".join(map(str, place)))

    def regions(self, number: int) -> Iterator[Region]:
        """Yield the regions of the shards of a level."""
        level = self.levels[number]
        starts = (range(0, n, size) for n, size in zip(level.shape, level.shards, strict=True))
        for corner in itertools.product(*starts):
            yield tuple(
                slice(a, min(a + size, n))
                for a, size, n in zip(corner, level.shards, level.shape, strict=True)
            )

    def region_count(self, number: int) -> int:
        """Return the number of shards of a level."""
        level = self.levels[number]
        return math.prod(-(-n // size) for n, size in zip(level.shape, level.shards, strict=True))

    def region(self, number: int, index: int) -> Region:
        """Return the region of a shard of a level, by its number."""
        level = self.levels[number]
        counts = [-(-n // size) for n, size in zip(level.shape, level.shards, strict=True)]
        corner = np.unravel_index(index, counts)
        return tuple(
            slice(int(i) * size, min((int(i) + 1) * size, n))
            for i, size, n in zip(corner, level.shards, level.shape, strict=True)
        )

    def coarse_range(self, folder: Path, channel: int) -> tuple[float, float]:
        """Return the smallest and the largest finite value of a channel in the coarsest level."""
        array = self.open_level(folder, len(self.levels) - 1)
        index: list[Any] = [slice(None)] * len(self.names)
        index[self.channel_place] = channel
        values = np.asarray(array[tuple(index)])
        values = values[np.isfinite(values)]
        if not values.size:
            return 0.0, 1.0
        low, high = float(values.min()), float(values.max())
        return (low, high) if low < high else (low, low + 1.0)

    def metadata(self, name: str | None = None) -> dict[str, Any]:
        """Return the attributes of OME-Zarr 0.5, checked by its schema."""
        yaozarrs = require("yaozarrs", "OME-Zarr results", "zarr")
        kinds = {"t": "time", "c": "channel"}
        axes = []
        for axis, unit in zip(self.names, self.axis_units, strict=True):
            kind = kinds.get(axis, "space" if axis in "zyx" else None)
            own = {"name": axis, "type": kind, "unit": unit}
            axes.append({key: value for key, value in own.items() if value is not None})
        datasets = []
        for number, level in enumerate(self.levels):
            scale = [f * h for f, h in zip(level.factor, self.scale, strict=True)]
            translation = [
                t + (f - 1) / 2 * h
                for t, f, h in zip(self.translation, level.factor, self.scale, strict=True)
            ]
            transforms = [
                {"type": "scale", "scale": scale},
                {"type": "translation", "translation": translation},
            ]
            datasets.append({"path": str(number), "coordinateTransformations": transforms})
        multiscale = {"axes": axes, "datasets": datasets, "type": "mean"}
        if name:
            multiscale["name"] = name
        plain = {"version": "0.5", "multiscales": [multiscale]}
        try:
            yaozarrs.v05.Image.model_validate(plain)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise InputError(f"OME-Zarr cannot hold these axes: {reason}") from None
        return plain


def _sync(file: Path) -> None:
    """Wait until a file is on the disk, if it exists: a shard of zeros has no file."""
    with suppress(FileNotFoundError):
        handle = os.open(file, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_group(folder: Path, attributes: dict[str, Any]) -> None:
    """Write the metadata of a group, by which a folder becomes a store."""
    text = json.dumps(
        {"zarr_format": 3, "node_type": "group", "attributes": attributes},
        indent=2,
        ensure_ascii=False,
    )
    temporary = folder / f".{secrets.token_hex(6)}.partial"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / "zarr.json")


def pyramid_like(
    like: Volume,
    dtype: Any,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
) -> Pyramid:
    """Return the pyramid of a result.

    Parameters
    ----------
    like
        The source volume, with the letters, voxel size and unit of the run.
    dtype
        Data type of the result.
    chunks, shards
        Shapes of the chunks and shards of level 0 per axis of the image; by default chosen.

    Raises
    ------
    InputError
        When OME-Zarr cannot hold the axes.
    """
    order, names = _axes_in_order(like.axes)
    shape = tuple(like.shape[i] for i in order)
    scale, axis_units = [], list[str | None]()
    for i, name in zip(order, names, strict=True):
        own = like.spacing[i] if name in "zyx" else like.time_step if name == "t" else None
        scale.append(float(own or 1.0))
        unit = like.unit if name in "zyx" and like.unit != "pixel" else None
        axis_units.append("second" if name == "t" and like.time_step is not None else unit)
    origin = getattr(like.header, "translation", ()) or (0.0,) * len(order)
    translation = [float(origin[i]) if names[k] in "zyx" else 0.0 for k, i in enumerate(order)]
    if chunks is None:
        chunks, shards = _default_chunks(like.axes, like.shape, np.dtype(dtype).itemsize)
    assert shards is not None
    first = Level(
        shape,
        tuple(chunks[i] for i in order),
        tuple(shards[i] for i in order),
        (1,) * len(order),
    )
    levels = [first]
    while (coarser := _coarser(levels[-1], names, scale, np.dtype(dtype).itemsize)) is not None:
        levels.append(coarser)
    return Pyramid(
        order,
        names,
        tuple(scale),
        tuple(translation),
        tuple(axis_units),
        np.dtype(dtype).newbyteorder("=").str,
        tuple(levels),
    )


def _axes_in_order(letters: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the axes in the order of OME-Zarr, and their names."""
    known = letters.replace("S", "C")
    others = [i for i, letter in enumerate(known) if letter not in _ORDER]
    if len(others) == 1 and "C" not in known:  # an axis of its own kind has the place of channels
        known = known.replace(known[others[0]], "C")
        others = []
    space = sum(letter in "ZYX" for letter in known)
    if others or len(set(known)) < len(known) or space < 2:
        raise InputError(
            "OME-Zarr holds the axes t, c, z, y, x, and the image has "
            f"{', '.join(letters.lower())}",
            Remedy.WRITE_ANOTHER_FORMAT,
        )
    order = tuple(sorted(range(len(known)), key=lambda i: _ORDER.index(known[i])))
    return order, tuple(known[i].lower() for i in order)


def _default_chunks(
    letters: str, shape: Sequence[int], itemsize: int
) -> tuple[list[int], list[int]]:
    """Return chunks and shards of a result that is written from memory, per axis of the image."""
    chunks = [1] * len(shape)
    space = sorted((i for i in range(len(shape)) if letters[i] in "ZYX"), key=lambda i: letters[i])
    sizes = CHUNKS[min(3, max(1, len(space)))]
    for i, size in zip(space, sizes, strict=False):
        chunks[i] = max(1, min(size, shape[i]))
    shards = list(chunks)
    for i in space:  # x first, whose rows are read together
        limit = _SHARD_BYTES // (math.prod(shards) * itemsize)
        shards[i] *= max(1, min(limit, -(-shape[i] // chunks[i])))
    return chunks, shards


def _coarser(
    level: Level, names: Sequence[str], scale: Sequence[float], itemsize: int
) -> Level | None:
    """Return the next level; ``None`` where the level is the coarsest one.

    Axes with voxels that are twice as large as the smallest ones, or larger, are not halved.
    """
    space = [i for i, name in enumerate(names) if name in "zyx" and level.shape[i] > 1]
    if not space or max(level.shape[i] for i in space) <= COARSEST:
        return None
    sizes = {i: scale[i] * level.factor[i] for i in space}
    halved = [i for i in space if sizes[i] < 2 * min(sizes.values())]
    halved = halved if any(level.shape[i] > COARSEST for i in halved) else space
    shape, factor = list(level.shape), list(level.factor)
    for i in halved:
        shape[i], factor[i] = -(-shape[i] // 2), 2 * factor[i]
    chunks = [min(size, n) for size, n in zip(level.chunks, shape, strict=True)]
    shards = list(chunks)
    for i in reversed(range(len(shape))):
        limit = MAX_COARSE_SHARD_BYTES // (math.prod(shards) * itemsize)
        count = min(limit, -(-shape[i] // chunks[i])) if i in space else 1
        shards[i] *= max(1, count)
    return Level(tuple(shape), tuple(chunks), tuple(shards), tuple(factor))


def level_of_region(folder: Path, pyramid: Pyramid, number: int, region: Region) -> NDArray[Any]:
    """Return the values of a region of a level from the level before it.

    That is read in slabs of whole chunks, which take less memory than all of it.
    """
    level, finer = pyramid.levels[number], pyramid.levels[number - 1]
    ratio = [a // b for a, b in zip(level.factor, finer.factor, strict=True)]
    axis = next((i for i, name in enumerate(pyramid.names) if name in "zyx"), 0)
    step = max(1, finer.chunks[axis] // ratio[axis])
    array = pyramid.open_level(folder, number - 1)
    result = np.empty([part.stop - part.start for part in region], array.dtype)
    for low in range(region[axis].start, region[axis].stop, step):
        high = min(low + step, region[axis].stop)
        slab = (*region[:axis], slice(low, high), *region[axis + 1 :])
        own = tuple(
            slice(part.start * f, min(part.stop * f, n))
            for part, f, n in zip(slab, ratio, finer.shape, strict=True)
        )
        values = np.asarray(array[own])
        place: Any = [slice(None)] * result.ndim
        place[axis] = slice(low - region[axis].start, high - region[axis].start)
        result[tuple(place)] = store(_halved_in_place(values, ratio), array.dtype)
    return result


def halved(values: Array, ratio: Sequence[int]) -> NDArray[np.floating]:
    """Return the mean of pairs of voxels along each axis with the ratio 2.

    The last voxel of an odd number is alone.
    """
    return _halved_in_place(values.copy(), ratio)


def _halved_in_place(values: Array, ratio: Sequence[int]) -> NDArray[np.floating]:
    """Do the same as `halved` and change the values."""
    means: NDArray[Any] = values.astype(working_dtype(values.dtype), copy=False)
    for axis, f in enumerate(ratio):
        if f == 1:
            continue
        before = (slice(None),) * axis
        pairs = means.shape[axis] // 2
        rest = means[(*before, slice(2 * pairs, None))].copy()
        means *= 0.5  # a sum may overflow
        mean = means[(*before, slice(0, 2 * pairs, 2))] + means[(*before, slice(1, 2 * pairs, 2))]
        means = np.concatenate([mean, rest], axis) if rest.shape[axis] else mean
    return means
