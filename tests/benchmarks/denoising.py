"""Noise removal: ``python tests/benchmarks/denoising.py`` writes docs/denoising.md. Needs the extra ``benchmarks``; some minutes.

Every filter, ours and others', gets the parameters that bring it nearest to the clean image, found by the same climb with the same budget.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import scipy.ndimage
import SimpleITK
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from timing import table

import napari_diffusion as nd
from napari_diffusion.io.phantoms import confocal
from napari_diffusion.schemes import RKL2, Explicit

PAGE = Path(__file__).parents[2] / "docs" / "denoising.md"
Array = np.ndarray
#: Filtered images on the way, each with how far the filter has gone.
Path_ = Iterator[tuple[float, Array]]
#: A path ends when it is this many dB below its best: what has been passed does not come back.
PASSED = 0.2
#: Explicit steps that a path may take; beyond that it goes in supersteps.
STEPS = 60

KAPPAS, SIGMAS = [1.4**k for k in range(-14, 15)], [0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0]
MENU = {
    "kappa": KAPPAS,
    "contrast": KAPPAS,
    "gamma": [2.0**k for k in range(-3, 9)],
    "sigma": SIGMAS,
    "rho": [0.0, 0.5, 1.0, 1.5, 2.0, 3.0],
    "diffusivity": ["charbonnier", "rational", "exponential", "tukey", "weickert"],
    "alpha": [0.003, 0.01, 0.03, 0.1, 0.3],
    "omega": [1.0, 2.0, 5.0, 10.0],
    "coherence": [1.0, 4.0, 15.0, 60.0],
    "q0": [0.02 * 1.3**k for k in range(12)],
    "sigma_noise": [1.3**k for k in range(-4, 5)],
}


@dataclass(frozen=True)
class Problem:
    """A noisy image, its truth, and the voxels that count."""

    title: str
    about: str
    noisy: Array
    truth: Array
    spacing: tuple[float, ...]
    noise: float
    where: Array

    def psnr(self, result: Array) -> float:
        """Peak signal-to-noise ratio [dB], the peak being the range of the truth."""
        error = (result - self.truth)[self.where]
        return float(10 * np.log10(np.ptp(self.truth) ** 2 * error.size / np.vdot(error, error)))

    def ssim(self, result: Array) -> float:
        """Structural similarity: windows of 7³ voxels, averaged over the voxels that count."""
        return float(
            structural_similarity(
                self.truth, result.astype(np.float32), data_range=np.ptp(self.truth), full=True
            )[1][self.where].mean()
        )


@dataclass(frozen=True)
class Filter:
    """What to call it, the choices for each parameter with the one to begin with, and how it runs along its path."""

    title: str
    choices: dict[str, tuple[list, int]]
    path: Callable[..., Path_]
    words: Callable[..., str]


def microscopy() -> Problem:
    stack = confocal((24, 80, 80), nuclei=9, filaments=13, seed=4)
    about = "simulated confocal stack, 24 × 80 × 80 voxels of 0.5 × 0.2 × 0.2 µm, Poisson noise of at most 60 photons a voxel and read noise"
    noise = float(np.sqrt(np.mean((stack.noisy - stack.truth) ** 2)))
    return Problem(
        "Confocal stack",
        about,
        stack.noisy.astype(np.float32),
        stack.truth,
        stack.spacing,
        noise,
        np.ones(stack.truth.shape, bool),
    )


def mri() -> Problem:
    home = Path(importlib.util.find_spec("nilearn").origin).parent / "datasets" / "data"
    template = np.asarray(
        nibabel.load(home / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz").dataobj
    ).T.astype(np.float32)
    truth, noise = template[74:98, 80:160, 55:135], 16.0
    rng = np.random.default_rng(11)
    noisy = np.hypot(
        truth + rng.normal(0, noise, truth.shape), rng.normal(0, noise, truth.shape)
    ).astype(np.float32)
    about = "ICBM 152 T1 template, 24 × 80 × 80 voxels of 1 mm, Rician noise of standard deviation 16 (the range is 255); only the head counts"
    return Problem("MRI", about, noisy, truth, (1.0, 1.0, 1.0), noise, truth > 0)


def climb(problem: Problem, contender: Filter, budget: int) -> tuple[float, float, str]:
    """Return PSNR, SSIM and words of the best that `budget` paths found, one parameter a rung up or down at a time."""
    tried: dict[tuple[int, ...], tuple[float, Array, float]] = {}

    def value(place: tuple[int, ...]) -> float:
        if place not in tried:
            best = (-np.inf, problem.noisy, 0.0)
            for far, image in contender.path(problem, **chosen(place)):
                found = problem.psnr(image)
                if found > best[0]:
                    best = (found, image.copy(), far)
                elif found < best[0] - PASSED:
                    break
            tried[place] = best
        return tried[place][0]

    def chosen(place: tuple[int, ...]) -> dict:
        return {
            name: ladder[i]
            for (name, (ladder, _)), i in zip(contender.choices.items(), place, strict=True)
        }

    here, stride = tuple(start for _, start in contender.choices.values()), 2
    value(here)
    while stride and len(tried) < budget:
        before = here
        for axis, (ladder, _) in enumerate(contender.choices.values()):
            for sign in (1, -1):
                there = (
                    *here[:axis],
                    min(max(here[axis] + sign * stride, 0), len(ladder) - 1),
                    *here[axis + 1 :],
                )
                if (
                    there != here
                    and (there in tried or len(tried) < budget)
                    and value(there) > value(here)
                ):
                    here = there
                    break
        stride -= here == before
    _, image, far = tried[here]
    return problem.psnr(image), problem.ssim(image), contender.words(problem, far, **chosen(here))


def ours(
    cls: type[nd.Model], title: str | None = None, menu: tuple[str, ...] = (), **fixed: float | str
) -> Filter:
    """One of our models; `menu` are its parameters to choose, in units of the noise and of the smallest voxel edge, `fixed` stays."""
    middle = {
        "kappa": 11,
        "contrast": 14,
        "gamma": 3,
        "sigma": 2,
        "rho": 1,
        "diffusivity": 1,
        "alpha": 1,
        "omega": 1,
        "coherence": 2,
        "q0": 5,
        "sigma_noise": 4,
    }

    def model(problem: Problem, chosen: dict) -> nd.Model:
        h = min(problem.spacing)
        unit = {
            "length": h,
            "intensity": problem.noise,
            "intensity/length": problem.noise / h,
            "1": 1.0,
        }
        scale = {p.name: unit[p.unit] for p in nd.models.parameters(cls)}
        wanted = {**chosen, **fixed}
        return cls(
            **{name: v if isinstance(v, str) else v * scale[name] for name, v in wanted.items()}
        )

    def path(problem: Problem, **chosen: float | str) -> Path_:
        filled = model(problem, chosen)
        longest = (64 if cls is nd.TotalVariation else 16) * min(problem.spacing) ** 2
        step = nd.plan(problem.noisy, filled, time=longest, spacing=problem.spacing).max_step
        scheme = Explicit() if longest / step < STEPS else RKL2(supersteps=24)
        if cls is nd.Linear:
            for t in longest / 1.2 ** np.arange(24)[::-1]:
                yield (
                    float(t),
                    nd.diffuse(problem.noisy, filled, time=float(t), spacing=problem.spacing),
                )
            return
        for state in nd.evolve(
            problem.noisy, filled, time=longest, spacing=problem.spacing, scheme=scheme
        ):
            yield state.time, state.image

    def words(problem: Problem, far: float, **chosen: float | str) -> str:
        filled = model(problem, chosen)
        told = [
            f"{name} {v}" if isinstance(v := getattr(filled, name), str) else f"{name} {v:.3g}"
            for name in [*chosen, *fixed]
        ]
        return ", ".join([*told, f"time {far:.2g}"])

    return Filter(
        title or f"**{cls.title}**",
        {name: (MENU[name], middle[name]) for name in menu},
        path,
        words,
    )


def gaussian() -> Filter:
    def path(problem: Problem, unit: str) -> Path_:
        for s in np.geomspace(0.2, 3, 30):
            sizes = [
                s * (min(problem.spacing) / h if unit == "length" else 1) for h in problem.spacing
            ]
            yield float(s), scipy.ndimage.gaussian_filter(problem.noisy, sizes)

    return Filter(
        "SciPy Gaussian",
        {"unit": (["length", "voxel"], 0)},
        path,
        lambda p, far, unit: f"sigma {far:.2g} voxel, the same {unit} on every axis",
    )


def total_variation() -> Filter:
    def path(problem: Problem) -> Path_:
        for w in np.geomspace(0.2, 8, 24):
            yield float(w), denoise_tv_chambolle(problem.noisy, weight=w * problem.noise)

    return Filter(
        "scikit-image TV (Chambolle)", {}, path, lambda p, far: f"weight {far * p.noise:.3g}"
    )


def non_local_means() -> Filter:
    def path(problem: Problem, patch: int, distance: int) -> Path_:
        for h in np.geomspace(0.3, 2, 14):
            yield (
                float(h),
                denoise_nl_means(
                    problem.noisy,
                    patch,
                    distance,
                    h * problem.noise,
                    sigma=problem.noise,
                    fast_mode=True,
                ),
            )

    choices = {"patch": ([3, 5], 0), "distance": ([2, 3], 0)}
    return Filter(
        "scikit-image non-local means",
        choices,
        path,
        lambda p, far, patch, distance: f"patch {patch}, distance {distance}, h {far:.2g} noise",
    )


def itk(name: str) -> Filter:
    """One of SimpleITK's filters, step by step: its conductance is anew at every iteration, so that ten runs of one are one of ten."""

    def path(problem: Problem, conductance: float, unit: str) -> Path_:
        spacing = problem.spacing if unit == "length" else (1.0,) * 3
        image, step = SimpleITK.GetImageFromArray(problem.noisy), min(spacing) / 16
        image.SetSpacing(spacing[::-1])
        run = getattr(SimpleITK, name)
        for k in range(1, 121):
            image = run(image, step, conductance, 1, 1)
            yield k, SimpleITK.GetArrayFromImage(image)

    def words(problem: Problem, far: float, conductance: float, unit: str) -> str:
        return f"conductance {conductance:.2g}, {far:.0f} iterations, spacing {'of the image' if unit == 'length' else '1'}"

    choices = {
        "conductance": ([0.3 * 1.3**k for k in range(16)], 5),
        "unit": (["voxel", "length"], 0),
    }
    return Filter(f"SimpleITK {name}", choices, path, words)


