"""Runs of layers that are larger than the memory: in blocks, into an OME-Zarr on the disk."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_diffusion.core.errors import InputError, NotEnoughMemory, Remedy, reason_of
from napari_diffusion.core.geometry import Domain
from napari_diffusion.core.resources import format_bytes, free_memory
from napari_diffusion.ui.files.layer_volume import LayerRecord
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.workflows.outputs import OutputRequest, plan_run
from napari_diffusion.workflows.pace import in_brief

if TYPE_CHECKING:
    from napari_diffusion.workflows.store.run import StoreRun

#: Suffixes of stores; results have the first one.
SUFFIXES = (".ome.zarr", ".zarr")
#: Share of the free memory from which on a run without a limit is done in blocks.
FREE_SHARE = 0.5
#: Bytes per value from which on a run may need more memory than the budget; no run needs more.
_LARGEST_SHARE = 200
#: Characters that some file systems do not have in a name.
_NO_NAME = re.compile(r'[<>:"/\\|?*\x00-\x1f]+')


class Place(Enum):
    """Where the result of a run goes; the value is the text on screen."""

    AUTOMATIC = "automatic"
    MEMORY = "layer in memory"
    DISK = "OME-Zarr on disk"


@dataclass(frozen=True)
class ResultPlace:
    """Choice of the place of a result.

    Attributes
    ----------
    place
        Memory or disk. Automatic is the disk for a lazy layer of a file, and for one that is too
        large for the memory.
    folder
        Folder of the OME-Zarr; ``None`` for that of the file of the layer.
    name
        Its name; empty for a name that is free.
    overwrite
        Whether an existing store, and an unfinished run with other settings, are replaced.
    """

    place: Place = Place.AUTOMATIC
    folder: Path | None = None
    name: str = ""
    overwrite: bool = False


@dataclass(frozen=True)
class BlockRequest:
    """What decides whether a run on a layer is done in blocks, and into which store.

    Attributes
    ----------
    layer
        What a file holds of the layer.
    where
        Place of the result.
    limit
        Largest memory [bytes]; ``None`` for half of the free memory.
    """

    layer: LayerRecord
    where: ResultPlace
    limit: int | None

    @property
    def budget(self) -> int:
        """Memory from which on a run is done in blocks, and that of its blocks [bytes]."""
        return int(free_memory().size * FREE_SHARE) if self.limit is None else self.limit

    @property
    def folder(self) -> Path | None:
        """Folder of the result; ``None`` where none can be written to."""
        folder = self.where.folder
        if folder is None and self.layer.path is not None:
            folder = _outermost_store(self.layer.path).parent
        if folder is None or not folder.is_dir() or not os.access(folder, os.W_OK):
            return None
        return folder

    def run(self, settings: Settings, outputs: OutputRequest) -> StoreRun | None:
        """Return the run in blocks; ``None`` where the run is done in memory.

        Raises
        ------
        ValueError, TypeError, OSError, NotEnoughMemory, ImportError
            When neither is possible.
        """
        place = self.where.place
        if not self.is_for_disk(settings, outputs):
            return None
        try:
            self._check(settings, outputs)
            return self._store_run(settings)
        except (InputError, ImportError) as error:
            if place is Place.DISK:
                raise
            self._refuse_without_memory(settings, outputs, error)
            return None

    def is_for_disk(self, settings: Settings, outputs: OutputRequest) -> bool:
        """Whether the result belongs on the disk, if that is possible."""
        if self.where.place is not Place.AUTOMATIC:
            return self.where.place is Place.DISK
        if settings.region is not None:
            return False
        image, budget = settings.image, self.budget
        if isinstance(image, np.ndarray):
            is_small = image.size * _LARGEST_SHARE < budget
            return not is_small and self._needed(settings, outputs) > budget
        return self.folder is not None or self._needed(settings, outputs) > budget

    def _needed(self, settings: Settings, outputs: OutputRequest) -> int:
        """Return the predicted memory of the run in memory [bytes]."""
        problem = settings.unread_problem()
        return plan_run(problem, outputs, settings.execution, 1 << 62).memory

    def _check(self, settings: Settings, outputs: OutputRequest) -> None:
        """Refuse what cannot be done in blocks."""
        if settings.region is not None:
            raise InputError("A region is filtered in memory", Remedy.RUN_ON_THE_WHOLE)
        if outputs != OutputRequest():
            raise InputError(
                "Snapshots, residual and maps are made in memory", Remedy.LEAVE_OUTPUTS
            )
        if self.folder is None:
            raise InputError("There is no folder for an OME-Zarr", Remedy.CHOOSE_RESULT_FOLDER)
        from napari_diffusion.io.zarr_pyramid import pyramid_like

        try:
            pyramid_like(self.layer.volume(settings.recipe), np.float32)
        except InputError as error:  # its remedy is for files
            raise InputError(error.description) from None

    def _refuse_without_memory(
        self, settings: Settings, outputs: OutputRequest, error: Exception
    ) -> None:
        """Raise `NotEnoughMemory` for a run that fits neither into the memory nor on the disk."""
        free = free_memory()
        if isinstance(settings.image, np.ndarray):
            free = replace(free, size=free.size + settings.image.nbytes)
        allowed = free.size if self.limit is None else self.limit
        if self._needed(settings, outputs) > allowed:
            needed, reason = format_bytes(self._needed(settings, outputs)), reason_of(error)
            allowance = f"at most {format_bytes(allowed)} are allowed"
            allowance = f"only {free}" if self.limit is None else allowance
            raise NotEnoughMemory(
                f"The run needs {needed} of memory, {allowance}, and it "
                f"cannot be done in blocks: {reason[:1].lower()}{reason[1:]}",
                error.remedy if isinstance(error, InputError) else None,
            ) from None

    def _store_run(self, settings: Settings) -> StoreRun:
        from napari_diffusion.workflows.file_run import FileOptions
        from napari_diffusion.workflows.store.options import StoreOptions
        from napari_diffusion.workflows.store.run import StoreRun
        from napari_diffusion.workflows.store.source import StoreSource
        from napari_diffusion.workflows.store.work_folder import WorkFolder

        domain = Domain(labels=settings.labels, guide=settings.guide)
        volume = self.layer.volume(settings.recipe)
        assignment = self.layer.assignment(volume, settings.recipe)
        source = StoreSource.of_arrays(volume, assignment, settings.recipe, domain)
        target = self._target(settings)
        execution = settings.execution
        options = FileOptions(execution=execution, overwrite=self.where.overwrite)
        begun = WorkFolder.of(target).settings()
        resume = begun is None or not self.where.overwrite or _is_same(begun, settings)
        store_options = StoreOptions(self.budget, workers=execution.threads, resume=resume)
        return StoreRun.of_source(source, target, options, store_options)

    def _target(self, settings: Settings) -> Path:
        """Return the path of the result: the chosen name, or the first free one."""
        from napari_diffusion.io import sidecar_of
        from napari_diffusion.workflows.store.work_folder import WorkFolder

        folder = self.folder
        assert folder is not None
        if self.where.name:
            name = self.where.name
            known = name.lower().endswith(SUFFIXES)
            return folder / (name if known else name + SUFFIXES[0])
        for name in _names(self.layer, settings):
            target = folder / name
            begun = WorkFolder.of(target).settings()
            if self.where.overwrite or (begun is not None and _is_same(begun, settings)):
                return target
            if begun is None and not any(map(os.path.lexists, (target, sidecar_of(target)))):
                return target
        raise AssertionError("the names do not end")


def in_words(run: StoreRun) -> tuple[str, str]:
    """Return what a run in blocks does: in a sentence, and in full."""
    from napari_diffusion.workflows.store.work_folder import WorkFolder

    target = run.target
    verb = "Continues" if WorkFolder.of(target).settings() and run.store_options.resume else "Runs"
    amount = in_brief(run.blocks.seconds, run.blocks.memory)
    brief = f"{verb} in blocks and writes {target.name} to {target.parent}: {amount}."
    notes = [note for note in run.notes if note]
    return brief, " ".join([run.describe(), *notes])


def levels_of(run: StoreRun) -> list[Any]:
    """Return the levels of a finished run as lazy arrays with the axes of the layer."""
    import zarr

    assert run.pyramid is not None  # the widget writes stores
    order = run.pyramid.order
    paths = [str(run.target / str(number)) for number in range(len(run.pyramid.levels))]
    levels = [zarr.open_array(path, mode="r") for path in paths]
    if order == tuple(range(len(order))):
        return levels
    import dask.array

    from_zarr: Any = dask.array.from_zarr  # it has no types
    return [from_zarr(level).transpose(tuple(map(int, np.argsort(order)))) for level in levels]


def _is_same(begun: dict[str, Any], settings: Settings) -> bool:
    """Whether an unfinished run has the recipe of the settings."""
    return bool(begun.get("recipe") == json.loads(settings.recipe.to_json()))


def _names(layer: LayerRecord, settings: Settings) -> Iterator[str]:
    """Yield names for the result of a layer, each of them with another number."""
    stem = _NO_NAME.sub(" ", layer.name).strip(" .") or "image"
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix)
    if layer.path is not None:
        own = _outermost_store(layer.path).name
        own = own[: own.lower().find(".")] if "." in own[1:] else own
        stem = stem if stem.startswith(own) else f"{own} {stem}"
    stem = f"{stem} {settings.model.name}"
    yield stem + SUFFIXES[0]
    for number in count(2):
        yield f"{stem} {number}{SUFFIXES[0]}"


def _outermost_store(path: Path) -> Path:
    """Return the store that holds an image, such as the plate of a field; or the path itself."""
    outer = [folder for folder in (path, *path.parents) if folder.name.endswith(SUFFIXES)]
    return outer[-1] if outer else path
