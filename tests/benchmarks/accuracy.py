"""Accuracy: evaluations and time of each scheme against its error, and what the peers reach in the time that ours takes."""

from __future__ import annotations

from functools import partial

import numpy as np
from timing import ball, median, seconds, table

import napari_diffusion as nd
from napari_diffusion.schemes import FSI, RKL2, Explicit

PROBLEMS = [((160, 160), (1.0, 1.0)), ((96, 96), (5.0, 1.0)), ((48, 48, 48), (1.0, 1.0, 1.0)), ((16, 56, 56), (5.0, 1.0, 1.0))]
TIMES = (2.5, 10.0, 50.0, 200.0)


def picture(shape: tuple[int, ...]) -> np.ndarray:
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    clean = 0.6 * (sum(c * c for c in x) < 0.4) + 0.3 * (np.sin(8 * x[0]) > 0)
    return clean + np.random.default_rng(5).normal(0, 0.1, shape)


def converged(image: np.ndarray, model: nd.PeronaMalik, coarse: int = 150, **options: object) -> np.ndarray:
    """Solve in float64 to an error of 1e-6: the Richardson limit of two runs of second order with many supersteps."""
    fine = [nd.diffuse(image.astype(float), model, scheme=RKL2(supersteps=m), **options) for m in (coarse, 2 * coarse)]
    return (4 * fine[1] - fine[0]) / 3


def rms(result: np.ndarray, truth: np.ndarray, image: np.ndarray) -> float:
    return float(np.sqrt(np.mean((result - truth) ** 2)) / np.ptp(image))


def schemes(n: int, rounds: int) -> dict:
    """Root mean square error as a share of the range, and time, of every scheme."""
    rows, curves = [], []
    for shape, spacing in PROBLEMS:
        image = picture(shape)
        model = nd.PeronaMalik(kappa=0.05, sigma=1.0)
        for time in TIMES:
            options = {"time": time, "spacing": spacing}
            truth = converged(image, model, **options)
            contenders = {"auto": "auto", "explicit": Explicit()}
            contenders |= {f"rkl2, {m}": RKL2(supersteps=m) for m in (4, 6, 8, 12, 24)}
            contenders |= {f"fsi, {m}": FSI(cycles=m) for m in (2, 4, 8)}
            for name, scheme in contenders.items():
                plan = nd.plan(image, model, scheme=scheme, **options)
                run = partial(nd.diffuse, image, model, scheme=scheme, **options)
                error = rms(run(), truth, image)
                spent = median([seconds(run) for _ in range(rounds)])
                label = f"auto ({plan.scheme.name})" if name == "auto" else name
                where = ["×".join(map(str, shape)), "×".join(f"{h:g}" for h in spacing), f"{time:g}"]
                rows.append([*where, label, str(plan.steps), f"{spent * 1e3:.0f}", f"{error:.1e}"])
                curves.append([*where, name, plan.steps, spent, error])
    head = ["volume", "spacing", "T", "scheme", "evaluations", "ms", "rms error / range"]
    title = "## Work against accuracy, regularised Perona-Malik (rational, sigma = 1, float64)\n\n"
    return {"text": title + "![Error against time](images/benchmark_accuracy.svg)\n\n" + table(head, rows), "curves": curves}


def equal_time(n: int, rounds: int) -> dict:
    """Let every peer that solves the classic equation spend as long as ours; none may come nearer to the solution."""
    import diplib as dip
    from medpy.filter.smoothing import anisotropic_diffusion

    size, kappa, bound = min(n, 128), 20.0, 1 / 6
    u = ball(size)
    dip_image = dip.Image(u)
    peers = {
        "MedPy": lambda count, step: anisotropic_diffusion(u, count, kappa, step, option=2),
        "DIPlib": lambda count, step: np.asarray(dip.PeronaMalikDiffusion(dip_image, count, kappa, step, "quadratic")),
    }
    inside = (slice(size // 4, -size // 4),) * 3  # DIPlib's border reaches inwards one voxel a step
    model, rows = nd.PeronaMalik(kappa=kappa), []
    for time in (1.0, 2.5, 5.0):
        truth = converged(u, model, coarse=40, time=time)
        run = partial(nd.diffuse, u, model, time=time)
        error, spent = rms(run()[inside], truth[inside], u), median([seconds(run) for _ in range(max(3, rounds))])
        rows.append([f"{time:g}", "ours, auto", str(nd.plan(u, model, time=time).steps), f"{spent * 1e3:.0f}", f"{error:.1e}", ""])
        for name, peer in peers.items():
            least = int(np.ceil(time / bound))
            peer(1, bound)
            single = seconds(lambda peer=peer: peer(2, bound)) / 2
            count = max(1, int(spent / single))
            result = peer(count, min(bound, time / count))
            needed = seconds(lambda peer=peer, count=least, step=time / least: peer(count, step))
            needed_error = rms(peer(least, time / least)[inside], truth[inside], u)
            theirs = rms(result[inside], truth[inside], u)
            fewest = f"{needed / spent:.0f}×, {needed_error:.1e}"
            short = "" if count >= least else f" (reaches T = {count * bound:.2g})"
            rows.append(
                [
                    f"{time:g}",
                    name,
                    f"{count}{short}",
                    f"{count * single * 1e3:.0f}",
                    f"{theirs:.1e}",
                    fewest,
                ]
            )
    head = ["T", "filter", "steps", "ms", "rms error / range", "time for its fewest stable steps, error"]
    text = (
        f"## Error at equal wall time, classic Perona-Malik (rational), {size}³ float32\n\n"
        "Peers that solve the same equation on the same grid, given the time that ours takes (one step at least), away from\n"
        "borders. SimpleITK sets its threshold anew from the mean gradient at every iteration, so it has no equation to converge to;\n"
        "scikit-image, OpenCV and SciPy solve others.\n\n" + table(head, rows)
    )
    return {"text": text}
