"""Filtering of a file by a recipe: checks before the run, atomic writing of the result."""

from __future__ import annotations

import math
import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any, Self

import numpy as np

from napari_diffusion import io
from napari_diffusion.core import dtypes
from napari_diffusion.core.arrays import Image
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.errors import InputError, Remedy, WriteError, reason_of
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.in_memory import State, run_to_end
from napari_diffusion.engine.memory import check_memory
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment, AxisRequest, apply_axes, resolve_axes
from napari_diffusion.io.regions import read_guide, read_regions
from napari_diffusion.io.volume import UNKNOWN_AXES
from napari_diffusion.workflows.outputs import check_limit, impulse_note
from napari_diffusion.workflows.recipe_axes import axes_from_recipe, check_recipe

#: Number of samples whose values decide between possible orders of axes.
COMPARED_SAMPLES = 100_000


@dataclass(frozen=True)
class FileOptions:
    """Options of a run on a file, besides its recipe.

    Attributes
    ----------
    mask, labels
        Files of the regions, or ``None``.
    guide
        File of the guide, or ``None``.
    execution
        Threads and backend.
    overwrite
        Whether an existing file is replaced.
    """

    mask: Path | None = None
    labels: Path | None = None
    guide: Path | None = None
    execution: Execution = field(default_factory=Execution)
    overwrite: bool = False

    @property
    def region_files(self) -> dict[str, Path]:
        """The files of labels and mask, by these names."""
        files = {"labels": self.labels, "mask": self.mask}
        return {name: path for name, path in files.items() if path is not None}

    def domain(self, volume: Volume, assignment: AxisAssignment) -> tuple[Domain, tuple[str, ...]]:
        """Read regions and guide of an image, and what was done to them, as sentences."""
        regions = {
            name: read_regions(name, path, volume, assignment)
            for name, path in self.region_files.items()
        }
        mask, labels = (
            regions[name].values if name in regions else None for name in ("mask", "labels")
        )
        parts, guide = [*regions.values()], None
        if self.guide is not None:
            parts.append(read_guide(self.guide, volume, assignment))
            guide = parts[-1].values
        notes = tuple(note for each in parts for note in each.notes)
        return Domain(mask, labels, guide=guide), notes


