"""Make the pictures of the documentation; on a machine without a screen run it under ``xvfb-run -a -s "-screen 0 1280x900x24"``.

Every state of the widgets is taken at the size they have in a window of 1280 x 800, and the walk-through frame by frame.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The pictures are those of a new installation, not of the settings of whoever makes them.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import napari
import numpy as np
import tifffile
from napari._qt.dialogs.preferences_dialog import PreferencesDialog
from napari._qt.dialogs.qt_notification import NapariQtNotification
from PIL import Image as Picture
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QListWidget

import napari_diffusion as nd
from napari_diffusion import io
from napari_diffusion.io.samples import confocal
from napari_diffusion.ui.run import task
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.outputs import OutputsSection
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.sections.recipes import RecipeSection
from napari_diffusion.ui.sections.threshold import ThresholdSection

IMAGES = Path(__file__).parent / "images"
WINDOW = (1280, 800)
#: How long each frame of the walk-through is shown [ms].
FRAME = 5000


def wait_until(condition: Callable[[], bool] = lambda: True, seconds: float = 180.0) -> None:
    """Let the window live until a condition holds, then half a second more for it to be drawn."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("napari did not get ready for its picture.")
        QApplication.processEvents()
        time.sleep(0.01)
    pause = time.monotonic() + 0.5
    while time.monotonic() < pause:
        QApplication.processEvents()
        time.sleep(0.01)


def ready(widget: Any) -> None:
    """Wait until nothing is going on, and has not been for a moment: what follows the screen begins a little later."""
    for _ in range(2):
        wait_until(lambda: not widget.pending and task.running() == 0 and not widget.panel.busy)


def save(native: Any, name: str) -> None:
    """Save what a Qt widget looks like."""
    if not native.grab().save(str(IMAGES / name)):
        raise OSError(f"Cannot write {IMAGES / name}.")


class Walk:
    """The frames of the walk-through: what the whole window looks like, with a line below that says what is done."""

    def __init__(self, window: Any) -> None:
        self._window = window
        self._frames: list[Any] = []

    def show(self, text: str) -> None:
        """Take a frame."""
        bar = self._window.statusBar()
        bar.hide()
        wait_until()
        path = IMAGES / "frame.png"
        save(self._window, path.name)
        picture = Picture.open(path).convert("RGB")
        path.unlink()
        self._frames.append(captioned(picture, f"{len(self._frames) + 1}. {text}"))

    def save(self, name: str) -> None:
        """Write all frames as one animated picture."""
        small = [frame.quantize(128) for frame in self._frames]
        small[0].save(
            IMAGES / name,
            save_all=True,
            append_images=small[1:],
            duration=FRAME,
            loop=0,
            optimize=True,
        )


def captioned(picture: Any, text: str) -> Any:
    """Return a picture, made smaller, with a line of text below."""
    from PIL import ImageDraw, ImageFont

    picture = picture.resize(
        (960, round(picture.height * 960 / picture.width)), Picture.Resampling.LANCZOS
    )
    whole = Picture.new("RGB", (picture.width, picture.height + 36), "white")
    whole.paste(picture, (0, 0))
    ImageDraw.Draw(whole).text(
        (12, picture.height + 8), text, fill="black", font=ImageFont.load_default(18)
    )
    return whole


def dock(viewer: Any, name: str) -> Any:
    """Dock a widget in a window of the default size."""
    docked, widget = viewer.window.add_plugin_dock_widget("napari-diffusion", name)
    docked.window().resize(*WINDOW)
    ready(widget)
    return docked, widget


def states(viewer: Any, widget: Any, prefix: str = "") -> None:
    """Take the sections below Preview and Threshold, opened; one at a time, as a user would."""
    for kind, name in PICTURES.items():
        section = widget.sections[kind]
        section.box.open = True
        ready(widget)
        widget.scroll.ensureWidgetVisible(section.box.native, 0, 0)
        wait_until()
        save(widget.native, f"{prefix}{name}.png")
        section.box.open = False
    widget.form.more.open = True
    wait_until()
    widget.scroll.ensureWidgetVisible(widget.form.more.native, 0, 0)
    wait_until()
    save(widget.native, f"{prefix}options.png")
    widget.form.more.open = False


PICTURES = {OutputsSection: "outputs", RecipeSection: "recipe", BatchSection: "batch"}


