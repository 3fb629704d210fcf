"""Numbers in the text have a source: a table that a command wrote, a constant, or arithmetic.

A number with a unit in a sentence needs an entry in `SOURCES`. The entry quotes the sentence, and
its check compares the number with the source. Tables that a command wrote, and examples, are left
out.
"""

import json
import math
import re

import pytest

from helpers.paths import ROOT
from napari_diffusion.backends.numba.backend import NumbaBackend
from napari_diffusion.cli import signals
from napari_diffusion.core.transforms import anscombe
from napari_diffusion.engine import recipe as recipes
from napari_diffusion.estimation import aims, probes, search, selection, thin_structure
from napari_diffusion.estimation.report import announcement, strength, words
from napari_diffusion.io import compressed, dicom, metaimage, nrrd
from napari_diffusion.operators.impulses import search as impulses
from napari_diffusion.previewing import surroundings

DOCS = ROOT / "docs"
EFFECT = "src/napari_diffusion/estimation/report/strength.py"
FOLDERS = ("start", "learn", "recipes", "coming_from", "project", "reference")
#: Written as a whole by a script, or a record of measurements that names its commands.
OTHERS = {"benchmarks.md", "noise_kinds.md", "denoising.md", "reliability.md"}
PAGES = {
    page.relative_to(ROOT).as_posix(): page
    for page in (
        ROOT / "README.md",
        *(page for page in sorted(DOCS.glob("*.md")) if page.name not in OTHERS),
        *(page for folder in FOLDERS for page in sorted((DOCS / folder).glob("*.md"))),
        DOCS / "develop" / "architecture.md",
        DOCS / "develop" / "environments.md",
    )
}
UNIT = r"(?:%|dB\b|ms\b|s\b|GB\b|[KMG]iB\b|bytes\b|seconds\b|minutes\b|times\b)"
WORDS = "two|three|four|five|six|seven|eight|nine|ten"
NUMBER = re.compile(rf"(?:(?<![\w.,-])\d[\d.]*|\b(?:{WORDS})) {UNIT}|\b(?:hundred|thousand)th of\b")


def benchmark(name):
    return json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))[name]


