"""Kernels are compiled in another process, which ends when nobody needs it, and nothing depends on it."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import asdict

import pytest

from napari_diffusion import backends
from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.workflows import warmup
from napari_diffusion.workflows.warmup import LATER, NICE, NOW, SOON, WarmupClient, WarmupTask

#: Reads lines as the other process does, and answers with the names; "stay" is never done.
ANSWERS = """
import json, sys
for line in sys.stdin:
    kind = json.loads(line)["kind"]
    if kind == "slow" and json.loads(line)["rank"]:
        continue  # answered when it is wanted
    if kind != "stay":
        print(kind, flush=True)
"""
#: The real queue with a rehearsal that notes its name; the first "long" one takes until it has to give way.
QUEUE = """
import os, sys
from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.workflows import warmup
usual, seen = os.nice(0) if hasattr(os, 'nice') else 0, []
def run(self, cancel):
    seen.append(self.kind)
    sys.stdout.write(f"began {self.kind} {os.nice(0) - usual if hasattr(os, 'nice') else 0}\\n")
    sys.stdout.flush()
    if self.kind == "long" and seen.count("long") == 1:
        cancel.wait()
        raise Cancelled("")
    if self.kind == "impossible":
        raise ValueError("no such run")
warmup.WarmupTask.run = run
warmup.WarmupWorker().work()
"""


def rehearsal(kind):
    return WarmupTask(kind, {}, (4, 4), "float32")


def child(code, **environment):
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A helper whose marks lie in an empty folder, and whose process only answers; counts what it starts."""
    started = []

    def start(code=ANSWERS):
        started.append(child(code))
        return started[-1]

    monkeypatch.setattr(backends, "completion_mark", lambda what: tmp_path / what)
    monkeypatch.setattr(warmup, "_start", start)
    made = WarmupClient()
    made.started = started
    made.join()
    yield made
    made.leave()
    for each in started:
        each.wait()


def line(kind, rank):
    return json.dumps(asdict(rehearsal(kind)) | {"rank": rank}) + "\n"


def ended(process):
    """Whether a process ends; a helper's thread collects it, and only one that hangs makes this wait."""
    return process.wait(60) is not None


def test_what_is_wanted_is_waited_for_and_the_process_ends_with_the_rest(helper):
    helper.prepare(rehearsal("wanted"), threading.Event(), later=[rehearsal("other")])
    assert "wanted" in helper._done
    assert len(helper.started) == 1
    assert ended(helper.started[0])
    assert helper.process is None
    assert helper._done == {"wanted", "other"}
    helper.prepare(rehearsal("another"), threading.Event())
    assert len(helper.started) == 2
    assert "another" in helper._done


def test_nothing_is_started_for_what_is_in_the_cache(helper, tmp_path):
    for kind in ("wanted", "other"):
        (tmp_path / kind).touch()
    assert not helper.has("wanted")
    helper.prepare(rehearsal("wanted"), threading.Event(), later=[rehearsal("other")])
    assert not helper.started
    assert helper.has("wanted")
    assert not helper.has("new")
    helper.prepare(rehearsal("wanted"), threading.Event(), later=[rehearsal("new")])
    assert len(helper.started) == 1


@pytest.mark.parametrize("why", ["no cache", "no user"])
def test_nothing_is_started_where_it_would_be_of_no_use(why, helper, monkeypatch):
    if why == "no cache":
        monkeypatch.setattr(backends, "completion_mark", lambda what: None)
    else:
        helper.leave()
    helper.prepare(rehearsal("wanted"), threading.Event())
    assert not helper.started


