"""Measure guided diffusion on a simulated PET image: ``python tests/benchmarks/guided.py``.

It writes the table of ``docs/guide.md``. With the argument ``supersteps``, it prints the stages and
errors of guided runs instead. The simulated head of ``nd.samples`` is the MRI guide. Its
tissues have the uptake of a tracer of glucose, blurred as by a scanner. The noise is blurred in the
same way, as in PET, or white. The signal-to-noise ratio within the brain is 6 dB. One lesion is not
in the guide. Every model has its best parameters of a grid.
"""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

import napari_diffusion as nd
from napari_diffusion.core.gaussian import FWHM
from napari_diffusion.io import head_phantom

PAGE = Path(__file__).parents[2] / "docs" / "guide.md"
#: Signal-to-noise ratio of the image [dB], and width of the scanner's blur [mm].
NOISE_DB, BLUR_MM = 6.0, 4.0
#: Uptake of each tissue, by its magnitude in the guide.
UPTAKE = {
    0.0: 0.0,
    head_phantom.BONE: 0.5,
    head_phantom.FLUID: 0.5,
    head_phantom.GREY_MATTER: 8.0,
    head_phantom.DEEP_GREY: 7.0,
    head_phantom.WHITE_MATTER: 2.0,
    head_phantom.FAT: 1.0,
}
#: Part of the head, diffusion times [mm²], and thresholds as multiples of the noise [1/mm].
PART = np.s_[14:26, 24:120, 12:108]
TIMES = tuple(2.0**k for k in range(8))
THRESHOLDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
SIGMA = 1.5
#: Noise of the guide, as a standard deviation of its parts.
GUIDE_NOISE = 30.0


def scene(is_white=False):
    """Return true uptake, PET image, guide, brain, lesion, voxel size [mm] and noise."""
    scan = head_phantom.head(noise=GUIDE_NOISE)
    magnitudes = np.array([*UPTAKE])
    nearest = np.abs(scan.truth[PART][..., None] - magnitudes).argmin(-1)
    sharp = np.array([*UPTAKE.values()])[nearest]
    z, y, x = np.indices(sharp.shape) * np.reshape(scan.spacing, (3, 1, 1, 1))
    lesion = (z - 18) ** 2 + (y - 72) ** 2 + (x - 45) ** 2 < 7.0**2
    sharp[lesion] = 9.0
    blur = [BLUR_MM / FWHM / h for h in scan.spacing]
    truth, brain = gaussian_filter(sharp, blur), sharp >= 2
    noise = np.sqrt(np.mean(truth[brain] ** 2)) / 10 ** (NOISE_DB / 20)
    grains = np.random.default_rng(5).normal(size=truth.shape)
    if not is_white:
        grains = gaussian_filter(grains, blur)
    pet = truth + grains * (noise / grains.std())
    guide = scan.noisy[PART].astype(np.float32)
    return truth, pet.astype(np.float32), guide, brain, lesion, scan.spacing, noise


def snr(result, truth):
    """Return the signal-to-noise ratio [dB]."""
    return 10 * np.log10(np.mean(truth**2) / np.mean((result - truth) ** 2))


def models(noise):
    """Yield name and model for all thresholds."""
    yield "Linear", nd.Linear()
    for share in THRESHOLDS:
        kappa = share * noise
        for sigma, diffusivity in itertools.product((0.0, SIGMA), ("rational", "tukey")):
            yield "Perona-Malik", nd.PeronaMalik(kappa=kappa, diffusivity=diffusivity, sigma=sigma)
        yield "Total variation", nd.TotalVariation(kappa=kappa, epsilon=0.05)
        for sigma in (0.5 * SIGMA, SIGMA):
            yield "Edge-enhancing", nd.EdgeEnhancing(kappa=kappa, sigma=sigma, rho=sigma)
            hybrid = {"kappa": kappa, "contrast": 4 * kappa, "sigma": sigma, "rho": SIGMA}
            yield "Hybrid", nd.Hybrid(**hybrid)
            yield "Fourth order", nd.FourthOrder(kappa=kappa / SIGMA, sigma=sigma)


def best(problem, noise, **options):
    """Return the best result of each model: its signal-to-noise ratio, and its image."""
    truth, pet, brain, spacing = problem
    best_runs = {}
    for (name, model), time in itertools.product(models(noise), TIMES):
        if options and name == "Linear":
            continue
        result = nd.diffuse(pet, model, time=time, spacing=spacing, tolerance=3e-3, **options)
        own = snr(result[brain], truth[brain])
        if name not in best_runs or own > best_runs[name][0]:
            best_runs[name] = own, result, model, time
    return best_runs


