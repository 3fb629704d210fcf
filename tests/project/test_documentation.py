"""The pages of the documentation: examples run, tables are complete, links exist."""

import re

import numpy as np
import pytest

import napari_diffusion
from helpers.files import load
from helpers.pages import run_page
from helpers.paths import ROOT
from napari_diffusion import models
from napari_diffusion.estimation import contest
from napari_diffusion.io import samples
from napari_diffusion.models import PeronaMalik, TotalVariation

README = ROOT / "README.md"
PARTS = "parts.nii.gz"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
#: Pages of sentences; the others are legal texts and a list of publications.
PROSE = [page for page in PAGES if page.name not in ("LICENSE.md", "cite.md", "CODE_OF_CONDUCT.md")]
#: Addresses of files of this repository, which links in the README and similar files have.
OWN_ADDRESSES = (
    "https://github.com/napari-diffusion/napari-diffusion/blob/main/",
    "https://raw.githubusercontent.com/napari-diffusion/napari-diffusion/main/",
)
#: Address of the built documentation.
SITE = "https://napari-diffusion.github.io/napari-diffusion/"


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_examples_of_the_readme_run_in_an_empty_folder(empty_folder):
    names = {}
    assert len(run_page(README, names)) == 2
    for result in ("smooth", "blurred", "automatic"):
        assert names[result].shape == names["volume"].shape
        assert names[result].std() < names["volume"].std()
    recipe = napari_diffusion.Recipe.load("smooth.nii.gz.recipe.json")
    assert load("smooth.nii.gz").std() < load("demo/demo-original.nii.gz").std()
    assert (recipe.model.kappa, recipe.time, recipe.unit) == (12, 4, "millimeter")


def test_readme_is_short_and_can_be_shown_anywhere():
    """At most 100 lines; ten lines of Python; pictures and links by their whole addresses."""
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(example.splitlines()) <= 10
    assert all(target.startswith("https://") for target in re.findall(r"\]\(([^)\s]+)", text))
    assert re.findall("^## (.*)$", text, flags=re.MULTILINE)[:3] == [
        "Installation",
        "Try it",
        "Usage",
    ]


