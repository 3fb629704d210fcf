"""Removed parts of real scans after automatic filtering: a picture and a table.

``python tests/benchmarks/residuals.py`` needs nibabel and, for the diffusion scans, ``pip install
--no-deps dipy``: only the data files are read. The last row is simulated: the MNI template (``pip
install --no-deps nilearn``) with Rician noise, for which the part that a perfect filter removes is
known.

The EPI has two volumes of one head, with independent noise. The gain of the first volume can
therefore be measured with the second one, and so can the best of many settings.

``--shares`` prints the share of noise in the removed part for nine settings: measured with the
second volume, and estimated with added noise, at full strength and at a tenth of it.
``--structure`` prints the part of structure that the choice of minimum error would remove. It also
prints the share of noise in the part removed from the detail of five pictures with an empty
background, measured with independent noise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
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
from napari_diffusion.estimation.noise.correlations import correlated_noise
from napari_diffusion.estimation.noise.kinds import Noise
from napari_diffusion.estimation.risk import EPSILON

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "automatic.md"
#: Height of a tile of the picture, and distance of tiles [pixel].
HEIGHT, GAP = 200, 4
EPI = "EPI, nibabel"
#: Name, package, file, first volume and shown volume of each scan.
FILES = (
    (EPI, "nibabel", "tests/data/example4d.nii.gz", 0, 0),
    ("b0 4x4x5 mm, dipy", "dipy", "data/files/aniso_vox.nii.gz", 0, 0),
    ("b0 slices, dipy", "dipy", "data/files/S0_10slices.nii.gz", 0, 0),
    # The volume before the first one is not diffusion-weighted.
    ("diffusion-weighted, dipy", "dipy", "data/files/small_64D.nii", 1, 19),
)
#: Models, names and values of their parameters, and times, of which the best setting is searched.
_KAPPAS, _SIGMAS = (0.5, 0.7, 1, 2, 4, 8, 16), (0, 0.7, 1.4, 2)
SETTINGS = (
    (nd.PeronaMalik, ("kappa", "sigma"), _KAPPAS, _SIGMAS),
    (nd.EdgeEnhancing, ("kappa", "sigma"), _KAPPAS, _SIGMAS[1:]),
    (nd.TotalVariation, ("kappa",), _KAPPAS),
    (nd.Linear, ()),
)
TIMES = (0.1, 0.3, 0.7, 1.5, 3, 10, 40, 120)
#: Settings of ``--shares``.
SHARE_SETTINGS = (
    *((nd.TotalVariation(kappa=3.89), time) for time in (0.1, 0.661)),
    *((nd.PeronaMalik(kappa=kappa, sigma=0.7), time) for kappa, time in ((0.7, 124), (4, 3))),
    *(
        (nd.PeronaMalik(kappa=kappa), time)
        for kappa, time in ((4, 1), (2, 1.5), (1, 10), (0.5, 10), (0.5, 120))
    ),
)
#: Standard deviation, smoothness [voxel] and number of columns of the detail of ``--structure``.
DETAILS = ((600, 1.0, 60), (600, 1.0, 100), (1000, 1.0, 60), (1500, 1.5, 60), (300, 0.7, 60))


@dataclass(frozen=True)
class Scan:
    """A series of volumes, the number of the volume that is shown, and the voxel size [mm]."""

    series: np.ndarray
    shown: int
    spacing: tuple[float, ...]

    @property
    def volume(self) -> np.ndarray:
        """The volume that is shown."""
        return np.ascontiguousarray(self.series[..., self.shown])


def scans() -> dict[str, Scan]:
    """All scans by name."""
    loaded = {}
    for name, package, path, first, shown in FILES:
        image = nibabel.load(package_file(package, path))
        data = np.atleast_3d(np.asarray(image.dataobj, np.float32))
        data = data[..., first:] if data.ndim > 3 else data[..., None]
        loaded[name] = Scan(data, shown, tuple(float(h) for h in image.header.get_zooms()[:3]))
    return loaded


def head_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mask of the head in two volumes."""
    mean = (first + second) / 2
    return mean > threshold_otsu(mean)


