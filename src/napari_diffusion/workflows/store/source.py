"""What a run in blocks reads: a file with its regions, or arrays of this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from napari_diffusion.core.arrays import as_lazy_array
from napari_diffusion.core.errors import InputError
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.problem import Problem, unread_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment, apply_axes
from napari_diffusion.workflows.file_run import FileOptions, recipe_on_file
from napari_diffusion.workflows.store.fingerprint import fingerprint_of
from napari_diffusion.workflows.store.lazy import read_in_thread
from napari_diffusion.workflows.store.regions import StoreRegions, regions_of


@dataclass(frozen=True)
class StoreSource:
    """The image of a run in blocks, with its recipe and its regions.

    Attributes
    ----------
    volume, assignment
        The volume, whose values are read in blocks, and the roles of its axes.
    recipe
        The recipe in the unit of ``assignment``, with its axes and voxel size.
    regions
        Mask, labels and guide.
    files
        Files and stores that must not change during the run.
    is_array
        Whether the image is an array of this process, which no other process can open.
    """

    volume: Volume
    assignment: AxisAssignment
    recipe: Recipe
    regions: StoreRegions
    files: tuple[Path, ...]
    is_array: bool = False

    def __post_init__(self) -> None:
        if 0 in self.volume.shape:
            raise InputError("the image has no voxels", path=self.volume.path)
        self.recipe.to_json()  # workers read it

    @classmethod
    def of_files(
        cls, volume: Volume, assignment: AxisAssignment, recipe: Recipe, options: FileOptions
    ) -> Self:
        """Return a file with the files of its regions."""
        if 0 in volume.shape:
            raise InputError("the image has no voxels", path=volume.path)
        recipe = recipe_on_file(recipe, assignment, options)
        guide = {} if options.guide is None else {"guide": options.guide}
        others = {**options.region_files, **guide}
        files = (Path(volume.path or ""), *others.values())
        return cls(volume, assignment, recipe, regions_of(others, volume, assignment), files)

    @classmethod
    def of_arrays(
        cls, volume: Volume, assignment: AxisAssignment, recipe: Recipe, domain: Domain
    ) -> Self:
        """Return an array with the arrays of its regions.

        Parameters
        ----------
        volume
            The array with its axes. If it is part of a file, its ``path`` names that file.
        assignment
            Roles of the axes.
        recipe
            Recipe with axes and voxel size of the array.
        domain
            Mask, labels and guide.
        """
        arrays = {"mask": domain.mask, "labels": domain.labels, "guide": domain.guide}
        regions = StoreRegions.of_arrays(
            {name: read_in_thread(a) for name, a in arrays.items() if a is not None}
        )
        files = () if volume.path is None else (volume.path,)
        return cls(volume, assignment, recipe, regions, files, is_array=True)

    @cached_property
    def problem(self) -> Problem:
        """The run on the whole image, whose values are not read."""
        data = self.volume.data
        if self.is_array:
            data = read_in_thread(as_lazy_array(data, "image"))
        domain = Domain(**self.regions.lazy)
        return unread_problem(data, self.recipe, self.assignment.geometry, domain)

    @property
    def like(self) -> Volume:
        """The volume with the axes of the run."""
        return apply_axes(self.volume, self.assignment)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        return (
            *self.volume.notes,
            *self.assignment.notes,
            *self.regions.notes,
            *self.recipe.remarks,
        )

    @property
    def has_survey(self) -> bool:
        """Whether facts about all values are collected first."""
        is_masked = self.recipe.nan == "mask" and self.problem.input_dtype.kind == "f"
        return is_masked or bool(self.regions.settings.keys() - {"guide"})

    def fingerprint(self, backend: str) -> str:
        """Return the fingerprint of recipe, version, backend, image and regions."""
        problem = self.problem
        settings = {
            "recipe": self.recipe.to_dict(),
            "backend": backend,
            "shape": problem.shape,
            "dtype": problem.input_dtype.str,
            "weights": list(problem.weights),
        }
        arrays = [problem.image, *self.regions.lazy.values()] if self.is_array else []
        return fingerprint_of(settings, self.files, arrays)

    def settings(self) -> dict[str, Any]:
        """Return what a worker needs to open it, as plain JSON types."""
        problem = self.problem
        return {
            "source": None if self.is_array else str(Path(self.volume.path or "").resolve()),
            "files": [str(path.resolve()) for path in self.files],
            "recipe": self.recipe.to_dict(),
            "geometry": {
                "spacing": list(problem.spacing),
                "axes": list(problem.axes),
                "channel_axis": problem.channel_axis,
                "channel_weights": _plain_weights(problem.geometry.channel_weights),
            },
            "regions": self.regions.settings,
        }


def _plain_weights(weights: Sequence[float | None] | None) -> list[float | None] | None:
    if weights is None:
        return None
    return [None if weight is None else float(weight) for weight in weights]
