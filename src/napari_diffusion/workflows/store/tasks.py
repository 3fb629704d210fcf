"""One task of a run in blocks: it knows the work folder and an index, and reads all else there.

The stages of a run are ``survey`` (facts about the values), ``pass-0``, ``pass-1``, ... and
``level-1``, ``level-2``, ... of the pyramid.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from napari_diffusion import io
from napari_diffusion.backends.devices import PROCESSOR
from napari_diffusion.core.arrays import Field
from napari_diffusion.core.cancellation import CancelEvent, poll
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.blocks import excess_of, with_last
from napari_diffusion.engine.devices.choice import known_device
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.out_of_core.block_plan import BlockPlan
from napari_diffusion.engine.out_of_core.block_run import BlockRun, FrameFacts, Survey
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.problem import (
    FrameIndex,
    Problem,
    unread_problem,
    without_stages,
)
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io.flat_file import FlatFile
from napari_diffusion.io.npy import mapped
from napari_diffusion.io.ome_zarr import metadata_file
from napari_diffusion.io.zarr_pyramid import Pyramid, few_chunks_at_once, level_of_region
from napari_diffusion.workflows.store.heaps import release_memory, reuse_memory
from napari_diffusion.workflows.store.lazy import Nonzero
from napari_diffusion.workflows.store.work_folder import WorkFolder

SURVEY = "survey"
#: Jobs that a process keeps open.
_OPEN_JOBS = 4
#: Interval at which the end of another run is noticed [s].
_INTERVAL_S = 0.05


@dataclass(frozen=True)
class Job:
    """An unfinished run, opened in this process.

    Attributes
    ----------
    folder
        Its work folder.
    problem, plan
        The run on the whole image, whose values are read in blocks, and its plan.
    blocks
        The plan of its passes and blocks.
    pyramid
        The pyramid of the result, or the file in which its values have a fixed place.
    has_survey
        Whether facts about the values are collected before the first pass.
    """

    folder: WorkFolder
    problem: Problem
    plan: Plan
    blocks: BlockPlan
    pyramid: Pyramid | FlatFile
    has_survey: bool

    @classmethod
    def open(cls, folder: WorkFolder, device: str = PROCESSOR) -> Self:
        """Open a run from its settings, for a device, if this machine has it."""
        if multiprocessing.parent_process() is not None:  # a worker; others restore the setting
            few_chunks_at_once()
            reuse_memory()
        settings = folder.settings()
        if settings is None:
            raise FileNotFoundError(2, "the folder of the unfinished run is missing", folder.path)
        problem = _given.get(str(folder.path)) or _problem_of(folder, settings)
        place = known_device(device) or PROCESSOR
        plan = make_plan(problem, Execution(1, settings["backend"], place))
        return cls(
            folder,
            problem if plan.stages else without_stages(problem),
            plan,
            BlockPlan.from_plain(settings["blocks"]),
            folder.flat_file() or Pyramid.from_plain(settings["pyramid"]),
            settings["has_survey"],
        )

    @cached_property
    def frames(self) -> list[FrameIndex]:
        """Index of every frame."""
        return list(self.problem.frames())

    @property
    def stages(self) -> list[tuple[str, int, float]]:
        """Name, number of tasks and share of the work of every stage, in their order."""
        survey = [(SURVEY, self.blocks.blocks, 0.5)] if self.has_survey else []
        passes = [
            (f"pass-{k}", self.blocks.blocks, 1 + each.redundancy * (each.last - each.first))
            for k, each in enumerate(self.blocks.passes)
        ]
        if isinstance(self.pyramid, FlatFile):
            return [*survey, *passes]
        levels = [
            (f"level-{k}", self.pyramid.region_count(k), 0.5**k)
            for k in range(1, len(self.pyramid.levels))
        ]
        return [*survey, *passes, *levels]

    @cached_property
    def facts(self) -> list[FrameFacts]:
        """Facts about every frame."""
        if not self.has_survey:
            return [FrameFacts()] * len(self.frames)
        count = self.blocks.blocks_per_frame
        own = [Survey(**each) for each in self.folder.facts(SURVEY, self.blocks.blocks)]
        frames = [own[i : i + count] for i in range(0, len(own), count)]
        return [_total(frame).facts for frame in frames]

    def run(self, stage: str, index: int, cancel: CancelEvent | None = None) -> None:
        """Do a task and mark it, unless it is done."""
        if self.folder.is_done(stage, index):
            return
        kind, _, number = stage.partition("-")
        facts: dict[str, Any] = {}
        if kind == SURVEY:
            facts = asdict(Survey.of(self._block_run(0, index, FrameFacts())))
        elif kind == "pass":
            for name in self._run_pass(int(number), index, cancel):
                self.folder.add_device(name)
        elif isinstance(self.pyramid, Pyramid):
            poll(cancel)
            region = self.pyramid.region(int(number), index)
            store = self.folder.store
            values = level_of_region(store, self.pyramid, int(number), region)
            self.pyramid.write(store, int(number), region, values)
        if kind != "level":
            self._check_source()
        self.folder.mark(stage, index, facts)

    def _check_source(self) -> None:
        """Raise FileNotFoundError if the source is gone: its missing chunks would read as zeros."""
        for file in self.source_files:
            if not file.exists():
                raise FileNotFoundError(2, f"{file} is gone", str(file))

    @cached_property
    def source_files(self) -> list[Path]:
        """Files that exist as long as the source and the regions do."""
        domain = self.problem.domain
        arrays = (self.problem.image, domain.mask, domain.labels, domain.guide)
        files = [metadata_file(a.data if isinstance(a, Nonzero) else a) for a in arrays]
        named = (self.folder.settings() or {}).get("files", ())
        return [*map(Path, named), *(file for file in files if file is not None)]

    def place_of(self, stage: str, index: int) -> str:
        """Return the place of a task in the image, for messages."""
        if isinstance(self.pyramid, Pyramid) and stage.startswith("level"):
            region = self.pyramid.region(int(stage.partition("-")[2]), index)
        else:
            region = self._block_run(0, index, FrameFacts()).region()
        return ", ".join(f"{part.start}:{part.stop}" for part in region)

    def _block_run(self, number: int, index: int, facts: FrameFacts | None = None) -> BlockRun:
        frame, block = divmod(index, self.blocks.blocks_per_frame)
        return BlockRun(
            self.problem,
            self.plan,
            self.frames[frame],
            self.facts[frame] if facts is None else facts,
            self.blocks.passes[number],
            self.blocks.block_of(number, block),
            self.blocks.threads,
        )

    def _run_pass(self, number: int, index: int, cancel: CancelEvent | None) -> Iterable[str]:
        """Do a block of a pass, and return the names of the devices that have computed it."""
        run = self._block_run(number, index)
        first = index // self.blocks.blocks_per_frame * self.blocks.blocks_per_frame
        read_kept = partial(self._read_kept, number - 1, first)
        if number + 1 < len(self.blocks.passes):
            for name, values in run.kept_arrays(read_kept, cancel):
                self.folder.keep(f"pass-{number}", index, name, values)
            return run.devices
        region, order = run.region(), self.pyramid.order
        values = run.result(read_kept, cancel).transpose(order)
        place = tuple(region[i] for i in order)
        if isinstance(self.pyramid, FlatFile):
            self.pyramid.write(self.folder.file, place, values)
        else:
            self.pyramid.write(self.folder.store, 0, place, values)
        return run.devices

    def _read_kept(self, number: int, first: int, name: str, box: tuple[slice, ...]) -> Field:
        """Return an array that a pass has kept, in a box of a frame."""
        whole: Field | None = None
        for i in self.blocks.blocks_in(box):
            block = self.blocks.block_of(number, i)
            pairs = list(zip(block.place, box, strict=True))
            shared = [(max(p.start, b.start), min(p.stop, b.stop)) for p, b in pairs]
            part = self.folder.kept(f"pass-{number}", first + i, name)
            excess = excess_of(part, [p.stop - p.start for p in block.place])
            if whole is None:
                shape = tuple(b.stop - b.start + n for b, n in zip(box, excess, strict=True))
                whole = np.empty((*part.shape[: -len(shape)], *shape), part.dtype)
            target: Any = tuple(
                slice(low - b.start, high - b.start)
                for (low, high), b in zip(shared, box, strict=True)
            )
            source: Any = tuple(
                slice(low - p.start, high - p.start)
                for (low, high), p in zip(shared, block.place, strict=True)
            )
            to: Any = (..., *with_last(target, excess))
            origin: Any = (..., *with_last(source, excess))
            whole[to] = part[origin]
        assert whole is not None
        return whole


def _total(surveys: list[Survey]) -> Survey:
    total = surveys[0]
    for each in surveys[1:]:
        total += each
    return total


def _problem_of(folder: WorkFolder, settings: dict[str, Any]) -> Problem:
    """Open the files of a run."""
    volume = io.read(settings["source"])
    geometry = Geometry(**settings["geometry"])
    domain = Domain(**{name: _region(folder, own) for name, own in settings["regions"].items()})
    return unread_problem(volume.data, Recipe.from_dict(settings["recipe"]), geometry, domain)


def _region(folder: WorkFolder, settings: dict[str, Any] | None) -> Any:
    """Return a mask or labels on the grid of the image, which are read in blocks."""
    if settings is None:
        return None
    if settings["own"]:
        return mapped(folder.regions / settings["path"])
    data = io.read(settings["path"]).data
    return Nonzero(data) if settings["is_mask"] else data


_lock = threading.Lock()
_jobs: dict[tuple[str, str], tuple[float, Job]] = {}
#: Events that cancel the runs of this process, and their problems on arrays, by work folder.
_cancels: dict[str, CancelEvent | None] = {}
_given: dict[str, Problem] = {}


@contextmanager
def opened(path: str, cancel: CancelEvent | None, problem: Problem | None) -> Iterator[None]:
    """Let this process do tasks of a run; another run of the folder in this process is awaited.

    Parameters
    ----------
    path
        The work folder.
    cancel
        Event that cancels the tasks.
    problem
        The run on an array of this process; ``None`` for a run on files.
    """
    while True:
        poll(cancel)
        with _lock:
            if path not in _cancels:
                _cancels[path] = cancel
                break
        time.sleep(_INTERVAL_S)
    if problem is not None:
        _given[path] = problem
    try:
        yield
    finally:
        _given.pop(path, None)
        with _lock:
            for key in [key for key in _jobs if key[0] == path]:
                del _jobs[key]
            _cancels.pop(path, None)


def job_at(path: str, device: str = PROCESSOR) -> Job:
    """Return the opened run of a work folder on a device; a process opens it once."""
    with _lock:
        changed = (Path(path) / "run.json").stat().st_mtime_ns
        kept = _jobs.get((path, device))
        if kept is None or kept[0] != changed:
            while len(_jobs) >= _OPEN_JOBS:
                _jobs.pop(next(iter(_jobs)))
            kept = changed, Job.open(WorkFolder(Path(path)), device)
            _jobs[path, device] = kept
        return kept[1]


def run_task(path: str, stage: str, device: str, index: int) -> None:
    """Do a task of the run in a work folder on a device: the function of the workers."""
    try:
        job_at(path, device).run(stage, index, _cancels.get(path))
    finally:
        release_memory()


def task_of(path: str, stage: str, device: str = PROCESSOR) -> Callable[[int], None]:
    """Return the task of a stage on a device, which can be pickled."""
    return partial(run_task, path, stage, device)