def agreement(result: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Gain [dB] of a filtered first volume in the head, measured with a second volume.

    The noise of the second volume, which does not depend on the filter, is subtracted.
    """
    head = head_of(first, second)
    noise = float(np.square(first - second)[head].mean()) / 2
    return 10 * float(np.log10(noise / (float(np.square(result - second)[head].mean()) - noise)))


def noise_in_removed(
    result: np.ndarray, first: np.ndarray, other: np.ndarray, second: np.ndarray
) -> float:
    """Share of noise in the part removed from a first volume in the head.

    The part that is also removed from a second volume is picture. The filtered volumes are
    ``result`` and ``other``.
    """
    head = head_of(first, second)
    removed = first - result
    change = float(np.square(removed - (second - other))[head].mean())
    return change / 2 / float(np.square(removed)[head].mean())


def best(
    first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...]
) -> tuple[nd.Model, float]:
    """Model and time of the largest `agreement`, over all `SETTINGS` and `TIMES`."""
    settings = [
        (cls(**dict(zip(names, values, strict=True))), time)
        for cls, names, *lists in SETTINGS
        for values in product(*lists)
        for time in TIMES
    ]

    def gain(setting: tuple[nd.Model, float]) -> float:
        result = nd.diffuse(first, setting[0], time=setting[1], spacing=spacing)
        return agreement(result, first, second)

    return max(settings, key=gain)


def fine_axes(spacing: tuple[float, ...]) -> list[int]:
    """Axes that are sampled nearly as finely as the finest."""
    return [axis for axis in range(3) if spacing[axis] <= 1.5 * min(spacing)]


def neighbour_correlation(
    removed: np.ndarray, inside: np.ndarray, spacing: tuple[float, ...]
) -> float:
    """Correlation of neighbouring voxels of the removed part, largest over the fine axes."""
    correlations = []
    for axis in fine_axes(spacing):
        near = tuple(slice(None, -1) if i == axis else slice(None) for i in range(3))
        far = tuple(slice(1, None) if i == axis else slice(None) for i in range(3))
        both = inside[near] & inside[far]
        correlations.append(float(np.corrcoef(removed[near][both], removed[far][both])[0, 1]))
    return max(correlations, key=abs)


def smoothed(
    u: np.ndarray, spacing: tuple[float, ...], width: float, derivative: int | None = None
) -> np.ndarray:
    """Gaussian of ``width`` [voxel] over the fine axes, or its derivative along one axis."""
    sigmas = [width * (axis in fine_axes(spacing)) for axis in range(3)]
    return scipy.ndimage.gaussian_filter(u, sigmas, order=[int(i == derivative) for i in range(3)])


def edge_correlation(removed: np.ndarray, result: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Rank correlation of the magnitude of the removed part with the gradient, in the head.

    The gradient is that of the result. The correlation is 0 if the removed part shows no edges.
    """
    head = result > threshold_otsu(result)
    squares = (smoothed(result, spacing, 1.0, axis) ** 2 for axis in fine_axes(spacing))
    gradient = np.sqrt(sum(squares))
    return float(scipy.stats.spearmanr(np.abs(removed)[head], gradient[head]).statistic)


def shares() -> None:
    """Print the share of noise in the part removed from the EPI, for `SHARE_SETTINGS`.

    It is measured with the second volume, and estimated with added noise of full strength and of a
    tenth of it.
    """
    scan = scans()[EPI]
    first, second = (np.ascontiguousarray(scan.series[..., k]) for k in (0, 1))
    head = head_of(first, second)
    noise = nd.suggest(scan.series, nd.Linear(), axes=(0, 1, 2), spacing=scan.spacing).noise
    white = np.random.default_rng(0).normal(size=first.shape)
    added = noise.sigma * correlated_noise(white, noise.correlations)
    for model, time in SHARE_SETTINGS:

        def removed(u: np.ndarray, model: nd.Model = model, time: float = time) -> np.ndarray:
            return u - nd.diffuse(u, model, time=time, spacing=scan.spacing)

        own, other = removed(first), removed(second)
        estimates = []
        for strength in (1.0, EPSILON):
            changed = (removed((first + strength * added).astype(np.float32)) - own) / strength
            estimates.append(float(np.square(changed)[head].mean() / np.square(own)[head].mean()))
        true = noise_in_removed(first - own, first, second - other, second)
        gain = agreement(first - own, first, second)
        print(
            f"{setting_in_words(model, time)}: gain {gain:.2f} dB, true {true:.2f}, "
            f"estimated {estimates[0]:.2f}, with a tenth of the noise {estimates[1]:.2f}"
        )


def print_structure() -> None:
    """Print the gain on structure and the share of noise in the part removed from it.

    Both are for the choice of minimum error, for all scans, cases and `DETAILS`.
    """
    from napari_diffusion.estimation import selection as module

    typical_noise_share, structure_masks = module.typical_noise_share, module.structure_masks

    def reported_share(sums: Any) -> float:
        share = typical_noise_share(sums)
        gain = 10 * np.log10(sums.variance / sums.voxels / module.sure(sums))
        print(
            f"gain {gain:.2f} dB in {sums.voxels:.0f} voxels, "
            f"noise in the removed part {share:.2f} by magnitudes"
        )
        return share

    def reported_masks(patches: Any, probes: Any) -> Any:
        masks = structure_masks(patches, probes)
        counted = sum((probe.deviation > 0).sum() for probe in probes)
        part = sum(mask.sum() for mask in masks) / counted
        print("    all" if part == 1 else f"    {100 * part:.0f} % are structure", end=": ")
        return masks

    # A suggestion does not report the sums on structure: replace the functions that receive them.
    module.typical_noise_share, module.structure_masks = reported_share, reported_masks
    for name, scan in scans().items():
        print(name)
        nd.suggest(scan.series, axes=(0, 1, 2), spacing=scan.spacing)
    for case in CASES:
        print(f"{case.name}, {case.percent} %")
        nd.suggest(case.make()[1], nd.PeronaMalik(), spacing=case.spacing)
    for strength, width, columns in DETAILS:
        print_detail(strength, width, columns)


def print_detail(strength: float, width: float, columns: int) -> None:
    """Print the true share of noise in the part removed from detail beside an empty background."""
    detail = scipy.ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(200, 200)), width)
    detail *= np.where(np.arange(200) < columns, strength / detail.std(), 0)
    images = [
        (detail + 10 * np.random.default_rng(k).normal(size=detail.shape)).astype("f4")
        for k in (1, 2)
    ]
    print(f"detail of {strength}, smooth over {width} voxels, in {columns} of 200 columns")
    result = nd.suggest(images[0], nd.PeronaMalik())
    first, second = (
        (u - nd.diffuse(u, result.model, time=result.time))[:, : columns - 3] for u in images
    )
    true = np.square(first - second).mean() / 2 / np.square(first).mean()
    setting = setting_in_words(result.model, result.time)
    print(f"    {setting}: {true:.2f} of the part removed from the detail is noise")


