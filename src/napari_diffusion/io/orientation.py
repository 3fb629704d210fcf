"""Order of axes and orientation that several formats share: x, y, z first, and RAS coordinates.

The coordinates of `Volume.affine` grow to the patient's right, front and head (RAS), as in NIfTI.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_diffusion.core import units
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.axes.affine import (
    ORTHOGONALITY,
    SAME_GRID,
    orthogonality_defect,
    voxel_sizes,
)
from napari_diffusion.io.volume import Volume

#: From coordinates that grow to the left, back and head (LPS; ITK, DICOM) to RAS, and back.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Where the coordinates of RAS decrease and grow.
_DIRECTIONS = (("left", "right"), ("back", "front"), ("feet", "head"))


def directions(affine: NDArray[np.float64]) -> list[str]:
    """Return where the axes x, y and z of an affine lead, each by its largest component."""
    places = []
    for column in affine[:3, :3].T:
        main = int(np.abs(column).argmax())
        places.append(_DIRECTIONS[main][int(column[main] > 0)])
    return places


def in_standard_order(data: Array, axes: str) -> tuple[Array, str]:
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


def completed(affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64] | None:
    """Return an affine that can be inverted; ``None`` without one.

    An axis of one sample may have no direction; it gets one that is orthogonal to the others.

    Parameters
    ----------
    affine
        Transform from the indices x, y, z to coordinates, shape (4, 4). It may be changed.
    shape
        Number of samples along x, y and z.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all():
        return None
    for i in range(3):
        if lengths[i] == 0 and (i >= len(shape) or shape[i] == 1):
            normal = np.cross(affine[:3, (i + 1) % 3], affine[:3, (i + 2) % 3])
            length = np.linalg.norm(normal)
            affine[:3, i] = normal / length if length else 0.0
            lengths[i] = 1.0
    if not lengths.all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < SAME_GRID:
        return None
    return affine


def checked(
    affine: NDArray[np.float64], shape: Sequence[int], name: str
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Return an affine that maps voxels to a volume, and notes about it.

    Parameters
    ----------
    affine, shape
        As for `completed`.
    name
        What the file calls the transform.
    """
    affine_or_none = completed(np.array(affine, np.float64), shape)
    if affine_or_none is None:
        return None, [f"Its {name} maps voxels to no volume and is ignored."]
    long = [i for i, n in enumerate(shape[:3]) if n > 1]
    defect = orthogonality_defect(affine_or_none[:3, long])
    if defect > ORTHOGONALITY:
        angle = math.degrees(math.asin(min(1.0, defect)))
        note = (
            f"Its axes are not orthogonal, by {angle:.2g} degrees; the filter takes them as "
            "orthogonal."
        )
        return affine_or_none, [note]
    return affine_or_none, []


def affine_in(volume: Volume, unit: str) -> NDArray[np.float64] | None:
    """Return the affine of a volume in a unit of length; ``None`` where it is unknown."""
    if volume.affine is None or "pixel" in (volume.unit, unit):
        return None
    affine = volume.affine.copy()
    affine[:3] *= units.factor(volume.unit, unit)
    return affine


def sizes_in(volume: Volume, unit: str) -> dict[str, float]:
    """Return the voxel size along each axis of space that has one, in a unit of length."""
    if (volume.unit == "pixel") != (unit == "pixel"):
        return {}
    scale = units.factor(volume.unit, unit)
    return {
        letter: size * scale
        for letter, size in zip(volume.axes, volume.spacing, strict=True)
        if letter in "XYZ" and size is not None
    }


def spacing_of(affine: NDArray[np.float64], letters: str) -> tuple[float | None, ...]:
    """Return the voxel size along each axis, ``None`` for axes other than x, y and z."""
    sizes = voxel_sizes(affine[:3, :3])
    return tuple(sizes["XYZ".index(letter)] if letter in "XYZ" else None for letter in letters)
