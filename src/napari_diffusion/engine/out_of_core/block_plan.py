"""The plan of a run in blocks: passes, shape of the blocks, memory, disk and reading.

It holds plain numbers, so that it is the same for every worker and can be kept beside the result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from napari_diffusion.core.resources import format_bytes
from napari_diffusion.engine.blocks import Block, Box, block_at


@dataclass(frozen=True)
class Resources:
    """What a run in blocks may use, and what its source and result are stored in.

    Attributes
    ----------
    memory
        Budget of all workers together, above the imported program [bytes].
    workers
        Largest number of blocks at the same time.
    threads
        Largest number of threads of one worker; above 1, few workers with many threads are tried.
    source_chunks
        Shape of what a reader decodes at once, per axis of the image.
    pace
        Processor time per voxel and stage [s].
    bandwidth
        Bytes per second that are read or written.
    device_memory
        Memory of the device for one block [bytes], if the plan has a device.
    processes
        Number of processes in which the workers are.
    one_heap
        Whether all threads of a process allocate from one heap.
    block, stages_per_pass
        Shape of a block per axis of the grid, and largest number of stages of a pass, where they
        are given and not chosen.
    """

    memory: int
    workers: int
    threads: int
    source_chunks: tuple[int, ...]
    pace: float = 6e-9
    bandwidth: float = 4e8
    device_memory: float = math.inf
    processes: int = 1
    one_heap: bool = False
    block: tuple[int, ...] | None = None
    stages_per_pass: int | None = None


@dataclass(frozen=True)
class Pass:
    """Some consecutive stages, which are done block by block.

    Attributes
    ----------
    first, last
        Number of stages that are done before and after the pass.
    halo
        Voxels by which a block extends on both sides, per axis of the grid.
    carried
        Names of the arrays that the next pass needs; empty for the last pass.
    redundancy
        Computed voxels over voxels of the image.
    """

    first: int
    last: int
    halo: tuple[int, ...]
    carried: tuple[str, ...]
    redundancy: float


@dataclass(frozen=True)
class BlockPlan:
    """The plan of a run in passes and blocks.

    Attributes
    ----------
    space, block
        Shape of a frame and of a block without its halo, per axis of the grid.
    passes
        The passes, in their order.
    frames
        Number of frames, each of which is filtered by itself.
    chunks, shards
        Shape of the chunks and of the shards of the result, per axis of the grid. A block is a
        whole number of shards.
    workers, threads
        Number of blocks that are computed at the same time, and of threads for each of them.
    block_memory
        Predicted peak of one block [bytes].
    fixed_memory
        Memory of all workers together besides their blocks [bytes].
    level_memory
        Predicted peak of a part of the pyramid [bytes].
    disk
        Largest size of what is kept between two passes [bytes].
    result_bytes
        Size of the result without compression and without its pyramid [bytes].
    read_amplification
        Values that are decoded from the source, over values of the source.
    seconds
        Expected duration [s]; ``None`` where the pace is unknown.
    """

    space: tuple[int, ...]
    block: tuple[int, ...]
    passes: tuple[Pass, ...]
    frames: int
    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    workers: int
    threads: int
    block_memory: int
    fixed_memory: int
    level_memory: int
    disk: int
    result_bytes: int
    read_amplification: float
    seconds: float | None = None

    @property
    def memory(self) -> int:
        """Predicted peak of all workers together, above that of the imported program [bytes]."""
        parts = self.level_workers * self.level_memory
        return self.fixed_memory + max(self.workers * self.block_memory, parts)

    @property
    def level_workers(self) -> int:
        """Number of parts of the pyramid that are made at the same time."""
        room = self.workers * self.block_memory // max(1, self.level_memory)
        return max(1, min(self.workers * self.threads, room))

    @property
    def halo(self) -> tuple[int, ...]:
        """Largest halo of a pass, per axis of the grid [voxel]."""
        return tuple(map(max, zip(*(each.halo for each in self.passes), strict=True)))

    @property
    def redundancy(self) -> float:
        """Computed voxels over voxels of the image, weighted by the stages of the passes."""
        stages = [each.last - each.first for each in self.passes]
        weighted = sum(n * each.redundancy for n, each in zip(stages, self.passes, strict=True))
        return weighted / max(1, sum(stages)) if sum(stages) else 1.0

    @property
    def blocks_per_frame(self) -> int:
        """Number of blocks of a frame."""
        return math.prod(self._counts)

    @property
    def blocks(self) -> int:
        """Number of blocks of a pass."""
        return self.frames * self.blocks_per_frame

    def block_of(self, number: int, index: int) -> Block:
        """Return a block of a frame, by its number, in the pass of this number."""
        corner = [
            int(i) * size
            for i, size in zip(np.unravel_index(index, self._counts), self.block, strict=True)
        ]
        return block_at(corner, self.space, self.block, self.passes[number].halo)

    def blocks_in(self, box: Box) -> list[int]:
        """Return the numbers of the blocks of a frame that have voxels in a box."""
        ranges = [
            range(part.start // size, -(-part.stop // size))
            for part, size in zip(box, self.block, strict=True)
        ]
        counts = self._counts
        return [int(np.ravel_multi_index(i, counts)) for i in itertools.product(*ranges)]

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(-(-n // size) for n, size in zip(self.space, self.block, strict=True))

    def to_plain(self) -> dict[str, Any]:
        """Return the plan as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Rebuild a plan from plain JSON types."""
        tuples = ("space", "block", "chunks", "shards")
        passes = tuple(
            Pass(**{**each, "halo": tuple(each["halo"]), "carried": tuple(each["carried"])})
            for each in plain["passes"]
        )
        own = {name: tuple(plain[name]) for name in tuples}
        return cls(**{**plain, **own, "passes": passes})

    def describe(self) -> str:
        """Return the plan in a few sentences."""
        count = len(self.passes)
        blocks = f"{self.blocks} block{_s(self.blocks)} of {_times(self.block)} voxels"
        halo = f", halo {_times(self.halo)}" if any(self.halo) else ""
        frames = f" on {self.frames} frames" if self.frames > 1 else ""
        stages = ", ".join(str(each.last - each.first) for each in self.passes)
        work = (
            f"Computes {self.redundancy:.2f} times and reads {self.read_amplification:.2f} times "
            "the voxels of the image."
        )
        memory = (
            f"{self.workers} worker{_s(self.workers)} with {self.threads} "
            f"thread{_s(self.threads)}, {format_bytes(self.block_memory)} each and "
            f"{format_bytes(self.memory)} of memory together; "
            f"{format_bytes(self.result_bytes)} for the result"
        )
        memory += f", {format_bytes(self.disk)} of disk between passes." if self.disk else "."
        passes = f"{count} pass{'es' if count > 1 else ''} ({stages} stages){frames}"
        sentences = [f"{passes}: {blocks}{halo}.", work, memory]
        if self.seconds is not None:
            sentences.append(f"It will take about {duration(self.seconds)}.")
        return " ".join(sentences)


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def duration(seconds: float) -> str:
    """Return a duration with at most two digits."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{float(f'{seconds / length:.2g}'):g} {unit}"
    return f"{max(1, round(seconds))} s"
