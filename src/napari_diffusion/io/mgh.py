"""FreeSurfer volumes (.mgh, .mgz) through the header of nibabel.

The header, the scan parameters and the tags behind the image are kept. The values are big-endian,
in the order x, y, z, frame. The unit is mm.
"""

from __future__ import annotations

import gzip
import math
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.compressed import CheckedFile
from napari_diffusion.io.orientation import affine_in, checked, in_standard_order, sizes_in
from napari_diffusion.io.volume import Format, Volume, no_values, require

#: Bytes in front of the values, and bytes of the fields among them.
_OFFSET, _FIELDS = 284, 90
#: Bytes behind the values: repetition time, flip angle, echo and inversion time, field of view.
_FOOTER = 20
_AXES = "XYZT"
_UNIT = "millimeter"
#: Dtypes of a format without 64-bit numbers, by the codes of their kinds.
_DTYPES = {np.dtype(code) for code in ("u1", "i2", "i4", "f4", "u2")}
#: Bytes that are written at a time.
_CHUNK = 1 << 22


def _volume(path: Path, *, values: bool) -> Volume:
    nibabel = require("nibabel", "MGH files")
    with CheckedFile(path) as file:
        block = file.read(_OFFSET)
        if len(block) < _OFFSET:
            raise InputError(
                f"damaged: it ends within its header, after {len(block):,} bytes",
                Remedy.REPLACE_DAMAGED,
            )
        shape, dtype = _layout(block)
        size = math.prod(shape) * dtype.itemsize
        file.check_declared(_OFFSET + size)
        raw: Array
        if not values:
            raw, tail = no_values(shape, dtype), b""
            if not file.is_compressed:
                tail = file.after(_OFFSET + size)
        else:
            raw, tail = file.values_and_rest(_OFFSET, shape, dtype, "F")
    header = nibabel.freesurfer.mghformat.MGHHeader(
        block[:_FIELDS] + tail[:_FOOTER].ljust(_FOOTER, b"\0"), check=False
    )
    oriented = int.from_bytes(block[28:30], "big") > 0
    affine: NDArray[np.float64] | None = None
    notes: list[str] = []
    if oriented:
        affine, notes = checked(header.get_affine(), shape, "matrix")
    else:
        notes.append("It gives neither voxel size nor orientation (its goodRASFlag is 0).")
    if shape[3] == 1:
        raw = raw[..., 0]
    step = float(header["tr"])
    return Volume(
        raw,
        _AXES[: raw.ndim],
        _sizes(header, affine, raw.ndim) if oriented else (None,) * raw.ndim,
        _UNIT if oriented else "pixel",
        time_step=step / 1000 if raw.ndim == 4 and 0 < step < math.inf else None,
        format="MGH",
        header=(header, tail[_FOOTER:], oriented),
        path=path,
        stored=raw.dtype,
        affine=affine,
        notes=tuple(notes),
    )


def _layout(block: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype that a header declares, as far as they are possible."""
    version, *shape, code = np.frombuffer(block[:24], ">i4").tolist()
    if version != 1:
        raise InputError(f"it has the version {version}, and MGH files have version 1")
    if min(shape) < 1:
        declared = " x ".join(map(str, shape))
        raise InputError(f"its header declares {declared} samples, so it has no image")
    codes = require("nibabel", "MGH files").freesurfer.mghformat.data_type_codes
    if code not in codes.numpy_dtype:
        raise InputError(f"its header declares the data type {code}, which cannot be read")
    return tuple(shape), np.dtype(codes.numpy_dtype[code])


def _sizes(header: Any, affine: NDArray[np.float64] | None, ndim: int) -> tuple[float | None, ...]:
    """Return the voxel size along each axis, ``None`` where it is impossible or for frames."""
    sizes = [abs(float(size)) for size in header["delta"]]
    if affine is not None:
        sizes = [float(size) for size in np.linalg.norm(affine[:3, :3], axis=0)]
    spacing = [size if 0 < size < math.inf else None for size in sizes]
    return tuple(spacing + [None] * (ndim - 3))


def _write(path: Path, data: Array, like: Volume, recipe: str) -> None:
    header, tail = _header(data.dtype, like)
    if like.format != "MGH":
        data, _ = in_standard_order(data, _axes(like))
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("wb"))
        if path.name.lower().endswith(".mgz"):
            # Without a name and a time, equal results are equal files.
            file = stack.enter_context(gzip.GzipFile("", "wb", 6, file, 0))
        file.write(header.binaryblock[:_FIELDS].ljust(_OFFSET, b"\0"))
        values = data.reshape(-1, order="F") if data.flags.f_contiguous else data.T.reshape(-1)
        dtype, count = data.dtype.newbyteorder(">"), _CHUNK // data.dtype.itemsize
        for start in range(0, values.size, count):
            file.write(values[start : start + count].astype(dtype).tobytes())
        file.write(header.binaryblock[_FIELDS:] + tail)


def _axes(like: Volume) -> str:
    """Return the axes, where an axis that is no axis of space holds the frames."""
    return "".join(letter if letter in "XYZ" else "T" for letter in like.axes)


def _header(dtype: np.dtype[Any], like: Volume) -> tuple[Any, bytes]:
    """Return the header of a result, and what follows its footer."""
    if like.format == "MGH":
        header, tail = like.header[0].copy(), like.header[1]
        header["goodRASFlag"] = like.header[2]  # nibabel sets the flag
        header.set_data_dtype(dtype.newbyteorder("="))
        return header, tail
    header = require("nibabel", "MGH files").freesurfer.mghformat.MGHHeader()
    shape = in_standard_order(np.broadcast_to(np.zeros((), dtype), like.shape), _axes(like))[
        0
    ].shape
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header["tr"] = 1000 * (like.time_step or 0.0)
    affine, sizes = affine_in(like, _UNIT), sizes_in(like, _UNIT)
    if affine is not None:
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        header["delta"], header["Mdc"] = lengths, (affine[:3, :3] / lengths).T
        header["Pxyz_c"] = (affine @ [*(np.array(shape[:3]) / 2), 1.0])[:3]
    elif sizes:
        # Without the flag, readers ignore the voxel size; the directions are FreeSurfer's default.
        header["delta"] = [sizes.get(letter, 1.0) for letter in "XYZ"]
    else:
        header["goodRASFlag"] = 0
    return header, b""


def _dry_write(path: Path, dtype: np.dtype[Any], like: Volume, recipe: str) -> int:
    _, tail = _header(dtype, like)
    return _OFFSET + _FOOTER + len(tail) + math.prod(like.shape) * dtype.itemsize


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    others = [letter for letter in like.axes if letter not in "XYZ"]
    if len(others) > 1 or "S" in others:
        raise InputError(
            f"MGH holds x, y, z and one further axis, and the image has the axes "
            f"{', '.join(like.axes)}",
            Remedy.WRITE_ANOTHER_FORMAT,
        )
    native = dtype.newbyteorder("=")
    if native in _DTYPES:
        return native
    if native.kind == "f":
        return np.dtype(np.float32)
    if native.kind == "b":
        return np.dtype(np.uint8)
    if native.itemsize == 1:
        return np.dtype(np.int16)
    raise InputError(f"MGH holds no {native} values", Remedy.WRITE_FLOATING_POINT)


FORMAT = Format(
    "MGH",
    (".mgz", ".mgh"),
    partial(_volume, values=True),
    _write,
    _storable,
    _dry_write,
    read_metadata=partial(_volume, values=False),
)
