"""Make the screenshots of the documentation: ``python docs/make_screenshots.py``.

On a machine without a screen run it under ``xvfb-run -a -s "-screen 0 1280x900x24"``. Every state
of the widgets is taken at its size in a window of 1280 x 800, and the walk-through frame by frame.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The pictures show a new installation, not the settings of the person who makes them.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import napari
import numpy as np
import tifffile
from napari._qt.dialogs.preferences_dialog import PreferencesDialog
from napari._qt.dialogs.qt_notification import NapariQtNotification
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
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
WINDOW_SIZE = (1280, 800)
#: Time for which each frame of the walk-through is shown [ms].
FRAME_MS = 5000
#: Width of a frame, and height of its caption [pixels].
FRAME_WIDTH, CAPTION_HEIGHT = 960, 36
#: Sections that are taken one by one, and the names of their pictures.
SECTION_PICTURES = {OutputsSection: "outputs", RecipeSection: "recipe", BatchSection: "batch"}


def wait_until(condition: Callable[[], bool] = lambda: True, seconds: float = 180.0) -> None:
    """Process events until a condition holds, then half a second more, for the drawing."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("napari did not get ready for its picture.")
        QApplication.processEvents()
        time.sleep(0.01)
    end_of_drawing = time.monotonic() + 0.5
    while time.monotonic() < end_of_drawing:
        QApplication.processEvents()
        time.sleep(0.01)


def wait_until_idle(widget: Any) -> None:
    """Wait twice until the widget is idle: work that follows the screen starts a little later."""
    for _ in range(2):
        wait_until(lambda: not widget.pending and task.running() == 0 and not widget.panel.busy)


def save(native: Any, name: str) -> None:
    """Save a picture of a Qt widget."""
    if not native.grab().save(str(IMAGES / name)):
        raise OSError(f"Cannot write {IMAGES / name}.")


def close_notifications(window: Any) -> None:
    """Close the notifications of napari."""
    for notification in window.findChildren(NapariQtNotification):
        notification.close()


class Walkthrough:
    """Frames of the walk-through: pictures of the whole window with a caption below."""

    def __init__(self, window: Any) -> None:
        self._window = window
        self._frames: list[Any] = []

    def add(self, text: str) -> None:
        """Add a frame with this caption."""
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
        first, *others = [frame.quantize(128) for frame in self._frames]
        first.save(
            IMAGES / name,
            save_all=True,
            append_images=others,
            duration=FRAME_MS,
            loop=0,
            optimize=True,
        )


def captioned(picture: Any, text: str) -> Any:
    """Return a picture, scaled to the width of a frame, with a line of text below."""
    size = FRAME_WIDTH, round(picture.height * FRAME_WIDTH / picture.width)
    picture = picture.resize(size, Picture.Resampling.LANCZOS)
    frame = Picture.new("RGB", (picture.width, picture.height + CAPTION_HEIGHT), "white")
    frame.paste(picture, (0, 0))
    font = ImageFont.load_default(18)
    ImageDraw.Draw(frame).text((12, picture.height + 8), text, fill="black", font=font)
    return frame


def dock(viewer: Any, name: str) -> Any:
    """Dock a widget in a window of the documented size."""
    docked, widget = viewer.window.add_plugin_dock_widget("napari-diffusion", name)
    docked.window().resize(*WINDOW_SIZE)
    wait_until_idle(widget)
    return docked, widget


def take_sections(widget: Any) -> None:
    """Take the sections below Preview and Threshold one by one, each opened."""
    for kind, name in SECTION_PICTURES.items():
        section = widget.sections[kind]
        section.box.open = True
        wait_until_idle(widget)
        widget.scroll.ensureWidgetVisible(section.box.native, 0, 0)
        wait_until()
        save(widget.native, f"{name}.png")
        section.box.open = False
    widget.form.more.open = True
    wait_until()
    widget.scroll.ensureWidgetVisible(widget.form.more.native, 0, 0)
    wait_until()
    save(widget.native, "options.png")
    widget.form.more.open = False


