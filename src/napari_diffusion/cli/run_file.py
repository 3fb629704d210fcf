"""The command ``run``: read a file, filter it, write the result."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from napari_diffusion import io
from napari_diffusion.cli.auto import choose_parameters
from napari_diffusion.cli.axes import axis_request
from napari_diffusion.cli.options import (
    converted,
    file_options_of,
    preset_of,
    recipe_from_options,
)
from napari_diffusion.cli.signals import Stop
from napari_diffusion.cli.streams import WRITE_ERRORS, is_terminal, say, show
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io.axes import resolve_axes
from napari_diffusion.workflows.file_run import FileRun
from napari_diffusion.workflows.recipe_axes import (
    axes_from_recipe,
    check_recipe,
    describe_file_run,
)

#: Number of steps of the progress bar.
_BAR_STEPS = 1000


def run_file(source: Path, target: Path, options: dict[str, Any], stop: Stop | None = None) -> None:
    """Filter a file and write the result.

    Parameters
    ----------
    source, target
        Path of the image, and path of the result.
    options
        Options of the command ``run`` by name; absent ones have their defaults.
    stop
        Signal handler of the program.
    """
    stop = stop or Stop()
    quiet = bool(options.get("quiet"))
    target_format, _ = io.format_of(target)
    run, report = prepared(source, target, options, stop)
    volume = run.volume
    paragraphs = [report, describe_file_run(volume, run.assignment, run.recipe)]
    paragraphs += [run.plan.describe(), *(f"Note: {note}" for note in run.notes)]
    message = "\n".join(text for text in paragraphs if text)
    if options.get("dry_run"):
        show(message)
        return
    if not quiet:
        say(message)
        if target_format.name != volume.format and volume.header is not None:
            say(
                f"Note: {target.name} gets {target_format.keeps}; "
                f"other {volume.format} metadata stay behind."
            )
    started = time.monotonic()
    # The bar is for terminals only: a log file gets the lines before and after.
    bar = Progress(run.recipe.model.title, shown=not quiet and is_terminal())
    with stop.waiting(), bar as progress:
        state = run.last_state(progress, stop.event)
    written = run.write(state.image, stop.committing())
    if not quiet:
        seconds = time.monotonic() - started
        sentence = f"Wrote {' and '.join(map(str, written))} after {seconds:.1f} s."
        say(" ".join([sentence, *run.notes_after(state)]))


def prepared(
    source: Path, target: Path, options: dict[str, Any], stop: Stop
) -> tuple[FileRun, str]:
    """Read a file and prepare its run.

    Parameters
    ----------
    source, target, options, stop
        As for `run_file`. The option ``chosen`` is a recipe as JSON, the choice for several files.

    Returns
    -------
    run : FileRun
        The checked run.
    report : str
        Report of the choice of parameters; empty without ``--auto``.
    """
    chosen = options.get("chosen")
    make_recipe, request = recipe_from_options(options), axis_request(options)
    if chosen is not None:
        make_recipe = Recipe.from_json(chosen).in_unit
    volume = io.read(source)
    if options.get("recipe") is not None:
        request = axes_from_recipe(Recipe.load(options["recipe"]), volume, request)
    assignment = resolve_axes(volume, request)
    recipe = make_recipe(assignment.unit)
    file_options = file_options_of(options)
    is_guided = file_options.guide is not None
    check_recipe(recipe, assignment, request, bool(file_options.region_files), is_guided)
    report, preset = "", preset_of(options)
    with stop.waiting():
        if preset is not None:
            recipe = converted(preset, volume, assignment, recipe, options, stop.event)
        if options.get("auto") and chosen is None:
            domain, _ = file_options.domain(volume, assignment)
            recipe, report = choose_parameters(
                volume, assignment, recipe, domain, options, stop.event
            )
        return FileRun.make(volume, assignment, recipe, target, file_options), report


class Progress:
    """A progress bar with the remaining time; it may be hidden, or its terminal may go away."""

    def __init__(self, label: str, shown: bool) -> None:
        bar = click.progressbar(length=_BAR_STEPS, label=label, file=sys.stderr, show_eta=True)
        self._bar = bar if shown else None

    def __enter__(self) -> Callable[[float], None]:
        if self._bar is not None:
            with suppress(*WRITE_ERRORS):
                self._bar.__enter__()
        return self._report

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            with suppress(*WRITE_ERRORS):
                self._bar.__exit__(*error)

    def _report(self, fraction: float) -> None:
        if self._bar is not None:
            with suppress(*WRITE_ERRORS):
                self._bar.update(round(fraction * _BAR_STEPS) - self._bar.pos)
