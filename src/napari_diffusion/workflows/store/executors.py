"""Calls of a function on many indices through any executor, a few of them at a time."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from typing import Any

from napari_diffusion.core.cancellation import CancelEvent, poll
from napari_diffusion.workflows.store.heaps import use_one_heap

#: Tasks for each worker that are handed over and not finished.
WINDOW = 2
#: Calls of a task whose file could not be read or written for a reason that may pass.
ATTEMPTS = 3
#: Reasons that do not pass.
_LASTING = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
}
#: Interval at which a cancellation is noticed [s].
_INTERVAL_S = 0.1


class TaskFailed(Exception):
    """A task has failed.

    Attributes
    ----------
    index
        Its index.
    reason
        The error of the task.
    """

    def __init__(self, index: int, reason: BaseException) -> None:
        super().__init__(index, reason)
        self.index, self.reason = index, reason


@contextmanager
def executor_of(kind: Executor | str | None, workers: int) -> Iterator[Executor]:
    """Yield an executor.

    Parameters
    ----------
    kind
        An executor, which is left as it is, or ``"threads"`` (default) or ``"processes"``.
    workers
        Number of workers of a new executor.
    """
    own: Executor
    if kind is None or kind == "threads":
        own = ThreadPoolExecutor(workers, "napari-diffusion-block")
    elif kind == "processes":
        context = multiprocessing.get_context("spawn")
        own = ProcessPoolExecutor(workers, context, _begin)
    elif hasattr(kind, "submit"):
        yield kind  # type: ignore[misc]  # any object with submit, such as one of distributed
        return
    else:
        raise ValueError(
            f'executor must be "threads", "processes" or an executor, got {kind!r:.60}.'
        )
    try:
        yield own
    finally:
        own.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Prepare this process, and end it when the one that started it has ended or was killed."""
    use_one_heap()
    parent = multiprocessing.parent_process()

    def wait_for_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()


def workers_of(executor: Any) -> int | None:
    """Return the number of workers of an executor; ``None`` if it does not say so."""
    client = getattr(executor, "_client", None)
    if client is not None and hasattr(client, "nthreads"):
        return max(1, int(sum(client.nthreads().values())))
    count: int | None = getattr(executor, "_max_workers", None)
    return count


def run_tasks(
    executor: Executor,
    task: Callable[[int], object],
    indices: Iterable[int],
    workers: int,
    report: Callable[[int], object],
    cancel: CancelEvent | None = None,
) -> None:
    """Call a task with every index, a few at a time, and end at the first one that fails.

    Parameters
    ----------
    executor
        The executor.
    task
        The function; it is pickled for other processes.
    indices
        The indices.
    workers
        Number of tasks at the same time. `WINDOW` times as many wait or run, if the executor has
        no more workers.
    report
        Called with an index after its task.
    cancel
        Event that ends the calls.

    Raises
    ------
    TaskFailed
        For the first task that fails. Tasks that run at that moment are awaited.
    Cancelled
        When the event is set.
    """
    left, attempts = iter(indices), dict[int, int]()
    window = workers * (WINDOW if (workers_of(executor) or workers) <= workers else 1)
    pending: dict[Future[object], int] = {}
    try:
        while True:
            poll(cancel)
            while len(pending) < window:
                index = next(left, None)
                if index is None:
                    break
                pending[_submitted(executor, task, index)] = index
            if not pending:
                return
            finished, _ = wait(pending, _INTERVAL_S, FIRST_COMPLETED)
            for future in finished:
                index = pending.pop(future)
                error = _error_of(future)
                attempts[index] = attempts.get(index, 0) + 1
                if error is None:
                    report(index)
                elif _may_pass(error) and attempts[index] < ATTEMPTS:
                    pending[_submitted(executor, task, index)] = index
                else:
                    raise TaskFailed(index, error)
    except BaseException:
        for future in pending:
            future.cancel()
        raise


def _submitted(executor: Executor, task: Callable[[int], object], index: int) -> Future[object]:
    """Hand a task over; an executor that has lost its workers refuses it."""
    try:
        return executor.submit(task, index)
    except RuntimeError as error:
        raise TaskFailed(index, error) from None


def _error_of(future: Future[object]) -> BaseException | None:
    """Return the error of a finished task; one that the executor has cancelled has failed, too."""
    try:
        return future.exception()
    except CancelledError:
        return RuntimeError("the executor has cancelled it: its scheduler or its workers are gone")


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may succeed, as on a disk of the network."""
    return isinstance(error, OSError) and error.errno not in (*_LASTING, None)
