"""The command ``demo``: a sample volume is denoised, with and without a display."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from helpers.files import load
from napari_diffusion.cli import demo, main
from napari_diffusion.io import samples
from napari_diffusion.ui.widget import AnisotropicDiffusion


def test_demo_without_a_window_writes_volumes_and_a_picture(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--no-window", "--output", "shown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 5
    original, filtered = load("shown/demo-original.nii.gz"), load("shown/demo-filtered.nii.gz")
    noisy, truth, spacing, _ = samples.mri_simulated()
    np.testing.assert_array_equal(original, noisy[:, ::-1, ::-1].transpose())
    header = nibabel.load("shown/demo-original.nii.gz").header
    np.testing.assert_allclose(header.get_zooms(), spacing[::-1])
    truth = truth[:, ::-1, ::-1].transpose()
    head = truth > 60
    errors = [np.sqrt(np.mean((image - truth)[head] ** 2.0)) for image in (original, filtered)]
    assert errors[1] < 0.7 * errors[0]
    assert f"Error inside the head: {errors[0]:.0f} before, {errors[1]:.0f} after." in lines
    with Image.open("shown/demo.png") as picture:
        assert picture.width > 2.5 * picture.height
    recipe = Path("shown/demo-filtered.nii.gz.recipe.json").read_text(encoding="utf-8")
    assert json.loads(recipe)["model"] == "perona-malik"


def test_demo_window_shows_a_noisy_stack_beside_the_widget(make_napari_viewer, monkeypatch):
    import napari
    from napari._app_model import get_app_model

    viewer = make_napari_viewer()
    monkeypatch.setattr(napari, "Viewer", lambda **options: viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    monkeypatch.setattr(demo, "has_display", lambda: True)
    assert main(["demo"]) == 0
    noisy, _, spacing, _ = samples.confocal()
    stack = viewer.layers["confocal"]
    np.testing.assert_array_equal(stack.data, noisy)
    assert tuple(stack.scale) == spacing
    (widget,) = viewer.window.dock_widgets.values()
    assert isinstance(widget, AnisotropicDiffusion)
    assert widget.form.layer.value is stack
    # the item in the menu
    get_app_model().commands.execute_command("napari-diffusion.anisotropic").result()
    assert [*viewer.window.dock_widgets.values()] == [widget]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems have other signals")
def test_signal_closes_the_window_of_the_demo_without_a_traceback(number, tmp_path):
    settings = {"NAPARI_CONFIG": str(tmp_path / "settings.yaml"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "napari_diffusion.cli", "demo"]
    with subprocess.Popen(
        command, env=os.environ | settings, stdout=-1, stderr=-1, text=True
    ) as program:
        # Some versions of napari print their notifications before.
        assert any(line.startswith("napari shows") for line in program.stdout)
        time.sleep(2)  # into the event loop
        program.send_signal(number)
        _, errors = program.communicate(timeout=60)
    assert errors.strip() == "Cancelled; nothing was written."
    assert program.returncode == 128 + number


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
