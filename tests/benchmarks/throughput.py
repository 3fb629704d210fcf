"""Speed: the filters of the package and of its peers on one volume, of several sizes and with several threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from timing import ball, in_turn, median, ratio, table

import napari_diffusion as nd
from napari_diffusion.operators.diffusivity import Diffusivity
from napari_diffusion.operators.divergence import VoxelDiffusivity
from napari_diffusion.operators.features import Features

STEP, STEPS = 0.1, 10
CPUS = os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Unsmoothed(nd.PeronaMalik):
    """The regularised model with its gradient at the voxels, but without the Gaussian before it: what the rest of its step takes."""

    def operator(self, f: Features) -> VoxelDiffusivity:
        return VoxelDiffusivity(f.apply(Diffusivity(self.diffusivity, self.kappa), f.grad2(0.0)))


def copy(source: np.ndarray, target: np.ndarray, times: int) -> None:
    """Copy a volume with as many threads as the filters use."""
    cuts = np.array_split(np.arange(len(source)), CPUS)

    def one(part: np.ndarray) -> None:
        for _ in range(times):
            target[part[0] : part[-1] + 1] = source[part[0] : part[-1] + 1]

    with ThreadPoolExecutor(CPUS) as pool:
        list(pool.map(one, cuts))


def perona_malik(n: int, rounds: int) -> dict:
    """Explicit steps of the classic and the regularised model beside every peer with a filter of that kind; slow ones do fewer steps."""
    import cv2
    import diplib as dip
    import SimpleITK as sitk
    from medpy.filter.smoothing import anisotropic_diffusion
    from skimage.restoration import denoise_tv_chambolle

    u = ball(n)
    target = np.empty_like(u)
    scheme, few, slices = nd.schemes.Explicit(step=STEP), 2, 16
    itk_image, dip_image = sitk.GetImageFromArray(u), dip.Image(u)
    dip_image.Convert("SFLOAT")
    coloured = [
        np.repeat(u[i][..., None], 3, -1).clip(0, 255).astype(np.uint8)
        for i in range(0, n, n // slices)
    ]

    def ours(
        steps: int = STEPS,
        backend: str | None = None,
        model: type[nd.Model] = nd.PeronaMalik,
        **options: object,
    ) -> None:
        nd.diffuse(
            u, model(kappa=20.0, **options), time=STEP * steps, scheme=scheme, backend=backend
        )

    def opencv() -> None:
        for plane in coloured:
            cv2.ximgproc.anisotropicDiffusion(plane, STEP, 0.1, STEPS)

    names = ("rational", "exponential", "tukey", "weickert", "charbonnier")
    contenders = {f"ours, {name}": lambda name=name: ours(diffusivity=name) for name in names}
    contenders |= {
        f"ours, rational, sigma = {s:g} voxel": lambda s=s: ours(sigma=s) for s in (0.5, 1.0, 2.0)
    }
    contenders["ours, rational, gradient at the voxels, not smoothed"] = lambda: ours(
        model=Unsmoothed
    )
    contenders["ours, NumPy backend, rational"] = lambda: ours(backend="reference")
    contenders["copy of the volume"] = lambda: copy(u, target, STEPS)
    slow = {
        "ours, NumPy backend, rational, sigma = 1 voxel": (
            lambda: ours(few, "reference", sigma=1.0),
            few / STEPS,
        ),
        "SimpleITK GradientAnisotropicDiffusion": (
            lambda: sitk.GradientAnisotropicDiffusion(itk_image, 0.06, numberOfIterations=few),
            few / STEPS,
        ),
        "MedPy anisotropic_diffusion": (
            lambda: anisotropic_diffusion(u, few, 28.0, STEP, option=2),
            few / STEPS,
        ),
        "DIPlib PeronaMalikDiffusion": (
            lambda: dip.PeronaMalikDiffusion(dip_image, few, 20.0, STEP, "quadratic"),
            few / STEPS,
        ),
        "scikit-image denoise_tv_chambolle (another model)": (
            lambda: denoise_tv_chambolle(u, 10, eps=0, max_num_iter=few),
            few / STEPS,
        ),
        "OpenCV anisotropicDiffusion (slices, 8 bit)": (opencv, len(coloured) / n),
    }
    times = in_turn(
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
        for s in (0.5, 1.0, 2.0)
    )
    numpy = [
        ratio(times, f"ours, NumPy backend, {name}", f"ours, {name}")
        for name in ("rational", "rational, sigma = 1 voxel")
    ]
    text = (
        f"## Perona-Malik, {n}³ float32, {STEPS} steps\n\n{table(head, rows)}\nThe copy reads and writes {8 * speed / 1e9:.1f} GB/s. "
        f"The Gaussian takes, as a multiple of the rest of a regularised step: {smoothing} voxel. The NumPy backend takes "
        f"{numpy[0]:.1f} times as long as the compiled one (rational), {numpy[1]:.1f} times (sigma = 1 voxel).\n"
    )
    return {
        "text": text,
        "speeds": {name: n**3 * STEPS / median(t) / 1e6 for name, t in times.items()},
    }


def linear(n: int, rounds: int) -> dict:
    """Gaussian smoothing: our exact linear diffusion beside the Gaussians of the peers."""
    import cv2
    import diplib as dip
    import SimpleITK as sitk
    from scipy.ndimage import gaussian_filter
    from skimage.filters import gaussian

    u = ball(n)
    itk_image, dip_image = sitk.GetImageFromArray(u), dip.Image(u)
    rows = []
    for sigma in (1.0, 2.0, 5.0):
        contenders = {
            "ours": lambda s=sigma: nd.diffuse(u, nd.Linear(), time=s * s / 2),
            "SciPy gaussian_filter": lambda s=sigma: gaussian_filter(u, s),
            "scikit-image gaussian": lambda s=sigma: gaussian(u, s),
            "DIPlib Gauss": lambda s=sigma: dip.Gauss(dip_image, s),
            "SimpleITK SmoothingRecursiveGaussian": lambda s=sigma: sitk.SmoothingRecursiveGaussian(
                itk_image, s
            ),
            "SimpleITK DiscreteGaussian": lambda s=sigma: sitk.DiscreteGaussian(
                itk_image, s * s, maximumKernelWidth=64
            ),
            "OpenCV GaussianBlur (two of the three axes)": lambda s=sigma: [
                cv2.GaussianBlur(plane, (0, 0), s) for plane in u
            ],
        }
        times = in_turn(contenders, rounds)
        rows += [
            [
                f"{sigma:g}",
                name,
                f"{median(t) / n**3 * 1e9:.1f}",
                f"{ratio(times, name, 'ours'):.2f}",
            ]
            for name, t in times.items()
        ]
    return {
        "text": f"## Linear diffusion, {n}³ float32\n\n"
        + table(["sigma [voxel]", "filter", "ns/voxel", "time / ours"], rows)
    }


def scaling(n: int, rounds: int) -> dict:
    """Throughput against volume and threads, beside the copy of the same volume."""
    rows, sizes, speeds = [], [64, 128, 256, 512], {}
    sizes = [size for size in sizes if size <= 2 * n]
    threads = sorted({1, 2, CPUS})
    model, scheme = nd.PeronaMalik(kappa=20.0), nd.schemes.Explicit(step=STEP)
    for size in sizes:
        u = ball(size)
        target = np.empty_like(u)
        contenders = {
            f"ours, {t}": lambda u=u, t=t: nd.diffuse(
                u, model, time=STEP * STEPS, scheme=scheme, threads=t
            )
            for t in threads
        }
        contenders["copy"] = lambda u=u, target=target: copy(u, target, STEPS)
        times = in_turn(contenders, max(rounds, 400_000_000 // size**3 // 10))
        *speeds[size], copied = (size**3 * STEPS / median(t) / 1e6 for t in times.values())
        rows.append([f"{size}³", *(f"{speed:.0f}" for speed in speeds[size]), f"{copied:.0f}"])
    head = [
        "volume",
        *(f"{t} thread{'s' * (t > 1)} [Mvoxel/s]" for t in threads),
        f"copy, {CPUS} threads [Mvoxel/s]",
    ]
    text = (
        "## Scaling, rational Perona-Malik, float32\n\n"
        + table(head, rows)
        + "\n![Throughput against volume](images/benchmark_scaling.svg)\n"
    )
    return {"text": text, "threads": threads, "sizes": sizes, "speeds": list(speeds.values())}


def tensors(n: int, rounds: int) -> dict:
    """Tensor models at diffusion time 2 voxel², 96³, beside DIPlib's coherence-enhancing one; ITK's has no wheel to install."""
    import diplib as dip

    size = min(n, 96)
    u = ball(size)
    small = dip.Image(u[:48, :48, :48].copy())
    models = {
        "edge-enhancing": nd.EdgeEnhancing(kappa=15.0),
        "coherence-enhancing": nd.CoherenceEnhancing(kappa=8.0),
        "hybrid": nd.Hybrid(kappa=15.0, contrast=15.0),
        "vessel-enhancing": nd.VesselEnhancing(gamma=20.0),
    }
    piece = u[:48, :48, :48]
    extent = float(np.subtract(*np.percentile(piece, [99.9, 0.1])))

    def error(model: nd.models.Model, scheme: object) -> float:
        """Distance from the converged solution on a piece, root mean square, as a share of the range."""
        converged = nd.diffuse(
            piece, model, time=2.0, scheme=nd.schemes.Midpoint(cycles=32), tolerance=1e-5
        )
        return (
            float(
                np.sqrt(
                    np.mean((nd.diffuse(piece, model, time=2.0, scheme=scheme) - converged) ** 2)
                )
            )
            / extent
        )

    contenders, work = {}, {}
    for name, model in models.items():
        for scheme in ("auto", nd.schemes.Midpoint(cycles=1)):
            plan = nd.plan(u, model, time=2.0, scheme=scheme)
            label = f"ours, {name}, {'auto' if scheme == 'auto' else 'one cycle'}"
            contenders[label] = lambda model=model, scheme=scheme: nd.diffuse(
                u, model, time=2.0, scheme=scheme
            )
            work[label] = plan.steps, plan.tensors_made, error(model, scheme)
    # Its explicit steps make about the error of ours, with a new tensor at every step.
    steps, theirs = 10, "DIPlib CoherenceEnhancingDiffusion, ten steps of 0.2"
    contenders[theirs] = lambda: dip.CoherenceEnhancingDiffusion(small, 1.0, 3.0, 1)
    work[theirs] = steps, steps, error(models["coherence-enhancing"], nd.schemes.Explicit(step=0.2))
    times = in_turn(contenders, rounds, {theirs: small.NumberOfPixels() / size**3 / steps})
    rows = []
    for name, t in times.items():
        stages, made, apart = work[name]
        spent = median(t) / size**3 * 1e9
        rows.append([name, f"{spent:.0f}", f"{1e3 * apart:.2f}", str(stages), str(made)])
    head = ["filter", "ns/voxel", "error in time [1e-3 of the range]", "steps", "tensors made"]
    return {
        "text": f"## Tensor models, {size}³ float32, diffusion time 2 voxel²\n\n{table(head, rows)}"
    }
