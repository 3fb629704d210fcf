"""TIFF through tifffile: OME-TIFF, ImageJ hyperstacks, tifffile's own, and plain TIFF; each goes back as what it was.

A result that ImageJ's layout cannot hold is written as OME-TIFF: 64-bit floats, colour that is not
8-bit, axes in another order.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.io import ome
from napari_diffusion.io.volume import Format, Volume, in_real_units, require

_INCH, _CENTIMETER = 2, 3
_PALETTE = 3
# Document, maker, model, time, artist, computer, copyright, ICC profile: (code, TIFF type)
_KEPT = {269: 2, 271: 2, 272: 2, 315: 2, 316: 2, 33432: 2, 34675: 7}
_COUNTED = {"ImageJ", "images", "channels", "slices", "frames", "hyperstack"}
_CALIBRATION = {"cf", "c0", "c1", "vunit"}
_IMAGEJ_HOLDS = ("u1", "u2", "f4")
_IMAGEJ_LARGEST = 2**32 - 2**25  # bytes; its files have 32-bit offsets


@dataclass(frozen=True)
class _Header:
    """What a TIFF says besides its pixels. ``kind`` is ome, imagej, shaped (tifffile's own) or plain; none for other formats."""

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
        kind = (
            "ome"
            if tif.is_ome
            else "imagej"
            if tif.is_imagej
            else "shaped"
            if tif.is_shaped
            else "plain"
        )
        count = ome.number_of_images(tif.ome_metadata) if kind == "ome" else len(tif.series)
        if not count:
            raise ValueError("it holds no image; it is damaged, or no TIFF")
        if count > 1:
            raise ValueError(
                f"it holds {count} separate images, and a result has one; save the one to filter to a file of its own"
            )
        series, page = tif.series[0], tif.pages.first
        header = _header(tif, page, kind)
        if header.photometric == _PALETTE:
            raise ValueError(
                "it is a palette image, whose numbers are places in a table of colours; convert it to grey or RGB"
            )
        axes = series.axes
        raw = (
            _pixels(tifffile, tif, series, path)
            if pixels
            else np.broadcast_to(np.zeros((), series.dtype), series.shape)
        )
    if raw.dtype.kind not in "biuf":
        raise ValueError(f"values of type {raw.dtype} are no real image")
    coupled = axes.index("S") if "S" in axes else None
    slope, inter = _calibration(header)
    fields = (
        ome.describe(header.description, axes)
        if kind == "ome"
        else _voxels(header, axes) | {"channel_names": _channel_names(header, axes, raw.shape)}
    )
    return Volume(
        raw if (slope, inter) == (1.0, 0.0) or not pixels else in_real_units(raw, slope, inter),
        axes,
        channel_axis=coupled,
        format="TIFF",
        header=header,
        path=path,
        stored=raw.dtype,
        scaling=(slope, inter),
        **fields,
    )


def _pixels(tifffile: Any, tif: Any, series: Any, path: Path) -> Array:
    if series.dataoffset is not None and tif.pages.first.is_memmappable and series.size:
        if path.stat().st_size < series.dataoffset + series.nbytes:
            raise ValueError("the file ends before its image does; it is damaged")
        dtype = np.dtype(series.dtype).newbyteorder(tif.byteorder)
        return np.memmap(path, dtype, "r", int(series.dataoffset), series.shape)
    try:
        return np.asarray(series.asarray())
    except ValueError as error:
        if "imagecodecs" in str(error):
            name = tif.pages.first.compression.name
            raise ValueError(
                f"its compression ({name}) needs one more library: pip install imagecodecs"
            ) from None
        raise


def _header(tif: Any, page: Any, kind: str) -> _Header:
    tags = {tag.code: tag.value for tag in page.tags}
    metadata = (
        dict(tif.imagej_metadata or {})
        if kind == "imagej"
        else dict((tif.shaped_metadata or ({},))[0])
        if kind == "shaped"
        else {}
    )
    metadata.pop("shape", None)
    kept = [
        (code, kind_, 0 if kind_ == 2 else len(tags[code]), tags[code], True)
        for code, kind_ in _KEPT.items()
        if tags.get(code)
    ]
    return _Header(
        kind,
        tif.ome_metadata if kind == "ome" else page.description,
        metadata,
        (tags[282], tags[283]) if 282 in tags and 283 in tags else None,
        int(tags.get(296, _INCH)),
        int(page.photometric),
        tuple(kept),
        tags.get(306),
    )


def _voxels(header: _Header, axes: str) -> dict[str, Any]:
    """Voxel size of TIFF that is not OME."""
    steps = {
        letter: step
        for letter, step in zip("XY", map(_inverse, header.resolution or ()), strict=False)
        if step
    }
    time = header.metadata.get("finterval")
    unit = "pixel"
    if header.kind == "imagej":
        with suppress(ValueError):  # in an invented unit, the voxel keeps its proportions
            unit = units.canonical(str(header.metadata.get("unit", "pixel")))
        steps["Z"] = abs(float(header.metadata.get("spacing", 1.0))) or 1.0
    elif header.resolution_unit == _CENTIMETER and len(steps) == 2:
        unit = "micrometer"
        steps = {letter: step * units.factor("centimeter", unit) for letter, step in steps.items()}
    else:
        steps = {
            "X": 1.0,
            "Y": 1.0,
            "Z": 1.0,
        }  # dots per inch are how large to print, not how large a voxel is
    return {
        "spacing": tuple(steps.get(letter) if letter in "XYZ" else None for letter in axes),
        "unit": unit,
        "time_step": float(time) if time else None,
    }


def _inverse(resolution: Any) -> float:
    """Pixel size of a resolution, which is a fraction; 0 where it says nothing."""
    top, bottom = resolution if isinstance(resolution, tuple) else (resolution, 1)
    return float(bottom) / float(top) if top else 0.0


def _channel_names(header: _Header, axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names along axis C, from OME's key in tifffile's metadata or ImageJ's labels."""
    if "C" not in axes:
        return ()
    channels = shape[axes.index("C")]
    channel = header.metadata.get("Channel")
    names = _lines(channel.get("Name")) if isinstance(channel, dict) else []
    if not any(names):
        names = _by_labels(_lines(header.metadata.get("Labels")), axes, shape)
    if not any(names) or len(names) > channels:
        return ()
    return (*names, *[""] * (channels - len(names)))


def _by_labels(labels: list[str], axes: str, shape: tuple[int, ...]) -> list[str]:
    """Return the names that labels give: a label per channel, or a label per plane.

    A label per plane is a name if all planes of its channel have the same one.
    """
    while labels and not labels[-1]:  # ImageJ fills up a short list with empty labels
        labels = labels[:-1]
    above = [i for i, letter in enumerate(axes) if letter not in "YXS"]
    planes = [shape[i] for i in above]
    if len(labels) != math.prod(planes):
        return labels
    place = above.index(axes.index("C"))
    by_channel = np.moveaxis(np.reshape(labels, planes), place, 0).reshape(planes[place], -1)
    return [str(row[0]) if (row == row[0]).all() else "" for row in by_channel]


def _lines(texts: Any) -> list[str]:
    """Return the first line of every text; the rest of an ImageJ label is no name."""
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        return []
    return [text.strip().partition("\n")[0].strip() for text in texts]


def _calibration(header: _Header) -> tuple[float, float]:
    """Slope and intercept of ImageJ's straight-line calibration; it stores signed 16-bit images in this way."""
    known = header.metadata
    if header.kind != "imagej" or known.get("cf") != 0 or "c0" not in known or "c1" not in known:
        return 1.0, 0.0
    return float(known["c1"]), float(known["c0"])


def _target_kind(dtype: np.dtype[Any], like: Volume, name: str) -> str:
    """Layout of a result: that of its source, unless the file's name or the result ask for OME."""
    kind = (
        like.header.kind
        if like.format == "TIFF" and not name.lower().endswith((".ome.tif", ".ome.tiff"))
        else "ome"
    )
    if kind == "imagej":
        colour = "S" in like.axes and dtype != np.uint8
        size = math.prod(like.shape) * dtype.itemsize
        moved = like.axes != "".join(letter for letter in "TZCYXS" if letter in like.axes)
        if dtype.str[1:] not in _IMAGEJ_HOLDS or colour or moved or size > _IMAGEJ_LARGEST:
            return "ome"
    return str(kind)


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
        text = (
            ome.update(header.description, data, recipe)
            if kind == "ome"
            else _noted(header.description, recipe)
        )
    if "S" in axes:
        colour = data.shape[axes.index("S")] in (3, 4)
        options["photometric"] = "rgb" if colour else "minisblack"
        options["planarconfig"] = "contig" if axes.endswith("S") else "separate"
    elif header.photometric == 0 and header.kind == kind:
        options["photometric"] = "miniswhite"
    if header.kind == kind and header.resolution is not None:
        options |= {"resolution": header.resolution, "resolutionunit": header.resolution_unit}
    if kind == "imagej":
        tifffile.imwrite(
            path, data, imagej=True, metadata=_imagej(header, axes, like, recipe), **options
        )
        return
    options |= {"extratags": header.tags, "datetime": header.datetime, "byteorder": "<"}
    if kind == "shaped":
        more = {"napari-diffusion": recipe} if recipe else {}
        tifffile.imwrite(
            path, data, shaped=True, metadata=header.metadata | {"axes": axes} | more, **options
        )
        return
    tifffile.imwrite(path, data, ome=False, metadata=None, description=text.encode(), **options)


def _imagej(header: _Header, axes: str, like: Volume, recipe: str) -> dict[str, Any]:
    """ImageJ's metadata for a result; the recipe joins the text of Image > Show Info."""
    drop = _COUNTED | (_CALIBRATION if like.scaling == (1.0, 0.0) else set())
    kept = {name: value for name, value in header.metadata.items() if name not in drop}
    info = _noted(str(kept.pop("Info", "")), recipe)
    return kept | {"axes": axes} | ({"Info": info} if info else {})


def _noted(text: str, recipe: str) -> str:
    """Return a description with the recipe below it."""
    return "\n".join(
        part
        for part in (text.rstrip(), f"napari-diffusion recipe: {recipe}" if recipe else "")
        if part
    )


def _ome_letters(axes: str) -> str:
    """Name axes as OME does; one of unknown kind becomes time, as nobody smooths over that by accident, or else another free letter."""
    free = [letter for letter in "TCZ" if letter not in axes]
    if len([letter for letter in axes if letter not in "TCZYXS"]) > len(free) or not {
        "Y",
        "X",
    } <= set(axes):
        raise ValueError(
            f"OME-TIFF holds the axes T, C, Z, Y and X; an image with the axes {', '.join(axes)} does not fit."
        )
    return "".join(letter if letter in "TCZYXS" else free.pop(0) for letter in axes)


def _ome_order(data: Array, axes: str) -> tuple[Array, str]:
    """Bring the axes of a volume that is no OME-TIFF into OME's order."""
    named = _ome_letters(axes)
    order = sorted(range(len(named)), key=lambda i: "TCZYXS".index(named[i]))
    return data.transpose(order), "".join(named[i] for i in order)


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    known = dtype.newbyteorder("=")
    if _target_kind(known, like, suffix) in ("shaped", "plain", "imagej"):
        return known
    if like.format != "TIFF" or like.header.kind != "ome":
        _ome_letters(like.axes)
        if 0 in like.shape:
            raise ValueError("OME-TIFF holds no image without samples; write NIfTI or .npy.")
    if known.kind == "b":
        return np.dtype(np.uint8)
    if known == np.float16:
        return np.dtype(np.float32)
    if not ome.holds(known):
        raise ValueError(
            f"OME-TIFF has no {known}; write NIfTI or .npy, or let the result be floating point."
        )
    return known


FORMAT = Format(
    "TIFF",
    (".ome.tif", ".ome.tiff", ".tif", ".tiff"),
    _read,
    _write,
    _storable,
    read_metadata=_read_metadata,
)