def main() -> None:
    """Filter the MRI sample and take the pictures on the way."""
    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer(show=True, show_welcome_screen=False, ndisplay=2)
    docked, widget = dock(viewer, "Isotropic diffusion")
    save(widget.native, "empty.png")
    viewer.open_sample("napari-diffusion", "mri")
    ready(widget)
    save(widget.native, "isotropic.png")
    viewer.window.remove_dock_widget(docked)

    docked, widget = dock(viewer, "Anisotropic diffusion")
    walk = Walk(docked.window())
    viewer.dims.set_current_step(0, 13)
    viewer.reset_view()
    walk.show(
        "A noisy volume is open; the widget has read axes and voxel size, and suggests values."
    )
    save(widget.native, "anisotropic.png")
    widget.form.suggest.native.click()
    ready(widget)
    walk.show("Suggest measures the noise and says in words what it found.")
    save(widget.native, "suggest.png")
    widget.form.reasons.open = False
    widget.form.amount.number.value = 4.0
    widget.form.controls["kappa"].value = 8.0
    ready(widget)
    widget.panel.say("")
    walk.show(
        "Or set it yourself: the amount is a length in mm; the line above Run says what it will take."
    )
    threshold, preview = widget.sections[ThresholdSection], widget.sections[PreviewSection]
    threshold.box.open = True
    threshold.mark.value = True
    widget.form.controls["kappa"].value = 30.0
    ready(widget)
    widget.scroll.ensureWidgetVisible(threshold.box.native, 0, 0)
    walk.show(
        "Threshold by eye: drag the line to where edges begin; they are coloured on the image."
    )
    save(docked.window(), "threshold.png")
    threshold.mark.value = threshold.box.open = False
    widget.form.controls["kappa"].value = 8.0
    preview.box.open = True
    ready(widget)
    widget.scroll.ensureWidgetVisible(preview.box.native, 0, 0)
    walk.show("Preview: what Run will make of the plane on screen; it follows every change.")
    save(docked.window(), "preview.png")
    preview.box.open = False
    ready(widget)
    widget.panel.button.native.click()
    ready(widget)
    viewer.canvas.grid.stride = 1  # the original on the left
    viewer.canvas.grid.enabled = True
    for layer in viewer.layers:
        layer.name_overlay.visible = True
    viewer.reset_view()
    viewer.scene.camera.zoom *= 1.4
    walk.show("Run adds the result as a new layer; here beside the original.")
    save(docked.window(), "napari.png")
    states(viewer, widget)

    outputs = widget.sections[OutputsSection]
    outputs.box.open = True
    outputs.snapshots.value, outputs.removed.value = 8, True
    ready(widget)
    walk.show(
        "Or keep eight snapshots over diffusion time, and what was removed; memory is said before."
    )
    widget.panel.button.native.click()
    ready(widget)
    viewer.canvas.grid.enabled = False
    for layer in list(viewer.layers)[:2]:
        layer.visible = False
    viewer.reset_view()
    for number in (1, 7):
        viewer.dims.set_current_step(0, number)
        walk.show(f"napari's slider goes through diffusion time: snapshot {number + 1} of 8.")
    save(widget.native, "scrub.png")
    outputs.stop.native.click()
    outputs.box.open = False
    removed = next(layer for layer in viewer.layers if "removed" in layer.name)
    for layer in viewer.layers:
        layer.visible = layer is removed
    walk.show(
        "What was removed, with zero in the middle of the greys: noise belongs here, anatomy does not."
    )
    save(docked.window(), "removed.png")
    recipe = widget.sections[RecipeSection]
    for layer in viewer.layers:
        layer.visible = layer is viewer.layers[-1]
    viewer.layers.selection.active = viewer.layers[-1]
    recipe.box.open = True
    ready(widget)
    widget.scroll.ensureWidgetVisible(recipe.box.native, 0, 0)
    recipe.python.native.click()
    walk.show("The same run as Python, command line or JSON; every layer knows its history.")
    save(widget.native, "recipe.png")
    recipe.box.open = False
    walk.save("walkthrough.gif")

    widget.form.amount.kind.value, widget.form.amount.number.value = "time", 20000.0
    outputs.snapshots.value, outputs.removed.value = 0, False
    widget.panel.button.native.click()
    widget.panel.button.native.click()
    wait_until(lambda: "left" in widget.panel.status.value)
    save(widget.native, "running.png")
    widget.panel.cancel_all.native.click()
    ready(widget)
    save(widget.native, "cancelled.png")
    for row in widget.form.table.rows:
        row.smooth.value = False
    ready(widget)
    widget.panel.button.native.click()
    wait_until()
    save(widget.native, "error.png")
    for notification in docked.window().findChildren(NapariQtNotification):
        notification.close()
    widget.panel.say("")
    viewer.theme = "light"
    for row in widget.form.table.rows:
        row.smooth.value = True
    widget.form.amount.kind.value, widget.form.amount.number.value = "sigma", 4.0
    ready(widget)
    save(docked.window(), "light.png")
    viewer.layers.clear()
    viewer.theme = "dark"
    series_and_colours(viewer, widget)
    show_preferences(docked.window())
    viewer.close()
    viewer = napari.Viewer(
        show=True, show_welcome_screen=False, ndisplay=2
    )  # in which no sliders of other images are left over
    docked, widget = dock(viewer, "Anisotropic diffusion")
    follow_fibres(viewer, widget)
    save(docked.window(), "directions.png")
    viewer.close()


