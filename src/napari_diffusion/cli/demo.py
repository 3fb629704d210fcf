"""Demonstration of a filter on a sample MRI volume, in napari or, without a display, as files."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_diffusion import io
from napari_diffusion.cli.options import flag, recipe_from_options
from napari_diffusion.cli.run_file import run_file
from napari_diffusion.cli.signals import Stop
from napari_diffusion.cli.streams import mention
from napari_diffusion.core.gaussian import equivalent_sigma
from napari_diffusion.io import pictures, samples
from napari_diffusion.io.atomic import replacing, write_error

#: Name of the widget in the manifest; the import of its class would need Qt.
WIDGET = "Edge-preserving denoising (anisotropic diffusion)"

#: Chosen by eye: the residual looks like noise, without visible anatomy.
_OPTIONS: dict[str, Any] = {
    "model": "perona-malik",
    "kappa": 9.0,
    "diffusivity": "exponential",
    "time": 4.0,
}


def write_files(folder: Path, stop: Stop | None = None) -> None:
    """Write the sample volume, the filtered volume, and a picture of both.

    Parameters
    ----------
    folder
        Folder of the files; it is created if necessary.
    stop
        Signal handler of the program.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from None
    before, after = folder / "demo-original.nii.gz", folder / "demo-filtered.nii.gz"
    picture = folder / "demo.png"
    series = io.read(samples.mri_file())
    first = replace(
        series, data=series.data[..., 0], axes=series.axes[:3], spacing=series.spacing[:3]
    )
    commit = None if stop is None else stop.committing()
    io.write(before, first.data, first, overwrite=True, preserve_dtype=True, commit=commit)
    run_file(before, after, _OPTIONS | {"overwrite": True, "quiet": True}, stop)
    (original, steps), (filtered, _) = samples.upright(before), samples.upright(after)
    middle = len(original) // 2
    with replacing(picture, ".png") as temporary:
        pictures.side_by_side(temporary, original[middle], filtered[middle], (steps[1], steps[2]))
    words = " ".join(f"{flag(name)} {value}" for name, value in _OPTIONS.items())
    mention(f"A real MRI volume (EPI, 128 x 96 x 24 voxels of 2 x 2 x 2.2 mm): {before}")
    mention(f"filtered, with its recipe beside it: {after}")
    mention(f"its middle plane before, after, and 4 times the difference: {picture}")
    mention(f"The same by hand: napari-diffusion run {before} OUT.nii.gz {words}")


def show() -> None:
    """Show the sample volume and the filtered volume side by side in napari."""
    import napari

    volume, spacing, unit = samples.mri()
    recipe = recipe_from_options(_OPTIONS)(unit)
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
    # The grid belongs to the canvas since napari 0.9.
    getattr(viewer, "canvas", viewer).grid.enabled = True
    viewer.dims.set_current_step(0, len(volume) // 2)
    viewer.window.add_plugin_dock_widget("napari-diffusion", WIDGET)
    mention(
        "napari shows a real MRI volume before and after anisotropic diffusion; "
        "close the window to end."
    )
    napari.run()


def has_display() -> bool:
    """Return whether napari can open a window.

    Qt is tried in another process, because it ends the process when it cannot open a window.
    """
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not display:
        return False
    if os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal") or find_spec("napari") is None:
        return False
    probe = "from qtpy.QtWidgets import QApplication; QApplication([])"
    try:
        done = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
