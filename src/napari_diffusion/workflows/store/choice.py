"""Whether a run on a file is done in memory or in blocks."""

from __future__ import annotations

from pathlib import Path

from napari_diffusion import io
from napari_diffusion.core.arrays import Array
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.planner import make_plan
from napari_diffusion.engine.problem import unread_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment
from napari_diffusion.io.volume import no_values
from napari_diffusion.workflows.file_run import FileOptions
from napari_diffusion.workflows.store.options import StoreOptions
from napari_diffusion.workflows.store.work_folder import WorkFolder


def writes_store(target: Path) -> bool:
    """Whether a result of this name can be written in blocks."""
    file_format, suffix = io.format_of(target)
    is_compressed = suffix.endswith(io.COMPRESSED)
    return file_format.writes_folder or (file_format.lay_out is not None and not is_compressed)


def runs_in_blocks(
    volume: Volume,
    assignment: AxisAssignment,
    recipe: Recipe,
    target: Path,
    options: FileOptions,
    store_options: StoreOptions,
) -> bool:
    """Whether a run is done in blocks.

    It is if its target can be written in blocks, and if it needs more memory than the budget, is
    shared by several jobs or other processes, or was begun in blocks.
    """
    if not writes_store(target):
        return False
    shared = store_options.part is not None or store_options.executor is not None
    is_begun = WorkFolder.of(target).settings() is not None
    needed = memory_of(volume, assignment, recipe, options)
    return shared or is_begun or needed > store_options.budget


def memory_of(
    volume: Volume, assignment: AxisAssignment, recipe: Recipe, options: FileOptions
) -> int:
    """Return the predicted peak of a run in memory [bytes], whose values are not read."""
    space = tuple(volume.shape[i] for i in sorted(assignment.axes))
    regions: Array | None = no_values(space, bool) if options.region_files else None
    guide = None if options.guide is None else no_values(space, volume.data.dtype)
    domain = Domain(mask=regions, guide=guide)
    problem = unread_problem(volume.data, recipe, assignment.geometry, domain)
    return make_plan(problem, options.execution).memory