@pytest.mark.parametrize("end", ["leave", "cancel", "patience"])
def test_a_wait_ends(end, helper, monkeypatch):
    if end == "patience":
        monkeypatch.setattr(warmup, "MAX_WAIT_S", 0.0)
    cancel, answers = threading.Event(), []

    def wait():
        try:
            answers.append(helper.prepare(rehearsal("stay"), cancel))
        except Cancelled as error:
            answers.append(error)

    waits = threading.Thread(target=wait)
    waits.start()
    while not (answers or helper.waiting):
        time.sleep(0.01)
    {"leave": helper.leave, "cancel": cancel.set, "patience": lambda: None}[end]()
    waits.join(60)
    assert not waits.is_alive()
    assert [type(answer) for answer in answers] == [type(None) if end == "patience" else Cancelled]
    assert not helper._broken
    if end == "leave":
        assert ended(helper.started[0])
        helper.join()


@pytest.mark.parametrize("rank", ["soon", "later"])
def test_a_process_for_which_nobody_waits_is_replaced_when_somebody_does(rank, helper):
    helper.prepare(rehearsal("wanted"), threading.Event(), **{rank: [rehearsal("stay")]})
    helper.prepare(rehearsal("urgent"), threading.Event())
    assert len(helper.started) == 2
    assert ended(helper.started[0])
    assert "urgent" in helper._done
    assert "stay" in helper._asked  # nothing is forgotten
    assert helper.started[1].poll() is None
    assert not helper._broken


def test_what_is_soon_is_waited_for_where_it_is_compiled(helper):
    helper.prepare(rehearsal("wanted"), threading.Event(), soon=[rehearsal("slow")])
    helper.prepare(rehearsal("slow"), threading.Event())
    assert len(helper.started) == 1
    assert "slow" in helper._done


@pytest.mark.parametrize("broken", ["import sys; sys.exit(1)", "input(); raise SystemExit(1)"])
def test_a_broken_process_is_left_alone(broken, helper, monkeypatch):
    good = warmup._start
    monkeypatch.setattr(warmup, "_start", lambda: good(broken))
    helper.prepare(rehearsal("stay"), threading.Event())
    helper.prepare(rehearsal("stay"), threading.Event())
    assert len(helper.started) == 1
    assert ended(helper.started[0])


@pytest.mark.parametrize("executable", ["", None, "/opt/napari/bin/napari", "/nowhere/python3"])
def test_a_program_that_is_no_python_is_not_started(executable, monkeypatch, tmp_path):
    """It would open another napari."""
    monkeypatch.setattr(backends, "completion_mark", lambda what: tmp_path / what)
    monkeypatch.setattr(sys, "executable", executable)
    commands = []
    real = subprocess.Popen.__init__
    monkeypatch.setattr(
        subprocess.Popen,
        "__init__",
        lambda self, args, **rest: (commands.append(args), real(self, args, **rest))[1],
    )
    helper = WarmupClient()
    helper.join()
    helper.prepare(rehearsal("wanted"), threading.Event())
    assert helper.process is None
    assert not any("napari" in str(command[0]) for command in commands)


def test_who_waits_comes_first_and_what_is_interrupted_comes_again():
    lower = (
        min(NICE, 19 - os.nice(0)) if hasattr(os, "nice") else 0
    )  # 19 is the lowest priority of all
    ended = [
        "began impossible 0",
        "impossible",
        "began long 0",
        "long",
        "began soon 0",
        "soon",
        f"began later {lower}",
        "later",
    ]
    with child(QUEUE, NAPARI_DIFFUSION_NO_CACHE="1") as process:
        process.stdin.write(line("long", SOON))
        process.stdin.flush()
        assert process.stdout.readline() == "began long 0\n"
        process.stdin.write(line("later", LATER) + line("soon", SOON) + line("impossible", NOW))
        process.stdin.flush()
        assert [process.stdout.readline().strip() for _ in ended] == ended
        process.stdin.close()
        assert process.wait(60) == 0


def test_the_process_ends_with_its_input_whatever_it_is_at():
    with child(QUEUE) as process:
        process.stdin.write(line("long", NOW))
        process.stdin.flush()
        assert process.stdout.readline() == "began long 0\n"
        process.stdin.close()
        assert process.wait(60) == 0
