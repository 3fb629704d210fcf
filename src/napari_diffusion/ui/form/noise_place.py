"""Choice of the place at which the noise is measured: the whole image, labels or a shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from magicgui.widgets import Container
from napari.layers import Labels, Shapes

from napari_diffusion.ui.form.chosen_layers import LayerWatcher, layer_choices
from napari_diffusion.ui.form.region_choice import WHOLE
from napari_diffusion.ui.layers.noise_mask import NoiseMask
from napari_diffusion.ui.qt.choice_box import ChoiceBox
from napari_diffusion.ui.qt.layout import NO_MARGINS, keep_narrow
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.viewer_part import ViewerPart

TIP = (
    "For an image full of detail: mark a place without structure, such as background, by labels or "
    "by a shape. The noise is measured there alone. Of a Shapes layer, the last shape counts."
)


class NoisePlace(ViewerPart, Container):  # type: ignore[type-arg]
    """A combo box of Labels and Shapes layers; it is hidden while the viewer has none.

    Attributes
    ----------
    layer
        The combo box; its value is a layer, or ``None`` for the whole image.
    """

    def __init__(self, viewer: Any, fail: Callable[[Exception], None]) -> None:
        ViewerPart.__init__(self, viewer, fail)
        self.layer = ChoiceBox(
            choices=layer_choices(viewer, (Labels, Shapes)),
            label="Measure noise in",
            tooltip=TIP,
            nullable=True,
        )
        self.layer.null_string = WHOLE
        keep_narrow(self.layer)
        Container.__init__(self, widgets=[self.layer])
        self.margins = NO_MARGINS
        self._watcher = LayerWatcher(viewer, fail)
        self._watcher.changed.connect(self._edited)
        self.layer.changed.connect(self._follow)
        self._update()

    def noise_mask(self, image: Any, axes: Sequence[int]) -> NoiseMask | None:
        """Return the region in an image layer, ``None`` for the whole image.

        Raises
        ------
        InputError
            As `NoiseMask.of`.
        """
        layer, revision = self.layer.value, self._watcher.revision
        return None if layer is None else NoiseMask.of(self._viewer, image, layer, axes, revision)

    @slot
    def reset_choices(self, *_: Any) -> None:
        """Update the list of layers."""
        super().reset_choices()
        self._update()

    def _update(self) -> None:
        self.visible = len(self.layer.choices) > 1
        self._follow()

    @slot
    def _follow(self) -> None:
        """Follow the labels or shapes of the chosen layer."""
        self._watcher.watch_labels(self.layer.value)

    @slot
    def _edited(self) -> None:
        self.changed.emit(self)
