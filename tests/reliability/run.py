"""Reliability: ``python tests/reliability/run.py --long`` writes docs/reliability.md.

Without ``--long``, a short form is run and printed. ``--only fuzz files`` runs some of the parts,
and with ``--long`` keeps the others of the page; ``--only`` alone writes the table of bars again.
``--seed 123`` checks one case of the fuzzer and shows it, and ``FUZZ_PROCESSES=1`` sets the number
of its processes. Needs the extra ``test``; joblib is tried where it is installed. Full disks and
control groups need Linux and the rights of an administrator, and are left out without them.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numba
import numpy as np

from reliability import (
    damaged,
    fuzz,
    hostile,
    limits,
    many,
    metadata,
    places,
    stops,
    stores,
    widgets,
)
from reliability.report import Figures

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
WORDS = Path(__file__).with_name("page.md")


@dataclass(frozen=True)
class Part:
    """A part of the suite.

    Attributes
    ----------
    title, promise
        What is tried, and what is promised.
    bars
        Numbers of the bars that it holds.
    run
        Runs the part; its arguments are its size and an empty folder.
    long, short
        Size of the long and of the short form.
    """

    title: str
    promise: str
    run: Callable[[int, Path], Figures]
    long: int
    short: int


#: First seed of the fuzzer in the long form; the short form has those from 0.
FIRST_SEED = 30_000
#: Processes of the fuzzer.
PROCESSES = int(os.environ.get("FUZZ_PROCESSES", os.cpu_count() or 1))

PARTS = {
    "fuzz": Part(
        "Random runs",
        "Models, schemes, shapes, data types, layouts, voxel sizes, masks, labels, guides, "
        "channels, options and parameters, also extreme ones, are drawn from a seed. A run ends in "
        "a finite result or in one sentence. No bit depends on layout, threads, blocks, passes, "
        "files and a saved recipe. Backend, units and order of axes change results by rounding "
        "only. Extrema and mean are kept where the model promises it. The input is unchanged, and "
        "nothing is printed.",
        lambda count, folder: fuzz.run(range(FIRST_SEED, FIRST_SEED + count), PROCESSES),
        2000,
        40,
    ),
    "hostile": Part(
        "Hostile images and arguments",
        "Every public function of an image meets objects that are no images, images with extreme "
        "values, and arguments of wrong types. It returns a result, or raises an error of one "
        "sentence.",
        lambda count, folder: hostile.run(1.0),
        1,
        1,
    ),
    "files": Part(
        "Damaged files",
        "Files are cut, and bits, bytes and numbers of their headers are changed. A file is read "
        "as an image or refused in one sentence with its name, within bounded memory and time. "
        "Nothing is printed, and the process survives.",
        damaged.run,
        120,
        8,
    ),
    "metadata": Part(
        "Metadata of files",
        "A file of each format is written by another library. A result of the same format has its "
        "values, voxel size, unit, orientation, time step and names of channels.",
        metadata.run,
        1,
        1,
    ),
    "stops": Part(
        "Interrupted runs",
        "`SIGKILL`, `SIGINT`, `SIGTERM` and `SIGHUP` arrive at random moments. The target is the "
        "whole old or the whole new file. Only a kill leaves a temporary file, or a result with "
        "an old recipe. A batch and a run in blocks that go on have the right results.",
        stops.run,
        48,
        4,
    ),
    "stores": Part(
        "Runs in blocks",
        "Runs with threads, workers and schedulers of dask are killed by `SIGKILL` at random "
        "moments. Disks are full or read-only from many moments on. The run goes on with the same "
        "bits and leaves nothing else. There is never a result that can be read and is "
        "wrong. An error is one sentence with path and block.",
        stores.run,
        25,
        2,
    ),
    "places": Part(
        "Disks, folders, caches",
        "Disks are full before or during the writing, and folders are missing or no folders. "
        "Home, cache and temporary folder are missing, read-only or files. Files of the cache "
        "are damaged. An error is one sentence, old results stay, and results have the same bits.",
        places.run,
        12,
        1,
    ),
    "many": Part(
        "Many runs at once",
        "Threads, processes, dask and joblib run all models at the same time, and processes "
        "compile into one empty cache. Each result has the bits of a run alone.",
        many.run,
        200,
        24,
    ),
    "limits": Part(
        "Limits and long use",
        "Under `ulimit` and in control groups, a run ends in a result or in one sentence. The "
        "predicted memory is that of the run. A cancelled run ends soon. Many runs leave no "
        "memory, threads and open files. Images may have more than 2³¹ voxels.",
        limits.run,
        1000,
        50,
    ),
    "widgets": Part(
        "Widgets",
        "A widget is opened, filters an image, and is closed. In turn, the layer is deleted, its "
        "values are replaced, or the widget is closed during the run. No memory and no thread is "
        "left.",
        widgets.run,
        50,
        4,
    ),
}

#: Bars of reliability: number, promise, the figures of this page that measure it, as names of parts
#: and of their rows, and further tests that hold it.
BARS = (
    (
        "R1",
        "Hostile input ends in a right result or in one sentence",
        [("hostile", "runs"), ("hostile", "refused in one sentence"), ("hostile", "findings")],
        "",
    ),
    (
        "R2",
        "One NaN changes no voxel outside its hole",
        [("fuzz", "results with NaN or infinite values")],
        "`tests/testing/test_laws.py`",
    ),
    (
        "R3",
        "Data types: floats stay, integers become float32 in the same units",
        [("fuzz", "kinds"), ("fuzz", "law: shape and dtype are promised")],
        "",
    ),
    (
        "R4",
        "Layouts: the bits of a contiguous copy; the input is unchanged",
        [("fuzz", "law: layout changes nothing")],
        "",
    ),
    (
        "R5",
        "Shapes: 0 to 4 axes that diffuse, with frames and channels",
        [
            ("fuzz", "results with no voxel or axes of one voxel"),
            ("fuzz", "results with frames"),
            ("fuzz", "results with channels"),
        ],
        "",
    ),
    (
        "R6",
        "Extreme values: no overflow to NaN",
        [("fuzz", "results with extreme values"), ("fuzz", "law: values are finite")],
        "`tests/engine/test_hostile_input.py`",
    ),
    (
        "R7",
        "Order of axes, reversals, units of intensity and length",
        [
            ("fuzz", "law: axes are alike"),
            ("fuzz", "law: scale is carried"),
            ("fuzz", "law: length is carried"),
        ],
        "",
    ),
    (
        "R8",
        "Mean, extrema, constants; order of convergence",
        [("fuzz", "law: mean is kept"), ("fuzz", "law: extrema are kept")],
        "`tests/schemes`",
    ),
    (
        "R9",
        "Blocks, passes and stores: the bits of the whole run",
        [("fuzz", "law: blocks change nothing"), ("fuzz", "law: store changes nothing")],
        "`tests/workflows/store`",
    ),
    (
        "R10",
        "Predicted memory; refusal before the run",
        [
            ("limits", "predicted peak, in measured peaks"),
            ("limits", "runs under ulimit -v: result, refused"),
        ],
        "`tests/engine/test_memory.py`, `tests/workflows/store/test_memory.py`",
    ),
    (
        "R11",
        "Kill at random moments, then resume",
        [
            ("stores", "kills of runs with threads, before the result had its name"),
            ("stores", "kills of a worker of dask, runs that went on by themselves"),
            ("stops", "batches that went on, results that were kept"),
        ],
        "",
    ),
    (
        "R12",
        "Full disk: one sentence, the old file stays",
        [
            ("places", "full disks"),
            ("stores", "full and read-only disks, errors that name a block"),
        ],
        "",
    ),
    (
        "R13",
        "A process of a batch ends: one file fails",
        [("stops", "killed processes of batches, files that failed")],
        "`tests/workflows/test_batch.py`",
    ),
    (
        "R14",
        "Changed settings: results are made again",
        [("stops", "results made again after a change of settings")],
        "`tests/workflows/test_batch.py`, `tests/workflows/store/test_resume.py`",
    ),
    (
        "R15",
        "Runs at the same time have the bits of a run alone",
        [
            ("many", way)
            for way in (
                "threads",
                "processes that are spawned",
                "dask",
                "processes that are forked",
            )
        ],
        "",
    ),
    (
        "R16",
        "Cancel within 0.3 s",
        [("limits", "longest time until a cancelled run of 256³ voxels ends")],
        "`tests/engine/test_end_of_run.py`, `tests/ui/run`",
    ),
    (
        "R17",
        "The same bits for all threads and blocks, with any state of the cache",
        [("fuzz", "law: threads change nothing"), ("places", "damages of the cache")],
        "",
    ),
    (
        "R18",
        "Metadata of files are kept",
        [("metadata", "kinds of files, metadata that results keep")],
        "[table of formats](data.md)",
    ),
    (
        "R19",
        "Files get their names when they are complete",
        [("stops", "interrupted before the end, of runs"), ("places", "full disks")],
        "`tests/io`",
    ),
    (
        "R20",
        "napari: closed viewers, deleted layers, no warning",
        [("widgets", "growth of the memory with a widget that is opened and closed")],
        "`tests/ui/run`",
    ),
    (
        "R21",
        "Cache: read-only, damaged, shared by processes",
        [
            ("places", "damages of the cache"),
            ("many", "processes that compile into one cache at the same time"),
        ],
        "`tests/backends`",
    ),
    ("R22", "Devices", [], "`tests/devices`"),
    (
        "R23",
        "More than 2³¹ voxels, axes of more than 2¹⁶",
        [("limits", "largest image, longest axis")],
        "",
    ),
    (
        "R24",
        "At least 2,000 random runs",
        [("fuzz", "runs"), ("fuzz", "seeds"), ("fuzz", "findings")],
        "",
    ),
    (
        "R25",
        "Windows, macOS, Python 3.11 to 3.14, newest and oldest libraries",
        [],
        "this page is measured on one machine; `.github/workflows/tests.yml` runs the others",
    ),
)


def table(rows):
    """Return rows as a table of Markdown; the first one is its head."""
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest])


def text_of(part, figures, seconds):
    """Return the section of a part."""
    rows = [("figure", "value"), ("runs", f"{figures.runs:,}"), *figures.rows.items()]
    rows += [("findings", str(len(figures.findings))), ("time", f"{seconds / 60:.1f} minutes")]
    # As code, which is not a sentence.
    findings = "".join(f"- `{finding.replace('`', '')}`\n" for finding in figures.findings)
    return f"## {part.title}\n\n{part.promise}\n\n{table(rows)}\n\n{findings}"


def sections_of_page():
    """Return the sections of the page by their titles."""
    if not PAGE.exists():
        return {}
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.splitlines()[0]: f"## {part.strip()}\n" for part in parts}


def figures_of(section):
    """Return the figures of a section by their names."""
    return dict(re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE))


def bars_text(sections):
    """Return the table of the bars, with the figures of the sections of the page."""
    rows = [("bar", "promise", "figures", "also held by")]
    for number, promise, sources, tests in BARS:
        texts = []
        for name, row in sources:
            value = figures_of(sections.get(PARTS[name].title, "")).get(row, "not measured")
            texts.append(f"{row.removeprefix('law: ')}: {value}")
        rows.append((number, promise, "; ".join(texts) or "–", tests or "–"))
    return table(rows)


def main():
    """Run the suite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="the long form, which writes the page")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seed", type=int, help="check one case of the fuzzer")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        print(fuzz.draw(arguments.seed), *fuzz.check(arguments.seed), sep="\n")
        return
    made = {}
    for name in arguments.only:
        part, began = PARTS[name], time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            figures = part.run(part.long if arguments.long else part.short, Path(folder))
        section = text_of(part, figures, time.monotonic() - began)
        print(section, flush=True)
        made[part.title] = section
    # Other parts may have been written in the meantime.
    sections = (sections_of_page() if arguments.long else {}) | made
    texts = [sections[part.title] for part in PARTS.values() if part.title in sections]
    count = sum(map(int, re.findall(r"\| findings \| (\d+) \|", "".join(texts))))
    if arguments.long:
        bars = bars_text(sections)
        machine = f"{platform.system()} ({platform.machine()}), Python {platform.python_version()}"
        machine += f", NumPy {np.__version__}, numba {numba.__version__}"
        words = WORDS.read_text(encoding="utf-8").format(
            findings=count, machine=machine, sections="\n".join(texts), bars=bars
        )
        PAGE.write_text(words.rstrip("\n") + "\n", encoding="utf-8")
    sys.exit(count > 0)


if __name__ == "__main__":
    main()
