"""A run does not depend on its log: closed, full and broken streams, and narrow encodings."""

import io
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_diffusion.cli import main, streams

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such streams")
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
PROGRAM = [sys.executable, "-m", "napari_diffusion"]
OPTIONS = ["--model", "perona-malik", "--kappa", "20", "--time", "3"]
RUN = ["run", "brain.nii", "out.nii", *OPTIONS]
AUTO = ["run", "brain.nii", "out.nii", "--auto", "--model", "linear"]
#: Ways to take streams away, in the words of a shell.
BROKEN = ["2>&-", ">&-", "<&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/full 2>&1"]
NARROW = ["cp1251", "ascii", "utf-16"]
#: Commands whose output is their result.
SHOWING = {
    "models": ["models"],
    "help of run": ["run", "--help"],
    "dry run": [*RUN, "--dry-run"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Create a folder with a small volume, and make it the current folder."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(100, 20, (10, 9, 8)).astype(np.int16)
    header = nibabel.Nifti1Header()
    header.set_xyzt_units("mm", "sec")
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0]), header), "brain.nii")
    return tmp_path


def in_shell(words, streams):
    """Run the program with the redirections of a shell; return the exit code."""
    command = ["sh", "-c", f'exec "$@" {streams}', "sh", *PROGRAM, *words]
    return subprocess.run(command, capture_output=True, check=False)


