"""A signal ends the program soon, whatever it does, and leaves no file behind."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.cli import signals
from napari_diffusion.cli.signals import SIGNALS, Stop
from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.estimation.selection import suggest_for

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
COMMAND = [sys.executable, "-m", "napari_diffusion", "run"]
EDGES = ["--axes", "ZYX", "--model", "perona-malik", "--kappa", "20"]
LONG = [*EDGES, "--time", "2000", "--scheme", "explicit"]
NUMBERS = [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Create a folder with a large image and an old result, and make it the current folder."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(100, 20, (64, 96, 96))
    np.save("large.npy", values.astype(np.float32))
    Path("old.npy").write_bytes(b"old result")
    Path("old.npy.recipe.json").write_bytes(b"old recipe")
    return tmp_path


def contents():
    return {path.name: path.read_bytes() for path in Path().iterdir()}


def interrupted(words, number, line, wait=0.0, env=None):
    """Send a signal after a line of the log; return the exit code and the rest of the log."""
    with subprocess.Popen(
        [*COMMAND, *words], stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            while line and line not in process.stderr.readline():
                assert process.poll() is None
            time.sleep(wait)
            process.send_signal(number)
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, rest


@posix
@pytest.mark.parametrize(("name", "code"), NUMBERS)
@pytest.mark.parametrize("compiled", [True, False])
def test_signal_ends_a_run_without_output(name, code, compiled, folder, tmp_path_factory):
    env = dict(os.environ)
    if not compiled:
        env["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    before = contents()
    words = ["large.npy", "out.npy", *LONG]
    wait = 0.3 if compiled else 0.05
    ended, rest = interrupted(words, getattr(signal, name), "steps", wait, env)
    assert (ended, rest.strip()) == (code, "Cancelled; nothing was written.")
    assert contents() == before


@posix
def test_signal_at_any_moment_leaves_the_old_result(folder):
    """At 8 moments: while reading, computing and writing, both files are old, or both new."""
    words = ["large.npy", "old.npy", *EDGES, "--time", "1", "--overwrite", "--quiet"]
    begin = time.monotonic()
    subprocess.run([*COMMAND, *words], check=True)
    duration = time.monotonic() - begin
    finished = contents()
    rng = random.Random(0)
    for _ in range(8):
        Path("old.npy").write_bytes(b"old result")
        Path("old.npy.recipe.json").write_bytes(b"old recipe")
        before = contents()
        name, code = rng.choice(NUMBERS)
        number = getattr(signal, name)
        ended, rest = interrupted(words, number, None, rng.uniform(0, duration))
        # Before the program handles signals, the system ends it by the signal itself.
        assert ended in (0, code, -number), rest
        is_old = contents() == before
        assert is_old or contents() == finished
        assert not (ended == 0 and is_old)
        assert is_old or "nothing was written" not in rest


@posix
def test_choice_of_parameters_ends_soon_after_a_signal(folder):
    """The program does not wait for the end of the choice, which takes far longer."""
    before = contents()
    code = (
        "import sys, time\n"
        "from napari_diffusion.cli import main, run_file\n"
        "def endless(*arguments):\n"
        "    print('chooses', file=sys.stderr, flush=True)\n"
        "    while True: time.sleep(0.01)\n"
        "run_file.choose_parameters = endless\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["run", "large.npy", "out.npy", "--axes", "ZYX", "--auto"]
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr.readline() == "chooses\n"
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, rest.strip()) == (130, "Cancelled; nothing was written.")
    assert contents() == before


@posix
def test_ignored_hangup_does_not_end_a_run(folder):
    """As under nohup."""
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    words = ["large.npy", "out.npy", *EDGES, "--time", "20", "--scheme", "explicit"]
    command = [sys.executable, "-c", code, *COMMAND[1:], *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while "steps" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGHUP)
            _, rest = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0, rest
    assert Path("out.npy").exists()


@posix
def test_end_of_the_terminal_ends_a_run_without_output(folder):
    """The terminal of the log is gone when the signal arrives."""
    import pty

    before = contents()
    ours, theirs = pty.openpty()
    words = ["large.npy", "out.npy", *LONG]
    with subprocess.Popen(
        [*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        try:
            os.close(theirs)
            log = b""
            while b"%" not in log:  # the progress bar
                log += os.read(ours, 1000)
            os.close(ours)
            time.sleep(0.3)  # the progress bar has no terminal any more
            assert process.poll() is None
            process.send_signal(signal.SIGHUP)
            process.wait(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 129
    assert contents() == before


def test_signal_is_deferred_in_a_protected_block(monkeypatch):
    monkeypatch.setattr(signals, "GRACE_S", 600.0)  # a busy machine may stop this process for 1 s

    def interrupted(stop, *numbers):
        with stop.waiting():
            for number in numbers:
                stop(number, None)
            reached.append(number)

    reached = []
    with pytest.raises(KeyboardInterrupt):
        Stop()(signal.SIGINT, None)
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        interrupted(stop, signal.SIGTERM)
    assert reached == [signal.SIGTERM]
    assert stop.event.is_set()
    assert (stop.number, stop.code) == (signal.SIGTERM, 143)
    with pytest.raises(KeyboardInterrupt):  # the second signal is not deferred
        interrupted(Stop(), signal.SIGINT, signal.SIGINT)
    assert reached == [signal.SIGTERM]


def test_protected_block_without_a_signal_leaves_no_thread():
    stop, before = Stop(), threading.active_count()
    for _ in range(3):
        with stop.waiting():
            pass
    end = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before  # a thread of an earlier test may end meanwhile
    assert not stop.event.is_set()


def test_every_signal_is_deferred_while_files_get_their_names():
    def named(stop, *numbers):
        with stop.committing():
            for number in numbers:
                stop(number, None)
            reached.append(number)

    stop, reached = Stop(), []
    with pytest.raises(KeyboardInterrupt):
        named(stop, signal.SIGINT, signal.SIGTERM)
    assert reached == [signal.SIGTERM]
    assert stop.has_written
    stop = Stop()
    stop.event.set()
    with pytest.raises(KeyboardInterrupt):
        named(stop, signal.SIGINT)
    assert reached == [signal.SIGTERM]
    assert not stop.has_written


@posix
def test_exit_code_is_that_of_the_signal_after_code_of_exec():
    code = (
        "import os, signal, sys\n"
        "import click\n"
        "from napari_diffusion.cli import app\n"
        "@app.cli.command('wait')\n"
        "def wait():\n"
        "    exec('import os, signal; os.kill(os.getpid(), signal.SIGTERM)')\n"
        "sys.exit(app.main(['wait']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 143


def test_result_and_recipe_get_their_names_together(folder):
    """A signal just before the names leaves both old files; just after them, both are new."""
    volume = io.read("large.npy")
    recipe, before = Recipe(nd.Linear(), 1.0), contents()
    stop = Stop()
    stop.event.set()
    with pytest.raises(KeyboardInterrupt):
        io.write("old.npy", volume.data, volume, recipe, overwrite=True, commit=stop.committing())
    assert contents() == before
    stop = Stop()
    replace = os.replace

    def replaced_with_a_signal(*paths):
        replace(*paths)
        stop(signal.SIGTERM, None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replaced_with_a_signal)
        with pytest.raises(KeyboardInterrupt):
            io.write(
                "old.npy", volume.data, volume, recipe, overwrite=True, commit=stop.committing()
            )
    assert contents().keys() == before.keys()
    np.testing.assert_array_equal(np.load("old.npy"), volume.data)
    assert Recipe.load("old.npy.recipe.json") == recipe


def test_signals_that_the_parent_ignores_stay_ignored():
    number = SIGNALS[0]
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Stop().handling():
            assert signal.getsignal(number) is signal.SIG_IGN
        signal.signal(number, signal.SIG_DFL)
        stop = Stop()
        with stop.handling():
            assert signal.getsignal(number) is stop
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


class AfterSomeCalls:
    """A cancel event that is set after a number of polls."""

    def __init__(self, count):
        self.remaining = count

    def is_set(self):
        self.remaining -= 1
        return self.remaining < 0


@pytest.mark.parametrize("thorough", [True, False])
def test_suggestion_polls_its_cancel_event(thorough):
    """It is polled while patches are read, while noise is measured, and between stages."""
    image = np.random.default_rng(0).normal(100, 10, (20, 20)).astype(np.float32)
    counting = AfterSomeCalls(10**9)
    nd.suggest(image, nd.PeronaMalik(), thorough=thorough, cancel=counting)
    polls = 10**9 - counting.remaining
    assert polls > 50
    for count in (0, 2, polls // 2, polls - 1):
        with pytest.raises(Cancelled):
            nd.suggest(image, nd.PeronaMalik(), thorough=thorough, cancel=AfterSomeCalls(count))
    problem = make_problem(image, Recipe(nd.Linear(), 0.0))
    with pytest.raises(Cancelled):
        suggest_for([problem], "auto", cancel=AfterSomeCalls(polls // 2))
