"""The command ``batch``: the options of ``run`` for many files."""

from __future__ import annotations

import glob
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from napari_diffusion import io
from napari_diffusion.cli.auto import choose_parameters
from napari_diffusion.cli.axes import axis_request
from napari_diffusion.cli.messages import code_and_message
from napari_diffusion.cli.options import file_options_of, recipe_from_options
from napari_diffusion.cli.run_file import Progress, prepared
from napari_diffusion.cli.signals import Stop
from napari_diffusion.cli.streams import is_terminal, say
from napari_diffusion.core.cancellation import CancelEvent, Cancelled
from napari_diffusion.core.errors import InputError, NotEnoughMemory, Remedy, TargetExists
from napari_diffusion.core.parameters import parameters
from napari_diffusion.core.resources import cpu_count
from napari_diffusion.engine.recipe_fields import package_version
from napari_diffusion.io.atomic import write_error
from napari_diffusion.io.axes import resolve_axes
from napari_diffusion.workflows.batch import (
    Batch,
    Job,
    Journal,
    Outcome,
    Status,
    digest_of,
    jobs_of,
    state_of,
)
from napari_diffusion.workflows.file_run import files_of, one_of_each_set
from napari_diffusion.workflows.outputs import check_limit

#: Exit code when some files have failed.
SOME_FAILED = 3
#: Number of files that share a choice; more of them change it little.
SHARED_FILES = 16
#: Time between two lines about the progress, where there is no terminal [s].
_LINE_S = 30.0
#: Options that say how files are done, not what is done to them.
_NO_SETTINGS = {
    *("files", "list_file", "output", "name", "jobs", "resume", "overwrite", "dry_run", "quiet"),
}


@dataclass(frozen=True)
class FilterWork:
    """Filters the file of a job with the options of the command line."""

    options: dict[str, Any]

    def __call__(self, job: Job, cancel: CancelEvent | None) -> Outcome:
        """Do a job in a process of its own, where the parent handles signals."""
        stop = Stop()
        if cancel is not None:
            stop.event = cancel  # type: ignore[assignment]  # it has the methods that are used
        return self.with_stop(job, stop)

    def with_stop(
        self, job: Job, stop: Stop, progress: Callable[[float], object] | None = None
    ) -> Outcome:
        """Do a job; an error becomes the outcome, and only a signal ends the batch."""
        stop.has_written = False
        try:
            with stop.deferring(False):
                self._filter(job, stop, progress)
        except (KeyboardInterrupt, Cancelled):
            # A signal while the files get their names is raised after it.
            return Outcome(job, Status.DONE if stop.has_written else Status.CANCELLED)
        except NotEnoughMemory as error:
            return Outcome(job, Status.NEEDS_MEMORY, _sentence(error, job))
        except Exception as error:  # one file must not end the batch
            return Outcome(job, Status.FAILED, _sentence(error, job))
        return Outcome(job, Status.DONE)

    def _filter(self, job: Job, stop: Stop, progress: Callable[[float], object] | None) -> None:
        options = self.options | {"overwrite": job.overwrite}
        run, _ = prepared(job.source, job.target, options, stop)
        check_limit(run.plan.memory, job.limit)
        if not options.get("dry_run"):
            with stop.waiting():
                state = run.last_state(progress, stop.event)
            run.write(state, stop.committing())


def _sentence(error: Exception, job: Job) -> str:
    """Return what an error says, with the name of the file."""
    _, sentence = code_and_message(error)
    return sentence if getattr(error, "path", None) == job.source else f"{job.source}: {sentence}"


