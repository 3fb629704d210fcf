"""What automatic filtering removes from real scans: ``python tests/benchmarks/residuals.py`` makes a picture and a table.

Needs nibabel and, for the diffusion scans, ``pip install --no-deps dipy``: only their files are read. The last row is simulated: the MNI
template (``pip install --no-deps nilearn``) with Rician noise, where what a perfect filter removes is known.

The EPI has two volumes of one head. Their noise is independent, so the second tells how much nearer to the truth the first one comes, and
which of many settings is the best for it. ``--shares`` prints, for nine settings, how much of what they remove is noise: by the second
volume, and by a noise that is added, at full strength and at a tenth of it. ``--structure`` prints what the smallest error alone would
remove from structure, and what goes of the detail of five pictures beside an empty background, by another noise.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import scipy.ndimage
import scipy.stats
from cases import CASES, package_file
from PIL import Image
from skimage.filters import threshold_otsu

import napari_diffusion as nd
from napari_diffusion.estimation.noise import coloured
from napari_diffusion.estimation.noise_kinds import Noise
from napari_diffusion.estimation.risk import EPSILON

DOCS = Path(__file__).parents[2] / "docs"
HEIGHT = 200
EPI = "EPI, nibabel"
TIMES = (0.1, 0.3, 0.7, 1.5, 3, 10, 40, 120)
_KAPPAS, _SIGMAS = (0.5, 0.7, 1, 2, 4, 8, 16), (0, 0.7, 1.4, 2)
SETTINGS = (
    (nd.PeronaMalik, ("kappa", "sigma"), _KAPPAS, _SIGMAS),
    (nd.EdgeEnhancing, ("kappa", "sigma"), _KAPPAS, _SIGMAS[1:]),
    (nd.TotalVariation, ("kappa",), _KAPPAS),
    (nd.Linear, ()),
)
NINE = (
    *((nd.TotalVariation(kappa=3.89), time) for time in (0.1, 0.661)),
    *((nd.PeronaMalik(kappa=kappa, sigma=0.7), time) for kappa, time in ((0.7, 124), (4, 3))),
    *(
        (nd.PeronaMalik(kappa=kappa), time)
        for kappa, time in ((4, 1), (2, 1.5), (1, 10), (0.5, 10), (0.5, 120))
    ),
)


def scans() -> dict[str, tuple[np.ndarray, int, tuple[float, ...]]]:
    """Name, series of volumes, the one that is shown, and voxel size [mm] of each scan."""
    found = {}
    for name, package, path, first, shown in (
        (EPI, "nibabel", "tests/data/example4d.nii.gz", 0, 0),
        ("b0 4x4x5 mm, dipy", "dipy", "data/files/aniso_vox.nii.gz", 0, 0),
        ("b0 slices, dipy", "dipy", "data/files/S0_10slices.nii.gz", 0, 0),
        (
            "diffusion-weighted, dipy",
            "dipy",
            "data/files/small_64D.nii",
            1,
            19,
        ),  # the one before them is not weighted
    ):
        image = nibabel.load(package_file(package, path))
        data = np.atleast_3d(np.asarray(image.dataobj, np.float32))
        data = data[..., first:] if data.ndim > 3 else data[..., None]
        found[name] = data, shown, tuple(float(h) for h in image.header.get_zooms()[:3])
    return found


def agreement(result: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Gain [dB] of a filtered first scan in the head, against a second one: its noise, which no filter changes, is taken off."""
    head = (first + second) / 2 > threshold_otsu((first + second) / 2)
    noise = float(np.square(first - second)[head].mean()) / 2
    return 10 * float(np.log10(noise / (float(np.square(result - second)[head].mean()) - noise)))


def noise_in_removed(
    result: np.ndarray, first: np.ndarray, other: np.ndarray, second: np.ndarray
) -> float:
    """Share of noise in what was removed from a first scan in the head: what a second one, filtered alike, has in common is picture."""
    head = (first + second) / 2 > threshold_otsu((first + second) / 2)
    removed = first - result
    return (
        float(np.square(removed - (second - other))[head].mean())
        / 2
        / float(np.square(removed)[head].mean())
    )


def best(
    first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...]
) -> tuple[nd.Model, float]:
    """Model and time of the largest `agreement`, of all that `SETTINGS` and `TIMES` make."""
    found = [
        (cls(**dict(zip(names, values, strict=True))), time)
        for cls, names, *lists in SETTINGS
        for values in product(*lists)
        for time in TIMES
    ]
    return max(
        found,
        key=lambda one: agreement(
            nd.diffuse(first, one[0], time=one[1], spacing=spacing), first, second
        ),
    )