def contenders(problem: Problem) -> list[Filter]:
    noise = (
        [ours(nd.Rician, menu=("sigma_noise",))]
        if problem.title == "MRI"
        else [ours(nd.SpeckleReducing, menu=("q0",))]
    )
    return [
        ours(nd.Linear),
        ours(nd.PeronaMalik, "**Perona-Malik**, classic", ("kappa", "diffusivity")),
        ours(nd.PeronaMalik, "**Perona-Malik**, regularised", ("kappa", "sigma", "diffusivity")),
        ours(nd.TotalVariation, menu=("kappa",), epsilon=0.05),
        ours(nd.MeanCurvature),
        ours(nd.ModifiedCurvature, menu=("kappa", "diffusivity")),
        ours(nd.EdgeEnhancing, "**Edge-enhancing**, rho 0", ("kappa", "sigma"), rho=0.0),
        ours(nd.EdgeEnhancing, "**Edge-enhancing**, rho 1 voxel", ("kappa", "sigma"), rho=1.0),
        ours(nd.CoherenceEnhancing, menu=("kappa", "sigma", "rho", "alpha")),
        ours(nd.Hybrid, menu=("kappa", "contrast", "sigma"), rho=1.0),
        ours(nd.VesselEnhancing, menu=("gamma", "omega"), sigma=1.0, thickest=2.0),
        *noise,
        gaussian(),
        total_variation(),
        non_local_means(),
        itk("GradientAnisotropicDiffusion"),
        itk("CurvatureAnisotropicDiffusion"),
    ]


