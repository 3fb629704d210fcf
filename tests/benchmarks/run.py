"""Benchmarks: ``python tests/benchmarks/run.py`` writes docs/benchmarks.md and its figures. Ratios to peers in the same run; no assertion.

Needs the extra ``peers``. The words around the tables are in page.md. What each table found is kept in docs/benchmarks.json, so that
``--only linear scaling`` measures these two anew and keeps the others. ``--size 128`` is a quick look.
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
PARTS = {
    "perona-malik": throughput.perona_malik,
    "linear": throughput.linear,
    "tensors": throughput.tensors,
    "equal-time": accuracy.equal_time,
    "scaling": throughput.scaling,
    "small": waiting.small,
    "memory": waiting.memory,
    "waiting": waiting.waiting,
    "rotation": rotation.rotation,
    "preview": preview.preview,
    "schemes": accuracy.schemes,
}
FIGURES = {"scaling": plots.scaling, "schemes": plots.schemes}
PAGE = Path(__file__).with_name("page.md")


def machine() -> str:
    processors = f"{os.cpu_count()} processors ({platform.machine()})"
    return f"{processors}, {platform.system()}, Python {platform.python_version()}, NumPy {np.__version__}"


def write_page(path: Path, found: dict) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in PARTS:
        told = f"{found[name]['text']}\nMachine: {found[name]['machine']}." if name in found else ""
        page = page.replace(f"<!-- {name} -->", told)
    path.write_text(page, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="edge of the cubic volume")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over which medians are taken")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        help="tables to measure anew; the others stay as they are",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=DOCS,
        help="folder for benchmarks.md, benchmarks.json and images/",
    )
    given = parser.parse_args()
    kept = given.output / "benchmarks.json"
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    (given.output / "images").mkdir(parents=True, exist_ok=True)
    for name in given.only or PARTS:
        start = time.perf_counter()
        found[name] = PARTS[name](given.size, given.rounds) | {"machine": machine()}
        print(f"{found[name]['text']}\n({name}: {time.perf_counter() - start:.0f} s)\n", flush=True)
        kept.write_text(json.dumps(found, indent=1), encoding="utf-8")
        if name in FIGURES:
            FIGURES[name](found[name], given.output / "images")
        write_page(given.output / "benchmarks.md", found)  # after every table: a later one may fail


if __name__ == "__main__":
    main()
