"""A run in blocks from a file to an OME-Zarr: checks, passes, pyramid, and the final name.

Until the end, everything is in a work folder beside the target, from which a run continues after it
was killed. The target gets its name when it is complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from napari_diffusion import io
from napari_diffusion.backends.devices import PROCESSOR
from napari_diffusion.core import dtypes
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.errors import (
    BlockFailed,
    DescribedError,
    InputError,
    Remedy,
    TargetExists,
    WriteError,
    reason_of,
)
from napari_diffusion.engine.out_of_core.block_plan import BlockPlan
from napari_diffusion.engine.out_of_core.planning import plan_blocks
from napari_diffusion.engine.planner import Plan, make_plan
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import Volume
from napari_diffusion.io.atomic import free_bytes, rename_all
from napari_diffusion.io.axes import AxisAssignment
from napari_diffusion.io.ome_zarr import finish as finish_store
from napari_diffusion.io.zarr_pyramid import Pyramid, few_chunks_at_once, pyramid_like
from napari_diffusion.workflows.file_run import FileOptions
from napari_diffusion.workflows.store.executors import (
    TaskFailed,
    executor_of,
    run_tasks,
)
from napari_diffusion.workflows.store.options import (
    StoreOptions,
    affordable_workers,
    per_image_axis,
    resources_of,
    warm,
)
from napari_diffusion.workflows.store.source import StoreSource
from napari_diffusion.workflows.store.tasks import SURVEY, Job, job_at, opened, task_of
from napari_diffusion.workflows.store.work_folder import (
    WorkFolder,
    begin_or_continue,
    publish,
    write_text,
)

#: Version of the settings in a work folder.
_FORMAT = 1


@dataclass(frozen=True)
class StoreRun:
    """A checked run in blocks.

    Attributes
    ----------
    source
        The image, whose values are read in blocks, with its recipe and regions.
    plan, blocks, pyramid
        The plan of the run, the plan of its blocks, and the levels of its result; ``None`` for a
        result that is a file.
    target, options, store_options
        Path of the result, and the options of the run.
    is_member
        Whether the result is an image of a plate or the like, which has one recipe beside it.
    """

    source: StoreSource
    plan: Plan
    blocks: BlockPlan
    pyramid: Pyramid | None
    target: Path
    options: FileOptions
    store_options: StoreOptions
    is_member: bool = False

    @classmethod
    def make(
        cls,
        volume: Volume,
        assignment: AxisAssignment,
        recipe: Recipe,
        target: Path,
        options: FileOptions,
        store_options: StoreOptions,
    ) -> Self:
        """Prepare a run on a file and check everything that can be checked before it starts.

        Parameters
        ----------
        volume, assignment, recipe, target, options
            As for `FileRun.make`. The target is an OME-Zarr.
        store_options
            How it is done.

        Raises
        ------
        ValueError, TypeError, OSError, WriteError, NotEnoughMemory
            When the run would fail.
        """
        source = StoreSource.of_files(volume, assignment, recipe, options)
        return cls.of_source(source, target, options, store_options)

    @classmethod
    def of_source(
        cls,
        source: StoreSource,
        target: Path,
        options: FileOptions,
        store_options: StoreOptions,
        is_member: bool = False,
    ) -> Self:
        """Prepare a run on a file or an array; parameters and errors as those of `make`."""
        work = WorkFolder.of(target)
        work.remove_rest()
        is_begun = store_options.resume and work.settings() is not None
        if not is_member:
            _check_target(target, source, options.overwrite, is_begun)
        is_local = store_options.executor in (None, "threads")
        if source.is_array and (not is_local or store_options.part is not None):
            raise TypeError(
                "Other processes cannot open an array of this one: save it to a file, or use "
                'executor="threads".'
            )
        problem = source.problem
        plan = make_plan(problem, replace(options.execution, threads=1))
        blocks = plan_blocks(problem, plan, resources_of(problem, plan, options, store_options))
        if plan.device is not None:  # the pace of the planner is that of the processor
            blocks = replace(blocks, seconds=None)
        pyramid = None
        if is_member or io.format_of(target)[0].writes_folder:
            pyramid = pyramid_like(
                source.like,
                problem.dtype,
                per_image_axis(problem, blocks.chunks),
                per_image_axis(problem, blocks.shards),
            )
        else:
            _check_workers(store_options, target)
        made = cls(source, plan, blocks, pyramid, target, options, store_options, is_member)
        if not (is_begun or is_member):
            made._check_disk()
        return made

    @property
    def volume(self) -> Volume:
        """The volume, whose values are read in blocks."""
        return self.source.volume

    @property
    def assignment(self) -> AxisAssignment:
        """The roles of the axes."""
        return self.source.assignment

    @property
    def recipe(self) -> Recipe:
        """The recipe, with the axes and the voxel size of the image."""
        return self.source.recipe

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        return self.source.notes

    def _check_disk(self) -> None:
        needed, folder = self.blocks.result_bytes + self.blocks.disk, self.target.resolve().parent
        if needed > free_bytes(folder):
            raise WriteError(
                f"cannot be written: it needs up to {needed:,} bytes, those between passes "
                f"included, and {free_bytes(folder):,} bytes are free there",
                path=self.target,
            )

    def execute(
        self,
        progress: Callable[[float], object] | None = None,
        cancel: CancelEvent | None = None,
        commit: AbstractContextManager[object] | None = None,
    ) -> tuple[Path, ...]:
        """Do what is left of the run, and return the files that were written.

        A job that is one of several parts does its blocks of the first unfinished stage; it returns
        no file.

        Parameters
        ----------
        progress
            Called with the completed share, from 0 to 1.
        cancel
            The run ends with `Cancelled` when this event is set; it can be continued.
        commit
            Context in which the result gets its name; it may defer signals.

        Raises
        ------
        BlockFailed
            When a block fails. The blocks before it are kept.
        NotFinite, WriteError, TargetExists, Cancelled
            As `FileRun.write` and the run in memory.
        """
        return self.finish(commit) if self.compute(progress, cancel) else ()

    def compute(
        self,
        progress: Callable[[float], object] | None = None,
        cancel: CancelEvent | None = None,
    ) -> bool:
        """Do all blocks that are left, and return whether the result is complete.

        Parameters and errors as `execute`.
        """
        folder = self._begun()
        if folder is None:
            return True
        path = str(folder.path)
        problem = self.source.problem if self.source.is_array else None
        with opened(path, cancel, problem):
            return self._run_stages(job_at(path, self._place), progress or _ignore, cancel)

    def describe(self) -> str:
        """Return the plan of the run in a few sentences."""
        begun = WorkFolder.of(self.target).settings() if self.store_options.resume else None
        blocks = self.blocks if begun is None else BlockPlan.from_plain(begun["blocks"])
        start = "Continues in blocks: " if begun is not None else "In blocks: "
        device = self.plan.device
        place = f" One block at a time is on {device.name}." if device else ""
        return start + blocks.describe() + place

    def _settings(self) -> dict[str, Any]:
        """Return all that a worker needs."""
        return {
            **self.source.settings(),
            "format": _FORMAT,
            "fingerprint": self.fingerprint,
            "backend": self.options.execution.backend,
            "blocks": self.blocks.to_plain(),
            "pyramid": None if self.pyramid is None else self.pyramid.to_plain(),
            "file": self.target.name,
            "has_survey": self.source.has_survey,
        }

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices that have computed blocks of the run, before it is finished."""
        return WorkFolder.of(self.target).devices()

    @property
    def _place(self) -> str:
        """Name of the device on which workers do the blocks, as it was given."""
        device = self.plan.device
        return PROCESSOR if device is None else self.options.execution.device or device.name

    @property
    def fingerprint(self) -> str:
        """Fingerprint of recipe, version, source and regions."""
        return self.source.fingerprint(self.plan.backend)

    def _begun(self) -> WorkFolder | None:
        """Return the work folder, made or continued; ``None`` if the run is complete."""

        def fill(temporary: WorkFolder) -> None:
            if self.pyramid is None:
                self._lay_out(temporary)
            else:
                self.pyramid.create(temporary.store)
            self.source.regions.fill(temporary)

        return begin_or_continue(self.target, self._settings(), fill, self.store_options.resume)

    def _lay_out(self, folder: WorkFolder) -> None:
        """Make the file of the result in a new work folder, without its pixels."""
        folder.store.mkdir()
        path, like = folder.store / self.target.name, self._like_of_file()
        dtype, recipe = self._stored_dtype(like), self.recipe.to_json()
        lay_out = io.format_of(self.target)[0].lay_out
        assert lay_out is not None
        flat = lay_out(path, dtype, like, recipe)
        flat.reserve(path)
        write_text(folder.path / "file.json", json.dumps(flat.to_plain()))

    def _like_of_file(self) -> Volume:
        """Return the volume whose metadata a file keeps."""
        return replace(self.source.volume, scaling=(1.0, 0.0))

    def _stored_dtype(self, like: Volume) -> Any:
        file_format, suffix = io.format_of(self.target)
        return file_format.storable(self.source.problem.dtype, like, suffix)

    def _run_stages(
        self, job: Job, report: Callable[[float], object], cancel: CancelEvent | None
    ) -> bool:
        """Do all stages in their order; return whether the run is complete."""
        part, parts = self.store_options.part or (1, 1)
        warm(job)
        workers = min(
            self.store_options.worker_count, affordable_workers(job.blocks, self.store_options)
        )
        is_local = self.store_options.executor in (None, "threads")
        for_levels = (
            job.blocks.level_workers if is_local else min(workers, job.blocks.level_workers)
        )
        own = executor_of(self.store_options.executor, max(workers, for_levels))
        meter = _Meter(job, report)
        with few_chunks_at_once(), own as executor:
            for number, (stage, count, _) in enumerate(job.stages):
                done = job.folder.done(stage)
                left = [i for i in range(count) if i not in done and i % parts == part - 1]
                meter.begin(number, count - len(left))
                is_level = stage.startswith("level")
                at_once = for_levels if is_level else workers
                self._run_stage(job, stage, left, (executor, at_once), meter.add, cancel)
                if left and not is_level:
                    self._check_source(job, stage)
                if parts > 1 and len(job.folder.done(stage)) < count:
                    return False
                if number and parts == 1:
                    job.folder.forget(job.stages[number - 1][0])
        return parts == 1

    def _run_stage(
        self,
        job: Job,
        stage: str,
        left: Sequence[int],
        team: tuple[Executor, int],
        after: Callable[[int], object],
        cancel: CancelEvent | None,
    ) -> None:
        executor, workers = team
        try:
            task = task_of(str(job.folder.path), stage, self._place)
            run_tasks(executor, task, left, workers, after, cancel)
        except TaskFailed as failed:
            if isinstance(failed.reason, DescribedError) and failed.reason.remedy is not None:
                raise failed.reason from None
            raise _described(job, stage, failed, self.target) from failed.reason

    def _check_source(self, job: Job, stage: str) -> None:
        """Refuse a source that has changed during a stage; its blocks are not kept."""
        try:
            is_same = self.fingerprint == (job.folder.settings() or {}).get("fingerprint")
        except OSError:
            is_same = False
        if not is_same:
            job.folder.undo(stage)
            raise InputError("the source has changed during the run", path=self.volume.path)

    def finish(self, commit: AbstractContextManager[object] | None = None) -> tuple[Path, ...]:
        """Write the metadata and give a complete result its name; as `execute`."""
        folder = WorkFolder.of(self.target)
        if not folder.store.exists():
            return self._written()
        try:
            recipe = self.recipe.on_devices(folder.devices())
            if self.pyramid is not None:
                folder.sweep()
                pyramid = Pyramid.from_plain((folder.settings() or {})["pyramid"])
                finish_store(folder.store, pyramid, self.source.like, recipe.to_json())
                self._publish(folder, recipe, commit)
            elif folder.file.exists():  # else it was killed after it had its name
                publish(folder.file, self.target, recipe, self.options.overwrite, commit)
        except FileExistsError:
            reason = "exists already: it has appeared during the run"
            raise TargetExists(reason, Remedy.ALLOW_OVERWRITING, self.target) from None
        except OSError as error:
            raise io.write_error(self.target, error) from error
        folder.remove()
        return self._written()

    def _publish(
        self,
        folder: WorkFolder,
        recipe: Recipe,
        commit: AbstractContextManager[object] | None,
    ) -> None:
        """Give the result its name, and write its recipe beside it."""
        if self.is_member:
            rename_all([(folder.store, self.target)], overwrite=self.options.overwrite)
        else:
            publish(folder.store, self.target, recipe, self.options.overwrite, commit)

    def _written(self) -> tuple[Path, ...]:
        return (self.target,) if self.is_member else (self.target, io.sidecar_of(self.target))