def measure(problem: Problem, budget: int) -> str:
    found = []
    for contender in contenders(problem):
        start = time.perf_counter()
        psnr, ssim, words = climb(problem, contender, budget)
        found.append((psnr, ssim, contender.title, words))
        print(
            f"{problem.title} {contender.title}: {psnr:.2f} dB, {ssim:.3f}, {words} ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
    rows = [
        [title, f"{psnr:.2f}", f"{ssim:.3f}", words]
        for psnr, ssim, title, words in sorted(found, reverse=True)
    ]
    rows.append(
        [
            "(the noisy image)",
            f"{problem.psnr(problem.noisy):.2f}",
            f"{problem.ssim(problem.noisy):.3f}",
            "",
        ]
    )
    unit = "µm" if problem.title.startswith("Confocal") else "mm"
    head = ["filter", "PSNR [dB]", "SSIM", f"parameters (lengths in {unit})"]
    return f"## {problem.title}\n\nThe {problem.about}.\n\n{table(head, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--budget", type=int, default=12, help="parameter sets that each filter may try"
    )
    parser.add_argument("--output", type=Path, default=PAGE)
    given = parser.parse_args()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    parts = [measure(problem(), given.budget) for problem in (microscopy, mri)]
    given.output.write_text(
        "\n".join([HEADER.format(budget=given.budget), *parts]), encoding="utf-8"
    )


HEADER = """# How much noise each model removes

Written by `python tests/benchmarks/denoising.py`. The clean image is known, and every filter has the parameters that bring it nearest to
that: at most {budget} sets of parameters, each with the best time, weight, width or number of iterations on its way, found by the same
climb for our models (bold) and for the others. So these are about the best that a filter can do, not what it does by default, and a
difference of 0.1 dB says little: the climb may end beside the very best. PSNR counts squared errors, with the range of the clean
image as the peak; SSIM compares local patterns, 1 is identical. Neither sees what a segmentation or a measurement needs: [the guide to
the models](models.md) has pictures.

What to keep in mind:

- The winner depends on the image. Both are made of smooth surfaces and tubes, which the tensor models are for.
- Mean curvature and vessel-enhancing diffusion are here to be complete: they change shapes and strengthen vessels, and lose as
  denoisers, to the Gaussian as well.
- Rician diffusion reads the noise from few neighbours and loses to edge-preserving models where the signal is strong, as in this head; what
  it is for, the bias where the signal is weak, hardly counts here.
- Linear diffusion is slightly behind SciPy's Gaussian at widths below one voxel: it is the heat equation on the grid, SciPy's are
  samples of the Gaussian.
- Only one noise, one volume and one seed each.
"""


if __name__ == "__main__":
    main()
