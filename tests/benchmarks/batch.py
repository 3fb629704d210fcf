"""A folder of many small files: right results after a kill, flat memory, and speed.

python tests/benchmarks/batch.py [--files 1000] [--kill 400] [--folder FOLDER]

One file is broken, one is a copy of another, and one cannot be opened. The batch is killed after
some results, and goes on. Every result is compared with `nd.diffuse`. The speed is that of
`nd.diffuse` plus reading and writing in one process; both are measured in turn, on the same files.
The figures are written into docs/recipes/batch.md. The superuser, whom permissions do not bind,
gives up this right with ``setpriv``.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import psutil

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.cli import main as command_line

PAGE = Path(__file__).parents[2] / "docs" / "recipes" / "batch.md"
SHAPE = (128, 128, 24)
SPACING = (1.0, 1.0, 2.0)
MODEL, TIME = nd.PeronaMalik(kappa=20.0), 2.0
OPTIONS = ["--model", "perona-malik", "--kappa", "20", "--time", "2"]
BROKEN, COPY, LOCKED = 3, 5, 7
#: Parts of the files that are measured in turn, so that the load of the machine falls on both.
TURNS = 10
#: Start of a command of the superuser, for whom permissions hold then.
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def name(i):
    return f"f{i:05d}.nii"


def write_sources(folder, count):
    folder.mkdir(parents=True)
    for i in range(count):
        values = np.random.default_rng(i).normal(100, 10, SHAPE).astype(np.float32)
        image = nibabel.Nifti1Image(values, np.diag([*SPACING, 1.0]))
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / name(i))
    shutil.copy(folder / name(0), folder / name(COPY))
    (folder / name(BROKEN)).write_bytes(b"broken")
    (folder / name(LOCKED)).chmod(0)


def start(source, out, *options):
    words = ["batch", str(source), "--output", str(out), *OPTIONS, *options]
    command = [sys.executable, "-m", "napari_diffusion", *words]
    if hasattr(os, "geteuid") and not os.geteuid():
        command = [*BOUND, *command]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def follow(process, out, until):
    """Wait for a number of results; return the memory [MiB] at each twentieth of the new ones."""
    memory, watched, before = [], psutil.Process(process.pid), len(results_in(out))
    while process.poll() is None:
        done = len(results_in(out))
        if done > before and done - before >= (len(memory) + 1) * (until - before) / 20:
            memory.append(watched.memory_info().rss / 2**20)
        if done >= until:
            break
        time.sleep(0.05)
    return memory


def results_in(out):
    return list(out.glob("*.recipe.json")) if out.is_dir() else []


def check(source, out, count):
    """Return the number of results that differ from `nd.diffuse`, or that should not be there."""
    wrong = 0
    for i in range(count):
        if i in (BROKEN, LOCKED):
            wrong += (out / name(i)).exists()
            continue
        values = np.asarray(nibabel.load(source / name(i)).dataobj)
        expected = nd.diffuse(values, MODEL, time=TIME, spacing=SPACING)
        wrong += not np.array_equal(io.read(out / name(i)).data, expected)
    return wrong


def by_hand(paths, out):
    """Filter files with the library, in one process."""
    out.mkdir()
    recipe = nd.Recipe(MODEL, time=TIME, unit="millimeter")
    for path in paths:
        volume = io.read(path)
        result = nd.diffuse(volume.data, MODEL, time=TIME, spacing=SPACING)
        io.write(out / path.name, result, volume, recipe)


def speeds(source, folder, count):
    """Return the seconds of the batch and of the library for the same files, alternating."""
    paths = [source / name(i) for i in range(count) if i not in (BROKEN, LOCKED)]
    times = {"batch": [], "library": []}
    for turn in range(TURNS):
        part = paths[turn::TURNS]
        (folder / f"list{turn}").write_text("\n".join(map(str, part)))
        words = ["--list", str(folder / f"list{turn}"), "--output", str(folder / f"batch{turn}")]
        actions = [
            ("batch", lambda words=words: command_line(["batch", *words, *OPTIONS, "--quiet"])),
            ("library", lambda part=part, t=turn: by_hand(part, folder / f"library{t}")),
        ]
        for label, action in actions if turn % 2 else actions[::-1]:
            began = time.perf_counter(), time.process_time()
            action()
            ended = time.perf_counter(), time.process_time()
            times[label].append((ended[0] - began[0], ended[1] - began[1]))
    return {label: np.sum(pairs, axis=0) for label, pairs in times.items()}


def run(folder, count, kill):
    """Return the figures by their names."""
    source, out = folder / "in", folder / "out"
    write_sources(source, count)
    nd.diffuse(np.zeros(SHAPE, np.float32), MODEL, time=TIME, spacing=SPACING)  # compiles
    process = start(source, out)
    memory = follow(process, out, kill)
    os.kill(process.pid, 9)
    process.communicate()
    states = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii")}
    process = start(source, out, "--resume")
    memory_after = follow(process, out, count - 2)
    printed = process.communicate()[1].splitlines()
    kept = sum((out / own).stat().st_mtime_ns == states[own] for own in states)
    listed = [i for i in (BROKEN, LOCKED) if any(name(i) in line for line in printed)]
    right = count - 2 - check(source, out, count)
    print("exit code", process.returncode, *printed, sep="\n")
    times = speeds(source, folder, count)
    wall, processor = times["library"] / times["batch"]
    size = " x ".join(map(str, SHAPE))
    return {
        "files, voxels of each": f"{count:,}, {size}",
        "results when the process was killed, kept afterwards": f"{len(states)}, {kept}",
        "results with the bits of `nd.diffuse`": f"{right} of {count - 2}",
        "files that cannot be read, listed": f"2, {len(listed)}",
        "memory before the kill [MiB]": span(memory),
        "memory afterwards [MiB]": span(memory_after),
        "batch: time, processor time [s]": "{:.1f}, {:.1f}".format(*times["batch"]),
        "library: time, processor time [s]": "{:.1f}, {:.1f}".format(*times["library"]),
        "speed of the batch, as a share": f"{wall:.2f}, processor {processor:.2f}",
    }


def span(memory):
    """Return first, last, smallest and largest memory in words."""
    low, high = min(memory), max(memory)
    return f"first {memory[0]:.0f}, last {memory[-1]:.0f}; from {low:.0f} to {high:.0f}"


def main():
    """Measure, and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kill", type=int, default=400)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        figures = run(folder, arguments.files, arguments.kill)
    rows = [("figure", "value"), ("---", "---"), *figures.items()]
    lines = "".join(f"| {name} | {value} |\n" for name, value in rows)
    print(lines)
    parts = r"(<!-- thousand -->\n).*?(<!-- end thousand -->)"
    text = PAGE.read_text(encoding="utf-8")
    text = re.sub(parts, lambda m: f"{m[1]}{lines}{m[2]}", text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
