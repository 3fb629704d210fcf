"""The command ``run``: read a file, filter it, write the result."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
from napari_diffusion.core.errors import MissingLibraryError
from napari_diffusion.core.resources import bytes_of
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment, resolve_axes
from napari_diffusion.workflows.file_run import FileRun
from napari_diffusion.workflows.outputs import check_limit
from napari_diffusion.workflows.recipe_axes import (
    axes_from_recipe,
    check_recipe,
    describe_file_run,
)
from napari_diffusion.workflows.store.choice import runs_in_blocks
from napari_diffusion.workflows.store.collection import CollectionRun, members_of_store
from napari_diffusion.workflows.store.options import StoreOptions
from napari_diffusion.workflows.store.run import StoreRun

#: Images of a plate that are measured for ``--auto``.
SHARED_IMAGES = 16
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
    with executor_of_options(options) as executor:
        store_options = store_options_of(options, executor)
        run, report = prepared_store(source, target, options, stop, store_options)
        message = _message(run, report)
        if options.get("dry_run"):
            show(message)
            return
        if not quiet:
            say(message)
            if target_format.name != run.volume.format and run.volume.header is not None:
                say(
                    f"Note: {target.name} gets {target_format.keeps}; "
                    f"other {run.volume.format} metadata stay behind."
                )
        _execute(run, stop, quiet)


def _message(run: FileRun | StoreRun | CollectionRun, report: str) -> str:
    """Return image, recipe, plan and notes of a run."""
    paragraphs = [report, describe_file_run(run.volume, run.assignment, run.recipe)]
    paragraphs.append(run.plan.describe() if isinstance(run, FileRun) else run.describe())
    paragraphs += [f"Note: {note}" for note in run.notes]
    return "\n".join(text for text in paragraphs if text)


def _execute(run: FileRun | StoreRun | CollectionRun, stop: Stop, quiet: bool) -> None:
    """Do a run and say what was written."""
    started, notes = time.monotonic(), tuple[str, ...]()
    # The bar is for terminals only: a log file gets the lines before and after.
    bar = Progress(run.recipe.model.title, shown=not quiet and is_terminal())
    if isinstance(run, FileRun):
        with stop.waiting(), bar as progress:
            state = run.last_state(progress, stop.event)
        written, notes = run.write(state, stop.committing()), run.notes_after(state)
    else:
        stop.left = "the blocks that are done are kept, and the same command continues"
        with stop.waiting(), bar as progress:
            is_complete = run.compute(progress, stop.event)
        written = run.finish(stop.committing()) if is_complete else ()
    if quiet:
        return
    seconds = time.monotonic() - started
    if written:
        sentence = f"Wrote {' and '.join(map(str, written))} after {seconds:.1f} s."
        say(" ".join([sentence, *notes]))
    else:
        say(f"This part is done after {seconds:.1f} s.")


def prepared(
    source: Path, target: Path, options: dict[str, Any], stop: Stop
) -> tuple[FileRun, str]:
    """Read a file and prepare its run in memory.

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
    volume = io.read(source)
    assignment, recipe, report = _on_image(volume, options, stop)
    return FileRun.make(volume, assignment, recipe, target, file_options_of(options)), report


def prepared_store(
    source: Path, target: Path, options: dict[str, Any], stop: Stop, store: StoreOptions
) -> tuple[FileRun | StoreRun | CollectionRun, str]:
    """Read a file and prepare its run, in memory or in blocks; as `prepared`.

    Parameters
    ----------
    source, target, options, stop
        As for `prepared`. The source may also be a plate or a set of positions.
    store
        How a run in blocks is done.
    """
    files = file_options_of(options)
    if members_of_store(source):
        return _prepared_collection(source, target, options, stop, store)
    volume = io.read(source)
    assignment, recipe, report = _on_image(volume, options, stop)
    arguments = volume, assignment, recipe, target, files
    if runs_in_blocks(*arguments, store):
        return StoreRun.make(*arguments, store), report
    run = FileRun.make(*arguments)
    check_limit(run.plan.memory, store.memory)
    return run, report


def _prepared_collection(
    source: Path, target: Path, options: dict[str, Any], stop: Stop, store: StoreOptions
) -> tuple[CollectionRun, str]:
    """Prepare the run on all images of a store; ``--auto`` chooses once, from some of them."""
    report = ""
    if options.get("auto") and options.get("chosen") is None:
        paths = [source / image for image in members_of_store(source)]
        step = -(-len(paths) // SHARED_IMAGES)
        options = options | {"share": [*(options.get("share") or ()), *paths[::step]]}
        _, chosen, report = _on_image(io.read(paths[0]), options, stop)
        options = options | {"chosen": chosen.to_json()}

    def prepare(volume: Volume) -> tuple[AxisAssignment, Recipe]:
        return _on_image(volume, options, stop)[:2]

    files = file_options_of(options)
    return CollectionRun.make(source, target, prepare, files, store), report


def _on_image(
    volume: Volume, options: dict[str, Any], stop: Stop
) -> tuple[AxisAssignment, Recipe, str]:
    """Return the roles of the axes of an image, its recipe, and the report of ``--auto``."""
    chosen = options.get("chosen")
    make_recipe, request = recipe_from_options(options), axis_request(options)
    if chosen is not None:
        make_recipe = Recipe.from_json(chosen).in_unit
    if options.get("recipe") is not None:
        request = axes_from_recipe(Recipe.load(options["recipe"]), volume, request)
    assignment = resolve_axes(volume, request)
    recipe = make_recipe(assignment.unit)
    files = file_options_of(options)
    check_recipe(recipe, assignment, request, bool(files.region_files), files.guide is not None)
    report, preset = "", preset_of(options)
    with stop.waiting():
        if preset is not None:
            recipe = converted(preset, volume, assignment, recipe, options, stop.event)
        if options.get("auto") and chosen is None:
            domain, _ = files.domain(volume, assignment)
            recipe, report = choose_parameters(
                volume, assignment, recipe, domain, options, stop.event
            )
    return assignment, recipe, report


def store_options_of(options: dict[str, Any], executor: Any) -> StoreOptions:
    """Return how a run in blocks is done, from the options of the command ``run``."""
    memory, part = options.get("memory"), options.get("part")
    return StoreOptions(
        memory=None if memory is None else bytes_of(memory),
        executor=executor,
        workers=options.get("processes"),
        resume=not options.get("restart"),
        part=None if part is None else _part(part),
    )


def _part(text: str) -> tuple[int, int]:
    """Return the number of a part and of all parts from a text such as ``3/20``."""
    number, _, count = text.partition("/")
    if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise click.UsageError(f"--part must be such as 3/20, from 1/20 to 20/20, got {text!r}.")


@contextmanager
def executor_of_options(options: dict[str, Any]) -> Iterator[Any]:
    """Yield the executor of a run in blocks; ``None`` for threads."""
    address = options.get("scheduler")
    if address is None:
        yield "processes" if options.get("processes") is not None else None
        return
    try:
        from distributed import Client
    except ImportError:
        raise MissingLibraryError(
            'A cluster needs the library distributed: pip install "napari-diffusion[cluster]".'
        ) from None
    with Client(address) as client:  # type: ignore[no-untyped-call]
        yield client.get_executor(pure=False, retries=2)


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
