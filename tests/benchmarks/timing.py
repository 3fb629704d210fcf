"""How times are taken: contenders in turn, round after round, and the median over the rounds of each one's ratio to ours."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(
    contenders: dict[str, Callable[[], object]], rounds: int, shares: dict[str, float] | None = None
) -> dict[str, list[float]]:
    """Seconds of every contender in every round, after one warm-up; a contender that did only a share of the work is scaled up.

    The warm-up of a peer that takes more than two seconds is its first round as well; ours may have been compiling.
    """
    times: dict[str, list[float]] = {}
    for name, work in contenders.items():
        first = seconds(work)
        times[name] = (
            [first / (shares or {}).get(name, 1.0)]
            if first > 2 and not name.startswith("ours")
            else []
        )
    for k in range(rounds):
        for name, work in contenders.items():
            if len(times[name]) <= k:
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


def ball(n: int) -> np.ndarray:
    """Bright ball on a background, with noise."""
    x = np.linspace(-1, 1, n, dtype=np.float32)
    inside = (
        x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2 < 0.5
    ) * np.float32(60)
    return inside + np.random.default_rng(3).normal(100, 10, (n, n, n)).astype(np.float32)
