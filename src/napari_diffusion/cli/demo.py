"""Demonstration of a filter on a noisy sample, in napari or, without a display, as files."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_diffusion import io
from napari_diffusion.cli.options import flag
from napari_diffusion.cli.run_file import run_file
from napari_diffusion.cli.signals import Interruption, Stop
from napari_diffusion.cli.streams import mention
from napari_diffusion.io import pictures, samples
from napari_diffusion.io.atomic import replacing, write_error

#: Removes as much of the error as what ``--auto`` chooses for the volume.
_OPTIONS: dict[str, Any] = {"model": "perona-malik", "kappa": 21.0, "time": 7.0}
#: Magnitudes above this are inside the head, in the noise-free volume.
_HEAD = 60.0
#: Plugin of the demonstration in napari, and its command that makes a widget.
_PLUGIN = "napari-diffusion"
_COMMAND = f"{_PLUGIN}.anisotropic"
#: Time between two looks whether a signal has come, while the window is open [ms].
_POLL_MS = 100


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
    noisy, truth, spacing, unit = samples.mri_simulated()
    # A new NIfTI file counts from the patient's right, back and feet.
    data = noisy[:, ::-1, ::-1].transpose()
    volume = io.Volume(data, "XYZ", spacing[::-1], unit=unit)
    commit = None if stop is None else stop.committing()
    io.write(before, data, volume, overwrite=True, preserve_dtype=True, commit=commit)
    run_file(before, after, _OPTIONS | {"overwrite": True, "quiet": True}, stop)
    (original, steps), (filtered, _) = samples.upright(before), samples.upright(after)
    middle = len(original) // 2
    with replacing(picture, ".png") as temporary:
        pictures.side_by_side(temporary, original[middle], filtered[middle], (steps[1], steps[2]))
    errors = [_error(image, truth) for image in (original, filtered)]
    words = " ".join(f"{flag(name)} {value}" for name, value in _OPTIONS.items())
    sizes = " x ".join(str(n) for n in data.shape)
    steps_in_words = " x ".join(f"{step:g}" for step in spacing[::-1])
    mention(f"A simulated MRI volume ({sizes} voxels of {steps_in_words} mm): {before}")
    mention(f"filtered, with its recipe beside it: {after}")
    mention(f"its middle plane before, after, and 4 times the difference: {picture}")
    mention(f"Error inside the head: {errors[0]:.0f} before, {errors[1]:.0f} after.")
    mention(f"The same by hand: napari-diffusion run {before} OUT.nii.gz {words}")


def _error(image: Any, truth: Any) -> float:
    """Return the root mean square error inside the head."""
    difference = image.astype(float) - truth
    return float((difference[truth > _HEAD] ** 2).mean() ** 0.5)


def show(stop: Stop) -> None:
    """Show a noisy stack in napari, with the widget and its live preview.

    A signal closes the window first. An exception in a function that Qt calls would end napari
    while its parts are still connected.

    Parameters
    ----------
    stop
        Signal handler of the program.
    """
    import napari
    from qtpy.QtCore import QTimer

    with stop.deferring():
        viewer = napari.Viewer(title=_PLUGIN)
        _dock(viewer)
        viewer.open_sample(_PLUGIN, "confocal")
        viewer.dims.set_current_step(0, len(viewer.layers[-1].data) // 2)
        timer = QTimer()

        def close_at_signal() -> None:
            if stop.event.is_set() and timer.isActive():
                timer.stop()
                viewer.close()

        timer.timeout.connect(close_at_signal)
        timer.start(_POLL_MS)
        mention(
            "napari shows a simulated confocal stack with a preview of the filter. Press Run to "
            "filter the stack; close the window to end."
        )
        napari.run()
        close_at_signal()  # napari itself ends its loop at Ctrl-C, and leaves the window open
        timer.stop()
    if stop.event.is_set():
        raise Interruption


def _dock(viewer: Any) -> None:
    """Dock the widget under the name that its item in the menu has.

    The item then shows and hides this widget, and does not open a second one.
    """
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manifest = manager.get_manifest(_PLUGIN)
    widgets = manifest.contributions.widgets or []
    name = next(widget.display_name for widget in widgets if widget.command == _COMMAND)
    widget = manager.commands.get(_COMMAND)(viewer)
    viewer.window.add_dock_widget(widget, name=f"{name} ({manifest.display_name})")


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
