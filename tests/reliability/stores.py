"""Runs in blocks whose processes are killed at random moments, and go on afterwards."""

from __future__ import annotations

import json
import multiprocessing
import random
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import napari_diffusion as nd
from napari_diffusion.core.errors import TargetExists
from napari_diffusion.engine.recipe import Recipe
from reliability.places import can_mount
from reliability.report import Figures

SHAPE, CHUNKS, BLOCK = (40, 64, 64), (10, 16, 16), (10, 32, 32)
RECIPE = Recipe(nd.PeronaMalik(kappa=9.0), 1.0, spacing=(1.0, 1.0, 1.0))
#: Kills of workers and of schedulers, for each kill of a run with threads.
WORKERS, SCHEDULERS = 0.4, 0.2
#: Calls a command of dask, whose name is the first argument.
CLUSTER = "import sys, importlib; name = sys.argv.pop(1); "
CLUSTER += "importlib.import_module('distributed.cli.' + name).main()"
#: Longest time of a run that goes on [s].
LIMIT_S = 120


def source_in(folder):
    """Write a noisy image, and return the result of the run in memory."""
    import zarr

    values = np.random.default_rng(0).normal(100, 20, SHAPE).astype("f4")
    array = zarr.create_array(str(folder / "in.zarr"), shape=SHAPE, chunks=CHUNKS, dtype="f4")
    array[...] = values
    return nd.diffuse(values, RECIPE)


def run_blocks(folder, executor=None):
    """Filter the image in blocks and two passes; an unfinished run goes on."""
    from helpers.stores import store_run

    passes = {"block": BLOCK, "passes": 2}
    run = store_run(
        folder / "in.zarr", folder / "out.zarr", RECIPE, executor=executor, workers=2, **passes
    )
    run.execute()


def state_of(folder, expected):
    """Return what is at the target: ``"none"``, ``"whole"`` or ``"wrong"``."""
    import zarr

    target = folder / "out.zarr"
    if not target.exists():
        return "none"
    try:
        values = zarr.open_array(str(target / "0"), mode="r")[...]
        group = zarr.open_group(str(target), mode="r")
        is_whole = np.array_equal(values, expected) and "ome" in group.attrs
    except Exception:
        is_whole = False
    return "whole" if is_whole else "wrong"


def leftovers_in(folder):
    """Return the names that a finished run should not have left."""
    names = {path.name for path in folder.iterdir()}
    return sorted(names - {"in.zarr", "out.zarr", "out.zarr.recipe.json"}) + [
        str(path) for path in folder.rglob("*.partial*")
    ]


def clear(folder):
    """Remove a result."""
    import shutil

    shutil.rmtree(folder / "out.zarr", ignore_errors=True)
    (folder / "out.zarr.recipe.json").unlink(missing_ok=True)


def finished(figures, folder, expected, where, executor=None):
    """Let a run go on to its end, and check its result."""
    state = state_of(folder, expected)
    figures.check(state != "wrong", f"{where}: a result that can be read and is wrong")
    if state == "none" or leftovers_in(folder):
        # One that was killed after the result had its name has ended, or leaves the rest of its
        # folder, which the next run removes.
        with suppress(TargetExists) if state == "whole" else nullcontext():
            run_blocks(folder, executor)
    figures.check(state_of(folder, expected) == "whole", f"{where}: another result")
    left = leftovers_in(folder)
    figures.check(not left, f"{where}: left {left}")
    clear(folder)


