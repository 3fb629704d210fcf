"""``--auto``: parameters, time and, where none is named, the model, from this file or from several together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from napari_diffusion import io
from napari_diffusion.cli.options import TIMES, declared
from napari_diffusion.core import units
from napari_diffusion.core.gaussian import FWHM, equivalent_sigma
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.problem import Problem, make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.suggestion import suggest_for
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment, resolve_axes
from napari_diffusion.io.regions import read_regions
from napari_diffusion.workflows.file_run import files_of


def choose_parameters(
    volume: Volume, assignment: AxisAssignment, recipe: Recipe, options: dict[str, Any]
) -> tuple[Recipe, str]:
    """Return the recipe with what is chosen put in, and the report.

    What is given stays as it is: parameters, and the time, which is then the one that the others are chosen for.
    """
    given = any(options.get(name) is not None for name in TIMES)
    walls = {
        name: read_regions(name, options[name], assignment.letters)
        for name in ("mask", "labels")
        if options.get(name) is not None
    }
    geometry = Geometry(assignment.spacing, assignment.axes, assignment.channel_axis)
    domain = Domain(**walls, nan="mask")
    problems = [make_problem(volume.data, geometry, domain), *_others(assignment, options)]
    found = suggest_for(
        problems,
        "auto" if options.get("model") is None else recipe.model,
        SuggestionOptions(
            noise=options.get("noise"),
            fwhm=FWHM * equivalent_sigma(recipe.time) if given and recipe.time > 0 else None,
            noise_reduction=options.get("noise_reduction"),
            fixed=[name for name in declared() if options.get(name) is not None],
            unit=units.symbol(assignment.unit),
        ),
    )
    return replace(
        recipe, model=found.model, time=recipe.time if given else found.time
    ), found.report


def _others(assignment: AxisAssignment, options: dict[str, Any]) -> Iterator[Problem]:
    for path in _files(options.get("share") or ()):
        volume = io.read(path)
        # A size in another unit is converted; one that the file does not have is that of the first.
        own = resolve_axes(volume, options | {"unit": assignment.unit})
        if len(own.axes) != len(assignment.axes) or (own.channel_axis is None) != (
            assignment.channel_axis is None
        ):
            raise click.UsageError(
                f"{path} has other axes than the file to filter; --share needs images of the same kind."
            )
        geometry = Geometry(own.spacing, own.axes, own.channel_axis)
        yield make_problem(volume.data, geometry, Domain(nan="mask"))


def _files(named: Sequence[Path]) -> list[Path]:
    """Return the files, and in place of a folder all that it holds and that can be read, in order of their names."""
    found: list[Path] = []
    for path in named:
        found += files_of(path) if path.is_dir() else [path]
    if named and not found:
        raise click.UsageError(f"--share {named[0]}: there is no image to read in that folder.")
    return found
