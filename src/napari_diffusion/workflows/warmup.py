"""Compiles kernels before they are needed, in a process of its own: a compiler holds the interpreter's lock.

The two processes share the folder of machine code, and nothing else: the one that asks loads from there what the other has compiled. It
asks by lines of JSON and is answered with the names of what is done. The other ends when its input ends, so it never outlives who asked.
It lowers its priority for what nobody waits for, and no process may raise it again: another one takes over when somebody waits.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_diffusion import backends
from napari_diffusion.core.cancellation import CancelEvent, Cancelled
from napari_diffusion.engine.halo_block import unread_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.engine.request import Request

#: Longest wait for the other process, which a busy machine may starve or something may hold up [s].
MAX_WAIT_S = 60.0
#: How often it is looked whether a wait was cancelled [s].
POLL_INTERVAL_S = 0.1
#: Niceness of what nobody waits for.
NICE = 19
#: How urgent a rehearsal is: somebody waits for it, probably will at once, or may later.
NOW, SOON, LATER = range(3)


@dataclass(frozen=True)
class WarmupTask:
    """What to compile: all that one kind of run needs.

    Attributes
    ----------
    kind
        Name; runs of the same kind need the same kernels.
    recipe
        A run of this kind, as `Recipe.to_dict`.
    shape, dtype
        Of its image.
    labels
        Shape of its labels, ``None`` without.
    """

    kind: str
    recipe: dict[str, Any]
    shape: tuple[int, ...]
    dtype: str
    labels: tuple[int, ...] | None = None

    def run(self, cancel: threading.Event) -> None:
        """Filter a few voxels."""
        recipe = Recipe.from_dict(self.recipe)
        names = (
            "time",
            "scheme",
            "tolerance",
            "strict",
            "nan",
            "spacing",
            "axes",
            "channel_axis",
            "preserve_dtype",
        )
        keywords = {name: getattr(recipe, name) for name in names}
        labels = None if self.labels is None else np.broadcast_to(np.uint8(0), self.labels)
        image = np.broadcast_to(np.zeros((), self.dtype), self.shape)
        compile_by_running(Request.of(image, recipe.model, labels=labels, **keywords), cancel)


class WarmupClient:
    """The other process, as seen by who asks. It lives while something is to be compiled, and may fail: all can be compiled here."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._users = 0
        self._broken = False
        self._asked: dict[str, tuple[int, WarmupTask]] = {}
        self._done: set[str] = set()
        self._waiting = 0

    @property
    def waiting(self) -> bool:
        """Whether somebody waits."""
        return self._waiting > 0

    @property
    def process(self) -> subprocess.Popen[str] | None:
        """The process under way."""
        return self._process

    def has(self, kind: str) -> bool:
        """Whether the kernels for something are known to be there; what is in the cache is known once it has been asked for."""
        return kind in self._done

    def join(self) -> None:
        """Tell that there is one more who may ask."""
        self._users += 1

    def leave(self) -> None:
        """Tell that one who might ask is gone; with the last one the process ends. Never waits."""
        self._users -= 1
        process = self._process
        if self._users <= 0 and process is not None:
            process.terminate()  # before the lock, which is held while it is told something
            with self._changed:
                self._forget(process)

    def prepare(
        self,
        wanted: WarmupTask,
        cancel: threading.Event,
        soon: Sequence[WarmupTask] = (),
        later: Sequence[WarmupTask] = (),
        rank: int = NOW,
    ) -> None:
        """Wait until the kernels for ``wanted`` have been compiled, or cannot be.

        Parameters
        ----------
        wanted, soon, later
            What to compile first, next, and at low priority when nobody waits.
        cancel
            Ends the wait when it is set.
        rank
            How urgent ``wanted`` is.

        Raises
        ------
        Cancelled
            When ``cancel`` was set, or the last who might ask has left.
        """
        given = [
            (rank, wanted),
            *((SOON, each) for each in soon),
            *((LATER, each) for each in later),
        ]
        missing = [(rank, each) for rank, each in given if self._missing(each)]
        with self._changed:
            if not missing or self._broken or self._users <= 0:
                return
            self._ask(missing)
            self._waiting += 1
            try:
                end = time.monotonic() + MAX_WAIT_S
                while wanted.kind in self._asked and not cancel.is_set() and time.monotonic() < end:
                    self._changed.wait(POLL_INTERVAL_S)
            finally:
                self._waiting -= 1
        if cancel.is_set() or self._users <= 0:
            raise Cancelled("Nobody waits for the kernels any more.")

    def _missing(self, rehearsal: WarmupTask) -> bool:
        if (
            rehearsal.kind in self._done
            or (mark := backends.completion_mark(rehearsal.kind)) is None
        ):
            return False
        if mark.exists():
            self._done.add(rehearsal.kind)
            return False
        return True

    def _ask(self, missing: Sequence[tuple[int, WarmupTask]]) -> None:
        process, (rank, wanted) = self._process, missing[0]
        before = min((rank for rank, _ in self._asked.values()), default=LATER)
        if process is not None and rank < before and self._rank(wanted) == LATER:
            # Its priority is low by now, or it is at a kernel that may take 10 s; a new process is ready after 2 s.
            missing = [*missing, *self._asked.values()]
            process.terminate()
            self._forget(process)
        try:
            if self._process is None:
                self._process = _start()
                threading.Thread(
                    target=self._listen, args=(self._process,), name="napari-diffusion", daemon=True
                ).start()
            assert self._process.stdin is not None
            for rank, each in missing:
                if each.kind not in self._asked or rank < self._rank(each):
                    self._asked[each.kind] = rank, each
                    self._process.stdin.write(json.dumps(asdict(each) | {"rank": rank}) + "\n")
            self._process.stdin.flush()
        except OSError:
            self._broken = True
            self._forget(self._process)

    def _rank(self, rehearsal: WarmupTask) -> int:
        return self._asked.get(rehearsal.kind, (LATER, rehearsal))[0]

    def _forget(self, process: subprocess.Popen[str] | None) -> None:
        if self._process is process:
            self._process = None
            self._asked.clear()
            self._changed.notify_all()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                with self._changed:
                    self._done.add(line.rstrip())
                    self._asked.pop(line.rstrip(), None)
                    self._changed.notify_all()
                    if not self._asked:
                        self._forget(
                            process
                        )  # with its input it ends; the next question starts another one
                        break
        with self._changed:
            self._broken = self._broken or self._process is process  # otherwise it was told to end
            self._forget(process)
        with suppress(OSError):  # it has ended before it read everything
            process.stdin.close()
        process.wait()


