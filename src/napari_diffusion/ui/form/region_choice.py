"""Choice of the region of interest: the whole image, or a shape of a Shapes layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import Container
from napari.layers import Shapes

from napari_diffusion.ui.form.chosen_layers import layer_choices
from napari_diffusion.ui.layers.events import reconnect
from napari_diffusion.ui.layers.region import region_of
from napari_diffusion.ui.qt.choice_box import ChoiceBox
from napari_diffusion.ui.qt.layout import NO_MARGINS, keep_narrow
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.viewer_part import ViewerPart

WHOLE = "whole image"
TIP = (
    "Filter a part only: choose a Shapes layer. Its last shape limits preview and run; the result "
    "is the same as that of the whole image there."
)
#: Events of a Shapes layer that move its shapes.
_EVENTS = ("data", "scale", "units", "translate", "rotate", "shear", "affine")


class RegionChoice(ViewerPart, Container):  # type: ignore[type-arg]
    """A combo box of the Shapes layers; it is hidden while the viewer has none.

    Attributes
    ----------
    layer
        The combo box; its value is a Shapes layer, or ``None`` for the whole image.
    """

    def __init__(self, viewer: Any, fail: Callable[[Exception], None]) -> None:
        ViewerPart.__init__(self, viewer, fail)
        self._followed: Any = None
        # Not nullable, magicgui would not report the choice of None.
        self.layer = ChoiceBox(
            choices=layer_choices(viewer, Shapes), label="Region", tooltip=TIP, nullable=True
        )
        self.layer.null_string = WHOLE
        keep_narrow(self.layer)
        Container.__init__(self, widgets=[self.layer])
        self.margins = NO_MARGINS
        self.layer.changed.connect(self._follow)
        self._update()

    def region(self, image: Any) -> tuple[slice, ...] | None:
        """Return the region in an image layer, ``None`` for the whole image.

        Raises
        ------
        InputError
            When the chosen layer has no shape, or its last one encloses no voxel of the image.
        """
        shapes = self.layer.value
        return None if shapes is None else region_of(self._viewer, image, shapes)

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
        """Follow the shapes of the chosen layer."""
        layer = self.layer.value
        if layer is not self._followed:
            reconnect(self._followed, layer, _EVENTS, self._edited)
            self._followed = layer

    @slot
    def _edited(self) -> None:
        self.changed.emit(self)
