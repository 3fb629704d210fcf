"""NIfTI-1 and NIfTI-2 files through nibabel.

Affine, codes, units, repetition time and extensions are kept, and NaN stays NaN. Arrays keep the
order of the file (x, y, z, time, ...). The writer copies the header and sets dtype and scaling
explicitly: by default, nibabel keeps an integer header, rescales the result into it and turns NaN
into 0.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.volume import Format, Volume, in_real_units, require

#: Letters of the axes in the order of the format; V, U and W are the axes 5, 6 and 7.
_AXES = "XYZTVUW"
_LENGTHS = {"meter": "meter", "mm": "millimeter", "micron": "micrometer"}
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
#: Intent codes whose values along the fifth axis are coupled: displacement, vector, RGB, RGBA.
_COUPLED_INTENTS = {1006, 1007, 2003, 2004}
_DTYPES = tuple(
    np.dtype(code) for code in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
)


def _read(path: Path) -> Volume:
    nibabel = require("nibabel", "NIfTI files")
    image = nibabel.load(path)
    header = image.header
    # CIFTI, for example, is stored in NIfTI-2 files, but it is not a volume.
    if not isinstance(header, nibabel.Nifti1Header):
        raise InputError(f"it is a {type(image).__name__}, which is no volume")
    proxy = image.dataobj
    raw = np.asanyarray(proxy.get_unscaled())
    axes, channel_axis = _AXES[: raw.ndim], None
    coupled = int(header["intent_code"]) in _COUPLED_INTENTS
    if raw.dtype.names:
        raw = np.stack([raw[name] for name in raw.dtype.names], axis=-1)
        axes, channel_axis = axes + "S", raw.ndim - 1
    elif coupled and "V" in axes and raw.shape[axes.index("V")] > 1:
        channel_axis = axes.index("V")
    if raw.dtype.kind not in "biuf" or not axes.startswith("X"):
        raise InputError(f"values of type {raw.dtype} with {raw.ndim} axes are no real image")
    length_unit, time_unit = header.get_xyzt_units()
    steps = [float(step) for step in header.get_zooms()]
    spacing = [
        abs(steps[i]) if letter in "XYZ" and math.isfinite(steps[i]) and steps[i] else None
        for i, letter in enumerate(axes)
    ]
    time_step = None
    if "T" in axes and steps[3] > 0 and time_unit not in ("hz", "ppm", "rads"):
        time_step = steps[3] * _SECONDS.get(time_unit, 1.0)
    slope, inter = float(proxy.slope), float(proxy.inter)
    return Volume(
        raw if (slope, inter) == (1.0, 0.0) else in_real_units(raw, slope, inter),
        axes,
        tuple(spacing),
        # Without a unit, mm is meant: other neuroimaging software assumes it too.
        _LENGTHS.get(length_unit, "millimeter"),
        channel_axis,
        time_step=time_step,
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
        data, axes = _in_nifti_order(data, like.axes)
        _fill_header(header, data.shape, axes, like)
    if "S" in axes:
        data = _arrange_colours(data, header)
    if header["dim"].dtype.itemsize == 2 and max(data.shape) > np.iinfo(np.int16).max:
        header = nibabel.Nifti2Header.from_header(header)
    header.set_data_dtype(data.dtype)
    if recipe:
        header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", recipe.encode()))
    version_2 = isinstance(header, nibabel.Nifti2Header)
    image_class = nibabel.Nifti2Image if version_2 else nibabel.Nifti1Image
    # Without an affine, the codes and matrices of the header are kept.
    image = image_class(data, None, header)
    image.header.set_slope_inter(*(1.0, 0.0) if data.dtype.kind == "V" else like.scaling)
    nibabel.save(image, path)


def _in_nifti_order(data: Array, axes: str) -> tuple[Array, str]:
    """Bring the axes of another format into the order of NIfTI, colour samples last.

    The axes x, y and z are added where they are missing, and time if there are further axes.
    """
    standard = [i for letter in "XYZT" for i, own in enumerate(axes) if own == letter]
    others = [i for i in range(len(axes)) if i not in standard and axes[i] != "S"]
    others += [i for i, own in enumerate(axes) if own == "S"]
    letters = "".join(axes[i] for i in standard + others)
    data = data.transpose(standard + others)
    for place, letter in enumerate("XYZT" if others else "XYZ"):
        if letters[place : place + 1] != letter:
            data, letters = np.expand_dims(data, place), letters[:place] + letter + letters[place:]
    return data, letters


def _fill_header(header: Any, shape: tuple[int, ...], axes: str, like: Volume) -> None:
    """Set shape, voxel size, units and time step; the orientation is unknown."""
    unit = like.unit if like.unit in ("meter", "micrometer", "pixel") else "millimeter"
    scale = units.factor(like.unit, unit)
    steps = {
        letter: step * scale
        for letter, step in zip(like.axes, like.spacing, strict=True)
        if step is not None
    }
    steps["T"] = like.time_step or 1.0
    ndim = len(axes) - ("S" in axes)
    header.set_data_shape(shape[:ndim])
    header.set_zooms([steps.get(letter, 1.0) for letter in axes[:ndim]])
    length_unit = {own: code for code, own in _LENGTHS.items()}.get(unit, "unknown")
    header.set_xyzt_units(length_unit, "sec" if like.time_step else "unknown")


def _arrange_colours(data: Array, header: Any) -> Array:
    """Bring colour samples, the last axis, into a form that NIfTI has.

    There are dtypes for 8-bit RGB and RGBA. Other samples become a vector along the fifth axis.
    """
    if data.dtype == np.uint8 and data.shape[-1] in (3, 4):
        names = "RGBA"[: data.shape[-1]]
        return np.ascontiguousarray(data).view([(name, "u1") for name in names])[..., 0]
    while data.ndim < 5:
        data = np.expand_dims(data, -2)
    header.set_intent("vector", name="colour")
    return data


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    letters = set(like.axes)
    needed = letters | set("XYZT" if letters - set("XYZ") else "XYZ")
    if like.format != "NIfTI" and len(needed) > len(_AXES):
        raise InputError(
            f"NIfTI holds up to {len(_AXES)} axes, and an image with the axes "
            f"{', '.join(like.axes)} needs more",
            Remedy.WRITE_ANOTHER_FORMAT,
        )
    native = dtype.newbyteorder("=")
    if native in _DTYPES:
        return native
    if native.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32 if native.itemsize < 4 else np.float64)


FORMAT = Format("NIfTI", (".nii.gz", ".nii"), _read, _write, _storable)
