"""From a file to a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from napari_diffusion import io
from napari_diffusion.cli.auto import choose_parameters
from napari_diffusion.cli.options import recipe_from_options
from napari_diffusion.cli.signals import Stop
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io.axes import resolve_axes
from napari_diffusion.workflows.file_run import FileRun
from napari_diffusion.workflows.recipe_axes import axes_from_recipe, check_recipe, describe

_TICKS = 1000


def run_file(source: Path, target: Path, options: dict[str, Any], stop: Stop | None = None) -> None:
    """Filter a file; ``options`` are those of ``run`` by name, and those that are absent have their defaults."""
    stop = stop or Stop()
    quiet = bool(options.get("quiet"))
    kind, _ = io.format_of(target)
    asked = recipe_from_options(options)
    volume = io.read(source)
    if options.get("recipe") is not None:
        options = axes_from_recipe(Recipe.load(options["recipe"]), volume, options)
    assignment = resolve_axes(volume, options)
    recipe = asked(assignment.unit)
    check_recipe(recipe, assignment, options)
    with stop.waiting():
        recipe, chosen = (
            choose_parameters(volume, assignment, recipe, options)
            if options.get("auto")
            else (recipe, "")
        )
        run = FileRun.make(volume, assignment, recipe, target, options)
    told = "\n".join(
        text
        for text in (chosen, describe(volume, assignment, run.recipe), run.plan.describe())
        if text
    )
    if options.get("dry_run"):
        click.echo(told)
        return
    if not quiet:
        click.echo(told, err=True)
        if kind.name != volume.format and volume.header is not None:
            click.echo(
                f"Note: {target.name} gets {kind.keeps}; other {volume.format} metadata stay behind.",
                err=True,
            )
    started = time.monotonic()
    # A log file is no place for a bar: it gets the lines before and after.
    with (
        stop.waiting(),
        _Progress(recipe.model.title, shown=not quiet and sys.stderr.isatty()) as report,
    ):
        result = run.filtered(report, stop.event)
    written = run.write(result)
    if not quiet:
        click.echo(
            f"Wrote {' and '.join(map(str, written))} after {time.monotonic() - started:.1f} s.",
            err=True,
        )


class _Progress:
    """A progress bar with the time left, or nothing."""

    def __init__(self, label: str, shown: bool) -> None:
        self._bar = (
            click.progressbar(length=_TICKS, label=label, file=sys.stderr, show_eta=True)
            if shown
            else None
        )

    def __enter__(self) -> Callable[[float], None]:
        if self._bar is not None:
            self._bar.__enter__()
        return self._report

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)

    def _report(self, fraction: float) -> None:
        if self._bar is not None:
            self._bar.update(round(fraction * _TICKS) - self._bar.pos)
