"""Processes that are killed or interrupted at random moments, and what they leave."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import psutil

import napari_diffusion as nd
from napari_diffusion.io import sidecar_of
from napari_diffusion.workflows.batch import JOURNAL
from reliability.report import Figures

COMMAND = [sys.executable, "-m", "napari_diffusion"]
OPTIONS = ["--axes", "ZYX", "--model", "perona-malik", "--kappa", "20", "--time", "1"]
MODEL = nd.PeronaMalik(kappa=20.0)
#: Signals, each with the exit code of a run that has handled it.
SIGNALS = {"SIGKILL": -9, "SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
FORMATS = (".npy", ".nii.gz", ".tif", ".nrrd", ".mgz", ".mha")
RESULTS = 12


def interrupted(command, number, wait):
    """Start a command, send a signal after a time, and return exit code and messages."""
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, number)
        try:
            messages = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    return process.returncode, messages


def run(count, folder):
    """Interrupt ``count`` runs that replace a result, and as many batches that go on afterwards."""
    figures, rng = Figures(), random.Random(0)
    source = folder / "in.npy"
    pixels = np.random.default_rng(0).normal(100, 20, (24, 96, 96)).astype(np.float32)
    np.save(source, pixels)
    ends = dict.fromkeys(SIGNALS, 0)
    for i in range(count):
        name = list(SIGNALS)[i % len(SIGNALS)]
        target = folder / f"out{FORMATS[i % len(FORMATS)]}"
        target.write_bytes(b"old result")
        sidecar_of(target).write_bytes(b"old recipe")
        words = ["run", str(source), str(target), *OPTIONS, "--overwrite", "--quiet"]
        if i < len(FORMATS):  # a whole run, which also gives its duration
            began = time.monotonic()
            subprocess.run([*COMMAND, *words], check=True, capture_output=True)
            duration = time.monotonic() - began
            target.write_bytes(b"old result")
            sidecar_of(target).write_bytes(b"old recipe")
        code, messages = interrupted(
            [*COMMAND, *words], getattr(signal, name), rng.uniform(0, 1.1 * duration)
        )
        is_old = target.read_bytes() == b"old result"
        duration *= 1.1 if is_old else 0.8  # about half of the runs are interrupted
        has_old_recipe = sidecar_of(target).read_bytes() == b"old recipe"
        litter = [p.name for p in folder.iterdir() if p.name.startswith(".")]
        ends[name] += is_old
        where = f"{name}, run {i} to {target.suffix}"
        figures.check("Traceback" not in messages, f"{where}: {messages[-200:]}")
        # Between the two names, a kill may leave a new result with an old recipe.
        figures.check(is_old == has_old_recipe or name == "SIGKILL", f"{where}: half of a result")
        figures.check(not litter or name == "SIGKILL", f"{where}: left {litter}")
        figures.check(
            code in (0, SIGNALS[name], -getattr(signal, name)), f"{where}: ended with {code}"
        )
        if not is_old:
            figures.check(is_whole(target, pixels), f"{where}: another result")
        for each in litter:
            (folder / each).unlink()
    figures.rows["interrupted before the end, of runs"] = f"{sum(ends.values())} of {count}"
    batches(count, folder, rng, figures)
    changed_settings(folder, figures)
    ended_processes(count, folder, rng, figures)
    return figures


def is_whole(target, pixels):
    """Whether a result is that of the library; formats of space have no axes in ``.npy``."""
    from napari_diffusion import io

    expected = nd.diffuse(pixels, MODEL, time=1.0)
    read = np.asarray(io.read(target).data)
    return np.array_equal(read if read.shape == pixels.shape else read.T, expected)


def batches(count, folder, rng, figures):
    """Kill batches at random moments, and resume each once."""
    inputs = folder / "many"
    inputs.mkdir()
    for i in range(RESULTS):
        np.save(inputs / f"f{i}.npy", np.random.default_rng(i).normal(100, 20, (8, 24, 24)))
    kept = 0
    for i in range(count // 4):
        out, name = folder / f"batch{i}", list(SIGNALS)[i % len(SIGNALS)]
        words = ["batch", str(inputs), "--output", str(out), *OPTIONS, "--quiet"]
        interrupted([*COMMAND, *words], getattr(signal, name), rng.uniform(0.5, 2.5))
        before = {p.name: p.stat().st_mtime_ns for p in out.glob("f*.npy")} if out.is_dir() else {}
        done = subprocess.run(
            [*COMMAND, *words, "--resume"], capture_output=True, text=True, check=False
        )
        figures.check(done.returncode == 0, f"batch {i} after {name}: {done.stderr[-200:]}")
        kept += sum((out / own).stat().st_mtime_ns == when for own, when in before.items())
        wrong = wrong_results(inputs, out, 1.0)
        figures.check(not wrong, f"batch {i} after {name}: results {wrong} are wrong")
        figures.check((out / JOURNAL).exists(), f"batch {i}: no journal")
    figures.rows["batches that went on, results that were kept"] = f"{count // 4}, {kept}"


def wrong_results(inputs, out, time):
    """Return the numbers of the results of a batch that are missing or not those of the library."""
    wrong = []
    for j in range(RESULTS):
        expected = nd.diffuse(np.load(inputs / f"f{j}.npy"), MODEL, time=time)
        path = out / f"f{j}.npy"
        if not path.exists() or not np.array_equal(np.load(path), expected):
            wrong.append(j)
    return wrong


def changed_settings(folder, figures):
    """A batch that goes on with another time makes all results again."""
    inputs, out = folder / "many", folder / "batch0"
    words = ["batch", str(inputs), "--output", str(out), *OPTIONS[:-1], "2", "--resume", "--quiet"]
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)
    wrong = wrong_results(inputs, out, 2.0)
    figures.check(not done.returncode and not wrong, f"another time: {done.stderr} {wrong}")
    name = "results made again after a change of settings"
    figures.rows[name] = f"{RESULTS - len(wrong)} of {RESULTS}"


def ended_processes(count, folder, rng, figures):
    """Kill a process of a batch: each file is right or listed, and it fails alone."""
    inputs, listed, ended = folder / "many", 0, 0
    for i in range(count // 8):
        out = folder / f"processes{i}"
        words = ["batch", str(inputs), "--output", str(out), *OPTIONS, "--jobs", "2"]
        with subprocess.Popen(
            [*COMMAND, *words], stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            parent = psutil.Process(process.pid)
            while process.poll() is None and len(workers_of(parent)) < 2:
                time.sleep(0.02)
            time.sleep(rng.uniform(0.0, 2.0))
            for worker in workers_of(parent)[:1]:
                worker.kill()
                ended += 1
            messages = process.communicate(timeout=120)[1]
        wrong = wrong_results(inputs, out, 1.0)
        listed += len(wrong)
        is_told = all(f"f{j}.npy" in messages for j in wrong) and "Traceback" not in messages
        is_code = process.returncode == (3 if wrong else 0)
        figures.check(is_told and is_code, f"ended process {i}: {wrong} {messages[-300:]}")
    figures.rows["killed processes of batches, files that failed"] = f"{ended}, {listed}"


def workers_of(parent):
    """Return the processes of a batch, without the one that tracks its resources."""
    try:
        children = parent.children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []
