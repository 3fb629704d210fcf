"""Tables of automatic parameters: ``python tests/benchmarks/suggest.py`` writes docs/automatic.md.

Every case has a noise-free image, so that the best time and parameters (the oracle) can be found by
trial. The tables give the losses of `suggest` and of simpler rules against the oracle, in decibels.
Further tables are about correlated noise, and about the gain from the choice of the model. The
script takes about an hour on two slow cores; ``--cases camera`` runs the cases of that name.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES, CORRELATED, Case

import napari_diffusion as nd
from napari_diffusion.estimation.noise import correlations, kinds
from napari_diffusion.estimation.search import _vertex
from napari_diffusion.schemes.intervals import GeometricTimes

PAGE = Path(__file__).parents[2] / "docs" / "automatic.md"
#: Number of times of a run, and the longest of them [voxel²].
TIMES, MAX_TIME_VOXEL2 = 36, 75
#: Presmoothing scales of the oracle [voxel].
SCALES = (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
#: Ratio of consecutive thresholds of the oracle, and their range in noise levels per voxel.
THRESHOLD_RATIO, MIN_THRESHOLD, MAX_THRESHOLD = 1.5, 0.01, 20


@dataclasses.dataclass
class Course:
    """A run of a model: the error, and the quantities that simpler rules use, at every time.

    Attributes
    ----------
    times
        Diffusion times.
    errors
        Mean squared error against the noise-free image.
    residuals
        Mean square of the removed part.
    variances
        Negative variance of the result, so that it increases.
    correlations
        Magnitude of the correlation of the removed part with the result.
    """

    times: list[float]
    errors: list[float]
    residuals: list[float]
    variances: list[float]
    correlations: list[float]

    def best(self) -> float:
        """Smallest error, interpolated by a parabola."""
        k = int(np.argmin(self.errors))
        if 0 < k < len(self.errors) - 1:
            a, b, c = self.errors[k - 1 : k + 2]
            x = _vertex(a, b, c)
            return b - (a - c) * x / 4
        return self.errors[k]

    def at(self, when: float) -> float:
        """Error at a time."""
        return float(np.interp(math.log(when), np.log(self.times), self.errors))

    def first(self, values: list[float], level: float) -> float:
        """First time at which ``values`` reach ``level``."""
        k = next((k for k, v in enumerate(values) if v >= level), len(values) - 1)
        return self.times[k]


def course(
    noisy: np.ndarray,
    clean: np.ndarray,
    model: nd.Model,
    spacing: tuple[float, ...],
    max_ratio: float = 2.0,
) -> Course:
    """Run a model up to ``max_ratio`` times the time of minimum error."""
    voxel = min(spacing)
    plan = nd.plan(noisy, model, time=60 * voxel**2, spacing=spacing)
    scheme = GeometricTimes(TIMES, plan.scheme)
    longest = MAX_TIME_VOXEL2 * voxel**2
    states: Iterator[nd.State]
    if isinstance(model, nd.Linear):
        states = _linear_states(noisy, scheme.times(longest), spacing)
    else:
        states = nd.evolve(noisy, model, time=longest, spacing=spacing, scheme=scheme)
    run = Course([], [], [], [], [])
    for state in states:
        if run.times and state.time < run.times[-1] * 1.01:
            continue
        u = state.image
        removed = noisy - u
        run.times.append(state.time)
        run.errors.append(float(np.mean(np.square(u - clean, dtype=float))))
        run.residuals.append(float(np.mean(np.square(removed, dtype=float))))
        run.variances.append(-float(np.var(u, dtype=float)))
        run.correlations.append(abs(float(np.corrcoef(removed.ravel(), u.ravel())[0, 1])))
        if state.time > max_ratio * run.times[int(np.argmin(run.errors))] and len(run.times) > 8:
            break
    return run


def _linear_states(
    noisy: np.ndarray, times: list[float], spacing: tuple[float, ...]
) -> Iterator[nd.State]:
    """States of linear diffusion, which is exact for every time."""
    for when in times:
        result = nd.diffuse(noisy, nd.Linear(), time=when, spacing=spacing)
        yield nd.State(when, 0.0, 0, lambda result=result: result)


def rules(run: Course, noisy: np.ndarray, sigma: float, voxel: float) -> dict[str, float]:
    """Errors at the times that simpler rules choose, for the same run."""
    correlation = run.correlations
    minima = (
        k
        for k in range(1, len(correlation) - 1)
        if correlation[k] <= min(correlation[k - 1], correlation[k + 1])
    )
    variance = sigma**2 - float(np.var(noisy, dtype=float))
    return {
        "decorrelation": run.errors[next(minima, len(correlation) - 1)],
        "discrepancy": run.at(run.first(run.residuals, sigma**2)),
        "variance": run.at(run.first(run.variances, variance)),
        "T = 2.5": run.at(min(2.5 * voxel**2, run.times[-1])),
        "Tκ² = 0.28σ²": run.at(min(0.28 * 9 * voxel**2, run.times[-1])),
    }


def oracle(
    noisy: np.ndarray,
    clean: np.ndarray,
    spacing: tuple[float, ...],
    starts: list[nd.Model],
    sigma: float,
) -> float:
    """Smallest true error over threshold, scale and time, by coordinate descent from each start."""
    errors: dict[tuple[float, float], float] = {}
    voxel, best = min(spacing), math.inf
    scales = [0.0, *(voxel * s for s in SCALES[1:])]

    def error(kappa: float, index: int) -> float:
        key = (round(math.log(kappa), 6), round(scales[index], 6))
        if key not in errors:
            model = nd.PeronaMalik(kappa=kappa, sigma=scales[index])
            errors[key] = course(noisy, clean, model, spacing).best()
        return errors[key]

    def is_allowed(kappa: float, index: int) -> bool:
        return 0 <= index < len(scales) and MIN_THRESHOLD < kappa / (sigma / voxel) < MAX_THRESHOLD

    for start in starts:
        rung = round(math.log(3 * start.kappa * voxel / sigma) / math.log(THRESHOLD_RATIO))
        kappa = sigma / voxel * THRESHOLD_RATIO**rung / 3
        index = min(range(len(scales)), key=lambda k: abs(scales[k] - start.sigma))
        current, improved = error(kappa, index), True
        while improved:
            improved = False
            for factor, shift in ((THRESHOLD_RATIO, 0), (1 / THRESHOLD_RATIO, 0), (1, 1), (1, -1)):
                while is_allowed(kappa * factor, index + shift):
                    neighbour = error(kappa * factor, index + shift)
                    if neighbour >= current:
                        break
                    kappa, index = kappa * factor, index + shift
                    current, improved = neighbour, True
        best = min(best, current)
    return best


def true_error(
    case: Case, noisy: np.ndarray, clean: np.ndarray, suggestion: nd.Suggestion
) -> float:
    """Mean squared error of a suggestion against the noise-free image."""
    result = nd.diffuse(noisy, suggestion.model, time=suggestion.time, spacing=case.spacing)
    return float(np.mean(np.square(result - clean, dtype=float)))


def suggest_as_white(noisy: np.ndarray, spacing: tuple[float, ...]) -> nd.Suggestion:
    """Suggest parameters as if the noise were white."""
    measure = kinds.measure_correlations
    kinds.measure_correlations = lambda evidence: correlations.Correlations()
    try:
        return nd.suggest(noisy, nd.PeronaMalik(), spacing=spacing)
    finally:
        kinds.measure_correlations = measure


def decibels(ratio: float) -> float:
    """Ratio of powers in decibels."""
    return 10 * math.log10(ratio)


def row(case: Case) -> dict[str, Any]:
    """Noise, losses and gains [dB] of one case of white noise."""
    clean, noisy, sigma = case.make()
    voxel, spacing = min(case.spacing), case.spacing
    quick = nd.suggest(noisy, nd.PeronaMalik(), spacing=spacing, thorough=False)
    run = course(noisy, clean, quick.model, spacing, max_ratio=4.0)
    start = time.process_time()
    thorough = nd.suggest(noisy, nd.PeronaMalik(), spacing=spacing)
    seconds = time.process_time() - start
    error = true_error(case, noisy, clean, thorough)
    free = nd.suggest(noisy, spacing=spacing)
    best = min(error, oracle(noisy, clean, spacing, [thorough.model, quick.model], sigma))
    before = float(np.mean(np.square(noisy - clean, dtype=float)))
    errors = {"SURE": run.at(quick.time)} | rules(run, noisy, sigma, voxel)
    return {
        "case": case,
        "noise": thorough.noise,
        "sigma": sigma,
        "time": {name: decibels(value / run.best()) for name, value in errors.items()},
        "joint": decibels(error / best),
        "gain": decibels(before / error),
        "expected": thorough.gain,
        "default": decibels(run.at(quick.time) / best),
        "seconds": seconds,
        "suggestion": thorough,
        "free": free.model.title,
        "free gain": decibels(before / true_error(case, noisy, clean, free)),
    }


def correlated_row(case: Case) -> dict[str, Any]:
    """Noise and losses [dB] of one case of correlated noise.

    The losses are those of the suggestion, and of a suggestion as if the noise were white.
    """
    clean, noisy, sigma = case.make()
    suggestion = nd.suggest(noisy, nd.PeronaMalik(), spacing=case.spacing)
    white = suggest_as_white(noisy, case.spacing)
    errors = [true_error(case, noisy, clean, s) for s in (suggestion, white)]
    best = min(*errors, oracle(noisy, clean, case.spacing, [suggestion.model], sigma))
    return {
        "case": case,
        "sigma": sigma,
        "suggestion": suggestion,
        "white": white,
        "losses": [decibels(error / best) for error in errors],
        "gain": decibels(sigma**2 / errors[0]),
    }


def line(cells: list[str]) -> str:
    """Row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def correlated_report(rows: list[dict[str, Any]]) -> str:
    """Table of the cases of correlated noise, in Markdown."""
    head = [
        "image",
        "noise",
        "correlation of neighbours",
        "estimated σ / true",
        "as white noise",
        "gain",
        "loss",
        "loss as white noise",
    ]
    lines = [line(head), "|" + "---|" * len(head)]
    for r in rows:
        case, noise, white = r["case"], r["suggestion"].noise, r["white"].noise
        numbers = [
            f"{noise.correlation:.2f}",
            f"{noise.sigma / r['sigma']:.3f}",
            f"{white.sigma / r['sigma']:.3f}",
            f"{r['gain']:.2f}",
            *(f"{loss:.2f}" for loss in r["losses"]),
        ]
        lines.append(line([case.name, f"{case.kind}, {case.percent:g} %", *numbers]))
    for name, fold in (("mean", np.mean), ("worst", np.max)):
        losses = [f"**{fold([r['losses'][k] for r in rows]):.2f}**" for k in (0, 1)]
        lines.append(f"| **{name}** | | | | | | {' | '.join(losses)} |")
    return "\n".join(lines)


