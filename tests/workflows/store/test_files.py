"""Results of runs in blocks that are files: the bytes of the file that a run in memory writes."""

import errno
import os
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from helpers.stores import noisy, run_in_memory, store_run, write_zarr
from napari_diffusion import io
from napari_diffusion.core.errors import BlockFailed, WriteError
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.io.flat_file import FlatFile
from napari_diffusion.io.volume import Volume
from napari_diffusion.models import PeronaMalik
from napari_diffusion.workflows.store.work_folder import WorkFolder

RECIPE = Recipe(PeronaMalik(kappa=9.0), 1.0)
NAMES = ["out.npy", "out.nii", "out.tif", "out.ome.tiff"]


def source_in(folder, kind):
    """A source of this kind: a plain array, a volume with metadata, several channels and frames."""
    if kind == "zarr":
        return write_zarr(folder / "in.zarr", noisy((11, 12, 13)), (4, 5, 6))
    shape, axes = ((2, 9, 12, 13), "TZYX") if kind.startswith("frames") else ((9, 12, 13), "ZYX")
    spacing = tuple({"Z": 2.0, "Y": 0.5, "X": 0.25}.get(letter) for letter in axes)
    like = Volume(np.empty(0), axes, spacing, "micrometer", time_step=3.0 if "T" in axes else None)
    values = noisy(shape, "uint16" if kind.endswith("uint16") else "float32")
    path = folder / f"in.{kind.rpartition(' ')[2]}".replace("uint16", "tif")
    io.write(path, values, replace(like, data=values, stored=values.dtype))
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zarr", "volume nii", "frames uint16"])
def test_a_file_has_the_bytes_of_the_run_in_memory(kind, name, tmp_path):
    source = source_in(tmp_path, kind)
    run = store_run(source, tmp_path / name, RECIPE, block=(4, 5, 6), passes=2)
    written = run.execute()
    assert written == (tmp_path / name, io.sidecar_of(tmp_path / name))
    (tmp_path / "other").mkdir()
    like = replace(run.volume, scaling=(1.0, 0.0))
    io.write(tmp_path / "other" / name, run_in_memory(run), like, run.recipe)
    assert (tmp_path / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert not WorkFolder.of(tmp_path / name).path.exists()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space is reserved otherwise")
@pytest.mark.parametrize(("number", "refused"), [(errno.EOPNOTSUPP, False), (errno.ENOSPC, True)])
def test_file_systems_that_cannot_reserve_space_are_written_to(
    number, refused, tmp_path, monkeypatch
):
    def reserve(*arguments):
        raise OSError(number, "no space")

    monkeypatch.setattr(os, "posix_fallocate", reserve)
    path = tmp_path / "values"
    path.write_bytes(b"head")
    file = FlatFile.in_order((2, 3), np.dtype("f4"), 4, (0, 1))
    with pytest.raises(OSError, match="no space") if refused else nullcontext():
        file.reserve(path)
    if not refused:
        assert path.read_bytes() == b"head" + bytes(24)


class Failing(Executor):
    """Does tasks at once, and raises an error instead of one of them."""

    _max_workers = 1

    def __init__(self, at):
        self.left = at

    def submit(self, function, *arguments):
        future, self.left = Future(), self.left - 1
        try:
            if self.left == 0:
                raise OSError(28, "No space left on device")
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize("name", NAMES)
def test_an_unfinished_file_has_no_name_and_is_continued(name, tmp_path, monkeypatch):
    source = source_in(tmp_path, "zarr")
    run = store_run(source, tmp_path / name, RECIPE, block=(4, 5, 6), passes=2)
    calls, write = [], FlatFile.write

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FlatFile, "write", failing)
        with pytest.raises(BlockFailed, match="of pass 2 has failed: No space left on device"):
            run.execute()
    assert not run.target.exists()
    assert WorkFolder.of(run.target).file.exists()
    again = store_run(source, tmp_path / name, RECIPE, block=(4, 5, 6), passes=2)
    assert again.describe().startswith("Continues")
    again.execute()
    values = np.asarray(io.read(run.target).data)
    expected = run_in_memory(run)
    axes = (2, 1, 0) if name.endswith(".nii") else (0, 1, 2)
    np.testing.assert_array_equal(values.transpose(axes), expected)
    assert {path.name for path in tmp_path.iterdir()} == {"in.zarr", name, f"{name}.recipe.json"}


def test_a_run_that_was_killed_after_the_file_got_its_name_is_complete(tmp_path):
    source = source_in(tmp_path, "zarr")
    run = store_run(source, tmp_path / "out.npy", RECIPE, block=(4, 5, 6))
    run.compute()
    folder = WorkFolder.of(run.target)
    folder.file.rename(run.target)
    store_run(source, tmp_path / "out.npy", RECIPE, block=(4, 5, 6)).execute()
    np.testing.assert_array_equal(np.load(run.target), run_in_memory(run))
    assert not folder.path.exists()


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    source = source_in(tmp_path, "zarr")
    run = store_run(source, tmp_path / "out.npy", RECIPE, block=(4, 5, 6))

    def full(flat, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FlatFile, "reserve", full)
    with pytest.raises(WriteError, match="No space left on device"):
        run.execute()
    assert {path.name for path in tmp_path.iterdir()} == {"in.zarr"}


def test_several_machines_and_compressed_files_are_refused(tmp_path):
    source = source_in(tmp_path, "zarr")
    with pytest.raises(ValueError, match="several machines cannot write one file; write an OME"):
        store_run(source, tmp_path / "out.npy", RECIPE, part=(1, 2))
    with pytest.raises(ValueError, match="several machines cannot write one file; write an OME"):
        store_run(source, tmp_path / "out.npy", RECIPE, executor=Failing(9))
    for name in ("out.nii.gz", "out.nrrd"):
        with pytest.raises(ValueError, match="no fixed place; write an OME-Zarr, with"):
            store_run(source, tmp_path / name, RECIPE)