def take_isotropic(viewer: Any) -> None:
    """Take the isotropic widget without an image and with the MRI sample."""
    docked, widget = dock(viewer, "Gaussian smoothing (isotropic diffusion)")
    save(widget.native, "empty.png")
    viewer.open_sample("napari-diffusion", "mri")
    wait_until_idle(widget)
    save(widget.native, "isotropic.png")
    viewer.window.remove_dock_widget(docked)


def take_walkthrough(viewer: Any, window: Any, widget: Any) -> None:
    """Filter the MRI sample step by step, and take a picture and a frame of every step."""
    walk = Walkthrough(window)
    viewer.dims.set_current_step(0, 13)
    viewer.reset_view()
    set_parameters(walk, widget)
    take_threshold_and_preview(walk, window, widget)
    run_beside_original(walk, viewer, window, widget)
    take_sections(widget)
    run_with_snapshots(walk, viewer, window, widget)
    show_recipe(walk, viewer, widget)
    walk.save("walkthrough.gif")


def set_parameters(walk: Walkthrough, widget: Any) -> None:
    """Take the suggested values, then set others."""
    walk.add(
        "A noisy volume is open; the widget has read axes and voxel size, and suggests values."
    )
    save(widget.native, "anisotropic.png")
    widget.form.suggest.native.click()
    wait_until_idle(widget)
    walk.add("Suggest measures the noise and says in words what it found.")
    save(widget.native, "suggest.png")
    widget.form.reasons.open = False
    widget.form.amount.number.value = 4.0
    widget.form.controls["kappa"].value = 8.0
    wait_until_idle(widget)
    widget.panel.say("")
    walk.add(
        "Or set it yourself: the amount is a length in mm; the line above Run says what it will "
        "take."
    )


def take_threshold_and_preview(walk: Walkthrough, window: Any, widget: Any) -> None:
    """Take the threshold section with a large threshold, then the preview."""
    threshold, preview = widget.sections[ThresholdSection], widget.sections[PreviewSection]
    threshold.box.open = True
    threshold.mark.value = True
    widget.form.controls["kappa"].value = 30.0
    wait_until_idle(widget)
    widget.scroll.ensureWidgetVisible(threshold.box.native, 0, 0)
    walk.add(
        "Threshold by eye: drag the line to where edges begin; they are coloured on the image."
    )
    save(window, "threshold.png")
    threshold.mark.value = threshold.box.open = False
    widget.form.controls["kappa"].value = 8.0
    preview.box.open = True
    wait_until_idle(widget)
    widget.scroll.ensureWidgetVisible(preview.box.native, 0, 0)
    walk.add("Preview: what Run will make of the plane on screen; it follows every change.")
    save(window, "preview.png")
    preview.box.open = False
    wait_until_idle(widget)


def run_beside_original(walk: Walkthrough, viewer: Any, window: Any, widget: Any) -> None:
    """Run, and show the result beside the original."""
    widget.panel.button.native.click()
    wait_until_idle(widget)
    viewer.canvas.grid.stride = 1  # the original on the left
    viewer.canvas.grid.enabled = True
    for layer in viewer.layers:
        layer.name_overlay.visible = True
    viewer.reset_view()
    viewer.scene.camera.zoom *= 1.4
    walk.add("Run adds the result as a new layer; here beside the original.")
    save(window, "napari.png")


