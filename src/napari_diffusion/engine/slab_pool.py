"""Threads: serial kernels that release the GIL run over slabs of planes, in a pool of each run.

numba's ``parallel=True`` aborts the whole process when two Python threads use it at once. A pool
per run has no such limit.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from napari_diffusion.core.cancellation import CancelEvent, poll
from napari_diffusion.core.resources import bound_processors

#: Smallest slab [voxels] that is worth the hand-over to another thread (about 50 µs). An image of
#: up to two such slabs is not cut: at 64³, two threads were half as fast as one.
MIN_SLAB_VOXELS = 1 << 17
#: Number of threads from which on each slab has at least so many voxels: in thinner ones, work at
#: their edges and Python between kernels take more processor time than the threads save.
MANY_THREADS, MANY_SLAB_VOXELS = 4, 1 << 19
#: Chunks per thread, at least, in which tensors are made.
SLABS_PER_THREAD = 4
#: Ranges of a slab in a pass of several stages: a thread without a slab takes one of another.
RANGES_PER_SLAB = 4


def worthwhile_slabs(voxels: int, threads: int) -> int:
    """Return the number of slabs for an image of so many ``voxels``, at most ``threads``.

    No more threads run than there are processors, so that more slabs would be cut in vain.
    """
    worthwhile = min(voxels // MANY_SLAB_VOXELS, bound_processors())
    return min(threads, max(MANY_THREADS, worthwhile))


def slab_height(planes: int, voxels_per_plane: int, slabs: int, largest: float = math.inf) -> int:
    """Return the number of planes per slab of an image that is cut into about so many ``slabs``.

    A slab has at least `MIN_SLAB_VOXELS` and at most ``largest`` voxels.
    """
    is_cut = planes * voxels_per_plane > 2 * MIN_SLAB_VOXELS
    even = max(-(-planes // slabs) if is_cut else planes, MIN_SLAB_VOXELS // voxels_per_plane)
    return max(1, int(min(even, largest // voxels_per_plane)))


@dataclass(slots=True)
class _Slab:
    """Planes ``lo:hi`` that no thread has begun."""

    lo: int
    hi: int


class _Slabs:
    """Hands out the chunks of slabs. A thread takes those of one slab in their order.

    Parameters
    ----------
    planes, height, chunk
        Number of all planes, of those of a slab, and of those of a chunk.
    """

    def __init__(self, planes: int, height: int, chunk: int) -> None:
        self._chunk = chunk
        self._new = deque(_Slab(lo, min(lo + height, planes)) for lo in range(0, planes, height))
        self._begun: list[_Slab] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of slabs that no thread has begun."""
        return len(self._new)

    def clear(self) -> None:
        """Leave no chunk."""
        with self._lock:
            self._new.clear()
            for slab in self._begun:
                slab.lo = slab.hi

    def begin(self) -> _Slab | None:
        """Return a slab for a thread that has none; None if all are done.

        It is a new one, or the second half of the longest rest of a slab of another thread.
        """
        with self._lock:
            if self._new:
                slab = self._new.popleft()
            else:
                longest = max(self._begun, key=lambda slab: slab.hi - slab.lo, default=_Slab(0, 0))
                chunks = (longest.hi - longest.lo) // self._chunk
                if chunks < 2:
                    return None
                slab = _Slab(longest.hi - chunks // 2 * self._chunk, longest.hi)
                longest.hi = slab.lo
            self._begun.append(slab)
            return slab

    def next_chunk(self, slab: _Slab) -> tuple[int, int] | None:
        """Return the first planes of a slab that are left, and take them out; None without any."""
        with self._lock:
            lo, hi = slab.lo, min(slab.lo + self._chunk, slab.hi)
            slab.lo = hi
        return (lo, hi) if lo < hi else None


class SlabPool:
    """Runs a function over slabs of planes; its result must not depend on where they are cut.

    Slabs are cut for ``threads``, but no more threads run than there are processors: they would
    evict the data of one another from the caches.
    """

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
        self,
        work: Callable[[int, int], None],
        planes: int,
        height: int,
        chunk: int | None = None,
        quiet: bool = False,
        stages: int = 1,
    ) -> None:
        """Call ``work(lo, hi)`` on all planes; unless ``quiet``, report the share done.

        A thread passes through a slab in its order, one ``chunk`` after the other, and may carry
        something from a chunk to the next one.

        Parameters
        ----------
        work
            Computes planes ``lo:hi``.
        planes, height, chunk
            Number of all planes, of those of a slab, and of those of a chunk; by default a slab is
            one chunk.
        quiet
            Whether to report no progress.
        stages
            Number of stages that ``work`` computes; shares are those of one stage.

        Raises
        ------
        Cancelled
            Between two chunks, when the cancel event is set.
        """
        chunk = chunk or height
        if planes <= height:
            self._run_one_slab(work, planes, chunk, quiet, stages)
            return
        slabs = _Slabs(planes, height, chunk)
        finished_planes: list[int] = []

        def take_slabs(report: Callable[[float], object]) -> None:
            try:
                slab = slabs.begin()
                while slab is not None:
                    self.poll()
                    part = slabs.next_chunk(slab)
                    if part is None:
                        slab = slabs.begin()
                        continue
                    work(*part)
                    finished_planes.append(part[1] - part[0])
                    report(stages * sum(finished_planes) / planes)
            except BaseException:
                slabs.clear()  # the other threads stop as well
                raise

        # The calling thread works too: this saves one hand-over, and progress is reported from it.
        workers = min(self.threads, bound_processors())
        futures = self._submit(take_slabs, min(workers, len(slabs)) - 1, workers)
        try:
            take_slabs(_ignore if quiet else self.report)
        finally:
            # No thread may write to the caller's arrays after an error or a cancel was raised.
            if futures:
                wait(futures)
        for future in futures:
            future.result()
        if futures and not quiet:
            self.report(float(stages))

    def run_stages(
        self,
        work: Callable[[int, int, int], None],
        planes: int,
        height: int,
        stages: int,
        reach: int,
        block: int,
    ) -> None:
        """Call ``work(stage, lo, hi)`` on all planes for several stages, in one pass over memory.

        A thread advances a range of planes by all stages, a block of planes at a time. Each stage
        is ``reach`` planes behind the one before it, so that its planes are still in the cache. At
        the border between two ranges a stage ends ``reach`` planes before the previous one. What is
        left there is computed when both ranges are done. Every stage computes every plane once.

        Two alternating fields suffice: a plane is overwritten after all stages that read it.

        Parameters
        ----------
        work
            Computes planes ``lo:hi`` of the stage with this number in the pass.
        planes, height
            Number of all planes, and of those of a slab.
        stages, reach
            Number of stages, and planes by which each of them reads beyond what it computes.
        block
            Planes that a stage computes at once.

        Raises
        ------
        Cancelled
            Between two blocks, when the cancel event is set.
        """
        height = max(2 * stages * reach, -(-height // RANGES_PER_SLAB))
        borders = range(height, planes - stages * reach, height)
        edges = [0, *borders, planes]
        if not borders and planes + (stages - 1) * reach <= block:  # a small image
            self.poll()
            for stage in range(stages):
                work(stage, 0, planes)
            self.report(float(stages))
            self.poll()
            return

        def advance(lo: int, hi: int) -> None:
            for first, end in zip(edges[lo:hi], edges[lo + 1 : hi + 1], strict=True):
                for start in range(first, end + (stages - 1) * reach, block):
                    self.poll()
                    for stage in range(stages):
                        shift = stage * reach
                        low = first if first == 0 else first + shift
                        high = end if end == planes else end - shift
                        low, high = max(start - shift, low), min(start + block - shift, high)
                        if low < high:
                            work(stage, low, high)

        def join(lo: int, hi: int) -> None:
            for border in borders[lo:hi]:
                for stage in range(1, stages):
                    work(stage, border - stage * reach, border + stage * reach)

        self.run(advance, len(edges) - 1, 1, stages=stages)
        self.run(join, len(borders), 1, quiet=True)

    def _run_one_slab(
        self,
        work: Callable[[int, int], None],
        planes: int,
        chunk: int,
        quiet: bool,
        stages: int,
    ) -> None:
        """Call ``work`` on the chunks of a slab in the calling thread, without a hand-over."""
        for lo in range(0, planes, chunk):
            self.poll()
            hi = min(lo + chunk, planes)
            work(lo, hi)
            if not quiet:
                self.report(stages * hi / planes)
        self.poll()

    def poll(self) -> None:
        """Raise `Cancelled` when the cancel event is set."""
        if self._cancel is not None:
            poll(self._cancel)

    def _submit(
        self, take_slabs: Callable[[Callable[[float], object]], None], helpers: int, workers: int
    ) -> list[Future[None]]:
        """Start ``take_slabs`` in a number of further threads, without progress."""
        if helpers > 0 and self._pool is None:
            self._pool = ThreadPoolExecutor(workers - 1, "napari-diffusion")
        if self._pool is None:
            return []
        return [self._pool.submit(take_slabs, _ignore) for _ in range(helpers)]


def _ignore(share: float) -> None:
    """Report no progress."""