def _start() -> subprocess.Popen[str]:
    """Start the other process; OSError where there is no Python to start."""
    # A program that only contains Python would start itself once more: another napari.
    if getattr(sys, "frozen", False) or not Path(sys.executable or "").stem.lower().startswith(
        "python"
    ):
        raise FileNotFoundError("no Python")
    return subprocess.Popen(
        # -P: no modules from the folder that napari happens to have been started in.
        [sys.executable, "-P", "-m", __spec__.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path))
        },  # it has to import the very same package
        creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
        | getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


class WarmupWorker:
    """What the other process has to do; a thread listens to whoever asks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: list[tuple[int, WarmupTask]] = []
        self._cancel = threading.Event()
        self._now: WarmupTask | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            given = json.loads(line)
            rank = given.pop("rank")
            rehearsal = WarmupTask(**given)
            with self._changed:
                if rank == NOW and self._now is not None and self._now.kind != rehearsal.kind:
                    self._cancel.set()  # what is under way gives way after its present kernel; what it has compiled is kept
                self._put(rank, rehearsal, 0 if rank == NOW else len(self._queue))
        os._exit(
            0
        )  # nobody waits any more, and a compilation cannot be interrupted; files are written under another name first

    def _put(self, rank: int, rehearsal: WarmupTask, place: int) -> None:
        self._queue.insert(place, (rank, rehearsal))
        self._queue.sort(key=lambda each: each[0])
        self._changed.notify_all()

    def work(self) -> None:
        """Rehearse what is asked for, without end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue))
                rank, now = self._queue.pop(0)
                self._now = now
                self._cancel.clear()
            if rank == LATER and hasattr(os, "nice"):
                os.nice(NICE)
            mark = backends.completion_mark(now.kind)
            try:
                if mark is None or not mark.exists():
                    now.run(self._cancel)
            except Cancelled:
                with self._changed:
                    self._put(rank, now, 1)  # behind what it gives way to
                continue
            except (TypeError, ValueError):
                pass  # such a run is refused: there is nothing to compile
            if mark is not None:
                mark.touch()
            sys.stdout.write(f"{now.kind}\n")
            sys.stdout.flush()


def compile_by_running(request: Request, cancel: CancelEvent | None = None) -> None:
    """Run a request on a few voxels, so that all kernels that it needs are compiled."""
    domain = request.domain
    problem = unread_problem(request.image, request.geometry, domain)
    shape = [
        1 if i in problem.frame_axes else n if i == problem.channel_axis else min(n, 4)
        for i, n in enumerate(problem.shape)
    ]
    space = tuple(n for i, n in enumerate(shape) if i in problem.axes)
    labels = np.arange(math.prod(space)).reshape(space) % 2 + 1
    small = replace(
        request,
        image=np.ones(shape, problem.input_dtype),
        domain=replace(domain, mask=None, labels=None if domain.labels is None else labels),
    )
    time = 1e-3 * min(problem.spacing) ** 2
    for strict in {request.integration.strict, False}:  # a draft is never strict
        integration = replace(request.integration, time=time, strict=strict)
        replace(small, integration=integration).result(cancel=cancel)


if __name__ == "__main__":
    WarmupWorker().work()
