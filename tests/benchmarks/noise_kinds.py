"""Gains on many kinds of noise: ``python tests/benchmarks/noise_kinds.py`` writes a page of docs.

Needs the extra ``benchmarks``, and the packages bm3d and bm4d for their columns, which are filled
with dashes otherwise. Results are stored in docs/noise_kinds.json. What is stored is not computed
again, unless ``--again`` is given:

- ``--only auto --again``: the automatic columns, some minutes;
- ``--only ours --again``: the best of our models, some minutes;
- ``--only rivals``: filters of others but BM3D and BM4D, some minutes when nothing is stored;
- ``--only blocks``: BM3D and BM4D, a quarter of an hour of one core when nothing is stored;
- ``--only page``: the page from what is stored;
- ``--cases WORD``: only cases whose name or kind contains the word.

The words around the tables are in noise_kinds_page.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import rivals
import SimpleITK
from timing import table

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.judging import Yardstick, judge
from helpers.noise_case import NoiseCase
from helpers.noise_cases import CASES

DOCS = Path(__file__).parents[2] / "docs"
PAGE, STORE = DOCS / "noise_kinds.md", DOCS / "noise_kinds.json"
HEADER = Path(__file__).with_name("noise_kinds_page.md")
SEED = 0
#: Gains that differ by less [dB] share the first place.
TIE_DB = 0.05
#: Lead over our models [dB] from which another tool is recommended.
LEAD_DB = 0.3
AUTO, OURS = "automatic", "our best"
COLUMNS = [AUTO, OURS, *rivals.RIVALS]
BLOCKS = "BM3D, BM4D"
#: Columns by the words of the option ``--only``, in the order in which they are measured.
GROUPS = {
    "rivals": [name for name in rivals.RIVALS if name != BLOCKS],
    "ours": [OURS],
    "auto": [AUTO],
    "blocks": [BLOCKS],
    "page": [],
}

Results = dict[str, dict[str, Any]]


def load(path: Path = STORE) -> Results:
    """Stored results of the present cases, by the names of case and column."""
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {case.name: stored.get(case.name, {}) for case in CASES}


def save(results: Results) -> None:
    """Write the results, and the page made from them."""
    STORE.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")


def automatic(case: NoiseCase) -> dict[str, Any]:
    """Gain and announcement of the automatic choice."""
    judgement = judge(case, SEED, is_thorough=False)
    interval = judgement.interval
    return {
        "gain": round(judgement.gain, 3),
        "setting": f"{judgement.model}, time {judgement.time:.3g}",
        "announced": None if judgement.announced is None else round(judgement.announced, 2),
        "interval": None if interval is None else [round(limit, 2) for limit in interval],
    }


def entry(best: rivals.Best | None) -> dict[str, Any]:
    """Result of a filter for the store; without its package, the gain is None."""
    if best is None:
        return {"gain": None, "setting": "its package is not installed"}
    return {"gain": round(best.gain, 3), "setting": best.setting}


def measure(case: NoiseCase, column: str) -> dict[str, Any]:
    """Result of one column for a case."""
    if column == AUTO:
        return automatic(case)
    work = rivals.ours if column == OURS else rivals.RIVALS[column]
    return entry(work(Yardstick.of(case, SEED)))


def gains(row: dict[str, Any]) -> dict[str, float]:
    """Gains of a case, by column; the automatic choice may be our best."""
    known = {name: row.get(name, {}).get("gain") for name in COLUMNS}
    result = {name: gain for name, gain in known.items() if gain is not None}
    if OURS in result and AUTO in result:
        result[OURS] = max(result[OURS], result[AUTO])
    return result


def cell(row: dict[str, Any], column: str) -> str:
    """Gain in a table; the best are bold."""
    known = gains(row)
    if column not in known:
        return "—"
    words = f"{known[column]:.1f}"
    return f"**{words}**" if known[column] >= max(known.values()) - TIE_DB else words


def announcement(row: dict[str, Any]) -> str:
    """Announced gain with its interval."""
    result = row.get(AUTO, {})
    if result.get("announced") is None:
        return "—"
    words = f"{result['announced']:.1f}"
    if result.get("interval") is None:
        return words
    low, high = result["interval"]
    return f"{words} ({low:.1f} to {high:.1f})"


def case_table(results: Results, chosen: list[NoiseCase]) -> str:
    """Table of some cases, ordered by kind."""
    order = list(dict.fromkeys(case.kind for case in chosen))
    head = ["kind", "image and noise", AUTO, "announced", OURS, *rivals.RIVALS]
    rows = []
    for case in sorted(chosen, key=lambda case: order.index(case.kind)):
        row = results[case.name]
        others = [cell(row, column) for column in COLUMNS[1:]]
        rows.append([case.kind, case.name, cell(row, AUTO), announcement(row), *others])
    return table(head, rows)


def summary(results: Results) -> str:
    """Table of columns: mean gain, first places, comparisons with the automatic choice."""
    head = ["filter", "mean gain [dB]", "best of its row", "worse than automatic", "damage"]
    rows = []
    for column in COLUMNS:
        known = [gains(row) for row in results.values() if column in gains(row)]
        if not known:
            continue
        first = sum(own[column] >= max(own.values()) - TIE_DB for own in known)
        beside = [own for own in known if AUTO in own and column != AUTO]
        behind = sum(own[column] < own[AUTO] - TIE_DB for own in beside)
        compared = f"{behind} of {len(beside)}" if beside else "—"
        # The mean over some of the rows could not be compared with the others.
        is_whole = len(known) == len(results)
        mean = f"{np.mean([own[column] for own in known]):.2f}" if is_whole else "—"
        damage = sum(own[column] < -0.1 for own in known)
        rows.append([column, mean, f"{first} of {len(known)}", compared, str(damage)])
    return table(head, rows)


def better_elsewhere(results: Results) -> str:
    """Kinds of noise where a filter of others leads over all of ours, in a list."""
    lines = []
    for case in CASES:
        known = gains(results[case.name])
        own = [known[name] for name in (AUTO, OURS) if name in known]
        others = {name: gain for name, gain in known.items() if name in rivals.RIVALS}
        if OURS not in known or not others:
            continue
        leader = max(others, key=lambda name: others[name])
        lead = others[leader] - max(own)
        if lead >= LEAD_DB:
            lines.append((lead, f"- {case.name} ({case.kind}): {leader}, by {lead:.1f} dB"))
    return "\n".join(text for _, text in sorted(lines, reverse=True)) or "- none"


def page(results: Results) -> str:
    """Text of the page."""
    groups = {
        "Where the assumptions hold": [case for case in CASES if case.holds],
        "Where they do not hold": [case for case in CASES if not case.holds],
    }
    tables = [f"## {title}\n\n{case_table(results, rows)}" for title, rows in groups.items()]
    counts = f"## Summary\n\n{summary(results)}"
    elsewhere = (
        "**Another tool is better** than every model of ours, by "
        f"{LEAD_DB:g} dB or more and with its best parameters, in these cases:\n\n"
        f"{better_elsewhere(results)}"
    )
    header = HEADER.read_text(encoding="utf-8")
    return (
        header.replace("{cases}", str(len(CASES)))
        .replace("{kinds}", str(len({case.kind for case in CASES})))
        .replace("{summary}", f"{counts}\n{elsewhere}")
        .replace("{tables}", "\n".join(tables).rstrip())
    )


def main() -> None:
    """Measure what is not stored, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(GROUPS), action="append")
    parser.add_argument("--cases", default="", help="a word in the names or kinds to measure")
    parser.add_argument("--again", action="store_true", help="also what is stored")
    options = parser.parse_args()
    columns = [name for group in options.only or GROUPS for name in GROUPS[group]]
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    results, word = load(), options.cases.lower()
    chosen = [case for case in CASES if word in case.name.lower() or word in case.kind.lower()]
    for column in columns:
        for case in chosen:
            row = results[case.name]
            if not options.again and row.get(column, {}).get("gain") is not None:
                continue
            row[column] = measure(case, column)
            print(f"{column}: {case.name}: {row[column]}", flush=True)
            save(results)
    save(results)


if __name__ == "__main__":
    main()