@pytest.fixture
def quick_choice(monkeypatch):
    """Let two models compete for the middle of the demo's head.

    Nine commands and two scripts of the pages choose a model. With all models, that takes minutes.
    """
    noisy, truth, *geometry = samples.mri_simulated()
    middle = tuple(
        slice(n // 2 - size // 2, n // 2 + size // 2)
        for n, size in zip(noisy.shape, (12, 32, 32), strict=True)
    )
    small = noisy[middle], truth[middle], *geometry
    monkeypatch.setattr(samples, "mri_simulated", lambda: small)
    rivals = [kind for kind in contest.all_models() if kind in (PeronaMalik, TotalVariation)]
    monkeypatch.setattr(contest, "all_models", lambda: rivals)


def test_examples_of_the_command_line_run_in_an_empty_folder(empty_folder, quick_choice):
    assert len(run_page(ROOT / "docs" / "command_line.md", {})) == 16
    np.testing.assert_array_equal(load("again.nii.gz"), load("smooth.nii.gz"))
    # Another unit rounds the threshold differently.
    np.testing.assert_allclose(load("same.nii.gz"), load("smooth.nii.gz"), rtol=1e-4)
    labels, parts = load("labels.nii.gz"), load(PARTS)
    assert set(np.unique(labels)) == {1, 2}
    for label in (1, 2):  # no flux between labels
        means = (load(name)[labels == label].mean(dtype=float) for name in ("brain.nii.gz", PARTS))
        assert next(means) == pytest.approx(next(means), rel=1e-5)
    assert parts[labels == 2].mean() > parts[labels == 1].mean()


def test_examples_of_automatic_parameters_run_in_an_empty_folder(
    empty_folder, quick_choice, capsys
):
    names = {}
    assert len(run_page(ROOT / "docs" / "automatic.md", names)) == 8
    assert "Noise" in capsys.readouterr().out
    pairs = zip(names["smooth"], names["frames"], strict=True)
    assert all(after.std() < before.std() for after, before in pairs)
    assert napari_diffusion.Recipe.load("kept.nii.gz.recipe.json").model.kappa == 12


def test_example_of_a_map_treats_both_halves_alike(empty_folder):
    names = {}
    assert not run_page(ROOT / "docs" / "models.md", names)
    image, smooth = names["image"], names["smooth"]
    for part, scale in ((slice(0, 44), 1), (slice(84, 128), 4)):
        assert 0.9 * scale < image[60:, part].std() < 1.1 * scale
        assert smooth[60:, part].std() < 0.2 * scale
        assert abs(np.diff(smooth[:, part].mean(1)).max() / scale - 60) < 2


def test_tables_name_every_model_and_every_parameter():
    text = (ROOT / "docs" / "reference" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+`|) ?\| ((?:`\w+`(?:, )?)+) \|", text, flags=re.MULTILINE)
    parameter, documented = "", set()
    for cell, owners in rows:
        parameter = cell or parameter  # An empty cell repeats the one above.
        documented |= {(owner, parameter.strip("`")) for owner in re.findall(r"`(\w+)`", owners)}
    for model in models.BUILTIN:
        assert f"| `{model.__name__}` | `{model.name}` |" in text
        assert {(model.__name__, p.name) for p in models.parameters(model)} <= documented


def anchors(page):
    """Anchors that GitHub gives to the headings of a page.

    Letters become lower case, punctuation is removed, spaces become hyphens. Repeated headings are
    numbered.
    """
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    names = []
    for heading in re.findall(r"^#{1,6} +(.*?)[ #]*$", text, flags=re.MULTILINE):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        repeated = [slug, *(f"{slug}-{number}" for number in range(1, len(names) + 1))]
        names.append(next(name for name in repeated if name not in names))
    return names


def broken_links(page):
    """Targets of links to files or anchors of this repository that do not exist."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        own = [address for address in OWN_ADDRESSES if name.startswith(address)]
        if own:
            path = ROOT / name.removeprefix(own[0])
        elif name.startswith(SITE):
            path = ROOT / "docs" / (name.removeprefix(SITE) or "index.html")
            path = path.with_suffix(".md")
        elif "://" in target:
            continue
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_and_pictures_exist(page):
    assert not broken_links(page)


def test_broken_links_are_detected(tmp_path):
    headings = "# Voxels, `spacing` & [time](a.md)\n## Twice\n## Twice\n"
    code = "```\n# Not in code\n```\n"
    (tmp_path / "other.md").write_text(headings + code)
    existing = ["other.md", "other.md#voxels-spacing--time", "other.md#twice-1", "#own-heading"]
    existing += [f"{OWN_ADDRESSES[0]}LICENSE", f"{OWN_ADDRESSES[0]}docs/models.md#linear", SITE]
    existing += [f"{SITE}models.html#linear"]
    missing = [f"{OWN_ADDRESSES[0]}none.md", f"{OWN_ADDRESSES[1]}docs/images/none.png"]
    missing += [
        f"{SITE}none.html",
        f"{SITE}models.html#none",
        "none.md",
        "none.md#twice",
        "other.md#twice-2",
        "other.md#not-in-code",
        "#twice",
    ]
    links = "\n".join(f"[text]({target})" for target in [*existing, *missing, "https://a.b/#c"])
    page = tmp_path / "page.md"
    page.write_text(f"# Own heading\n\n{links}\n")
    assert broken_links(page) == missing


def test_guide_shows_every_model():
    guide = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    pictures = [f"images/models/{model.name}.png" for model in models.BUILTIN]
    assert not [picture for picture in pictures if picture not in guide]


def sentences_of(text):
    """Yield the sentences of a page, without code, formulas, tables, headings and directives."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"^(`{3,}|:{3,}).*?^\1", "\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\$\$.*?\$\$|<!--.*?-->", "\n", text, flags=re.DOTALL)
    text = re.sub(r"\$[^$\n]+\$|`+[^`]+`+", "X", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*+]\s|\d+\.\s|[|#:(]))", text):
        if not paragraph.lstrip().startswith(("|", "#", ":", "(")):
            words = " ".join(paragraph.split())
            yield from re.split(r"(?<=[.!?:;])[\"')*_]*\s+(?=[A-Z\"'*_(\d]|napari|numba)", words)


def long_sentences(text, longest=25):
    """Return the sentences of a page with more words than a reader follows at once."""
    return [
        sentence
        for sentence in sentences_of(text)
        if sum(bool(re.search(r"\w", word)) for word in sentence.split()) > longest
    ]


@pytest.mark.parametrize("text", ["a " * 26, "Yes. " + "a " * 26, "- " + "[a](b) " * 26])
def test_a_long_sentence_is_found(text):
    assert len(long_sentences(text)) == 1


@pytest.mark.parametrize("text", ["A b. " * 26, "| " + "a | " * 26, "`" + "a " * 26 + "`"])
def test_short_sentences_and_code_are_not_found(text):
    assert not long_sentences(text)


@pytest.mark.parametrize("page", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_sentences_are_short(page):
    assert not long_sentences(page.read_text(encoding="utf-8"))
