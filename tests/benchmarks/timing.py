"""Wall times of several filters, measured in alternation, and their ratios; Markdown tables."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import numpy as np

#: A first call of a peer that takes longer than this [s] counts as its first round.
MAX_WARM_UP = 2


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call [s]."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor_seconds(work: Callable[[], object]) -> float:
    """Processor time of all threads in a call [s]."""
    start = time.process_time()
    work()
    return time.process_time() - start


def user_seconds(work: Callable[[], object]) -> float:
    """Processor time of all threads in a call, without that of the system [s]."""
    start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime - start


def alternate(
    contenders: dict[str, Callable[[], object]],
    rounds: int,
    shares: dict[str, float] | None = None,
    seconds: Callable[[Callable[[], object]], float] = seconds,
) -> dict[str, list[float]]:
    """Times [s] of every contender in every round, after one warm-up.

    In a round, all contenders run once. The warm-up of a peer that takes more than two seconds
    counts as its first round; ours may include compilation.

    Parameters
    ----------
    contenders
        Calls to time, by name; our own names start with ``"ours"``.
    rounds
        Number of rounds.
    shares
        For contenders that do a share of the work, that share; their times are scaled up.
    seconds
        Measures a call; by default its wall time.
    """
    shares = shares or {}
    times: dict[str, list[float]] = {}
    for name, work in contenders.items():
        first = seconds(work)
        counts = first > MAX_WARM_UP and not name.startswith("ours")
        times[name] = [first / shares.get(name, 1.0)] if counts else []
    for k in range(rounds):
        for name, work in contenders.items():
            if len(times[name]) <= k:
                times[name].append(seconds(work) / shares.get(name, 1.0))
    return times


def median(values: list[float]) -> float:
    """Median of some times."""
    return statistics.median(values)


def ratio(times: dict[str, list[float]], name: str, ours: str) -> float:
    """Median over the rounds of the time of ``name`` over that of ``ours``.

    A drift in the speed of the machine cancels.
    """
    return median([theirs / mine for theirs, mine in zip(times[name], times[ours], strict=True)])


def table(head: list[str], rows: list[list[str]]) -> str:
    """Format a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"


def ball(n: int) -> np.ndarray:
    """Bright ball on a background, with noise; a cube of ``n`` voxels."""
    x = np.linspace(-1, 1, n, dtype=np.float32)
    square = x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2
    inside = (square < 0.5) * np.float32(60)
    return inside + np.random.default_rng(3).normal(100, 10, (n, n, n)).astype(np.float32)
