"""A DICOM series, in a folder or in one file, through pydicom; a result is NIfTI.

The slices are sorted by their positions. Voxel size and orientation follow from these positions,
never from the thickness of a slice or the number in its file. Slices that are missing, at the same
place, or of another size are refused. A single file of a series stands for its series.
"""

from __future__ import annotations

import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core.arrays import Array
from napari_diffusion.core.errors import (
    InputError,
    MissingLibraryError,
    NotEnoughMemory,
    Remedy,
)
from napari_diffusion.core.resources import format_bytes, free_memory
from napari_diffusion.io.compressed import check_memory
from napari_diffusion.io.orientation import LPS, checked, spacing_of
from napari_diffusion.io.volume import Format, Volume, only_read, refuse_to_write, require

#: Place and content of the mark that DICOM files begin with.
_MARK_AT, _MARK = 128, b"DICM"
#: Group of the elements that precede the others.
_META = 2
#: Bytes that are inflated at a time, and memory for what is known about a picture [bytes].
_CHUNK, _SLICE_BYTES = 1 << 20, 2000
#: Largest difference of direction cosines, and of distances between slices as a share of them.
_SAME_DIRECTION, _SAME_STEP = 1e-3, 0.02
#: Distance of slices, as a share of the usual one, from which one is missing between them.
_GAP = 1.5
_UNIT = "millimeter"
_GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True)
class _Slice:
    """A picture of a series: its file, its frame there, and where it is.

    Attributes
    ----------
    path, frame
        File, and index of the frame in it.
    data
        Elements of the file besides the pixels.
    origin, directions
        Position of the first voxel [mm], and direction cosines of a row and of a column, in LPS;
        ``None`` without them.
    sizes
        Distance of rows and of columns [mm], or ``None``.
    slope, inter
        From stored numbers to real values.
    """

    path: Path
    frame: int
    data: Any
    origin: NDArray[np.float64] | None
    directions: NDArray[np.float64] | None
    sizes: tuple[float, float] | None
    slope: float
    inter: float


def _read(path: Path) -> Volume:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that the standard does not allow
        return _read_series(path)


