"""A run on all images of a plate or of a set of positions, each by itself, in its place.

Until the end, the new plate is in a work folder beside the target. An image gets its name there
when it is complete, so that a run which was ended continues with the first image that is not.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from napari_diffusion import io
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.errors import (
    DescribedError,
    InputError,
    Remedy,
    TargetExists,
    WriteError,
)
from napari_diffusion.core.resources import format_bytes
from napari_diffusion.engine.out_of_core.block_plan import BlockPlan, duration
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import Volume
from napari_diffusion.io.atomic import free_bytes
from napari_diffusion.io.axes import AxisAssignment
from napari_diffusion.io.ome_zarr import copy_labels, groups_of, images_in, is_store
from napari_diffusion.io.zarr_pyramid import few_chunks_at_once, write_group
from napari_diffusion.workflows.file_run import FileOptions
from napari_diffusion.workflows.store.executors import TaskFailed, executor_of, run_tasks
from napari_diffusion.workflows.store.fingerprint import fingerprint_of
from napari_diffusion.workflows.store.options import StoreOptions
from napari_diffusion.workflows.store.run import StoreRun
from napari_diffusion.workflows.store.source import StoreSource
from napari_diffusion.workflows.store.work_folder import WorkFolder, begin_or_continue, publish

#: Returns the roles of the axes and the recipe for an image.
Prepare = Callable[[Volume], tuple[AxisAssignment, Recipe]]
#: Name of the stage whose tasks are the images.
_IMAGES = "images"


def members_of_store(path: Path) -> tuple[str, ...]:
    """Return the paths of the images of a plate or a set of positions; empty for one image."""
    images = images_in(path) if is_store(path) else ()
    return images if len(images) > 1 else ()


@dataclass(frozen=True)
class CollectionPlan:
    """The plans of all images of a plate or of a set of positions.

    Attributes
    ----------
    images
        The plan of each image, by its path in the plate.
    at_once
        Number of images that are filtered at the same time.
    """

    images: dict[str, BlockPlan]
    at_once: int

    @property
    def memory(self) -> int:
        """Predicted peak of all workers together, above that of the imported program [bytes]."""
        return self.at_once * max(plan.memory for plan in self.images.values())

    @property
    def disk(self) -> int:
        """Largest size of what is kept between two passes [bytes]."""
        return self.at_once * max(plan.disk for plan in self.images.values())

    @property
    def result_bytes(self) -> int:
        """Size of the result without compression and without its pyramids [bytes]."""
        return sum(plan.result_bytes for plan in self.images.values())

    @property
    def seconds(self) -> float | None:
        """Expected duration [s]; ``None`` where the pace is unknown."""
        each = [plan.seconds for plan in self.images.values()]
        known = [seconds for seconds in each if seconds is not None]
        return sum(known) / self.at_once if len(known) == len(each) else None

    def describe(self) -> str:
        """Return the plan in a few sentences."""
        names = list(self.images)
        sentence = f"{len(names)} images, {names[0]} to {names[-1]}, each by itself"
        sentence += f", {self.at_once} at the same time" if self.at_once > 1 else ""
        amounts = f"{format_bytes(self.memory)} of memory"
        amounts += f", {format_bytes(self.result_bytes)} for the result"
        amounts += f", {format_bytes(self.disk)} of disk between passes" if self.disk else ""
        time = "" if self.seconds is None else f" It will take about {duration(self.seconds)}."
        first = self.images[names[0]].describe()
        return f"{sentence}; {amounts}.{time} The first one: {first}"


@dataclass(frozen=True)
class CollectionRun:
    """A checked run on all images of a store.

    Attributes
    ----------
    path, images
        The store, and the paths of its images in it.
    sources
        The images with their recipes.
    target, options, store_options
        Path of the result, and the options of the run.
    """

    path: Path
    images: tuple[str, ...]
    sources: tuple[StoreSource, ...]
    target: Path
    options: FileOptions
    store_options: StoreOptions

    @classmethod
    def make(
        cls,
        path: Path,
        target: Path,
        prepare: Prepare,
        options: FileOptions,
        store_options: StoreOptions,
    ) -> Self:
        """Prepare a run and check everything that can be checked before it starts.

        Parameters
        ----------
        path, target
            A store of several images, and the path of the result.
        prepare
            Returns the roles of the axes and the recipe for an image.
        options, store_options
            As for `StoreRun.make`. The parts of ``store_options`` share the images.

        Raises
        ------
        ValueError, TypeError, OSError, WriteError, NotEnoughMemory
            When the run would fail.
        """
        images = members_of_store(path)
        if options.region_files or options.guide is not None:
            raise InputError(
                "mask, labels and guide are of one image, and it holds several",
                Remedy.NAME_AN_IMAGE,
                path,
            )
        groups_of(path)
        sources = []
        for image in images:
            volume = io.read(path / image)
            sources.append(StoreSource.of_files(volume, *prepare(volume), options))
        made = cls(path, images, tuple(sources), target, options, store_options)
        made._check_target()
        return made

    def _check_target(self) -> None:
        work = WorkFolder.of(self.target)
        work.remove_rest()
        if not io.format_of(self.target)[0].writes_folder:
            raise InputError(
                "several images are written as OME-Zarr, with a name such as out.ome.zarr",
                path=self.target,
            )
        first = self.sources[0]
        is_begun = self.store_options.resume and work.settings() is not None
        io.check_target(
            self.target,
            replace(first.volume, path=self.path),
            first.problem.dtype,
            self.recipe,
            overwrite=self.options.overwrite or is_begun,
        )
        needed, folder = self.blocks.result_bytes + self.blocks.disk, self.target.resolve().parent
        if not is_begun and needed > free_bytes(folder):
            raise WriteError(
                f"cannot be written: it needs up to {needed:,} bytes, and {free_bytes(folder):,} "
                "bytes are free there",
                path=self.target,
            )

    @property
    def volume(self) -> Volume:
        """The first image."""
        return self.sources[0].volume

    @property
    def assignment(self) -> AxisAssignment:
        """The roles of the axes of the first image."""
        return self.sources[0].assignment

    @property
    def recipe(self) -> Recipe:
        """The recipe of the first image."""
        return self.sources[0].recipe

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user, each of them once."""
        return tuple(dict.fromkeys(note for source in self.sources for note in source.notes))

    @cached_property
    def blocks(self) -> CollectionPlan:
        """The plans of all images."""
        whole = self._plans(1)
        if self.store_options.executor in (None, "threads"):
            return CollectionPlan(whole, 1)  # threads share the blocks of one image
        fewest = min(plan.blocks for plan in whole.values())
        workers = self.store_options.worker_count
        at_once = max(1, min(len(self.images), -(-workers // max(1, fewest))))
        return CollectionPlan(whole if at_once == 1 else self._plans(at_once), at_once)

    def _plans(self, at_once: int) -> dict[str, BlockPlan]:
        """Return the plans of all images if so many are filtered at the same time."""
        planned: dict[tuple[object, ...], BlockPlan] = {}
        plans = {}
        for image, source in zip(self.images, self.sources, strict=True):
            key = source.problem.shape, source.problem.input_dtype.str, source.recipe.to_json()
            if key not in planned:
                planned[key] = self._run_of(image, source, at_once).blocks
            plans[image] = planned[key]
        return plans

    def _run_of(
        self,
        image: str,
        source: StoreSource,
        at_once: int,
        options: StoreOptions | None = None,
    ) -> StoreRun:
        """Return the run on one image, whose budget is that of one of several."""
        own = options or self.store_options
        own = replace(own, memory=self.store_options.budget // at_once, part=None, resume=True)
        target = self._folder.store / image
        return StoreRun.of_source(source, target, self.options, own, is_member=True)

    @property
    def _folder(self) -> WorkFolder:
        return WorkFolder.of(self.target)

    def describe(self) -> str:
        """Return the plan of the run in a few sentences."""
        begun = self.store_options.resume and self._folder.settings() is not None
        left = f" {len(self.images) - len(self._folder.done(_IMAGES))} images are left."
        return self.blocks.describe() + (left if begun else "")

    @property
    def fingerprint(self) -> str:
        """Fingerprint of recipes, version and images."""
        recipes = [source.recipe.to_dict() for source in self.sources]
        backend = self.options.execution.backend
        settings = {"recipes": recipes, "images": self.images, "backend": backend}
        return fingerprint_of(settings, [source.files[0] for source in self.sources])

    def execute(
        self,
        progress: Callable[[float], object] | None = None,
        cancel: CancelEvent | None = None,
        commit: AbstractContextManager[object] | None = None,
    ) -> tuple[Path, ...]:
        """Do what is left of the run, and return the files; as `StoreRun.execute`."""
        return self.finish(commit) if self.compute(progress, cancel) else ()

    def compute(
        self,
        progress: Callable[[float], object] | None = None,
        cancel: CancelEvent | None = None,
    ) -> bool:
        """Do all images that are left, and return whether the result is complete."""
        folder = self._begun()
        if folder is None:
            return True
        part, parts = self.store_options.part or (1, 1)
        done = folder.done(_IMAGES)
        left = [i for i in range(len(self.images)) if i not in done and i % parts == part - 1]
        meter = _Meter([math.prod(s.volume.shape) for s in self.sources], left, progress)
        at_once, workers = self.blocks.at_once, self.store_options.worker_count
        with few_chunks_at_once(), executor_of(self.store_options.executor, workers) as executor:
            is_local = self.store_options.executor in (None, "threads")
            own = replace(self.store_options, executor=None if is_local else executor)
            if at_once == 1:
                for index in left:
                    self._do(index, own, meter.of(index), cancel)
                    meter.add(index)
            else:
                self._do_several(left, own, meter, cancel)
        return parts == 1

    def _do_several(
        self,
        left: Sequence[int],
        own: StoreOptions,
        meter: _Meter,
        cancel: CancelEvent | None,
    ) -> None:
        """Do images side by side; the first that fails ends the others."""
        stop = _Stop(cancel)

        def task(index: int) -> None:
            self._do(index, own, None, stop)

        with ThreadPoolExecutor(self.blocks.at_once, "napari-diffusion-image") as drivers:
            try:
                run_tasks(drivers, task, left, self.blocks.at_once, meter.add, cancel)
            except TaskFailed as failed:
                stop.own.set()
                raise failed.reason from None
            except BaseException:
                stop.own.set()
                raise

    def _do(
        self,
        index: int,
        options: StoreOptions,
        progress: Callable[[float], object] | None,
        cancel: CancelEvent | None,
    ) -> None:
        """Filter an image and mark it."""
        image, folder = self.images[index], self._folder
        try:
            run = self._run_of(image, self.sources[index], self.blocks.at_once, options)
            run.target.parent.mkdir(parents=True, exist_ok=True)
            if not run.target.exists():
                run.compute(progress, cancel)
                for name in run.devices:
                    folder.add_device(name)
                run.finish()
            copy_labels(self.path / image, run.target)
        except DescribedError as error:
            if error.path is None or folder.path in error.path.parents:
                raise error.about(self.target / image) from error.__cause__
            raise
        folder.mark(_IMAGES, index)

    def _begun(self) -> WorkFolder | None:
        """Return the work folder, made or continued; ``None`` if the run is complete."""
        return begin_or_continue(
            self.target,
            {"fingerprint": self.fingerprint},
            lambda new: new.store.mkdir(),
            self.store_options.resume,
        )

    def finish(self, commit: AbstractContextManager[object] | None = None) -> tuple[Path, ...]:
        """Write the metadata of the groups and give the result its name; as `StoreRun.finish`."""
        folder, written = self._folder, (self.target, io.sidecar_of(self.target))
        if not folder.store.exists():
            return written
        try:
            folder.sweep()
            groups = groups_of(self.path)
            for name in sorted(groups, reverse=True):  # the plate itself comes last
                (folder.store / name).mkdir(exist_ok=True)
                write_group(folder.store / name, groups[name])
            recipe = self.recipe.on_devices(folder.devices())
            publish(folder.store, self.target, recipe, self.options.overwrite, commit)
        except FileExistsError:
            reason = "exists already: it has appeared during the run"
            raise TargetExists(reason, Remedy.ALLOW_OVERWRITING, self.target) from None
        except OSError as error:
            raise io.write_error(self.target, error) from error
        folder.remove()
        return written


class _Stop:
    """An event that is set when the run is cancelled, or when another image has failed."""

    def __init__(self, cancel: CancelEvent | None) -> None:
        self._cancel, self.own = cancel, threading.Event()

    def is_set(self) -> bool:
        """Whether the event is set."""
        return self.own.is_set() or (self._cancel is not None and self._cancel.is_set())


class _Meter:
    """Reports the completed share of a run, to which each image contributes by its voxels."""

    def __init__(
        self, voxels: Sequence[int], left: Sequence[int], report: Callable[[float], object] | None
    ) -> None:
        self._voxels, self._report = voxels, report
        self._total = max(1, sum(voxels))
        self._done = sum(voxels) - sum(voxels[i] for i in left)

    def of(self, index: int) -> Callable[[float], None]:
        """Return what takes the completed share of an image."""
        return lambda share: self._say(self._done + share * self._voxels[index])

    def add(self, index: int) -> None:
        """Count an image."""
        self._done += self._voxels[index]
        self._say(self._done)

    def _say(self, voxels: float) -> None:
        if self._report is not None:
            self._report(min(1.0, voxels / self._total))