def neighbours(removed: np.ndarray, inside: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Largest correlation of the removed part with its neighbour, over the finely sampled axes."""
    found = []
    for axis in [i for i in range(3) if spacing[i] <= 1.5 * min(spacing)]:
        near = tuple(slice(None, -1) if i == axis else slice(None) for i in range(3))
        far = tuple(slice(1, None) if i == axis else slice(None) for i in range(3))
        both = inside[near] & inside[far]
        found.append(float(np.corrcoef(removed[near][both], removed[far][both])[0, 1]))
    return max(found, key=abs)


def smoothed(
    u: np.ndarray, spacing: tuple[float, ...], width: float, order: int | None = None
) -> np.ndarray:
    """Gaussian over the finely sampled axes, in voxels; a derivative along the axis ``order``."""
    fine = [h <= 1.5 * min(spacing) for h in spacing]
    return scipy.ndimage.gaussian_filter(
        u, [width * f for f in fine], order=[int(i == order) for i in range(3)]
    )


def anatomy(removed: np.ndarray, result: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Rank correlation of the removed part's magnitude with the gradient of the result, in the head; 0 where edges do not show."""
    head = result > threshold_otsu(result)
    fine = [axis for axis in range(3) if spacing[axis] <= 1.5 * min(spacing)]
    gradient = np.sqrt(sum(smoothed(result, spacing, 1.0, axis) ** 2 for axis in fine))
    return float(scipy.stats.spearmanr(np.abs(removed)[head], gradient[head]).statistic)


def shares() -> None:
    """Print the share of noise in what is removed from the EPI: true, told by an added noise of full strength, and of a tenth."""
    series, _, spacing = scans()[EPI]
    first, second = (np.ascontiguousarray(series[..., k]) for k in (0, 1))
    head = (first + second) / 2 > threshold_otsu((first + second) / 2)
    noise = nd.suggest(series, nd.Linear(), axes=(0, 1, 2), spacing=spacing).noise
    added = noise.sigma * coloured(
        np.random.default_rng(0).normal(size=first.shape), noise.correlations
    )
    for model, time in NINE:

        def removed(u: np.ndarray, model: nd.Model = model, time: float = time) -> np.ndarray:
            return u - nd.diffuse(u, model, time=time, spacing=spacing)

        own, other = removed(first), removed(second)
        told_by = []
        for strength in (1.0, EPSILON):
            changed = (removed((first + strength * added).astype(np.float32)) - own) / strength
            told_by.append(float(np.square(changed)[head].mean() / np.square(own)[head].mean()))
        true = noise_in_removed(first - own, first, second - other, second)
        gain = agreement(first - own, first, second)
        print(
            f"{told(model, time)}: gain {gain:.2f} dB, true {true:.2f}, told {told_by[0]:.2f}, by the tenth {told_by[1]:.2f}"
        )


def structure() -> None:
    """Print how much structure there is, and what the smallest error alone gains there and removes; then the five pictures."""
    from napari_diffusion.estimation import suggestion as module

    def watched(sums: Any) -> float:
        share, gain = tell(sums), 10 * np.log10(sums.variance / sums.number / module.sure(sums))
        print(
            f"gain {gain:.2f} dB in {sums.number:.0f} voxels, noise in what is removed {share:.2f} by magnitudes"
        )
        return share

    def counted(pieces: Any, probes: Any) -> Any:
        masks = find(pieces, probes)
        part = sum(mask.sum() for mask in masks) / sum(
            (probe.deviation > 0).sum() for probe in probes
        )
        print("    all" if part == 1 else f"    {100 * part:.0f} % are structure", end=": ")
        return masks

    tell, find = module.typical_share, module.structures
    # Put in their place, as a suggestion tells neither: what is read from structure, and how much of the image that is.
    module.typical_share, module.structures = watched, counted
    for name, (series, _, spacing) in scans().items():
        print(name)
        nd.suggest(series, axes=(0, 1, 2), spacing=spacing)
    for case in CASES:
        print(f"{case.name}, {case.percent} %")
        nd.suggest(case.make()[1], nd.PeronaMalik(), spacing=case.spacing)
    for strength, width, edge in (
        (600, 1.0, 60),
        (600, 1.0, 100),
        (1000, 1.0, 60),
        (1500, 1.5, 60),
        (300, 0.7, 60),
    ):
        detail = scipy.ndimage.gaussian_filter(
            np.random.default_rng(4).normal(size=(200, 200)), width
        )
        detail *= np.where(np.arange(200) < edge, strength / detail.std(), 0)
        one, two = (
            (detail + 10 * np.random.default_rng(k).normal(size=detail.shape)).astype("f4")
            for k in (1, 2)
        )
        print(f"detail of {strength}, smooth over {width} voxels, in {edge} of 200 columns")
        found = nd.suggest(one, nd.PeronaMalik())
        first, second = (
            (u - nd.diffuse(u, found.model, time=found.time))[:, : edge - 3] for u in (one, two)
        )
        true = np.square(first - second).mean() / 2 / np.square(first).mean()
        print(
            f"    {told(found.model, found.time)}: {true:.2f} of what goes of the detail is noise"
        )


def tile(plane: np.ndarray, low: float, high: float) -> Image.Image:
    grey = np.clip((np.rot90(plane) - low) / max(high - low, 1e-9), 0, 1) * 255
    image = Image.fromarray(grey.astype(np.uint8))
    return image.resize(
        (max(1, round(image.width * HEIGHT / image.height)), HEIGHT), Image.Resampling.NEAREST
    )


def level(noise: Noise) -> str:
    """Kind and numbers in words."""
    detail = "" if noise.allowed or not noise.correlations else ", taken for detail"
    return f"{noise.kind}, {noise.sigma:.3g} ± {noise.error:.1g}; correlation {noise.correlation:.2f}{detail}"


def told(model: nd.Model, time: float) -> str:
    """Model and numbers in words."""
    numbers = [
        f"{k} {getattr(model, k):.3g} {u}"
        for k, u in (("kappa", "/mm"), ("sigma", "mm"))
        if hasattr(model, k)
    ]
    return ", ".join([model.name, *numbers, f"time {time:.3g} mm²"])


def main() -> None:
    """Filter every scan, and show original, result, what was removed, and that over its local strength, side by side."""
    rows = []
    columns = (
        "scan",
        "noise",
        "chosen",
        "gain [dB]",
        "noise in what was removed",
        "its neighbours correlate",
        "edges in it",
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    template = next(case for case in CASES if case.kind == "rician")
    clean, noisy, _ = template.make()

    def show(
        name: str,
        data: np.ndarray,
        spacing: tuple[float, ...],
        model: nd.Model,
        time: float,
        noise: str,
        share: float,
        second: Any = None,
    ) -> None:
        result = nd.diffuse(data, model, time=time, spacing=spacing)
        removed, inside = data - result, data > 0
        gain, told_share = "", "" if np.isnan(share) else f"{100 * share:.0f} % expected"
        if second is not None:
            gain = f"{agreement(result, data, second):.2f}"
            true = noise_in_removed(
                result, data, nd.diffuse(second, model, time=time, spacing=spacing), second
            )
            told_share = f"{100 * true:.0f} %" + (f", {told_share}" if told_share else "")
        shown = [
            f"{neighbours(removed, inside, spacing):.2f}",
            f"{anatomy(removed, result, spacing):.2f}",
        ]
        if data is noisy:
            perfect = (
                neighbours(noisy - clean, inside, spacing),
                anatomy(noisy - clean, clean, spacing),
            )
            shown = [
                f"{here}, by a perfect filter {there:.2f}"
                for here, there in zip(shown, perfect, strict=True)
            ]
        lines.append(
            f"| {name} | {noise} | {told(model, time)} | {gain} | {told_share} | {' | '.join(shown)} |"
        )
        z, top = data.shape[2] // 2, float(np.quantile(data, 0.995))
        spread = 4 * float(np.std(removed[inside]))
        local = np.sqrt(smoothed(removed**2, spacing, 2.0)) + 1e-3 * spread
        planes = (
            (data, 0, top),
            (result, 0, top),
            (removed, -spread, spread),
            (removed / local, -4, 4),
        )
        rows.append([tile(volume[..., z], low, high) for volume, low, high in planes])

    for name, (series, which, spacing) in {
        **scans(),
        "MNI template with Rician noise": (noisy[..., None], 0, template.spacing),
    }.items():
        data = noisy if series.base is noisy else np.ascontiguousarray(series[..., which])
        found = nd.suggest(series, axes=(0, 1, 2), spacing=spacing, unit="mm")
        print(name, series.shape, spacing, found.report, sep="\n", flush=True)
        second = np.ascontiguousarray(series[..., 1]) if name == EPI else None
        show(
            name,
            data,
            spacing,
            found.model,
            found.time,
            level(found.noise),
            found.noise_share,
            second,
        )
        if second is not None:
            one = nd.suggest(data, spacing=spacing)
            show(
                "the same, from the first volume alone",
                data,
                spacing,
                one.model,
                one.time,
                level(one.noise),
                one.noise_share,
                second,
            )
            show(
                "the same, largest gain by the second volume",
                data,
                spacing,
                *best(data, second, spacing),
                "",
                np.nan,
                second,
            )
    width = max(sum(part.width + 4 for part in row) for row in rows)
    picture = Image.new("L", (width, len(rows) * (HEIGHT + 4)), 255)
    for number, row in enumerate(rows):
        x = 0
        for part in row:
            picture.paste(part, (x, number * (HEIGHT + 4)))
            x += part.width + 4
    picture.save(DOCS / "images" / "residuals.png", optimize=True)
    print("\n".join(lines))


if __name__ == "__main__":
    {"--shares": shares, "--structure": structure}.get(sys.argv[-1], main)()
