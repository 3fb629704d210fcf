"""The README's Python is run as it stands, so that nobody copies an example that does not work."""

import re

import numpy as np
import pytest

import napari_diffusion
from helpers.paths import ROOT
from napari_diffusion import models

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_python_example_runs_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the examples save a recipe
    rng = np.random.default_rng(0)
    names = {
        "volume": rng.normal(100, 10, (5, 12, 12)).astype(np.float32),
        "frames": rng.normal(100, 10, (2, 5, 8, 8)).astype(np.float32),
        "rgb": rng.integers(0, 255, (12, 12, 3), dtype=np.uint8),
    }
    examples = re.findall(
        r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert examples
    exec("\n".join(examples), names)
    # every array that the text presents as a result is the filtered image, in the image's shape
    for result, image in {
        "smooth": "volume",
        "blurred": "volume",
        "again": "volume",
        "series": "frames",
        "colour": "rgb",
    }.items():
        assert names[result].shape == names[image].shape
        assert names[result].std() < names[image].std()
    np.testing.assert_array_equal(
        names["again"], names["smooth"]
    )  # the recipe says the same as the call


def test_the_examples_of_automatic_parameters_run(capsys):
    frames = np.random.default_rng(0).normal(100, 10, (2, 24, 24)).astype(np.float32)
    page = (ROOT / "docs" / "automatic.md").read_text(encoding="utf-8")
    names = {
        "nd": napari_diffusion,
        "volume": frames[0],
        "frames": frames,
        "smooth": np.zeros_like(frames),
    }
    first, loop = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(loop, names)
    assert all(
        after.std() < before.std() for after, before in zip(names["smooth"], frames, strict=True)
    )
    exec(first.replace("(2.0, 0.5, 0.5)", "(0.5, 0.5)"), names)
    assert "Noise" in capsys.readouterr().out


def test_the_tables_name_every_model_and_every_parameter():
    text, parameter, found = README.read_text(encoding="utf-8"), "", set()
    for cell, owners in re.findall(
        r"^\| (`\w+`|) ?\| ((?:`\w+`(?:, )?)+) \|", text, flags=re.MULTILINE
    ):
        parameter = cell or parameter  # an empty cell goes on with the one above
        found |= {(owner, parameter.strip("`")) for owner in re.findall(r"`(\w+)`", owners)}
    for model in models.BUILTIN:
        assert f"| `{model.__name__}` | `{model.name}` |" in text
        assert {(model.__name__, p.name) for p in models.parameters(model)} <= found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [
        target for target in targets if "://" not in target and not (page.parent / target).exists()
    ]


def test_the_guide_shows_every_model():
    guide = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert not [
        model.name for model in models.BUILTIN if f"images/models/{model.name}.png" not in guide
    ]
