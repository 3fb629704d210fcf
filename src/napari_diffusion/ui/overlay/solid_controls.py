"""Controls for the preview in 3-D view: a box in the middle, or a plane across one axis."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import ComboBox, Container, Slider
from psygnal import Signal

from napari_diffusion.ui.layers.axes import layer_axes, shape_of
from napari_diffusion.ui.overlay.visible_region import BOX, displayed
from napari_diffusion.ui.qt.layout import NO_MARGINS, keep_narrow, name_parts
from napari_diffusion.ui.qt.slots import slot


class SolidControls(Container):  # type: ignore[type-arg]
    """Controls for 3-D view, made when they are first shown.

    Attributes
    ----------
    cut, place
        Box or axis of the plane, and voxel of the plane.
    moved
        Signal: box or plane may be another one.
    """

    moved = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.margins = NO_MARGINS
        self.visible = False
        self._shape: tuple[int, ...] = ()

    @property
    def plane(self) -> tuple[int | str, int]:
        """The axis of the plane, or `BOX`, and its voxel."""
        return (self.cut.value, int(self.place.value)) if len(self) else (BOX, 0)

    def show_layer(self, viewer: Any, layer: Any) -> None:
        """In 3-D view, offer a plane across each displayed axis of a layer."""
        self._shape = () if layer is None else tuple(shape_of(layer))
        shown = () if layer is None else displayed(viewer, layer)
        is_solid = len(shown) == 3
        if is_solid:
            if not len(self):
                self._make()
            names = {axis.index: axis.name for axis in layer_axes(layer)}
            planes = [(f"{names[axis]} slice", axis) for axis in sorted(shown)]
            cut = self.cut.value if self.cut.value in shown else BOX
            with self.cut.changed.blocked():
                self.cut.choices = [("box in the middle", BOX), *planes]
                self.cut.value = cut
        self.visible = is_solid
        self._cut_changed()

    def _make(self) -> None:
        tip = "What to preview in 3-D view: a box in the middle, or a plane across one axis."
        self.cut = ComboBox(choices=[BOX], value=BOX, label="In 3-D", tooltip=tip)
        self.place = Slider(value=0, min=0, max=1, label="Slice", tooltip="Where the plane is.")
        name_parts(self.place.native, "Slice", "Where the plane is.")
        keep_narrow(self.cut)
        self.extend([self.cut, self.place])
        self.cut.changed.connect(self._cut_changed)
        self.place.changed.connect(self.moved.emit)

    @slot
    def _cut_changed(self) -> None:
        """Show the slider of the plane, with the range of its axis."""
        axis, _ = self.plane
        if len(self):
            self.place.visible = axis != BOX and self.visible
        if isinstance(axis, int) and axis < len(self._shape):
            size = self._shape[axis]
            with self.place.changed.blocked():
                other_size = self.place.max != size - 1
                self.place.max = max(1, size - 1)
                if other_size:
                    self.place.value = size // 2
        self.moved.emit()