def without_reader(words, stream):
    """Run the program with a stream whose reader has gone."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: theirs}
        return subprocess.run([*PROGRAM, *words], check=False, **options)
    finally:
        os.close(theirs)


@full
@pytest.mark.parametrize(
    ("streams", "words"),
    [
        *((way, RUN) for way in (*BROKEN, "reader gone")),
        (">/dev/full 2>&1", AUTO),
    ],
)
def test_run_does_not_depend_on_its_streams(streams, words, folder):
    assert main([*words, "--quiet"]) == 0
    expected = {name: Path(name).read_bytes() for name in os.listdir()}
    for name in ("out.nii", "out.nii.recipe.json"):
        Path(name).unlink()
    done = without_reader(words, "stderr") if "gone" in streams else in_shell(words, streams)
    assert done.returncode == 0, done.stderr
    assert {name: Path(name).read_bytes() for name in os.listdir()} == expected


@full
@pytest.mark.parametrize("streams", ["2>&-", ">/dev/full 2>&1", "reader gone"])
def test_demo_does_not_depend_on_its_streams(streams, folder):
    words = ["demo", "--no-window", "--output", "shown"]
    done = without_reader(words, "stdout") if "gone" in streams else in_shell(words, streams)
    assert done.returncode == 0, done.stderr
    assert len(os.listdir("shown")) == 4


@full
@pytest.mark.parametrize("streams", ["2>&-", ">/dev/full 2>&1", "reader gone"])
def test_exit_code_of_wrong_input_does_not_depend_on_the_streams(streams, folder):
    words = ["run", "none.nii", "out.nii", *OPTIONS]
    done = without_reader(words, "stderr") if "gone" in streams else in_shell(words, streams)
    assert done.returncode == 2
    assert os.listdir() == ["brain.nii"]


@full
@pytest.mark.parametrize("command", SHOWING)
def test_output_that_cannot_be_written_is_an_error(command, folder):
    for stream, reason in ((">/dev/full", "No space left on device"), (">&-", "Bad file")):
        done = in_shell(SHOWING[command], stream)
        assert done.returncode == 1
        assert done.stderr.decode().startswith("Error: standard output cannot be written: ")
        assert reason in done.stderr.decode()
        assert len(done.stderr.splitlines()) == 1
    assert in_shell(SHOWING[command], ">/dev/full 2>&1").returncode == 1
    done = without_reader(SHOWING[command], "stdout")
    assert (done.returncode, done.stderr) == (141, b"")  # as of a program ended by SIGPIPE
    assert in_shell(SHOWING[command], "2>&-").stdout == in_shell(SHOWING[command], "").stdout


@posix
@pytest.mark.parametrize("command", ["models", "help of run"])
def test_output_that_does_not_wait_loses_nothing(command, folder):
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with subprocess.Popen([*PROGRAM, *SHOWING[command]], stdout=theirs) as process:
        with open(ours, "rb") as pipe:
            os.close(theirs)
            shown = pipe.read()
        assert process.wait(timeout=60) == 0
    assert shown == in_shell(SHOWING[command], "").stdout


@pytest.mark.parametrize(
    ("command", "encoding"),
    [("models", "cp1251"), ("help of run", "ascii"), ("dry run", "ascii"), ("dry run", "utf-16")],
)
def test_letters_that_an_encoding_lacks_are_replaced(command, encoding, folder):
    env = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([*PROGRAM, *SHOWING[command]], env=env, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    # click writes its help to a stream of ASCII in UTF-8.
    shown = done.stdout.decode("utf-8" if encoding == "ascii" else encoding)
    if "help" not in command and encoding in ("cp1251", "ascii"):
        assert "²" not in shown
        assert "^2" in shown or command != "dry run"


@pytest.mark.parametrize(
    "variables",
    [
        *({"PYTHONIOENCODING": encoding} for encoding in NARROW),
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C", "PYTHONUTF8": "1"},
    ],
    ids=str,
)
def test_run_does_not_depend_on_the_encoding(variables, folder):
    options = ["--model", "linear", "--time", "3e6", "--unit", "um"]
    words = ["run", "brain.nii", "out.nii", *options]
    done = subprocess.run(
        [*PROGRAM, *words], env=os.environ | variables, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path("out.nii").exists()
    assert b"UnicodeEncodeError" not in done.stderr
    assert b"\\x" not in done.stderr


@posix
@pytest.mark.parametrize(
    "name",
    [b"caf\xe9", "brain \N{BRAIN}".encode(), b"two\nlines", b" spaces  inside", b"n" * 235],
    ids=["latin-1 bytes", "emoji", "newline", "spaces", "long"],
)
def test_run_accepts_any_name_of_a_file(name, folder):
    try:
        os.rename(b"brain.nii", name + b".nii")
    except OSError:
        pytest.skip("the file system does not take this name")
    words = [b"run", name + b".nii", name + b"-.nii", b"--labels", name + b".nii"]
    done = subprocess.run(
        [*PROGRAM, *words, *OPTIONS], capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    written = {name + b".nii", name + b"-.nii", name + b"-.nii.recipe.json"}
    assert set(os.listdir(b".")) == written
    assert name in done.stderr
    words[2] = name + b"--.nii"
    words += [b"--recipe", name + b"-.nii.recipe.json"]
    assert main([*map(os.fsdecode, words), "--quiet"]) == 0
    first, second = (Path(os.fsdecode(name + end + b".nii")) for end in (b"-", b"--"))
    np.testing.assert_array_equal(
        np.asarray(nibabel.load(first).dataobj), np.asarray(nibabel.load(second).dataobj)
    )


def test_streams_that_python_does_not_have_are_made(monkeypatch, folder):
    """As in a program of Windows without a console."""
    monkeypatch.setattr(streams, "_HAS_NUMBERS", False)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with streams.prepared_streams():
        streams.say("a")
        streams.mention("b")
        streams.show("c")
        assert not streams.is_terminal()
    assert sys.stdout is None
    assert sys.stderr is None


def test_streams_are_as_before(capsys):
    before = sys.stdout, sys.stderr, sys.stdout.errors, sys.stderr.errors
    assert main(["models"]) == 0
    assert (sys.stdout, sys.stderr, sys.stdout.errors, sys.stderr.errors) == before


def test_closed_streams_drop_messages(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "stderr", closed)
    streams.say("a")
    streams.mention("b")
    assert not streams.is_terminal()