def time_report(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of the table of losses from the choice of the time."""
    names = list(rows[0]["time"])
    head = ["image", "noise", "estimated σ / true", *names]
    lines = [line(head), "|" + "---|" * len(head)]
    for r in rows:
        case, relative = r["case"], f"{r['noise'].sigma / r['sigma']:.3f}"
        losses = [f"{r['time'][name]:.2f}" for name in names]
        lines.append(line([case.name, f"{case.kind} {case.percent:g} %", relative, *losses]))
    for label, fold in (("mean", np.mean), ("worst", np.max)):
        error = fold([abs(r["noise"].sigma / r["sigma"] - 1) for r in rows])
        losses = [f"**{fold([r['time'][name] for r in rows]):.2f}**" for name in names]
        lines.append(f"| **{label}** | | off by {100 * error:.1f} % | {' | '.join(losses)} |")
    return lines


def parameter_report(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of the table of gains and losses from the choice of parameters and model."""
    head = [
        "image",
        "noise",
        "κ/(σ/voxel), sigma, time",
        "gain",
        "expected",
        "loss",
        "rule of thumb",
        "model chosen",
        "its gain",
    ]
    lines = [line(head), "|" + "---|" * len(head)]
    for r in rows:
        case, model, suggested_time = r["case"], r["suggestion"].model, r["suggestion"].time
        voxel = min(case.spacing)
        chosen = [
            f"{model.kappa * voxel / r['sigma']:.2f}",
            f"{model.sigma / voxel:.2g}",
            f"{suggested_time / voxel**2:.3g}",
        ]
        numbers = [f"{r[name]:.2f}" for name in ("gain", "expected", "joint", "default")]
        free = [r["free"], f"{r['free gain']:.2f}"]
        noise = f"{case.kind} {case.percent:g} %"
        lines.append(line([case.name, noise, ", ".join(chosen), *numbers, *free]))
    for label, fold in (("mean", np.mean), ("worst", np.max)):
        losses = [f"**{fold([r[name] for r in rows]):.2f}**" for name in ("joint", "default")]
        lines.append(f"| **{label}** | | | | | {' | '.join(losses)} | | |")
    better = [r["free gain"] - r["gain"] for r in rows]
    lines.append(
        f"| **chosen model less PeronaMalik** | | | | | | | mean | **{np.mean(better):+.2f}** |"
    )
    lines.append(f"| | | | | | | | least, most | **{min(better):+.2f}, {max(better):+.2f}** |")
    return lines


def report(rows: list[dict[str, Any]]) -> str:
    """Tables of the cases of white noise, in Markdown."""
    return "\n".join([*time_report(rows), "", *parameter_report(rows)])


def print_correlated_row(r: dict[str, Any]) -> None:
    """Print the results of one case of correlated noise."""
    case, suggestion = r["case"], r["suggestion"]
    level, white = (s.noise.sigma / r["sigma"] for s in (suggestion, r["white"]))
    print(
        case.name,
        case.percent,
        case.kind,
        f"sigma {level:.3f} as white {white:.3f}",
        f"loss {r['losses'][0]:.2f} {r['losses'][1]:.2f}",
        suggestion.model,
        flush=True,
    )


def print_row(r: dict[str, Any]) -> None:
    """Print the results of one case of white noise."""
    case, suggestion = r["case"], r["suggestion"]
    level = f"sigma {r['noise'].sigma / r['sigma']:.3f} [{r['noise'].kind}]"
    print(case.name, case.percent, case.kind, level)
    losses = {name: round(loss, 2) for name, loss in r["time"].items()}
    print("  time", losses, f"joint {r['joint']:.2f} thumb {r['default']:.2f}")
    gains = f"gain {r['gain']:.2f} expected {r['expected']:.2f} {r['free']} {r['free gain']:.2f}"
    seconds = f"{r['seconds']:.1f} s"
    print(" ", gains, suggestion.model, suggestion.time, seconds, flush=True)


def main() -> None:
    """Make the tables, and put them between the marks of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cases", default="", help="only those whose name contains this; nothing is written"
    )
    chosen = parser.parse_args().cases
    correlated, rows = [], []
    for case in CORRELATED:
        if chosen in case.name:
            correlated.append(correlated_row(case))
            print_correlated_row(correlated[-1])
    for case in CASES:
        if chosen in case.name:
            rows.append(row(case))
            print_row(rows[-1])
    tables = {"table": report(rows), "correlated": correlated_report(correlated)}
    print(*tables.values(), sep="\n\n")
    if not chosen:
        page = PAGE.read_text(encoding="utf-8")
        for mark, text in tables.items():
            head, rest = page.split(f"<!-- {mark} -->\n")
            _, after = rest.split("<!-- end -->\n", 1)
            page = f"{head}<!-- {mark} -->\n{text}\n<!-- end -->\n{after}"
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
