"""Make the screenshots of the documentation: ``python docs/make_screenshots.py``.

On a machine without a screen run it under ``xvfb-run -a -s "-screen 0 1280x900x24"``. Every state
of the widgets is taken at its size in a window of 1280 x 800, and the walk-through frame by frame.
"""

from __future__ import annotations

import os
import subprocess
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
from napari_diffusion.ui.form.header import ANISOTROPIC, ISOTROPIC
from napari_diffusion.ui.run import task
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.outputs import OutputsSection
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.sections.threshold import ThresholdSection
from napari_diffusion.ui.widget import EXPERT, FINE_TUNE, OUTPUTS

IMAGES = Path(__file__).parent / "images"
WINDOW_SIZE = (1280, 800)
#: Time for which each frame of the walk-through is shown [ms].
FRAME_MS = 5000
#: Width of a frame, and height of its caption [pixels].
FRAME_WIDTH, CAPTION_HEIGHT = 960, 36
#: How pictures are made smaller.
RESAMPLING = Picture.Resampling.LANCZOS
#: Pictures of the drawers.
DRAWER_PICTURES = {FINE_TUNE: "fine_tune", OUTPUTS: "outputs", EXPERT: "expert"}
#: Positions of the figure in the animated explanation, and time for each of them [ms].
EXPLAINED_POSITIONS, EXPLAINED_MS = range(20), 250


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
    picture = picture.resize(size, RESAMPLING)
    frame = Picture.new("RGB", (picture.width, picture.height + CAPTION_HEIGHT), "white")
    frame.paste(picture, (0, 0))
    font = ImageFont.load_default(18)
    ImageDraw.Draw(frame).text((12, picture.height + 8), text, fill="black", font=font)
    return frame


def dock(viewer: Any, words: Any) -> Any:
    """Dock a widget in a window of the documented size."""
    docked, widget = viewer.window.add_plugin_dock_widget("napari-diffusion", words.title)
    docked.window().resize(*WINDOW_SIZE)
    wait_until_idle(widget)
    return docked, widget


def take_isotropic(viewer: Any) -> None:
    """Take the isotropic widget without an image and with a sample."""
    docked, widget = dock(viewer, ISOTROPIC)
    save(widget.native, "empty.png")
    widget.samples.buttons["confocal"].native.click()
    wait_until_idle(widget)
    save(widget.native, "isotropic.png")
    viewer.window.remove_dock_widget(docked)
    viewer.layers.clear()


def take_walkthrough(viewer: Any, window: Any, widget: Any) -> None:
    """Filter the confocal sample step by step, and take a picture and a frame of every step."""
    walk = Walkthrough(window)
    preview = widget.sections[PreviewSection]
    preview.show.value = False
    widget.samples.buttons["confocal"].native.click()
    wait_until_idle(widget)
    close_notifications(window)
    walk.add("A noisy stack; its axes, voxel size and noise are read and measured.")
    preview.show.value = True
    wait_until_idle(widget)
    save(widget.native, "anisotropic.png")
    walk.add("The preview is on: the slice as Run will make it.")
    preview.split.value = True
    wait_until_idle(widget)
    save(window, "napari.png")
    walk.add("Split: the original on the left, the preview on the right. Drag the line.")
    widget.form.strength.slider.value = widget.form.strength.slider.max
    wait_until_idle(widget)
    walk.add("Strong: more noise is removed, and more detail.")
    widget.form.strength.arrow.native.click()
    preview.split.value = False
    wait_until_idle(widget)
    widget.panel.button.native.click()
    wait_until_idle(widget)
    save(window, "result.png")
    walk.add("Run adds a new layer, and says what was removed.")
    widget.card.compare.native.click()
    wait_until_idle(widget)
    save(window, "side_by_side.png")
    walk.add("Side by side: the original and the result.")
    widget.card.compare.native.click()
    widget.card.residual.native.click()
    wait_until_idle(widget)
    preview.show.value = False
    residual = next(layer for layer in viewer.layers if "residual" in layer.name)
    shown = {layer: layer.visible for layer in viewer.layers}
    for layer in viewer.layers:
        layer.visible = layer is residual
    wait_until_idle(widget)
    save(window, "removed.png")
    walk.add("Residual: what was removed. Noise belongs in it, shapes do not.")
    viewer.layers.remove(residual)
    for layer in viewer.layers:
        layer.visible = shown[layer]
    walk.save("walkthrough.gif")


def take_drawers(widget: Any) -> None:
    """Take the drawers one by one, each opened."""
    for drawer, name in DRAWER_PICTURES.items():
        box = widget.drawers[drawer]
        box.open = True
        wait_until_idle(widget)
        widget.scroll.verticalScrollBar().setValue(box.native.y())
        wait_until()
        save(widget.native, f"{name}.png")
        box.open = False


def take_threshold(window: Any, widget: Any) -> None:
    """Take the histogram of gradients with the edges on the image."""
    box, threshold = widget.drawers[FINE_TUNE], widget.sections[ThresholdSection]
    box.open = threshold.mark.value = True
    wait_until_idle(widget)
    widget.scroll.ensureWidgetVisible(threshold.mark.native, 0, 0)
    wait_until()
    save(window, "threshold.png")
    threshold.mark.value = box.open = False
    wait_until_idle(widget)


def take_explanations(widget: Any) -> None:
    """Take the explanation of "anisotropic" as an animated picture."""
    widget.header.help.native.click()
    page = widget.explain
    page.topics[1].click()
    wait_until(lambda: task.running() == 0)
    page.play.click()
    frames = []
    for position in EXPLAINED_POSITIONS:
        page.slider.setValue(position)
        wait_until()
        path = IMAGES / "frame.png"
        save(page, path.name)
        frames.append(Picture.open(path).convert("RGB").quantize(64))
        path.unlink()
    first, *others = frames
    first.save(
        IMAGES / "explain.gif",
        save_all=True,
        append_images=others,
        duration=EXPLAINED_MS,
        loop=0,
        optimize=True,
    )
    page.back.click()
    wait_until_idle(widget)