@dataclass(frozen=True)
class FileRun:
    """A checked run on a file.

    Attributes
    ----------
    volume, assignment
        The volume that was read, and the roles of its axes.
    recipe
        The recipe in the unit of ``assignment``, with its axes and voxel size.
    problem, plan
        The run and its plan.
    target, options
        Path of the result, and the options of the run.
    notes
        Sentences for the user: what was assumed about the files, and what was done to them.
    """

    volume: Volume
    assignment: AxisAssignment
    recipe: Recipe
    problem: Problem
    plan: Plan
    target: Path
    options: FileOptions
    notes: tuple[str, ...] = ()

    @classmethod
    def make(
        cls,
        volume: Volume,
        assignment: AxisAssignment,
        recipe: Recipe,
        target: Path,
        options: FileOptions,
    ) -> Self:
        """Prepare a run and check everything that can be checked before it starts.

        Parameters
        ----------
        volume, assignment
            The volume that was read, and the roles of its axes.
        recipe
            Recipe in the unit of ``assignment``.
        target
            Path of the result.
        options
            Regions, execution, and whether to overwrite.

        Raises
        ------
        ValueError, TypeError, OSError, WriteError, NotEnoughMemory
            When the run would fail.
        """
        recipe = recipe_on_file(recipe, assignment, options)
        dtype = dtypes.result_dtype(volume.data.dtype, recipe.preserve_dtype)
        io.check_target(
            target,
            volume,
            dtype,
            recipe,
            overwrite=options.overwrite,
            preserve_dtype=recipe.preserve_dtype,
        )
        domain, region_notes = options.domain(volume, assignment)
        problem = make_problem(volume.data, recipe, assignment.geometry, domain)
        plan = make_plan(problem, options.execution)
        check_memory(problem, plan.memory)
        notes = (*volume.notes, *assignment.notes, *region_notes, *recipe.remarks)
        return cls(volume, assignment, recipe, problem, plan, target, options, notes)

    def with_recipe(self, recipe: Recipe) -> FileRun:
        """Return the run with another recipe, in the same unit; errors as those of `make`."""
        return FileRun.make(self.volume, self.assignment, recipe, self.target, self.options)

    def last_state(
        self, progress: Callable[[float], object] | None = None, cancel: CancelEvent | None = None
    ) -> State:
        """Run and return the last state, which holds the result."""
        return run_to_end(self.problem, self.options.execution, progress, cancel, self.plan)

    def notes_after(self, state: State) -> tuple[str, ...]:
        """Return sentences on a finished run: how many hot and dead voxels were replaced."""
        note = impulse_note(state.replaced, math.prod(self.problem.shape))
        return (note,) if note else ()

    def write(
        self, state: State, commit: AbstractContextManager[object] | None = None
    ) -> tuple[Path, ...]:
        """Write the result and return the files that were written.

        Parameters
        ----------
        state
            The last state. Its devices are recorded in the recipe of the result.
        commit
            Context in which the files get their final names; it may defer signals.

        Raises
        ------
        WriteError
            When the target cannot be written any more, for example because the disk is full. There
            is no new target then, and the error says where else the result was saved.
        """
        run, result = replace(self, recipe=self.recipe.on_devices(state.devices)), state.image
        try:
            overwrite = self.options.overwrite
            return run._write_to(
                self.target, result, overwrite=overwrite, commit=commit, checked=True
            )
        except Exception as error:  # a writer may raise anything; only this has the result
            kept = run._save_elsewhere(result)
            if kept is None:
                raise
            place = f"{reason_of(error)}; the result was saved as {kept} instead"
            raise WriteError(place, path=self.target) from error

    def _write_to(
        self,
        target: Path,
        result: Image,
        *,
        overwrite: bool,
        commit: AbstractContextManager[object] | None = None,
        checked: bool = False,
    ) -> tuple[Path, ...]:
        return io.write(
            target,
            result,
            apply_axes(self.volume, self.assignment),
            self.recipe,
            overwrite=overwrite,
            preserve_dtype=self.recipe.preserve_dtype,
            commit=commit,
            checked=checked,
        )

    def _save_elsewhere(self, result: Image) -> Path | None:
        """Save a result that its target refuses; ``None`` if no other place takes it."""
        _, suffix = io.format_of(self.target)
        stem = self.target.name[: -len(suffix)]
        folders = (Path(tempfile.gettempdir()), Path.home())
        for folder, ending in product(folders, dict.fromkeys((suffix, ".npy"))):
            path = folder / f"{stem}-{secrets.token_hex(4)}{ending}"
            with suppress(Exception):  # the next place may take it
                written = self._write_to(path, result, overwrite=False)
                for each in written:  # the folder may be open to every user
                    each.chmod(0o600)
                return written[0]
        return None


def recipe_on_file(recipe: Recipe, assignment: AxisAssignment, options: FileOptions) -> Recipe:
    """Return a recipe with the record of a file: its axes, voxel size and regions."""
    return replace(
        recipe,
        axis_names=tuple(assignment.letters[i].lower() for i in assignment.axes),
        labels=" and ".join(_text(path.name) for path in options.region_files.values()) or None,
        guide=None if options.guide is None else _text(options.guide.name),
        spacing=assignment.spacing,
        axes=assignment.axes,
        channel_axis=assignment.channel_axis,
    )


class WrittenFiles(tuple[Path, ...]):
    """Paths of the files that were written.

    Attributes
    ----------
    notes
        `FileRun.notes` of the run that wrote them, and what it did.
    """

    notes: tuple[str, ...]

    def __new__(cls, paths: Sequence[Path], notes: tuple[str, ...]) -> Self:
        """Make the paths of one run."""
        written = super().__new__(cls, paths)
        written.notes = notes
        return written


def filter_file(
    source: Path,
    target: Path,
    recipe: Recipe,
    *,
    execution: Execution | None = None,
    overwrite: bool = False,
    limit: int | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
) -> WrittenFiles:
    """Filter a file by a recipe, in the physical units of the file.

    Axes are matched by name, in any order of the file. If the recipe has no axis names, the X, Y
    and Z axes of the file are smoothed. If the file has no axis names either, axes are matched by
    their number (see `axes_from_recipe`).

    Parameters
    ----------
    source, target
        Path of the image, and path of the result.
    recipe
        The recipe. It is converted to the unit of the file.
    execution
        Threads and backend.
    overwrite
        Replace an existing file.
    limit
        Largest memory of the run [bytes], ``None`` for no limit.
    progress
        Called with the completed share, from 0 to 1.
    cancel
        The run ends with `Cancelled` when this event is set.

    Returns
    -------
    WrittenFiles
        The files that were written, with the notes of the run.

    Raises
    ------
    ValueError, TypeError, MemoryError, OSError, WriteError, Cancelled
        When the file cannot be filtered. The target is not written then; a result that it refuses
        is saved elsewhere, and the `WriteError` says where.
    """
    options = FileOptions(execution=execution or Execution(), overwrite=overwrite)
    file_run = prepare_file(source, target, recipe, options)
    return run_file(file_run, limit=limit, progress=progress, cancel=cancel)


