"""NIfTI-1 and NIfTI-2 through nibabel: affine, codes, units, repetition time and extensions survive, and NaN stays NaN.

Arrays stay in the file's order (x, y, z, time, ...). Saving copies the header and then sets the dtype and the scaling by hand:
left to itself, nibabel keeps an integer header, rescales the result into it and turns NaN into 0.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.io.volume import Format, Volume, in_real_units, require

_AXES = "XYZTVUW"
_LENGTHS = {"meter": "meter", "mm": "millimeter", "micron": "micrometer"}
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
# Values along the fifth axis that belong together: displacement, vector, and three kinds of colour
_COUPLED = {1006, 1007, 2003, 2004}
_VECTOR = "vector"
_HELD = tuple(
    np.dtype(kind) for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
)


def _read(path: Path) -> Volume:
    nibabel = require("nibabel", "NIfTI files")
    image = nibabel.load(path)
    header = image.header
    if not isinstance(
        header, nibabel.Nifti1Header
    ):  # CIFTI, for example, is stored inside NIfTI-2 but is no picture
        raise ValueError(f"it is a {type(image).__name__}, which is no volume")
    proxy = image.dataobj
    raw = np.asanyarray(proxy.get_unscaled())
    axes, channel_axis = _AXES[: raw.ndim], None
    if raw.dtype.names:
        raw = np.stack([raw[name] for name in raw.dtype.names], axis=-1)
        axes, channel_axis = axes + "S", raw.ndim - 1
    elif "V" in axes and raw.shape[axes.index("V")] > 1 and int(header["intent_code"]) in _COUPLED:
        channel_axis = axes.index("V")
    if raw.dtype.kind not in "biuf" or not axes.startswith("X"):
        raise ValueError(f"values of type {raw.dtype} with {raw.ndim} axes are no real image")
    length, time = header.get_xyzt_units()
    steps = [float(step) for step in header.get_zooms()]
    spacing = [
        abs(steps[i]) if letter in "XYZ" and math.isfinite(steps[i]) and steps[i] else None
        for i, letter in enumerate(axes)
    ]
    slope, inter = float(proxy.slope), float(proxy.inter)
    return Volume(
        raw if (slope, inter) == (1.0, 0.0) else in_real_units(raw, slope, inter),
        axes,
        tuple(spacing),
        # Files that do not say are in mm, the unit that every tool of the field assumes.
        _LENGTHS.get(length, "millimeter"),
        channel_axis,
        time_step=steps[3] * _SECONDS.get(time, 1.0)
        if "T" in axes and steps[3] > 0 and time not in ("hz", "ppm", "rads")
        else None,
        format="NIfTI",
        header=header,
        path=path,
        stored=raw.dtype,
        scaling=(slope, inter),
    )


def _write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    nibabel = require("nibabel", "NIfTI files")
    if like.format == "NIfTI":
        header = like.header.copy()
        axes = like.axes
    else:
        header = nibabel.Nifti1Header()
        data, axes = _in_order(data, like.axes)
        _describe(header, data.shape, axes, like)
    if "S" in axes:
        data = _colour(data, axes, header)
    if header["dim"].dtype.itemsize == 2 and max(data.shape) > np.iinfo(np.int16).max:
        header = nibabel.Nifti2Header.from_header(header)
    header.set_data_dtype(data.dtype)
    if recipe:
        header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", recipe.encode()))
    kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    image = kind(
        data, None, header
    )  # without an affine, the header's codes and matrices stay as they are
    image.header.set_slope_inter(*(1.0, 0.0) if data.dtype.kind == "V" else like.scaling)
    nibabel.save(image, path)


def _in_order(data: Array, axes: str) -> tuple[Array, str]:
    """Bring the axes of another format into NIfTI's order; x, y, z and time are there even when they have one sample."""
    have = [i for letter in "XYZT" for i, own in enumerate(axes) if own == letter]
    rest = [i for i in range(len(axes)) if i not in have and axes[i] != "S"] + [
        i for i, own in enumerate(axes) if own == "S"
    ]
    letters = "".join(axes[i] for i in have + rest)
    data = data.transpose(have + rest)
    for place, letter in enumerate("XYZT" if rest else "XYZ"):
        if letters[place : place + 1] != letter:
            data, letters = np.expand_dims(data, place), letters[:place] + letter + letters[place:]
    return data, letters


def _describe(header: Any, shape: tuple[int, ...], axes: str, like: Volume) -> None:
    """Fill an empty header with voxel size, units and time step; there is no orientation to tell."""
    unit = like.unit if like.unit in ("meter", "micrometer", "pixel") else "millimeter"
    scale = units.factor(like.unit, unit)
    known = {
        letter: step * scale
        for letter, step in zip(like.axes, like.spacing, strict=True)
        if step is not None
    }
    known["T"] = like.time_step or 1.0
    ndim = len(axes) - ("S" in axes)
    header.set_data_shape(shape[:ndim])
    header.set_zooms([known.get(letter, 1.0) for letter in axes[:ndim]])
    name = {own: code for code, own in _LENGTHS.items()}.get(unit, "unknown")
    header.set_xyzt_units(name, "sec" if like.time_step else "unknown")


def _colour(data: Array, axes: str, header: Any) -> Array:
    """Arrange colours: 8-bit ones have a dtype of their own; all others are a vector along the fifth axis."""
    if data.dtype == np.uint8 and data.shape[-1] in (3, 4):
        names = "RGBA"[: data.shape[-1]]
        return np.ascontiguousarray(data).view([(name, "u1") for name in names])[..., 0]
    while data.ndim < 5:
        data = np.expand_dims(data, -2)
    header.set_intent(_VECTOR, name="colour")
    return data


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    if like.format != "NIfTI" and len(
        set(like.axes) | set("XYZT" if set(like.axes) - set("XYZ") else "XYZ")
    ) > len(_AXES):
        raise ValueError(
            f"NIfTI holds up to {len(_AXES)} axes; this image with {like.axes} does not fit."
        )
    plain = dtype.newbyteorder("=")
    if plain in _HELD:
        return plain
    return np.dtype(
        np.uint8 if plain.kind == "b" else np.float32 if plain.itemsize < 4 else np.float64
    )


FORMAT = Format("NIfTI", (".nii.gz", ".nii"), _read, _write, _storable)
