"""Limits of memory, runs without end, and images with more voxels than 32 bits count."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil

import napari_diffusion as nd
from helpers.control_groups import tree, v1, v2
from helpers.peak_memory import peaks
from napari_diffusion import models
from napari_diffusion.core.resources import free_memory
from reliability.report import Figures

MIB = 1 << 20
#: A run of an image of some MiB in a process whose address space is limited.
LIMITED = """
import json, resource, sys
import numpy as np, psutil
import napari_diffusion as nd
nd.diffuse(np.zeros((4, 8, 8), "f4"), nd.PeronaMalik(), time=1.0, threads=2)
size, spare = map(float, sys.argv[1:])
image = np.zeros((int(size * 2**20 / 4 / 256**2), 256, 256), "f4")
image[0] = 1
used = psutil.Process().memory_info().vms
limit = used + int(spare * 2**20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    nd.diffuse(image, nd.PeronaMalik(), time=1.0, threads=2)
    end = "result"
except MemoryError as error:
    end = str(error)
print(json.dumps(end))
"""
GROUP = Path("/sys/fs/cgroup/memory")


def address_space(figures):
    """Under ``ulimit -v``, a run ends with a result or with one sentence, and is never killed."""
    ends = []
    for size in (16, 48):
        for share in (0.5, 1.5, 2.5, 4.0, 8.0):
            done = subprocess.run(
                [sys.executable, "-c", LIMITED, str(size), str(size * share)],
                capture_output=True,
                text=True,
                check=False,
            )
            end = json.loads(done.stdout) if done.returncode == 0 else None
            ends.append(end == "result")
            is_fine = end == "result" or (end is not None and end.endswith("."))
            is_fine = is_fine and "\n" not in (end or "")
            text = f"{size} MiB, {share}: {done.returncode} {end} {done.stderr[-300:]}"
            figures.check(is_fine, text)
    figures.check(any(ends) and not all(ends), f"the limits decide nothing: {ends}")
    figures.rows["runs under ulimit -v: result, refused"] = f"{sum(ends)}, {len(ends) - sum(ends)}"


def control_groups(folder, figures):
    """In a control group, a run that does not fit is refused before the system kills it."""
    own = GROUP / f"napari-diffusion-{os.getpid()}"
    try:
        own.mkdir()
        limit = 400 * MIB
        (own / "memory.limit_in_bytes").write_text(str(limit))
    except OSError:
        for name, files in (("v2", v2(100 * MIB, 400 * MIB)), ("v1", {})):
            groups = "0::/" if name == "v2" else "4:memory:/"
            own_files = files or v1(100 * MIB, 400 * MIB, folder="memory__")
            root = tree(folder / name, groups, **own_files)
            free = free_memory(root).size
            figures.check(free <= 300 * MIB, f"{name}: {free} bytes are free")
        figures.rows["control groups"] = "described by files; this machine makes none"
        return
    code = (
        f"import os; open({str(own / 'tasks')!r}, 'w').write(str(os.getpid()))\n"
        "import numpy as np, napari_diffusion as nd\n"
        "for size in (8, 40, 90, 150, 300):\n"
        "    image = np.zeros((size * 4, 256, 256), 'f4')\n"
        "    try: print(size, nd.diffuse(image, nd.PeronaMalik(), time=0.2).shape)\n"
        "    except MemoryError as error: print(size, error)\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    finally:
        own.rmdir()
    refused = done.stdout.count("job or container")
    figures.check(done.returncode == 0, f"control group: {done.returncode} {done.stderr[-300:]}")
    figures.check(0 < refused < 5, f"control group: {done.stdout}")
    name = "runs in a control group of 400 MiB: result, refused"
    figures.rows[name] = f"{5 - refused}, {refused}"


def predictions(figures):
    """The predicted peak is at least the measured one, and at most 30 % above it."""
    shape = (400, 128, 128)  # few planes would be mostly scratch of the slabs
    runs = {
        "linear": (shape, "f4", "nd.Linear()", {"time": 4.0}),
        "explicit": (shape, "f4", "nd.PeronaMalik(sigma=0.0)", {"time": 1.0, "scheme": "explicit"}),
        "regularised": (shape, "f4", "nd.PeronaMalik()", {"time": 4.0}),
        "float64": (shape, "f8", "nd.PeronaMalik()", {"time": 2.0}),
        "uint8": (shape, "u1", "nd.PeronaMalik()", {"time": 2.0}),
        "mask": (shape, "f4", "nd.PeronaMalik()", {"time": 2.0, "mask": True}),
        "NaN": (shape, "f4", "nd.PeronaMalik()", {"time": 2.0, "nan": "mask"}),
        "tensor": (shape, "f4", "nd.EdgeEnhancing()", {"time": 0.5}),
        "coherence": (shape, "f4", "nd.CoherenceEnhancing()", {"time": 0.5}),
        "total variation": (shape, "f4", "nd.TotalVariation()", {"time": 0.5}),
        "Rician": (shape, "f4", "nd.Rician()", {"time": 1.0}),
        "plane": ((1, 2000, 2000), "f4", "nd.PeronaMalik()", {"time": 4.0}),
    }
    ratios = {name: predicted / peak for name, (peak, predicted, _) in peaks(runs).items()}
    for name, ratio in ratios.items():
        # The plan of linear diffusion has room for several channels and for cosine transforms.
        largest = 1.6 if name == "linear" else 1.3
        figures.check(0.97 <= ratio <= largest, f"{name}: predicted {ratio:.2f} times the peak")
    figures.rows["predicted peak, in measured peaks"] = (
        f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f} in {len(ratios)} configurations"
    )


def leaks(count, figures):
    """Many runs of all models leave no memory, thread and open file."""
    process, rng = psutil.Process(), np.random.default_rng(0)
    images = [np.abs(rng.normal(100, 10, (9, 33, 31))).astype("f4") for _ in range(3)]

    def once(i):
        kind = models.BUILTIN[i % len(models.BUILTIN)]
        nd.diffuse(images[i % 3], kind(), time=0.2 + 0.001 * i, threads=2)
        if i % 10 == 0:
            nd.suggest(images[i % 3], nd.PeronaMalik(), thorough=False)

    for i in range(max(40, count // 10)):
        once(i)
    gc.collect()
    before = process.memory_info().rss, threading.active_count(), process.num_fds()
    for i in range(count):
        once(i)
    gc.collect()
    after = process.memory_info().rss, threading.active_count(), process.num_fds()
    growth = (after[0] - before[0]) / MIB
    figures.runs += count
    figures.check(growth < 8 + 0.004 * count, f"the memory grew by {growth:.1f} MiB")
    grown = after[1] > before[1] or after[2] > before[2]  # other parts may have closed some
    figures.check(not grown, f"threads, open files: {before[1:]}, then {after[1:]}")
    figures.rows[f"growth of the memory in {count:,} runs"] = f"{growth:.1f} MiB"


def huge(figures):
    """Images of more than 2^31 voxels, of which a preview reads a part, and of very long axes."""
    count = 2**31 + 8
    image = np.broadcast_to(np.arange(200, dtype="u1"), (count // 200 + 1, 200))
    region = (slice(count // 200 - 3, count // 200 + 1), slice(0, 200))
    part = nd.preview(image, nd.PeronaMalik(kappa=20.0), time=2.0, region=region)
    small = nd.diffuse(image[-40:], nd.PeronaMalik(kappa=20.0), time=2.0)
    figures.check(
        bool(np.abs(part - small[-4:]).max() < 0.2), "the end of an image of 2^31 voxels differs"
    )
    line = np.random.default_rng(0).normal(100, 10, (3, 200_000)).astype("f4")
    result = nd.diffuse(line, nd.PeronaMalik(kappa=20.0), time=2.0)
    turned = nd.diffuse(line.T[::-1], nd.PeronaMalik(kappa=20.0), time=2.0)[::-1].T
    figures.check(np.allclose(result, turned, atol=1e-3), "a long axis differs when turned")
    figures.rows["largest image, longest axis"] = f"{image.size:,} and {line.shape[1]:,} voxels"


def cancels(figures):
    """A run of a volume of 256 voxels along each axis ends within 0.3 s of its cancellation."""
    image = np.random.default_rng(0).random((256, 256, 256), np.float32)
    longest = 0.0
    # Steps of total variation are a thousand times shorter.
    models = (nd.Linear(), nd.PeronaMalik(), nd.EdgeEnhancing(), nd.TotalVariation())
    for model, duration in zip(models, (1000.0, 1000.0, 1000.0, 20.0), strict=True):
        event, ended = threading.Event(), threading.Event()

        def work(model=model, duration=duration, event=event, ended=ended):
            try:
                nd.diffuse(image, model, time=duration, cancel=event, threads=2, scheme="explicit")
            except nd.Cancelled:
                ended.set()

        nd.diffuse(image[:9, :9, :9], model, time=0.2, threads=2)  # compiles
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(1.0)
        began = time.monotonic(), time.process_time()
        event.set()
        thread.join()
        # On a busy machine, the processor time is the smaller one.
        seconds = min(time.monotonic() - began[0], time.process_time() - began[1])
        longest = max(longest, seconds)
        figures.check(ended.is_set(), f"{model.title}: the run was not cancelled")
        figures.check(seconds <= 0.3, f"{model.title}: cancelled after {seconds:.2f} s")
    figures.rows["longest time until a cancelled run of 256³ voxels ends"] = f"{longest:.2f} s"


def run(count, folder, is_long=True):
    """Check limits, and ``count`` runs for leaks."""
    figures = Figures()
    if is_long:
        address_space(figures)
        control_groups(folder, figures)
        predictions(figures)
        cancels(figures)
        huge(figures)
    leaks(count, figures)
    return figures