def threads(count, folder, expected, figures):
    """Kill runs with threads; each goes on until its end, and may be killed again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reliability.stores"])
    rng, kills, late = random.Random(0), 0, 0
    began = time.monotonic()
    process = context.Process(target=run_blocks, args=(folder,))
    process.start()
    process.join()
    duration = time.monotonic() - began
    finished(figures, folder, expected, "threads, whole run")
    while kills < count:
        process = context.Process(target=run_blocks, args=(folder,))
        process.start()
        if kills % 3 == 0:  # at any moment, also before the first block
            process.join(rng.uniform(0, 1.1 * duration))
        else:
            ended = SimpleNamespace(is_set=process_ended(process))
            progress_beyond(folder, rng.uniform(0, 1), ended)
            process.join(rng.uniform(0, 0.02))
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
            late += state_of(folder, expected) == "none"
        if process.exitcode == 0 or kills == count or rng.random() < 0.5:
            finished(figures, folder, expected, f"threads, kill {kills}")
        else:
            state = state_of(folder, expected)
            figures.check(state != "wrong", f"threads, kill {kills}: a wrong result")
    figures.rows["kills of runs with threads, before the result had its name"] = f"{kills}, {late}"


def process_ended(process):
    """Return a function that says whether a process has ended."""
    return lambda: process.exitcode is not None


def progress_beyond(folder, share, stop):
    """Wait until a share of the blocks is done."""
    total = 2 * int(np.prod([-(-n // b) for n, b in zip(SHAPE, BLOCK, strict=True)]))
    done = folder / ".out.zarr.partial" / "done"
    limit = time.monotonic() + LIMIT_S
    while not stop.is_set() and time.monotonic() < limit:
        if len(list(done.glob("pass-*/[0-9]*"))) >= share * total:
            return
        time.sleep(0.005)


def started_with(folder, address):
    """Start a run with a scheduler in this process; return its thread and what it raises."""
    from distributed import Client

    errors, ended = [], threading.Event()

    def work():
        try:
            with Client(address, set_as_default=False, timeout=30) as client:
                run_blocks(folder, client.get_executor(pure=False, retries=2))
        except Exception as error:
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, errors, ended


def ends_in_time(thread, figures, where):
    """Whether a thread ends; a run must not wait for a dead scheduler."""
    thread.join(LIMIT_S)
    figures.check(not thread.is_alive(), f"{where}: the run waits for ever")
    return not thread.is_alive()


class Cluster:
    """A scheduler of dask and its workers, each a process of its own without a nanny."""

    def __init__(self, folder, count):
        self.folder, self.workers, self.address = folder, [], None
        file = folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.scheduler = self._start(
            "dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", file
        )
        limit = time.monotonic() + LIMIT_S
        while self.address is None and time.monotonic() < limit:
            with suppress(OSError, ValueError, KeyError):
                self.address = json.loads(file.read_text())["address"]
            time.sleep(0.05)
        self.fill_up(count)

    def _start(self, *words):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([sys.executable, "-c", CLUSTER, *words], **quiet)

    def fill_up(self, count):
        """Start workers until there are so many."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < count:
            options = ["--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
            options += ["--local-directory", self.folder]
            self.workers.append(self._start("dask_worker", self.address, *options))

    def close(self):
        """End all processes."""
        for process in (self.scheduler, *self.workers):
            process.kill()
            process.wait()


def workers(count, folder, expected, figures):
    """Kill a worker of dask in each of several runs."""
    rng, by_itself = random.Random(1), 0
    cluster = Cluster(folder.parent, 2)
    try:
        for number in range(count):
            cluster.fill_up(2)
            thread, errors, ended = started_with(folder, cluster.address)
            progress_beyond(folder, rng.uniform(0, 0.9), ended)
            rng.choice(cluster.workers).kill()
            if ends_in_time(thread, figures, f"worker {number}"):
                by_itself += not errors
                finished(figures, folder, expected, f"worker {number}")
    finally:
        cluster.close()
    figures.rows["kills of a worker of dask, runs that went on by themselves"] = (
        f"{count}, {by_itself}"
    )


def schedulers(count, folder, expected, figures):
    """Kill the scheduler of dask in each of several runs; another executor goes on."""
    rng, named = random.Random(2), 0
    for number in range(count):
        cluster = Cluster(folder.parent, 1)
        try:
            thread, errors, ended = started_with(folder, cluster.address)
            progress_beyond(folder, rng.uniform(0, 0.9), ended)
            cluster.scheduler.kill()
            if ends_in_time(thread, figures, f"scheduler {number}"):
                named += bool(errors) and "the block" in str(errors[0])
                cluster.close()  # a worker may be at a block
                finished(figures, folder, expected, f"scheduler {number}")
        finally:
            cluster.close()
    figures.rows["kills of a scheduler of dask, errors that name a block"] = f"{count}, {named}"


def one_sentence(error, folder):
    """Whether an error is one sentence about a file of the folder, with a block if it has one."""
    from napari_diffusion.core.errors import BlockFailed, DescribedError

    text = str(error)
    has_place = "the block" in text or not isinstance(error, BlockFailed)
    is_one = text.count(". ") == 0 and "\n" not in text
    return isinstance(error, DescribedError) and has_place and is_one and str(folder) in text


def fill(disk):
    """Fill a disk to the last byte."""
    with suppress(OSError), (disk / "filler").open("wb") as file:
        for length in (1 << 16, 1 << 10, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(length))
                    file.flush()


def disks(folder):
    """Fill a disk at many moments, or make it read-only; the run goes on when there is room.

    It is called in a mount namespace of its own. What went wrong is returned, and the errors.
    """
    own, wrong, errors = folder / "disk", [], []
    own.mkdir()
    expected = source_in(folder)
    for number in range(12):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(own)], check=True)
        (own / "in.zarr").symlink_to(folder / "in.zarr")
        try:
            run_until(own, (number // 2) / 6, is_full=number % 2 == 0)
            wrong.append(f"{number}: a run on a disk without room has ended")
        except Exception as error:
            errors.append(str(error))
            wrong += [] if one_sentence(error, own) else [repr(error)]
        wrong += [f"{number}: a result"] * (state_of(own, expected) != "none")
        subprocess.run(["mount", "-o", "remount,rw", str(own)], check=True)
        (own / "filler").unlink(missing_ok=True)
        run_blocks(own)
        wrong += [f"{number}: another result"] * (state_of(own, expected) != "whole")
        wrong += [f"{number}: left {left}" for left in [leftovers_in(own)] if left]
        wrong += written_from_memory(own, expected) if not number else []
        subprocess.run(["umount", str(own)], check=True)
    return wrong, errors


def run_until(folder, share, is_full):
    """Start a run, and let its disk be full or read-only from a share of its work on."""
    from helpers.stores import store_run

    run = store_run(
        folder / "in.zarr", folder / "out.zarr", RECIPE, workers=2, block=BLOCK, passes=2
    )

    def progress(done):
        if done >= share and is_full:
            fill(folder)
        elif done >= share:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=False)

    run.execute(progress)


def written_from_memory(folder, expected):
    """Write a result from memory to a full disk; return what went wrong."""
    from napari_diffusion import io

    volume = io.read(folder / "in.zarr")
    before = sorted(path.name for path in folder.iterdir())
    write = io.zarr_pyramid.Pyramid.write

    def filling(pyramid, *arguments):
        fill(folder)
        write(pyramid, *arguments)

    io.zarr_pyramid.Pyramid.write = filling
    try:
        io.write(folder / "memory.ome.zarr", expected, volume, RECIPE)
        return ["a result has no place and is written"]
    except OSError as error:
        wrong = [] if one_sentence(error, folder) else [repr(error)]
    finally:
        io.zarr_pyramid.Pyramid.write = write
    (folder / "filler").unlink()
    after = sorted(path.name for path in folder.iterdir())
    return wrong + [f"left {after}"] * (before != after)


def full_disks(folder, figures):
    """Call `disks` in a mount namespace, where the machine has any."""
    if not can_mount():
        figures.rows["full disks"] = "left out: this machine has no mount namespaces"
        return
    code = "import json, sys; from pathlib import Path; from reliability.stores import disks; "
    code += "print(json.dumps(disks(Path(sys.argv[1]))))"
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    figures.check(done.returncode == 0, f"full disks: {done.stderr[-400:]}")
    wrong, errors = json.loads(done.stdout) if done.returncode == 0 else ([], [])
    for finding in wrong:
        figures.check(False, f"full disks: {finding}")
    in_block = sum("the block" in text for text in errors)
    figures.rows["full and read-only disks, errors that name a block"] = (
        f"{len(errors)}, {in_block}"
    )
    figures.runs += len(errors)


def run(count, folder):
    """Kill ``count`` runs with threads, and a part of this number of workers and schedulers."""
    figures, own = Figures(), Path(folder) / "runs"
    own.mkdir()
    expected = source_in(own)
    full = Path(folder) / "full"
    full.mkdir()
    full_disks(full, figures)
    threads(count, own, expected, figures)
    workers(round(WORKERS * count), own, expected, figures)
    schedulers(round(SCHEDULERS * count), own, expected, figures)
    return figures
