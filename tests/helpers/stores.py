"""Stores of the tests: noisy images as zarr, OME-Zarr and NumPy, and runs in blocks on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import zarr

from napari_diffusion import io
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io.axes import AxisRequest, resolve_axes
from napari_diffusion.workflows.file_run import FileOptions
from napari_diffusion.workflows.store.options import StoreOptions
from napari_diffusion.workflows.store.run import StoreRun


def noisy(shape, dtype="float32", seed=0):
    """Steps in noise, from 0 to about 200."""
    steps = 60.0 * (np.indices(shape).sum(0) % 13 > 6)
    values = 60 + steps + np.random.default_rng(seed).normal(0, 8, shape)
    return values.clip(1, 240).astype(dtype)


def write_zarr(path, values, chunks, shards=None, zarr_format=3):
    options = {"shards": shards} if zarr_format == 3 else {}
    array = zarr.create_array(
        str(path),
        shape=values.shape,
        chunks=chunks,
        dtype=values.dtype,
        zarr_format=zarr_format,
        **options,
    )
    array[...] = values
    return path


def store_run(source, target, recipe, axes=None, files=None, passes=1, **options):
    """A prepared run in blocks and passes; the options are those of `StoreOptions`."""
    volume = io.read(source)
    assignment = resolve_axes(volume, AxisRequest(None if axes is None else tuple(axes)))
    options = StoreOptions(**{"memory": 1 << 30} | options)
    arguments = volume, assignment, recipe, Path(target), files or FileOptions()
    run = StoreRun.make(*arguments, options)
    if passes > 1 or options.block is not None:
        stages = -(-len(run.plan.stages) // passes)
        run = StoreRun.make(*arguments, replace(options, stages_per_pass=stages))
    return run


def run_in_memory(run):
    """The result of a prepared run in blocks by the engine in memory."""
    domain = {name: run.source.regions.lazy.get(name) for name in ("mask", "labels", "guide")}
    domain = {k: None if v is None else np.asarray(v[...]) for k, v in domain.items()}
    recipe = replace(run.recipe, labels=None, guide=None)
    geometry = run.assignment.geometry
    return Recipe.diffuse(
        recipe,
        np.asarray(run.volume.data[...]),
        spacing=geometry.spacing,
        axes=geometry.axes,
        channel_axis=geometry.channel_axis,
        channel_weights=geometry.channel_weights,
        **domain,
    )


def result_of(target, run):
    """Level 0 of a result, with the axes of the image."""
    values = zarr.open_array(str(Path(target) / "0"), mode="r")[...]
    return values.transpose(np.argsort(run.pyramid.order))