def run_with_snapshots(walk: Walkthrough, viewer: Any, window: Any, widget: Any) -> None:
    """Run with snapshots and the residual, and show both."""
    outputs = widget.sections[OutputsSection]
    outputs.box.open = True
    outputs.snapshots.value, outputs.removed.value = 8, True
    wait_until_idle(widget)
    walk.add(
        "Or keep eight snapshots over diffusion time, and what was removed; memory is said before."
    )
    widget.panel.button.native.click()
    wait_until_idle(widget)
    viewer.canvas.grid.enabled = False
    for layer in list(viewer.layers)[:2]:
        layer.visible = False
    viewer.reset_view()
    for number in (1, 7):
        viewer.dims.set_current_step(0, number)
        walk.add(f"napari's slider goes through diffusion time: snapshot {number + 1} of 8.")
    save(widget.native, "scrub.png")
    outputs.stop.native.click()
    outputs.box.open = False
    residual = next(layer for layer in viewer.layers if "residual" in layer.name)
    for layer in viewer.layers:
        layer.visible = layer is residual
    walk.add(
        "What was removed, with zero in the middle of the greys: noise belongs here, anatomy "
        "does not."
    )
    save(window, "removed.png")


def show_recipe(walk: Walkthrough, viewer: Any, widget: Any) -> None:
    """Show the recipe and the history of the last layer."""
    recipe = widget.sections[RecipeSection]
    for layer in viewer.layers:
        layer.visible = layer is viewer.layers[-1]
    viewer.layers.selection.active = viewer.layers[-1]
    recipe.box.open = True
    wait_until_idle(widget)
    widget.scroll.ensureWidgetVisible(recipe.box.native, 0, 0)
    recipe.python.native.click()
    walk.add("The same run as Python, command line or JSON; every layer knows its history.")
    save(widget.native, "recipe.png")
    recipe.box.open = False


def take_run_states(window: Any, widget: Any) -> None:
    """Take a run with another one queued, the same after Cancel all, and an error."""
    outputs = widget.sections[OutputsSection]
    widget.form.amount.kind.value, widget.form.amount.number.value = "time", 20000.0
    outputs.snapshots.value, outputs.removed.value = 0, False
    widget.panel.button.native.click()
    widget.panel.button.native.click()
    wait_until(lambda: "left" in widget.panel.status.value)
    save(widget.native, "running.png")
    widget.panel.cancel_all.native.click()
    wait_until_idle(widget)
    save(widget.native, "cancelled.png")
    for row in widget.form.table.rows:
        row.smooth.value = False
    wait_until_idle(widget)
    widget.panel.button.native.click()
    wait_until()
    save(widget.native, "error.png")
    close_notifications(window)
    widget.panel.say("")


def take_light_theme(viewer: Any, window: Any, widget: Any) -> None:
    """Take the window in the light theme, after the error is corrected."""
    viewer.theme = "light"
    for row in widget.form.table.rows:
        row.smooth.value = True
    widget.form.amount.kind.value, widget.form.amount.number.value = "sigma", 4.0
    wait_until_idle(widget)
    save(window, "light.png")
    viewer.layers.clear()
    viewer.theme = "dark"


def take_other_images(viewer: Any, widget: Any) -> None:
    """Take a time series, a folder with a broken file, a TIFF and a colour image."""
    viewer.open_sample("napari-diffusion", "mri_4d")
    wait_until_idle(widget)
    save(widget.native, "series.png")
    take_folder(widget, viewer.layers[0].data[0])
    viewer.layers.clear()
    stack = confocal()[0]
    take_tiff(viewer, widget, stack)
    colours = np.clip(stack[[12, 20, 28]].transpose(1, 2, 0) / np.percentile(stack, 99.8), 0, 1)
    viewer.add_image(
        (255 * colours).astype(np.uint8),
        name="colour image",
        rgb=True,
        scale=(0.2, 0.2),
        units=("um", "um"),
    )
    wait_until_idle(widget)
    widget.form.suggest.native.click()
    wait_until_idle(widget)
    widget.form.reasons.open = False
    widget.panel.say("")
    wait_until()
    save(widget.native, "colour.png")
    viewer.layers.clear()


