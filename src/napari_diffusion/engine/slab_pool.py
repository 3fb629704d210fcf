"""Threads: serial kernels that release the GIL, over slabs of planes, in a pool of our own.

numba's ``parallel=True`` aborts the whole process when two Python threads use it at once; a pool per run cannot.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from napari_diffusion.core.cancellation import CancelEvent, Cancelled

#: Fewer voxels than this are not worth a hand-over to another thread (about 50 µs), and an image of two such slabs is not cut yet:
#: at 64³ two threads were half as fast as one.
MIN_SLAB_VOXELS = 1 << 17


def cpu_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slab_height(planes: int, voxels_per_plane: int, threads: int, largest: int) -> int:
    """Planes per slab: enough slabs to share evenly, none too small to be worth a hand-over, none above ``largest`` voxels."""
    even = (
        -(-planes // (4 * threads)) if planes * voxels_per_plane > 2 * MIN_SLAB_VOXELS else planes
    )
    return max(1, min(max(even, MIN_SLAB_VOXELS // voxels_per_plane), largest // voxels_per_plane))


class SlabPool:
    """Runs a function over slabs of planes; the result may not depend on where they are cut."""

    def __init__(
        self, threads: int, cancel: CancelEvent | None, report: Callable[[float], object]
    ) -> None:
        self.threads, self._cancel, self.report = threads, cancel, report
        self._pool: ThreadPoolExecutor | None = None  # a small image is never cut, and needs none

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(
        self, work: Callable[[int, int], None], planes: int, height: int, quiet: bool = False
    ) -> None:
        """Call ``work(lo, hi)`` on all slabs and report the share that is done after each. Raises `Cancelled` between slabs."""
        cuts = deque((lo, min(lo + height, planes)) for lo in range(0, planes, height))
        done: list[int] = []

        def take(report: Callable[[float], object]) -> None:
            try:
                while cuts:
                    self.poll()
                    try:
                        lo, hi = cuts.popleft()
                    except IndexError:  # another thread was faster
                        return
                    work(lo, hi)
                    done.append(hi - lo)
                    report(sum(done) / planes)
            except BaseException:
                cuts.clear()  # the others stop as well
                raise

        # The calling thread works too: one hand-over less, and progress is reported from where it is wanted.
        wanted = min(self.threads, len(cuts)) - 1
        if wanted > 0 and self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1, "napari-diffusion")
        auxiliary_layers = (
            [self._pool.submit(take, lambda share: None) for _ in range(wanted)]
            if self._pool
            else []
        )
        try:
            take((lambda share: None) if quiet else self.report)
        finally:
            # Nobody may still write into our buffers when an error or a cancel has been passed on.
            if auxiliary_layers:
                wait(auxiliary_layers)
        for helper in auxiliary_layers:
            helper.result()
        if auxiliary_layers and not quiet:
            self.report(1.0)

    def poll(self) -> None:
        """Raise `Cancelled` when the caller wants the run to stop."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("The filter was cancelled.")
