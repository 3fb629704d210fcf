"""A result that its target refuses after the run is saved elsewhere."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.workflows.file_run import filter_file

RECIPE = nd.Recipe(nd.Linear(), time=1.0, axes=(0, 1), spacing=(1.0, 1.0))


@pytest.fixture
def full_disk(tmp_path, monkeypatch):
    """A source, and a folder whose disk is full when the run has ended; temporary files fit."""
    np.save(tmp_path / "in.npy", np.random.default_rng(0).normal(size=(8, 9)))
    (tmp_path / "full").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    replace = os.replace

    def refuse(source, target):
        if Path(target).parent.name == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "link", refuse)
    return tmp_path


def saved(folder):
    """Return the one result in the folder of temporary files."""
    (path,) = (folder / "temporary").glob("out-*.npy")
    return path


def test_result_of_a_file_is_saved_elsewhere_and_the_error_says_where(full_disk):
    with pytest.raises(io.WriteError, match="No space left") as caught:
        filter_file(full_disk / "in.npy", full_disk / "full" / "out.npy", RECIPE)
    assert str(saved(full_disk)) in str(caught.value)
    expected = nd.diffuse(np.load(full_disk / "in.npy"), RECIPE)
    np.testing.assert_array_equal(np.load(saved(full_disk)), expected)
    assert list((full_disk / "full").iterdir()) == []


def test_command_line_says_where_the_result_is(full_disk, capsys):
    target = full_disk / "full" / "out.npy"
    words = ["run", str(full_disk / "in.npy"), str(target), "--model", "linear", "--time", "1"]
    assert main(words) == 2
    assert str(saved(full_disk)) in capsys.readouterr().err


def test_error_is_that_of_the_target_if_no_other_place_takes_the_result(full_disk, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setenv("HOME", str(full_disk / "temporary"))
    with pytest.raises(io.WriteError, match=r"out.npy: cannot be written: No space left") as caught:
        filter_file(full_disk / "in.npy", full_disk / "full" / "out.npy", RECIPE)
    assert "instead" not in str(caught.value)
    assert list((full_disk / "temporary").iterdir()) == []


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, AttributeError])
def test_result_that_its_writer_refuses_with_any_error_is_saved(kind, full_disk, monkeypatch):
    write = tifffile.imwrite

    def refuse(file, *arguments, **options):
        if isinstance(file, Path):  # a dry write has no path
            raise kind("no such tag")
        write(file, *arguments, **options)

    monkeypatch.setattr(tifffile, "imwrite", refuse)
    with pytest.raises(io.WriteError, match="no such tag"):
        filter_file(full_disk / "in.npy", full_disk / "out.tif", RECIPE)
    expected = nd.diffuse(np.load(full_disk / "in.npy"), RECIPE)
    np.testing.assert_array_equal(np.load(saved(full_disk)), expected)
