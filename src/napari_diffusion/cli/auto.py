"""``--auto``: choice of parameters, time and model from one file or from several files together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from napari_diffusion import io
from napari_diffusion.cli.axes import axis_request
from napari_diffusion.cli.options import TIMES, declared, is_steady
from napari_diffusion.core import units
from napari_diffusion.core.axes.names import time_axes
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.gaussian import FWHM, equivalent_sigma
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.engine.recipe_fields import transform_numbers
from napari_diffusion.estimation.measurement.noise import NoNoiseError
from napari_diffusion.estimation.measurement.photons import with_transform
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.selection import suggest_for
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment, resolve_axes
from napari_diffusion.io.ome_zarr import is_store
from napari_diffusion.io.regions import read_guide, read_regions
from napari_diffusion.workflows.file_run import files_of, one_of_each_set

_NO_NOISE = (
    "The image has no measurable noise, as it is constant or already smooth; "
    "give --model, its options and --time instead of --auto."
)


def choose_parameters(
    volume: Volume,
    assignment: AxisAssignment,
    recipe: Recipe,
    domain: Domain,
    options: dict[str, Any],
    cancel: CancelEvent | None = None,
) -> tuple[Recipe, str]:
    """Choose the parts of a recipe that the command line does not give.

    Parameters
    ----------
    volume, assignment
        The volume to filter, and the roles of its axes.
    recipe
        Recipe from the command line. Given parameters and a given time are kept; the other
        parameters are chosen for that time.
    domain
        Mask, labels and guide.
    options
        Options of the command ``run`` by name.
    cancel
        The choice ends with `Cancelled` when this event is set.

    Returns
    -------
    recipe : Recipe
        The complete recipe.
    report : str
        Report of the choice.
    """
    time_given = any(options.get(name) is not None for name in TIMES)
    fixed_fwhm, to_steady_state = None, is_steady(options)
    if time_given and recipe.time > 0 and not to_steady_state:
        fixed_fwhm = FWHM * equivalent_sigma(recipe.time)
    problem = make_problem(volume.data, _measured(recipe), assignment.geometry, domain)
    problems = [problem, *_shared(volume.path, assignment, recipe, options)]
    if recipe.transform != "none":
        numbers = {name: options.get(name) for name in transform_numbers()}
        given = {name: value for name, value in numbers.items() if value is not None}
        problems = with_transform(problems, given, time_axes(assignment.letters), cancel)
    region = None
    if options.get("noise_region") is not None:
        region = read_regions("noise region", options["noise_region"], volume, assignment)
    try:
        suggestion = suggest_for(
            problems,
            "auto" if options.get("model") is None else recipe.model,
            SuggestionOptions(
                noise=options.get("noise"),
                fwhm=fixed_fwhm,
                noise_reduction=options.get("noise_reduction"),
                fixed=[name for name in declared() if options.get(name) is not None],
                unit=units.symbol(assignment.unit),
                time_axes=time_axes(assignment.letters),
                aim=options.get("aim") or "error",
                strength=options.get("strength") or 0.0,
                noise_region=None if region is None else region.values,
                steady_time=recipe.time if to_steady_state else None,
            ),
            cancel,
        )
    except NoNoiseError as error:
        message = _NO_NOISE if region is None else str(error)
        raise click.UsageError(message) from None
    time = recipe.time if time_given or to_steady_state else suggestion.time
    notes = () if region is None else region.notes
    report = "\n".join([suggestion.report, *(f"Note: {note}" for note in notes)])
    return replace(recipe, model=suggestion.model, time=time, **suggestion.options), report


def _measured(recipe: Recipe) -> Recipe:
    """Return a recipe for a measurement, which leaves out values that are not finite."""
    return replace(recipe, nan="mask")


def _shared(
    source: Path | None, assignment: AxisAssignment, recipe: Recipe, options: dict[str, Any]
) -> Iterator[Problem]:
    """Yield the problems of the images of ``--share``."""
    request = replace(axis_request(options), unit=assignment.unit)
    for path in _image_files(options.get("share") or ()):
        if source is not None and path.samefile(source):
            continue  # it is the file to filter, which counts once
        volume = io.read(path)
        # Voxel sizes are converted to the unit of the first file; --spacing holds for all files.
        own = resolve_axes(volume, request)
        same_coupling = (own.channel_axis is None) == (assignment.channel_axis is None)
        if len(own.axes) != len(assignment.axes) or not same_coupling:
            raise click.UsageError(
                f"{path} has other axes than the file to filter; "
                "--share needs images of the same kind."
            )
        guide = options.get("guide")
        domain = Domain(guide=None if guide is None else read_guide(guide, volume, own).values)
        yield make_problem(volume.data, _measured(recipe), own.geometry, domain)


def _image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files among the paths, with each folder replaced by its images.

    Results in a folder, which have a recipe beside them, are no evidence of the noise.
    """
    files: list[Path] = []
    for path in paths:
        images = files_of(path) if path.is_dir() and not is_store(path) else [path]
        files += [image for image in images if image == path or not io.sidecar_of(image).exists()]
    if paths and not files:
        raise click.UsageError(f"--share {paths[0]}: there is no image to read in that folder.")
    return one_of_each_set(files)
