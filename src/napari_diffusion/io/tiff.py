"""Reading of TIFF files: OME-TIFF, ImageJ hyperstacks, "shaped" TIFF of tifffile, plain TIFF.

Results are written by `tiff_writer`.
"""

from __future__ import annotations

import math
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io import ome
from napari_diffusion.io.tiff_header import (
    ASCII,
    CENTIMETER,
    DATETIME,
    INCH,
    KEPT_TAGS,
    PALETTE,
    RESOLUTION_UNIT,
    X_RESOLUTION,
    Y_RESOLUTION,
    TiffHeader,
)
from napari_diffusion.io.tiff_writer import storable, write
from napari_diffusion.io.volume import Format, Volume, in_real_units, require


def _read_metadata(path: Path) -> Volume:
    return _read(path, pixels=False)


def _read(path: Path, pixels: bool = True) -> Volume:
    tifffile = require("tifffile", "TIFF files")
    with tifffile.TiffFile(path) as tif:
        kind = _source_kind(tif)
        count = ome.number_of_images(tif.ome_metadata) if kind == "ome" else len(tif.series)
        if not count:
            raise InputError("it holds no image; it is damaged, or no TIFF")
        if count > 1:
            raise InputError(
                f"it holds {count} separate images, and a result has one", Remedy.SAVE_ONE_IMAGE
            )
        series, page = tif.series[0], tif.pages.first
        header = _header(tif, page, kind)
        if header.photometric == PALETTE:
            raise InputError(
                "it is a palette image, whose numbers are places in a table of colours",
                Remedy.CONVERT_COLOURS,
            )
        axes = series.axes
        if pixels:
            raw = _pixels(tif, series, path)
        else:
            raw = np.broadcast_to(np.zeros((), series.dtype), series.shape)
    if raw.dtype.kind not in "biuf":
        raise InputError(f"values of type {raw.dtype} are no real image")
    coupled = axes.index("S") if "S" in axes else None
    slope, inter = _calibration(header)
    if kind == "ome":
        fields = ome.volume_fields(header.description, axes)
    else:
        fields = _voxel_fields(header, axes)
        fields["channel_names"] = _channel_names(header, axes, raw.shape)
    calibrated = pixels and (slope, inter) != (1.0, 0.0)
    return Volume(
        in_real_units(raw, slope, inter) if calibrated else raw,
        axes,
        channel_axis=coupled,
        format="TIFF",
        header=header,
        path=path,
        stored=raw.dtype,
        scaling=(slope, inter),
        **fields,
    )


def _source_kind(tif: Any) -> str:
    if tif.is_ome:
        return "ome"
    if tif.is_imagej:
        return "imagej"
    return "shaped" if tif.is_shaped else "plain"


def _pixels(tif: Any, series: Any, path: Path) -> Array:
    """Return the pixels, memory-mapped where they are stored contiguously."""
    if series.dataoffset is not None and tif.pages.first.is_memmappable and series.size:
        if path.stat().st_size < series.dataoffset + series.nbytes:
            raise InputError("the file ends before its image does; it is damaged")
        dtype = np.dtype(series.dtype).newbyteorder(tif.byteorder)
        return np.memmap(path, dtype, "r", int(series.dataoffset), series.shape)
    codec = _unavailable_codec(tif.pages.first)
    if codec is not None:
        raise InputError(
            f"its compression ({codec}) needs the library imagecodecs, which is not installed",
            Remedy.INSTALL_IMAGECODECS,
        )
    return np.asarray(series.asarray())


def _unavailable_codec(page: Any) -> str | None:
    """Return the name of the compression or prediction of a page that lacks imagecodecs."""
    if find_spec("imagecodecs") is not None:
        return None
    known = require("tifffile", "TIFF files").TIFF
    if page.compression not in known.DECOMPRESSORS:
        return str(getattr(page.compression, "name", page.compression))
    if page.predictor not in known.UNPREDICTORS:
        return str(getattr(page.predictor, "name", page.predictor))
    return None


