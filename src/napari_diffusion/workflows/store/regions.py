"""Mask, labels and guide of a run in blocks, which are read in blocks where the file allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from napari_diffusion import io
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.regions import is_one_region
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment
from napari_diffusion.io.npy import FORMAT as NUMPY
from napari_diffusion.io.ome_zarr import FORMAT as ZARR
from napari_diffusion.io.regions import read_guide, read_regions
from napari_diffusion.workflows.store.lazy import Nonzero
from napari_diffusion.workflows.store.work_folder import WorkFolder

#: Values of regions that are compared at once.
_COMPARED = 1 << 22


@dataclass(frozen=True)
class StoreRegions:
    """Mask, labels and guide of a run in blocks.

    Attributes
    ----------
    settings
        What a worker needs to open each of them, by the names ``mask``, ``labels`` and ``guide``.
        Regions without a border are left out: they change nothing.
    arrays
        Regions that are kept in the work folder, by the names of their files.
    lazy
        Each of them, as an array that may be lazy.
    notes
        Sentences about what was done to them.
    """

    settings: dict[str, dict[str, Any]]
    arrays: dict[str, Array]
    lazy: dict[str, Any]
    notes: tuple[str, ...]

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return regions that are arrays of this process, by their names."""
        lazy = {name: Nonzero(a) if name == "mask" else a for name, a in arrays.items()}
        return cls({name: {"own": False, "path": None} for name in lazy}, {}, lazy, ())

    def fill(self, folder: WorkFolder) -> None:
        """Keep the regions that cannot be read in blocks in a work folder."""
        folder.regions.mkdir()
        for name, values in self.arrays.items():
            np.save(folder.regions / name, values)


def regions_of(
    files: Mapping[str, Path], volume: Volume, assignment: AxisAssignment
) -> StoreRegions:
    """Open mask, labels and guide; errors as those of `read_regions`.

    A file of zarr or NumPy with the axes and the shape of the image is read in blocks.
    """
    settings: dict[str, dict[str, Any]] = {}
    arrays: dict[str, Array] = {}
    opened: dict[str, Any] = {}
    notes: list[str] = []
    for name, path in files.items():
        values = _lazy(name, path, volume, assignment)
        own: dict[str, Any] = {"own": False, "path": str(path.resolve()), "is_mask": name == "mask"}
        if values is None:
            read = read_guide if name == "guide" else partial(read_regions, name)
            regions = read(path, volume, assignment)
            values, file = regions.values, f"{name}.npy"
            if name == "labels":
                values = values.astype(np.result_type(*map(np.min_scalar_type, _range(values))))
            arrays[file], own = values, {"own": True, "path": file}
            notes += regions.notes
        if name == "guide" or _has_border(values):
            settings[name], opened[name] = own, values
        else:
            arrays.pop(f"{name}.npy", None)
    return StoreRegions(settings, arrays, opened, tuple(notes))


def _range(values: Array) -> tuple[int, int]:
    return int(values.min()), int(values.max())


def _lazy(name: str, path: Path, volume: Volume, assignment: AxisAssignment) -> Any:
    """Return regions that can be read in blocks as they are; ``None`` for others."""
    own = io.read(path)
    kinds = "bui" if name == "labels" else "buif"
    whole = tuple(n for i, n in enumerate(volume.shape) if i != assignment.channel_axis)
    space = tuple(volume.shape[i] for i in sorted(assignment.axes))
    letters = "".join(
        letter for i, letter in enumerate(assignment.letters) if i != assignment.channel_axis
    )
    same_axes = own.format == NUMPY.name or own.axes in (
        letters,
        "".join(assignment.letters[i] for i in sorted(assignment.axes)),
    )
    readable = own.format in (NUMPY.name, ZARR.name) and same_axes
    if not readable or own.shape not in (whole, space) or own.data.dtype.kind not in kinds:
        return None
    if volume.affine is not None or own.data.dtype == np.uint64:
        return None
    return Nonzero(own.data) if name == "mask" else own.data


def _has_border(regions: Any) -> bool:
    """Whether some voxels are in another region than others, or outside; read in parts."""
    shape, step = regions.shape, 1
    planes = int(np.prod(shape[1:])) or 1
    step = max(1, _COMPARED // planes)
    first: Array | None = None
    for lo in range(0, shape[0], step):
        part = np.asarray(regions[(slice(lo, lo + step),)])
        if not is_one_region(part) or (first is not None and part.flat[0] != first):
            return True
        first = part.flat[0]
    return False