def noise_in_words(noise: Noise) -> str:
    """Kind and numbers of a noise."""
    origins = {"detail": ", taken for detail", "undecided": ", of noise or of detail"}
    detail = origins.get(noise.origin, "")
    level = f"{noise.sigma:.3g} ± {noise.error:.1g}"
    return f"{noise.kind}, {level}; correlation {noise.correlation:.2f}{detail}"


def setting_in_words(model: nd.Model, time: float) -> str:
    """Name and parameters of a model, and the time."""
    numbers = [
        f"{name} {getattr(model, name):.3g} {unit}"
        for name, unit in (("kappa", "/mm"), ("sigma", "mm"))
        if hasattr(model, name)
    ]
    return ", ".join([model.name, *numbers, f"time {time:.3g} mm²"])


@dataclass(frozen=True)
class Entry:
    """A row of the table and of the picture.

    Attributes
    ----------
    name, noise
        Cells of the table.
    data, spacing
        The volume, and its voxel size [mm].
    model, time
        The setting of the filter.
    expected_share
        Expected share of noise in the removed part, or NaN.
    second
        Second volume with independent noise, or None.
    clean
        Noise-free volume, or None.
    """

    name: str
    noise: str
    data: np.ndarray
    spacing: tuple[float, ...]
    model: nd.Model
    time: float
    expected_share: float = np.nan
    second: np.ndarray | None = None
    clean: np.ndarray | None = None

    def filtered(self, u: np.ndarray) -> np.ndarray:
        """Filter a volume with the setting."""
        return nd.diffuse(u, self.model, time=self.time, spacing=self.spacing)

    def line(self, result: np.ndarray) -> str:
        """Row of the table, in Markdown."""
        data, spacing = self.data, self.spacing
        removed, inside = data - result, data > 0
        gain, expected = "", f"{100 * self.expected_share:.0f} % expected"
        share = "" if np.isnan(self.expected_share) else expected
        if self.second is not None:
            gain = f"{agreement(result, data, self.second):.2f}"
            true = noise_in_removed(result, data, self.filtered(self.second), self.second)
            share = f"{100 * true:.0f} %" + (f", {share}" if share else "")
        correlations = [
            f"{neighbour_correlation(removed, inside, spacing):.2f}",
            f"{edge_correlation(removed, result, spacing):.2f}",
        ]
        if self.clean is not None:
            noise = data - self.clean
            perfect = (
                neighbour_correlation(noise, inside, spacing),
                edge_correlation(noise, self.clean, spacing),
            )
            correlations = [
                f"{own}, by a perfect filter {ideal:.2f}"
                for own, ideal in zip(correlations, perfect, strict=True)
            ]
        setting = setting_in_words(self.model, self.time)
        cells = [self.name, self.noise, setting, gain, share, *correlations]
        return f"| {' | '.join(cells)} |"

    def tiles(self, result: np.ndarray) -> list[Image.Image]:
        """Planes of the volume, the result, the removed part, and that over its local strength."""
        data, removed = self.data, self.data - result
        z, top = data.shape[2] // 2, float(np.quantile(data, 0.995))
        spread = 4 * float(np.std(removed[data > 0]))
        local = np.sqrt(smoothed(removed**2, self.spacing, 2.0)) + 1e-3 * spread
        planes = (
            (data, 0, top),
            (result, 0, top),
            (removed, -spread, spread),
            (removed / local, -4, 4),
        )
        return [tile(volume[..., z], low, high) for volume, low, high in planes]


