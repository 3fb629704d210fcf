"""Accuracy: cost of each scheme against its error, and the error of peers at equal wall time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.fft
from timing import alternate, ball, median, ratio, seconds, table

import napari_diffusion as nd
from napari_diffusion.schemes import FSI, RKL2, Explicit

#: Shapes and voxel sizes of the test images.
PROBLEMS = [
    ((160, 160), (1.0, 1.0)),
    ((96, 96), (5.0, 1.0)),
    ((48, 48, 48), (1.0, 1.0, 1.0)),
    ((16, 56, 56), (5.0, 1.0, 1.0)),
]
#: Diffusion times.
TIMES = (2.5, 10.0, 50.0, 200.0)
#: Root mean square error, as a share of the range, that a scheme should keep.
MAX_ERROR = 1e-3


def picture(shape: tuple[int, ...]) -> np.ndarray:
    """Bright ball and stripes, with noise."""
    x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    clean = 0.6 * (sum(c * c for c in x) < 0.4) + 0.3 * (np.sin(8 * x[0]) > 0)
    return clean + np.random.default_rng(5).normal(0, 0.1, shape)


def converged(
    image: np.ndarray, model: nd.PeronaMalik, coarse: int = 60, **options: object
) -> np.ndarray:
    """Solution in float64 with an error of 1e-6.

    The Richardson limit of two runs of second order, with ``coarse`` and twice as many supersteps.
    """
    fine = [
        nd.diffuse(image.astype(float), model, scheme=RKL2(supersteps=m), **options)
        for m in (coarse, 2 * coarse)
    ]
    return (4 * fine[1] - fine[0]) / 3


def rms(result: np.ndarray, truth: np.ndarray, image: np.ndarray) -> float:
    """Root mean square error, as a share of the range of the image."""
    return float(np.sqrt(np.mean((result - truth) ** 2)) / np.ptp(image))


def schemes(n: int, rounds: int) -> dict:
    """Root mean square error, as a share of the range, and wall time of every scheme."""
    curves = []
    for shape, spacing in PROBLEMS:
        image = picture(shape)
        model = nd.PeronaMalik(kappa=0.05, sigma=1.0)
        for time in TIMES:
            options = {"time": time, "spacing": spacing}
            truth = converged(image, model, **options)
            contenders = {"auto": "auto", "explicit": Explicit()}
            contenders |= {f"rkl2, {m}": RKL2(supersteps=m) for m in (4, 6, 8, 12, 24)}
            contenders |= {f"fsi, {m}": FSI(cycles=m) for m in (2, 4, 8)}
            size = "×".join(map(str, shape))
            problem = [size, "×".join(f"{h:g}" for h in spacing), f"{time:g}"]
            for name, scheme in contenders.items():
                plan = nd.plan(image, model, scheme=scheme, **options)
                run = partial(nd.diffuse, image, model, scheme=scheme, **options)
                error = rms(run(), truth, image)
                spent = median([seconds(run) for _ in range(rounds)])
                curves.append([*problem, name, plan.steps, spent, error])
    text = (
        "## Work against accuracy, regularised Perona-Malik (rational, sigma = 1, float64)\n\n"
        "![Error against time](images/benchmark_accuracy.svg)\n\n"
        f"{cheapest(curves)}"
    )
    return {"text": text, "curves": curves}


def cheapest(curves: list) -> str:
    """For every problem, the smallest cost of each family of schemes within `MAX_ERROR`."""
    families, rows = ("auto", "explicit", "rkl2", "fsi"), []
    for problem in dict.fromkeys(tuple(curve[:3]) for curve in curves):
        row = list(problem)
        for family in families:
            runs = sorted(
                c[4:]
                for c in curves
                if tuple(c[:3]) == problem and c[3].split(",")[0] == family and c[6] <= MAX_ERROR
            )
            row.append(f"{runs[0][0]} in {runs[0][1] * 1e3:.0f} ms" if runs else "-")
        rows.append(row)
    text = (
        "Fewest evaluations, of the runs in the figure, with an error of at most 1e-3 of the "
        "range, and their time:\n\n"
    )
    return text + table(["volume", "spacing", "T", *families], rows)


def equal_time(n: int, rounds: int) -> dict:
    """Errors of peers that solve the same equation, in the wall time that ours takes."""
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
#: An explicit filter: number of steps and step length to result.
Steps = Callable[[int, float], np.ndarray]
#: Error of a result.
Error = Callable[[np.ndarray], float]


def our_row(
    u: np.ndarray, model: nd.Model, time: float, rounds: int, error: Error
) -> tuple[list[str], float]:
    """Row of the table for our filter, and its wall time [s]."""
    run = partial(nd.diffuse, u, model, time=time)
    result_error = error(run())
    spent = median([seconds(run) for _ in range(max(3, rounds))])
    steps = str(nd.plan(u, model, time=time).steps)
    row = [f"{time:g}", "ours, auto", steps, f"{spent * 1e3:.0f}", f"{result_error:.1e}", ""]
    return row, spent


def peer_row(
    time: float, name: str, peer: Steps, max_step: float, spent: float, error: Error
) -> list[str]:
    """Row of the table for an explicit peer.

    The peer first runs for the wall time ``spent``, at least one step, then the minimum number of
    stable steps to the diffusion time ``time``.
    """
    min_steps = int(np.ceil(time / max_step))
    peer(1, max_step)
    single = seconds(lambda: peer(2, max_step)) / 2
    count = max(1, int(spent / single))
    result_error = error(peer(count, min(max_step, time / count)))
    reached = "" if count >= min_steps else f" (reaches T = {count * max_step:.2g})"
    needed = seconds(lambda: peer(min_steps, time / min_steps))
    complete = f"{needed / spent:.0f}×, {error(peer(min_steps, time / min_steps)):.1e}"
    return [
        f"{time:g}",
        name,
        f"{count}{reached}",
        f"{count * single * 1e3:.0f}",
        f"{result_error:.1e}",
        complete,
    ]


def heat(u: np.ndarray, time: float) -> np.ndarray:
    """Solution of the semi-discrete heat equation in float64, by cosine transforms."""
    rate = sum(
        np.meshgrid(*(2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in u.shape), indexing="ij")
    )
    spectrum = scipy.fft.dctn(u.astype(float), norm="ortho")
    return scipy.fft.idctn(spectrum * np.exp(-time * rate), norm="ortho")


def gaussians(n: int, rounds: int) -> str:
    """Table of linear diffusion and its peers, against the exact solution on the grid.

    The peers are Gaussians, and SimpleITK's gradient diffusion with an infinite threshold.
    """
    rows = []
    for shape in ((2 * n, 2 * n), (min(n, 128),) * 3):
        u = ball(shape[0]) if len(shape) == 3 else 100 * picture(shape).astype(np.float32)
        inside = (slice(shape[0] // 4, -shape[0] // 4),) * len(shape)
        size = "×".join(map(str, shape))
        for sigma in (1.0, 2.0, 5.0):
            time = sigma**2 / 2
            truth = heat(u, time)
            contenders = gaussian_filters(u, sigma)
            times = alternate(contenders, max(3, rounds))
            for name, t in times.items():
                error = rms(contenders[name]()[inside], truth[inside], u)
                spent, relative = f"{median(t) * 1e3:.1f}", f"{ratio(times, name, 'ours'):.2f}"
                rows.append([size, f"{sigma:g}", name, spent, relative, f"{error:.1e}"])
        rows.append([size, *explicit_step(u, inside)])
    head = ["image", "sigma [voxel]", "filter", "ms", "time / ours", "rms error / range"]
    text = (
        "Linear diffusion against the exact solution of the grid's heat equation, "
        "away from borders. The\n"
        "peers sample the continuous Gaussian or approximate it recursively. "
        "Their error is a difference of\n"
        "definition, which a longer computation does not reduce.\n\n"
    )
    return text + table(head, rows)


def gaussian_filters(u: np.ndarray, sigma: float) -> dict[str, Callable[[], np.ndarray]]:
    """Gaussians of width ``sigma`` [voxel], by name."""
    import cv2
    import diplib as dip
    import SimpleITK as sitk
    from scipy.ndimage import gaussian_filter
    from skimage.filters import gaussian

    itk_image, dip_image = sitk.GetImageFromArray(u), dip.Image(u)

    def recursive() -> np.ndarray:
        return sitk.GetArrayViewFromImage(sitk.SmoothingRecursiveGaussian(itk_image, sigma))

    def discrete() -> np.ndarray:
        filtered = sitk.DiscreteGaussian(itk_image, sigma * sigma, maximumKernelWidth=64)
        return sitk.GetArrayViewFromImage(filtered)

    contenders: dict[str, Callable[[], np.ndarray]] = {
        "ours": partial(nd.diffuse, u, nd.Linear(), time=sigma**2 / 2),
        "SciPy gaussian_filter": partial(gaussian_filter, u, sigma),
        "scikit-image gaussian": partial(gaussian, u, sigma),
        "DIPlib Gauss": lambda: np.asarray(dip.Gauss(dip_image, sigma)),
        "SimpleITK SmoothingRecursiveGaussian": recursive,
        "SimpleITK DiscreteGaussian": discrete,
    }
    if u.ndim == 2:
        contenders["OpenCV GaussianBlur"] = partial(cv2.GaussianBlur, u, (0, 0), sigma)
    return contenders


def explicit_step(u: np.ndarray, inside: tuple[slice, ...]) -> list[str]:
    """Row of the table for one explicit step of SimpleITK's gradient diffusion."""
    import SimpleITK as sitk

    itk_image = sitk.GetImageFromArray(u)

    def explicit(count: int, step: float) -> np.ndarray:
        filtered = sitk.GradientAnisotropicDiffusion(itk_image, step, 1e6, 1, count)
        return sitk.GetArrayFromImage(filtered)

    single = seconds(lambda: explicit(4, 0.05)) / 4
    name = "SimpleITK GradientAnisotropicDiffusion, infinite threshold, one step"
    error = rms(explicit(1, 0.0625)[inside], heat(u, 0.5)[inside], u)
    mine = seconds(partial(nd.diffuse, u, nd.Linear(), time=0.5))
    return ["1", name, f"{single * 1e3:.1f}", f"{single / mine:.2f}", f"{error:.1e}"]


