"""The Preview section: what Run would make of what is on screen."""

from __future__ import annotations

import time
from functools import partial

from magicgui.widgets import CheckBox, ComboBox, Container, PushButton, Slider, Widget
from qtpy.QtCore import QTimer

from napari_diffusion.engine.request import Request
from napari_diffusion.previewing.cold_start import first_preview
from napari_diffusion.previewing.previewer import Previewer, PreviewImage
from napari_diffusion.previewing.region import PreviewRequest
from napari_diffusion.ui.layers.axes import array_of, layer_axes
from napari_diffusion.ui.overlay.overlay_layer import Overlay, Shown
from napari_diffusion.ui.overlay.visible_region import BOX, Part, displayed, on_screen
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.layout import keep_narrow, wrapping_label
from napari_diffusion.ui.run.panel import duration, sentence
from napari_diffusion.ui.run.request import Settings
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.ui.run.warmup import is_compiling, prepared, wait_for_kernels
from napari_diffusion.ui.sections.base import Section

#: How often it is looked whether a kernel is being compiled [ms].
POLL_INTERVAL_MS = 200


class PreviewSection(Section):
    """The filtered plane, over the original, following everything; a plane or a box in 3-D view."""

    title = "Preview"
    tooltip = "See what Run will make of the plane on screen; it follows every change."

    def make(self) -> list[Widget]:
        """Return the controls."""
        self.show = CheckBox(
            value=True,
            text="Show on the image",
            tooltip="Put the filtered plane over the original.",
        )
        self.hold = PushButton(
            text="Hold to see the original",
            tooltip="Hide the preview for as long as this is pressed.",
        )
        tip = "What to filter in 3-D view: a box in the middle, or a plane across one axis."
        self.cut = ComboBox(choices=[BOX], value=BOX, label="In 3-D", tooltip=tip)
        self.place = Slider(value=0, min=0, max=1, label="At voxel", tooltip="Where the plane is.")
        keep_narrow(self.cut)
        self.solid = Container(widgets=[self.cut, self.place])
        self.solid.margins = (0, 0, 0, 0)
        self.status = wrapping_label()
        self._previewer = Previewer()
        self.overlay = Overlay(
            self.context, "preview", self._compute, self._part, self._tell, self._gone
        )
        self._began = 0.0
        self._draft = ""
        self._compiling = QTimer(self.context.parent)
        self._compiling.setInterval(POLL_INTERVAL_MS)
        self._compiling.timeout.connect(self._announce)
        self.show.changed.connect(self._switch)
        self.hold.native.pressed.connect(self._press)
        self.hold.native.released.connect(self._release)
        self.cut.changed.connect(self._cut_changed)
        self.place.changed.connect(self.overlay.refresh)
        self.context.layer_changed.connect(self._list_cuts)
        self.context.viewer.dims.events.ndisplay.connect(self._list_cuts)
        return [self.show, self.hold, self.solid, self.status]

    def folded(self, opened: bool) -> None:
        """Follow the screen while open."""
        self._list_cuts()
        self._switch()

    def _switch(self) -> None:
        on = self.box.open and bool(self.show.value)
        self.hold.enabled = on
        self.overlay.switch(on)
        if not on:
            self._compiling.stop()
            self.status.value = ""

    def _press(self) -> None:
        self.overlay.hide(True)

    def _release(self) -> None:
        self.overlay.hide(False)

    def _gone(self) -> None:
        """The user has deleted the layer: that means no more."""
        self.show.value = False

    def _list_cuts(self) -> None:
        """Offer a plane across each axis of the layer that is on screen in 3-D."""
        layer = self.context.layer
        shown = () if layer is None else displayed(self.context.viewer, layer)
        solid = len(shown) == 3
        if solid:
            names = {axis.index: axis.name for axis in layer_axes(layer)}
            choices = [
                (BOX, BOX),
                *((f"plane across {names[axis]}", axis) for axis in sorted(shown)),
            ]
            kept = self.cut.value if self.cut.value in [value for _, value in choices] else BOX
            with self.cut.changed.blocked():
                self.cut.choices = choices
                self.cut.value = kept
        self.solid.visible = solid and self.box.open
        self._cut_changed()

    def _cut_changed(self) -> None:
        across, layer = self.cut.value, self.context.layer
        self.place.visible = across != BOX and self.solid.visible
        if across != BOX and layer is not None and across < layer.ndim:
            size = array_of(layer).shape[across]
            with self.place.changed.blocked():
                fresh = self.place.max != size - 1
                self.place.max = max(1, size - 1)
                if fresh:
                    self.place.value = size // 2
        self.overlay.refresh()

    def _compute(self, settings: Settings, part: Part, control: TaskControl) -> PreviewImage:
        """Return the filtered part. Colours keep their integer type: as floats, napari would take 255 for 255 times white."""
        keywords = settings.keywords | (
            {"preserve_dtype": True} if settings.keywords["channel_axis"] is not None else {}
        )
        request = PreviewRequest(
            Request.of(settings.image, settings.model, **keywords), part.region
        )
        ready, wait = partial(prepared, settings), partial(wait_for_kernels, settings)
        return first_preview(self._previewer, request, part.middle, ready, wait, control.cancel)

    def _part(self) -> Part | None:
        largest = Preferences.read().preview
        return on_screen(
            self.context.viewer, self.context.layer, largest, self.cut.value, int(self.place.value)
        )

    def _tell(self, about: Shown | Exception | None) -> None:
        """Say how it stands: begun (``None``), failed, or shown."""
        if about is None:
            self._began, self._draft = time.monotonic(), ""
            self._compiling.start()
            return
        draft = isinstance(about, Shown) and about.look.refine is not None
        # On screen a draft looks like any picture, so that the line is marked, not only worded.
        self.status.native.setStyleSheet(
            "border-left: 3px solid #f0ad4e; padding-left: 6px;" if draft else ""
        )
        if isinstance(about, Exception):
            self._compiling.stop()
            self.status.value = sentence(about)
            return
        part, early = about.part, draft and about.look.region is not None
        sides = " × ".join(
            str(side.stop - side.start)
            for side in part.region[: self.context.layer.ndim]
            if side.stop - side.start > 1
        )
        where = (
            "all of the plane"
            if part.whole
            else f"the middle, {sides} voxels{'' if early else '; the preferences say how much'}"
        )
        if draft:
            rest = (
                "" if about.look.seconds is None else f", in about {duration(about.look.seconds)}"
            )
            self._draft = f"Draft, nearly as Run will make it: {where}. "
            self.status.value = f"{self._draft}The exact preview follows{rest}."
        else:
            self.status.value = (
                f"As Run will make it: {where}, in {time.monotonic() - self._began:.2g} s."
            )
        if early:  # the exact one may have to wait for the compiler
            self._announce()
        else:
            self._compiling.stop()

    def _announce(self) -> None:
        if is_compiling():
            self.status.value = (
                f"{self._draft}Compiling the filter for this computer; once, then it is kept."
            )
        elif not self._draft and time.monotonic() - self._began > 1:
            self.status.value = "Computing… A shorter diffusion time, or a smaller preview in the preferences, is faster."
