"""Many files with the same settings: their results, processes, and going on after a stop.

A journal in the folder of the results says which of them are complete, and from which settings and
which source. It is a text with one JSON object a line, so that a killed run leaves at most one line
that cannot be read.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

from napari_diffusion import io
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.errors import InputError, Remedy, SourceMissing
from napari_diffusion.core.resources import free_memory

#: Name of the journal in the folder of the results.
JOURNAL = "napari-diffusion-batch.jsonl"
#: Time [s] after which a request to stop is noticed while processes work.
_POLL_S = 0.1
#: Longest line of a journal that is read at once [bytes].
_LONGEST_LINE = 1 << 20


class Status(Enum):
    """What became of a file."""

    DONE = "done"
    KEPT = "kept"
    FAILED = "failed"
    NEEDS_MEMORY = "needs memory"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Job:
    """A file, and the path of its result.

    Attributes
    ----------
    source, target
        The paths.
    limit
        Largest memory of the run [bytes], ``None`` for the free memory.
    overwrite
        Whether a result of this name may be replaced.
    """

    source: Path
    target: Path
    limit: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a job; ``text`` is the sentence of an error."""

    job: Job
    status: Status
    text: str = ""


#: Does one job. It is called in other processes, so it must be possible to pickle it.
Work = Callable[[Job, CancelEvent | None], Outcome]


def jobs_of(
    sources: Sequence[Path], folder: Path, pattern: str, *, overwrite: bool = False
) -> list[Job]:
    """Return one job for each file.

    Parameters
    ----------
    sources
        The files. One that is given twice counts once.
    folder, pattern
        Folder of the results, and the pattern of their names (`napari_diffusion.io.result_name`).
    overwrite
        Whether existing results are replaced.

    Raises
    ------
    InputError
        When two files would have the same result, or a result would replace an image.
    """
    by_place: dict[Path, Path] = {}
    for path in sources:
        by_place.setdefault(path.resolve(), path)
    unique = list(by_place.values())
    jobs = []
    by_target: dict[str, Path] = {}
    files = {path.resolve() for path in unique}
    for source in unique:
        try:
            name = io.result_name(source, pattern)
        except (InputError, SourceMissing) as error:
            if error.path is None:
                raise
            name = source.name  # the file is refused when its turn comes
        target = folder / name
        key = os.path.normcase(target.resolve())
        if key in by_target:
            raise InputError(
                f"the results of {by_target[key]} and {source} would both be {target}",
                Remedy.NAME_RESULTS,
            )
        if target.resolve() in files:
            raise InputError(
                f"the result of {source} would replace the image {target}",
                Remedy.CHOOSE_ANOTHER_FOLDER,
            )
        by_target[key] = source
        jobs.append(Job(source, target, overwrite=overwrite))
    return jobs


def digest_of(settings: Any) -> str:
    """Return a text that differs for other settings."""
    return sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:32]


def state_of(path: Path) -> list[Any]:
    """Return what changes with the content of a file or a folder: sizes and times."""
    with suppress(OSError):
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        states = [(file.name, file.stat()) for file in files]
        return [[name, state.st_size, state.st_mtime_ns] for name, state in states]
    return []


@dataclass
class Journal:
    """The record of the results in a folder.

    Attributes
    ----------
    folder
        The folder.
    settings
        Digest of the settings of this run.
    records
        The last record of each result, by its name.
    """

    folder: Path
    settings: str
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, settings: str) -> Journal:
        """Read the journal of a folder, without the incomplete line of a killed run.

        Raises
        ------
        InputError
            When somebody else can have written the journal. It decides which files are replaced.
        """
        journal = cls(folder, settings)
        check_owner(folder / JOURNAL)
        with suppress(OSError), (folder / JOURNAL).open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                with suppress(ValueError, KeyError, TypeError, RecursionError):
                    record = json.loads(line)
                    journal.records[record["result"]] = record
        return journal

    def is_complete(self, job: Job) -> bool:
        """Whether the result of a job is complete, with these settings and of this source."""
        record = self.records.get(job.target.name, {})
        expected = [self.settings, state_of(job.source), state_of(job.target)]
        own = [record.get(name) for name in ("settings", "source", "file")]
        return bool(own == expected and expected[2] and io.sidecar_of(job.target).exists())

    def is_own(self, job: Job) -> bool:
        """Whether a result of this name was begun by a run of this kind."""
        return job.target.name in self.records

    def begin(self, jobs: Sequence[Job]) -> None:
        """Record the results that are made, without those in whose way a file is."""
        own = [job for job in jobs if job.overwrite or not job.target.exists()]
        self._append([{"result": job.target.name} for job in own])

    def end(self, job: Job) -> None:
        """Record that a result is complete."""
        record = {
            "result": job.target.name,
            "settings": self.settings,
            "source": state_of(job.source),
            "file": state_of(job.target),
        }
        self._append([record])

    def _append(self, records: list[dict[str, Any]]) -> None:
        if not records:
            return
        self.records |= {record["result"]: record for record in records}
        # The line break comes first, because the last line of a killed run may lack its end.
        lines = "".join(f"\n{json.dumps(record)}" for record in records)
        path = self.folder / JOURNAL
        with suppress(OSError), open(path, "ab", opener=_open_itself) as file:
            file.write(lines.encode())


