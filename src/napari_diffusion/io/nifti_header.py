"""Headers of NIfTI files: reading with all checks, layout of the values, voxel size, orientation.

A field that a reader would have to guess is refused, because other programs guess differently.
"""

from __future__ import annotations

import logging
import math
import sys
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core import units
from napari_diffusion.core.axes.affine import (
    ORTHOGONALITY,
    SAME_GRID,
    orthogonality_defect,
    voxel_sizes,
)
from napari_diffusion.core.errors import InputError, Remedy, reason_of
from napari_diffusion.io.compressed import CheckedFile
from napari_diffusion.io.orientation import completed
from napari_diffusion.io.volume import Volume, require

#: Sizes of the headers of NIfTI-1 and NIfTI-2 [bytes].
_SIZES = (348, 540)
_SINGLE, _PAIR = (b"n+1\0", b"n+2\0"), (b"ni1\0", b"ni2\0")
_CIFTI = range(3000, 3100)
#: Units of length by their codes.
LENGTHS = {1: "meter", 2: "millimeter", 3: "micrometer"}
#: Unit of length where the header has none; other neuroimaging software assumes it too.
CUSTOMARY_UNIT = "millimeter"
_SECONDS = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}
#: nibabel reports what it corrects to a logger; users have no use for it.
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)
#: Level from which nibabel calls a problem an error.
_ERROR_LEVEL = 40


@dataclass(frozen=True)
class Layout:
    """Place and type of the values in the content of a file.

    Attributes
    ----------
    shape
        Number of samples along each axis, the first of which varies fastest.
    dtype
        Type of a value with its byte order; a structure for colours.
    offset
        First byte of the values.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    @property
    def size(self) -> int:
        """Size of the values [bytes]."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Orientation:
    """Voxel size and orientation of an image.

    Attributes
    ----------
    affine
        Transform from indices to coordinates, shape (4, 4); ``None`` if the header has none.
    spacing
        Voxel size along x, y and z; ``None`` where it is unknown.
    notes
        Sentences about the affine.
    remark
        How the header contradicts itself about the voxel size, or what it says instead, as a part
        of a sentence; empty for a clear voxel size.
    """

    affine: NDArray[np.float64] | None
    spacing: tuple[float | None, ...]
    notes: tuple[str, ...]
    remark: str


def read_header(file: CheckedFile, *, pair: bool = False) -> tuple[Any, Layout]:
    """Read header and extensions, and check them against the size of the file.

    Parameters
    ----------
    file
        The file, at its beginning. Afterwards it is at the first value.
    pair
        Whether the file is the header of a pair of files, and the image is in the other one. Then
        the caller compares the layout with the other file.

    Returns
    -------
    header
        Header of nibabel, with ``pixdim`` as it is in the file.
    layout
        Where the values are.

    Raises
    ------
    InputError
        When a field is missing, impossible or contradicts the file.
    """
    nibabel = require("nibabel", "NIfTI files")
    block = file.read(_SIZES[0])
    sizes = {"<": int.from_bytes(block[:4], "little"), ">": int.from_bytes(block[:4], "big")}
    order = next((order for order, size in sizes.items() if size in _SIZES), None)
    header_class = nibabel.Nifti1Header
    if block[4:8] in _SINGLE + _PAIR:
        header_class = nibabel.Nifti2Header
        block += file.read(_SIZES[1] - _SIZES[0])
    magic = block[4:8] if header_class is nibabel.Nifti2Header else block[344:348]
    if len(block) < header_class.sizeof_hdr:
        raise InputError(
            f"damaged: it ends within its header, after {len(block):,} bytes",
            Remedy.REPLACE_DAMAGED,
        )
    if pair and magic in _PAIR:
        return _read_pair_header(header_class(block, order, check=False), file)
    if magic in _PAIR:
        raise InputError(
            "it is the header of a pair of files, whose image is in an .img file",
            Remedy.SAVE_AS_NIFTI,
        )
    if magic not in _SINGLE:
        kind = "an Analyze header" if order else "no NIfTI header"
        raise InputError(f"it has {kind}", Remedy.SAVE_AS_NIFTI if order else None)
    if pair:
        raise InputError("it holds its image itself, and is no header of a pair of files")
    header = header_class(block, order, check=False)
    layout = _layout(header, header.sizeof_hdr + 4)
    file.check_declared(layout.offset + layout.size)
    _read_extensions(header, file.read(layout.offset - len(block)))
    _check(header)
    return header, layout


def _read_pair_header(header: Any, file: CheckedFile) -> tuple[Any, Layout]:
    """Read what follows the header of a pair of files; a result is a single file."""
    layout = _layout(header, 0)
    header["magic"] = _SINGLE[_PAIR.index(header["magic"].item().ljust(4, b"\0")[:4])]
    header["vox_offset"] = 0
    _read_extensions(header, file.rest())
    _check(header)
    return header, layout


