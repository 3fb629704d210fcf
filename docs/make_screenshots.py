"""Make the pictures of the documentation; on a machine without a screen run it under ``xvfb-run -a -s "-screen 0 1280x900x24"``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import QRect
from qtpy.QtWidgets import QApplication

IMAGES = Path(__file__).parent / "images"
MENU_NAMES = {"Isotropic diffusion": "isotropic", "Anisotropic diffusion": "anisotropic"}


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
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


def save(widget: Any, name: str) -> None:
    """Save what a diffusion widget looks like, without the empty space below."""
    body = widget.scroll.widget()
    bottom = widget.panel.native.geometry().bottom() + 8
    if not body.grab(QRect(0, 0, body.width(), bottom)).save(str(IMAGES / name)):
        raise OSError(f"Cannot write {IMAGES / name}.")


def main() -> None:
    """Filter the MRI sample and take the pictures on the way."""
    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer(show=True, show_welcome_screen=False, ndisplay=2)
    widgets = {}
    viewer.open_sample("napari-diffusion", "mri")
    for name, file in MENU_NAMES.items():
        dock, widget = viewer.window.add_plugin_dock_widget("napari-diffusion", name)
        window = dock.window()
        window.resize(1280, 900)
        wait_until(lambda widget=widget: widget.panel.plan.value.endswith("memory."))
        widgets[name] = widget
        save(widget, f"{file}.png")
        if name == "Anisotropic diffusion":
            break
        viewer.window.remove_dock_widget(dock)

    widget = widgets["Anisotropic diffusion"]
    widget.form.controls["kappa"].value = 5.0  # twice what is suggested, to be seen in a small picture
    wait_until(lambda: True)
    widget.panel.button.native.click()
    wait_until(lambda: len(viewer.layers) == 2)
    viewer.canvas.grid.stride = 1  # the original on the left
    viewer.canvas.grid.enabled = True
    viewer.dims.set_current_step(0, 13)
    for layer in viewer.layers:
        layer.name_overlay.visible = True
    viewer.reset_view()
    viewer.scene.camera.zoom *= 1.7
    wait_until(lambda: not widget.panel.busy)
    viewer.screenshot(str(IMAGES / "napari.png"), canvas_only=False, flash=False)
    widget.form.more.button.native.click()
    wait_until(lambda: True)
    save(widget, "options.png")
    viewer.close()


if __name__ == "__main__":
    main()
