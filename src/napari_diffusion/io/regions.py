"""Reading of a mask or labels, the regions that bound the smoothing, and of a guide.

Where image and regions both have an affine, the affines decide which voxels belong together.
Regions of another orientation are turned, and other grids are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_diffusion import io
from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.axes.affine import (
    SAME_GRID,
    Reorientation,
    distance_of_grids,
    reorientation_to,
    voxel_sizes,
)
from napari_diffusion.core.errors import InputError, Remedy
from napari_diffusion.io.axes import AxisAssignment
from napari_diffusion.io.npy import FORMAT as NUMPY
from napari_diffusion.io.orientation import directions
from napari_diffusion.io.volume import UNKNOWN_AXES, Volume

#: Largest distance [voxel] of grids whose voxels have the same size. Below half a voxel, the
#: nearest neighbour of each voxel is that of the same index. Rounding of a qform reaches 0.4.
NEAREST_NEIGHBOUR = 0.49
#: Largest distance of a label from a whole number, besides the rounding of its scale factor.
WHOLE_NUMBER = 1e-3
#: Labels stored with a coarser scale factor than this are not rounded to whole numbers.
COARSEST_SCALE = 0.5
#: Relative rounding of a few products and sums in float32.
FLOAT32_ROUNDING = 2.0**-22
#: Floating point numbers above this cannot count.
_LARGEST_LABEL = 2.0**53


@dataclass(frozen=True, eq=False)
class Regions:
    """A mask, labels or a guide on the grid of an image.

    Attributes
    ----------
    values
        Bool mask, int64 labels or numbers of a guide, in the shape of the image without channels or
        of its smoothed axes.
    notes
        Sentences about what was done to them.
    """

    values: NDArray[Any]
    notes: tuple[str, ...]


def read_regions(name: str, path: Path, image: Volume, assignment: AxisAssignment) -> Regions:
    """Read a mask or labels from a file.

    Parameters
    ----------
    name
        ``"mask"``, ``"labels"`` or ``"noise region"``.
    path
        The file. An array with some of the axes of the image is transposed to their order. Axes of
        one sample may be missing or added.
    image, assignment
        The image to filter, and the roles of its axes.

    Returns
    -------
    Regions
        A mask or noise region is true where the file is neither 0 nor NaN. Labels are whole
        numbers, and NaN becomes 0; they are rounded where only the scale factor of the file makes
        them not whole.

    Raises
    ------
    InputError, OSError, MissingLibraryError
        As `napari_diffusion.io.read`. Also an `InputError` for another grid or another shape, for
        colours, for labels that are not whole numbers, and when no voxel is inside.
    """
    data, volume, notes = _read_on_grid(name, path, image, assignment)
    values = _labels(data, volume) if name == "labels" else _mask(data)
    if not values.any():
        empty = "labels are 0" if name == "labels" else f"{name} is 0 or NaN"
        effect = "nothing would be " + ("measured" if name == "noise region" else "smoothed")
        raise InputError(f"the {empty} everywhere, so {effect}", path=path)
    return Regions(values, notes)


def read_guide(path: Path, image: Volume, assignment: AxisAssignment) -> Regions:
    """Read a guide from a file, with the numbers of its data type.

    Parameters are those of `read_regions`, and errors those about files and grids.
    """
    data, _, notes = _read_on_grid("guide", path, image, assignment)
    return Regions(data, notes)


def _read_on_grid(
    name: str, path: Path, image: Volume, assignment: AxisAssignment
) -> tuple[Array, Volume, tuple[str, ...]]:
    """Return the array of a file in the shape that a run needs, its volume, and notes."""
    volume = io.read(path)
    channel = volume.channel_axis
    if channel is not None and volume.shape[channel] > 1:
        raise InputError(
            f"{name} must hold one number per voxel, and this is a colour image with "
            f"{volume.shape[channel]} samples",
            path=path,
        )
    data, letters, notes = _on_grid(name, volume, image, assignment)
    data = _in_order(data, _planes_named(volume, letters, assignment), assignment.letters)
    data = _in_shape(name, data, volume, image, assignment)
    return data, volume, tuple(f"{path.name}: {note}" for note in notes)


def _remedy(name: str) -> Remedy:
    """Return the remedy for another grid: labels and masks have no values between."""
    return Remedy.RESAMPLE_GUIDE if name == "guide" else Remedy.RESAMPLE_REGIONS


def _on_grid(
    name: str, volume: Volume, image: Volume, assignment: AxisAssignment
) -> tuple[Array, str, list[str]]:
    """Return the regions in the orientation of the image, their axes, and notes."""
    data, letters = np.asarray(volume.data), volume.axes
    if volume.affine is None or image.affine is None:
        return data, letters, _notes_on_sizes(volume, image)
    data, letters = _space_first(data, letters)
    # The letters of the assignment may differ, but an affine belongs to the axes of the file.
    shape = tuple(image.shape[image.axes.index(i)] if i in image.axes else 1 for i in "XYZ")
    other, own_shape = _affine_in_unit_of(volume, image), data.shape[:3]
    if own_shape == shape and distance_of_grids(image.affine, other, shape) <= SAME_GRID:
        return data, letters, []
    turn = reorientation_to(image.affine, shape, other, own_shape, NEAREST_NEIGHBOUR)
    reached = None if turn is None else turn.affine_of(other, own_shape)
    if turn is None or reached is None or not _sizes_agree(image.affine, reached):
        if sorted(own_shape) != sorted(shape):
            return data, letters, []  # the sentence about the shapes says more
        raise InputError(
            f"{name} and image have different grids: {_described(other, image.unit)} and "
            f"{_described(image.affine, image.unit)} ({image.path})",
            _remedy(name),
            volume.path,
        )
    notes = []
    distance = distance_of_grids(image.affine, reached, shape)
    if distance > SAME_GRID:
        notes.append(
            f"its grid is up to {distance:.2g} voxels away from that of the image; each voxel "
            "takes its nearest neighbour."
        )
    if turn != Reorientation((0, 1, 2), (False,) * 3):
        notes.append(f"it was turned to the orientation of the image ({_turn_in_words(turn)}).")
    rest = range(3, data.ndim)
    whole = Reorientation((*turn.order, *rest), (*turn.flipped, *(False for _ in rest)))
    return whole.apply_to(data), letters, notes


def _notes_on_sizes(volume: Volume, image: Volume) -> list[str]:
    """Return a note if both files give a voxel size and these differ; there is no orientation."""
    if "pixel" in (volume.unit, image.unit):
        return []
    scale = units.factor(volume.unit, image.unit)
    sizes = {x: h for x, h in zip(volume.axes, volume.spacing, strict=True) if h is not None}
    others = {x: h for x, h in zip(image.axes, image.spacing, strict=True) if h is not None}
    shared = [x for x in "XYZ" if x in sizes and x in others]
    if all(math.isclose(sizes[x] * scale, others[x], rel_tol=SAME_GRID) for x in shared):
        return []
    own, other = (" x ".join(f"{h[x]:.4g}" for x in shared) for h in (sizes, others))
    note = (
        f"its voxels are {own} {units.symbol(volume.unit)} and those of the image {other} "
        f"{units.symbol(image.unit)}; it is used voxel by voxel."
    )
    return [note]


def _space_first(data: Array, letters: str) -> tuple[Array, str]:
    """Bring x, y and z to the front, with one sample where the file has no such axis."""
    missing = "".join(letter for letter in "XYZ" if letter not in letters)
    data, letters = data.reshape(data.shape + (1,) * len(missing)), letters + missing
    order = [letters.index(letter) for letter in "XYZ"]
    order += [i for i in range(data.ndim) if i not in order]
    return data.transpose(order), "".join(letters[i] for i in order)


def _affine_in_unit_of(volume: Volume, image: Volume) -> NDArray[np.float64]:
    """Return the affine of the regions in the unit of the image."""
    assert volume.affine is not None
    affine = volume.affine.copy()
    is_known = not (volume.unit_is_assumed or image.unit_is_assumed)
    if is_known and "pixel" not in (volume.unit, image.unit):
        affine[:-1] *= units.factor(volume.unit, image.unit)
    return affine


def _sizes_agree(affine: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    sizes, others = voxel_sizes(affine[:-1, :-1]), voxel_sizes(other[:-1, :-1])
    return bool(np.allclose(sizes, others, rtol=SAME_GRID, atol=0))


def _described(affine: NDArray[np.float64], unit: str) -> str:
    """Describe a grid by its voxel size, the directions of its axes, and its origin."""
    sizes = " x ".join(f"{size:.4g}" for size in voxel_sizes(affine[:-1, :-1]))
    origin = ", ".join(f"{x:.4g}" for x in affine[:3, 3])
    return f"voxel {sizes} {units.symbol(unit)} from ({origin}) to {', '.join(directions(affine))}"


def _turn_in_words(turn: Reorientation) -> str:
    words = []
    if turn.order != (0, 1, 2):
        words.append(f"axes {', '.join('xyz'[i] for i in turn.order)}")
    flipped = [letter for letter, flip in zip("xyz", turn.flipped, strict=True) if flip]
    if flipped:
        words.append(f"{', '.join(flipped)} flipped")
    return "; ".join(words)


def _planes_named(volume: Volume, letters: str, assignment: AxisAssignment) -> str:
    """Return the axes, where the pages of a file are planes if the image has planes.

    The axes of an array of NumPy have no names; it is used by index.
    """
    unknown = [letter for letter in letters if letter in UNKNOWN_AXES]
    lacks_planes = "Z" in assignment.letters and "Z" not in letters
    if volume.format == NUMPY.name or len(unknown) != 1 or not lacks_planes:
        return letters
    return letters.replace(unknown[0], "Z")


def _in_order(data: Array, letters: str, order: str) -> Array:
    """Transpose to the order of the axes of the image, where the file names its axes.

    A TIFF has the axes z, y, x, and a NIfTI image the axes x, y, z.
    """
    kept = [i for i, n in enumerate(data.shape) if n != 1 or letters[i] in order]
    data, letters = data.reshape([data.shape[i] for i in kept]), "".join(letters[i] for i in kept)
    named = set(letters) <= set(order) and len(set(letters)) == len(letters)
    if not named:
        return data
    return data.transpose([letters.index(letter) for letter in order if letter in letters])


def _in_shape(
    name: str, data: Array, volume: Volume, image: Volume, assignment: AxisAssignment
) -> Array:
    """Return the regions in the shape that a run needs; axes of one sample do not matter."""
    whole = tuple(n for i, n in enumerate(image.shape) if i != assignment.channel_axis)
    space = tuple(image.shape[i] for i in sorted(assignment.axes))
    for shape in (whole, space):
        if data.shape == shape or _without_ones(data.shape) == _without_ones(shape):
            return data.reshape(shape)
    raise InputError(
        f"{name} has the shape {_shape_in_words(volume.shape, volume.axes)}, and the image "
        f"{_shape_in_words(image.shape, assignment.letters)}",
        _remedy(name),
        volume.path,
    )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _shape_in_words(shape: tuple[int, ...], letters: str) -> str:
    return " x ".join(f"{letter} {n}" for letter, n in zip(letters, shape, strict=True))


def _mask(data: Array) -> NDArray[np.bool_]:
    """Return where the values are neither 0 nor NaN."""
    inside: NDArray[np.bool_] = (data != 0) & ~np.isnan(data)
    return inside


def _labels(data: Array, volume: Volume) -> NDArray[np.int64]:
    """Return labels as whole numbers."""
    if data.dtype.kind in "bui":
        largest = np.iinfo(np.int64).max
        if data.dtype.kind == "u" and data.size and int(data.max()) > largest:
            raise InputError(
                f"labels must be at most {largest}, got {int(data.max())}", path=volume.path
            )
        return data.astype(np.int64)
    values = np.where(np.isnan(data), 0.0, data)
    whole = np.rint(values)
    scale = abs(volume.scaling[0]) if volume.scaling != (1.0, 0.0) else 0.0
    # Whole numbers that are stored in steps of the scale factor are off by up to half a step.
    step = scale / 2 if scale <= COARSEST_SCALE else 0.0
    allowed = WHOLE_NUMBER + step + np.minimum(np.abs(values) * FLOAT32_ROUNDING, 0.25)
    with np.errstate(invalid="ignore"):  # infinity is no whole number
        wrong = ~(np.abs(values - whole) <= allowed)
    if wrong.any():
        value = values[wrong].flat[0]
        raise InputError(f"labels must hold whole numbers, got {value:.10g}", path=volume.path)
    largest = np.abs(values).max(initial=0.0)
    if largest > _LARGEST_LABEL:
        raise InputError(
            f"labels of type {data.dtype} must be at most {_LARGEST_LABEL:.0f}, got {largest:.10g}",
            path=volume.path,
        )
    return whole.astype(np.int64)
