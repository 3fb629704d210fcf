"""Tables of automatic parameters: ``python tests/benchmarks/suggest.py`` writes them into docs/automatic.md.

Every case has a noise-free image, so that the best possible time and parameters (the oracle) can be found by trying; what ``suggest`` and
simpler rules lose against it is told in decibels. Then the same for correlated noise, and what the choice of the model gains. About an hour
on two slow cores; ``--cases camera`` runs those of that name.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES, CORRELATED, Case

import napari_diffusion as nd
from napari_diffusion.estimation import noise_kinds
from napari_diffusion.estimation.risk_curve import GeometricTimes
from napari_diffusion.estimation.search import _vertex
from napari_diffusion.schemes import RKL2

OUT = Path(__file__).parents[2] / "docs" / "automatic.md"


@dataclasses.dataclass
class Path_:
    """True quality along the times of one run: mean squared error, and what the simpler rules look at."""

    times: list[float]
    errors: list[float]
    residuals: list[float]
    variances: list[float]
    correlations: list[float]

    def best(self) -> float:
        """Smallest error, between the times too."""
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
        """Time at which ``values`` first rise above ``level``."""
        k = next((k for k, v in enumerate(values) if v >= level), len(values) - 1)
        return self.times[k]


def walk(
    noisy: np.ndarray,
    clean: np.ndarray,
    model: nd.Model,
    spacing: tuple[float, ...],
    patience: float = 2.0,
) -> Path_:
    """Run a model and follow its error until that has been rising for a while."""
    voxel = min(spacing)
    ladder = GeometricTimes(
        36, int(isinstance(nd.plan(noisy, model, time=60 * voxel**2, spacing=spacing).scheme, RKL2))
    )
    longest = 75 * voxel**2
    path = Path_([], [], [], [], [])
    for when in (
        nd.evolve(noisy, model, time=longest, spacing=spacing, scheme=ladder)
        if not isinstance(model, nd.Linear)
        else _linear(noisy, ladder.times(longest), spacing)
    ):
        if path.times and when.time < path.times[-1] * 1.01:
            continue
        u = when.image
        d = noisy - u
        path.times.append(when.time)
        path.errors.append(float(np.mean(np.square(u - clean, dtype=float))))
        path.residuals.append(float(np.mean(np.square(d, dtype=float))))
        path.variances.append(-float(np.var(u, dtype=float)))
        path.correlations.append(abs(float(np.corrcoef(d.ravel(), u.ravel())[0, 1])))
        if when.time > patience * path.times[int(np.argmin(path.errors))] and len(path.times) > 8:
            break
    return path


def _linear(noisy: np.ndarray, times: list[float], spacing: tuple[float, ...]) -> Any:
    for when in times:
        result = nd.diffuse(noisy, nd.Linear(), time=when, spacing=spacing)
        yield nd.State(when, 0.0, 0, lambda result=result: result)


def rules(path: Path_, noisy: np.ndarray, sigma: float, voxel: float) -> dict[str, float]:
    """Error of simpler rules for the time, along the same path."""
    correlation = path.correlations
    turn = next(
        (
            k
            for k in range(1, len(correlation) - 1)
            if correlation[k] <= min(correlation[k - 1], correlation[k + 1])
        ),
        len(correlation) - 1,
    )
    return {
        "decorrelation": path.errors[turn],
        "discrepancy": path.at(path.first(path.residuals, sigma**2)),
        "variance": path.at(
            path.first(path.variances, sigma**2 - float(np.var(noisy, dtype=float)))
        ),
        "T = 2.5": path.at(min(2.5 * voxel**2, path.times[-1])),
        "Tκ² = 0.28σ²": path.at(min(0.28 * 9 * voxel**2, path.times[-1])),
    }


def oracle(
    noisy: np.ndarray,
    clean: np.ndarray,
    spacing: tuple[float, ...],
    starts: list[nd.Model],
    sigma: float,
) -> float:
    """Smallest error over threshold, scale and time, by the true error, from several starts."""
    seen: dict[tuple[float, float], float] = {}
    voxel, best = min(spacing), math.inf

    def look(kappa: float, scale: float) -> float:
        key = (round(math.log(kappa), 6), round(scale, 6))
        if key not in seen:
            seen[key] = walk(noisy, clean, nd.PeronaMalik(kappa=kappa, sigma=scale), spacing).best()
        return seen[key]

    scales = [0.0, *(voxel * s for s in (0.35, 0.5, 0.7, 1.0, 1.4, 2.0))]
    for start in starts:
        rung = round(math.log(3 * start.kappa * voxel / sigma) / math.log(1.5))
        kappa, index = (
            sigma / voxel * 1.5**rung / 3,
            min(range(len(scales)), key=lambda k: abs(scales[k] - start.sigma)),
        )
        here, better = look(kappa, scales[index]), True
        while better:
            better = False
            for factor, shift in ((1.5, 0), (1 / 1.5, 0), (1, 1), (1, -1)):
                while (
                    0 <= index + shift < len(scales)
                    and 0.01 < kappa * factor / (sigma / voxel) < 20
                ):
                    there = look(kappa * factor, scales[index + shift])
                    if there >= here:
                        break
                    kappa, index, here, better = kappa * factor, index + shift, there, True
        best = min(best, here)
    return best


def missed(case: Case, noisy: np.ndarray, clean: np.ndarray, found: nd.Suggestion) -> float:
    """True error of a choice."""
    return float(
        np.mean(
            np.square(
                nd.diffuse(noisy, found.model, time=found.time, spacing=case.spacing) - clean,
                dtype=float,
            )
        )
    )


def as_white(noisy: np.ndarray, spacing: tuple[float, ...]) -> nd.Suggestion:
    """Choose as if the noise were white, whatever is seen of it."""
    seen = noise_kinds.colour
    noise_kinds.colour = lambda evidence: ((), 1.0, 0.0)
    try:
        return nd.suggest(noisy, nd.PeronaMalik(), spacing=spacing)
    finally:
        noise_kinds.colour = seen


def row(case: Case) -> dict[str, Any]:
    """Everything about one case."""
    clean, noisy, sigma = case.make()
    voxel, spacing = min(case.spacing), case.spacing
    quick = nd.suggest(noisy, nd.PeronaMalik(), spacing=spacing, thorough=False)
    path = walk(noisy, clean, quick.model, spacing, patience=4.0)
    start = time.process_time()
    found = nd.suggest(noisy, nd.PeronaMalik(), spacing=spacing)
    seconds = time.process_time() - start
    error = missed(case, noisy, clean, found)
    free = nd.suggest(noisy, spacing=spacing)
    best = min(error, oracle(noisy, clean, spacing, [found.model, quick.model], sigma))
    before = float(np.mean(np.square(noisy - clean, dtype=float)))
    losses = {"SURE": path.at(quick.time)} | rules(path, noisy, sigma, voxel)
    return {
        "case": case,
        "noise": found.noise,
        "sigma": sigma,
        "time": {name: 10 * math.log10(value / path.best()) for name, value in losses.items()},
        "joint": 10 * math.log10(error / best),
        "gain": 10 * math.log10(before / error),
        "expected": found.gain,
        "default": 10 * math.log10(path.at(quick.time) / best),
        "seconds": seconds,
        "found": found,
        "free": free.model.title,
        "free gain": 10 * math.log10(before / missed(case, noisy, clean, free)),
    }


def correlated_row(case: Case) -> dict[str, Any]:
    """Noise and losses of one case of correlated noise, by the rule for it and by the rule for white noise."""
    clean, noisy, sigma = case.make()
    found, white = (
        nd.suggest(noisy, nd.PeronaMalik(), spacing=case.spacing),
        as_white(noisy, case.spacing),
    )
    errors = [missed(case, noisy, clean, one) for one in (found, white)]
    best = min(*errors, oracle(noisy, clean, case.spacing, [found.model], sigma))
    losses = [10 * math.log10(error / best) for error in errors]
    return {
        "case": case,
        "sigma": sigma,
        "found": found,
        "white": white,
        "losses": losses,
        "gain": 10 * math.log10(sigma**2 / errors[0]),
    }


def correlated_report(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table."""
    lines = [
        "| image | noise | correlation of neighbours | estimated σ / true | as white noise | gain | loss | loss as white noise |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        case, found, white = r["case"], r["found"].noise, r["white"].noise
        lines.append(
            f"| {case.name} | {case.kind}, {case.percent:g} % | {found.correlation:.2f} | {found.sigma / r['sigma']:.3f} | "
            f"{white.sigma / r['sigma']:.3f} | {r['gain']:.2f} | {r['losses'][0]:.2f} | {r['losses'][1]:.2f} |"
        )
    for what, fold in (("mean", np.mean), ("worst", np.max)):
        told = [f"**{fold([r['losses'][k] for r in rows]):.2f}**" for k in (0, 1)]
        lines.append(f"| **{what}** | | | | | | {' | '.join(told)} |")
    return "\n".join(lines)


def report(rows: list[dict[str, Any]]) -> str:
    """Two Markdown tables."""
    names = list(rows[0]["time"])
    lines = [
        f"| image | noise | estimated σ / true | {' | '.join(names)} |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for r in rows:
        case = r["case"]
        told = [f"{r['time'][name]:.2f}" for name in names]
        lines.append(
            f"| {case.name} | {case.kind} {case.percent:g} % | {r['noise'].sigma / r['sigma']:.3f} | {' | '.join(told)} |"
        )
    for what, fold in (("mean", np.mean), ("worst", np.max)):
        off = fold([abs(r["noise"].sigma / r["sigma"] - 1) for r in rows])
        told = [f"**{fold([r['time'][name] for r in rows]):.2f}**" for name in names]
        lines.append(f"| **{what}** | | off by {100 * off:.1f} % | {' | '.join(told)} |")
    lines += [
        "",
        "| image | noise | κ/(σ/voxel), sigma, time | gain | expected | loss | rule of thumb | model chosen | its gain |",
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        case, found = r["case"], r["found"]
        voxel = min(case.spacing)
        chosen = f"{found.model.kappa * voxel / r['sigma']:.2f}, {found.model.sigma / voxel:.2g}, {found.time / voxel**2:.3g}"
        lines.append(
            f"| {case.name} | {case.kind} {case.percent:g} % | {chosen} | {r['gain']:.2f} | {r['expected']:.2f} | {r['joint']:.2f} | "
            f"{r['default']:.2f} | {r['free']} | {r['free gain']:.2f} |"
        )
    for what, fold in (("mean", np.mean), ("worst", np.max)):
        told = [f"**{fold([r[name] for r in rows]):.2f}**" for name in ("joint", "default")]
        lines.append(f"| **{what}** | | | | | {' | '.join(told)} | | |")
    better = [r["free gain"] - r["gain"] for r in rows]
    lines.append(
        f"| **chosen model less PeronaMalik** | | | | | | | mean | **{np.mean(better):+.2f}** |"
    )
    lines.append(f"| | | | | | | | least, most | **{min(better):+.2f}, {max(better):+.2f}** |")
    return "\n".join(lines)


def main() -> None:
    """Make the tables, and put them between the marks in the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cases", default="", help="only those whose name contains this; nothing is written"
    )
    chosen = parser.parse_args().cases
    coloured, rows = [], []
    for case in CORRELATED:
        if chosen in case.name:
            coloured.append(r := correlated_row(case))
            told = f"sigma {r['found'].noise.sigma / r['sigma']:.3f} as white {r['white'].noise.sigma / r['sigma']:.3f}"
            print(
                case.name,
                case.percent,
                case.kind,
                told,
                f"loss {r['losses'][0]:.2f} {r['losses'][1]:.2f}",
                r["found"].model,
                flush=True,
            )
    for case in CASES:
        if chosen in case.name:
            rows.append(r := row(case))
            print(
                case.name,
                case.percent,
                case.kind,
                f"sigma {r['noise'].sigma / r['sigma']:.3f} [{r['noise'].kind}]",
                flush=True,
            )
            print(
                "  time",
                {k: round(v, 2) for k, v in r["time"].items()},
                f"joint {r['joint']:.2f} thumb {r['default']:.2f}",
                flush=True,
            )
            told = f"gain {r['gain']:.2f} expected {r['expected']:.2f} {r['free']} {r['free gain']:.2f}"
            print(" ", told, r["found"].model, r["found"].time, f"{r['seconds']:.1f} s", flush=True)
    tables = {"table": report(rows), "correlated": correlated_report(coloured)}
    print(*tables.values(), sep="\n\n")
    if not chosen:
        page = OUT.read_text(encoding="utf-8")
        for mark, text in tables.items():
            head, rest = page.split(f"<!-- {mark} -->\n")
            _, after = rest.split("<!-- end -->\n", 1)
            page = f"{head}<!-- {mark} -->\n{text}\n<!-- end -->\n{after}"
        OUT.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
