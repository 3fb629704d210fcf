"""The command line compares the memory of a run with that of its job, before the run.

A compressed file is not written in blocks.
"""

import numpy as np
import pytest

from helpers.control_groups import GIB, tree, v2
from napari_diffusion.cli import main
from napari_diffusion.core.resources import free_memory


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "image.npy"
    np.save(path, np.zeros((256, 160, 160), np.float32))
    return path


def job(root, monkeypatch, free):
    """Let the job of this process have ``free`` bytes left of 8 GiB."""
    group = v2(8 * GIB - free, limit=8 * GIB, folder="job__")
    monkeypatch.setattr(free_memory, "__defaults__", (tree(root, "0::/job\n", **group),))


def run(source, *options):
    axes = ("--axes", "ZYX", "--spacing", "1", "--unit", "mm")
    target = source.with_name("result.nii.gz")
    return main(
        ["run", str(source), str(target), "--model", "linear", "--time", "1", *axes, *options]
    )


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_run_that_does_not_fit_into_its_job_is_refused(options, source, monkeypatch, capsys):
    job(source.parent / "root", monkeypatch, 20 << 20)
    assert run(source, *options) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "more memory and 20 MiB are free of the 8 GiB that this job" in printed.err
    assert "; write an .ome.zarr, which is filtered in blocks" in printed.err
    assert not source.with_name("result.nii.gz").exists()


def test_dry_run_prints_the_memory_of_a_run_that_fits(source, monkeypatch, capsys):
    job(source.parent / "root", monkeypatch, GIB)
    assert run(source, "--dry-run") == 0
    assert "MiB of memory" in capsys.readouterr().out
