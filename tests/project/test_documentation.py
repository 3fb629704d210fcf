"""The pages of the documentation: examples run, tables are complete, links exist."""

import re

import numpy as np
import pytest

import napari_diffusion
from helpers.paths import ROOT
from napari_diffusion import models

README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_every_python_example_runs_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # The examples save a recipe.
    rng = np.random.default_rng(0)
    names = {
        "volume": rng.normal(100, 10, (5, 12, 12)).astype(np.float32),
        "frames": rng.normal(100, 10, (2, 5, 8, 8)).astype(np.float32),
        "rgb": rng.integers(0, 255, (12, 12, 3), dtype=np.uint8),
    }
    examples = python_blocks(README)
    assert examples
    exec("\n".join(examples), names)
    images = {
        "smooth": "volume",
        "blurred": "volume",
        "again": "volume",
        "series": "frames",
        "colour": "rgb",
    }
    # Every result in the text has the shape of its image, and is smoother.
    for result, image in images.items():
        assert names[result].shape == names[image].shape
        assert names[result].std() < names[image].std()
    # The recipe is equivalent to the call.
    np.testing.assert_array_equal(names["again"], names["smooth"])


def test_examples_of_automatic_parameters_run(capsys):
    frames = np.random.default_rng(0).normal(100, 10, (2, 24, 24)).astype(np.float32)
    names = {
        "nd": napari_diffusion,
        "volume": frames[0],
        "frames": frames,
        "smooth": np.zeros_like(frames),
    }
    first, loop = python_blocks(ROOT / "docs" / "automatic.md")
    exec(loop, names)
    pairs = zip(names["smooth"], frames, strict=True)
    assert all(after.std() < before.std() for after, before in pairs)
    exec(first.replace("(2.0, 0.5, 0.5)", "(0.5, 0.5)"), names)
    assert "Noise" in capsys.readouterr().out


def test_tables_name_every_model_and_every_parameter():
    text = README.read_text(encoding="utf-8")
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
    """Targets of local links and pictures that do not exist: files, or anchors in a page."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
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
    missing = ["none.md", "none.md#twice", "other.md#twice-2", "other.md#not-in-code", "#twice"]
    links = "\n".join(f"[text]({target})" for target in [*existing, *missing, "https://a.b/#c"])
    page = tmp_path / "page.md"
    page.write_text(f"# Own heading\n\n{links}\n")
    assert broken_links(page) == missing


def test_guide_shows_every_model():
    guide = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    pictures = [f"images/models/{model.name}.png" for model in models.BUILTIN]
    assert not [picture for picture in pictures if picture not in guide]
