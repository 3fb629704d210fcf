"""Damaged files of every format, in a process with bounded address space and time.

Each is read as an image or refused in one sentence that names it. Nothing is printed, and the
process survives. ``python damaged.py NAME FIRST COUNT FOLDER`` is that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).parents[1]))  # the process of `run` has no other path

from helpers.dicom_series import write_series
from helpers.written_volumes import KINDS, PIXELS, write
from napari_diffusion import io
from reliability.report import Figures

#: Address space beyond that of the libraries [bytes], and time for a file [s].
MEMORY, SECONDS = 1 << 30, 60
#: Bytes at the start that are damaged most often: headers.
HEADER = 600
WORDS = [b"-1", b"0", b"99999999999", b"nan", b"1e999", b"", b"\n", b"\xff\xfe", b"%s", b"../x"]


def by_tifffile(**options):
    def make(folder):
        path = folder / "a.ome.tif" if options.get("ome") else folder / "a.tif"
        tifffile.imwrite(path, PIXELS, photometric="minisblack", **options)
        return path

    return make


def npy(folder):
    np.save(folder / "a.npy", PIXELS)
    return folder / "a.npy"


def dicom(folder):
    return sorted(write_series(folder / "series", range(3)).iterdir())[0]


#: Name of a kind of file: writer into a folder, which returns the path.
FILES = {name: (lambda folder, own=name: write(own, folder)) for name in KINDS} | {
    "TIFF": by_tifffile(metadata=None),
    "TIFF, tiled and packed": by_tifffile(tile=(16, 16), compression="zlib"),
    "BigTIFF": by_tifffile(bigtiff=True),
    "ImageJ TIFF": by_tifffile(imagej=True, metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"}),
    "OME-TIFF": by_tifffile(ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}),
    "NumPy": npy,
    "DICOM": dicom,
}
#: Files of values beside a header, which are damaged in turn with it.
VALUES = {"a.nhdr": "a.raw.gz", "a.mhd": "a.raw", "a.hdr": "a.img", "a.img": "a.hdr"}


def mutated(content, rng):
    """Return content with a damage of a random kind."""
    block, size = bytearray(content), len(content)
    near = min(HEADER, size) if rng.random() < 0.7 else size
    place = int(rng.integers(near))
    kind = rng.integers(8)
    if kind == 0:
        return block[: int(rng.integers(size))]
    if kind == 1:
        for i in rng.integers(0, near, 3):
            block[i] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        block[place : place + 4] = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1])).to_bytes(4, "big")
    elif kind == 3:
        block[place : place + 8] = b"\xff" * 8
    elif kind == 4:
        del block[place : place + int(rng.integers(1, 40))]
    elif kind == 5:
        block[place:place] = rng.bytes(int(rng.integers(1, 40)))
    elif kind == 6:
        block[place : place + 64] = bytes(64)
    else:  # a number of a text header
        digits = [i for i in range(near) if chr(block[i]).isdigit()]
        start = int(rng.choice(digits)) if digits else place
        block[start : start + 1] = WORDS[rng.integers(len(WORDS))]
    return block


def read_once(path):
    """Return what went wrong when a file is read completely; empty if nothing did."""
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            volume = io.read(path)
            np.ascontiguousarray(volume.data)
            io.read_metadata(path)
            io.members_of(path)
            return "", "image"
    except (ValueError, OSError, MemoryError) as error:
        sentence = str(error)
        is_one = sentence.endswith(".") and "\n" not in sentence and path.name in sentence
        return (
            "" if is_one else f"not one sentence: {type(error).__name__}: {sentence}"
        ), "refused"
    except BaseException as error:
        return f"{type(error).__name__}: {error}", "refused"
    finally:
        signal.alarm(0)


def expired(*_):
    raise TimeoutError


def child(name, first, count, folder):
    """Read damaged files of one kind; print one JSON object a file."""
    path = FILES[name](folder)
    members = [path, *(folder / other for own, other in VALUES.items() if own == path.name)]
    contents = [member.read_bytes() for member in members if member.exists()]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    signal.signal(signal.SIGALRM, expired)
    read_once(path)  # loads the libraries
    messages = folder / "messages"
    os.dup2(os.open(messages, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)  # of C libraries, too
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY + (1 << 30),) * 2)
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        chosen = int(rng.integers(len(contents)))
        for member, content in zip(members, contents, strict=False):
            member.write_bytes(content)
        members[chosen].write_bytes(mutated(contents[chosen], rng))
        print(json.dumps([seed, "begins"]), flush=True)
        finding, end = read_once(path)
        printed = messages.read_bytes()
        os.truncate(messages, 0)
        if printed and not finding:
            finding = f"printed {printed.decode(errors='replace')!r:.200}"
        print(json.dumps([seed, end, finding]), flush=True)


def run(count, folder, first=0, names=tuple(FILES)):
    """Damage ``count`` files of every kind, or of some."""
    figures, ends = Figures(), {"image": 0, "refused": 0}
    for number, name in enumerate(names):
        place = folder / f"damaged{number}"
        place.mkdir()
        command = [sys.executable, __file__, name, str(first), str(count), str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        for _, end, _ in (line for line in lines if len(line) == 3):
            figures.runs += 1
            ends[end] += 1
        figures.findings += [f"{name}, seed {s[0]}: {s[2]}" for s in lines if s[-1] and len(s) == 3]
        if done.returncode:
            last = lines[-1][0] if lines else "none"
            figures.findings.append(
                f"{name}, seed {last}: the process ended with {done.returncode}; "
                f"{done.stderr[-300:]}"
            )
    figures.rows["kinds of files"] = str(len(names))
    figures.rows["read as an image, refused in one sentence"] = (
        f"{ends['image']:,}, {ends['refused']:,}"
    )
    figures.rows["address space of the reader"] = f"{(MEMORY >> 30) + 1} GiB beyond its libraries"
    return figures


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
