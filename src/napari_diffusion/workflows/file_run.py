"""From a file to a file by a recipe: everything is checked before it runs, and the result is written complete or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, Self

import numpy as np

from napari_diffusion import io
from napari_diffusion.core import dtypes
from napari_diffusion.core.arrays import Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.engine.request import Request
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment, apply_axes, resolve_axes
from napari_diffusion.io.regions import read_regions
from napari_diffusion.io.volume import UNKNOWN
from napari_diffusion.workflows.outputs import check_limit
from napari_diffusion.workflows.recipe_axes import axes_from_recipe, check_recipe

#: Samples by which orders of axes are told apart.
COMPARED = 100_000
_FROM_RECIPE = (
    "time",
    "scheme",
    "tolerance",
    "strict",
    "nan",
    "preserve_dtype",
    "spacing",
    "axes",
    "channel_axis",
)


@dataclass(frozen=True)
class FileRun:
    """A checked run on a file.

    Attributes
    ----------
    volume, layout
        What was read, and what its axes mean.
    recipe
        What runs, in the unit of the layout and with its axes and voxel size.
    target, overwrite
        Where the result goes, and whether it may replace a file there.
    keywords
        Arguments of `diffuse` beside the model.
    plan
        What the run will do and need.
    """

    volume: Volume
    assignment: AxisAssignment
    recipe: Recipe
    target: Path
    overwrite: bool
    keywords: dict[str, Any]
    plan: Plan

    @classmethod
    def make(
        cls,
        volume: Volume,
        assignment: AxisAssignment,
        recipe: Recipe,
        target: Path,
        options: dict[str, Any],
    ) -> Self:
        """Check everything that can be checked before a run.

        Parameters
        ----------
        volume, layout
            As read and settled.
        recipe
            In the unit of the layout.
        target
            Where the result goes.
        options
            ``mask``, ``labels`` (files), ``threads`` and ``overwrite``, where they are not the defaults.

        Raises
        ------
        ValueError, TypeError, OSError, WriteError
            In one sentence.
        """
        names = tuple(assignment.letters[i].lower() for i in assignment.axes)
        where: dict[str, Any] = {
            "spacing": assignment.spacing,
            "axes": assignment.axes,
            "channel_axis": assignment.channel_axis,
        }
        bounds = [
            Path(options[name]).name for name in ("labels", "mask") if options.get(name) is not None
        ]
        recipe = replace(recipe, axis_names=names, labels=" and ".join(bounds) or None, **where)
        overwrite = bool(options.get("overwrite"))
        dtype = dtypes.result_dtype(volume.data.dtype, recipe.preserve_dtype)
        io.check_target(
            target, volume, dtype, overwrite=overwrite, preserve_dtype=recipe.preserve_dtype
        )
        keywords = {name: getattr(recipe, name) for name in _FROM_RECIPE} | {
            "threads": options.get("threads")
        }
        keywords |= {
            name: read_regions(name, options[name], assignment.letters)
            for name in ("mask", "labels")
            if options.get(name) is not None
        }
        return cls(
            volume,
            assignment,
            recipe,
            target,
            overwrite,
            keywords,
            Request.of(volume.data, recipe.model, **keywords).plan,
        )

    def filtered(
        self, progress: Callable[[float], object] | None = None, cancel: CancelEvent | None = None
    ) -> Image:
        """Return the result."""
        request = Request.of(self.volume.data, self.recipe.model, **self.keywords)
        return request.result(progress, cancel)

    def write(self, result: Image) -> tuple[Path, ...]:
        """Write the result and return the files that were written; after an error there is no new file."""
        like, preserve = apply_axes(self.volume, self.assignment), self.recipe.preserve_dtype
        return io.write(
            self.target,
            result,
            like,
            self.recipe,
            overwrite=self.overwrite,
            preserve_dtype=preserve,
        )


def filter_file(
    source: Path,
    target: Path,
    recipe: Recipe,
    *,
    threads: int | None = None,
    overwrite: bool = False,
    limit: int | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
) -> tuple[Path, ...]:
    """Filter a file by a recipe, in the physical units of the file, and return the files that were written.

    Axes are found by the names that the recipe has for them, whatever their order in the file; a recipe without names smooths along the
    axes of space. A run that needs more memory than ``limit`` [bytes] is refused.

    Raises
    ------
    ValueError, TypeError, MemoryError, OSError, WriteError, Cancelled
        In one sentence; nothing was written then.
    """
    volume = io.read(source)
    options = axes_from_recipe(recipe, volume, {})
    assignment = resolve_axes(volume, options)
    recipe = recipe.in_unit(assignment.unit)
    check_recipe(recipe, assignment, options)
    problem = FileRun.make(
        volume, assignment, recipe, target, {"threads": threads, "overwrite": overwrite}
    )
    check_limit(problem.plan.memory, limit)
    return problem.write(problem.filtered(progress, cancel))


def files_of(folder: Path) -> list[Path]:
    """Return the images of a folder by name, those that can be read and are no recipes or hidden files."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and _readable(path)
    )


def targets_of(sources: Sequence[Path], folder: Path) -> list[Path]:
    """Return the name of the result of every file: the same name in another folder."""
    if any(source.parent.resolve() == folder.resolve() for source in sources):
        raise ValueError(
            f"The results would replace the images in {folder}; choose another folder for them."
        )
    return [folder / source.name for source in sources]


def _readable(path: Path) -> bool:
    try:
        io.format_of(path)
    except ValueError:
        return False
    return True


def names_in(path: Path, image: Any) -> tuple[str, ...] | None:
    """Return how a file calls the axes of an array that was read from it, in whatever order: a letter, or a number where it has no name.

    Of the orders of the file's axes that have the array's shape, the array's own is the one that gives the same values. ``None`` where
    the file cannot be read, is of another shape, or several orders are possible and none gives the values, or the array is lazy.
    """
    try:
        volume = io.read(path)
    except (ValueError, OSError, MemoryError, io.MissingLibraryError):
        return None
    shape, found = tuple(image.shape), volume.shape
    orders = [
        order
        for order in permutations(range(len(found)))
        if tuple(found[i] for i in order) == shape
    ]
    if len(orders) > 1 and isinstance(image, np.ndarray):
        most = max(2, round(COMPARED ** (1 / len(shape))))
        some = tuple(slice(None, None, math.ceil(n / most)) for n in shape)
        values = np.asarray(image[some])
        orders = [
            order
            for order in orders
            if np.allclose(values, np.transpose(volume.data, order)[some], equal_nan=True)
        ][:1]
    if len(orders) != 1:
        return None
    letters = volume.axes
    return tuple(
        letters[i] if letters.count(letters[i]) == 1 and letters[i] not in UNKNOWN else str(i)
        for i in orders[0]
    )
