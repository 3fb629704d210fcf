"""Throughput of our filters and of peers: on one volume, at several sizes, with several threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import numpy as np
from timing import alternate, ball, median, ratio, table, user_seconds

import napari_diffusion as nd
from napari_diffusion.engine import planner, slab_pool
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.divergence import VoxelDiffusivity
from napari_diffusion.operators.features import Features

#: Length of an explicit step [voxel²], number of steps, and number of steps of slow filters.
STEP, STEPS, SLOW_STEPS = 0.1, 10, 2
#: Number of slices that OpenCV filters.
SLICES = 16
#: Widths of the Gaussian before the gradient [voxel].
SIGMAS = (0.5, 1.0, 2.0)
#: Volumes of few large planes and of many small ones, and numbers of threads.
SHAPES = ((128, 128, 128), (256, 256, 256), (6, 2048, 2048), (24, 2048, 2048), (512, 64, 64))
MANY_THREADS = (1, 2, 8, 16)
#: Fewest voxels times steps, so that the clock is fine enough.
MEASURED_VOXELS = 1 << 26
CPUS = os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Unsmoothed(nd.PeronaMalik):
    """The regularised model without its Gaussian, to measure the cost of the rest of a step.

    As in the regularised model, the gradient is at the voxels.
    """

    def operator(self, f: Features) -> VoxelDiffusivity:
        return VoxelDiffusivity(f.apply(Diffusivity(self.diffusivity, self.kappa), f.grad2(0.0)))


def copy(source: np.ndarray, target: np.ndarray, times: int) -> None:
    """Copy a volume with as many threads as the filters use."""
    cuts = np.array_split(np.arange(len(source)), CPUS)

    def copy_part(part: np.ndarray) -> None:
        for _ in range(times):
            target[part[0] : part[-1] + 1] = source[part[0] : part[-1] + 1]

    with ThreadPoolExecutor(CPUS) as pool:
        list(pool.map(copy_part, cuts))


def perona_malik(n: int, rounds: int) -> dict:
    """Table of explicit steps of the classic and the regularised model, and of similar peers.

    Slow filters do fewer steps.
    """
    u = ball(n)
    target = np.empty_like(u)
    contenders = our_perona_malik(u)
    contenders["copy of the volume"] = lambda: copy(u, target, STEPS)
    slow = slow_perona_malik(u)
    times = alternate(
        contenders | {name: work for name, (work, _) in slow.items()},
        rounds,
        {name: share for name, (_, share) in slow.items()},
    )
    rows = [
        [
            name,
            f"{n**3 * STEPS / median(t) / 1e6:.0f}",
            f"{ratio(times, name, 'ours, rational'):.2f}",
            f"{1 / ratio(times, 'copy of the volume', name):.2f}",
        ]
        for name, t in times.items()
    ]
    head = [
        "filter",
        "Mvoxel/s per step",
        "time / ours, rational",
        "time of a step / time of a copy",
    ]
    speed = n**3 * STEPS / median(times["copy of the volume"])
    rest = "ours, rational, gradient at the voxels, not smoothed"
    smoothing = ", ".join(
        f"{ratio(times, f'ours, rational, sigma = {s:g} voxel', rest) - 1:.2f} at sigma = {s:g}"
        for s in SIGMAS
    )
    numpy = [
        ratio(times, f"ours, NumPy backend, {name}", f"ours, {name}")
        for name in ("rational", "rational, sigma = 1 voxel")
    ]
    text = (
        f"## Perona-Malik, {n}³ float32, {STEPS} steps\n\n{table(head, rows)}\n"
        f"The copy reads and writes {8 * speed / 1e9:.1f} GB/s. "
        "The Gaussian takes, as a multiple of the rest of a regularised step: "
        f"{smoothing} voxel. The NumPy backend takes "
        f"{numpy[0]:.1f} times as long as the compiled one (rational), "
        f"{numpy[1]:.1f} times (sigma = 1 voxel).\n"
    )
    speeds = {name: n**3 * STEPS / median(t) / 1e6 for name, t in times.items()}
    return {"text": text, "speeds": speeds}


def explicit_steps(
    u: np.ndarray,
    steps: int = STEPS,
    backend: str | None = None,
    model: type[nd.Model] = nd.PeronaMalik,
    **options: object,
) -> None:
    """Run explicit steps of our filter."""
    filled, scheme = model(kappa=20.0, **options), nd.schemes.Explicit(step=STEP)
    nd.diffuse(u, filled, time=STEP * steps, scheme=scheme, backend=backend)


def our_perona_malik(u: np.ndarray) -> dict[str, Callable[[], object]]:
    """Our filters of the classic and the regularised model, by name."""
    run = partial(explicit_steps, u)
    names = ("rational", "exponential", "tukey", "weickert", "charbonnier")
    contenders = {f"ours, {name}": partial(run, diffusivity=name) for name in names}
    contenders |= {
        f"ours, rational, sigma = {sigma:g} voxel": partial(run, sigma=sigma) for sigma in SIGMAS
    }
    unsmoothed = partial(run, model=Unsmoothed)
    contenders["ours, rational, gradient at the voxels, not smoothed"] = unsmoothed
    contenders["ours, NumPy backend, rational"] = partial(run, backend="reference")
    return contenders


def slow_perona_malik(u: np.ndarray) -> dict[str, tuple[Callable[[], object], float]]:
    """Slow filters by name, each with its share of the work of the others."""
    import cv2
    import diplib as dip
    import itk
    import SimpleITK as sitk
    from medpy.filter.smoothing import anisotropic_diffusion
    from skimage.restoration import denoise_tv_chambolle

    n = len(u)
    sitk_image, itk_image, dip_image = (
        sitk.GetImageFromArray(u),
        itk.image_from_array(u),
        dip.Image(u),
    )
    dip_image.Convert("SFLOAT")
    colour_slices = [
        np.repeat(u[i][..., None], 3, -1).clip(0, 255).astype(np.uint8)
        for i in range(0, n, n // SLICES)
    ]

    def opencv() -> None:
        for plane in colour_slices:
            cv2.ximgproc.anisotropicDiffusion(plane, STEP, 0.1, STEPS)

    def simple_itk() -> None:
        sitk.GradientAnisotropicDiffusion(sitk_image, 0.06, numberOfIterations=SLOW_STEPS)

    def itk_itself() -> None:
        itk.gradient_anisotropic_diffusion_image_filter(
            itk_image, time_step=0.06, number_of_iterations=SLOW_STEPS, conductance_parameter=3.0
        )

    reference = partial(explicit_steps, u, SLOW_STEPS, "reference", sigma=1.0)
    medpy = partial(anisotropic_diffusion, u, SLOW_STEPS, 28.0, STEP, option=2)
    diplib = partial(dip.PeronaMalikDiffusion, dip_image, SLOW_STEPS, 20.0, STEP, "quadratic")
    skimage = partial(denoise_tv_chambolle, u, 10, eps=0, max_num_iter=SLOW_STEPS)
    share = SLOW_STEPS / STEPS
    return {
        "ours, NumPy backend, rational, sigma = 1 voxel": (reference, share),
        "SimpleITK GradientAnisotropicDiffusion": (simple_itk, share),
        "ITK GradientAnisotropicDiffusionImageFilter": (itk_itself, share),
        "MedPy anisotropic_diffusion": (medpy, share),
        "DIPlib PeronaMalikDiffusion": (diplib, share),
        "scikit-image denoise_tv_chambolle (another model)": (skimage, share),
        "OpenCV anisotropicDiffusion (slices, 8 bit)": (opencv, len(colour_slices) / n),
    }


def linear(n: int, rounds: int) -> dict:
    """Table of our exact linear diffusion and the Gaussians of peers."""
    rows = []
    u = ball(n)
    for sigma in (1.0, 2.0, 5.0):
        times = alternate(gaussian_filters(u, sigma), rounds)
        rows += [
            [
                f"{sigma:g}",
                name,
                f"{median(t) / n**3 * 1e9:.1f}",
                f"{ratio(times, name, 'ours'):.2f}",
            ]
            for name, t in times.items()
        ]
    head = ["sigma [voxel]", "filter", "ns/voxel", "time / ours"]
    return {"text": f"## Linear diffusion, {n}³ float32\n\n" + table(head, rows)}


def gaussian_filters(u: np.ndarray, sigma: float) -> dict[str, Callable[[], object]]:
    """Gaussians of width ``sigma`` [voxel], by name."""
    import cv2
    import diplib as dip
    import SimpleITK as sitk
    from scipy.ndimage import gaussian_filter
    from skimage.filters import gaussian

    itk_image, dip_image = sitk.GetImageFromArray(u), dip.Image(u)

    def discrete() -> None:
        sitk.DiscreteGaussian(itk_image, sigma * sigma, maximumKernelWidth=64)

    def opencv() -> None:
        for plane in u:
            cv2.GaussianBlur(plane, (0, 0), sigma)

    return {
        "ours": partial(nd.diffuse, u, nd.Linear(), time=sigma * sigma / 2),
        "SciPy gaussian_filter": partial(gaussian_filter, u, sigma),
        "scikit-image gaussian": partial(gaussian, u, sigma),
        "DIPlib Gauss": partial(dip.Gauss, dip_image, sigma),
        "SimpleITK SmoothingRecursiveGaussian": partial(
            sitk.SmoothingRecursiveGaussian, itk_image, sigma
        ),
        "SimpleITK DiscreteGaussian": discrete,
        "OpenCV GaussianBlur (two of the three axes)": opencv,
    }


def scaling(n: int, rounds: int) -> dict:
    """Table of throughput against volume and threads, beside a copy of the same volume."""
    rows, speeds = [], {}
    sizes = [size for size in (64, 128, 256, 512) if size <= 2 * n]
    threads = sorted({1, 2, CPUS})
    model, scheme = nd.PeronaMalik(kappa=20.0), nd.schemes.Explicit(step=STEP)
    options = {"time": STEP * STEPS, "scheme": scheme}
    for size in sizes:
        u = ball(size)
        contenders: dict[str, Callable[[], object]] = {
            f"ours, {count}": partial(nd.diffuse, u, model, **options, threads=count)
            for count in threads
        }
        contenders["copy"] = partial(copy, u, np.empty_like(u), STEPS)
        times = alternate(contenders, max(rounds, 400_000_000 // size**3 // 10))
        *speeds[size], copied = (size**3 * STEPS / median(t) / 1e6 for t in times.values())
        rows.append([f"{size}³", *(f"{speed:.0f}" for speed in speeds[size]), f"{copied:.0f}"])
    head = [
        "volume",
        *(f"{count} thread{'s' * (count > 1)} [Mvoxel/s]" for count in threads),
        f"copy, {CPUS} threads [Mvoxel/s]",
    ]
    text = (
        "## Scaling, rational Perona-Malik, float32\n\n"
        + table(head, rows)
        + "\n![Throughput against volume](images/benchmark_scaling.svg)\n"
    )
    return {"text": text, "threads": threads, "sizes": sizes, "speeds": list(speeds.values())}


def shapes(n: int, rounds: int) -> dict:
    """Table of processor time against shape and threads, regularised model.

    One thread works through the slabs of several threads. More than the time of a single slab is
    then work that is done twice. The time in which the system provides memory is left out.
    """
    rows = []
    model, scheme = nd.PeronaMalik(kappa=20.0, sigma=1.0), nd.schemes.Explicit(step=STEP)
    for shape in SHAPES:
        u = np.random.default_rng(3).normal(100, 10, shape).astype(np.float32)
        steps = max(SLOW_STEPS, MEASURED_VOXELS // u.size)
        options = {"time": STEP * steps, "scheme": scheme}
        contenders: dict[str, Callable[[], object]] = {
            f"ours, {count}": partial(nd.diffuse, u, model, **options, threads=count)
            for count in MANY_THREADS
        }
        with one_processor(max(MANY_THREADS)):
            times = alternate(contenders, rounds, seconds=user_seconds)
        first = f"{median(times['ours, 1']) / u.size / steps * 1e9:.1f}"
        ratios = [ratio(times, f"ours, {count}", "ours, 1") for count in MANY_THREADS[1:]]
        rows.append(["×".join(map(str, shape)), first, *(f"{r:.2f}" for r in ratios)])
    head = [
        "volume",
        "one thread [ns/voxel]",
        *(f"slabs of {count} threads / one" for count in MANY_THREADS[1:]),
    ]
    title = "## Slabs of several threads, Perona-Malik with sigma = 1 voxel, float32, user time\n\n"
    return {"text": title + table(head, rows)}


@contextmanager
def one_processor(assumed: int) -> Iterator[None]:
    """Bind this thread to one processor, and cut slabs as for an ``assumed`` number (Linux).

    One thread then works through the slabs of all.
    """
    bound, cut = os.sched_getaffinity(0), planner.worthwhile_slabs

    def cut_for_many(voxels: int, threads: int) -> int:
        with patch.object(slab_pool, "bound_processors", lambda: assumed):
            return cut(voxels, threads)

    os.sched_setaffinity(0, {min(bound)})
    planner.kept_plan.cache_clear()
    try:
        with patch.object(planner, "worthwhile_slabs", cut_for_many):
            yield
    finally:
        os.sched_setaffinity(0, bound)
        planner.kept_plan.cache_clear()


def tensors(n: int, rounds: int) -> dict:
    """Table of tensor models at diffusion time 2 voxel², beside DIPlib's coherence-enhancing one.

    The volume has at most 96³ voxels, that of DIPlib 48³. ITK's filter has no wheel to install.
    """
    import diplib as dip

    size = min(n, 96)
    u = ball(size)
    part = u[:48, :48, :48]
    small = dip.Image(part.copy())
    extent = float(np.subtract(*np.percentile(part, [99.9, 0.1])))
    models = {
        "edge-enhancing": nd.EdgeEnhancing(kappa=15.0),
        "coherence-enhancing": nd.CoherenceEnhancing(kappa=8.0),
        "hybrid": nd.Hybrid(kappa=15.0, contrast=15.0),
        "vessel-enhancing": nd.VesselEnhancing(gamma=20.0),
    }

    def error(model: nd.models.Model, scheme: object) -> float:
        """Root mean square distance from the converged solution, as a share of the range."""
        fine = nd.schemes.Midpoint(cycles=32)
        converged = nd.diffuse(part, model, time=2.0, scheme=fine, tolerance=1e-5)
        result = nd.diffuse(part, model, time=2.0, scheme=scheme)
        return float(np.sqrt(np.mean((result - converged) ** 2))) / extent

    contenders: dict[str, Callable[[], object]] = {}
    work = {}
    for name, model in models.items():
        for scheme in ("auto", nd.schemes.Midpoint(cycles=1)):
            plan = nd.plan(u, model, time=2.0, scheme=scheme)
            label = f"ours, {name}, {'auto' if scheme == 'auto' else 'one cycle'}"
            contenders[label] = partial(nd.diffuse, u, model, time=2.0, scheme=scheme)
            work[label] = plan.steps, plan.operators_made, error(model, scheme)
    # The error of DIPlib is estimated by that of our explicit steps, with a new tensor every step.
    steps, peer = 10, "DIPlib CoherenceEnhancingDiffusion, ten steps of 0.2"
    contenders[peer] = partial(dip.CoherenceEnhancingDiffusion, small, 1.0, 3.0, 1)
    explicit = nd.schemes.Explicit(step=0.2)
    work[peer] = steps, steps, error(models["coherence-enhancing"], explicit)
    times = alternate(contenders, rounds, {peer: small.NumberOfPixels() / size**3 / steps})
    rows = []
    for name, t in times.items():
        stages, tensor_count, time_error = work[name]
        spent = f"{median(t) / size**3 * 1e9:.0f}"
        rows.append([name, spent, f"{1e3 * time_error:.2f}", str(stages), str(tensor_count)])
    head = ["filter", "ns/voxel", "error in time [1e-3 of the range]", "steps", "tensors made"]
    title = f"## Tensor models, {size}³ float32, diffusion time 2 voxel²\n\n"
    return {"text": title + table(head, rows)}
