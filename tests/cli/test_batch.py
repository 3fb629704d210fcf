"""Many files on the command line: each is right or listed, also after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.workflows.batch import JOURNAL

SHAPE = (12, 11, 10)
OPTIONS = ["--model", "perona-malik", "--kappa", "20", "--time", "1"]


def pixels(i):
    return np.random.default_rng(i).normal(100, 10, SHAPE).astype(np.float32)


def write_files(folder, count):
    """Write volumes, of which one is broken and one a copy of another."""
    folder.mkdir()
    for i in range(count):
        image = nibabel.Nifti1Image(pixels(i), np.diag([2.0, 2.0, 3.0, 1.0]))
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / f"f{i:04d}.nii")
    (folder / "f0003.nii").write_bytes((folder / "f0002.nii").read_bytes())
    (folder / "f0005.nii").write_bytes(b"broken")
    return folder


def expected(i):
    values = pixels(2 if i == 3 else i)
    return nd.diffuse(values, nd.PeronaMalik(kappa=20.0), time=1.0, spacing=(2.0, 2.0, 3.0))


@pytest.fixture
def source(tmp_path):
    return write_files(tmp_path / "in", 8)


def run(source, *options, out="out"):
    return main(["batch", str(source), "--output", str(source.parent / out), *OPTIONS, *options])


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_each_file_is_right_or_listed(jobs, source, capsys):
    assert run(source, "--jobs", jobs) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    errors = [line for line in printed.err.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert "f0005.nii: cannot be read as NIfTI" in errors[0]
    assert "7 of 8 files done, 1 failed" in printed.err
    out = source.parent / "out"
    for i in (0, 1, 2, 3, 4, 6, 7):
        np.testing.assert_array_equal(io.read(out / f"f{i:04d}.nii").data, expected(i))
        assert nd.Recipe.load(out / f"f{i:04d}.nii.recipe.json").time == 1.0
    assert not (out / "f0005.nii").exists()


def test_all_right_is_exit_code_0(source):
    (source / "f0005.nii").unlink()
    assert run(source) == 0


def test_locked_file_is_listed(source, monkeypatch, capsys):
    """Permissions do not bind the superuser, so the reader refuses it here."""
    read = io.nifti.CheckedFile

    def refuse(path, *arguments):
        if path.name == "f0001.nii":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments)

    monkeypatch.setattr("napari_diffusion.io.nifti.CheckedFile", refuse)
    assert run(source) == 3
    assert "f0001.nii: no permission to read this file." in capsys.readouterr().err


def test_resume_keeps_what_is_complete_and_makes_the_rest(source, capsys):
    assert run(source) == 3
    before = {path.name: path.stat().st_mtime_ns for path in (source.parent / "out").glob("*.nii")}
    (source.parent / "out" / "f0006.nii").unlink()
    assert run(source, "--resume") == 3
    after = {path.name: path.stat().st_mtime_ns for path in (source.parent / "out").glob("*.nii")}
    assert {name for name in before if after[name] != before[name]} == {"f0006.nii"}
    assert "1 of 8 files done, 6 complete before, 1 failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [["--time", "2"], ["--preserve-dtype"], ["--scheme", "explicit"]]
)
def test_resume_with_other_settings_makes_all_again(change, source, capsys):
    run(source)
    assert run(source, "--resume", *change) == 3
    assert "7 of 8 files done, 1 failed" in capsys.readouterr().err


def test_threads_are_no_setting(source, capsys):
    run(source)
    run(source, "--resume", "--threads", "1")
    assert "0 of 8 files done, 7 complete before" in capsys.readouterr().err


def test_existing_results_are_refused_without_overwrite(source, capsys):
    run(source)
    assert run(source) == 3
    assert "f0000.nii: exists already; use --overwrite" in capsys.readouterr().err
    assert run(source, "--overwrite") == 3
    assert "7 of 8 files done" in capsys.readouterr().err


def test_recipe_filters_every_file(source):
    run(source)
    recipe = source.parent / "out" / "f0000.nii.recipe.json"
    out = source.parent / "again"
    arguments = [str(source / "f000[0-2].nii"), "--output", str(out), "--recipe", str(recipe)]
    assert main(["batch", *arguments, "--name", "s_{stem}.nrrd"]) == 0
    for i in range(3):
        np.testing.assert_array_equal(io.read(out / f"s_f{i:04d}.nrrd").data, expected(i))


def test_list_of_files(source, tmp_path):
    lines = [str(source / f"f{i:04d}.nii") for i in (0, 1)]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n\n")
    out = str(tmp_path / "out")
    assert main(["batch", "--list", str(tmp_path / "list.txt"), "--output", out, *OPTIONS]) == 0
    names = sorted(path.name for path in (tmp_path / "out").glob("*.nii"))
    assert names == ["f0000.nii", "f0001.nii"]


def test_choice_for_each_file_differs_and_one_for_all_does_not(source, tmp_path):
    (source / "f0005.nii").unlink()
    for i in range(8):
        if i != 5:
            image = nibabel.Nifti1Image(pixels(i) * (1 + i), np.eye(4))
            nibabel.save(image, source / f"f{i:04d}.nii")
    auto = ["--model", "perona-malik", "--auto", "--quiet"]
    files = [str(source / f"f{i:04d}.nii") for i in (0, 7)]
    for name, options in (("each", []), ("all", ["--together"])):
        assert main(["batch", *files, "--output", str(tmp_path / name), *auto, *options]) == 0
    kappas = {
        name: [
            nd.Recipe.load(tmp_path / name / f"f{i:04d}.nii.recipe.json").model.kappa
            for i in (0, 7)
        ]
        for name in ("each", "all")
    }
    assert kappas["each"][1] > 4 * kappas["each"][0]
    assert kappas["all"][0] == kappas["all"][1]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--model", "perona-malik", "--time", "1"], ""),
        (["--time", "1"], "Say which model to use"),
        (["--model", "linear"], "Say how far to smooth"),
        ([*OPTIONS, "--together"], "--together is only used with --auto"),
        ([*OPTIONS, "--jobs", "0"], "0 is not in the range"),
        ([*OPTIONS, "--name", "same.nii"], "; use another --name, such as {folder}_{stem}.nii."),
        ([*OPTIONS, "--name", "{other}"], "a pattern of names has the fields"),
        ([*OPTIONS, "--list", "no-such-file"], "does not exist"),
    ],
)
def test_wrong_options_are_refused_before_the_work(words, reason, source, capsys):
    code = main(["batch", str(source), "--output", str(source.parent / "out"), *words])
    assert code == (2 if reason else 3)
    assert reason in capsys.readouterr().err
    assert bool(reason) != bool(list((source.parent / "out").glob("*.nii")))


def test_pattern_without_a_file_is_refused(tmp_path, capsys):
    assert main(["batch", str(tmp_path / "*.nii"), "--output", str(tmp_path / "o"), *OPTIONS]) == 2
    assert "No file matches" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing", "nothing.nii"])
def test_missing_file_does_not_end_the_others(name, source, capsys):
    files = [str(source / name), str(source / "f0000.nii")]
    assert main(["batch", *files, "--output", str(source.parent / "out"), *OPTIONS]) == 3
    printed = capsys.readouterr().err
    assert f"{name}: there is no such file." in printed
    assert "1 of 2 files done, 1 failed" in printed


def test_folder_of_results_that_is_a_file_is_refused(source, capsys):
    (source.parent / "out").write_text("a text")
    assert run(source) == 2
    sentence = "this is a file, not a folder; choose another folder for the results."
    assert capsys.readouterr().err == f"Error: {source.parent / 'out'}: {sentence}\n"


def test_dry_run_without_the_folder_says_what_to_do(source, capsys):
    assert run(source, "--dry-run") == 2
    assert "a dry run makes none; make it first." in capsys.readouterr().err


def test_dry_run_checks_all_files_and_writes_nothing(source, capsys):
    out = source.parent / "out"
    out.mkdir()
    assert run(source, "--dry-run") == 3
    assert "7 of 8 files can be done, 1 failed" in capsys.readouterr().err
    assert list(out.iterdir()) == []


def start(source, out, *options):
    words = ["batch", str(source), "--output", str(out), *OPTIONS, *options]
    # A process group of its own: a signal for it does not reach the tests.
    return subprocess.Popen(
        [sys.executable, "-m", "napari_diffusion", *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_results(process, out, count):
    while len(list(out.glob("*.recipe.json"))) < count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_killed_batch_goes_on(jobs, tmp_path, capsys):
    source, out = write_files(tmp_path / "in", 30), tmp_path / "out"
    process = start(source, out, "--jobs", jobs)
    wait_for_results(process, out, 10)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    time.sleep(1.0 if jobs == "2" else 0.0)  # processes notice the end of their parent
    states = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii")}
    assert run(source, "--resume", "--jobs", jobs) == 3
    assert "complete before, 1 failed" in capsys.readouterr().err
    kept = [name for name in states if (out / name).stat().st_mtime_ns == states[name]]
    assert len(kept) >= 10 - 2 * int(jobs)  # a result may be written, and not yet recorded
    for i in range(30):
        if i != 5:
            np.testing.assert_array_equal(io.read(out / f"f{i:04d}.nii").data, expected(i))
    leftovers = [path.name for path in out.iterdir() if path.name.endswith(".nii")]
    assert len([name for name in leftovers if not name.startswith(".")]) == 29


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupted_batch_says_what_is_left(jobs, tmp_path):
    source, out = write_files(tmp_path / "in", 60), tmp_path / "out"
    process = start(source, out, "--jobs", jobs)
    wait_for_results(process, out, 5)
    os.kill(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == 130, printed
    assert "not done; --resume goes on with them." in printed
    assert "Traceback" not in printed
    assert not list(out.glob(".*partial*"))
    records = [json.loads(line) for line in (out / JOURNAL).read_text().splitlines() if line]
    done = {record["result"] for record in records if "file" in record}
    assert done == {path.name for path in out.glob("*.nii")}
