"""NIfTI-1 and NIfTI-2 files through nibabel.

Affine, codes, units, repetition time and extensions are kept, and NaN stays NaN. Arrays keep the
order of the file (x, y, z, time, ...). The writer copies the header and sets dtype and scaling
explicitly. By default, nibabel keeps an integer header, rescales the result into it and turns NaN
into 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.axes.affine import ORTHOGONALITY, orthogonality_defect
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.compressed import CheckedFile, check_memory
from napari_diffusion.io.flat_file import FlatFile
from napari_diffusion.io.nifti_header import (
    CUSTOMARY_UNIT,
    LENGTHS,
    Layout,
    complete_sizes,
    length_unit,
    read_header,
    read_orientation,
    scaling_of,
    time_step,
)
from napari_diffusion.io.orientation import affine_in, in_standard_order
from napari_diffusion.io.volume import (
    Format,
    Volume,
    in_real_units,
    no_values,
    require,
    storable_dtype,
)

#: Letters of the axes in the order of the format; V, U and W are the axes 5, 6 and 7.
_AXES = "XYZTVUW"
#: Largest number of samples of an axis in NIfTI-1.
_LONGEST_AXIS = np.iinfo(np.int16).max
_RGBA_VECTOR = 2004
#: Intent codes whose values along the fifth axis are coupled: displacement, vector, RGB, RGBA.
_COUPLED_INTENTS = {1006, 1007, 2003, _RGBA_VECTOR}
_DTYPES = tuple(
    np.dtype(code) for code in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
)


def _read(path: Path) -> Volume:
    with CheckedFile(path) as file:
        header, layout = read_header(file)
        raw, notes = values_of(file, layout)
    return volume_of(path, header, raw, notes)


def _read_metadata(path: Path) -> Volume:
    with CheckedFile(path) as file:
        header, layout = read_header(file)
    return volume_of(path, header, no_values(layout.shape, layout.dtype), (), scaled=False)


def volume_of(
    path: Path, header: Any, raw: Array, notes: Sequence[str], *, scaled: bool = True
) -> Volume:
    """Return a volume from a checked header and the stored values.

    Parameters
    ----------
    path
        Path of the file.
    header, raw
        Header of nibabel, and the stored values in the order x, y, z, time, ...
    notes
        Sentences about the file.
    scaled
        Whether to convert the values to real units.
    """
    colours = raw.dtype.names or ()
    axes = _AXES[: raw.ndim]
    channel_axis = alpha = None
    intent = int(header["intent_code"])
    if colours:
        raw = np.stack([raw[name] for name in colours], axis=-1)
        axes, channel_axis = axes + "S", raw.ndim - 1
        alpha = 3 if len(colours) == 4 else None
    elif intent in _COUPLED_INTENTS and "V" in axes and raw.shape[axes.index("V")] > 1:
        channel_axis = axes.index("V")
        alpha = 3 if intent == _RGBA_VECTOR and raw.shape[channel_axis] == 4 else None
    if raw.dtype.kind not in "biuf":
        raise InputError(f"{raw.ndim} axes of {raw.dtype} values are no image of real numbers")
    orientation = read_orientation(header, raw.shape)
    slope, inter = (1.0, 0.0) if colours else scaling_of(header)
    is_scaled = (slope, inter) != (1.0, 0.0)
    unit = length_unit(header)
    return Volume(
        in_real_units(raw, slope, inter, path) if is_scaled and scaled else raw,
        axes,
        tuple(
            orientation.spacing["XYZ".index(letter)] if letter in "XYZ" else None for letter in axes
        ),
        unit or CUSTOMARY_UNIT,
        channel_axis,
        time_step=time_step(header) if "T" in axes else None,
        format="NIfTI",
        header=header,
        path=path,
        stored=raw.dtype,
        scaling=(slope, inter),
        alpha=alpha,
        affine=orientation.affine,
        notes=(*orientation.notes, *notes),
        unit_is_assumed=unit is None,
        size_remark=orientation.remark,
    )


def values_of(file: CheckedFile, layout: Layout) -> tuple[Array, list[str]]:
    """Return the stored values, and notes about what follows them.

    They are memory-mapped, or decompressed to the end of the file.

    Parameters
    ----------
    file
        The file, at the first value if it is compressed.
    layout
        Where the values are.
    """
    if file.is_compressed:
        check_memory(layout.size, file.path)
        content = np.empty(layout.size, np.uint8)
        file.fill(content)
        rest = len(file.rest().rstrip(b"\0"))
        values = content.view(layout.dtype).reshape(layout.shape, order="F")
    else:
        rest = len(file.after(layout.offset + layout.size).rstrip(b"\0"))
        values = np.memmap(file.path, layout.dtype, "r", layout.offset, layout.shape, order="F")
    return values, [f"{rest:,} bytes follow its image; they are left out."] if rest else []


def _write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    require("nibabel", "NIfTI files").save(_image(data, like, recipe), path)


def _dry_write(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> int:
    image = _image(np.broadcast_to(np.zeros((), dtype), like.shape), like, recipe)
    image.update_header()
    header = BytesIO()
    image.header.write_to(header)
    return len(header.getvalue()) + int(image.dataobj.nbytes)


def _lay_out(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> FlatFile:
    if not path.name.lower().endswith(".nii"):
        raise InputError("a compressed file is not written in blocks", Remedy.WRITE_STORE)
    if "S" in like.axes or like.scaling != (1.0, 0.0):
        raise InputError("colours and scaled values are not written in blocks", Remedy.WRITE_STORE)
    image = _image(np.broadcast_to(np.zeros((), dtype), like.shape), like, recipe)
    image.update_header()
    with path.open("wb") as file:
        image.header.write_to(file)
    order = list(range(len(like.shape)))
    if like.format != "NIfTI":
        # Axes of different sizes show their places.
        sizes = np.empty([i + 2 for i in order], np.uint8)
        order = [n - 2 for n in in_standard_order(sizes, like.axes)[0].shape if n > 1]
    stored = image.header.get_data_dtype()
    return FlatFile.in_order(like.shape, stored, int(image.header.get_data_offset()), order[::-1])


def _image(data: Array, like: Volume, recipe: str) -> Any:
    """Return a result as an image of nibabel."""
    nibabel = require("nibabel", "NIfTI files")
    if like.format == "NIfTI":
        header = like.header.copy()
        complete_sizes(header, like)
        axes = like.axes
    else:
        data, axes = in_standard_order(data, like.axes)
        is_long = max(data.shape) > _LONGEST_AXIS
        header = nibabel.Nifti2Header() if is_long else nibabel.Nifti1Header()
        _fill_header(header, data.shape, axes, like)
    if "S" in axes:
        data = _arrange_colours(data, header)
    if header["dim"].dtype.itemsize == 2 and max(data.shape) > _LONGEST_AXIS:
        header = nibabel.Nifti2Header.from_header(header)
    header.set_data_dtype(data.dtype)
    if recipe:
        header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", recipe.encode()))
    version_2 = isinstance(header, nibabel.Nifti2Header)
    image_class = nibabel.Nifti2Image if version_2 else nibabel.Nifti1Image
    # Without an affine, the codes and matrices of the header are kept.
    image = image_class(data, None, header)
    image.header.set_slope_inter(*(1.0, 0.0) if data.dtype.kind == "V" else like.scaling)
    return image


def _fill_header(header: Any, shape: tuple[int, ...], axes: str, like: Volume) -> None:
    """Set shape, voxel size, units, time step, and the orientation where it is known."""
    codes = {own: code for code, own in LENGTHS.items()}
    unit = like.unit if like.unit == "pixel" or like.unit in codes else CUSTOMARY_UNIT
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
    header.set_xyzt_units(codes.get(unit, 0), "sec" if like.time_step else "unknown")
    affine = affine_in(like, unit)
    if affine is not None:
        header.set_sform(affine, "scanner")
        # A qform has orthogonal axes; that of sheared axes is left out.
        if orthogonality_defect(affine[:3, :3]) <= ORTHOGONALITY:
            header.set_qform(affine, "scanner")


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
    return storable_dtype(dtype, _DTYPES)


FORMAT = Format(
    "NIfTI",
    (".nii.gz", ".nii.bz2", ".nii"),
    _read,
    _write,
    _storable,
    _dry_write,
    read_metadata=_read_metadata,
    lay_out=_lay_out,
)
