"""Threads: serial kernels that release the GIL run over slabs of planes, in a pool of each run.

numba's ``parallel=True`` aborts the whole process when two Python threads use it at once. A pool
per run has no such limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from napari_diffusion.core.cancellation import CancelEvent, poll

#: Smallest slab [voxels] that is worth the hand-over to another thread (about 50 µs). An image of
#: up to two such slabs is not cut: at 64³, two threads were half as fast as one.
MIN_SLAB_VOXELS = 1 << 17


def slab_height(planes: int, voxels_per_plane: int, threads: int, largest: int) -> int:
    """Return the number of planes per slab.

    There are enough slabs for an even share of the work. A slab has at least `MIN_SLAB_VOXELS` and
    at most ``largest`` voxels.
    """
    is_cut = planes * voxels_per_plane > 2 * MIN_SLAB_VOXELS
    even = -(-planes // (4 * threads)) if is_cut else planes
    return max(1, min(max(even, MIN_SLAB_VOXELS // voxels_per_plane), largest // voxels_per_plane))


class SlabPool:
    """Runs a function over slabs of planes; its result must not depend on where they are cut."""

    def __init__(
        self, threads: int, cancel: CancelEvent | None, report: Callable[[float], object]
    ) -> None:
        self.threads = threads
        self.report = report
        self._cancel = cancel
        self._pool: ThreadPoolExecutor | None = None  # a small image is not cut and needs none

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
        """Call ``work(lo, hi)`` on all slabs; unless ``quiet``, report the share done after each.

        Raises
        ------
        Cancelled
            Between two slabs, when the cancel event is set.
        """
        slabs = deque((lo, min(lo + height, planes)) for lo in range(0, planes, height))
        finished_planes: list[int] = []

        def take_slabs(report: Callable[[float], object]) -> None:
            try:
                while slabs:
                    self.poll()
                    try:
                        lo, hi = slabs.popleft()
                    except IndexError:  # another thread took the last slab
                        return
                    work(lo, hi)
                    finished_planes.append(hi - lo)
                    report(sum(finished_planes) / planes)
            except BaseException:
                slabs.clear()  # the other threads stop as well
                raise

        # The calling thread works too: this saves one hand-over, and progress is reported from it.
        futures = self._submit(take_slabs, min(self.threads, len(slabs)) - 1)
        try:
            take_slabs(_ignore if quiet else self.report)
        finally:
            # No thread may write to the caller's arrays after an error or a cancel was raised.
            if futures:
                wait(futures)
        for future in futures:
            future.result()
        if futures and not quiet:
            self.report(1.0)

    def poll(self) -> None:
        """Raise `Cancelled` when the cancel event is set."""
        poll(self._cancel)

    def _submit(
        self, take_slabs: Callable[[Callable[[float], object]], None], helpers: int
    ) -> list[Future[None]]:
        """Start ``take_slabs`` in a number of further threads, without progress."""
        if helpers > 0 and self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1, "napari-diffusion")
        if self._pool is None:
            return []
        return [self._pool.submit(take_slabs, _ignore) for _ in range(helpers)]


def _ignore(share: float) -> None:
    """Report no progress."""