def run_with_snapshots(viewer: Any, widget: Any) -> None:
    """Run with snapshots, and take the slider through them."""
    outputs = widget.sections[OutputsSection]
    outputs.snapshots.value = 8
    wait_until_idle(widget)
    widget.panel.button.native.click()
    wait_until_idle(widget)
    viewer.dims.set_current_step(0, 4)
    widget.drawers[OUTPUTS].open = True
    wait_until_idle(widget)
    widget.scroll.ensureWidgetVisible(outputs.stop.native, 0, 0)
    wait_until()
    save(widget.native, "scrub.png")
    widget.drawers[OUTPUTS].open = False
    outputs.snapshots.value = 0


def take_run_states(window: Any, widget: Any) -> None:
    """Take a run with another one queued, and an error."""
    widget.form.amount.kind.value, widget.form.amount.number.value = "time", 40.0
    wait_until_idle(widget)
    widget.panel.button.native.click()
    wait_until(lambda: widget.panel.busy)
    widget.panel.button.native.click()
    wait_until(lambda: "left" in widget.panel.status.value)
    save(widget.native, "running.png")
    widget.panel.cancel_all.native.click()
    wait_until_idle(widget)
    for row in widget.form.table.rows:
        row.smooth.value = False
    wait_until_idle(widget)
    save(widget.native, "error.png")
    close_notifications(window)
    for row in widget.form.table.rows:
        row.smooth.value = True
    widget.form.strength.arrow.native.click()
    wait_until_idle(widget)


def take_light_theme(viewer: Any, window: Any, widget: Any) -> None:
    """Take the window in the light theme."""
    viewer.theme = "light"
    viewer.layers.clear()
    widget.samples.buttons["mri_simulated"].native.click()
    widget.sections[PreviewSection].show.value = True
    wait_until_idle(widget)
    save(window, "light.png")
    viewer.layers.clear()
    viewer.theme = "dark"


def take_folder_of_images(viewer: Any, widget: Any) -> None:
    """Take a folder in which one file is no image."""
    viewer.open_sample("napari-diffusion", "mri")
    wait_until_idle(widget)
    take_folder(widget, viewer.layers[0].data)
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
            widget.drawers[OUTPUTS].open = True
            batch.source.line_edit.value, batch.target.line_edit.value = "scans", "filtered"
            batch.files.native.click()
            wait_until_idle(widget)
            widget.scroll.ensureWidgetVisible(batch.files.native, 0, 0)
            close_notifications(widget.native.window())
            wait_until()
            save(widget.native, "batch_error.png")
            batch.source.line_edit.value = batch.target.line_edit.value = ""
            widget.drawers[OUTPUTS].open = False
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
    docked, widget = dock(viewer, ANISOTROPIC)
    viewer.open_sample("napari-diffusion", "confocal")
    widget.form.model.value = nd.CoherenceEnhancing
    wait_until_idle(widget)
    widget.form.amount.kind.value, widget.form.amount.number.value = "sigma", 0.3
    # Filaments are 0.3 µm wide.
    for name, value in {"kappa": 600.0, "sigma": 0.2, "rho": 0.4}.items():
        widget.form.controls[name].value = value
    outputs = widget.sections[OutputsSection]
    widget.drawers[OUTPUTS].open = True
    outputs.directions.value = True
    wait_until_idle(widget)
    widget.panel.button.native.click()
    wait_until_idle(widget)
    widget.sections[PreviewSection].show.value = False
    widget.drawers[OUTPUTS].open = False
    viewer.reset_view()
    wait_until_idle(widget)
    widget.scroll.verticalScrollBar().setValue(0)  # the drawer was scrolled into view
    wait_until()
    save(docked.window(), "directions.png")
    viewer.close()


def take_three_clicks() -> None:
    """Run the test of the three clicks, and keep its pictures at half their size."""
    folder = IMAGES / "clicks"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as pictures:
        test = Path(__file__).parents[1] / "tests" / "ui" / "test_three_clicks.py"
        environment = os.environ | {"NAPARI_DIFFUSION_PICTURES": pictures}
        subprocess.run([sys.executable, "-m", "pytest", str(test)], env=environment, check=True)
        for path in sorted(Path(pictures).glob("*.png")):
            picture = Picture.open(path).convert("RGB")
            half = picture.resize((picture.width // 2, picture.height // 2), RESAMPLING)
            half.quantize(128).save(folder / path.name, optimize=True)


def main() -> None:
    """Take all pictures, in one session of napari and a second one for the directions."""
    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer(show=True, show_welcome_screen=False, ndisplay=2)
    take_isotropic(viewer)
    docked, widget = dock(viewer, ANISOTROPIC)
    window = docked.window()
    take_walkthrough(viewer, window, widget)
    widget.card.undo.native.click()  # the drawers have more room without the card
    widget.panel.clear()
    widget.sections[PreviewSection].show.value = True
    wait_until_idle(widget)
    take_drawers(widget)
    take_threshold(window, widget)
    take_explanations(widget)
    run_with_snapshots(viewer, widget)
    take_run_states(window, widget)
    take_light_theme(viewer, window, widget)
    take_folder_of_images(viewer, widget)
    take_tiff(viewer, widget, confocal()[0])
    take_preferences(window)
    viewer.close()
    take_directions()
    take_three_clicks()


if __name__ == "__main__":
    sys.exit(main())
