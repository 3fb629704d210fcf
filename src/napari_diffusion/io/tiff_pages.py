"""Pages of a TIFF file: which of them are the image, and whether the file holds all of it.

tifffile reads a damaged file as far as it can: as a smaller image, or with zeros.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io import ome
from napari_diffusion.io.tiff_ifds import (
    LAYOUT_TAGS,
    Directory,
    directories,
    first_description,
    truncated,
)
from napari_diffusion.io.volume import UNKNOWN_AXES

#: Kinds of series whose axes tifffile derives from the pages alone.
_PLAIN_KINDS = ("uniform", "generic", "nih")
#: Names of the further images of a digital slide.
_SLIDE_EXTRAS = ("thumbnail", "label", "macro")
#: Bytes that a segment without compression may have too many: some programs fill up to a word.
_PADDING = 3
#: Largest ratio of the sizes after and before decompression, by compression: deflate, LZW (strings
#: of up to 4096 bytes in 12 bits) and PackBits.
_LARGEST_RATIOS = {8: 1033, 32946: 1033, 5: 2731, 32773: 65}
_OLD_JPEG = 6
#: Starts of descriptions of the layouts that are read: OME-XML, ImageJ, tifffile.
_KNOWN_START = re.compile(
    r"\s*(<\?xml[^>]*>)?\s*(<!--.*?-->\s*)*<(\w+:)?OME\s|ImageJ=|\{\"(axes|shape)\": ", re.DOTALL
)
#: Size of a plane below which the bytes behind the image may be a multiple of it by chance [byte].
_SMALLEST_PLANE = 1024
#: Size from which files of ScanImage have offsets that do not fit into 32 bits [byte].
_WRAPPED_OFFSETS = 2**31


@dataclass(frozen=True)
class Pages:
    """The image in a file.

    Attributes
    ----------
    series
        Series of tifffile.
    axes
        One letter per axis.
    kind
        Layout as in `TiffHeader`.
    notes
        Sentences for the user.
    """

    series: Any
    axes: str
    kind: str
    notes: tuple[str, ...] = ()


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Keep the log lines of tifffile from the terminal: what they report is an error here."""

    def refuse(record: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


def pages_of(tif: Any, path: Path) -> Pages:
    """Return the image in an open file, after checking that all of it is there.

    Raises
    ------
    InputError
        When the file holds no image or several, or ends before its image does.
    """
    chain = _chain(tif, path)
    kind = _source_kind(tif)
    if kind == "plain" and _KNOWN_START.match(first_description(path)):
        raise InputError("its description, with the axes and the voxel size, is damaged")
    if kind == "ome" and ome.number_of_images(tif.ome_metadata) > 1:
        raise _several(ome.number_of_images(tif.ome_metadata))
    series, notes = _image_series(tif)
    axes = series.axes
    is_special = series.kind not in _PLAIN_KINDS or series.keyframe.imagedepth > 1
    if kind == "plain" and is_special and not set(axes) & set(UNKNOWN_AXES):
        kind = "other"
        notes = (*notes, "A result is an OME-TIFF, which keeps the axes.")
    if kind == "shaped" and series.kind == "generic":
        axes = _axes_of_pyramid(tif, series)
    elif kind in ("ome", "imagej", "shaped") and series.kind != kind:
        if kind == "imagej" and _is_short(tif):
            raise truncated()
        raise InputError(f"its {_TITLES[kind]} header does not fit its pages; it is damaged")
    if not (axes.isascii() and axes.isalpha()) or any(axes.count(a) > 1 for a in "XYZCS"):
        raise InputError(f"its axes are {axes!r}; its header is damaged")
    if 0 in series.shape:
        if any(series.keyframe.databytecounts) or not {256, 257} <= {*_codes(series.keyframe)}:
            raise InputError("its width or height is 0, and it has pixels; it is damaged")
        return Pages(series, axes, kind, notes)
    _check_count(tif, series, kind, chain)
    if series.kind == "generic" and chain is not None:
        _check_pages(tif, chain)
    if any(page is None for page in series):
        raise InputError("some of its planes are in no file")
    missing = _check_segments(tif, series, chain or [])
    if missing:
        notes = (
            *notes,
            f"{missing} of its tiles are not in the file and count as {_fill(series)}.",
        )
    if len(series.levels) > 1:
        notes = (*notes, "It is a pyramid; a result has the full resolution only.")
    return Pages(series, axes, kind, notes)


_TITLES = {"ome": "OME", "imagej": "ImageJ", "shaped": "tifffile"}


def _codes(page: Any) -> Iterator[int]:
    return (tag.code for tag in page.tags)


def shaped_metadata(tif: Any) -> dict[str, Any]:
    """Return the metadata of tifffile's own layout."""
    if tif.shaped_metadata:
        return dict(tif.shaped_metadata[0])
    with suppress(ValueError):
        metadata = json.loads(tif.pages.first.shaped_description or "")
        return metadata if isinstance(metadata, dict) else {}
    return {}


def _is_short(tif: Any) -> bool:
    """Return whether an ImageJ file is shorter than the planes that its header describes."""
    metadata, page = dict(tif.imagej_metadata or {}), tif.pages.first
    counts = [metadata.get(name, 1) for name in ("frames", "slices", "channels")]
    if not all(isinstance(count, int) for count in counts) or not page.dataoffsets:
        return False
    return bool(page.dataoffsets[0] + math.prod(counts) * page.nbytes > tif.filehandle.size)


def _axes_of_pyramid(tif: Any, series: Any) -> str:
    """Return the axes in the header of tifffile, for a pyramid whose other levels have none."""
    metadata = shaped_metadata(tif)
    axes, shape = metadata.get("axes"), tuple(metadata.get("shape", ()))
    if shape != tuple(series.shape) or len(series.levels) < 2:
        raise InputError("its tifffile header does not fit its pages; it is damaged")
    return axes if isinstance(axes, str) and len(axes) == len(shape) else str(series.axes)


def _source_kind(tif: Any) -> str:
    if tif.is_ome:
        return "ome"
    if tif.is_imagej:
        return "imagej"
    return "shaped" if tif.is_shaped else "plain"


def _chain(tif: Any, path: Path) -> list[Directory] | None:
    """Return the directories of a file; ``None`` where their offsets are too large for the file."""
    too_large = tif.is_scanimage and not tif.is_bigtiff and tif.filehandle.size > _WRAPPED_OFFSETS
    return None if tif.is_lsm or tif.is_ndpi or too_large else directories(path)


def _image_series(tif: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the only image among the series; thumbnails, labels and masks are left out."""
    series = list(tif.series)
    images = [
        own
        for own in series
        if not (own.keyframe.is_reduced or own.keyframe.is_mask)
        and own.name.lower() not in _SLIDE_EXTRAS
    ]
    if not series:
        raise InputError("it holds no image; it is damaged, or no TIFF")
    if len(images) != 1:
        raise _several(len(series))
    extra = len(series) - 1
    noun = "smaller image, label or mask" if extra == 1 else "smaller images, labels or masks"
    return images[0], (f"A result leaves out {extra} {noun} of the file.",) if extra else ()


def _several(count: int) -> InputError:
    return InputError(
        f"it holds {count} separate images, and a result has one", Remedy.SAVE_ONE_IMAGE
    )


def _check_count(tif: Any, series: Any, kind: str, chain: list[Directory] | None) -> None:
    """Refuse a file whose header describes another number of planes than the file holds."""
    per_page = math.prod(series.keyframe.shape)
    planes, pages = math.prod(series.shape) // max(per_page, 1), len(series)
    described = planes
    if kind == "imagej":
        own = dict(tif.imagej_metadata or {}).get("images", planes)
        one_sample = series.keyframe.samplesperpixel == 1
        described = own if isinstance(own, int) and one_sample and own > planes else planes
    elif kind == "shaped":
        shape = tuple(shaped_metadata(tif).get("shape", series.shape))
        described = math.prod(shape) // max(per_page, 1)
    stored = pages if pages > 1 or not series.keyframe.is_final else planes
    if kind == "imagej" and chain is not None and len(chain) > 1:
        stored = len(chain)
    counts = (described, planes) if described != planes else (planes, stored)
    if counts[0] != counts[1]:
        raise InputError(
            f"its header describes {counts[0]} planes, and it holds {counts[1]}; it is damaged"
        )


def _check_pages(tif: Any, chain: list[Directory]) -> None:
    """Refuse a file with a page that is in no series: tifffile leaves out pages without a size."""
    count = sum(len(level) for series in tif.series for level in series.levels)
    if count < len(chain):
        raise InputError(f"{len(chain) - count} of its {len(chain)} pages are damaged")


def _check_segments(tif: Any, series: Any, chain: list[Directory]) -> int:
    """Refuse an image some of whose strips or tiles are outside the file or on its directories.

    Returns the number of tiles that the file leaves out on purpose.
    """
    keyframe = series.keyframe
    whole = math.prod(series.shape) * series.dtype.itemsize
    expected = _segment_sizes(keyframe)
    contiguous = is_contiguous(tif, series)
    pages = [keyframe] if contiguous else list(series)
    for page in pages:
        if page.keyframe.shape != keyframe.shape or page.keyframe.dtype != keyframe.dtype:
            raise InputError(
                f"the files of its set differ in size or type: {page.parent.filename} has planes "
                f"of {page.keyframe.shape}, {page.keyframe.dtype}"
            )
    offsets, counts = _extents(pages, len(expected))
    absent = (offsets == 0) | (counts == 0)
    if absent.any() and not (keyframe.is_geotiff or keyframe.is_gdal):
        raise InputError(
            f"{int(absent.sum())} of the {absent.size} strips or tiles of its planes are not in "
            "the file; it is damaged"
        )
    counts = _plausible(keyframe, counts, expected, absent, whole if len(pages) == 1 else 0)
    if contiguous:
        offsets, counts = offsets[:, :1], np.array([[whole]])
        absent = np.zeros((1, 1), bool)
    is_own = np.array([page.parent is tif for page in pages])
    for page, stop in zip(pages, (offsets + counts).max(axis=1), strict=True):
        if stop > page.parent.filehandle.size:
            raise truncated("" if page.parent is tif else page.parent.filename)
    if chain:
        by_start = {directory.start: directory for directory in chain}
        own = [by_start.get(page.offset) for page in pages if page.parent is tif]
        own = list(chain[keyframe.index : keyframe.index + len(series)]) if contiguous else own
        _check_layout(own)
        if contiguous and len(series) == 1 and len(chain) == 1:
            _check_end(keyframe, whole, chain[0])
        if keyframe.compression != _OLD_JPEG:
            places = np.stack([offsets, offsets + counts])[:, is_own]
            _check_overlap(places[:, ~absent[is_own]], chain)
    return int(absent.sum())


def is_contiguous(tif: Any, series: Any) -> bool:
    """Return whether the pixels of a series can be mapped from the open file as one array."""
    if series.is_multifile or series.keyframe.parent is not tif:
        return False
    return series.dataoffset is not None and bool(series.keyframe.is_final)


def _check_end(page: Any, whole: int, directory: Directory) -> None:
    """Refuse a file of one page whose image, of ``whole`` bytes, is not all that it holds.

    ImageJ writes large stacks with one page, and describes the others in a text. Without the text,
    only the size of the file shows that there are further planes.
    """
    stop = page.dataoffsets[0] + whole
    planes, rest = divmod(page.parent.filehandle.size - stop, max(whole, 1))
    if directory.stop <= stop and planes and not rest and whole >= _SMALLEST_PLANE:
        raise InputError(
            f"its header describes one plane, and it holds {planes + 1}; it is damaged"
        )


def _extents(pages: list[Any], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return offset and length of the strips or tiles of pages [byte], shapes (pages, count)."""
    arrays = []
    for name in ("dataoffsets", "databytecounts"):
        values = [getattr(page, name) for page in pages]
        shortest = min(len(own) for own in values)
        if shortest < count:
            raise InputError(
                f"a plane has {count} strips or tiles, and the file names the places of "
                f"{shortest}; it is damaged"
            )
        try:
            arrays.append(np.array([own[:count] for own in values], np.uint64).astype(np.int64))
        except (OverflowError, TypeError, ValueError):
            raise InputError("the places of its pixels are damaged") from None
    offsets, lengths = arrays
    if offsets.shape != (len(pages), count) or (arrays[0] < 0).any() or (lengths < 0).any():
        raise InputError("the places of its pixels are damaged")
    return offsets, lengths


def _segment_sizes(page: Any) -> NDArray[np.int64]:
    """Return the size of each strip or tile of a page without compression [byte].

    The size is 0 where it is not known: bits that differ between samples, subsampled colours.
    """
    segments = math.prod(page.chunked)
    bits = page.bitspersample
    if not isinstance(bits, int) or page.is_subsampled or page.sampleformat == 5:
        return np.zeros(segments, np.int64)
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    if page.is_tiled:
        row = (page.tilewidth * samples * bits + 7) // 8
        return np.full(segments, row * page.tilelength * page.tiledepth, np.int64)
    row = (page.imagewidth * samples * bits + 7) // 8
    strips = math.ceil(page.imagelength / page.rowsperstrip)
    rows = np.minimum(page.rowsperstrip, page.imagelength - np.arange(strips) * page.rowsperstrip)
    return np.tile(rows * row, segments // len(rows)).astype(np.int64)


def _plausible(
    page: Any,
    counts: NDArray[np.int64],
    expected: NDArray[np.int64],
    absent: NDArray[np.bool_],
    whole: int,
) -> NDArray[np.int64]:
    """Return the bytes that a page uses of its strips or tiles, after checking their number.

    Some programs give the last strip the length of a full one, or the only strip the length of all
    planes (``whole``).
    """
    known = (expected > 0) & ~absent
    if page.compression != 1:
        ratio = _LARGEST_RATIOS.get(int(page.compression), math.inf)
        if (known & (expected > ratio * (counts + 1))).any():
            raise InputError(
                f"a plane needs {int(expected.sum()):,} bytes, which do not fit into the "
                f"{int(counts[0].sum()):,} bytes that the file has for it; it is damaged"
            )
        return counts
    if page.is_stk or page.is_lsm or page.is_subsampled:
        return counts
    regular = (counts >= expected) & (counts <= expected + _PADDING)
    regular |= (counts == expected.max(initial=0)) | (counts == whole)
    if page.is_tiled:
        regular |= counts <= expected
    if not (regular | ~known).all():
        plane, place = np.argwhere(known & ~regular)[0]
        raise InputError(
            f"a strip or tile needs {int(expected[place]):,} bytes, and the file has "
            f"{int(counts[plane, place]):,} for it; it is damaged"
        )
    return np.where(known, np.minimum(counts, expected), counts)


def _check_layout(pages: list[Directory | None]) -> None:
    """Refuse an image some of whose pages are stored in another way than the first one."""
    first = next((page for page in pages if page is not None), None)
    if first is None:
        return
    for own in pages:
        for code, name in LAYOUT_TAGS.items():
            if own is None or own.entries.get(code) == first.entries.get(code):
                continue
            values = first.number(code), own.number(code)
            if values[0] != values[1]:
                raise InputError(f"its pages differ in {name}: {values[0]} and {values[1]}")


def _check_overlap(segments: NDArray[np.int64], chain: list[Directory]) -> None:
    """Refuse pixels that lie on the directories of the file or partly on each other.

    Equal strips and tiles may share one place.
    """
    own = [(0, 8)]
    for entry in chain:
        own += [(entry.start, entry.stop), *entry.values]
    start, stop = np.concatenate([segments, np.array(own, np.int64).T], axis=1)
    is_segment = np.arange(len(start)) < segments.shape[1]
    order = np.lexsort((stop, start))
    start, stop, is_segment = start[order], stop[order], is_segment[order]
    same = (start[1:] == start[:-1]) & (stop[1:] == stop[:-1])
    involved = is_segment[1:] | is_segment[:-1]
    if ((start[1:] < stop[:-1]) & ~same & involved).any():
        raise InputError("the places of its pixels overlap; it is damaged")


def _fill(series: Any) -> str:
    return str(series.keyframe.nodata)


def check_first_segment(page: Any, codecs: Any) -> None:
    """Refuse a plane whose first strip or tile is longer than the size of the plane says.

    The decoders of LZW and LZMA leave out what is too long. A damaged width would shear the image.

    Parameters
    ----------
    page
        Page of tifffile.
    codecs
        tifffile's decompressors by compression.
    """
    size = int(_segment_sizes(page)[0])
    if page.compression not in (5, 34925) or not size or page.dataoffsets[0] == 0:
        return
    file = page.parent.filehandle
    file.seek(page.dataoffsets[0])
    data = file.read(page.databytecounts[0])
    if len(codecs[page.compression](data, out=size + 1)) > size:
        raise InputError("a strip or tile is longer than its image; it is damaged")


def check_expansion(series: Any) -> None:
    """Refuse strips and tiles that expand beyond their size, before tifffile expands them.

    Only imagecodecs limits the size; the standard library, which replaces it, does not.
    """
    keyframe = series.keyframe
    decoder = _standard_decoder(int(keyframe.compression))
    if decoder is None:
        return
    sizes = _segment_sizes(keyframe)
    for page in series:
        file = page.parent.filehandle
        for size, offset, count in zip(sizes, page.dataoffsets, page.databytecounts, strict=False):
            file.seek(offset)
            if len(decoder().decompress(file.read(count), int(size) + 1)) > size > 0:
                raise InputError("a strip or tile is longer than its image; it is damaged")


def _standard_decoder(compression: int) -> Any:
    """Return the standard library's decoder of a compression, ``None`` without one."""
    if compression in (8, 32946):
        import zlib

        return zlib.decompressobj
    if compression == 34925:
        import lzma

        return lzma.LZMADecompressor
    if compression == 50000 and find_spec("compression") is not None:  # from Python 3.14 on
        return import_module("compression.zstd").ZstdDecompressor
    return None
