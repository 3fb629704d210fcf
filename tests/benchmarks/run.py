"""Benchmarks: ``python tests/benchmarks/run.py`` writes docs/benchmarks.md and its figures.

Needs the extra ``benchmarks``. Ratios to peers are measured in one run; there are no assertions.
The words around the tables are in page.md. The measurements are kept in docs/benchmarks.json:
``--only linear scaling`` repeats these two tables and keeps the others. ``--size 128`` is quick.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import accuracy
import numpy as np
import plots
import preview
import rotation
import throughput
import waiting

DOCS = Path(__file__).parents[2] / "docs"
#: Tables by name, in the order of measurement.
PARTS = {
    "perona-malik": throughput.perona_malik,
    "linear": throughput.linear,
    "tensors": throughput.tensors,
    "equal-time": accuracy.equal_time,
    "scaling": throughput.scaling,
    "shapes": throughput.shapes,
    "small": waiting.small,
    "calls": waiting.calls,
    "time-lapse": waiting.time_lapse,
    "memory": waiting.memory,
    "waiting": waiting.waiting,
    "rotation": rotation.rotation,
    "preview": preview.preview,
    "schemes": accuracy.schemes,
}
#: Figures by the name of their table.
FIGURES = {"scaling": plots.scaling, "schemes": plots.schemes}
PAGE = Path(__file__).with_name("page.md")


def machine() -> str:
    """Processors, operating system and versions."""
    processors = f"{os.cpu_count()} processors ({platform.machine()})"
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{processors}, {platform.system()}, {versions}"


def write_page(path: Path, results: dict) -> None:
    """Write the page with the tables that have been measured."""
    page = PAGE.read_text(encoding="utf-8")
    for name in PARTS:
        text = ""
        if name in results:
            text = f"{results[name]['text']}\nMachine: {results[name]['machine']}."
        page = page.replace(f"<!-- {name} -->", text)
    path.write_text(page, encoding="utf-8")


def main() -> None:
    """Measure the tables, and write the page and its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="edge of the cubic volume")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over which medians are taken")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        help="tables to measure; the others are kept",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=DOCS,
        help="folder for benchmarks.md, benchmarks.json and images/",
    )
    arguments = parser.parse_args()
    output, record = arguments.output, arguments.output / "benchmarks.json"
    results = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    (output / "images").mkdir(parents=True, exist_ok=True)
    for name in arguments.only or PARTS:
        start = time.perf_counter()
        results[name] = PARTS[name](arguments.size, arguments.rounds) | {"machine": machine()}
        spent = time.perf_counter() - start
        print(f"{results[name]['text']}\n({name}: {spent:.0f} s)\n", flush=True)
        # Written after every table, because a later one may fail.
        record.write_text(json.dumps(results, indent=1), encoding="utf-8")
        if name in FIGURES:
            FIGURES[name](results[name], output / "images")
        write_page(output / "benchmarks.md", results)


if __name__ == "__main__":
    main()
