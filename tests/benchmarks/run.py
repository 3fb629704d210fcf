"""Benchmarks: ``python tests/benchmarks/run.py`` writes docs/benchmarks.md. Ratios to peers in the same run; no assertion, no target moved.

Needs the extra ``peers``. On two slow cores it takes about a quarter of an hour; ``--size 128`` is a quick look.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from accuracy import accuracy_table
from timing import in_turn, median, ratio, seconds, table

import napari_diffusion as nd

OUT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
STEP, STEPS = 0.1, 10


def picture(n: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    x = np.linspace(-1, 1, n, dtype=np.float32)
    ball = (x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2 < 0.5) * np.float32(60)
    return ball + rng.normal(100, 10, (n, n, n)).astype(np.float32)


def copy(source: np.ndarray, times: int) -> None:
    """Copy a volume with as many threads as the filters use."""
    target, threads = np.empty_like(source), os.cpu_count() or 1
    cuts = np.array_split(np.arange(len(source)), threads)

    def one(part: np.ndarray) -> None:
        for _ in range(times):
            target[part[0] : part[-1] + 1] = source[part[0] : part[-1] + 1]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, cuts))


def perona_malik(n: int, rounds: int) -> str:
    """Classic Perona-Malik, explicit steps, beside every peer that has it. Peers that are slow do fewer steps and are scaled."""
    import diplib as dip
    import SimpleITK as sitk
    from medpy.filter.smoothing import anisotropic_diffusion

    u = picture(n)
    scheme = nd.schemes.Explicit(step=STEP)
    few = max(1, STEPS // 5)
    itk_image, dip_image = sitk.GetImageFromArray(u), dip.Image(u)
    dip_image.Convert("SFLOAT")

    def ours(**options: object) -> None:
        nd.diffuse(u, nd.PeronaMalik(kappa=20.0, **options), time=STEP * STEPS, scheme=scheme)

    contenders = {
        "ours, rational": lambda: ours(),
        "ours, exponential": lambda: ours(diffusivity="exponential"),
        "ours, tukey": lambda: ours(diffusivity="tukey"),
        "ours, weickert": lambda: ours(diffusivity="weickert"),
        "ours, charbonnier": lambda: ours(diffusivity="charbonnier"),
        "ours, rational, sigma = 0.5 voxel": lambda: ours(sigma=0.5),
        "ours, rational, sigma = 1 voxel": lambda: ours(sigma=1.0),
        "ours, rational, sigma = 2 voxels": lambda: ours(sigma=2.0),
        "ours, NumPy backend": lambda: nd.diffuse(u, nd.PeronaMalik(kappa=20.0), time=STEP * few, scheme=scheme, backend="reference"),
        "SimpleITK GradientAnisotropicDiffusion": lambda: sitk.GradientAnisotropicDiffusion(itk_image, 0.06, numberOfIterations=few),
        "MedPy anisotropic_diffusion": lambda: anisotropic_diffusion(u, few, 28.0, STEP, option=2),
        "DIPlib PeronaMalikDiffusion": lambda: dip.PeronaMalikDiffusion(dip_image, few, 20.0, STEP, "quadratic"),
        "copy of the volume": lambda: copy(u, STEPS),
    }
    share = few / STEPS
    shares = {name: share for name in contenders if name.startswith(("SimpleITK", "MedPy", "DIPlib", "ours, NumPy"))}
    times = in_turn(contenders, rounds, shares)
    rows = [
        [
            name,
            f"{n**3 * STEPS / median(t) / 1e6:.0f}",
            f"{ratio(times, name, 'ours, rational'):.2f}",
            f"{1 / ratio(times, 'copy of the volume', name):.2f}",
        ]
        for name, t in times.items()
    ]
    head = ["filter", "Mvoxel/s per step", "time / ours, rational", "time of a step / time of a copy"]
    return f"## Perona-Malik, {n}³ float32, {STEPS} steps\n\n" + table(head, rows)


def linear(n: int, rounds: int) -> str:
    """Gaussian smoothing: our exact linear diffusion beside the Gaussians of the peers."""
    import diplib as dip
    import SimpleITK as sitk
    from scipy.ndimage import gaussian_filter

    u = picture(n)
    itk_image, dip_image = sitk.GetImageFromArray(u), dip.Image(u)
    rows = []
    for sigma in (1.0, 2.0, 5.0):
        contenders = {
            "ours": lambda s=sigma: nd.diffuse(u, nd.Linear(), time=s * s / 2),
            "SciPy gaussian_filter": lambda s=sigma: gaussian_filter(u, s),
            "DIPlib Gauss": lambda s=sigma: dip.Gauss(dip_image, s),
            "SimpleITK SmoothingRecursiveGaussian": lambda s=sigma: sitk.SmoothingRecursiveGaussian(itk_image, s),
            "SimpleITK DiscreteGaussian": lambda s=sigma: sitk.DiscreteGaussian(itk_image, s * s, maximumKernelWidth=64),
        }
        times = in_turn(contenders, rounds)
        rows += [[f"{sigma:g}", name, f"{median(t) / n**3 * 1e9:.1f}", f"{ratio(times, name, 'ours'):.2f}"] for name, t in times.items()]
    return f"## Linear diffusion, {n}³ float32\n\n" + table(["sigma [voxel]", "filter", "ns/voxel", "time / ours"], rows)


def scaling(rounds: int, largest: int) -> str:
    """Throughput against volume and threads."""
    rows = []
    model, scheme = nd.PeronaMalik(kappa=20.0), nd.schemes.Explicit(step=STEP)
    for n in (64, 128, 256, 512):
        if n > largest:
            continue
        u = picture(n)
        contenders = {
            str(threads): lambda u=u, t=threads: nd.diffuse(u, model, time=STEP * STEPS, scheme=scheme, threads=t)
            for threads in range(1, (os.cpu_count() or 1) + 1)
        }
        times = in_turn(contenders, rounds)
        rows.append([f"{n}³", *(f"{n**3 * STEPS / median(t) / 1e6:.0f}" for t in times.values())])
    head = ["volume", *(f"{t} thread{'s' * (t > 1)} [Mvoxel/s]" for t in range(1, (os.cpu_count() or 1) + 1))]
    return "## Scaling, rational Perona-Malik\n\n" + table(head, rows)


def start_up() -> str:
    """Import, first filter of a new installation (compilation), first filter of a later process (cached)."""
    import tempfile

    first = "import numpy as np, napari_diffusion as nd; nd.diffuse(np.zeros((32, 32, 32), np.float32), nd.PeronaMalik(), time=1.0)"
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "XDG_CACHE_HOME": home, "HOME": home}

        def run(code: str) -> float:
            return seconds(lambda: subprocess.run([sys.executable, "-c", code], env=environment, check=True))

        bare = median([run("pass") for _ in range(3)])
        rows = [
            ["import napari_diffusion", f"{median([run('import napari_diffusion') for _ in range(3)]) - bare:.2f}"],
            ["first filter of a new installation, libraries loaded and compiled", f"{run(first) - bare:.2f}"],
            ["first filter of a later process, libraries loaded, kernels cached", f"{median([run(first) for _ in range(3)]) - bare:.2f}"],
            [
                "of which NumPy, SciPy's special functions and numba take",
                f"{median([run('import numpy, scipy.special, numba') for _ in range(3)]) - bare:.2f}",
            ],
        ]
    return "## Start-up\n\n" + table(["what", "seconds"], rows)


HEADER = """# Benchmarks

Written by `python tests/benchmarks/run.py`. Every filter of a table ran in turn in the same process, round after round; figures are
medians of {rounds} rounds, ratios are medians of the ratio within a round.

Machine: {machine}.
"""


def machine() -> str:
    processors = f"{os.cpu_count()} processors ({platform.machine()})"
    return f"{processors}, {platform.system()}, Python {platform.python_version()}, NumPy {np.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="edge of the cubic volume")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over which medians are taken")
    parser.add_argument("--output", type=Path, default=OUT)
    given = parser.parse_args()
    parts = [
        HEADER.format(rounds=given.rounds, machine=machine()),
        perona_malik(given.size, given.rounds),
        linear(given.size, given.rounds),
        scaling(given.rounds, 2 * given.size),
        start_up(),
        accuracy_table(),
    ]
    given.output.write_text("\n".join(parts), encoding="utf-8")
    print(given.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
