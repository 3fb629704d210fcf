"""The pages of the documentation: examples run, tables are complete, links exist."""

import re

import numpy as np
import pytest

import napari_diffusion
from helpers.paths import ROOT
from napari_diffusion import models

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_and_pictures_exist(page):
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    local = [page.parent / target for target in targets if "://" not in target]
    assert not [path for path in local if not path.exists()]


def test_guide_shows_every_model():
    guide = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    pictures = [f"images/models/{model.name}.png" for model in models.BUILTIN]
    assert not [picture for picture in pictures if picture not in guide]