def prepare_file(source: Path, target: Path, recipe: Recipe, options: FileOptions) -> FileRun:
    """Read a file and prepare its run; parameters and errors are those of `filter_file`."""
    volume = io.read(source)
    request = axes_from_recipe(recipe, volume, AxisRequest())
    assignment = resolve_axes(volume, request)
    recipe = recipe.in_unit(assignment.unit)
    check_recipe(recipe, assignment, request, has_regions=False, is_guided=False)
    return FileRun.make(volume, assignment, recipe, target, options)


def run_file(
    file_run: FileRun,
    *,
    limit: int | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
) -> WrittenFiles:
    """Execute a prepared run and write its result; parameters are those of `filter_file`."""
    check_limit(file_run.plan.memory, limit)
    state = file_run.last_state(progress, cancel)
    notes = (*file_run.notes, *file_run.notes_after(state))
    return WrittenFiles(file_run.write(state), notes)


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder that have the suffix of an image, sorted; no hidden files.

    A set of files that is one image counts once, by its first file.
    """
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and _has_image_suffix(path)
    )
    return one_of_each_set(files)


def one_of_each_set(files: Sequence[Path]) -> list[Path]:
    """Return the files without those that belong to the same image as an earlier file."""
    kept, members = [], set[Path]()
    for path in files:
        if path.resolve() not in members:
            kept.append(path)
            members.update(member.resolve() for member in io.members_of(path))
    return kept


def targets_of(sources: Sequence[Path], folder: Path) -> list[Path]:
    """Return the path of the result of each file: its name in another folder.

    A format that is only read has results with another suffix.

    Raises
    ------
    InputError
        When a source, or another file of its set, is in that folder.
    """
    files = {file for source in sources for file in (source, *io.members_of(source))}
    if any(file.parent.resolve() == folder.resolve() for file in files):
        raise InputError(
            f"the results would replace the images in {folder}", Remedy.CHOOSE_ANOTHER_FOLDER
        )
    return [folder / io.result_name(source) for source in sources]


def _text(name: str) -> str:
    """Return the name of a file as text that every file can hold; other bytes are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def _has_image_suffix(path: Path) -> bool:
    try:
        io.format_of(path)
    except ValueError:
        return False
    return True


def axis_names_in_file(path: Path, image: Any) -> tuple[str, ...] | None:
    """Return the axis names in a file, for an array that was read from it with any axis order.

    If several axis orders of the file give the shape of the array, the first order that also gives
    its values is used.

    Parameters
    ----------
    path
        The file.
    image
        The array.

    Returns
    -------
    tuple of str or None
        One name per axis of the array: a letter, or the number of the axis in the file if it has no
        name. ``None`` when the file cannot be read or has another shape. Also ``None`` when several
        orders are possible, and none has the same values or the array is lazy.
    """
    try:
        volume = io.read(path)
    except (ValueError, OSError, MemoryError, io.MissingLibraryError):
        return None
    shape, file_shape = tuple(image.shape), volume.shape
    orders = [
        order
        for order in permutations(range(len(file_shape)))
        if tuple(file_shape[i] for i in order) == shape
    ]
    if len(orders) > 1 and isinstance(image, np.ndarray):
        per_axis = max(2, round(COMPARED_SAMPLES ** (1 / len(shape))))
        samples = tuple(slice(None, None, math.ceil(n / per_axis)) for n in shape)
        values = np.asarray(image[samples])
        orders = [
            order
            for order in orders
            if np.allclose(values, np.transpose(volume.data, order)[samples], equal_nan=True)
        ][:1]
    if len(orders) != 1:
        return None
    letters = volume.axes
    return tuple(
        letters[i] if letters.count(letters[i]) == 1 and letters[i] not in UNKNOWN_AXES else str(i)
        for i in orders[0]
    )