def classic(n: int, rounds: int) -> str:
    """Table of explicit peers of the classic model with one diffusivity for each face."""
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
    # The border of DIPlib affects one more voxel at every step.
    inside = (slice(size // 4, -size // 4),) * 3
    model, rows = nd.PeronaMalik(kappa=kappa), []
    for time in (1.0, 2.5, 5.0):
        truth = converged(u, model, coarse=40, time=time)

        def error(result: np.ndarray, truth: np.ndarray = truth) -> float:
            return rms(result[inside], truth[inside], u)

        row, spent = our_row(u, model, time, rounds, error)
        rows.append(row)
        rows += [peer_row(time, name, peer, 1 / 6, spent, error) for name, peer in peers.items()]
    text = (
        f"Classic Perona-Malik (rational), {size}³ float32, away from borders. "
        "SimpleITK sets its threshold\n"
        "from the mean gradient of the image and uses whole gradients. "
        "scikit-image and OpenCV solve other\n"
        "equations. The results of these three therefore do not converge to this solution.\n\n"
    )
    return text + table(HEAD, rows)


def curvature(n: int, rounds: int) -> str:
    """Table of mean curvature motion of concentric spheres.

    The exact solution is known: u = r becomes the square root of r² + 4T.
    """
    import SimpleITK as sitk

    size = min(n, 96)
    x = np.arange(size) - (size - 1) / 2
    square = x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2
    square = square.astype(np.float32)
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

        row, spent = our_row(u, model, time, rounds, error)
        rows.append(row)
        rows += [peer_row(time, name, peer, 0.0625, spent, error) for name, peer in peers.items()]
    title = f"Mean curvature, concentric spheres, {size}³ float32, against the exact solution.\n\n"
    return title + table(HEAD, rows)
