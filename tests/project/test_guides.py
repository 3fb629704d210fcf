"""The pages for new users run as written, and their examples do what the text says."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import napari_diffusion as nd
from helpers.files import load
from helpers.pages import run_page
from helpers.paths import ROOT

DOCS = ROOT / "docs"
#: Pages with a test of their own below.
TESTED = {"start/index.md", "recipes/mri.md", "recipes/ultrasound.md", "recipes/batch.md"}
TESTED |= {"learn/measuring.md", "coming_from/itk.md"}
FOLDERS = ("start", "learn", "recipes", "coming_from", "project")
GUIDES = {
    page.relative_to(DOCS).as_posix(): page
    for folder in FOLDERS
    for page in sorted((DOCS / folder).glob("*.md"))
}
OTHERS = [
    name for name, page in GUIDES.items() if name not in TESTED and "\n```" in page.read_text()
]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", OTHERS)
def test_examples_of_a_guide_run_in_an_empty_folder(name):
    names = {}
    run_page(GUIDES[name], names)
    results = {key: value for key, value in names.items() if isinstance(value, np.ndarray)}
    assert all(np.isfinite(value).all() for value in results.values())


def test_the_first_filter_removes_noise_and_keeps_the_edge():
    names = {}
    assert len(run_page(GUIDES["start/index.md"], names)) == 3
    smooth, volume = names["smooth"], names["volume"]
    assert smooth[..., :24].std() < volume[..., :24].std() / 4
    assert smooth[..., 40:].mean() - smooth[..., :24].mean() == pytest.approx(100, abs=2)
    np.testing.assert_array_equal(load("again.nii.gz"), load("smooth.nii.gz"))


def test_the_recipes_for_mri_correct_the_air_and_respect_the_mask():
    names = {}
    run_page(GUIDES["recipes/mri.md"], names)
    air, corrected = names["air"], names["corrected"]
    brain, masked, head = (load(f"{name}.nii.gz") for name in ("brain", "masked", "head"))
    assert corrected[air].mean() < brain[air].mean() / 2
    np.testing.assert_array_equal(masked[head == 0], brain[head == 0])
    assert masked[head > 0].std() < brain[head > 0].std()
    assert names["coupled"].shape == names["directions"].shape


def test_speckle_loses_the_same_share_at_any_brightness():
    names = {}
    run_page(GUIDES["recipes/ultrasound.md"], names)
    quiet, image = names["quiet"], names["image"]
    shares = []
    for columns in (slice(8, 40), slice(56, 88)):
        before, after = (
            part[:, columns].std() / part[:, columns].mean() for part in (image, quiet)
        )
        shares.append(after / before)
    assert max(shares) < 0.5
    assert shares[0] == pytest.approx(shares[1], rel=0.25)


def test_python_the_command_line_and_a_cluster_filter_a_folder_alike():
    run_page(GUIDES["recipes/batch.md"], {})
    for name in ("one", "two"):
        in_batch, on_cluster = load(f"results/{name}.nii.gz"), load(f"cluster-{name}.nii.gz")
        np.testing.assert_array_equal(in_batch, on_cluster)


def test_the_report_of_the_page_on_measuring_names_the_recipe(capsys):
    names = {}
    run_page(GUIDES["learn/measuring.md"], names)
    assert '"kappa": 12.0' in capsys.readouterr().out
    assert names["mean"] == pytest.approx(names["images"][0][names["results"][0] > 120].mean())
    # The sentence for a paper gives the Gaussian of the diffusion time in the example.
    assert nd.equivalent_sigma(4.0) == pytest.approx(2.8, abs=0.05)


def test_the_kappa_of_the_page_on_itk_is_near_that_of_the_conversion_table():
    """Its mean over the iterations is below that of the first one."""
    names = {}
    run_page(GUIDES["coming_from/itk.md"], names)
    slopes = np.gradient(names["volume"])
    r = np.sqrt(np.mean(sum(slope**2 for slope in slopes)))
    assert names["recipe"].time == pytest.approx(5 * 0.0625)
    assert r < names["recipe"].model.kappa < 2 * r
    assert load("like_itk.nii.gz").shape == load("demo/demo-original.nii.gz").shape


def test_what_is_diffusion_answers_the_eight_questions():
    text = (DOCS / "learn" / "what_is_diffusion.md").read_text(encoding="utf-8")
    for heading in (
        "What does isotropic mean?",
        "Is it the same as a Gaussian blur?",
        "The equation, symbol by symbol",
        "What does anisotropic add?",
        "What is a fibre here?",
        "What did Perona and Malik propose, and what does c do?",
        "Does the whole image get the same blur?",
        "Is this diffusion MRI?",
    ):
        assert f"\n## {heading}\n" in text


def table(page, name):
    """Return the rows of a table that a script has written, without the header."""
    text = page.read_text(encoding="utf-8")
    (block,) = re.findall(f"<!-- {name} -->\n(.*?)<!-- end {name} -->", text, flags=re.DOTALL)
    rows = [line.strip("| ").split(" | ") for line in block.strip().splitlines()]
    return rows[2:]


def number(cell):
    return float(re.match(r"[\d.]+", cell).group())


def test_tables_of_what_is_diffusion_support_the_text():
    page = GUIDES["learn/what_is_diffusion.md"]
    *_, widest = table(page, "gaussian")
    assert number(widest[3]) < 0.1  # "the same for practical purposes"
    diffusion, gaussian = table(page, "isotropic")
    assert diffusion[1] == diffusion[2] == "3.00 µm"
    assert gaussian[1] != gaussian[2]
    for share, linear, perona_malik in table(page, "edges"):
        assert number(linear) < 1
        assert (number(perona_malik) > 1) == (number(share) > 1)  # sharpened above kappa only
    linear, perona_malik = table(page, "places")
    assert number(perona_malik[1]) == pytest.approx(number(linear[1]), abs=1)
    assert number(perona_malik[3]) < number(linear[3]) / 2
    kept = [number(row[1]) for row in table(page, "fibres")]
    assert kept[2] > 90 > 50 > kept[1] > kept[0]


def test_the_table_of_measurements_supports_the_text():
    rows = {
        name: [float(cell) for cell in cells]
        for name, *cells in table(GUIDES["learn/measuring.md"], "measured")
    }
    for name in ("mean brightness inside a ball", "volume of the ball, threshold half-way"):
        true, _, *filtered = rows[name]
        assert all(value == pytest.approx(true, rel=0.04) for value in filtered)
    true, _, *filtered = rows["brightest value of a small bead"]
    assert all(value < 0.9 * true for value in filtered)
    true, _, *filtered = rows["width of a fibre (FWHM) [voxel]"]
    assert all(value > 1.05 * true for value in filtered)
    true, _, *filtered = rows["standard deviation of a texture"]
    assert all(value < 0.8 * true for value in filtered)


def test_the_table_of_better_tools_is_that_of_the_measurements():
    stored = json.loads((DOCS / "noise_kinds.json").read_text(encoding="utf-8"))
    rows = table(GUIDES["learn/how_to_choose.md"], "others")
    for image, tool, gain, ours in rows:
        gains = {name: result["gain"] for name, result in stored[image].items()}
        assert float(gain) == pytest.approx(gains[tool], abs=0.051)
        assert float(ours) == pytest.approx(max(gains["automatic"], gains["our best"]), abs=0.051)
        assert float(gain) - float(ours) > 0.9
    leads = (
        max(r["gain"] for r in results.values())
        - max(results["automatic"]["gain"], results["our best"]["gain"])
        for results in stored.values()
    )
    assert len(rows) == sum(lead >= 1 for lead in leads)


def test_films_have_one_label_for_each_frame():
    films = json.loads((DOCS / "images" / "learn" / "films.json").read_text(encoding="utf-8"))
    for name, film in films.items():
        with Image.open(DOCS / "images" / "learn" / f"{name}_film.png") as picture:
            width, height = picture.size
        rows = -(-len(film["labels"]) // film["columns"])
        assert width % film["columns"] == 0
        assert height % rows == 0
