"""Choice of passes and blocks for a run within a memory budget. It reads no value of the image.

A pass of B stages with the reach r on a block of n voxels computes 1 + 2 B r / n of its voxels
along each cut axis. Many stages in a pass read and write the image less often, and compute more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cache

from napari_diffusion.core.errors import NotEnoughMemory, Remedy
from napari_diffusion.core.resources import format_bytes
from napari_diffusion.engine.blocks import carried
from napari_diffusion.engine.out_of_core.block_memory import MemoryModel, outer_shape
from napari_diffusion.engine.out_of_core.block_plan import BlockPlan, Pass, Resources
from napari_diffusion.engine.planner import Plan
from napari_diffusion.engine.problem import Problem

#: Largest share of computed voxels, as long as a block fits into the budget with it; the last ones
#: are for budgets in which it does not.
REDUNDANCIES = (1.3, 1.15, 1.05, 1.7, 2.5, 6.0, math.inf)
#: Chunk of a result [voxel] whose source has none, for one, two, and three or more long axes.
CHUNKS = {1: (1 << 18,), 2: (512, 512), 3: (64, 64, 64)}
#: Chunks of the source with fewer or more values are no good chunks of a result.
CHUNK_VALUES = (1 << 12, 1 << 22)
#: Smallest chunk along an axis [voxel] in a small budget, largest shard [bytes], and its largest
#: share of a block, by which writing takes less memory than computing.
MIN_CHUNK, MAX_SHARD_BYTES, SHARD_SHARE = 16, 64 << 20, 0.25
#: Numbers of blocks along an axis that are tried.
_SHARES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 512)
#: Blocks that are planned in full, those with the most voxels first.
_PLANNED_BLOCKS, _TRIED_BLOCKS = 12, 60
#: Share of the longest possible pass by which it may be shortened to carry fewer arrays.
_SHORTENED = 0.25


def plan_blocks(problem: Problem, plan: Plan, resources: Resources) -> BlockPlan:
    """Choose passes, blocks and workers with the least expected time within the budget.

    Parameters
    ----------
    problem
        The run on the whole image; no value of it is read.
    plan
        Its plan.
    resources
        Budget, workers and chunks.

    Raises
    ------
    NotEnoughMemory
        When no block fits into the budget.
    """
    best: BlockPlan | None = None
    least: tuple[bool, bool, float] | None = None
    smallest = math.inf
    schedule = _Schedule(problem, plan)
    for chunks in _chunk_shapes(problem, resources):
        for workers, threads in _teams(resources):
            planner = _Planner(problem, plan, resources, chunks, (workers, threads), schedule)
            for candidate in planner.candidates():
                smallest = min(smallest, candidate.memory)
                cost = not planner.fits_device(candidate), *_cost(candidate)
                if candidate.memory <= resources.memory and (least is None or cost < least):
                    best, least = candidate, cost
        if best is not None:
            return best
    needed = (
        "" if math.isinf(smallest) else f", and its smallest block {format_bytes(int(smallest))}"
    )
    raise NotEnoughMemory(
        f"The budget is {format_bytes(resources.memory)}{needed} with a halo of "
        f"{' x '.join(map(str, plan.reach(0, 1)))} voxels",
        Remedy.RAISE_BUDGET,
    )


def _cost(plan: BlockPlan) -> tuple[bool, float]:
    """Return what is compared: few redundant voxels first, then time."""
    return max(each.redundancy for each in plan.passes) > REDUNDANCIES[0], plan.seconds or 0.0


def _teams(resources: Resources) -> Iterator[tuple[int, int]]:
    """Yield numbers of workers and of threads for each of them."""
    for workers in range(resources.workers, 0, -1):
        threads = max(1, min(resources.threads, resources.workers // workers))
        if resources.workers % workers == 0 or workers == 1:
            yield workers, threads


def _chunk_shapes(problem: Problem, resources: Resources) -> Iterator[tuple[int, ...]]:
    """Yield shapes of the chunks of the result, per axis of the grid; smaller ones come later."""
    space = problem.space
    long = [i for i, n in enumerate(space) if n > 1]
    chunks = [1] * len(space)
    own = [0] * len(space)
    for axis, place in zip(problem.axes, problem.places_in_space, strict=True):
        if place is not None:
            own[place] = resources.source_chunks[axis]
    if CHUNK_VALUES[0] <= math.prod(own[i] for i in long) <= CHUNK_VALUES[1]:
        chunks = [max(1, n) for n in own]
    else:
        default = CHUNKS[min(3, max(1, len(long)))]
        for i, size in zip(long[::-1], default[::-1], strict=False):
            chunks[i] = size
    if resources.block is not None:  # two blocks must not share a chunk
        for i, (size, n) in enumerate(zip(resources.block, space, strict=True)):
            if size < n:
                chunks[i] = next(d for d in range(min(chunks[i], size), 0, -1) if size % d == 0)
        yield tuple(min(size, n) for size, n in zip(chunks, space, strict=True))
        return
    while True:
        yield tuple(min(size, n) for size, n in zip(chunks, space, strict=True))
        if all(size <= MIN_CHUNK for size in chunks):
            return
        chunks = [size if size <= MIN_CHUNK else -(-size // 2) for size in chunks]


class _Schedule:
    """Reach of the stages of a plan, and what is carried between them; computed once."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self._problem, self._plan, self._space = problem, plan, problem.space
        self.count = len(plan.stages)
        self.halo = cache(self._halo)
        self.carried = cache(lambda stage: carried(plan, stage))
        self.carried_bytes = cache(self._carried_bytes)

    def _halo(self, first: int, last: int) -> tuple[int, ...]:
        """Return the halo of some stages: at least 1, so that no axis of a block has one voxel."""
        reach = self._plan.reach(first, last)
        return tuple(
            0 if n == 1 else min(max(1, r), n) for r, n in zip(reach, self._space, strict=True)
        )

    def _carried_bytes(self, stage: int) -> int:
        """Return the bytes per voxel that are kept after so many stages, before the next pass."""
        if not 0 < stage < self.count:
            return 0
        plan, problem, names = self._plan, self._problem, self.carried(stage)
        itemsize = problem.working.itemsize
        size = sum(name != "stored" for name in names) * problem.channels * itemsize
        if "stored" not in names:
            return size
        space, strict = problem.space, problem.recipe.strict
        stored = plan.operator.stored_bytes(plan.kernels, space, strict, itemsize)
        return size + -(-stored // max(1, math.prod(space)))


class _Planner:
    """Plans runs with chunks of one shape and one number of workers."""

    def __init__(
        self,
        problem: Problem,
        plan: Plan,
        resources: Resources,
        chunks: tuple[int, ...],
        team: tuple[int, int],
        schedule: _Schedule,
    ) -> None:
        self.problem, self.plan, self.resources = problem, plan, resources
        self.chunks, (self.workers, self.threads), self.schedule = chunks, team, schedule
        self.space = problem.space
        self.frames = math.prod(problem.shape[i] for i in problem.frame_axes)
        self.memory = MemoryModel(
            problem,
            plan,
            self.threads,
            resources.source_chunks,
            resources.processes,
            resources.one_heap,
        )

    def candidates(self) -> Iterator[BlockPlan]:
        """Yield plans with blocks of different shapes."""
        blocks = sorted(self._block_shapes(), key=lambda block: (-math.prod(block), block))
        share = max(1, (self.resources.memory - self.memory.fixed) // self.workers)
        per_voxel = self.problem.channels * self.problem.working.itemsize
        planned = tried = 0
        first = self.schedule.halo(0, min(1, self.schedule.count))
        for block in blocks:
            # A block needs two fields at least, and more where the model does.
            too_large = 2 * math.prod(block) * per_voxel > share
            if block != blocks[-1] and (too_large or self._memory(block, first, 0) > share):
                continue
            fitting = self._plan_of(block, share)
            if fitting is not None:
                yield fitting
                # Larger blocks fit with shorter passes only.
                fits = fitting.block_memory <= share and self.fits_device(fitting)
                is_full = fitting.redundancy > REDUNDANCIES[1] or len(fitting.passes) == 1
                planned += fits and is_full
                tried += fits
            if planned >= _PLANNED_BLOCKS or tried >= _TRIED_BLOCKS:
                return

    def _block_shapes(self) -> set[tuple[int, ...]]:
        """Return shapes that are whole numbers of chunks, or cover an axis."""
        given = self.resources.block
        if given is not None:
            return {tuple(min(size, n) for size, n in zip(given, self.space, strict=True))}
        sizes = []
        for n, chunk in zip(self.space, self.chunks, strict=True):
            count = -(-n // chunk)
            sizes.append(
                {min(n, chunk * -(-count // share)) for share in _SHARES if share <= count}
            )
        return set(itertools.product(*sizes))

    def _redundancy(self, block: tuple[int, ...], halo: tuple[int, ...]) -> float:
        """Return computed voxels over voxels of the image; the halo ends at the border."""
        shares = []
        for n, size, h in zip(self.space, block, halo, strict=True):
            starts = range(0, n, size)
            total = sum(min(a + size + h, n) - max(a - h, 0) for a in starts)
            shares.append(total / max(1, n))
        return math.prod(shares)

    def _passes(self, block: tuple[int, ...], limit: float) -> list[Pass] | None:
        """Return passes as long as the redundancy allows; ``None`` if one stage exceeds it.

        Passes of about the same length compute less than long ones with a short one at the end.
        """
        longest = self.resources.stages_per_pass or self.schedule.count
        passes = self._passes_up_to(block, limit, longest)
        if passes is None or len(passes) < 2:
            return passes
        even = self._passes_up_to(block, limit, -(-self.schedule.count // len(passes)))
        return even if even is not None and len(even) <= len(passes) else passes

    def _passes_up_to(
        self, block: tuple[int, ...], limit: float, longest: int
    ) -> list[Pass] | None:
        """Return passes of at most ``longest`` stages each."""
        count, first, passes = self.schedule.count, 0, list[Pass]()
        while first < count or not passes:
            last = self._longest(block, first, limit, longest)
            if last is None:
                return None
            if last < count:
                last = self._cheapest_cut(first, last)
            halo = self.schedule.halo(first, last)
            names = self.schedule.carried(last) if last < count else ()
            passes.append(Pass(first, last, halo, names, self._redundancy(block, halo)))
            first = last
        return passes

    def _longest(
        self, block: tuple[int, ...], first: int, limit: float, longest: int
    ) -> int | None:
        """Return the end of the longest pass within a redundancy; ``None`` without any."""
        count = self.schedule.count
        high = min(count, first + longest)

        def fits(last: int) -> bool:
            return self._redundancy(block, self.schedule.halo(first, last)) <= limit

        low = min(first + 1, count)
        if not fits(low):
            return None
        if fits(high):
            return high
        while high - low > 1:  # the reach grows with the stages
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def _cheapest_cut(self, first: int, last: int) -> int:
        """Return the latest of the last possible cuts that carries the fewest bytes."""
        earliest = max(first + 1, last - int(_SHORTENED * (last - first)))
        return min(range(last, earliest - 1, -1), key=self.schedule.carried_bytes)

    def _plan_of(self, block: tuple[int, ...], share: int) -> BlockPlan | None:
        """Return the plan with the largest redundancy in the list that fits into the share."""
        smallest = None
        given = self.resources.block and self.resources.stages_per_pass
        for limit in REDUNDANCIES[-1:] if given else REDUNDANCIES:
            passes = self._passes(block, limit)
            if passes is None:
                continue
            candidate = self._with_passes(block, passes)
            if candidate.block_memory <= share and self.fits_device(candidate):
                return candidate
            if smallest is None or candidate.block_memory < smallest.block_memory:
                smallest = candidate
        return smallest

    def fits_device(self, candidate: BlockPlan) -> bool:
        """Whether a block fits into the memory of the device in one piece."""
        voxels = math.prod(outer_shape(candidate.block, candidate.halo, self.space))
        return voxels * self.plan.device_bytes <= self.resources.device_memory

    def _with_passes(self, block: tuple[int, ...], passes: list[Pass]) -> BlockPlan:
        problem, channels = self.problem, self.problem.channels
        voxels = math.prod(self.space) * self.frames
        kept = [self.schedule.carried_bytes(each.last) for each in passes]
        pairs = zip([0, *kept], kept, strict=False)
        amplification = self._amplification(block, passes[0].halo)
        read = voxels * channels * problem.input_dtype.itemsize * amplification
        moved = read + voxels * channels * problem.dtype.itemsize
        moved += voxels * sum(
            kept[i] * (1 + passes[i + 1].redundancy) for i in range(len(passes) - 1)
        )
        stages, operator = self.plan.stages, self.plan.operator
        effort = sum(
            each.redundancy * operator.effort(stages[each.first : each.last]) for each in passes
        )
        halo = tuple(map(max, zip(*(each.halo for each in passes), strict=True)))
        used = min(self.workers, -(-voxels // max(1, math.prod(block))))
        seconds = effort * voxels * channels * self.resources.pace / (used * self.threads)
        seconds += moved / self.resources.bandwidth
        return BlockPlan(
            space=self.space,
            block=block,
            passes=tuple(passes),
            frames=self.frames,
            chunks=self.chunks,
            shards=self._shards(block),
            workers=used,
            threads=self.threads,
            block_memory=self._memory(block, halo, max(kept)),
            fixed_memory=self.memory.fixed,
            level_memory=self.memory.level(self.chunks),
            disk=voxels * max(sum(pair) for pair in pairs),
            result_bytes=voxels * channels * problem.dtype.itemsize,
            read_amplification=amplification,
            seconds=seconds,
        )

    def _amplification(self, block: tuple[int, ...], halo: tuple[int, ...]) -> float:
        """Return the values that are decoded from the source, over values of the source."""
        problem, shares = self.problem, []
        for axis, place in zip(problem.axes, problem.places_in_space, strict=True):
            if place is None:
                continue
            n, size, h = self.space[place], block[place], halo[place]
            chunk = max(1, self.resources.source_chunks[axis])
            total = 0
            for a in range(0, n, size):
                low = max(a - h, 0) // chunk * chunk
                total += min(-(-min(a + size + h, n) // chunk) * chunk, n) - low
            shares.append(total / max(1, n))
        for axis in problem.frame_axes:
            shares.append(min(self.resources.source_chunks[axis], problem.shape[axis]) or 1)
        return float(math.prod(shares))

    def _shards(self, block: tuple[int, ...]) -> tuple[int, ...]:
        """Return the largest shard of limited size of which the block is a whole number."""
        counts = [-(-size // chunk) for size, chunk in zip(block, self.chunks, strict=True)]
        itemsize = self.problem.dtype.itemsize
        largest = min(MAX_SHARD_BYTES, SHARD_SHARE * math.prod(block) * itemsize)
        shard = list(counts)
        while math.prod(map(int.__mul__, shard, self.chunks)) * itemsize > largest:
            i = next((i for i, count in enumerate(shard) if count > 1), None)
            if i is None:
                break
            shard[i] = next(d for d in range(shard[i] - 1, 0, -1) if counts[i] % d == 0)
        return tuple(map(int.__mul__, shard, self.chunks))

    def _memory(self, block: tuple[int, ...], halo: tuple[int, ...], kept: int) -> int:
        """Return the predicted peak of a block [bytes]; parameters as `MemoryModel.block`."""
        return self.memory.block(block, halo, self._shards(block), kept)
