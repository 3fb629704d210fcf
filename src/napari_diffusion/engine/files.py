"""From a file to a file by a recipe: everything is checked before it runs, and the result is written complete or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from napari_diffusion import grid, io
from napari_diffusion.engine.evolve import Image, diffuse
from napari_diffusion.engine.layout import Layout, as_settled, check_recipe, regions, settle, with_axes
from napari_diffusion.engine.outputs import check_limit
from napari_diffusion.engine.plan import Plan, plan
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.engine.slabs import Event
from napari_diffusion.io import Volume

_FROM_RECIPE = ("time", "scheme", "tolerance", "strict", "nan", "preserve_dtype", "spacing", "axes", "channel_axis")


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
    layout: Layout
    recipe: Recipe
    target: Path
    overwrite: bool
    keywords: dict[str, Any]
    plan: Plan

    @classmethod
    def make(cls, volume: Volume, layout: Layout, recipe: Recipe, target: Path, options: dict[str, Any]) -> Self:
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
        names = tuple(layout.letters[i].lower() for i in layout.axes)
        where: dict[str, Any] = {"spacing": layout.spacing, "axes": layout.axes, "channel_axis": layout.channel_axis}
        recipe = replace(recipe, axis_names=names, **where)
        overwrite = bool(options.get("overwrite"))
        dtype = grid.result_dtype(volume.data.dtype, recipe.preserve_dtype)
        io.check_target(target, volume, dtype, overwrite=overwrite, preserve_dtype=recipe.preserve_dtype)
        keywords = {name: getattr(recipe, name) for name in _FROM_RECIPE} | {"threads": options.get("threads")}
        keywords |= {name: regions(name, options[name], layout.letters) for name in ("mask", "labels") if options.get(name) is not None}
        return cls(volume, layout, recipe, target, overwrite, keywords, plan(volume.data, recipe.model, **keywords))

    def filtered(self, progress: Callable[[float], object] | None = None, cancel: Event | None = None) -> Image:
        """Return the result."""
        return diffuse(self.volume.data, self.recipe.model, progress=progress, cancel=cancel, **self.keywords)

    def write(self, result: Image) -> tuple[Path, ...]:
        """Write the result and return the files that were written; after an error there is no new file."""
        like, preserve = as_settled(self.volume, self.layout), self.recipe.preserve_dtype
        return io.write(self.target, result, like, self.recipe, overwrite=self.overwrite, preserve_dtype=preserve)


def filter_file(
    source: Path,
    target: Path,
    recipe: Recipe,
    *,
    threads: int | None = None,
    overwrite: bool = False,
    limit: int | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: Event | None = None,
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
    options = with_axes(recipe, volume, {})
    layout = settle(volume, options)
    recipe = recipe.in_unit(layout.unit)
    check_recipe(recipe, layout, options)
    job = FileRun.make(volume, layout, recipe, target, {"threads": threads, "overwrite": overwrite})
    check_limit(job.plan.memory, limit)
    return job.write(job.filtered(progress, cancel))


def files_of(folder: Path) -> list[Path]:
    """Return the images of a folder by name, those that can be read and are no recipes or hidden files."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".") and _readable(path))


def targets_of(sources: Sequence[Path], folder: Path) -> list[Path]:
    """Return the name of the result of every file: the same name in another folder."""
    if any(source.parent.resolve() == folder.resolve() for source in sources):
        raise ValueError(f"The results would replace the images in {folder}; choose another folder for them.")
    return [folder / source.name for source in sources]


def _readable(path: Path) -> bool:
    try:
        io.format_of(path)
    except ValueError:
        return False
    return True


def holds(path: Path, shape: Sequence[int]) -> bool:
    """Whether a file holds an array of this shape, rows last: then axes of one are those of the other, by number, whatever their names."""
    try:
        volume = io.read(path)
    except (ValueError, OSError, MemoryError, io.MissingLibraryError):
        return False
    space = [letter for letter in volume.axes if letter in "ZYX"]
    return volume.shape == tuple(shape) and space == sorted(space, reverse=True)
