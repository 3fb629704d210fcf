"""How times are taken: contenders in turn, round after round, and the median over the rounds of each one's ratio to ours."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(contenders: dict[str, Callable[[], object]], rounds: int, shares: dict[str, float] | None = None) -> dict[str, list[float]]:
    """Seconds of every contender in every round, after one warm-up; a contender that did only a share of the work is scaled up."""
    for work in contenders.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            times[name].append(seconds(work) / (shares or {}).get(name, 1.0))
    return times


def median(values: list[float]) -> float:
    return statistics.median(values)


def ratio(times: dict[str, list[float]], name: str, ours: str) -> float:
    """Median over the rounds of (time of `name`) / (time of `ours`): what drifts with the machine cancels."""
    return median([theirs / mine for theirs, mine in zip(times[name], times[ours], strict=True)])


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"
