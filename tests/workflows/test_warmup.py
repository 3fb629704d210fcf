"""The compile worker: order of tasks, waiting and cancelling, failure, end of the process."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import asdict

import pytest

from napari_diffusion.backends.numba.backend import NumbaBackend
from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.workflows import warmup
from napari_diffusion.workflows.warmup import LATER, NICENESS, NOW, SOON, WarmupClient, WarmupTask

#: A stand-in for the worker: answers at once with the kind of a task, but never for "stay", and for
#: "slow" only when it is urgent.
ANSWERING_WORKER = """
import json, sys
for line in sys.stdin:
    kind = json.loads(line)["kind"]
    if kind == "slow" and json.loads(line)["priority"]:
        continue
    if kind != "stay":
        print(kind, flush=True)
"""
#: The worker with tasks that print their kind and niceness instead of compiling. The first task
#: "long" waits until it is cancelled.
PRINTING_WORKER = """
import os, sys
from napari_diffusion.core.cancellation import Cancelled
from napari_diffusion.workflows import warmup
usual, kinds = os.nice(0) if hasattr(os, 'nice') else 0, []
def run(self, cancel):
    kinds.append(self.kind)
    sys.stdout.write(f"began {self.kind} {os.nice(0) - usual if hasattr(os, 'nice') else 0}\\n")
    sys.stdout.flush()
    if self.kind == "long" and kinds.count("long") == 1:
        cancel.wait()
        raise Cancelled("")
    if self.kind == "impossible":
        raise ValueError("no such run")
warmup.WarmupTask.run = run
warmup.WarmupWorker().work()
"""


def task(kind):
    return WarmupTask(kind, NumbaBackend.name, {}, (4, 4), "float32")


def child(code, **environment):
    command, env = [sys.executable, "-c", textwrap.dedent(code)], os.environ | environment
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env)


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Return a client with an empty cache folder and stand-ins for its workers, in ``started``."""
    started = []

    def start(code=ANSWERING_WORKER):
        started.append(child(code))
        return started[-1]

    monkeypatch.setattr(NumbaBackend, "completion_mark", lambda self, kind: tmp_path / kind)
    monkeypatch.setattr(warmup, "_start", start)
    client = WarmupClient()
    client.started = started
    client.join()
    yield client
    client.leave()
    for process in started:
        process.wait()


def line(kind, priority):
    return json.dumps(asdict(task(kind)) | {"priority": priority}) + "\n"


def ended(process):
    """Return whether a process ends; a worker that hangs makes the test fail after 60 s."""
    return process.wait(60) is not None


def test_client_waits_for_a_task_and_the_worker_ends_after_all_tasks(client):
    client.prepare(task("first"), threading.Event(), later=[task("other")])
    assert "first" in client._done
    assert len(client.started) == 1
    assert ended(client.started[0])
    assert client.process is None
    assert client._done == {"first", "other"}
    client.prepare(task("another"), threading.Event())
    assert len(client.started) == 2
    assert "another" in client._done


def test_no_worker_is_started_for_cached_kernels(client, tmp_path):
    for kind in ("first", "other"):
        (tmp_path / kind).touch()
    assert not client.has("first")
    client.prepare(task("first"), threading.Event(), later=[task("other")])
    assert not client.started
    assert client.has("first")
    assert not client.has("new")
    client.prepare(task("first"), threading.Event(), later=[task("new")])
    assert len(client.started) == 1


@pytest.mark.parametrize("reason", ["no cache", "no user"])
def test_no_worker_is_started_without_a_cache_or_a_user(reason, client, monkeypatch):
    if reason == "no cache":
        monkeypatch.setattr(NumbaBackend, "completion_mark", lambda self, kind: None)
    else:
        client.leave()
    client.prepare(task("first"), threading.Event())
    assert not client.started


@pytest.mark.parametrize("end", ["leave", "cancel", "time limit"])
def test_wait_ends(end, client, monkeypatch):
    """It ends with the last user, with a cancel, and after the longest wait."""
    if end == "time limit":
        monkeypatch.setattr(warmup, "MAX_WAIT_S", 0.0)
    cancel, answers = threading.Event(), []

    def wait():
        try:
            answers.append(client.prepare(task("stay"), cancel))
        except Cancelled as error:
            answers.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not (answers or client.waiting):
        time.sleep(0.01)
    {"leave": client.leave, "cancel": cancel.set, "time limit": lambda: None}[end]()
    waiting.join(60)
    assert not waiting.is_alive()
    expected = type(None) if end == "time limit" else Cancelled
    assert [type(answer) for answer in answers] == [expected]
    assert not client._broken
    if end == "leave":
        assert ended(client.started[0])
        client.join()


