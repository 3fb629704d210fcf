"""Noise removal: ``python tests/benchmarks/denoising.py`` writes docs/denoising.md.

Needs the extra ``benchmarks``; takes some minutes. Every filter, ours and others', gets the
parameters that bring its result nearest to the clean image. They come from the same hill climbing
with the same budget. The words around the tables are in denoising_page.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import textwrap
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
from napari_diffusion.io.phantoms import Microscope, confocal
from napari_diffusion.schemes import RKL2, Explicit

PAGE = Path(__file__).parents[2] / "docs" / "denoising.md"
HEADER = Path(__file__).with_name("denoising_page.md")
Array = np.ndarray
#: Successive results of a filter, each with its time, width, weight or number of iterations.
Results = Iterator[tuple[float, Array]]
#: The results of a filter end when they are this much worse than the best [dB].
MAX_LOSS_DB = 0.2
#: Maximum number of explicit steps; a longer run uses supersteps.
MAX_EXPLICIT_STEPS = 60

KAPPAS, SIGMAS = [1.4**k for k in range(-14, 15)], [0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0]
#: Values of each parameter, in units of the noise and of the smallest voxel edge.
CHOICES = {
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
    "radius": [1.0, 1.5, 2.0, 2.5, 3.0],
}
#: Index of the value with which the climb starts.
STARTS = {
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
    "radius": 2,
}
#: Fidelity lengths of runs to the steady state, in units of the smallest voxel edge.
FIDELITY_LENGTHS = [0.3 * 1.25**k for k in range(20)]
#: Noise of the second channel that guides, as a share of that of the image.
GUIDE_SHARE = 0.25
#: Longest times of models, in units of the square of the smallest voxel edge.
LONGEST, LONGEST_OF = 16.0, {"total-variation": 64.0, "fourth-order": 3.0}


@dataclass(frozen=True)
class Problem:
    """A noisy image, the clean one, and the voxels that count."""

    title: str
    description: str
    noisy: Array
    truth: Array
    spacing: tuple[float, ...]
    noise: float
    valid: Array
    photons: dict[str, float]

    def second_channel(self) -> Array:
        """Return another contrast with a quarter of the noise: dark where the image is bright."""
        rng = np.random.default_rng(12)
        noise = GUIDE_SHARE * self.noise * rng.normal(size=self.truth.shape)
        return (self.truth.max() - self.truth + noise).astype(np.float32)

    def psnr(self, result: Array) -> float:
        """Peak signal-to-noise ratio [dB]; the peak is the range of the clean image."""
        error = (result - self.truth)[self.valid]
        return float(10 * np.log10(np.ptp(self.truth) ** 2 * error.size / np.vdot(error, error)))

    def ssim(self, result: Array) -> float:
        """Structural similarity: windows of 7³ voxels, averaged over the voxels that count."""
        _, similarity = structural_similarity(
            self.truth, result.astype(np.float32), data_range=np.ptp(self.truth), full=True
        )
        return float(similarity[self.valid].mean())


@dataclass(frozen=True)
class Filter:
    """A filter with the choices of its parameters.

    Attributes
    ----------
    title
        Name in the table.
    choices
        For each parameter, its values and the index of the value to start with.
    results
        Yields the results for given parameters.
    words
        Parameters in words, for the table.
    """

    title: str
    choices: dict[str, tuple[list, int]]
    results: Callable[..., Results]
    words: Callable[..., str]


def microscopy() -> Problem:
    """Simulated confocal stack."""
    stack, detector = confocal((24, 80, 80), nuclei=9, filaments=13, seed=4), Microscope()
    description = (
        "simulated confocal stack, 24 × 80 × 80 voxels of 0.5 × 0.2 × 0.2 µm, "
        "Poisson noise of at most 60 photons a voxel and read noise"
    )
    return Problem(
        title="Confocal stack",
        description=description,
        noisy=stack.noisy.astype(np.float32),
        truth=stack.truth,
        spacing=stack.spacing,
        noise=float(np.sqrt(np.mean((stack.noisy - stack.truth) ** 2))),
        valid=np.ones(stack.truth.shape, bool),
        photons={
            "gain": detector.gain,
            "offset": detector.offset,
            "read_noise": detector.read_noise,
        },
    )


def mri() -> Problem:
    """Part of an MRI template, with Rician noise."""
    home = Path(importlib.util.find_spec("nilearn").origin).parent / "datasets" / "data"
    file = nibabel.load(home / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
    template = np.asarray(file.dataobj).T.astype(np.float32)
    truth, noise = template[74:98, 80:160, 55:135], 16.0
    rng = np.random.default_rng(11)
    real = truth + rng.normal(0, noise, truth.shape)
    noisy = np.hypot(real, rng.normal(0, noise, truth.shape)).astype(np.float32)
    description = (
        "ICBM 152 T1 template, 24 × 80 × 80 voxels of 1 mm, "
        "Rician noise of standard deviation 16, range 255. Only the head counts"
    )
    return Problem("MRI", description, noisy, truth, (1.0, 1.0, 1.0), noise, truth > 0, {})


def climb(problem: Problem, contender: Filter, budget: int) -> tuple[float, float, str]:
    """Best parameters of a filter, by coordinate-wise hill climbing.

    Returns the PSNR, the SSIM and the parameters in words of the best result among at most
    ``budget`` sets of parameters.
    """
    tried: dict[tuple[int, ...], tuple[float, Array, float]] = {}
    ladders = [ladder for ladder, _ in contender.choices.values()]

    def parameters(place: tuple[int, ...]) -> dict:
        values = (ladder[i] for ladder, i in zip(ladders, place, strict=True))
        return dict(zip(contender.choices, values, strict=True))

    def value(place: tuple[int, ...]) -> float:
        if place not in tried:
            best = (-np.inf, problem.noisy, 0.0)
            for amount, image in contender.results(problem, **parameters(place)):
                psnr = problem.psnr(image)
                if psnr > best[0]:
                    best = (psnr, image.copy(), amount)
                elif psnr < best[0] - MAX_LOSS_DB:
                    break
            tried[place] = best
        return tried[place][0]

    def neighbour(place: tuple[int, ...], axis: int, step: int) -> tuple[int, ...]:
        moved = min(max(place[axis] + step, 0), len(ladders[axis]) - 1)
        return (*place[:axis], moved, *place[axis + 1 :])

    def is_better(place: tuple[int, ...], current: tuple[int, ...]) -> bool:
        affordable = place in tried or len(tried) < budget
        return place != current and affordable and value(place) > value(current)

    current, stride = tuple(start for _, start in contender.choices.values()), 2
    value(current)
    while stride and len(tried) < budget:
        before = current
        for axis in range(len(ladders)):
            for sign in (1, -1):
                place = neighbour(current, axis, sign * stride)
                if is_better(place, current):
                    current = place
                    break
        stride -= current == before
    _, image, amount = tried[current]
    words = contender.words(problem, amount, **parameters(current))
    return problem.psnr(image), problem.ssim(image), words


def plain(problem: Problem) -> tuple[float, dict]:
    """Noise that sets the unit of thresholds, and the options of a plain run: none."""
    return problem.noise, {}


def guided(problem: Problem) -> tuple[float, dict]:
    """Noise of the second channel, and a run with its edges."""
    return GUIDE_SHARE * problem.noise, {"guide": problem.second_channel()}


def stabilised(problem: Problem) -> tuple[float, dict]:
    """Noise after the Anscombe transform, and a run of the transformed image."""
    return 1.0, {"transform": "anscombe", **problem.photons}


def ours(
    cls: type[nd.Model],
    title: str | None = None,
    searched: tuple[str, ...] = (),
    conditions: Callable[[Problem], tuple[float, dict]] = plain,
    is_held: bool = False,
    **fixed: float | str,
) -> Filter:
    """One of our models.

    Parameters
    ----------
    cls
        The model.
    title
        Name in the table; by default that of the model.
    searched
        Names of the parameters to choose.
    conditions
        Returns the noise that sets the unit of thresholds, and options of the run.
    is_held
        Whether runs go to the steady state with a fidelity length, which is then searched for.
    fixed
        Values of other parameters, in units of the noise and of the smallest voxel edge.
    """

    def model(problem: Problem, chosen: dict) -> nd.Model:
        h, (noise, _) = min(problem.spacing), conditions(problem)
        unit = {
            "length": h,
            "intensity": noise,
            "intensity/length": noise / h,
            "intensity/length^2": noise / h**2,
            "1": 1.0,
        }
        scale = {p.name: unit[p.unit] for p in nd.models.parameters(cls)}
        values = {**chosen, **fixed}
        return cls(
            **{name: v if isinstance(v, str) else v * scale[name] for name, v in values.items()}
        )

    def results(problem: Problem, **chosen: float | str) -> Results:
        filled, spacing, (_, extra) = model(problem, chosen), problem.spacing, conditions(problem)
        h = min(spacing)
        if is_held:
            for share in FIDELITY_LENGTHS:
                options = {"time": None, "fidelity_length": share * h, "spacing": spacing}
                yield share * h, nd.diffuse(problem.noisy, filled, **options, **extra)
            return
        longest = LONGEST_OF.get(cls.name, LONGEST) * h**2
        if cls is nd.Linear:
            for time in longest / 1.2 ** np.arange(24)[::-1]:
                result = nd.diffuse(problem.noisy, filled, time=float(time), spacing=spacing)
                yield float(time), result
            return
        step = nd.plan(problem.noisy, filled, time=longest, spacing=spacing).max_step
        is_short = longest / step < MAX_EXPLICIT_STEPS
        scheme = Explicit() if is_short else RKL2(supersteps=24)
        options = {"time": longest, "spacing": spacing, "scheme": scheme, **extra}
        for state in nd.evolve(problem.noisy, filled, **options):
            yield state.time, state.image

    def words(problem: Problem, amount: float, **chosen: float | str) -> str:
        filled = model(problem, chosen)
        values = {name: getattr(filled, name) for name in [*chosen, *fixed]}
        numbers = [
            f"{name} {value}" if isinstance(value, str) else f"{name} {value:.3g}"
            for name, value in values.items()
        ]
        return ", ".join([*numbers, f"{'fidelity length' if is_held else 'time'} {amount:.2g}"])

    choices = {name: (CHOICES[name], STARTS[name]) for name in searched}
    return Filter(title or f"**{cls.title}**", choices, results, words)


def gaussian() -> Filter:
    """Gaussian of SciPy, with widths in lengths or in voxels."""

    def results(problem: Problem, unit: str) -> Results:
        for sigma in np.geomspace(0.2, 3, 30):
            sizes = [
                sigma * (min(problem.spacing) / h if unit == "length" else 1)
                for h in problem.spacing
            ]
            yield float(sigma), scipy.ndimage.gaussian_filter(problem.noisy, sizes)

    def words(problem: Problem, amount: float, unit: str) -> str:
        return f"sigma {amount:.2g} voxel, the same {unit} on every axis"

    return Filter("SciPy Gaussian", {"unit": (["length", "voxel"], 0)}, results, words)


def total_variation() -> Filter:
    """Total variation denoising of scikit-image."""

    def results(problem: Problem) -> Results:
        for weight in np.geomspace(0.2, 8, 24):
            result = denoise_tv_chambolle(problem.noisy, weight=weight * problem.noise)
            yield float(weight), result

    def words(problem: Problem, amount: float) -> str:
        return f"weight {amount * problem.noise:.3g}"

    return Filter("scikit-image TV (Chambolle)", {}, results, words)


def non_local_means() -> Filter:
    """Non-local means of scikit-image."""

    def results(problem: Problem, patch: int, distance: int) -> Results:
        noise = problem.noise
        for h in np.geomspace(0.3, 2, 14):
            result = denoise_nl_means(
                problem.noisy, patch, distance, h * noise, sigma=noise, fast_mode=True
            )
            yield float(h), result

    def words(problem: Problem, amount: float, patch: int, distance: int) -> str:
        return f"patch {patch}, distance {distance}, h {amount:.2g} noise"

    choices = {"patch": ([3, 5], 0), "distance": ([2, 3], 0)}
    return Filter("scikit-image non-local means", choices, results, words)


def itk(name: str) -> Filter:
    """One of SimpleITK's filters, iteration by iteration.

    The filter recomputes its conductance at every iteration, so that ten runs of one iteration
    equal one run of ten.
    """

    def results(problem: Problem, conductance: float, unit: str) -> Results:
        spacing = problem.spacing if unit == "length" else (1.0,) * 3
        image, step = SimpleITK.GetImageFromArray(problem.noisy), min(spacing) / 16
        image.SetSpacing(spacing[::-1])
        run = getattr(SimpleITK, name)
        for k in range(1, 121):
            image = run(image, step, conductance, 1, 1)
            yield k, SimpleITK.GetArrayFromImage(image)

    def words(problem: Problem, amount: float, conductance: float, unit: str) -> str:
        spacing = "of the image" if unit == "length" else "1"
        return f"conductance {conductance:.2g}, {amount:.0f} iterations, spacing {spacing}"

    choices = {
        "conductance": ([0.3 * 1.3**k for k in range(16)], 5),
        "unit": (["voxel", "length"], 0),
    }
    return Filter(f"SimpleITK {name}", choices, results, words)


def contenders(problem: Problem) -> list[Filter]:
    """All filters; some of ours depend on the kind of noise."""
    searched = ("kappa", "sigma", "diffusivity")
    if problem.title == "MRI":
        for_noise = [ours(nd.Rician, searched=("sigma_noise",))]
    else:
        title = "**Perona-Malik**, regularised, after the Anscombe transform"
        for_noise = [
            ours(nd.SpeckleReducing, searched=("q0",)),
            ours(nd.PeronaMalik, title, searched, stabilised),
        ]
    smoothed = {"sigma": 1.0, "thickest": 2.0}
    return [
        ours(nd.Linear),
        ours(nd.PeronaMalik, "**Perona-Malik**, classic", ("kappa", "diffusivity")),
        ours(nd.PeronaMalik, "**Perona-Malik**, regularised", searched),
        ours(nd.PeronaMalik, "**Perona-Malik**, guided", searched, guided),
        ours(nd.TotalVariation, searched=("kappa",), epsilon=0.05),
        ours(
            nd.TotalVariation,
            "**Total variation**, steady state with fidelity",
            ("kappa",),
            is_held=True,
            epsilon=0.05,
        ),
        ours(nd.FourthOrder, searched=searched),
        ours(nd.MeanCurvature),
        ours(nd.MinMaxCurvature, searched=("radius",)),
        ours(nd.ModifiedCurvature, searched=("kappa", "diffusivity")),
        ours(nd.EdgeEnhancing, "**Edge-enhancing**, rho 0", ("kappa", "sigma"), rho=0.0),
        ours(nd.EdgeEnhancing, "**Edge-enhancing**, rho 1 voxel", ("kappa", "sigma"), rho=1.0),
        ours(nd.EdgeEnhancing, "**Edge-enhancing**, guided", ("kappa", "sigma"), guided, rho=1.0),
        ours(nd.CoherenceEnhancing, searched=("kappa", "sigma", "rho", "alpha")),
        ours(nd.Hybrid, searched=("kappa", "contrast", "sigma"), rho=1.0),
        ours(nd.VesselEnhancing, searched=("gamma", "omega"), **smoothed),
        ours(nd.MembraneEnhancing, searched=("gamma", "alpha"), **smoothed),
        *for_noise,
        gaussian(),
        total_variation(),
        non_local_means(),
        itk("GradientAnisotropicDiffusion"),
        itk("CurvatureAnisotropicDiffusion"),
    ]


def measure(problem: Problem, budget: int) -> str:
    """Table of all filters for one problem, in Markdown."""
    results = []
    for contender in contenders(problem):
        start = time.perf_counter()
        psnr, ssim, words = climb(problem, contender, budget)
        results.append((psnr, ssim, contender.title, words))
        spent = time.perf_counter() - start
        quality = f"{psnr:.2f} dB, {ssim:.3f}, {words}"
        print(f"{problem.title} {contender.title}: {quality} ({spent:.0f} s)", flush=True)
    rows = [
        [title, f"{psnr:.2f}", f"{ssim:.3f}", words]
        for psnr, ssim, title, words in sorted(results, reverse=True)
    ]
    unfiltered = f"{problem.psnr(problem.noisy):.2f}", f"{problem.ssim(problem.noisy):.3f}"
    rows.append(["(the noisy image)", *unfiltered, ""])
    unit = "µm" if problem.title.startswith("Confocal") else "mm"
    head = ["filter", "PSNR [dB]", "SSIM", f"parameters (lengths in {unit})"]
    description = textwrap.fill(f"The {problem.description}.", 100)
    return f"## {problem.title}\n\n{description}\n\n{table(head, rows)}"


def main() -> None:
    """Measure all filters on both problems, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--budget", type=int, default=12, help="parameter sets that each filter may try"
    )
    parser.add_argument("--output", type=Path, default=PAGE)
    arguments = parser.parse_args()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    header = HEADER.read_text(encoding="utf-8").format(budget=arguments.budget)
    parts = [measure(problem(), arguments.budget) for problem in (microscopy, mri)]
    arguments.output.write_text("\n".join([header, *parts]), encoding="utf-8")


if __name__ == "__main__":
    main()