def check_owner(path: Path) -> None:
    """Refuse a file that is a link or no file, or that users can have written without a right to.

    Whoever may replace every file of the folder may write this one, too: its owner, and every
    user where the folder is open to all. Some systems show all files as open to all.

    Raises
    ------
    InputError
        With what is wrong. A missing file is fine.
    """
    try:
        state, folder = path.lstat(), path.parent.stat()
    except OSError:
        return
    own = getattr(os, "getuid", lambda: None)()
    is_open = folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX
    if not stat.S_ISREG(state.st_mode):
        reason = "this is a link or no file"
    elif own is None or is_open:
        return
    elif state.st_uid not in (own, folder.st_uid):
        reason = "this file belongs to another user"
    elif state.st_mode & stat.S_IWOTH:
        reason = "every user can write this file"
    else:
        return
    raise InputError(
        f"{reason}, and it decides which results are replaced", Remedy.CHOOSE_ANOTHER_FOLDER, path
    )


def _open_itself(path: str, flags: int) -> int:
    """Open a file for writing, never one to which a link leads."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o644)


@dataclass(frozen=True)
class Batch:
    """Jobs and how they are done.

    Attributes
    ----------
    jobs
        The jobs.
    work
        Does one job.
    journal
        The record of the results.
    processes
        Number of processes; with one, the jobs are done in this process.
    resume
        Whether complete results are kept.
    """

    jobs: Sequence[Job]
    work: Work
    journal: Journal
    processes: int = 1
    resume: bool = False

    def outcomes(self, cancel: CancelEvent | None = None) -> Iterator[Outcome]:
        """Do the jobs, and yield what became of each, in the order in which they end.

        A job that needs more memory than the share of a process is done at last, alone.

        Parameters
        ----------
        cancel
            The jobs end when this event is set; the last outcomes are cancelled.
        """
        waiting: deque[Job] = deque()
        for job in self.jobs:
            if self.resume and self.journal.is_complete(job):
                yield Outcome(job, Status.KEPT)
                continue
            own = self.resume and self.journal.is_own(job)
            waiting.append(replace(job, overwrite=job.overwrite or own))
        self.journal.begin(waiting)
        alone: deque[Job] = deque()
        if self.processes > 1:
            for outcome in self._in_processes(waiting, cancel):
                if outcome.status is Status.NEEDS_MEMORY:
                    alone.append(replace(outcome.job, limit=None))
                else:
                    yield self._recorded(outcome)
        else:
            alone = waiting
        while alone and not (cancel is not None and cancel.is_set()):
            yield self._recorded(self.work(alone.popleft(), cancel))

    def _recorded(self, outcome: Outcome) -> Outcome:
        if outcome.status is Status.DONE:
            self.journal.end(outcome.job)
        if outcome.status is Status.NEEDS_MEMORY:
            return replace(outcome, status=Status.FAILED)
        return outcome

    def _in_processes(self, waiting: deque[Job], cancel: CancelEvent | None) -> Iterator[Outcome]:
        """Do the jobs in several processes."""
        share = free_memory().size // self.processes
        waiting = deque(replace(job, limit=share) for job in waiting)
        while waiting and not (cancel is not None and cancel.is_set()):
            unfinished: list[Job] = []
            yield from self._in_one_pool(waiting, self.processes, unfinished, cancel)
            # A process has ended; each of the jobs at that moment may be the reason.
            for job in unfinished:
                lost: list[Job] = []
                again = replace(job, overwrite=job.overwrite or self.journal.is_own(job))
                yield from self._in_one_pool(deque([again]), 1, lost, cancel)
                for each in lost:
                    text = "its process was ended by the system, which may have run out of memory"
                    yield Outcome(each, Status.FAILED, f"{each.source}: {text}.")

    def _in_one_pool(
        self,
        waiting: deque[Job],
        processes: int,
        unfinished: list[Job],
        cancel: CancelEvent | None,
    ) -> Iterator[Outcome]:
        """Do jobs until all are done or a process has ended, and collect its jobs."""
        context = multiprocessing.get_context("spawn")
        stop = context.Event()
        pool = ProcessPoolExecutor(processes, context, _prepare_process, (stop,))
        running: dict[Future[Outcome], Job] = {}
        try:
            while running or waiting:
                while waiting and len(running) < 2 * processes and not stop.is_set():
                    running[pool.submit(_do, self.work, waiting[0])] = waiting[0]
                    waiting.popleft()
                ended, _ = wait(running, _POLL_S, FIRST_COMPLETED)
                for future in ended:
                    job = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        unfinished.append(job)
                    else:
                        yield future.result()
                if cancel is not None and cancel.is_set():
                    stop.set()
                    waiting.clear()
                    for future in [each for each in running if each.cancel()]:
                        yield Outcome(running.pop(future), Status.CANCELLED)
        except BrokenProcessPool:
            unfinished.extend(running.values())
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


_stop: Any = None


def _prepare_process(stop: Any) -> None:
    """Prepare a process: it ends with its parent, and only its parent handles Ctrl-C."""
    import signal

    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _do(work: Work, job: Job) -> Outcome:
    return work(job, _stop)
