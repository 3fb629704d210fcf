"""A folder of many small files: right results after a kill, flat memory, and speed.

python tests/benchmarks/batch.py [--files 1000] [--kill 400] [--folder FOLDER]

One file is broken, one is a copy of another, and one is locked (for the superuser, whom permissions
do not bind, the name of its result is taken by a folder). The batch is killed after some results,
and goes on. Every result is compared with `nd.diffuse`. The speed is that of `nd.diffuse` plus
reading and writing in one process; both are measured in turn, on the same files.
"""

import argparse
import os
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
from napari_diffusion.cli import main

SHAPE = (128, 128, 24)
SPACING = (1.0, 1.0, 2.0)
MODEL, TIME = nd.PeronaMalik(kappa=20.0), 2.0
OPTIONS = ["--model", "perona-malik", "--kappa", "20", "--time", "2"]
BROKEN, COPY, LOCKED = 3, 5, 7
#: Parts of the files that are measured in turn, so that the load of the machine falls on both.
TURNS = 10


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


def start(source, out, *options):
    words = ["batch", str(source), "--output", str(out), *OPTIONS, *options]
    command = [sys.executable, "-m", "napari_diffusion", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def follow(process, out, until):
    """Wait for a number of results; return the memory [MiB] at each tenth of them."""
    memory, watched = [], psutil.Process(process.pid)
    while process.poll() is None:
        done = len(list(out.glob("*.recipe.json"))) if out.is_dir() else 0
        if done >= (len(memory) + 1) * until / 10:
            memory.append(watched.memory_info().rss / 2**20)
        if done >= until:
            break
        time.sleep(0.05)
    return memory


def check(source, out, count):
    """Return the number of results that differ from `nd.diffuse`."""
    wrong = 0
    for i in range(count):
        if i in (BROKEN, LOCKED):
            wrong += (out / name(i)).is_file()
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
            ("batch", lambda words=words: main(["batch", *words, *OPTIONS, "--quiet"])),
            ("library", lambda part=part, t=turn: by_hand(part, folder / f"library{t}")),
        ]
        for label, action in actions if turn % 2 else actions[::-1]:
            began = time.perf_counter(), time.process_time()
            action()
            ended = time.perf_counter(), time.process_time()
            times[label].append((ended[0] - began[0], ended[1] - began[1]))
    return {label: np.sum(pairs, axis=0) for label, pairs in times.items()}


def run(folder, count, kill):
    source, out = folder / "in", folder / "out"
    write_sources(source, count)
    if os.geteuid():
        (source / name(LOCKED)).chmod(0)
    else:
        (out / name(LOCKED)).mkdir(parents=True)
    nd.diffuse(np.zeros(SHAPE, np.float32), MODEL, time=TIME, spacing=SPACING)  # compiles
    process = start(source, out)
    before = follow(process, out, kill)
    os.kill(process.pid, 9)
    process.communicate()
    states = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii") if path.is_file()}
    process = start(source, out, "--resume")
    after = follow(process, out, count - 3)
    printed = process.communicate()[1].splitlines()
    kept = sum((out / own).stat().st_mtime_ns == states[own] for own in states)
    print(f"killed after {len(states)} results, of which {kept} were kept")
    print("exit code", process.returncode, "|", " | ".join(printed))
    print(f"results that are wrong: {check(source, out, count)} of {count}")
    for label, memory in (("before the kill", before), ("afterwards", after)):
        print(f"memory {label} [MiB]:", " ".join(f"{own:.0f}" for own in memory))
    times = speeds(source, folder, count)
    for label, (wall, processor) in times.items():
        print(f"{label}: {wall:.1f} s, {processor:.1f} s of processor time")
    wall, processor = times["library"] / times["batch"]
    print(f"speed of the batch as a share of the library: {wall:.3f}, processor {processor:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kill", type=int, default=400)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        run(arguments.folder, arguments.files, arguments.kill)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            run(Path(temporary), arguments.files, arguments.kill)
