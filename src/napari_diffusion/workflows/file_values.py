"""Values for a run on files: those of the recipe, suggested for each file, or once for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from napari_diffusion import io
from napari_diffusion.core import units
from napari_diffusion.core.axes.names import time_axes
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.errors import DescribedError
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.selection import suggest_for
from napari_diffusion.io.axes import AxisRequest, resolve_axes
from napari_diffusion.workflows.file_run import FileRun
from napari_diffusion.workflows.recipe_axes import axes_from_recipe

#: Maximum number of files that are measured together.
MAX_SHARED = 5

#: Returns the recipe of a file: that of its run with other values.
ChooseValues = Callable[[FileRun, CancelEvent | None], Recipe]


def with_values(recipe: Recipe, values: Recipe) -> Recipe:
    """Return a recipe with the model and the diffusion time of another one, in its own unit.

    Raises
    ------
    ValueError
        When one recipe is in pixel and the other in a unit of length.
    """
    converted = values.in_unit(recipe.unit)
    return replace(recipe, model=converted.model, time=converted.time)


def suggested_values(
    problems: Sequence[Problem],
    recipe: Recipe,
    options: SuggestionOptions,
    cancel: CancelEvent | None = None,
    automatic: bool = False,
) -> Recipe:
    """Return a recipe with the values that `suggest` chooses for all problems together.

    Parameters
    ----------
    problems
        The images, with voxel sizes in the unit of the recipe.
    recipe
        The model, and its parameters that are not suggested.
    options
        Options of the suggestion; its unit is that of the recipe.
    cancel
        The choice ends with `Cancelled` when this event is set.
    automatic
        Whether the model is chosen, too.
    """
    measured = [replace(p, recipe=replace(p.recipe, nan="mask")) for p in problems]
    own = replace(options, unit=units.symbol(recipe.unit))
    if recipe.steady_time is not None:
        own = replace(own, steady_time=recipe.steady_time, strength=0.0, noise_reduction=None)
    model = "auto" if automatic else recipe.model
    suggestion = suggest_for(measured, model, own, cancel)
    return replace(recipe, model=suggestion.model, time=suggestion.time)


def suggested_for_each(options: SuggestionOptions, automatic: bool = False) -> ChooseValues:
    """Return the choice of values, and of the model if ``automatic``, for each file by itself."""

    def choose(file_run: FileRun, cancel: CancelEvent | None) -> Recipe:
        own = replace(options, time_axes=time_axes(file_run.assignment.letters))
        return suggested_values([file_run.problem], file_run.recipe, own, cancel, automatic)

    return choose


def suggested_once(
    sources: Sequence[Path], options: SuggestionOptions, automatic: bool = False
) -> ChooseValues:
    """Return the choice of the same values for all files, made when the first file is filtered.

    At most `MAX_SHARED` files are measured, at equal distances in the list. Files that cannot be
    read, or that have other axes, are left out.
    """
    count = min(MAX_SHARED, len(sources))
    measured = [sources[int((k + 0.5) * len(sources) / count)] for k in range(count)]
    shared: list[Recipe] = []

    def choose(file_run: FileRun, cancel: CancelEvent | None) -> Recipe:
        if not shared:
            problems = [file_run.problem, *_problems_like(measured, file_run)]
            own = replace(options, time_axes=time_axes(file_run.assignment.letters))
            shared.append(suggested_values(problems, file_run.recipe, own, cancel, automatic))
        return with_values(file_run.recipe, shared[0])

    return choose


def _problems_like(sources: Sequence[Path], file_run: FileRun) -> Iterator[Problem]:
    """Yield the problems of other files, in the unit of a run on one of the files."""
    for source in sources:
        if file_run.volume.path is not None and source.samefile(file_run.volume.path):
            continue
        problem = _problem_like(source, file_run)
        if problem is not None:
            yield problem


def _problem_like(source: Path, file_run: FileRun) -> Problem | None:
    """Return the problem of another file in the unit of a run; None where it is of another kind."""
    recipe = file_run.recipe
    try:
        volume = io.read(source)
        request = axes_from_recipe(recipe, volume, AxisRequest(unit=recipe.unit))
        own = resolve_axes(volume, request)
        problem = make_problem(volume.data, recipe, own.geometry)
    except (DescribedError, TypeError, ValueError, OSError, MemoryError, io.MissingLibraryError):
        return None
    first = file_run.problem
    is_alike = len(problem.axes) == len(first.axes) and problem.channels == first.channels
    return problem if is_alike else None
