"""The command ``demo``: a sample volume is denoised, with and without a display."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from qtpy.QtWidgets import QDockWidget

import napari_diffusion as nd
from helpers.files import load
from napari_diffusion.cli import demo, main
from napari_diffusion.io import samples


def test_demo_without_a_window_writes_volumes_and_a_picture(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--no-window", "--output", "shown"]) == 0
    assert len(capsys.readouterr().out.splitlines()) <= 5
    original, filtered = load("shown/demo-original.nii.gz"), load("shown/demo-filtered.nii.gz")
    np.testing.assert_array_equal(original, nibabel.load(samples.mri_file()).dataobj[..., 0])
    # Noise is reduced and edges are kept: small differences shrink to less than 0.6 of their size,
    # large differences by less than a tenth.
    before, after = (np.abs(np.diff(data.astype(float), axis=0)) for data in (original, filtered))
    head = original[1:] > 300
    small, large = head & (before < 30), head & (before > 150)
    assert after[small].mean() < 0.6 * before[small].mean()
    assert after[large].mean() > 0.9 * before[large].mean()
    with Image.open("shown/demo.png") as picture:
        assert picture.width > 3 * picture.height
    recipe = Path("shown/demo-filtered.nii.gz.recipe.json").read_text(encoding="utf-8")
    assert json.loads(recipe)["model"] == "perona-malik"


def test_demo_window_shows_both_volumes_side_by_side(make_napari_viewer, monkeypatch):
    import napari

    viewer = make_napari_viewer()
    monkeypatch.setattr(napari, "Viewer", lambda **options: viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    monkeypatch.setattr(demo, "has_display", lambda: True)
    assert main(["demo"]) == 0
    volume, spacing, _ = samples.mri()
    original, filtered = viewer.layers
    np.testing.assert_array_equal(original.data, volume)
    recipe = nd.Recipe.from_dict(filtered.metadata["napari-diffusion"]["recipe"])
    np.testing.assert_array_equal(filtered.data, recipe.diffuse(volume, spacing=spacing))
    assert tuple(original.scale) == tuple(filtered.scale) == spacing
    assert original.contrast_limits == filtered.contrast_limits
    assert getattr(viewer, "canvas", viewer).grid.enabled
    docks = viewer.window._qt_window.findChildren(QDockWidget)
    assert any(demo.WIDGET in dock.windowTitle() for dock in docks)


@pytest.mark.parametrize(
    "variables", [{}, {"DISPLAY": ":4711"}, {"DISPLAY": ":0", "QT_QPA_PLATFORM": "offscreen"}]
)
@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems always have a display")
def test_unusable_display_counts_as_no_display(variables, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not demo.has_display()