def highest(best_runs):
    """Return the largest signal-to-noise ratio of the best runs, and the name of its model."""
    return max((own, name) for name, (own, *_) in best_runs.items())


def white_rows():
    """Yield the gain over the best model without a guide where the noise is white."""
    truth, pet, guide, brain, _, spacing, noise = scene(is_white=True)
    problem = truth, pet, brain, spacing
    own, name = highest(best(problem, noise))
    other, guided = highest(best(problem, GUIDE_NOISE, guide=guide))
    alike = guide * (noise / GUIDE_NOISE)
    mixed, of_both = highest(best(problem, noise, guide=alike, guide_weight=0.5))
    yield f"| white noise: {name}, best without a guide | image | {own:.1f} | |"
    yield f"| white noise: {guided}, best with the guide | guide | {other:.1f} | |"
    yield f"| white noise: {of_both}, best with both | both, weight 0.5 | {mixed:.1f} | |"
    yield f"| white noise: gain of the guide | | {max(other, mixed) - own:+.1f} | |"


def rows():
    """Yield the rows of the table, and the gain over the best model without a guide."""
    truth, pet, guide, brain, lesion, spacing, noise = scene()
    ring = binary_dilation(lesion, iterations=6) & ~binary_dilation(lesion, iterations=3)

    def contrast(image):
        return image[lesion].mean() - image[ring].mean()

    problem = truth, pet, brain, spacing
    runs = {"image": best(problem, noise), "guide": best(problem, GUIDE_NOISE, guide=guide)}
    alike = guide * (noise / GUIDE_NOISE)  # one threshold for both
    runs["both, weight 0.5"] = best(problem, noise, guide=alike, guide_weight=0.5)
    yield "| model | edges from | signal-to-noise ratio [dB] | contrast of the lesion |"
    yield "|---|---|---|---|"
    own = snr(pet[brain], truth[brain])
    yield f"| no filter | | {own:.1f} | {contrast(pet) / contrast(truth):.2f} |"
    for source, best_runs in runs.items():
        for name, (own, result, *_) in best_runs.items():
            kept = contrast(result) / contrast(truth)
            yield f"| {name} | {source} | {own:.1f} | {kept:.2f} |"
    with_guide = max(highest(runs[source])[0] for source in runs if source != "image")
    gain = with_guide - highest(runs["image"])[0]
    yield f"| best with the guide, minus best without | | {gain:+.1f} | |"
    yield from white_rows()


def superstep_rows():
    """Yield stages and errors of guided runs, by the number of supersteps.

    The error is the root mean square, as a share of the range, against 64 supersteps.
    """
    _, pet, guide, _, _, spacing, _ = scene()
    middle = len(pet) // 2
    images = {"2-D": (pet[middle], guide[middle], spacing[1:]), "3-D": (pet, guide, spacing)}
    counts = 4, 6, 8
    yield f"| model | axes | stable steps | stages of auto | {' | '.join(map(str, counts))} |"
    yield f"|---|---|---|---|{'---|' * len(counts)}"
    for name, (image, edges, sizes) in images.items():
        for model in (
            nd.PeronaMalik(kappa=GUIDE_NOISE, sigma=SIGMA),
            nd.TotalVariation(kappa=GUIDE_NOISE, epsilon=0.05),
            nd.EdgeEnhancing(kappa=GUIDE_NOISE, sigma=SIGMA, rho=SIGMA),
        ):
            for steps in (30, 300, 3000):
                options = {"spacing": sizes, "guide": edges}
                time = steps * nd.plan(image, model, time=1.0, **options).max_step
                options["time"] = time
                stages = nd.plan(image, model, **options).steps
                fine = nd.diffuse(image, model, scheme=nd.schemes.Extrapolated(64), **options)
                errors = []
                for count in counts:
                    scheme = nd.schemes.Extrapolated(count)
                    result = nd.diffuse(image, model, scheme=scheme, **options)
                    error = np.sqrt(np.mean((result - fine) ** 2, dtype=float)) / np.ptp(image)
                    errors.append(f"{error:.0e}")
                yield f"| {model.title} | {name} | {steps} | {stages} | {' | '.join(errors)} |"


def main():
    """Write the table into the page, or print that of the supersteps."""
    if sys.argv[1:] == ["supersteps"]:
        print(*superstep_rows(), sep="\n")
        return
    table = "\n".join(rows())
    print(table)
    if PAGE.exists():
        text = PAGE.read_text(encoding="utf-8")
        parts = r"(<!-- pet -->\n).*?(<!-- end pet -->)"
        text = re.sub(parts, lambda m: f"{m[1]}{table}\n{m[2]}", text, flags=re.DOTALL)
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