def series_and_colours(viewer: Any, widget: Any) -> None:
    """Other images than one volume, and a folder in which one file is no image."""
    viewer.open_sample("napari-diffusion", "mri_4d")
    ready(widget)
    save(widget.native, "series.png")
    filter_a_folder(widget, viewer.layers[0].data[0])
    viewer.layers.clear()
    stack = confocal()[0]
    open_tiff(viewer, widget, stack)
    colours = np.clip(stack[[12, 20, 28]].transpose(1, 2, 0) / np.percentile(stack, 99.8), 0, 1)
    viewer.add_image(
        (255 * colours).astype(np.uint8),
        name="colour image",
        rgb=True,
        scale=(0.2, 0.2),
        units=("um", "um"),
    )
    ready(widget)
    widget.form.suggest.native.click()
    ready(widget)
    widget.form.reasons.open = False
    widget.panel.say("")
    wait_until()
    save(widget.native, "colour.png")
    viewer.layers.clear()


def open_tiff(viewer: Any, widget: Any, stack: Any) -> None:
    """Two channels in a TIFF of ImageJ, of which napari's own reader keeps the pixels alone."""
    with tempfile.TemporaryDirectory() as folder:
        path, two = (
            Path(folder, "cells.tif"),
            np.stack([stack, stack[::-1]], axis=1).astype(np.float32),
        )
        metadata = {"axes": "ZCYX", "unit": "um", "spacing": 0.5}
        tifffile.imwrite(path, two, imagej=True, resolution=(5.0, 5.0), metadata=metadata)
        viewer.open(path, plugin="napari")
        ready(widget)
        save(widget.native, "tiff.png")
    viewer.layers.clear()


def filter_a_folder(widget: Any, volume: Any) -> None:
    """Two files that are images and one that is none."""
    batch, here = widget.sections[BatchSection], Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for path in (Path("scans"), Path("filtered")):
                path.mkdir()
            for name in ("first.nii", "third.nii"):
                io.write(
                    Path("scans", name),
                    volume.transpose(),
                    io.Volume(volume.transpose(), "XYZ", (2.0, 2.0, 2.2), unit="millimeter"),
                )
            Path("scans", "second.nii").write_bytes(b"no image")
            batch.box.open = True
            batch.source.line_edit.value, batch.target.line_edit.value = "scans", "filtered"
            batch.files.native.click()
            ready(widget)
            widget.scroll.ensureWidgetVisible(batch.box.native, 0, 0)
            for notification in widget.native.window().findChildren(NapariQtNotification):
                notification.close()
            wait_until()
            save(widget.native, "batch_error.png")
            batch.source.line_edit.value = batch.target.line_edit.value = ""
            batch.box.open = False
        finally:
            os.chdir(here)
    widget.panel.say("")


def show_preferences(window: Any) -> None:
    """The page that the manifest declares, in napari's own dialog."""
    dialog = PreferencesDialog(parent=window)
    pages = dialog.findChild(QListWidget)
    pages.setCurrentItem(pages.findItems("Diffusion filters", Qt.MatchFlag.MatchExactly)[0])
    dialog.resize(720, 420)
    dialog.show()
    wait_until()
    save(dialog, "preferences.png")
    dialog.close()


def follow_fibres(viewer: Any, widget: Any) -> None:
    """Directions in the simulated confocal stack, by the coherence-enhancing model."""
    viewer.open_sample("napari-diffusion", "confocal")
    widget.form.model.value = nd.CoherenceEnhancing
    ready(widget)
    widget.form.amount.kind.value, widget.form.amount.number.value = "sigma", 0.3
    for name, value in {
        "kappa": 600.0,
        "sigma": 0.2,
        "rho": 0.4,
    }.items():  # filaments are 0.3 µm wide
        widget.form.controls[name].value = value
    outputs = widget.sections[OutputsSection]
    outputs.box.open = True
    outputs.directions.value = True
    ready(widget)
    widget.panel.button.native.click()
    ready(widget)
    for layer in viewer.layers:
        layer.visible = "directions" in layer.name or layer is viewer.layers[-1]
    viewer.layers.move(len(viewer.layers) - 1, len(viewer.layers) - 2)
    viewer.reset_view()
    ready(widget)


if __name__ == "__main__":
    sys.exit(main())
