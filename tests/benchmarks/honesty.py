"""How well `nd.suggest` does on many kinds of noise, and whether its announcements hold.

``python tests/benchmarks/honesty.py --seeds 3 --json results.json`` judges every case of
`helpers.noise_cases` with three noises each. ``--cases WORD`` takes those whose name or kind
contains the word, ``--without-best`` leaves out the search of the best parameters (a third of the
time), ``--tables results.json`` prints the tables of stored results again.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.judging import Judgement, judge
from helpers.noise_cases import CASES

#: A result this much below the unfiltered image [dB] is counted as damage.
DAMAGE_DB = 0.1
#: Distance of an announced share of noise from the true one that is counted.
SHARE_ERROR = 0.15
#: Distance of an announced gain from the true one [dB] that is counted.
GAIN_ERROR_DB = 1.0


def judged(task: tuple[str, int, bool]) -> Judgement:
    """Judge a case that is given by its name; runs in a process of its own."""
    name, seed, is_thorough = task
    (case,) = (case for case in CASES if case.name == name)
    return judge(case, seed, is_thorough)


def text(value: float | None, digits: int = 2) -> str:
    """Number in words, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def line(j: Judgement) -> str:
    """One line about a judgement."""
    if j.failure:
        return f"{j.name} [{j.seed}]: {j.failure}: {j.report}"
    interval = "-" if j.interval is None else f"{j.interval[0]:.2f} to {j.interval[1]:.2f}"
    marks = [
        "damage" if j.gain < -DAMAGE_DB else "",
        "outside" if j.is_inside is False else "",
        "not named" if j.is_named is False else "",
        "" if j.holds else "(assumptions fail)",
    ]
    level = "-" if j.sigma is None else f"{j.sigma / j.true_sigma:.2f}"
    return (
        f"{j.name} [{j.seed}]: gain {j.gain:.2f}, announced {text(j.announced)} ({interval}); "
        f"best time {j.best_time_gain:.2f}, best {j.best_gain:.2f}, loss {j.loss:.2f}; "
        f"sigma {level} of true, {j.noise_kind}; "
        f"share {text(j.share)} / {text(j.true_share)}; {j.seconds:.1f} s; "
        f"{j.model}, time {j.time:.3g} {' '.join(mark for mark in marks if mark)}"
    )


def part(count: int, total: int) -> str:
    """Count, and its share of a total."""
    return f"{count} of {total}" + (f" ({100 * count / total:.0f} %)" if total else "")


def summary(judgements: list[Judgement]) -> str:
    """Coverage, losses and counts over all judgements."""
    done = [j for j in judgements if not j.failure]
    with_interval = [j for j in done if j.interval is not None]
    inside = [j for j in with_interval if j.is_inside]
    claimed = [j for j in done if j.announced is not None]
    off = [j for j in claimed if abs(j.announced - j.gain) > GAIN_ERROR_DB]
    widths = {
        holds: [j.interval[1] - j.interval[0] for j in with_interval if j.holds is holds]
        for holds in (True, False)
    }
    damaged = [j for j in done if j.gain < -DAMAGE_DB]
    shares = [j for j in done if j.share_error is not None]
    wrong_shares = [j for j in shares if j.share_error > SHARE_ERROR]
    unnamed = [j for j in done if j.is_named is False]
    cases, kinds = {j.name for j in judgements}, {j.kind for j in judgements}
    shares_off = f"share of noise off by more than {SHARE_ERROR:g}"
    seconds = np.median([j.seconds for j in judgements])
    lines = [
        f"{len(judgements)} judgements of {len(cases)} cases and {len(kinds)} kinds",
        f"refused: {names(j for j in judgements if j.failure)}",
        f"true gain inside the interval: {part(len(inside), len(with_interval))}",
        *(
            f"the same where assumptions {words}: "
            f"{part(sum(j.holds is holds for j in inside), len(widths[holds]))}"
            for holds, words in ((True, "hold"), (False, "fail"))
        ),
        f"without an interval: {names(j for j in done if j.interval is None)}",
        f"announced gain off by more than {GAIN_ERROR_DB:g} dB: {part(len(off), len(claimed))}",
        *(
            f"median width of the interval [dB] where assumptions {words}: "
            f"{text(float(np.median(widths[holds])) if widths[holds] else None)}"
            for holds, words in ((True, "hold"), (False, "fail"))
        ),
        *(
            f"loss [dB], {words}: {statistics([j.loss for j in rows])}"
            for words, rows in (
                ("all", done),
                ("where assumptions hold", [j for j in done if j.holds]),
                ("where they fail", [j for j in done if not j.holds]),
            )
        ),
        f"loss by the time alone: {statistics([j.best_time_gain - j.gain for j in done])}",
        f"more than {DAMAGE_DB:g} dB worse than unfiltered: {names(damaged)}",
        f"{shares_off}: {part(len(wrong_shares), len(shares))}: {names(wrong_shares)}",
        f"not named: {names(unnamed)}",
        f"outside the interval: {names([j for j in with_interval if not j.is_inside])}",
        f"loss above 0.3 dB: {names([j for j in done if j.loss > 0.3])}",
        f"processor time of a suggestion: median {seconds:.1f} s",
    ]
    return "\n".join(lines)


def statistics(values: list[float]) -> str:
    """Median, mean and worst of some losses."""
    if not values:
        return "-"
    median, mean, worst = np.median(values), np.mean(values), np.max(values)
    return f"median {median:.2f}, mean {mean:.2f}, worst {worst:.2f}"


def names(judgements: Iterable[Judgement]) -> str:
    """Count and names of judgements."""
    rows = [f"{j.name} [{j.seed}]" for j in judgements]
    return f"{len(rows)}" + (f": {'; '.join(rows)}" if rows else "")


def stored(path: Path) -> list[Judgement]:
    """Judgements from a file."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    for row in rows:
        row["interval"] = None if row["interval"] is None else tuple(row["interval"])
    return [Judgement(**row) for row in rows]


def store(path: Path, judgements: list[Judgement]) -> None:
    """Write judgements to a file."""
    rows = [dataclasses.asdict(j) for j in judgements]
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def main() -> None:
    """Judge the cases, print a line for each, and a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of noises for every case")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--cases", default="", help="a word in the names or kinds to judge")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    parser.add_argument("--without-best", action="store_true", help="do not search the losses")
    parser.add_argument("--tables", type=Path, help="print stored results instead")
    options = parser.parse_args()
    if options.tables:
        judgements = stored(options.tables)
        print(*(line(j) for j in judgements), "", summary(judgements), sep="\n")
        return
    word = options.cases.lower()
    chosen = [c.name for c in CASES if word in c.name.lower() or word in c.kind.lower()]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tasks = [
        (name, seed, not options.without_best) for name, seed in itertools.product(chosen, seeds)
    ]
    print(f"# {' '.join(sys.argv)}: {len(chosen)} cases, seeds {seeds.start} to {seeds.stop - 1}")
    judgements = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context) as pool:
        for judgement in pool.map(judged, tasks):
            judgements.append(judgement)
            print(line(judgement), flush=True)
            if options.json:
                store(options.json, judgements)
    print("", summary(judgements), sep="\n")


if __name__ == "__main__":
    main()
