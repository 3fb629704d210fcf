"""The notebooks of the documentation run, and what their text says of the results is true."""

import re

import numpy as np
import pytest

from helpers.paths import ROOT

NOTEBOOKS = ROOT / "docs" / "notebooks"
CELL = re.compile(
    r"^```\{code-cell\} python\n(?:---\n(.*?)^---\n)?(.*?)^```", flags=re.DOTALL | re.MULTILINE
)


def cells(name):
    """Return settings and code of every cell."""
    return CELL.findall((NOTEBOOKS / f"{name}.md").read_text(encoding="utf-8"))


def run(name):
    """Run a notebook in the current folder, and return the names that it defines."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    names = {}
    for _, code in cells(name):
        exec(code, names)
        pyplot.close("all")
    return names


def test_confocal_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    n = run("confocal")
    assert n["noise"].kind == "poisson"
    assert np.abs(n["line"] / n["variances"] - 1).max() < 0.1
    assert n["low"] <= n["gain"] <= n["high"]
    assert n["gain"] > 5
    assert 0.8 < n["relative"].std() < 1
    assert abs(n["relative"][n["inside"]].mean()) < 0.1
    mean, peaks = n["quantities"]["mean of the objects"], n["quantities"]["mean of filament peaks"]
    assert mean(n["smooth"]) == pytest.approx(mean(n["truth"]), rel=0.01)
    assert peaks(n["stack"]) == pytest.approx(peaks(n["truth"]), rel=0.05)
    assert peaks(n["smooth"]) < 0.9 * peaks(n["truth"])
    assert len(n["large"]) < 30
    assert "the same result: True" in capsys.readouterr().out


def test_mri_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    n = run("mri")
    assert n["noise"].kind == "rician"
    assert n["noise"].sigma == pytest.approx(60, rel=0.1)
    assert abs(n["relative"].mean()) < 0.1
    means = {
        tissue: {name: image[mask].mean() for name, image in n["images"].items()}
        for tissue, mask in n["tissues"].items()
    }
    white, air = means["white matter"], means["air"]
    for name in ("noisy", "Perona-Malik", "Rician"):
        assert white[name] == pytest.approx(white["truth"], rel=0.01)
    assert air["Perona-Malik"] == pytest.approx(air["noisy"], rel=0.05)
    assert air["Rician"] < air["noisy"] / 4
    white_matter = n["tissues"]["white matter"]
    assert n["smooth"][white_matter].std() < n["head"][white_matter].std() / 4
    output = capsys.readouterr().out
    assert "the same result: True" in output
    assert "next to nothing" in output or "hardly any of the noise" in output


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_pictures_of_notebooks_have_a_description(path):
    drawing = [
        (settings, code)
        for settings, code in cells(path.stem)
        if ";\n" in code or "subplots(figsize" in code
    ]
    assert len(drawing) >= 4
    for settings, code in drawing:
        assert 'alt: "' in settings, code
    assert f"{{nb-download}}`{path.stem}.ipynb`" in path.read_text(encoding="utf-8")
