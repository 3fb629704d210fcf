"""Full disks, folders that cannot be written or do not exist, and a damaged cache.

Full disks are small file systems in memory, in a mount namespace of their own; a machine without
namespaces leaves these runs out, and says so.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from reliability.report import Figures

COMMAND = [sys.executable, "-m", "napari_diffusion"]
OPTIONS = ["--axes", "ZYX", "--model", "linear", "--time", "1", "--quiet"]
SUFFIXES = (".npy", ".nii", ".nii.gz", ".tif", ".ome.tif", ".nrrd", ".mrc", ".mha", ".mgz")
#: Mounts a file system of some kilobytes, fills it but for some, and runs a command.
FULL = (
    "mount -t tmpfs -o size={size}k none {folder} && "
    "cp {old} {target} && head -c {filler}k /dev/zero > {folder}/filler; exec {command}"
)
ONE_RUN = "import numpy as np, napari_diffusion as nd, hashlib; "
ONE_RUN += "u = np.random.default_rng(0).normal(100, 10, (9, 40, 41)).astype('f4'); "
ONE_RUN += "r = nd.diffuse(u, nd.PeronaMalik(kappa=20.0, sigma=1.0), time=2.0); "
ONE_RUN += "print(hashlib.sha256(r.tobytes()).hexdigest())"


def can_mount():
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def one_sentence(done):
    """Whether a command has failed with one line, apart from notes."""
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("Note: ")]
    return done.returncode == 2 and len(lines) == 1 and lines[0].startswith("Error: ")


def full_disks(folder, figures):
    """Run on a disk that fills up: the old result stays, and no other file is left."""
    source = folder / "in.npy"
    np.save(source, np.random.default_rng(0).normal(100, 20, (16, 64, 64)).astype(np.float32))
    for suffix in SUFFIXES:
        for filler in (990, 850):  # full before the run, or while it is written
            disk = folder / f"disk{suffix}{filler}"
            disk.mkdir()
            old, target = folder / "old", disk / f"out{suffix}"
            old.write_bytes(b"old result")
            words = ["run", str(source), str(target), *OPTIONS, "--overwrite"]
            script = FULL.format(
                size=1000,
                folder=disk,
                old=old,
                target=target,
                filler=filler,
                command=" ".join([*COMMAND, *words]),
            )
            script = script.replace("exec ", "", 1) + f"; code=$?; ls -A {disk}; cat {target}; exit"
            script += " $code"
            done = subprocess.run(
                ["unshare", "--mount", "sh", "-c", script],
                capture_output=True,
                text=True,
                check=False,
                errors="replace",
            )
            left = done.stdout.split()
            ok = one_sentence(done) and left[-2:] == ["old", "result"]
            ok = ok and set(left[:-2]) == {"filler", f"out{suffix}"}
            figures.check(
                ok, f"full disk, {suffix}, {filler}: {done.returncode} {done.stderr} {left}"
            )


def folders(folder, figures):
    """Run into folders that are missing, locked or no folders."""
    source = folder / "in.npy"
    (folder / "a-file").write_text("text")
    for suffix in SUFFIXES:
        for target in (folder / "missing" / "out", folder / "a-file" / "out"):
            path = target.with_name(f"out{suffix}")
            done = subprocess.run(
                [*COMMAND, "run", str(source), str(path), *OPTIONS],
                capture_output=True,
                text=True,
                check=False,
            )
            figures.check(one_sentence(done), f"{path}: {done.returncode} {done.stderr}")


def homes(folder, figures):
    """Run with caches and homes that are missing, read-only, full or files."""
    expected = subprocess.run(
        [sys.executable, "-c", ONE_RUN], capture_output=True, text=True, check=True
    ).stdout
    (folder / "no-folder").write_text("")
    places = {
        "missing": folder / "not" / "there",
        "a file": folder / "no-folder",
        "proc": Path("/proc"),
        "null": Path("/dev/null"),
        "relative": Path("relative"),
        "empty": Path(),
    }
    for name, place in places.items():
        for variables in (("HOME",), ("XDG_CACHE_HOME",), ("NUMBA_CACHE_DIR",), ("TMPDIR",)):
            changed = dict.fromkeys(variables, str(place) if name != "empty" else "")
            done = subprocess.run(
                [sys.executable, "-c", ONE_RUN],
                env=os.environ | changed,
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            is_right = done.returncode == 0 and done.stdout == expected
            quiet = "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 1
            figures.check(
                is_right and quiet, f"{variables[0]} is {name}: {done.returncode} {done.stderr}"
            )


def damaged_cache(count, folder, figures):
    """Damage files of compiled code: each run computes the same bits, without a message."""
    cache = folder / "cache"
    variables = os.environ | {"NUMBA_CACHE_DIR": str(cache)}

    def run():
        return subprocess.run(
            [sys.executable, "-c", ONE_RUN],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )

    expected, rng = run().stdout, random.Random(0)
    files = sorted(path for path in cache.rglob("*") if path.is_file())
    figures.check(bool(files), "the cache has no files")
    for i in range(count):
        for path in rng.sample(files, max(1, len(files) // 2)):
            content = bytearray(path.read_bytes()) if path.exists() else bytearray(b"x")
            place = rng.randrange(len(content) or 1)
            kind = rng.randrange(5)
            if kind == 0:
                del content[place:]
            elif kind == 1 and content:
                content[place] ^= 1 << rng.randrange(8)
            elif kind == 2:
                content = bytearray(len(content))
            elif kind == 3:
                content = bytearray(rng.choice(files).read_bytes()) if files else content
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        done = run()
        is_right = done.stdout == expected and not done.stderr
        figures.check(is_right, f"damaged cache {i}: {done.returncode} {done.stderr[-300:]}")
        files = sorted(path for path in cache.rglob("*") if path.is_file())
    shutil.rmtree(cache)


def run(count, folder):
    """Try all places, and ``count`` damages of the cache."""
    figures = Figures()
    np.save(folder / "in.npy", np.zeros((16, 64, 64), np.float32))
    if can_mount():
        full_disks(folder, figures)
        figures.rows["full disks"] = f"{2 * len(SUFFIXES)}, in {len(SUFFIXES)} formats"
    else:
        figures.rows["full disks"] = "left out: this machine has no mount namespaces"
    folders(folder, figures)
    homes(folder, figures)
    damaged_cache(count, folder, figures)
    figures.rows["damages of the cache"] = str(count)
    return figures