def _header(tif: Any, page: Any, kind: str) -> TiffHeader:
    tags = {tag.code: tag.value for tag in page.tags}
    metadata: dict[str, Any] = {}
    if kind == "imagej":
        metadata = dict(tif.imagej_metadata or {})
    elif kind == "shaped":
        metadata = dict((tif.shaped_metadata or ({},))[0])
    metadata.pop("shape", None)
    kept = [
        (code, tag_type, 0 if tag_type == ASCII else len(tags[code]), tags[code], True)
        for code, tag_type in KEPT_TAGS.items()
        if tags.get(code)
    ]
    resolution = None
    if X_RESOLUTION in tags and Y_RESOLUTION in tags:
        resolution = tags[X_RESOLUTION], tags[Y_RESOLUTION]
    return TiffHeader(
        kind,
        tif.ome_metadata if kind == "ome" else page.description,
        metadata,
        resolution,
        int(tags.get(RESOLUTION_UNIT, INCH)),
        int(page.photometric),
        tuple(kept),
        tags.get(DATETIME),
    )


def _voxel_fields(header: TiffHeader, axes: str) -> dict[str, Any]:
    """Return ``spacing``, ``unit`` and ``time_step`` of a TIFF that is not OME."""
    sizes = map(_pixel_size, header.resolution or ())
    steps = {letter: step for letter, step in zip("XY", sizes, strict=False) if step}
    time = header.metadata.get("finterval")
    unit = "pixel"
    if header.kind == "imagej":
        with suppress(ValueError):  # an unknown unit becomes the pixel; the proportions are kept
            unit = units.canonical(str(header.metadata.get("unit", "pixel")))
        steps["Z"] = abs(float(header.metadata.get("spacing", 1.0))) or 1.0
    elif header.resolution_unit == CENTIMETER and len(steps) == 2:
        unit = "micrometer"
        steps = {letter: step * units.factor("centimeter", unit) for letter, step in steps.items()}
    else:
        # A resolution in dots per inch is the size in print, not the size of a voxel.
        steps = dict.fromkeys("XYZ", 1.0)
    return {
        "spacing": tuple(steps.get(letter) if letter in "XYZ" else None for letter in axes),
        "unit": unit,
        "time_step": float(time) if time else None,
    }


def _pixel_size(resolution: Any) -> float:
    """Return the inverse of a resolution, a number or a fraction; 0 for a resolution of 0."""
    numerator, denominator = resolution if isinstance(resolution, tuple) else (resolution, 1)
    return float(denominator) / float(numerator) if numerator else 0.0


def _channel_names(header: TiffHeader, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names along axis C, from the OME key "Channel" or from the labels of ImageJ."""
    if "C" not in axes:
        return ()
    channels = shape[axes.index("C")]
    channel = header.metadata.get("Channel")
    names = _first_lines(channel.get("Name")) if isinstance(channel, dict) else []
    if not any(names):
        names = _names_from_labels(_first_lines(header.metadata.get("Labels")), axes, shape)
    if not any(names) or len(names) > channels:
        return ()
    return (*names, *[""] * (channels - len(names)))


def _names_from_labels(labels: list[str], axes: str, shape: tuple[int, ...]) -> list[str]:
    """Return channel names from ImageJ labels: one label per channel, or one per plane.

    With one label per plane, a channel has a name if all its planes have the same label.
    """
    while labels and not labels[-1]:  # ImageJ pads a short list with empty labels
        labels = labels[:-1]
    plane_axes = [i for i, letter in enumerate(axes) if letter not in "YXS"]
    planes = [shape[i] for i in plane_axes]
    if len(labels) != math.prod(planes):
        return labels
    place = plane_axes.index(axes.index("C"))
    by_channel = np.moveaxis(np.reshape(labels, planes), place, 0).reshape(planes[place], -1)
    return [str(row[0]) if (row == row[0]).all() else "" for row in by_channel]


def _first_lines(texts: Any) -> list[str]:
    """Return the first line of each text: further lines of an ImageJ label are remarks.

    The list is empty if ``texts`` is neither a text nor a list of texts.
    """
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        return []
    return [text.strip().partition("\n")[0].strip() for text in texts]


def _calibration(header: TiffHeader) -> tuple[float, float]:
    """Return slope and intercept of ImageJ's linear calibration.

    ImageJ stores signed 16-bit images as unsigned numbers with such a calibration.
    """
    metadata = header.metadata
    linear = metadata.get("cf") == 0 and "c0" in metadata and "c1" in metadata
    if header.kind != "imagej" or not linear:
        return 1.0, 0.0
    return float(metadata["c1"]), float(metadata["c0"])


FORMAT = Format(
    "TIFF",
    (".ome.tif", ".ome.tiff", ".tif", ".tiff"),
    _read,
    write,
    storable,
    read_metadata=_read_metadata,
)
