"""Compilation of kernels in advance, in a worker process, because the compiler holds the GIL.

Client and worker share only the cache folder of machine code, from which the client loads compiled
kernels. The client writes tasks to the worker as lines of JSON. The worker answers with the kinds
of the completed tasks. The worker exits when its input ends, so it never outlives the client.
For tasks of low urgency the worker lowers its process priority, which it cannot raise again. The
client therefore starts a new worker for an urgent task.
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
from napari_diffusion.backends.base import CompletionMark
from napari_diffusion.core.cancellation import CancelEvent, Cancelled
from napari_diffusion.core.geometry import Domain
from napari_diffusion.engine.in_memory import run
from napari_diffusion.engine.problem import Problem, make_problem, unread_problem
from napari_diffusion.engine.recipe import Recipe

#: Longest wait for the worker [s]: a busy machine may starve it, or it may hang.
MAX_WAIT_S = 60.0
#: Interval at which a wait checks whether it was cancelled [s].
POLL_INTERVAL_S = 0.1
#: Niceness of the worker for tasks of the priority `LATER`.
NICENESS = 19
#: Priorities of a task, the most urgent first: a user waits for the kernels, will probably wait for
#: them soon, or may need them later.
NOW, SOON, LATER = range(3)


@dataclass(frozen=True)
class WarmupTask:
    """A task of the worker: compile all kernels of one kind of run.

    Attributes
    ----------
    kind
        Name of the kind of run. Runs of the same kind need the same kernels.
    backend
        Name of the backend that compiles them.
    recipe
        Example of such a run, as `Recipe.to_dict`.
    shape, dtype
        Shape and dtype of the image.
    labels
        Shape of the labels, ``None`` without labels.
    """

    kind: str
    backend: str
    recipe: dict[str, Any]
    shape: tuple[int, ...]
    dtype: str
    labels: tuple[int, ...] | None = None

    @property
    def mark(self) -> CompletionMark | None:
        """The mark that exists once the kernels are compiled; ``None`` without a cache."""
        return backends.get_backend(self.backend, 1).completion_mark(self.kind)

    def run(self, cancel: threading.Event) -> None:
        """Compile the kernels by filtering a small image."""
        recipe = Recipe.from_dict(self.recipe)
        labels = None if self.labels is None else np.broadcast_to(np.uint8(0), self.labels)
        image = np.broadcast_to(np.zeros((), self.dtype), self.shape)
        domain = Domain(labels=labels, guide=self._guide(recipe))
        problem = unread_problem(image, recipe, recipe.geometry, domain)
        compile_by_running(problem, cancel)

    def _guide(self, recipe: Recipe) -> Any:
        """Return a placeholder of a guide, which takes no memory; ``None`` without a guide."""
        if recipe.guide is None:
            return None
        sizes = (n for i, n in enumerate(self.shape) if recipe.axes is None or i in recipe.axes)
        return np.broadcast_to(np.float32(0), tuple(sizes))


class WarmupClient:
    """Client of the compile worker.

    The worker is started on demand and exits when all tasks are done. After a failure of the
    worker, kernels are compiled in this process.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._users = 0
        self._broken = False
        self._pending: dict[str, tuple[int, WarmupTask]] = {}
        self._done: set[str] = set()
        self._waiting = 0

    @property
    def waiting(self) -> bool:
        """Whether a thread waits for kernels."""
        return self._waiting > 0

    @property
    def process(self) -> subprocess.Popen[str] | None:
        """The running worker, or ``None``."""
        return self._process

    def has(self, kind: str) -> bool:
        """Return whether the kernels of a kind of run are known to be compiled.

        This does not search the cache; `prepare` does.
        """
        return kind in self._done

    def join(self) -> None:
        """Register a user of the client."""
        self._users += 1

    def leave(self) -> None:
        """Unregister a user; the worker is terminated with the last one. Does not block."""
        self._users -= 1
        process = self._process
        if self._users <= 0 and process is not None:
            # Before the lock: it is held while tasks are written to the worker.
            process.terminate()
            with self._changed:
                self._forget(process)

    def prepare(
        self,
        task: WarmupTask,
        cancel: threading.Event,
        soon: Sequence[WarmupTask] = (),
        later: Sequence[WarmupTask] = (),
        priority: int = NOW,
    ) -> None:
        """Wait until the kernels of a task are compiled or the worker has failed.

        The wait is limited to `MAX_WAIT_S`.

        Parameters
        ----------
        task
            Task to wait for.
        cancel
            The wait ends with `Cancelled` when this event is set.
        soon, later
            Further tasks of the priorities `SOON` and `LATER`.
        priority
            Priority of ``task``: `NOW`, `SOON` or `LATER`.

        Raises
        ------
        Cancelled
            When ``cancel`` is set, or when the last user has left.
        """
        tasks = [(priority, task)]
        tasks += [(SOON, each) for each in soon]
        tasks += [(LATER, each) for each in later]
        missing = [(priority, each) for priority, each in tasks if self._is_missing(each)]
        with self._changed:
            if not missing or self._broken or self._users <= 0:
                return
            self._send(missing)
            self._waiting += 1
            try:
                end = time.monotonic() + MAX_WAIT_S
                while task.kind in self._pending and not cancel.is_set() and time.monotonic() < end:
                    self._changed.wait(POLL_INTERVAL_S)
            finally:
                self._waiting -= 1
        if cancel.is_set() or self._users <= 0:
            raise Cancelled("Nobody waits for the kernels any more.")

    def _is_missing(self, task: WarmupTask) -> bool:
        """Return whether the kernels of a task have to be compiled and can be cached."""
        if task.kind in self._done or (mark := task.mark) is None:
            return False
        if mark.exists():
            self._done.add(task.kind)
            return False
        return True

    def _send(self, missing: Sequence[tuple[int, WarmupTask]]) -> None:
        """Send tasks to the worker, and start it if necessary.

        A worker that is busy with less urgent tasks is replaced.
        """
        process, (priority, first) = self._process, missing[0]
        pending_priority = min((priority for priority, _ in self._pending.values()), default=LATER)
        if process is not None and priority < pending_priority and self._priority(first) == LATER:
            # The worker may have lowered its process priority, or compile a kernel for up to 10 s.
            # A new worker is ready after 2 s.
            missing = [*missing, *self._pending.values()]
            process.terminate()
            self._forget(process)
        try:
            if self._process is None:
                self._process = _start()
                threading.Thread(
                    target=self._listen, args=(self._process,), name="napari-diffusion", daemon=True
                ).start()
            assert self._process.stdin is not None
            for priority, task in missing:
                if task.kind not in self._pending or priority < self._priority(task):
                    self._pending[task.kind] = priority, task
                    message = asdict(task) | {"priority": priority}
                    self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            self._broken = True
            self._forget(self._process)

    def _priority(self, task: WarmupTask) -> int:
        """Return the priority of a pending task; `LATER` if it is not pending."""
        return self._pending.get(task.kind, (LATER, task))[0]

    def _forget(self, process: subprocess.Popen[str] | None) -> None:
        """Drop a worker that ends, and its pending tasks."""
        if self._process is process:
            self._process = None
            self._pending.clear()
            self._changed.notify_all()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Read the answers of a worker until all its tasks are done or it ends."""
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                kind = line.rstrip()
                with self._changed:
                    self._done.add(kind)
                    self._pending.pop(kind, None)
                    self._changed.notify_all()
                    if not self._pending:
                        # The worker ends when its input is closed; the next task starts a new one.
                        self._forget(process)
                        break
        with self._changed:
            # A worker that ends without being dropped has failed.
            self._broken = self._broken or self._process is process
            self._forget(process)
        with suppress(OSError):  # the worker may end before it has read all tasks
            process.stdin.close()
        process.wait()


def _start() -> subprocess.Popen[str]:
    """Start a worker.

    Raises
    ------
    OSError
        When there is no Python interpreter to start.
    """
    # A frozen application that embeds Python would start itself again: another napari.
    name = Path(sys.executable or "").stem.lower()
    if getattr(sys, "frozen", False) or not name.startswith("python"):
        raise FileNotFoundError("no Python")
    search_path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        # -P: no imports from the current folder, which is the one that napari was started in.
        [sys.executable, "-P", "-m", __spec__.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": search_path},  # the worker has to import the same package
        creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
        | getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


class WarmupWorker:
    """The compile worker: reads tasks in a thread, and executes them in order of priority."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: list[tuple[int, WarmupTask]] = []
        self._cancel = threading.Event()
        self._current: WarmupTask | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Queue the tasks of the client; end the process with its input."""
        for line in sys.stdin:
            fields = json.loads(line)
            priority = fields.pop("priority")
            task = WarmupTask(**fields)
            with self._changed:
                urgent = priority == NOW
                if urgent and self._current is not None and self._current.kind != task.kind:
                    # The current task stops after its present kernel; compiled kernels are kept.
                    self._cancel.set()
                self._put(priority, task, 0 if urgent else len(self._queue))
        # No client waits any more, and a compilation cannot be interrupted. The cache stays intact,
        # because its files get their final names when they are complete.
        os._exit(0)

    def _put(self, priority: int, task: WarmupTask, position: int) -> None:
        """Insert a task at a position of the queue, and sort the queue by priority."""
        self._queue.insert(position, (priority, task))
        self._queue.sort(key=lambda entry: entry[0])
        self._changed.notify_all()

    def work(self) -> None:
        """Execute tasks in an endless loop."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue))
                priority, task = self._queue.pop(0)
                self._current = task
                self._cancel.clear()
            if priority == LATER and hasattr(os, "nice"):
                os.nice(NICENESS)
            try:
                self._compile(task)
            except Cancelled:
                with self._changed:
                    self._put(priority, task, 1)  # behind the urgent task
                continue
            except OSError:
                # The client cannot get the kernels. After this code it compiles them itself.
                os._exit(1)
            sys.stdout.write(f"{task.kind}\n")
            sys.stdout.flush()

    def _compile(self, task: WarmupTask) -> None:
        """Compile and save the kernels of a task, unless they are in the cache.

        Raises
        ------
        Cancelled
            When an urgent task has arrived.
        OSError
            When they cannot be saved.
        """
        mark = task.mark
        if mark is not None and mark.exists():
            return
        with suppress(TypeError, ValueError):  # such a run is refused: there is nothing to compile
            task.run(self._cancel)
        if mark is not None:
            mark.touch()


def brief(problem: Problem) -> Problem:
    """Return the same run over a very short time, which needs the same kernels."""
    time = 1e-3 * min(problem.spacing) ** 2
    return replace(problem, recipe=replace(problem.recipe, time=time))


def compile_by_running(problem: Problem, cancel: CancelEvent | None = None) -> None:
    """Compile all kernels of a run by running it on an image of at most 4 voxels per axis.

    The image has one frame and all channels. The problem is one of `unread_problem`.
    """
    shape = [min(n, 4) if i in problem.axes else n for i, n in enumerate(problem.shape)]
    for i in problem.frame_axes:
        shape[i] = 1
    space = tuple(n for i, n in enumerate(shape) if i in problem.axes)
    labels = np.arange(math.prod(space)).reshape(space) % 2 + 1
    guide = np.ones(space) if problem.is_guided else None
    domain = Domain(labels=None if problem.domain.labels is None else labels, guide=guide)
    image = np.ones(shape, problem.input_dtype)
    recipe = brief(problem).recipe
    for strict in {recipe.strict, False}:  # a draft is never strict
        small = make_problem(image, replace(recipe, strict=strict), problem.geometry, domain)
        run(small, cancel=cancel)


if __name__ == "__main__":
    WarmupWorker().work()
