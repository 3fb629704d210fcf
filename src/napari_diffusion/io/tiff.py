"""Reading of TIFF files: OME-TIFF, ImageJ hyperstacks, "shaped" TIFF of tifffile, plain TIFF.

Results are written by `tiff_writer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, MissingLibraryError, Remedy
from napari_diffusion.io import ome, ome_planes
from napari_diffusion.io.compressed import check_memory
from napari_diffusion.io.ome_planes import PlaneSet
from napari_diffusion.io.tiff_colour import colours_of
from napari_diffusion.io.tiff_header import (
    ASCII,
    DOUBLE,
    INCH,
    KEPT_TAGS,
    PAGE_TAGS,
    RESOLUTION_UNIT,
    SHORT,
    TEXT_OF_PAGES,
    X_RESOLUTION,
    Y_RESOLUTION,
    TiffHeader,
)
from napari_diffusion.io.tiff_ifds import directories
from napari_diffusion.io.tiff_metadata import calibration, channel_names, voxel_fields
from napari_diffusion.io.tiff_pages import (
    Pages,
    check_expansion,
    check_first_segment,
    is_contiguous,
    pages_of,
    quiet_decoder,
    shaped_metadata,
)
from napari_diffusion.io.tiff_writer import dry_write, lay_out, storable, write
from napari_diffusion.io.volume import Format, Volume, in_real_units, require


def _read_metadata(path: Path) -> Volume:
    return _read(path, pixels=False)


def _read(path: Path, pixels: bool = True) -> Volume:
    with quiet_decoder(), _opened(path) as (tif, planes):
        pages = pages_of(tif, path)
        series = pages.series
        axes, page = pages.axes, series.keyframe
        colours = colours_of(page, pages.kind == "imagej")
        header = _header(tif, pages.kind, "" if planes is None else planes.root)
        header = replace(header, photometric=colours.photometric, extrasamples=colours.extrasamples)
        lost = _lost_texts(tif) if pages.kind == "plain" else ()
        if pixels:
            raw = _pixels(tif, pages, path)
        else:
            raw = np.broadcast_to(np.zeros((), series.dtype), series.shape)
    if raw.dtype.kind not in "biuf":
        raise InputError(f"its {raw.dtype} values are no image of real numbers")
    slope, inter = calibration(header)
    if pages.kind == "ome":
        fields = ome.volume_fields(header.description, axes)
    else:
        fields = voxel_fields(header, axes)
        fields["channel_names"] = channel_names(header, axes, raw.shape)
    fields["notes"] = (*pages.notes, *colours.notes, *lost, *fields.get("notes", ()))
    calibrated = pixels and (slope, inter) != (1.0, 0.0)
    coupled = axes.index("S") if "S" in axes and colours.are_coupled else None
    return Volume(
        in_real_units(raw, slope, inter, path) if calibrated else raw,
        axes,
        channel_axis=coupled,
        format="TIFF",
        header=header,
        path=path,
        stored=raw.dtype,
        scaling=(slope, inter),
        alpha=None if coupled is None else colours.alpha,
        members=() if planes is None else planes.members,
        **fields,
    )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, PlaneSet | None]]:
    """Open a file with tifffile; yield it, and the files of its planes if it is an OME-TIFF.

    The OME-XML alone decides about an OME-TIFF of Micro-Manager: its own index breaks when a file
    is renamed.
    """
    with _open(path) as tif:
        if not tif.is_ome or ome.number_of_images(tif.ome_metadata) > 1:
            yield tif, None
            return
        planes = ome_planes.resolve(path, tif.ome_metadata)
        if planes.xml == tif.ome_metadata and not tif.is_mmstack:
            yield tif, planes
            return
    with _open(path, omexml=planes.xml, is_mmstack=False) as tif:
        yield tif, planes


def _open(path: Path, **options: Any) -> Any:
    """Open a file with tifffile; a damaged list of pages is an error with its own words."""
    try:
        return require("tifffile", "TIFF files").TiffFile(path, **options)
    except MissingLibraryError:
        raise
    except Exception:  # tifffile raises what its unpacking of bytes raises
        directories(path)
        raise


def _pixels(tif: Any, pages: Pages, path: Path) -> Array:
    """Return the pixels, memory-mapped where they are stored contiguously."""
    series = pages.series
    if 0 in series.shape:
        return np.zeros(series.shape, series.dtype)
    if is_contiguous(tif, series) and series.keyframe.is_memmappable:
        dtype = np.dtype(series.dtype).newbyteorder(tif.byteorder)
        return np.memmap(path, dtype, "r", int(series.dataoffset), series.shape)
    codec = _unavailable_codec(series.keyframe)
    if codec is not None:
        raise InputError(
            f"its compression ({codec}) needs the library imagecodecs, which is not installed",
            Remedy.INSTALL_IMAGECODECS,
        )
    check_memory(series.size * np.dtype(series.dtype).itemsize, path)
    if find_spec("imagecodecs") is None:
        check_expansion(series)
    check_first_segment(series.keyframe, require("tifffile", "TIFF files").TIFF.DECOMPRESSORS)
    if series.is_multifile or series.keyframe.parent is not tif:
        # Without a key, tifffile looks for contiguous pixels in the opened file only.
        data = np.asarray(tif.asarray(key=slice(None), series=series)).reshape(series.shape)
    else:
        data = np.asarray(series.asarray())
    if data.shape != tuple(series.shape):
        raise InputError(
            f"its header describes an image of shape {series.shape}, and its pages give "
            f"{data.shape}; it is damaged"
        )
    return data


def _unavailable_codec(page: Any) -> str | None:
    """Return the name of the compression, prediction or packing of a page without imagecodecs."""
    if find_spec("imagecodecs") is not None:
        return None
    known = require("tifffile", "TIFF files").TIFF
    if page.compression not in known.DECOMPRESSORS:
        return str(getattr(page.compression, "name", page.compression))
    if page.predictor not in known.UNPREDICTORS:
        return str(getattr(page.predictor, "name", page.predictor))
    if page.bitspersample not in (1, 8, 16, 32, 64):
        return f"{page.bitspersample} bits per sample"
    return "reversed bits" if page.fillorder != 1 else None


def _header(tif: Any, kind: str, xml: str) -> TiffHeader:
    page = tif.pages.first
    tags = {tag.code: tag.value for tag in page.tags}
    metadata: dict[str, Any] = {}
    if kind == "imagej":
        metadata = dict(tif.imagej_metadata or {})
    elif kind == "shaped":
        metadata = shaped_metadata(tif)
    metadata.pop("shape", None)
    resolution = None
    if X_RESOLUTION in tags and Y_RESOLUTION in tags:
        resolution = tags[X_RESOLUTION], tags[Y_RESOLUTION]
    return TiffHeader(
        kind,
        xml if kind == "ome" else page.description,
        metadata,
        resolution,
        int(tags.get(RESOLUTION_UNIT, INCH)),
        tags=tuple(_kept_tags(page)),
    )


def _lost_texts(tif: Any) -> tuple[str, ...]:
    """Return a note about texts of the second page; a result has those of the first page only."""
    if len(tif.pages) < 2:
        return ()
    tags = tif.pages[1].aspage().tags
    lost = [name for code, name in TEXT_OF_PAGES.items() if code in tags and tags[code].value]
    if not lost:
        return ()
    return (f"Its pages have a {' and a '.join(lost)} each; a result keeps those of the first.",)


def _kept_tags(page: Any) -> Iterator[tuple[int, int, int, Any, bool]]:
    """Yield the tags that a result keeps, as the argument ``extratags`` of tifffile.

    The bytes of text are read again: tifffile decodes text, and refuses to write some of it.
    """
    file = page.parent.filehandle
    for code, tag_type in KEPT_TAGS.items():
        tag = page.tags.get(code)
        if tag is None:
            continue
        once = code not in PAGE_TAGS
        if tag_type in (SHORT, DOUBLE):
            numbers = tag.value if isinstance(tag.value, tuple) else (tag.value,)
            if int(tag.dtype) == tag_type and len(numbers) == tag.count:
                yield code, tag_type, tag.count, tag.value, once
            continue
        if not isinstance(tag.value, str | bytes) or not tag.value:
            continue
        file.seek(tag.valueoffset)
        value = file.read(tag.count)
        if tag_type == ASCII:
            value = value.rstrip(b"\0") + b"\0"
        yield code, tag_type, len(value), value, once


FORMAT = Format(
    "TIFF",
    (".ome.tif", ".ome.tiff", ".tif", ".tiff"),
    _read,
    write,
    storable,
    dry_write,
    read_metadata=_read_metadata,
    members_of=ome_planes.members_of,
    lay_out=lay_out,
)