def rows(page, start):
    """Return the cells of the first table after some words of a page."""
    text = source(f"docs/{page}")
    table = re.search(r"(?:^\|.*\n)+", text[text.index(start) :], flags=re.MULTILINE).group()
    return [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def memory_is_that_of_the_benchmark():
    """A peak, in images: the rows of the tensor models are the last five."""
    peaks = [
        float(line.split("|")[2]) for line in benchmark("memory")["text"].splitlines()[4:] if line
    ]
    return round(max(peaks[:-5])) == 6 and {round(peak) for peak in peaks[-5:]} == {8}


def gains_of_the_guide():
    """Return the gains of guided edge-enhancing diffusion, and those over the best other filter."""
    gains, leads = [], []
    for start in ("## Confocal stack", "## MRI"):
        table = rows("denoising.md", start)[2:]
        ratios = {name.replace("*", ""): float(ratio) for name, ratio, *_ in table}
        own = ratios["Edge-enhancing, guided"]
        gains.append(round(own - ratios["Edge-enhancing, rho 1 voxel"], 1))
        others = (ratio for name, ratio in ratios.items() if "guided" not in name)
        leads.append(round(own - max(others), 1))
    return gains, leads


def leads_of_bm4d(*kinds):
    """Return by how much BM4D leads our models on images whose names contain a word [dB]."""
    stored = json.loads((DOCS / "noise_kinds.json").read_text(encoding="utf-8"))
    return [
        gains["BM3D, BM4D"]["gain"] - max(gains[own]["gain"] for own in ("automatic", "our best"))
        for name, gains in stored.items()
        if any(kind in name for kind in kinds)
    ]


def is_decibel(ratio, decibels):
    return round(10 * math.log10(ratio)) == decibels


def source(path):
    return (ROOT / path).read_text(encoding="utf-8")


def fourfold():
    """The example of the page makes the right half four times as strong."""
    text = source("docs/models.md")
    return "arange(128) < 64, 1.0, 4.0)" in text and "kappa_map=((1.0, 1.0, 4.0, 4.0),)" in text


def mean_and_worst_loss():
    table = rows("automatic.md", "| image | noise | κ/(σ/voxel)")
    losses = [float(row[5]) for row in table if re.fullmatch(r"[\d.]+", row[5])]
    return losses[-2], losses[-1]


def lowest_correlated_level():
    table = rows("automatic.md", "<!-- correlated -->")
    return min(float(row[3]) for row in table[2:] if row[3])


def installation_in_gb():
    return re.search(r"([\d.]+) GB on disk", source("dev.py")).group(1)


SOURCES = {
    "docs/recipes/large_images.md": {
        "A node has 32 processors, 64 GiB for the run, and reads and writes 1 GB/s": lambda: (
            "CORES, NODE_MEMORY, NODE_BANDWIDTH = 32, 64 << 30, 1e9"
            in source("tests/benchmarks/stores.py")
        ),
    },
    "README.md": {
        "this creates an environment in `.venv` (1.6 GB": lambda: installation_in_gb() == "1.6",
        "up to six times the memory of one time point as float32, and eight times for": (
            memory_is_that_of_the_benchmark
        ),
    },
    "docs/start/index.md": {
        "creates an environment in `.venv` (1.6 GB": lambda: installation_in_gb() == "1.6",
    },
    "docs/recipes/fluorescence.md": {
        "up to six times the memory of one frame as float32, and eight times for tensor": (
            memory_is_that_of_the_benchmark
        ),
    },
    "docs/recipes/electron_microscopy.md": {
        "BM4D with the noise spectrum gained 5 dB more": lambda: (
            [round(lead) for lead in leads_of_bm4d("tomogram, back projection")] == [5]
        ),
    },
    "docs/recipes/mri.md": {
        "BM4D gained 1 to 2 dB more": lambda: all(
            1 <= lead <= 2 for lead in leads_of_bm4d("coils", "parallel imaging")
        ),
    },
    "docs/coming_from/itk.md": {
        "A step takes less than a hundredth of the time of SimpleITK": lambda: (
            benchmark("perona-malik")["speeds"]["ours, rational"]
            > 100 * benchmark("perona-malik")["speeds"]["SimpleITK GradientAnisotropicDiffusion"]
        ),
    },
    "docs/conversion.md": {
        "tests hold gradient diffusion to 1 % in planes and 2 % in volumes": lambda: (
            "[(2, 64, 0.01), (3, 40, 0.02)]" in source("tests/peers/test_presets.py")
        ),
    },
    "docs/command_line.md": {
        "ends every command within about two seconds": lambda: signals.GRACE_S < 2,
    },
    "docs/data.md": {
        "If 1 % of the voxels are defects, at least 95 % of these are detected; if 5 %, at least "
        "60 %": lambda: (
            "(0.01, 0.95), (0.05, 0.6)" in source("tests/engine/test_impulse_search.py")
        ),
        "at most 1.5 times the smallest": lambda: impulses.COARSE == 1.5,
        "rounding errors exceed 1 % of the range": lambda: anscombe.LARGEST_ERROR == 0.01,
        "the bias is below 0.5 % from one photon on": lambda: (
            "pytest.approx(3 * rate, rel=5e-3)" in source("tests/engine/test_transform.py")
        ),
    },
    "docs/learn/faq.md": {
        "to a thousandth of the intensity range": lambda: surroundings.EXACTNESS == 1e-3,
    },
    "docs/learn/how_to_choose.md": {
        "edge-enhancing diffusion gained 1.1 dB on": lambda: set(gains_of_the_guide()[0]) == {1.1},
        "0.7 and 0.1 dB more than the best model without it": lambda: (
            gains_of_the_guide()[1] == [0.7, 0.1]
        ),
        "by at least 1 dB": lambda: all(
            float(row[2]) - float(row[3]) > 0.9
            for row in rows("learn/how_to_choose.md", "<!-- others -->")[2:]
        ),
        "3 dB is half the squared error": lambda: is_decibel(2, 3),
        "from dark to more than ten times as bright": lambda: (
            "(1, 2), (1, 30), (10, 5), (100, 2)" in source("tests/benchmarks/photons.py")
        ),
    },
    "docs/learn/what_is_diffusion.md": {
        "Frames of a plate with a hot L, at eight times": lambda: len(film("plate")) == 8,
        "Cells under linear and Perona-Malik diffusion, at eight times": lambda: (
            len(film("edges")) % 8 == 0
        ),
        "an edge ten times as high as the noise": lambda: (
            "10.0 * (np.arange(128) >= 64)" in source("docs/make_learn_figures.py")
        ),
    },
    "docs/reference/terms.md": {
        "3 dB is half the error, 10 dB a tenth": lambda: is_decibel(2, 3) and is_decibel(10, 10),
    },
    "docs/models.md": {
        "multiplicative noise (standard deviation of 0.32 times the brightness)": lambda: (
            "rng.gamma(10.0, 0.1, " in source("docs/make_model_pictures.py")
        ),
        "noise and contrast are four times larger": fourfold,
        "is exactly four times that of the left half": fourfold,
    },
    "docs/napari.md": {
        "time series, 3 GB file": lambda: (
            "A file of 3 GB" in source("tests/ui/test_three_clicks.py")
        ),
    },
    "docs/automatic.md": {
        "Boundaries keep at least 90 % of their contrast": lambda: aims.MIN_CONTRAST == 0.9,
        "the estimated gain has fallen by 2 dB": lambda: strength.MAX_GAIN_LOSS_DB == 2,
        "3 dB is half the error, 10 dB a tenth": lambda: is_decibel(2, 3) and is_decibel(10, 10),
        "a probability of 80 % for uniform white Gaussian noise, and of 90 % otherwise": lambda: (
            (announcement.TAIL, announcement.TAIL_ELSEWHERE) == (0.1, 0.05)
        ),
        "omits it where less than 3 % of the noise is removed": lambda: (
            words.MAX_NOISE_LEFT == 0.97
        ),
        "at most 14 times from each start": lambda: search.MAX_COMBINATIONS == 14,
        "at least ten times those of the noise": lambda: probes.MIN_GRADIENT_RATIO == 10,
        "If the gain in structure is below 1.5 dB": lambda: selection.SMALL_GAIN_DB == 1.5,
        "keep at least 93 % of the contrast": lambda: round(1 - thin_structure.MAX_LOSS, 9) == 0.93,
        "loses 0.04 dB against the best parameters of that model, and 0.14 dB at most": lambda: (
            mean_and_worst_loss() == (0.04, 0.14)
        ),
        "volume of 512³ voxels took 6 s on two processors": lambda: (
            "| nd.suggest for a volume of 512³, Perona-Malik named | 6.2 |"
            in benchmark("waiting")["text"]
        ),
        'such as "Removes about 65 % of the noise; edges and fine detail are kept."': lambda: (
            "edges and fine detail are kept" in source(EFFECT)
        ),
        "granules have 40 %": lambda: (
            "granules of 40 % of it" in source("tests/helpers/segmented.py")
        ),
        "is estimated up to 6 % too low (third table": lambda: lowest_correlated_level() == 0.941,
        "The largest gain of 456 settings of four models is 0.30 dB": lambda: (
            rows("automatic.md", "## Real scans")[4][3] == "0.30"
        ),
    },
    "docs/guide.md": {
        "its signal-to-noise ratio is 6 dB": lambda: (
            "NOISE_DB, BLUR_MM = 6.0, 4.0" in source("tests/benchmarks/guided.py")
        ),
    },
    "docs/thin_structure.md": {
        "keep at least 93 % of the contrast": lambda: round(1 - thin_structure.MAX_LOSS, 9) == 0.93,
        "with noise of 15 % of the contrast, the mean": lambda: (
            "by_model(15.0)" in source("tests/benchmarks/contrast.py")
        ),
        "with noise of 10 % of the contrast": lambda: (
            "by_shape(10.0)" in source("tests/benchmarks/contrast.py")
        ),
        "`gamma` is 10 % of the contrast": lambda: (
            "nd.VesselEnhancing(gamma=10.0)" in source("tests/benchmarks/contrast.py")
        ),
        "45 % of the mean difference of Gaussians of 1 and 4 pixels on the darkest 4 %": lambda: (
            all(
                line in source("tests/benchmarks/contrast.py")
                for line in ("percentile(signed, 4)", "level = 0.15 *", "clean + 3 * level")
            )
        ),
    },
    "docs/security.md": {
        "inflated in parts of 1 MiB": lambda: dicom._CHUNK == 2**20,
        "| header of NRRD or MetaImage | 1 MiB |": lambda: (
            nrrd._LONGEST_HEADER == metaimage._LONGEST_HEADER == 2**20
        ),
        "| content after an image | 1 MiB;": lambda: compressed.ALLOWED_REST == 2**20,
        "A file of more than 64 MiB is refused": lambda: recipes._LONGEST_FILE == 2**26,
    },
    "docs/develop/architecture.md": {
        "store a tensor in 16 bytes per voxel": lambda: NumbaBackend().tensor_bytes(3) == 16,
    },
    "docs/develop/environments.md": {
        "fails below 95 %": lambda: 'COVERAGE_GOAL = "--cov-fail-under=95"' in source("dev.py"),
    },
}


def film(name):
    films = json.loads((DOCS / "images" / "learn" / "films.json").read_text(encoding="utf-8"))
    return films[name]["labels"]


def prose(page):
    """Return the text of a page without examples and written tables, in one line."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"^```(?!\{).*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!-- (?!end)(.+?) -->.*?<!-- end.*? -->", "", text, flags=re.DOTALL)
    text = re.sub(r"^---\n.*?^---\n", "", text, count=1, flags=re.DOTALL | re.MULTILINE)
    return " ".join(text.split()).replace("Start in five minutes", "")


def test_a_number_in_a_sentence_is_found():
    text = "gains 3 dB, ten times, a hundredth of the time, in 16 bytes and 5 % of x_3 s, 512 × 512"
    assert NUMBER.findall(text) == ["3 dB", "ten times", "hundredth of", "16 bytes", "5 %"]


@pytest.mark.parametrize("name", PAGES)
def test_every_number_of_a_page_has_a_source(name):
    text = prose(PAGES[name])
    for quoted in SOURCES.get(name, {}):
        text = text.replace(quoted, "")
    assert NUMBER.findall(text) == []


@pytest.mark.parametrize(
    ("name", "quoted"), [(name, quoted) for name, entries in SOURCES.items() for quoted in entries]
)
def test_a_number_is_that_of_its_source(name, quoted):
    assert quoted in prose(PAGES[name])
    assert SOURCES[name][quoted]()
