"""Buttons that open the samples, for a viewer without an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import Container, PushButton
from qtpy.QtWidgets import QSizePolicy

from napari_diffusion.ui.docking import PLUGIN
from napari_diffusion.ui.qt.layout import NO_MARGINS, bare_container, wrapping_label
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.viewer_part import ViewerPart

HINT = "No image is open. Open one, or try a sample:"
#: Key of a sample in the manifest, text of its button, and purpose.
BUTTONS = (
    ("confocal", "Cells", "Open a simulated confocal stack; its noise-free truth is hidden below."),
    (
        "mri_simulated",
        "MRI",
        "Open an MRI volume with simulated noise; its noise-free truth is hidden below.",
    ),
    ("mri", "Real MRI", "Open a real MRI volume with weak noise."),
)


class SampleButtons(ViewerPart, Container):  # type: ignore[type-arg]
    """A hint and one button for each sample, made when they are first shown.

    Attributes
    ----------
    buttons
        The buttons, by the key of their sample.
    """

    def __init__(self, viewer: Any, fail: Callable[[Exception], None]) -> None:
        ViewerPart.__init__(self, viewer, fail)
        self.buttons: dict[str, PushButton] = {}
        Container.__init__(self, labels=False)
        self.margins = NO_MARGINS

    def show_or_hide(self, shown: bool) -> None:
        """Show or hide hint and buttons."""
        if shown and not self.buttons:
            self._make()
        self.visible = shown

    def _make(self) -> None:
        for key, text, tooltip in BUTTONS:
            button = self.buttons[key] = PushButton(text=text, tooltip=tooltip)
            button.native.setAccessibleName(f"Open the sample {text}")
            button.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        row = bare_container(*self.buttons.values(), layout="horizontal", labels=False)
        self.extend([wrapping_label(HINT), row])
        self.buttons["confocal"].changed.connect(self._open_confocal)
        self.buttons["mri_simulated"].changed.connect(self._open_mri_simulated)
        self.buttons["mri"].changed.connect(self._open_mri)

    @slot
    def _open_confocal(self) -> None:
        self._open("confocal")

    @slot
    def _open_mri_simulated(self) -> None:
        self._open("mri_simulated")

    @slot
    def _open_mri(self) -> None:
        self._open("mri")

    def _open(self, key: str) -> None:
        """Open a sample and show a plane in its middle."""
        layers = self._viewer.open_sample(PLUGIN, key)
        size = layers[-1].data.shape[0]
        self._viewer.dims.set_current_step(self._viewer.dims.ndim - 3, size // 2)
