"""TIFF files through tifffile: OME-TIFF, ImageJ hyperstacks, "shaped" TIFF of tifffile, plain TIFF.

A result is written in the layout of its source. Where ImageJ's layout cannot hold it, it is written
as OME-TIFF: 64-bit floats, colour that is not 8-bit, axes in another order.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io import ome
from napari_diffusion.io.volume import Format, Volume, in_real_units, require

#: Codes of tags.
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _DATETIME = 282, 283, 296, 306
#: Values of the tag ResolutionUnit.
_INCH, _CENTIMETER = 2, 3
#: Values of the tag PhotometricInterpretation.
_MIN_IS_WHITE, _PALETTE = 0, 3
#: TIFF types of values.
_ASCII, _UNDEFINED = 2, 7
#: Further tags that a result keeps, with the types of their values.
_KEPT_TAGS = {
    269: _ASCII,  # DocumentName
    271: _ASCII,  # Make
    272: _ASCII,  # Model
    315: _ASCII,  # Artist
    316: _ASCII,  # HostComputer
    33432: _ASCII,  # Copyright
    34675: _UNDEFINED,  # ICC profile
}
#: ImageJ metadata that tifffile derives from the shape.
_IMAGEJ_COUNTS = {"ImageJ", "images", "channels", "slices", "frames", "hyperstack"}
_IMAGEJ_CALIBRATION = {"cf", "c0", "c1", "vunit"}
_IMAGEJ_DTYPES = ("u1", "u2", "f4")
#: Largest ImageJ file [byte]: offsets have 32 bits.
_IMAGEJ_MAX_BYTES = 2**32 - 2**25


@dataclass(frozen=True)
class _Header:
    """Metadata of a TIFF file.

    Attributes
    ----------
    kind
        Layout: ``"ome"``, ``"imagej"``, ``"shaped"`` (tifffile's own) or ``"plain"``; ``"none"``
        when the source is not a TIFF.
    description
        OME-XML, or the tag ImageDescription of the first page.
    metadata
        Metadata of ImageJ or of tifffile.
    resolution, resolution_unit, photometric, datetime
        Values of the tags of the same names.
    tags
        Further tags that a result keeps, as the argument ``extratags`` of tifffile.
    """

    kind: str
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    resolution: tuple[Any, Any] | None = None
    resolution_unit: int = 1
    photometric: int = 1
    tags: tuple[Any, ...] = ()
    datetime: str | None = None


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
        if header.photometric == _PALETTE:
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


def _header(tif: Any, page: Any, kind: str) -> _Header:
    tags = {tag.code: tag.value for tag in page.tags}
    metadata: dict[str, Any] = {}
    if kind == "imagej":
        metadata = dict(tif.imagej_metadata or {})
    elif kind == "shaped":
        metadata = dict((tif.shaped_metadata or ({},))[0])
    metadata.pop("shape", None)
    kept = [
        (code, tag_type, 0 if tag_type == _ASCII else len(tags[code]), tags[code], True)
        for code, tag_type in _KEPT_TAGS.items()
        if tags.get(code)
    ]
    resolution = None
    if _X_RESOLUTION in tags and _Y_RESOLUTION in tags:
        resolution = tags[_X_RESOLUTION], tags[_Y_RESOLUTION]
    return _Header(
        kind,
        tif.ome_metadata if kind == "ome" else page.description,
        metadata,
        resolution,
        int(tags.get(_RESOLUTION_UNIT, _INCH)),
        int(page.photometric),
        tuple(kept),
        tags.get(_DATETIME),
    )


def _voxel_fields(header: _Header, axes: str) -> dict[str, Any]:
    """Return ``spacing``, ``unit`` and ``time_step`` of a TIFF that is not OME."""
    sizes = map(_pixel_size, header.resolution or ())
    steps = {letter: step for letter, step in zip("XY", sizes, strict=False) if step}
    time = header.metadata.get("finterval")
    unit = "pixel"
    if header.kind == "imagej":
        with suppress(ValueError):  # an unknown unit becomes the pixel; the proportions are kept
            unit = units.canonical(str(header.metadata.get("unit", "pixel")))
        steps["Z"] = abs(float(header.metadata.get("spacing", 1.0))) or 1.0
    elif header.resolution_unit == _CENTIMETER and len(steps) == 2:
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


def _channel_names(header: _Header, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
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


def _calibration(header: _Header) -> tuple[float, float]:
    """Return slope and intercept of ImageJ's linear calibration.

    ImageJ stores signed 16-bit images as unsigned numbers with such a calibration.
    """
    metadata = header.metadata
    linear = metadata.get("cf") == 0 and "c0" in metadata and "c1" in metadata
    if header.kind != "imagej" or not linear:
        return 1.0, 0.0
    return float(metadata["c1"]), float(metadata["c0"])


def _target_kind(dtype: np.dtype[Any], like: Volume, name: str) -> str:
    """Return the layout of a result: that of its source, or OME.

    OME-TIFF is written for a source of another format, for a name that ends in ``.ome.tif`` or
    ``.ome.tiff``, and for a result that ImageJ's layout cannot hold.
    """
    if like.format != "TIFF" or name.lower().endswith((".ome.tif", ".ome.tiff")):
        return "ome"
    kind = str(like.header.kind)
    if kind == "imagej":
        colour = "S" in like.axes and dtype != np.uint8
        size = math.prod(like.shape) * dtype.itemsize
        reordered = like.axes != "".join(letter for letter in "TZCYXS" if letter in like.axes)
        if dtype.str[1:] not in _IMAGEJ_DTYPES or colour or reordered or size > _IMAGEJ_MAX_BYTES:
            return "ome"
    return kind


def _write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    tifffile = require("tifffile", "TIFF files")
    kind = _target_kind(data.dtype, like, path.name)
    header = like.header if like.format == "TIFF" else _Header("none")
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    options: dict[str, Any] = {"photometric": "minisblack"}
    if kind == "ome" and header.kind != "ome":
        data, axes = _ome_order(data, like.axes)
        text = ome.create(data, axes, like, recipe)
    else:
        axes = like.axes
        if kind == "ome":
            text = ome.update(header.description, data, recipe)
        else:
            text = _append_recipe(header.description, recipe)
    if "S" in axes:
        colour = data.shape[axes.index("S")] in (3, 4)
        options["photometric"] = "rgb" if colour else "minisblack"
        options["planarconfig"] = "contig" if axes.endswith("S") else "separate"
    elif header.photometric == _MIN_IS_WHITE and header.kind == kind:
        options["photometric"] = "miniswhite"
    if header.kind == kind and header.resolution is not None:
        options |= {"resolution": header.resolution, "resolutionunit": header.resolution_unit}
    if kind == "imagej":
        metadata = _imagej_metadata(header, axes, like, recipe)
        tifffile.imwrite(path, data, imagej=True, metadata=metadata, **options)
        return
    options |= {"extratags": header.tags, "datetime": header.datetime, "byteorder": "<"}
    if kind == "shaped":
        metadata = header.metadata | {"axes": axes}
        metadata |= {"napari-diffusion": recipe} if recipe else {}
        tifffile.imwrite(path, data, shaped=True, metadata=metadata, **options)
        return
    tifffile.imwrite(path, data, ome=False, metadata=None, description=text.encode(), **options)


def _imagej_metadata(header: _Header, axes: str, like: Volume, recipe: str) -> dict[str, Any]:
    """Return the metadata of a result in ImageJ's layout.

    The recipe is appended to the text of Image > Show Info.
    """
    dropped = _IMAGEJ_COUNTS | (_IMAGEJ_CALIBRATION if like.scaling == (1.0, 0.0) else set())
    kept = {name: value for name, value in header.metadata.items() if name not in dropped}
    info = _append_recipe(str(kept.pop("Info", "")), recipe)
    return kept | {"axes": axes} | ({"Info": info} if info else {})


def _append_recipe(text: str, recipe: str) -> str:
    """Append a recipe to a description, on a line of its own."""
    note = f"napari-diffusion recipe: {recipe}" if recipe else ""
    return "\n".join(part for part in (text.rstrip(), note) if part)


def _ome_letters(axes: str) -> str:
    """Return the letters of OME for axes.

    An axis of unknown kind gets the first free letter of T, C and Z: time first, because no default
    smooths over time.
    """
    free = [letter for letter in "TCZ" if letter not in axes]
    unknown = [letter for letter in axes if letter not in "TCZYXS"]
    if len(unknown) > len(free) or not {"Y", "X"} <= set(axes):
        raise InputError(
            "OME-TIFF holds the axes T, C, Z, Y and X, and an image with the axes "
            f"{', '.join(axes)} does not fit",
            Remedy.WRITE_ANOTHER_FORMAT,
        )
    return "".join(letter if letter in "TCZYXS" else free.pop(0) for letter in axes)


def _ome_order(data: Array, axes: str) -> tuple[Array, str]:
    """Bring axes into the order TCZYXS of OME; return the data and the letters of OME."""
    letters = _ome_letters(axes)
    order = sorted(range(len(letters)), key=lambda i: "TCZYXS".index(letters[i]))
    return data.transpose(order), "".join(letters[i] for i in order)


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    native = dtype.newbyteorder("=")
    if _target_kind(native, like, suffix) in ("shaped", "plain", "imagej"):
        return native
    if like.format != "TIFF" or like.header.kind != "ome":
        _ome_letters(like.axes)
        if 0 in like.shape:
            raise InputError("OME-TIFF holds no image without samples", Remedy.WRITE_ANOTHER_FORMAT)
    if native.kind == "b":
        return np.dtype(np.uint8)
    if native == np.float16:
        return np.dtype(np.float32)
    if not ome.holds(native):
        raise InputError(f"OME-TIFF has no {native}", Remedy.WRITE_FLOATING_POINT)
    return native


FORMAT = Format(
    "TIFF",
    (".ome.tif", ".ome.tiff", ".tif", ".tiff"),
    _read,
    _write,
    _storable,
    read_metadata=_read_metadata,
)