def take_tiff(viewer: Any, widget: Any, stack: Any) -> None:
    """Take two channels in an ImageJ TIFF, of which napari's own reader keeps the pixels alone."""
    channels = np.stack([stack, stack[::-1]], axis=1).astype(np.float32)
    metadata = {"axes": "ZCYX", "unit": "um", "spacing": 0.5}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cells.tif")
        tifffile.imwrite(path, channels, imagej=True, resolution=(5.0, 5.0), metadata=metadata)
        viewer.open(path, plugin="napari")
        wait_until_idle(widget)
        save(widget.native, "tiff.png")
    viewer.layers.clear()


def take_folder(widget: Any, volume: Any) -> None:
    """Filter a folder of two images and a file that is not an image."""
    batch, working_folder = widget.sections[BatchSection], Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            write_scans(Path("scans"), volume)
            Path("filtered").mkdir()
            batch.box.open = True
            batch.source.line_edit.value, batch.target.line_edit.value = "scans", "filtered"
            batch.files.native.click()
            wait_until_idle(widget)
            widget.scroll.ensureWidgetVisible(batch.box.native, 0, 0)
            close_notifications(widget.native.window())
            wait_until()
            save(widget.native, "batch_error.png")
            batch.source.line_edit.value = batch.target.line_edit.value = ""
            batch.box.open = False
        finally:
            os.chdir(working_folder)
    widget.panel.say("")


def write_scans(folder: Path, volume: Any) -> None:
    """Write the volume as two NIfTI files, and a third file that is not an image."""
    folder.mkdir()
    scan = io.Volume(volume.transpose(), "XYZ", (2.0, 2.0, 2.2), unit="millimeter")
    for name in ("first.nii", "third.nii"):
        io.write(folder / name, volume.transpose(), scan)
    (folder / "second.nii").write_bytes(b"no image")


def take_preferences(window: Any) -> None:
    """Take the page that the manifest declares, in napari's own dialog."""
    dialog = PreferencesDialog(parent=window)
    pages = dialog.findChild(QListWidget)
    pages.setCurrentItem(pages.findItems("Diffusion filters", Qt.MatchFlag.MatchExactly)[0])
    dialog.resize(720, 420)
    dialog.show()
    wait_until()
    save(dialog, "preferences.png")
    dialog.close()


def take_directions() -> None:
    """Take the directions in the simulated confocal stack, by the coherence-enhancing model."""
    # A new viewer has no sliders of other images.
    viewer = napari.Viewer(show=True, show_welcome_screen=False, ndisplay=2)
    docked, widget = dock(viewer, "Edge-preserving denoising (anisotropic diffusion)")
    viewer.open_sample("napari-diffusion", "confocal")
    widget.form.model.value = nd.CoherenceEnhancing
    wait_until_idle(widget)
    widget.form.amount.kind.value, widget.form.amount.number.value = "sigma", 0.3
    # Filaments are 0.3 µm wide.
    for name, value in {"kappa": 600.0, "sigma": 0.2, "rho": 0.4}.items():
        widget.form.controls[name].value = value
    outputs = widget.sections[OutputsSection]
    outputs.box.open = True
    outputs.directions.value = True
    wait_until_idle(widget)
    widget.panel.button.native.click()
    wait_until_idle(widget)
    for layer in viewer.layers:
        layer.visible = "directions" in layer.name or layer is viewer.layers[-1]
    viewer.layers.move(len(viewer.layers) - 1, len(viewer.layers) - 2)
    viewer.reset_view()
    wait_until_idle(widget)
    save(docked.window(), "directions.png")
    viewer.close()


def main() -> None:
    """Take all pictures, in one session of napari and a second one for the directions."""
    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer(show=True, show_welcome_screen=False, ndisplay=2)
    take_isotropic(viewer)
    docked, widget = dock(viewer, "Edge-preserving denoising (anisotropic diffusion)")
    window = docked.window()
    take_walkthrough(viewer, window, widget)
    take_run_states(window, widget)
    take_light_theme(viewer, window, widget)
    take_other_images(viewer, widget)
    take_preferences(window)
    viewer.close()
    take_directions()


if __name__ == "__main__":
    sys.exit(main())
