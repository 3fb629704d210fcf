"""Many runs at once: threads, processes, dask and joblib. Each has the bits of a run alone."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import dask
import numpy as np

import napari_diffusion as nd
from napari_diffusion import models
from reliability.places import ONE_RUN
from reliability.report import Figures

#: Runs at the same time, and processes that share a cache.
WORKERS, PROCESSES = 8, 4


def image_of(number):
    values = 100 + 20 * np.random.default_rng(number).normal(size=(9, 17, 15))
    return np.abs(values).astype(np.float32)


def work(number):
    """Filter an image by one of the models."""
    kind = models.BUILTIN[number % len(models.BUILTIN)]
    return nd.diffuse(image_of(number), kind(), time=0.3, threads=1 + number % 3)


def by_threads(numbers):
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(work, numbers))


def by_processes(method):
    def run(numbers):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, context) as pool:
            return list(pool.map(work, numbers))

    return run


def by_dask(numbers):
    tasks = [dask.delayed(work)(number) for number in numbers]
    return list(dask.compute(*tasks, scheduler="threads", num_workers=WORKERS))


def by_joblib(backend):
    def run(numbers):
        import joblib

        with joblib.parallel_config(backend, n_jobs=2 if backend == "loky" else WORKERS):
            return joblib.Parallel()(joblib.delayed(work)(number) for number in numbers)

    return run


#: Ways to run at the same time, and the modules that they need.
WAYS = {
    "threads": (by_threads, ()),
    "processes that are spawned": (by_processes("spawn"), ()),
    "dask": (by_dask, ("dask",)),
    "joblib, threads": (by_joblib("threading"), ("joblib",)),
    "joblib, processes": (by_joblib("loky"), ("joblib",)),
}
if sys.platform == "linux":
    WAYS["processes that are forked"] = (by_processes("fork"), ())


def shared_cache(folder, figures):
    """Processes that compile into the same empty cache at the same time compute the same bits."""
    variables = os.environ | {"NUMBA_CACHE_DIR": str(folder / "shared")}
    command = [sys.executable, "-c", ONE_RUN]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    started = [
        subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(PROCESSES)
    ]
    for number, process in enumerate(started):
        printed, messages = process.communicate(timeout=600)
        is_right = printed == expected and not messages and process.returncode == 0
        figures.check(is_right, f"shared cache {number}: {process.returncode} {messages[-300:]}")
    figures.rows["processes that compile into one cache at the same time"] = str(PROCESSES)


def run(count, folder, ways=None):
    """Run ``count`` filters in each way."""
    figures, numbers = Figures(), range(count)
    expected = [work(number) for number in numbers]
    for name, (start, needed) in WAYS.items():
        if ways is not None and name not in ways:
            continue
        if not all(map(importlib.util.find_spec, needed)):
            figures.rows[name] = "left out: not installed"
            continue
        results = start(numbers)
        wrong = sum(
            not np.array_equal(own, truth) for own, truth in zip(results, expected, strict=True)
        )
        figures.runs += count
        if wrong:
            figures.findings.append(f"{name}: {wrong} of {count} results differ")
        figures.rows[name] = f"{count} runs, {wrong} with other bits"
    if ways is None:
        shared_cache(folder, figures)
    return figures