def tile(plane: np.ndarray, low: float, high: float) -> Image.Image:
    """Grey-level image of a plane, of the height `HEIGHT`."""
    grey = np.clip((np.rot90(plane) - low) / max(high - low, 1e-9), 0, 1) * 255
    image = Image.fromarray(grey.astype(np.uint8))
    width = max(1, round(image.width * HEIGHT / image.height))
    return image.resize((width, HEIGHT), Image.Resampling.NEAREST)


def entries() -> Iterator[Entry]:
    """Filter every scan with suggested parameters; print the reports."""
    template = next(case for case in CASES if case.kind == "rician")
    clean, noisy, _ = template.make()
    simulated = "MNI template with Rician noise"
    all_scans = scans() | {simulated: Scan(noisy[..., None], 0, template.spacing)}
    for name, scan in all_scans.items():
        data, spacing = scan.volume, scan.spacing
        suggestion = nd.suggest(scan.series, axes=(0, 1, 2), spacing=spacing, unit="mm")
        print(name, scan.series.shape, spacing, suggestion.report, sep="\n", flush=True)
        second = np.ascontiguousarray(scan.series[..., 1]) if name == EPI else None
        known = clean if name == simulated else None
        yield suggested_entry(name, data, spacing, suggestion, second, known)
        if second is not None:
            single = nd.suggest(data, spacing=spacing)
            title = "the same, from the first volume alone"
            yield suggested_entry(title, data, spacing, single, second)
            title = "the same, largest gain by the second volume"
            setting = best(data, second, spacing)
            yield Entry(title, "", data, spacing, *setting, second=second)


def suggested_entry(
    name: str,
    data: np.ndarray,
    spacing: tuple[float, ...],
    suggestion: nd.Suggestion,
    second: np.ndarray | None,
    clean: np.ndarray | None = None,
) -> Entry:
    """Row for suggested parameters."""
    return Entry(
        name,
        noise_in_words(suggestion.noise),
        data,
        spacing,
        suggestion.model,
        suggestion.time,
        suggestion.noise_share,
        second,
        clean,
    )


def main() -> None:
    """Filter every scan; write the picture, and the table of the page."""
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
    rows = []
    for entry in entries():
        result = entry.filtered(entry.data)
        lines.append(entry.line(result))
        rows.append(entry.tiles(result))
    width = max(sum(part.width + GAP for part in row) for row in rows)
    picture = Image.new("L", (width, len(rows) * (HEIGHT + GAP)), 255)
    for number, row in enumerate(rows):
        x = 0
        for part in row:
            picture.paste(part, (x, number * (HEIGHT + GAP)))
            x += part.width + GAP
    picture.save(DOCS / "images" / "residuals.png", optimize=True)
    write_table("\n".join(lines))


def write_table(text: str) -> None:
    """Replace the table of the scans on the page."""
    start, end = "<!-- scans -->\n", "\n<!-- end scans -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(start)
    PAGE.write_text(before + start + text + end + rest.split(end)[1], encoding="utf-8")


if __name__ == "__main__":
    {"--shares": shares, "--structure": print_structure}.get(sys.argv[-1], main)()