@pytest.mark.parametrize("priority", ["soon", "later"])
def test_worker_with_less_urgent_tasks_is_replaced_for_an_urgent_task(priority, client):
    client.prepare(task("first"), threading.Event(), **{priority: [task("stay")]})
    client.prepare(task("urgent"), threading.Event())
    assert len(client.started) == 2
    assert ended(client.started[0])
    assert "urgent" in client._done
    assert "stay" in client._pending  # the new worker has the old tasks
    assert client.started[1].poll() is None
    assert not client._broken


def test_worker_is_kept_for_a_task_that_it_already_has(client):
    client.prepare(task("first"), threading.Event(), soon=[task("slow")])
    client.prepare(task("slow"), threading.Event())
    assert len(client.started) == 1
    assert "slow" in client._done


@pytest.mark.parametrize("broken", ["import sys; sys.exit(1)", "input(); raise SystemExit(1)"])
def test_failed_worker_is_not_replaced(broken, client, monkeypatch):
    good = warmup._start
    monkeypatch.setattr(warmup, "_start", lambda: good(broken))
    client.prepare(task("stay"), threading.Event())
    client.prepare(task("stay"), threading.Event())
    assert len(client.started) == 1
    assert ended(client.started[0])


@pytest.mark.parametrize("executable", ["", None, "/opt/napari/bin/napari", "/nowhere/python3"])
def test_executable_that_is_not_python_is_not_started(executable, monkeypatch, tmp_path):
    """It would open another napari."""
    monkeypatch.setattr(NumbaBackend, "completion_mark", lambda self, kind: tmp_path / kind)
    monkeypatch.setattr(sys, "executable", executable)
    commands = []
    start = subprocess.Popen.__init__

    def record(self, args, **options):
        commands.append(args)
        start(self, args, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", record)
    client = WarmupClient()
    client.join()
    client.prepare(task("first"), threading.Event())
    assert client.process is None
    assert not any("napari" in str(command[0]) for command in commands)


def test_urgent_task_comes_first_and_an_interrupted_task_is_repeated():
    # 19 is the lowest priority of a process.
    niceness = min(NICENESS, 19 - os.nice(0)) if hasattr(os, "nice") else 0
    expected = ["began impossible 0", "impossible", "began long 0", "long"]
    expected += ["began soon 0", "soon", f"began later {niceness}", "later"]
    with child(PRINTING_WORKER, NAPARI_DIFFUSION_NO_CACHE="1") as process:
        process.stdin.write(line("long", SOON))
        process.stdin.flush()
        assert process.stdout.readline() == "began long 0\n"
        process.stdin.write(line("later", LATER) + line("soon", SOON) + line("impossible", NOW))
        process.stdin.flush()
        assert [process.stdout.readline().strip() for _ in expected] == expected
        process.stdin.close()
        assert process.wait(60) == 0


def test_worker_ends_with_its_input_during_a_task():
    with child(PRINTING_WORKER) as process:
        process.stdin.write(line("long", NOW))
        process.stdin.flush()
        assert process.stdout.readline() == "began long 0\n"
        process.stdin.close()
        assert process.wait(60) == 0


#: The worker on a machine where the kernels of "lost" cannot be saved, and those of "saved" are in
#: the cache; whatever it compiles or marks is printed.
WORKER_WITH_FULL_DISK = """
import errno
from napari_diffusion.backends.numba.backend import NumbaBackend
from napari_diffusion.workflows import warmup
class Mark:
    def __init__(self, kind):
        self.kind = kind
    def exists(self):
        return self.kind == "saved"
    def touch(self):
        print("marked", self.kind, flush=True)
        if self.kind == "lost":
            raise OSError(errno.ENOSPC, "No space left on device")
NumbaBackend.completion_mark = lambda self, kind: Mark(kind)
warmup.WarmupTask.run = lambda self, cancel: print("ran", self.kind, flush=True)
warmup.WarmupWorker().work()
"""


def test_worker_that_cannot_save_kernels_fails_and_keeps_older_marks():
    """The client then compiles them itself; it would wait for each further kind otherwise."""
    with child(WORKER_WITH_FULL_DISK) as process:
        process.stdin.write(line("saved", NOW))
        process.stdin.flush()
        assert process.stdout.readline() == "saved\n"  # neither compiled nor marked again
        process.stdin.write(line("new", NOW))
        process.stdin.flush()
        assert [process.stdout.readline() for _ in range(3)] == [
            "ran new\n",
            "marked new\n",
            "new\n",
        ]
        process.stdin.write(line("lost", NOW))
        process.stdin.flush()
        assert process.stdout.read() == "ran lost\nmarked lost\n"
        assert process.wait(60) == 1
