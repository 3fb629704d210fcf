"""Filters of images larger than the memory, from a file to an OME-Zarr."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from napari_diffusion import io
from napari_diffusion.core.cancellation import CancelEvent
from napari_diffusion.core.resources import bytes_of
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.out_of_core.block_plan import BlockPlan
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io import Volume
from napari_diffusion.io.axes import AxisAssignment, AxisRequest, resolve_axes
from napari_diffusion.models import Model
from napari_diffusion.workflows.file_run import FileOptions
from napari_diffusion.workflows.recipe_axes import axes_from_recipe, check_recipe
from napari_diffusion.workflows.store.collection import (
    CollectionPlan,
    CollectionRun,
    members_of_store,
)
from napari_diffusion.workflows.store.options import StoreOptions
from napari_diffusion.workflows.store.run import StoreRun


def diffuse_store(
    source: str | Path,
    target: str | Path,
    model: Model | Recipe,
    *,
    time: float | None = None,
    axes: str | None = None,
    spacing: float | Sequence[float] | None = None,
    unit: str | None = None,
    mask: str | Path | None = None,
    labels: str | Path | None = None,
    guide: str | Path | None = None,
    memory: int | str | None = None,
    executor: Executor | str | None = None,
    workers: int | None = None,
    device: str | None = None,
    resume: bool = True,
    overwrite: bool = False,
    part: tuple[int, int] | None = None,
    progress: Callable[[float], object] | None = None,
    cancel: CancelEvent | None = None,
) -> Path:
    """Filter a file of any size in blocks, and write an OME-Zarr.

    The result has the bits of `diffuse` on the whole image. Blocks that are done are kept, so that
    a run that was ended continues where it was.

    Parameters
    ----------
    source
        An OME-Zarr image, an array of zarr, or any file that `napari-diffusion run` reads. Zarr,
        NumPy and uncompressed NIfTI files are read in blocks, others as a whole. Of a plate (HCS)
        or a set of positions, each image is filtered by itself and keeps its place.
    target
        Path of the result, such as ``out.ome.zarr``. It gets this name when it is complete. Until
        then, everything is in the folder ``.out.ome.zarr.partial`` beside it.
    model, time
        A recipe, whose lengths are converted to the unit of the file; or a model with its
        parameters and the diffusion time in that unit, or in ``unit``.
    axes
        Letters of the axes to smooth along, such as ``"ZYX"``; default the axes of space. Each
        channel, time point and position is filtered by itself.
    spacing, unit
        Voxel size along ``axes`` [unit], and unit of length; default those of the file.
    mask, labels, guide
        Files of a mask, of labels, or of another image that gives the edges, as in `diffuse`.
    memory
        Budget of all workers together, above the imported program: bytes, or a text such as
        ``"2 GiB"``. Default half of the free memory.
    executor
        ``"threads"`` (default), ``"processes"``, or any executor of `concurrent.futures`, such as
        ``client.get_executor()`` of dask.distributed. Its workers must see the paths.
    workers
        Number of blocks at the same time; default that of the executor, or all processors.
    device
        Name of a device, as in `diffuse`. It computes one block of a process at a time, while other
        blocks are read and written.
    resume
        Continue an unfinished run of this target. With other settings, another version or another
        source, it is refused. ``False`` starts again.
    overwrite
        Replace an existing target.
    part
        ``(k, n)`` does every n-th block of the first unfinished stage only. Run all parts once for
        each pass of the plan, and once without it at the end. Of a plate, it does every n-th image.
    progress
        Called with the completed share of the run, from 0 to 1, in the calling thread.
    cancel
        Event, such as `threading.Event`; the run ends with `Cancelled` when it is set.

    Returns
    -------
    pathlib.Path
        The target.

    Raises
    ------
    TypeError, ValueError, MemoryError, OSError
        For a wrong argument or too small a budget; the message suggests a remedy.
    RuntimeError
        When a block fails. The message names it, and the blocks before it are kept.
    Cancelled
        When ``cancel`` was set.

    See Also
    --------
    plan_store : Passes, blocks, memory and disk of the run.
    """
    options = StoreOptions(
        memory=None if memory is None else bytes_of(memory),
        executor=executor,
        workers=workers,
        resume=resume,
        part=part,
    )
    execution = Execution(device=device)
    files = FileOptions(_path(mask), _path(labels), _path(guide), execution, overwrite)
    request = _request(axes, spacing, unit)
    prepared = _prepared(Path(source), Path(target), (model, time), request, files, options)
    prepared.execute(progress, cancel)
    return Path(target)


def plan_store(
    source: str | Path,
    target: str | Path,
    model: Model | Recipe,
    *,
    time: float | None = None,
    axes: str | None = None,
    spacing: float | Sequence[float] | None = None,
    unit: str | None = None,
    mask: str | Path | None = None,
    labels: str | Path | None = None,
    guide: str | Path | None = None,
    memory: int | str | None = None,
    executor: Executor | str | None = None,
    workers: int | None = None,
    device: str | None = None,
) -> BlockPlan | CollectionPlan:
    """Return passes, blocks, halo, memory, disk and expected time of a run of `diffuse_store`.

    No value of the image is read. Parameters and errors are those of `diffuse_store`.

    Returns
    -------
    BlockPlan or CollectionPlan
        The plan; ``describe()`` puts it into words. Of a plate or a set of positions, the plans of
        all images.
    """
    options = StoreOptions(None if memory is None else bytes_of(memory), executor, workers)
    execution = Execution(device=device)
    files = FileOptions(_path(mask), _path(labels), _path(guide), execution, overwrite=True)
    request = _request(axes, spacing, unit)
    run = _prepared(Path(source), Path(target), (model, time), request, files, options)
    return run.blocks


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _request(
    axes: str | None, spacing: float | Sequence[float] | None, unit: str | None
) -> AxisRequest:
    """Return what the caller says about the axes."""
    sizes: tuple[float, ...] | None = None
    if spacing is not None:
        sizes = tuple(spacing) if isinstance(spacing, Sequence) else (float(spacing),)
    return AxisRequest(None if axes is None else tuple(axes), None, sizes, unit)


def _prepared(
    source: Path,
    target: Path,
    what: tuple[Model | Recipe, float | None],
    request: AxisRequest,
    files: FileOptions,
    options: StoreOptions,
) -> StoreRun | CollectionRun:
    """Read the metadata of a file and prepare its run."""

    def prepare(volume: Volume) -> tuple[AxisAssignment, Recipe]:
        return _on_image(volume, what, request, files)

    if members_of_store(source):
        return CollectionRun.make(source, target, prepare, files, options)
    volume = io.read(source)
    return StoreRun.make(volume, *prepare(volume), target, files, options)


def _on_image(
    volume: Volume,
    what: tuple[Model | Recipe, float | None],
    request: AxisRequest,
    files: FileOptions,
) -> tuple[AxisAssignment, Recipe]:
    """Return the roles of the axes of an image, and the recipe in its unit."""
    model, time = what
    if isinstance(model, Recipe):
        if time is not None:
            raise TypeError("time is already set by the recipe; leave it out.")
        request = axes_from_recipe(model, volume, request)
    elif time is None:
        raise TypeError("time is missing: give the diffusion time [length²].")
    assignment = resolve_axes(volume, request)
    if isinstance(model, Recipe):
        recipe = model.in_unit(assignment.unit)
    else:
        assert time is not None
        recipe = Recipe(model, time, unit=assignment.unit)
    check_recipe(recipe, assignment, request, bool(files.region_files), files.guide is not None)
    return assignment, recipe
