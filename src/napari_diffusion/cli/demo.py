"""What a filter does to a real MRI volume: in a window of napari, or as files where there is no display."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from napari_diffusion import io
from napari_diffusion.cli.options import flag, recipe_from_options
from napari_diffusion.cli.pipeline import run_file
from napari_diffusion.cli.signals import Stop
from napari_diffusion.core.gaussian import equivalent_sigma
from napari_diffusion.io import pictures, samples
from napari_diffusion.io.atomic import explain, replacing

# Chosen by eye: what is removed looks like noise, without a trace of anatomy.
_FILTER: dict[str, Any] = {
    "model": "perona-malik",
    "kappa": 9.0,
    "diffusivity": "exponential",
    "time": 4.0,
}


def write_files(folder: Path, stop: Stop | None = None) -> None:
    """Write the volume, the filtered one, and a picture of both."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(folder, error) from None
    before, after, picture = (
        folder / "demo-original.nii.gz",
        folder / "demo-filtered.nii.gz",
        folder / "demo.png",
    )
    series = io.read(samples.mri_file())
    first = replace(
        series, data=series.data[..., 0], axes=series.axes[:3], spacing=series.spacing[:3]
    )
    io.write(before, first.data, first, overwrite=True, preserve_dtype=True)
    run_file(before, after, _FILTER | {"overwrite": True, "quiet": True}, stop)
    (original, steps), (filtered, _) = samples.upright(before), samples.upright(after)
    middle = len(original) // 2
    with replacing(picture, ".png") as temporary:
        pictures.side_by_side(temporary, original[middle], filtered[middle], (steps[1], steps[2]))
    told = " ".join(f"{flag(name)} {value}" for name, value in _FILTER.items())
    click.echo(f"A real MRI volume (EPI, 128 x 96 x 24 voxels of 2 x 2 x 2.2 mm): {before}")
    click.echo(f"filtered, with its recipe beside it: {after}")
    click.echo(f"its middle plane before, after, and 4 times the difference: {picture}")
    click.echo(f"The same by hand: napari-diffusion run {before} OUT.nii.gz {told}")


def show() -> None:
    """Open napari with the volume and the filtered one side by side."""
    import napari

    volume, spacing, unit = samples.mri()
    recipe = recipe_from_options(_FILTER)(unit)
    filtered = recipe.diffuse(volume, spacing=spacing)
    limits = (0.0, 0.8 * float(volume.max()))  # the brightest voxels are a few vessels
    shared: dict[str, Any] = {
        "scale": spacing,
        "units": (unit,) * 3,
        "axis_labels": ("z", "y", "x"),
        "contrast_limits": limits,
    }
    viewer = napari.Viewer(title="napari-diffusion")
    viewer.add_image(volume, name="MRI", **shared)
    name = f"MRI, {recipe.model.title}, sigma {equivalent_sigma(recipe.time):.2g} mm at most"
    viewer.add_image(
        filtered,
        name=name,
        metadata={"napari-diffusion": {"recipe": recipe.to_dict(), "source": "MRI"}},
        **shared,
    )
    getattr(
        viewer, "canvas", viewer
    ).grid.enabled = True  # the grid belongs to the canvas since napari 0.9
    viewer.dims.set_current_step(0, len(volume) // 2)
    viewer.window.add_plugin_dock_widget("napari-diffusion", "Anisotropic diffusion")
    click.echo(
        "napari shows a real MRI volume and, beside it, what anisotropic diffusion makes of it; close the window to end."
    )
    napari.run()


def has_display() -> bool:
    """Tell whether napari could open a window here; tried in a process of its own, as Qt ends the process when it cannot."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    if os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal") or find_spec("napari") is None:
        return False
    probe = "from qtpy.QtWidgets import QApplication; QApplication([])"
    try:
        return (
            subprocess.run(
                [sys.executable, "-c", probe], capture_output=True, timeout=60, check=False
            ).returncode
            == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