def is_analyze(block: bytes) -> bool:
    """Return whether a header of 348 bytes is one of Analyze 7.5, from which NIfTI comes."""
    sizes = (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big"))
    return _SIZES[0] in sizes and block[344:348] not in _SINGLE + _PAIR


def read_analyze_header(block: bytes) -> tuple[Any, Layout, float]:
    """Read a header of Analyze 7.5 or SPM 99.

    Parameters
    ----------
    block
        The 348 bytes of the header.

    Returns
    -------
    header
        The same as a header of NIfTI; shape, voxel size, dtype and description are kept.
    layout
        Where the values are in the other file of the pair.
    scale
        Scale factor of SPM, from stored numbers to real values; 1 without one.
    """
    nibabel = require("nibabel", "Analyze files")
    order = "<" if int.from_bytes(block[:4], "little") == _SIZES[0] else ">"
    analyze = nibabel.Spm99AnalyzeHeader(block, order, check=False)
    layout = _layout(analyze, 0)
    header = nibabel.Nifti1Header()
    header.set_data_shape(layout.shape)
    header.set_data_dtype(layout.dtype)
    header["pixdim"][1:] = analyze["pixdim"][1:]
    header["descrip"] = analyze["descrip"]
    scale = float(analyze["scl_slope"])
    return header, layout, scale if math.isfinite(scale) and scale else 1.0


def _layout(header: Any, smallest: int) -> Layout:
    """Return shape, type and place of the values, as far as they are possible.

    Parameters
    ----------
    header
        The header.
    smallest
        First byte at which the values can begin.
    """
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise InputError(f"damaged: its header declares {count} axes, and NIfTI has 1 to 7")
    shape = tuple(int(n) for n in header.get_data_shape())
    if min(shape) < 1:
        declared = " x ".join(map(str, shape))
        raise InputError(f"its header declares {declared} samples, so it has no image")
    code = int(header["datatype"])
    try:
        dtype = np.dtype(header.get_data_dtype())
    except Exception:  # nibabel has several errors for it
        dtype = np.dtype("V0")
    if dtype.itemsize == 0:
        raise InputError(f"its header declares the data type {code}, which cannot be read")
    offset = float(header["vox_offset"])
    if not (math.isfinite(offset) and offset >= smallest and offset == int(offset)):
        raise InputError(
            f"damaged: its header declares that the image begins at byte {offset:g}, "
            f"and the header takes {smallest} bytes"
        )
    if "intent_code" in header and int(header["intent_code"]) in _CIFTI:
        raise InputError("it is a CIFTI file, which is no volume")
    line_ends = header["eol_check"].tolist() if "eol_check" in header else None
    if line_ends not in (None, [0] * 4, [13, 10, 26, 10]):
        raise InputError(
            "damaged: it was copied as a text, which changes its bytes", Remedy.REPLACE_DAMAGED
        )
    return Layout(shape, dtype, int(offset))


def _read_extensions(header: Any, block: bytes) -> None:
    """Read what lies between the header and the image."""
    if block[:1] in (b"", b"\0"):
        return
    swapped = header.endianness != {"little": "<", "big": ">"}[sys.byteorder]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header.extensions = header.exts_klass.from_fileobj(
                BytesIO(block[4:]), len(block) - 4, swapped
            )
    except Exception as error:  # what other libraries raise
        raise InputError(
            f"damaged: an extension of its header cannot be read ({reason_of(error)})",
            Remedy.REPLACE_DAMAGED,
        ) from error


def _check(header: Any) -> None:
    """Correct fields without influence on the image as nibabel does, except for ``pixdim``."""
    sizes = header["pixdim"].copy()
    header.check_fix(_SILENT, _ERROR_LEVEL)
    header["pixdim"][1:] = sizes[1:]


def scaling_of(header: Any) -> tuple[float, float]:
    """Return slope and intercept from stored numbers to real values.

    A slope of 0, or one that is no number, means that there is no scaling.

    Raises
    ------
    InputError
        When the intercept is no number.
    """
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not (math.isfinite(slope) and slope):
        return 1.0, 0.0
    if not math.isfinite(inter):
        raise InputError(
            f"its header scales its values by {slope:g} and adds {inter:g}, which is no number"
        )
    return slope, inter


def length_unit(header: Any) -> str | None:
    """Return the unit of length; ``None`` when the header has none."""
    return LENGTHS.get(int(header["xyzt_units"]) % 8)


def time_step(header: Any) -> float | None:
    """Return the time between volumes [s]; ``None`` when the header has none."""
    seconds = _SECONDS.get(int(header["xyzt_units"]) // 8 * 8)
    step = float(header["pixdim"][4])
    return None if seconds is None or not 0 < step < math.inf else step * seconds


def read_orientation(header: Any, shape: tuple[int, ...]) -> Orientation:
    """Return voxel size and affine, and make ``pixdim`` of the header agree with them.

    Where both are unknown, ``pixdim`` becomes NaN: `complete_sizes` replaces it.

    Viewers use the affine, so it decides where it contradicts ``pixdim``. That is the sform if its
    code is not 0, or else the qform.

    Parameters
    ----------
    header
        Header with ``pixdim`` as it is in the file.
    shape
        Shape of the image.
    """
    real = _long_axes(shape)
    own = [float(size) for size in header["pixdim"][1:4]]
    given = [abs(size) if math.isfinite(size) and size else None for size in own]
    header["pixdim"][1:4] = [1.0 if size is None else size for size in given]
    affine, notes = _affine_of(header, shape, all(given[i] for i in real))
    shown = voxel_sizes(affine[:3, :3]) if affine is not None else None
    unit = units.symbol(length_unit(header) or CUSTOMARY_UNIT)
    texts = [" x ".join(f"{h:.4g}" for h in sizes) for sizes in (own, shown or ())]
    remark, spacing = "", list(given)
    if shown is None:
        unknown = [i for i in real if given[i] is None]
        for i in unknown:
            header["pixdim"][1 + i] = np.nan
        if unknown:
            remark = f"its pixdim is {texts[0]}, and it has no affine"
        elif any(own[i] < 0 for i in real):
            remark = f"its pixdim is negative, {texts[0]} {unit}; the sign is ignored"
    else:
        differs = [i for i in range(3) if not _agree(given[i], shown[i])]
        if any(i in real for i in differs):
            remark = (
                f"its affine gives the voxel size {texts[1]} {unit} and its pixdim {texts[0]} "
                f"{unit}; that of the affine is used, as in viewers"
            )
        for i in differs:
            spacing[i] = shown[i]
            # With a code, pixdim belongs to the qform, which stays as it is.
            if given[i] is None or int(header["qform_code"]) == 0:
                header["pixdim"][1 + i] = shown[i]
    return Orientation(affine, tuple(spacing), tuple(notes), remark)


def complete_sizes(header: Any, volume: Volume) -> None:
    """Put the voxel sizes of a volume where its header gives none.

    A size that remains unknown stays NaN, because a number would look like a measured one.
    """
    unit = length_unit(header) or CUSTOMARY_UNIT
    if (volume.unit == "pixel") != (unit == "pixel"):
        return
    for letter, size in zip(volume.axes, volume.spacing, strict=True):
        place = 1 + "XYZ".find(letter)
        if place and size is not None and not math.isfinite(header["pixdim"][place]):
            header["pixdim"][place] = size * units.factor(volume.unit, unit)


def _long_axes(shape: tuple[int, ...]) -> list[int]:
    """Return the axes of space along which there is more than one voxel."""
    return [i for i, n in enumerate(shape[:3]) if n > 1]


def _agree(size: float | None, other: float) -> bool:
    return size is not None and abs(other / size - 1) <= SAME_GRID


def _affine_of(
    header: Any, shape: tuple[int, ...], sizes_are_known: bool
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Return the affine that viewers use, or ``None``, and notes about it."""
    notes = []
    candidates = []
    if int(header["sform_code"]):
        candidates.append(("sform", header.get_sform()))
    if int(header["qform_code"]) and sizes_are_known:
        candidates.append(("qform", _qform(header)))
    for name, matrix in candidates:
        affine = completed(np.asarray(matrix, np.float64), shape)
        if affine is None:
            notes.append(f"Its {name} maps voxels to no volume and is ignored.")
            continue
        defect = orthogonality_defect(affine[:3, _long_axes(shape)])
        if defect > ORTHOGONALITY:
            angle = math.degrees(math.asin(min(1.0, defect)))
            notes.append(
                f"Its axes are not orthogonal, by {angle:.2g} degrees; the filter takes them as "
                "orthogonal."
            )
        return affine, notes
    return None, notes


def _qform(header: Any) -> NDArray[np.float64]:
    """Return the matrix of the qform; its quaternion may be a little too long by rounding."""
    header = header.copy()
    names = ["quatern_b", "quatern_c", "quatern_d"]
    length = math.hypot(*(float(header[name]) for name in names))
    if not math.isfinite(length):
        return np.full((4, 4), np.nan)
    for name in names:
        header[name] /= max(1.0, length)
    return np.asarray(header.get_qform(), np.float64)
