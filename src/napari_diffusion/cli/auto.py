"""``--auto``: parameters, time and, where none is named, the model, from this file or from several together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from napari_diffusion import io
from napari_diffusion.cli.options import TIMES, declared
from napari_diffusion.engine.files import files_of
from napari_diffusion.engine.job import Job, make_job
from napari_diffusion.engine.layout import Layout, regions, settle
from napari_diffusion.engine.recipe import Recipe, equivalent_sigma
from napari_diffusion.engine.suggest import FWHM, suggest_for
from napari_diffusion.io import Volume, units


def choose(volume: Volume, layout: Layout, recipe: Recipe, options: dict[str, Any]) -> tuple[Recipe, str]:
    """Return the recipe with what is chosen put in, and the report.

    What is given stays as it is: parameters, and the time, which is then the one that the others are chosen for.
    """
    given = any(options.get(name) is not None for name in TIMES)
    walls = {name: regions(name, options[name], layout.letters) for name in ("mask", "labels") if options.get(name) is not None}
    own = (layout.spacing, layout.axes, layout.channel_axis, walls.get("mask"), walls.get("labels"))
    jobs = [make_job(volume.data, *own, "mask", False, None), *_others(layout, options)]
    found = suggest_for(
        jobs,
        "auto" if options.get("model") is None else recipe.model,
        noise=options.get("noise"),
        fwhm=FWHM * equivalent_sigma(recipe.time) if given and recipe.time > 0 else None,
        noise_reduction=options.get("noise_reduction"),
        fixed=[name for name in declared() if options.get(name) is not None],
        unit=units.symbol(layout.unit),
    )
    return replace(recipe, model=found.model, time=recipe.time if given else found.time), found.report


def _others(layout: Layout, options: dict[str, Any]) -> Iterator[Job]:
    for path in _files(options.get("share") or ()):
        volume = io.read(path)
        # A size in another unit is converted; one that the file does not have is that of the first.
        own = settle(volume, options | {"unit": layout.unit})
        if len(own.axes) != len(layout.axes) or (own.channel_axis is None) != (layout.channel_axis is None):
            raise click.UsageError(f"{path} has other axes than the file to filter; --share needs images of the same kind.")
        yield make_job(volume.data, own.spacing, own.axes, own.channel_axis, None, None, "mask", False, None)


def _files(named: Sequence[Path]) -> list[Path]:
    """Return the files, and in place of a folder all that it holds and that can be read, in order of their names."""
    found: list[Path] = []
    for path in named:
        found += files_of(path) if path.is_dir() else [path]
    if named and not found:
        raise click.UsageError(f"--share {named[0]}: there is no image to read in that folder.")
    return found
