"""Accuracy: evaluations and time of each scheme against its error, and what the peers reach in the time that ours takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.fft
from timing import ball, in_turn, median, ratio, seconds, table

import napari_diffusion as nd
from napari_diffusion.schemes import FSI, RKL2, Explicit

PROBLEMS = [
    ((160, 160), (1.0, 1.0)),
    ((96, 96), (5.0, 1.0)),
    ((48, 48, 48), (1.0, 1.0, 1.0)),
    ((16, 56, 56), (5.0, 1.0, 1.0)),
]
TIMES = (2.5, 10.0, 50.0, 200.0)


def picture(shape: tuple[int, ...]) -> np.ndarray:
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    clean = 0.6 * (sum(c * c for c in x) < 0.4) + 0.3 * (np.sin(8 * x[0]) > 0)
    return clean + np.random.default_rng(5).normal(0, 0.1, shape)


def converged(
    image: np.ndarray, model: nd.PeronaMalik, coarse: int = 60, **options: object
) -> np.ndarray:
    """Solve in float64 to an error of 1e-6: the Richardson limit of two runs of second order with many supersteps."""
    fine = [
        nd.diffuse(image.astype(float), model, scheme=RKL2(supersteps=m), **options)
        for m in (coarse, 2 * coarse)
    ]
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
                where = [
                    "×".join(map(str, shape)),
                    "×".join(f"{h:g}" for h in spacing),
                    f"{time:g}",
                ]
                rows.append([*where, label, str(plan.steps), f"{spent * 1e3:.0f}", f"{error:.1e}"])
                curves.append([*where, name, plan.steps, spent, error])
    head = ["volume", "spacing", "T", "scheme", "evaluations", "ms", "rms error / range"]
    best = cheapest(curves)
    title = "## Work against accuracy, regularised Perona-Malik (rational, sigma = 1, float64)\n\n"
    text = f"{title}![Error against time](images/benchmark_accuracy.svg)\n\n{best}\nEvery run:\n\n{table(head, rows)}"
    return {"text": text, "curves": curves}


def cheapest(curves: list) -> str:
    """For every problem, the fewest evaluations with which each family of schemes stays within 1e-3 of the range."""
    families, rows = ("auto", "explicit", "rkl2", "fsi"), []
    for where in dict.fromkeys(tuple(curve[:3]) for curve in curves):
        row = list(where)
        for family in families:
            runs = [
                c[4:]
                for c in curves
                if tuple(c[:3]) == where and c[3].split(",")[0] == family and c[6] <= 1e-3
            ]
            row.append(
                f"{runs[0][0]} in {runs[0][1] * 1e3:.0f} ms" if (runs := sorted(runs)) else "-"
            )
        rows.append(row)
    told = "Fewest evaluations, of those below, with an error of at most 1e-3 of the range, and their time:\n\n"
    return told + table(["volume", "spacing", "T", *families], rows)


def equal_time(n: int, rounds: int) -> dict:
    """Let every peer that solves the same equation spend as long as ours; none may come nearer to the solution."""
    texts = [gaussians(n, rounds), classic(n, rounds), curvature(n, rounds)]
    return {"text": "## Error at equal wall time\n\n" + "\n".join(texts)}


HEAD = [
    "T",
    "filter",
    "steps in the time that ours takes",
    "ms",
    "rms error / range",
    "time / ours for its fewest stable steps, error",
]
Steps = Callable[[int, float], np.ndarray]
Error = Callable[[np.ndarray], float]


def peer_row(
    time: float, name: str, peer: Steps, bound: float, spent: float, error: Error
) -> list[str]:
    """Give an explicit peer (steps, step length) the time ``spent``, one step at least, then the fewest stable steps to ``time``."""
    least = int(np.ceil(time / bound))
    peer(1, bound)
    single = seconds(lambda: peer(2, bound)) / 2
    count = max(1, int(spent / single))
    found = error(peer(count, min(bound, time / count)))
    short = "" if count >= least else f" (reaches T = {count * bound:.2g})"
    needed = seconds(lambda: peer(least, time / least))
    whole = f"{needed / spent:.0f}×, {error(peer(least, time / least)):.1e}"
    return [
        f"{time:g}",
        name,
        f"{count}{short}",
        f"{count * single * 1e3:.0f}",
        f"{found:.1e}",
        whole,
    ]


def heat(u: np.ndarray, time: float) -> np.ndarray:
    """Solve the heat equation of the grid in float64, by cosine transforms."""
    rate = sum(
        np.meshgrid(*(2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in u.shape), indexing="ij")
    )
    return scipy.fft.idctn(
        scipy.fft.dctn(u.astype(float), norm="ortho") * np.exp(-time * rate), norm="ortho"
    )


def gaussians(n: int, rounds: int) -> str:
    """Gaussians of the peers, and SimpleITK's gradient diffusion with an infinite threshold, against the heat equation of the grid."""
    import cv2
    import diplib as dip
    import SimpleITK as sitk
    from scipy.ndimage import gaussian_filter
    from skimage.filters import gaussian

    rows = []
    for shape in ((2 * n, 2 * n), (min(n, 128),) * 3):
        u = ball(shape[0]) if len(shape) == 3 else 100 * picture(shape).astype(np.float32)
        itk_image, dip_image = sitk.GetImageFromArray(u), dip.Image(u)
        inside = (slice(shape[0] // 4, -shape[0] // 4),) * len(shape)
        where = "×".join(map(str, shape))
        for sigma in (1.0, 2.0, 5.0):
            time = sigma**2 / 2
            truth = heat(u, time)
            contenders = {
                "ours": partial(nd.diffuse, u, nd.Linear(), time=time),
                "SciPy gaussian_filter": partial(gaussian_filter, u, sigma),
                "scikit-image gaussian": partial(gaussian, u, sigma),
                "DIPlib Gauss": lambda s=sigma, image=dip_image: np.asarray(dip.Gauss(image, s)),
                "SimpleITK SmoothingRecursiveGaussian": lambda s=sigma, image=itk_image: (
                    sitk.GetArrayViewFromImage(sitk.SmoothingRecursiveGaussian(image, s))
                ),
                "SimpleITK DiscreteGaussian": lambda s=sigma, image=itk_image: (
                    sitk.GetArrayViewFromImage(
                        sitk.DiscreteGaussian(image, s * s, maximumKernelWidth=64)
                    )
                ),
            }
            if len(shape) == 2:
                contenders["OpenCV GaussianBlur"] = partial(cv2.GaussianBlur, u, (0, 0), sigma)
            times = in_turn(contenders, max(3, rounds))
            for name, t in times.items():
                error = rms(contenders[name]()[inside], truth[inside], u)
                rows.append(
                    [
                        where,
                        f"{sigma:g}",
                        name,
                        f"{median(t) * 1e3:.1f}",
                        f"{ratio(times, name, 'ours'):.2f}",
                        f"{error:.1e}",
                    ]
                )

        def explicit(count: int, step: float, image: object = itk_image) -> np.ndarray:
            return sitk.GetArrayFromImage(
                sitk.GradientAnisotropicDiffusion(image, step, 1e6, 1, count)
            )

        single = seconds(lambda explicit=explicit: explicit(4, 0.05)) / 4
        name = "SimpleITK GradientAnisotropicDiffusion, infinite threshold, one step"
        error = rms(explicit(1, 0.0625)[inside], heat(u, 0.5)[inside], u)
        mine = seconds(partial(nd.diffuse, u, nd.Linear(), time=0.5))
        rows.append(
            [where, "1", name, f"{single * 1e3:.1f}", f"{single / mine:.2f}", f"{error:.1e}"]
        )
    head = ["image", "sigma [voxel]", "filter", "ms", "time / ours", "rms error / range"]
    told = (
        "Linear diffusion against the exact solution of the grid's heat equation, away from borders. The Gaussians of the peers sample\n"
        "the continuous one, or follow it recursively: their error is a difference of definition, which no longer run would make less.\n\n"
    )
    return told + table(head, rows)


def classic(n: int, rounds: int) -> str:
    """Explicit peers of the classic model with one diffusivity per face."""
    import diplib as dip
    from medpy.filter.smoothing import anisotropic_diffusion

    size, kappa = min(n, 128), 20.0
    u = ball(size)
    dip_image = dip.Image(u)
    peers: dict[str, Steps] = {
        "MedPy": lambda count, step: anisotropic_diffusion(u, count, kappa, step, option=2),
        "DIPlib": lambda count, step: np.asarray(
            dip.PeronaMalikDiffusion(dip_image, count, kappa, step, "quadratic")
        ),
    }
    inside = (slice(size // 4, -size // 4),) * 3  # DIPlib's border reaches inwards one voxel a step
    model, rows = nd.PeronaMalik(kappa=kappa), []
    for time in (1.0, 2.5, 5.0):
        truth = converged(u, model, coarse=40, time=time)

        def error(result: np.ndarray, truth: np.ndarray = truth) -> float:
            return rms(result[inside], truth[inside], u)

        run = partial(nd.diffuse, u, model, time=time)
        found, spent = error(run()), median([seconds(run) for _ in range(max(3, rounds))])
        rows.append(
            [
                f"{time:g}",
                "ours, auto",
                str(nd.plan(u, model, time=time).steps),
                f"{spent * 1e3:.0f}",
                f"{found:.1e}",
                "",
            ]
        )
        rows += [peer_row(time, name, peer, 1 / 6, spent, error) for name, peer in peers.items()]
    told = (
        f"Classic Perona-Malik (rational), {size}³ float32, away from borders. SimpleITK sets its threshold from the mean gradient of the\n"
        "image and looks at whole gradients, scikit-image and OpenCV solve other equations: they have nothing here to converge to.\n\n"
    )
    return told + table(HEAD, rows)


def curvature(n: int, rounds: int) -> str:
    """Mean curvature motion of concentric spheres, whose solution is known: u = r becomes the root of r² + 4T."""
    import SimpleITK as sitk

    size = min(n, 96)
    x = np.arange(size) - (size - 1) / 2
    square = (x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2).astype(
        np.float32
    )
    u = np.sqrt(square)
    shell = (u > size / 8) & (u < 0.4 * size)
    image = sitk.GetImageFromArray(u)
    peers: dict[str, Steps] = {
        "SimpleITK CurvatureFlow": lambda count, step: sitk.GetArrayFromImage(
            sitk.CurvatureFlow(image, step, count)
        ),
        "SimpleITK CurvatureAnisotropicDiffusion, infinite threshold": lambda count, step: (
            sitk.GetArrayFromImage(sitk.CurvatureAnisotropicDiffusion(image, step, 1e6, 1, count))
        ),
    }
    model, rows = nd.MeanCurvature(), []
    for time in (1.0, 5.0):

        def error(result: np.ndarray, time: float = time) -> float:
            return rms(result[shell], np.sqrt(square + 4 * time)[shell], u)

        run = partial(nd.diffuse, u, model, time=time)
        found, spent = error(run()), median([seconds(run) for _ in range(max(3, rounds))])
        rows.append(
            [
                f"{time:g}",
                "ours, auto",
                str(nd.plan(u, model, time=time).steps),
                f"{spent * 1e3:.0f}",
                f"{found:.1e}",
                "",
            ]
        )
        rows += [peer_row(time, name, peer, 0.0625, spent, error) for name, peer in peers.items()]
    return (
        f"Mean curvature, concentric spheres, {size}³ float32, against the exact solution.\n\n"
        + table(HEAD, rows)
    )