def _read_series(path: Path) -> Volume:
    series = _series_of(path)
    slices = [each for file, data in series for each in _described(file, data)]
    _check_alike(slices)
    slices, step = _sorted(slices)
    first = slices[0]
    rows, columns = int(first.data.Rows), int(first.data.Columns)
    samples = int(first.data.get("SamplesPerPixel", 1))
    scalings = {(each.slope, each.inter) for each in slices}
    is_scaled = scalings != {(1.0, 0.0)}
    picture = rows * columns * samples
    stored = max(int(first.data.get("BitsAllocated", 16)) // 8, 1)
    # A file is decoded as a whole before its pictures are copied to their places.
    decoded = max(Counter(each.path for each in slices).values()) * picture * stored
    check_memory(len(slices) * picture * (4 if is_scaled else stored) + decoded, path)
    pixels = _pixels(slices, is_scaled)
    letters = ("Z" if len(slices) > 1 else "") + "YX" + ("S" if samples > 1 else "")
    if step is None and len(slices) > 1:
        letters = "I" + letters[1:]
    notes = _notes(first, scalings)
    affine, spacing, own = _geometry(first, step, (columns, rows, len(slices)), letters)
    return Volume(
        pixels if len(slices) > 1 else pixels[0],
        letters,
        spacing,
        _UNIT if any(spacing) else "pixel",
        len(letters) - 1 if samples > 1 else None,
        format="DICOM",
        header={"series": str(first.data.get("SeriesDescription", ""))},
        path=path,
        stored=pixels.dtype,
        members=tuple(file for file, _ in series) if path.is_dir() or len(series) > 1 else (),
        affine=affine,
        notes=(*notes, *own),
    )


def _series_of(path: Path) -> list[tuple[Path, Any]]:
    """Return files and elements of the series in a folder, or of that of a file."""
    own = None if path.is_dir() else _elements(path)
    if own is not None and "SeriesInstanceUID" not in own:
        return [(path, own)]
    by_series: dict[str, list[tuple[Path, Any]]] = {}
    for file in sorted((path if path.is_dir() else path.parent).iterdir()):
        data = _elements(file) if _is_dicom(file) else None
        if data is not None and "Rows" in data:
            by_series.setdefault(str(data.get("SeriesInstanceUID", "")), []).append((file, data))
    if own is not None:
        return by_series.get(str(own.SeriesInstanceUID)) or [(path, own)]
    if not by_series:
        raise InputError("this folder holds no DICOM pictures")
    if len(by_series) > 1:
        names = ", ".join(
            f"{each[0][0].name} ({len(each)} {'file' if len(each) == 1 else 'files'})"
            for each in by_series.values()
        )
        raise InputError(
            f"this folder holds {len(by_series)} series, beginning with {names}",
            Remedy.NAME_ONE_FILE,
        )
    return next(iter(by_series.values()))


def _is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        if not path.is_file():  # the opening of a pipe waits for its writer
            return False
        with path.open("rb") as file:
            return file.read(_MARK_AT + len(_MARK))[_MARK_AT:] == _MARK
    except OSError:
        return False


def holds_series(folder: Path) -> bool:
    """Whether a folder holds a DICOM file."""
    return any(_is_dicom(path) for path in sorted(folder.iterdir()))


def _elements(path: Path) -> Any:
    """Return the elements of a file besides the pixels."""
    pydicom = require("pydicom", "DICOM files", "formats")
    try:
        _check_deflated(pydicom, path)
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (PermissionError, NotEnoughMemory):
        raise
    except Exception as error:  # a damaged file can make pydicom raise anything
        raise InputError(
            f"damaged: {path.name} cannot be decoded", Remedy.REPLACE_DAMAGED
        ) from error


def _check_deflated(pydicom: Any, path: Path) -> None:
    """Refuse a deflated file that does not fit into the memory; pydicom inflates it as a whole."""
    with path.open("rb") as file:
        file.seek(_MARK_AT + len(_MARK))
        meta = pydicom.filereader.read_dataset(
            file, False, True, stop_when=lambda tag, vr, length: tag.group != _META
        )
        if meta.get("TransferSyntaxUID") != pydicom.uid.DeflatedExplicitVRLittleEndian:
            return
        free, count, decoder = free_memory(), 0, zlib.decompressobj(-zlib.MAX_WBITS)
        while block := decoder.unconsumed_tail or file.read(_CHUNK):
            count += len(decoder.decompress(block, _CHUNK))
            # The elements are copied out of the inflated bytes.
            if 2 * count > free.size:
                raise NotEnoughMemory(
                    f"its deflated content needs more than {format_bytes(2 * count)} of memory, "
                    f"and {free}",
                    path=path,
                )


def _described(path: Path, data: Any) -> list[_Slice]:
    """Return the pictures of a file; a damaged element is described in one sentence."""
    if "Rows" not in data or "Columns" not in data:
        raise InputError(f"{path.name} holds no picture")
    try:
        return _slices(path, data)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # pydicom converts an element when it is used
        raise InputError(
            f"damaged: an element of {path.name} cannot be decoded", Remedy.REPLACE_DAMAGED
        ) from error


def _slices(path: Path, data: Any) -> list[_Slice]:
    """Return the pictures of a file."""
    if "MOSAIC" in data.get("ImageType", []):
        raise InputError(
            "its slices are tiles of one picture (a Siemens mosaic)", Remedy.CONVERT_DICOM
        )
    count = int(data.get("NumberOfFrames", 1) or 1)
    shared = _groups(data.get("SharedFunctionalGroupsSequence"))
    if not 1 <= count <= path.stat().st_size:  # a frame takes a byte, at least
        raise InputError(
            f"damaged: {path.name} declares {count:,} frames, which it cannot hold",
            Remedy.REPLACE_DAMAGED,
        )
    check_memory(count * _SLICE_BYTES, path)
    frames = data.get("PerFrameFunctionalGroupsSequence") or [None] * count
    if len(frames) != count:
        raise InputError(
            f"damaged: it has {count} frames and describes {len(frames)}", Remedy.REPLACE_DAMAGED
        )
    offsets = _numbers(data.get("GridFrameOffsetVector"), count)  # of a dose
    slices = []
    for i, frame in enumerate(frames):
        fields = {**shared, **_groups(None if frame is None else [frame])}

        def value(name: str, fields: dict[str, Any] = fields) -> Any:
            return fields.get(name, data.get(name))

        position, cosines = value("ImagePositionPatient"), value("ImageOrientationPatient")
        sizes = value("PixelSpacing")
        origin, directions = _numbers(position, 3), _directions(cosines)
        if offsets is not None and origin is not None and directions is not None:
            origin = origin + np.cross(*directions) * (offsets[i] - offsets[0])
        slope, inter = value("RescaleSlope"), value("RescaleIntercept")
        slices.append(
            _Slice(
                path,
                i,
                data,
                origin,
                directions,
                _sizes(sizes),
                1.0 if slope in (None, "", 0) else float(slope),
                0.0 if inter in (None, "") else float(inter),
            )
        )
    return slices


def _groups(sequence: Any) -> dict[str, Any]:
    """Return the elements in the groups of a frame by their names."""
    fields: dict[str, Any] = {}
    for group in sequence or []:
        for element in group:
            if element.VR == "SQ" and element.value:
                fields |= {inner.keyword: inner.value for inner in element.value[0]}
    return fields


def _numbers(values: Any, count: int) -> NDArray[np.float64] | None:
    """Return finite numbers, ``None`` for another count."""
    try:
        numbers = np.array([float(value) for value in values], np.float64)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _directions(values: Any) -> NDArray[np.float64] | None:
    """Return the direction cosines of a row and a column, shape (2, 3)."""
    numbers = _numbers(values, 6)
    if numbers is None:
        return None
    directions = numbers.reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    return directions / lengths if (lengths > 0.5).all() else None


def _sizes(values: Any) -> tuple[float, float] | None:
    numbers = _numbers(values, 2)
    return (
        None if numbers is None or (numbers <= 0).any() else (float(numbers[0]), float(numbers[1]))
    )


def _check_alike(slices: Sequence[_Slice]) -> None:
    """Refuse pictures that do not belong to one volume."""
    first = slices[0]
    if first.data.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise InputError(
            "its numbers are those of a colour table, no intensities", Remedy.CONVERT_COLOURS
        )
    names = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PixelRepresentation")
    for each in slices:
        for name in names:
            own, other = each.data.get(name), first.data.get(name)
            if own != other:
                raise InputError(
                    f"its pictures differ in {name}: {other} in {first.path.name} and {own} in "
                    f"{each.path.name}",
                    Remedy.CONVERT_DICOM,
                )
        lacks = [each.directions is None, each.origin is None, each.sizes is None]
        if lacks != [first.directions is None, first.origin is None, first.sizes is None]:
            raise InputError(
                f"some of its pictures have a position and others, as {each.path.name}, none",
                Remedy.CONVERT_DICOM,
            )
        if each.directions is None or first.directions is None:
            continue
        if np.abs(each.directions - first.directions).max() > _SAME_DIRECTION:
            raise InputError(
                f"its pictures have different directions, such as {first.path.name} and "
                f"{each.path.name}",
                Remedy.CONVERT_DICOM,
            )
        if each.sizes is not None and each.sizes != first.sizes:
            raise InputError("its pictures have different sizes of a pixel", Remedy.CONVERT_DICOM)


def _sorted(slices: list[_Slice]) -> tuple[list[_Slice], NDArray[np.float64] | None]:
    """Return the slices along their normal, and the step from one to the next in LPS [mm].

    The step is ``None`` for a single slice, and for slices without a position.
    """
    if len(slices) == 1 or slices[0].origin is None or slices[0].directions is None:
        return slices, None
    normal = np.cross(*slices[0].directions)
    origins = np.array([each.origin for each in slices], np.float64)
    order = np.argsort(origins @ normal, kind="stable")
    slices, origins = [slices[i] for i in order], origins[order]
    distances = np.diff(origins, axis=0) @ normal
    usual = float(np.median(distances))
    close = np.flatnonzero(distances < 0.1 * max(usual, 1e-3))
    if close.size:
        pair = [f"{each.path.name}" for each in slices[close[0] : close[0] + 2]]
        raise InputError(
            f"{pair[0]} and {pair[1]} are at the same place: copies, time points or echoes",
            Remedy.CONVERT_DICOM,
        )
    gaps = np.flatnonzero(distances > _GAP * usual)
    if gaps.size:
        pair = [f"{each.path.name}" for each in slices[gaps[0] : gaps[0] + 2]]
        raise InputError(
            f"slices are missing between {pair[0]} and {pair[1]}: they are "
            f"{distances[gaps[0]]:.4g} mm apart, and the others {usual:.4g} mm",
            Remedy.REPLACE_DAMAGED,
        )
    if np.abs(distances - usual).max() > _SAME_STEP * usual:
        raise InputError(
            f"its slices are {distances.min():.4g} to {distances.max():.4g} mm apart",
            Remedy.CONVERT_DICOM,
        )
    return slices, (origins[-1] - origins[0]) / (len(slices) - 1)


def _geometry(
    first: _Slice, step: NDArray[np.float64] | None, shape: tuple[int, int, int], letters: str
) -> tuple[NDArray[np.float64] | None, tuple[float | None, ...], list[str]]:
    """Return the transform from x, y, z to RAS, the voxel size along each axis, and notes."""
    if first.sizes is None:
        return None, (None,) * len(letters), []
    between_rows, between_columns = first.sizes
    sizes = {"X": between_columns, "Y": between_rows}
    if first.directions is None or first.origin is None:
        return None, tuple(sizes.get(letter) for letter in letters), []
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * between_columns
    affine[:3, 1] = first.directions[1] * between_rows
    thickness = _numbers([first.data.get("SliceThickness")], 1)
    length = float(thickness[0]) if thickness is not None and thickness[0] > 0 else 1.0
    affine[:3, 2] = np.cross(*first.directions) * length if step is None else step
    affine[:3, 3] = first.origin
    orientation, notes = checked(LPS @ affine, shape, "orientation")
    if orientation is None:
        return None, tuple(sizes.get(letter) for letter in letters), notes
    return orientation, spacing_of(orientation, letters), notes


def _notes(first: _Slice, scalings: set[tuple[float, float]]) -> list[str]:
    """Return sentences about the values."""
    notes = ["DICOM tags, such as the name of the patient, are not written to the result."]
    if first.data.get("PhotometricInterpretation") == "MONOCHROME1":
        notes.append("Its large numbers are dark (MONOCHROME1); they are kept as they are.")
    if len(scalings) > 1:
        notes.append("Its slices have different scale factors; each is applied to its slice.")
    return notes


def _pixels(slices: Sequence[_Slice], is_scaled: bool) -> Array:
    """Return the real values, shape (slices, rows, columns) and samples."""
    decoded: dict[Path, Array] = {}
    pixels: Array | None = None
    for i, each in enumerate(slices):
        if each.path not in decoded:
            decoded = {each.path: _decoded(each)}
        values = decoded[each.path][each.frame]
        if pixels is None:
            dtype = np.dtype(np.float32) if is_scaled else values.dtype.newbyteorder("=")
            pixels = np.empty((len(slices), *values.shape), dtype)
        if values.shape != pixels.shape[1:]:
            raise InputError(f"damaged: {each.path.name} has another size than its header says")
        if is_scaled:
            values = values.astype(np.float64) * each.slope + each.inter
        pixels[i] = values
    assert pixels is not None
    return pixels


def _decoded(each: _Slice) -> Array:
    """Return the pictures of a file, shape (frames, rows, columns) and samples."""
    pydicom = require("pydicom", "DICOM files", "formats")
    data = pydicom.dcmread(each.path)
    try:
        values: Array = np.asarray(data.pixel_array)
    except MemoryError:
        raise
    except Exception as error:  # pydicom has several errors for what it cannot decode
        syntax = data.file_meta.get("TransferSyntaxUID")
        if syntax is not None and syntax.is_compressed and _lacks_decoder(error):
            raise MissingLibraryError(
                f'DICOM files with {syntax.name} need a decoder: pip install "pylibjpeg[all]".'
            ) from error
        raise InputError(
            f"damaged: the pixels of {each.path.name} cannot be decoded", Remedy.REPLACE_DAMAGED
        ) from error
    return values if int(data.get("NumberOfFrames", 1) or 1) > 1 else values[np.newaxis]


def _lacks_decoder(error: Exception) -> bool:
    """Whether no library for a compression is installed."""
    return isinstance(error, RuntimeError | NotImplementedError | AttributeError)


def _members_of(path: Path) -> tuple[Path, ...]:
    series = _series_of(path)
    return tuple(file for file, _ in series) if len(series) > 1 or path.is_dir() else ()


def _storable(dtype: np.dtype[Any], like: Volume, suffix: str) -> np.dtype[Any]:
    raise only_read("DICOM")


FORMAT = Format(
    "DICOM",
    (".dcm", ".ima"),
    _read,
    refuse_to_write,
    _storable,
    members_of=_members_of,
    results=dict.fromkeys(("", ".dcm", ".ima"), ".nii.gz"),
    reads_folder=True,
)