class _Meter:
    """Reports the completed share of a run, whose stages have shares of their own."""

    def __init__(self, job: Job, report: Callable[[float], object]) -> None:
        self._stages, self._report = job.stages, report
        self._total = sum(share for _, _, share in job.stages)
        self._number, self._finished = 0, 0

    def begin(self, number: int, finished: int) -> None:
        """Begin a stage, some of whose tasks are finished."""
        self._number, self._finished = number, finished - 1
        self.add(0)

    def add(self, index: int) -> None:
        """Count a task."""
        self._finished += 1
        before = sum(share for _, _, share in self._stages[: self._number])
        _, count, share = self._stages[self._number]
        self._report(min(1.0, (before + share * self._finished / count) / self._total))


def _ignore(share: float) -> None:
    """Report no progress."""


def _check_target(target: Path, source: StoreSource, overwrite: bool, is_begun: bool) -> None:
    """Check name, folder and format of the target."""
    file_format, suffix = io.format_of(target)
    can_be_laid_out = file_format.lay_out is not None and not suffix.endswith(io.COMPRESSED)
    if not (file_format.writes_folder or can_be_laid_out):
        raise InputError(
            "this format is not written in blocks, because its values have no fixed place",
            Remedy.WRITE_STORE,
            target,
        )
    if source.recipe.preserve_dtype and source.volume.scaling != (1.0, 0.0):
        raise InputError("scaled values are not written in blocks", Remedy.WRITE_STORE, target)
    if is_begun and not os.path.lexists(target):
        return
    recipe = source.recipe
    io.check_target(
        target,
        source.volume,
        dtypes.result_dtype(source.problem.input_dtype, recipe.preserve_dtype),
        recipe,
        overwrite=overwrite or is_begun,
        preserve_dtype=recipe.preserve_dtype,
    )


def _check_workers(options: StoreOptions, target: Path) -> None:
    """Refuse workers on other machines, whose parts of one file may overwrite one another."""
    kind = options.executor
    is_local = kind in (None, "threads", "processes") or isinstance(kind, ThreadPoolExecutor)
    if not is_local or options.part is not None:
        raise InputError("several machines cannot write one file", Remedy.WRITE_STORE, target)


def _described(job: Job, stage: str, failed: TaskFailed, target: Path) -> BlockFailed:
    """Return the error about a block that has failed."""
    try:
        place = job.place_of(stage, failed.index)
    except Exception:  # the source may be gone
        place = f"number {failed.index}"
    kinds = {SURVEY: "the survey", "pass": "pass", "level": "level"}
    kind, _, number = stage.partition("-")
    where = kinds[kind] if not number else f"{kinds[kind]} {int(number) + (kind == 'pass')}"
    reason = reason_of(failed.reason) if isinstance(failed.reason, Exception) else "it was ended"
    free = f"{free_bytes(target.parent):,} bytes free there"
    return BlockFailed(
        f"the block {place} of {where} has failed: {reason} ({free})", Remedy.CONTINUE, target
    )
