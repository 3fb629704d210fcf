"""Figures of docs/benchmarks.md, from the measurements of the tables."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "napari-diffusion",
        "font.size": 9,
        "axes.grid": True,
        "grid.alpha": 0.3,
    }
)


def scaling(part: dict, folder: Path) -> None:
    """Plot throughput against volume, for several numbers of threads."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for k, threads in enumerate(part["threads"]):
        axes.plot(
            part["sizes"],
            [speeds[k] for speeds in part["speeds"]],
            "o-",
            label=f"{threads} thread{'s' * (threads > 1)}",
        )
    axes.set(
        xscale="log", xlabel="voxels per axis", ylabel="Mvoxel/s per step", xticks=part["sizes"]
    )
    axes.set_xticks(part["sizes"], [str(size) for size in part["sizes"]])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.legend()
    _save(figure, folder / "benchmark_scaling.svg")


def schemes(part: dict, folder: Path) -> None:
    """Plot error against wall time of every scheme, one panel for each problem."""
    from matplotlib import pyplot as plt

    problems = list(dict.fromkeys((shape, spacing) for shape, spacing, *_ in part["curves"]))
    times = list(dict.fromkeys(time for _, _, time, *_ in part["curves"]))
    figure, grid = plt.subplots(
        len(problems),
        len(times),
        figsize=(10, 2.3 * len(problems)),
        layout="constrained",
        squeeze=False,
    )
    for row, (shape, spacing) in zip(grid, problems, strict=True):
        for axes, time in zip(row, times, strict=True):
            problem = [shape, spacing, time]
            runs = [curve[3:] for curve in part["curves"] if curve[:3] == problem]
            for family, mark in (("explicit", "s"), ("rkl2", "o-"), ("fsi", "^-")):
                points = [
                    (spent * 1e3, error)
                    for name, _, spent, error in runs
                    if name.split(",")[0] == family
                ]
                axes.loglog(*zip(*points, strict=True), mark, label=family, markersize=4)
            spent, error = next((s, e) for name, _, s, e in runs if name == "auto")
            axes.loglog(spent * 1e3, error, "k*", label="auto", markersize=9, fillstyle="none")
            axes.set_title(f"{shape}, spacing {spacing}, T = {time}", fontsize=7)
        row[0].set_ylabel("rms error / range")
    for axes in grid[-1]:
        axes.set_xlabel("ms")
    grid[0][0].legend(fontsize=7)
    _save(figure, folder / "benchmark_accuracy.svg")


def _save(figure: object, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