def run_batch(options: dict[str, Any], stop: Stop | None = None) -> int:
    """Filter many files, and return the exit code.

    Parameters
    ----------
    options
        Options of the command ``batch`` by name.
    stop
        Signal handler of the program.
    """
    stop = stop or Stop()
    _check_options(options)
    sources = sources_of(options.get("files") or (), options.get("list_file"))
    folder = Path(options["output"])
    overwrite = bool(options.get("overwrite"))
    jobs = jobs_of(sources, folder, options.get("name") or "{stem}{suffix}", overwrite=overwrite)
    _make_folder(folder, dry_run=bool(options.get("dry_run")))
    settings = digest_of(_settings(options))
    if options.get("auto") and options.get("together"):
        options = options | {"chosen": _choice_for_all(sources, options, stop)}
    count = min(int(options.get("jobs") or 1), len(jobs))
    if count > 1 and options.get("threads") is None:
        options = options | {"threads": max(1, cpu_count() // count)}
    is_dry = bool(options.get("dry_run"))
    journal = Journal.read(folder, settings)
    if is_dry:
        journal = _SilentJournal(folder, settings, journal.records)
    batch = Batch(jobs, FilterWork(options), journal, count, bool(options.get("resume")))
    return _Report(batch, stop, quiet=bool(options.get("quiet")), is_dry=is_dry).run()


class _SilentJournal(Journal):
    """The journal of a dry run, which writes nothing."""

    def begin(self, jobs: Sequence[Job]) -> None:
        """Record nothing."""

    def end(self, job: Job) -> None:
        """Record nothing."""


def _check_options(options: dict[str, Any]) -> None:
    """Raise the errors about the options before a file is read."""
    recipe_from_options(options)
    axis_request(options)
    file_options_of(options)
    if options.get("together") and not options.get("auto"):
        raise click.UsageError("--together is only used with --auto; give --auto too.")


def sources_of(arguments: Sequence[str], list_file: Path | None) -> list[Path]:
    """Return the files that arguments and a list name.

    Parameters
    ----------
    arguments
        Files, folders of images or of a DICOM series, and patterns such as ``*.tif``, which a shell
        may have left to the program.
    list_file
        Text with the path of a file in each line, or ``None``.
    """
    words = list(arguments)
    if list_file is not None:
        try:
            lines = list_file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise click.UsageError(f"{list_file} is no text with one path a line.") from None
        words += [line.strip() for line in lines if line.strip()]
    files: list[Path] = []
    for word in words:
        path = Path(word)
        if glob.has_magic(word) and not path.exists():
            matches = sorted(Path(match) for match in glob.glob(word, recursive=True))
            if not matches:
                raise click.UsageError(f"No file matches {word}.")
            files += matches
        elif path.is_dir():
            files += _images_in(path)
        else:
            files.append(path)
    if not files:
        raise click.UsageError("Say which files to filter: FILES, or --list FILE.")
    return one_of_each_set(files)


def _images_in(folder: Path) -> list[Path]:
    """Return the images of a folder, or the folder itself if it is one DICOM series."""
    images = files_of(folder)
    results = [image for image in images if not io.sidecar_of(image).exists()]
    if results:
        return results
    try:
        io.reader_of(folder)
    except OSError:
        raise click.UsageError(f"There is no image to read in the folder {folder}.") from None
    return [folder]


def _make_folder(folder: Path, *, dry_run: bool) -> None:
    if dry_run and not folder.is_dir():
        reason = "this folder does not exist, and a dry run makes none"
        raise InputError(reason, Remedy.MAKE_FOLDER, folder)
    if folder.exists() and not folder.is_dir():
        reason = "this is a file, not a folder"
        raise TargetExists(reason, Remedy.CHOOSE_ANOTHER_FOLDER, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from None


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return what decides about the values of a result."""
    from napari_diffusion.engine.execution import Execution

    unused = _NO_SETTINGS | {parameter.name for parameter in parameters(Execution)}
    settings = {
        name: value
        for name, value in options.items()
        if name not in unused and value not in (None, (), False)
    }
    for name in ("recipe", "mask", "labels", "guide", "noise_region"):
        if settings.get(name) is not None:
            settings[f"{name}_state"] = state_of(Path(settings[name]))
    return settings | {"version": package_version()}


def _choice_for_all(sources: Sequence[Path], options: dict[str, Any], stop: Stop) -> str:
    """Choose one recipe from files that are spread over the list, and return it as JSON."""
    step = max(1, len(sources) // SHARED_FILES)
    readable = []
    for path in sources[::step][:SHARED_FILES]:
        try:
            readable.append((path, io.read(path)))
        except (ValueError, OSError, MemoryError):
            continue  # it is reported when its turn comes
    if not readable:
        raise InputError("none of the files can be read, so nothing can be chosen")
    path, volume = readable[0]
    assignment = resolve_axes(volume, axis_request(options))
    recipe = recipe_from_options(options)(assignment.unit)
    file_options = file_options_of(options)
    with stop.waiting():
        domain, _ = file_options.domain(volume, assignment)
        shared = options | {"share": [other for other, _ in readable[1:]]}
        recipe, report = choose_parameters(volume, assignment, recipe, domain, shared, stop.event)
    if getattr(recipe.model, "kappa_map", None) is not None:  # it belongs to the first file
        recipe = replace(recipe, model=replace(recipe.model, kappa_map=None))  # type: ignore[call-arg]
    if not options.get("quiet"):
        say(f"One choice for all, from {len(readable)} of {len(sources)} files ({path}, ...).")
        say(report)
    return recipe.to_json()


class _Report:
    """Runs a batch, shows its progress, and sums up."""

    def __init__(self, batch: Batch, stop: Stop, *, quiet: bool, is_dry: bool) -> None:
        self._stop, self._quiet, self._is_dry = stop, quiet, is_dry
        self._has_bar = not quiet and is_terminal()
        self._bar = Progress(f"{len(batch.jobs)} files", shown=self._has_bar)
        self._counts: Counter[Status] = Counter()
        self._failures: list[str] = []
        if batch.processes == 1:
            batch = replace(batch, work=self._in_this_process(batch.work))
        self._batch = batch

    def _in_this_process(self, work: Any) -> Callable[[Job, CancelEvent | None], Outcome]:
        def do(job: Job, cancel: CancelEvent | None) -> Outcome:
            progress = self._show_share if self._has_bar else None
            outcome: Outcome = work.with_stop(job, self._stop, progress)
            return outcome

        return do

    def run(self) -> int:
        """Do the jobs and return the exit code."""
        started = last_line = time.monotonic()
        with self._bar as self._progress, self._stop.deferring():
            for outcome in self._batch.outcomes(self._stop.event):
                self._counts[outcome.status] += 1
                if outcome.status is Status.FAILED:
                    self._failures.append(outcome.text)
                self._show_share(0.0)
                now = time.monotonic()
                if now - last_line > _LINE_S and not self._quiet and not is_terminal():
                    last_line = now
                    say(self._line())
        for text in self._failures:
            say(f"Error: {text}")
        if not self._quiet or self._stop.event.is_set():
            say(self._line(time.monotonic() - started))
        if self._stop.event.is_set():
            self._stop.has_written = self._counts[Status.DONE] > 0
            raise KeyboardInterrupt
        return SOME_FAILED if self._failures else 0

    def _show_share(self, share: float) -> None:
        self._progress((self._counts.total() + share) / len(self._batch.jobs))

    def _line(self, seconds: float | None = None) -> str:
        """Return the numbers in one sentence."""
        total, counts = len(self._batch.jobs), self._counts
        verb = "can be done" if self._is_dry else "done"
        parts = [f"{counts[Status.DONE]} of {total} files {verb}"]
        if counts[Status.KEPT]:
            parts.append(f"{counts[Status.KEPT]} complete before")
        if counts[Status.FAILED]:
            parts.append(f"{counts[Status.FAILED]} failed")
        if seconds is None:
            return f"{', '.join(parts)}."
        left = total - sum(counts[each] for each in Status if each is not Status.CANCELLED)
        rest = f", {left} not done; --resume goes on with them" if left else ""
        return f"{', '.join(parts)} after {seconds:.1f} s{rest}."
