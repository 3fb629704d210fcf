"""From a file to a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from napari_diffusion import grid, io
from napari_diffusion.cli.layout import as_settled, check_recipe, describe, regions, settle
from napari_diffusion.cli.options import TIMES, wanted
from napari_diffusion.engine.evolve import diffuse
from napari_diffusion.engine.plan import plan
from napari_diffusion.engine.suggest import suggest

_TICKS = 1000


def run_file(source: Path, target: Path, options: dict[str, Any]) -> None:
    """Filter a file; ``options`` are those of ``run`` by name, and those that are absent have their defaults."""
    quiet, overwrite = bool(options.get("quiet")), bool(options.get("overwrite"))
    kind, _ = io.format_of(target)
    asked = wanted(options)
    volume = io.read(source)
    layout = settle(volume, options)
    recipe = asked(layout.unit)
    check_recipe(recipe, layout, options)
    where: dict[str, Any] = {"spacing": layout.spacing, "axes": layout.axes, "channel_axis": layout.channel_axis}
    if options.get("auto"):
        model, duration = suggest(volume.data, recipe.model, **where)
        given = any(options.get(name) is not None for name in TIMES)
        recipe = replace(recipe, model=model, time=recipe.time if given else duration)
    recipe = replace(recipe, **where)
    preserve = recipe.preserve_dtype
    io.check_target(target, volume, grid.result_dtype(volume.data.dtype, preserve), overwrite=overwrite, preserve_dtype=preserve)
    keywords: dict[str, Any] = {name: getattr(recipe, name) for name in ("time", "scheme", "tolerance", "strict", "nan", "preserve_dtype")}
    keywords |= where | {"threads": options.get("threads")}
    keywords |= {name: regions(name, options[name], layout.letters) for name in ("mask", "labels") if options.get(name) is not None}
    planned = plan(volume.data, recipe.model, **keywords)
    if options.get("dry_run"):
        click.echo(f"{describe(volume, layout, recipe)}\n{planned.describe()}")
        return
    if not quiet:
        click.echo(f"{describe(volume, layout, recipe)}\n{planned.describe()}", err=True)
        if kind.name != volume.format and volume.header is not None:
            click.echo(f"Note: {target.name} gets {kind.keeps}; other {volume.format} metadata stay behind.", err=True)
    started = time.monotonic()
    # A log file is no place for a bar: it gets the lines before and after.
    with _Progress(recipe.model.title, shown=not quiet and sys.stderr.isatty()) as report:
        result = diffuse(volume.data, recipe.model, progress=report, **keywords)
    written = io.write(target, result, as_settled(volume, layout), recipe, overwrite=overwrite, preserve_dtype=preserve)
    if not quiet:
        click.echo(f"Wrote {' and '.join(map(str, written))} after {time.monotonic() - started:.1f} s.", err=True)


class _Progress:
    """A progress bar with the time left, or nothing."""

    def __init__(self, label: str, shown: bool) -> None:
        self._bar = click.progressbar(length=_TICKS, label=label, file=sys.stderr, show_eta=True) if shown else None

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
