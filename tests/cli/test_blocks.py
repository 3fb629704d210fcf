"""`run` goes to blocks by itself above the budget, and says so."""

import numpy as np
import pytest
import zarr

from helpers.stores import noisy
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.io.volume import Volume
from napari_diffusion.workflows.store.work_folder import WorkFolder

FILTER = ["--model", "perona-malik", "--kappa", "12", "--time", "0.5"]


@pytest.fixture(autouse=True)
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    volume = Volume(noisy((150, 200, 210), "uint16"), "ZYX", (2.0, 0.5, 0.5), "micrometer")
    io.write("in.ome.zarr", volume.data, volume)


def level(name):
    return zarr.open_array(f"{name}/0", mode="r")[...]


def test_a_run_above_the_budget_is_done_in_blocks_with_the_same_bits(capsys):
    assert main(["run", "in.ome.zarr", "whole.ome.zarr", *FILTER]) == 0
    assert "In blocks" not in capsys.readouterr().err
    arguments = ["run", "in.ome.zarr", "out.ome.zarr", *FILTER, "--memory", "70MiB"]
    assert main([*arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("In blocks:", "passes", "halo", "of memory together"))
    assert main(arguments) == 0
    assert "In blocks:" in capsys.readouterr().err
    np.testing.assert_array_equal(level("out.ome.zarr"), level("whole.ome.zarr"))


def test_parts_continue_and_restart(capsys):
    arguments = ["run", "in.ome.zarr", "out.ome.zarr", *FILTER, "--memory", "70MiB"]
    assert main([*arguments, "--part", "1/2"]) == 0
    assert "This part is done" in capsys.readouterr().err
    other = ["13" if word == "12" else word for word in arguments]
    assert main(other) == 2
    sentence = capsys.readouterr().err
    assert "other settings" in sentence
    assert "use the same options, or --restart to start again" in sentence
    assert main(arguments) == 0
    assert "Continues in blocks" in capsys.readouterr().err
    assert main([*other, "--restart", "--overwrite"]) == 0
    assert not WorkFolder.of(io.sidecar_of("out.ome.zarr")).path.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["out.nii.gz", "--memory", "1MB"], "or write an .ome.zarr, which is filtered in blocks"),
        (["out.ome.zarr", "--memory", "49MB"], "its smallest block"),
        (["out.ome.zarr", "--memory", "much"], "a size such as 2GiB or 500MB, got 'much'"),
        (["out.ome.zarr", "--part", "3"], "--part must be such as 3/20"),
        (["out.ome.zarr", "--part", "3/2"], "--part must be such as 3/20"),
    ],
)
def test_refusals(words, sentence, capsys):
    assert main(["run", "in.ome.zarr", *words, *FILTER]) == 2
    assert sentence in capsys.readouterr().err


def test_info_reads_a_store_by_chunks(capsys):
    assert main(["info", "in.ome.zarr"]) == 0
    printed = capsys.readouterr().out
    assert "OME-Zarr" in printed
    assert "z 2 µm, y 0.5 µm, x 0.5 µm" in printed


def test_auto_reads_a_store_in_blocks(capsys):
    arguments = ["run", "in.ome.zarr", "out.ome.zarr", "--model", "linear", "--auto"]
    assert main([*arguments, "--memory", "90MiB", "--part", "1/1"]) == 0
    assert "Noise" in capsys.readouterr().err
