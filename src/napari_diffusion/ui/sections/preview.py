"""The Preview section: the result of Run for the plane or box on screen."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from magicgui.widgets import CheckBox, ComboBox, PushButton, Slider, Widget
from qtpy.QtCore import QTimer

from napari_diffusion.previewing.cold_start import first_preview
from napari_diffusion.previewing.previewer import Previewer, PreviewImage
from napari_diffusion.previewing.request import PreviewRequest
from napari_diffusion.ui.layers.axes import layer_axes, shape_of
from napari_diffusion.ui.overlay.overlay_layer import Overlay, Shown
from napari_diffusion.ui.overlay.visible_region import BOX, Part, displayed, on_screen
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.layout import bare_container, keep_narrow, wrapping_label
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.run.kernels import (
    POLL_INTERVAL_MS,
    is_compiling,
    is_prepared,
    wait_for_kernels,
)
from napari_diffusion.ui.run.messages import screen_message
from napari_diffusion.ui.run.panel import duration
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.ui.sections.base import Section

#: Mark of a draft at the status line: on screen, a draft looks like a final preview.
_DRAFT_STYLE = "border-left: 3px solid #f0ad4e; padding-left: 6px;"


class PreviewSection(Section):
    """Always visible: the filtered plane over the original; in 3-D view, a plane or a box.

    Attributes
    ----------
    show, hold
        Whether to show the preview, and the button that hides it while pressed.
    solid, cut, place
        Controls for 3-D view: their container, box or axis of the plane, and voxel of the plane.
    status
        Line about the state of the preview.
    overlay
        The layer that shows the preview.
    """

    title = ""
    tooltip = "See what Run will make of the plane on screen; it follows every change."

    def make(self) -> list[Widget]:
        """Return the controls."""
        tip = "Put the filtered plane over the original."
        self.show = CheckBox(value=False, text="Preview", tooltip=tip)
        tip = "Hide the preview for as long as this is pressed."
        self.hold = PushButton(text="Hold to see the original", tooltip=tip)
        tip = "What to filter in 3-D view: a box in the middle, or a plane across one axis."
        self.cut = ComboBox(choices=[BOX], value=BOX, label="In 3-D", tooltip=tip)
        self.place = Slider(value=0, min=0, max=1, label="At voxel", tooltip="Where the plane is.")
        keep_narrow(self.cut)
        self.solid = bare_container(self.cut, self.place)
        self.status = wrapping_label()
        self._previewer = Previewer()
        self.overlay = Overlay(
            self.context,
            "preview",
            self._compute,
            self._part,
            self._show_state,
            self._overlay_deleted,
        )
        self._start_time = 0.0
        self._draft_text = ""
        self._compile_timer = QTimer(self.context.parent)
        self._compile_timer.setInterval(POLL_INTERVAL_MS)
        self._compile_timer.timeout.connect(self._show_progress)
        self.show.changed.connect(self._switch)
        self.hold.native.pressed.connect(self._hide)
        self.hold.native.released.connect(self._show_again)
        self.cut.changed.connect(self._cut_changed)
        self.place.changed.connect(self.overlay.refresh)
        self.context.layer_changed.connect(self._list_cuts)
        self.context.viewer.dims.events.ndisplay.connect(self._list_cuts)
        return [self.show, self.hold, self.solid, self.status]

    @slot
    def on_toggled(self, opened: bool) -> None:
        """Follow the view while the section is open."""
        self._list_cuts()
        self._switch()

    @slot
    def _switch(self) -> None:
        on = self.open and bool(self.show.value)
        self.hold.enabled = on
        self.overlay.switch(on)
        if not on:
            self._compile_timer.stop()
            self.status.value = ""

    @slot
    def _hide(self) -> None:
        self.overlay.hide(True)

    @slot
    def _show_again(self) -> None:
        self.overlay.hide(False)

    def _overlay_deleted(self) -> None:
        """Switch the preview off: the user has deleted its layer."""
        self.show.value = False

    @slot
    def _list_cuts(self) -> None:
        """In 3-D view, offer a plane across each displayed axis of the layer."""
        layer = self.context.layer
        shown = () if layer is None else displayed(self.context.viewer, layer)
        solid = len(shown) == 3
        if solid:
            names = {axis.index: axis.name for axis in layer_axes(layer)}
            planes = [(f"plane across {names[axis]}", axis) for axis in sorted(shown)]
            cut = self.cut.value if self.cut.value in shown else BOX
            with self.cut.changed.blocked():
                self.cut.choices = [(BOX, BOX), *planes]
                self.cut.value = cut
        self.solid.visible = solid and self.open
        self._cut_changed()

    @slot
    def _cut_changed(self) -> None:
        """Show the slider of the plane, with the range of its axis."""
        axis, layer = self.cut.value, self.context.layer
        self.place.visible = axis != BOX and self.solid.visible
        if axis != BOX and layer is not None and axis < layer.ndim:
            size = shape_of(layer)[axis]
            with self.place.changed.blocked():
                other_size = self.place.max != size - 1
                self.place.max = max(1, size - 1)
                if other_size:
                    self.place.value = size // 2
        self.overlay.refresh()

    def _compute(self, settings: Settings, part: Part, control: TaskControl) -> PreviewImage:
        """Return the filtered part.

        Colours keep their integer type: napari would show floats above 1 as white.
        """
        shown = settings
        if settings.recipe.channel_axis is not None:
            shown = replace(settings, recipe=replace(settings.recipe, preserve_dtype=True))
        request = PreviewRequest(shown.unread_problem(), part.region, settings.execution)
        ready, wait = partial(is_prepared, settings), partial(wait_for_kernels, settings)
        return first_preview(self._previewer, request, part.middle, ready, wait, control.cancel)

    def _part(self) -> Part | None:
        """Return the part of the layer on screen, ``None`` where there is none."""
        largest, plane_index = Preferences.read().preview, int(self.place.value)
        viewer, layer = self.context.viewer, self.context.layer
        return on_screen(viewer, layer, largest, self.cut.value, plane_index)

    def _show_state(self, state: Shown | Exception | None) -> None:
        """Show the state of the preview: begun (``None``), failed (its error) or shown."""
        if state is None:
            self._start_time, self._draft_text = time.monotonic(), ""
            self._compile_timer.start()
            return
        is_draft = isinstance(state, Shown) and state.preview.refine is not None
        self.status.native.setStyleSheet(_DRAFT_STYLE if is_draft else "")
        if isinstance(state, Exception):
            self._compile_timer.stop()
            self.status.value = screen_message(state)
            return
        # An early draft is made before the kernels are compiled. It has a region of its own.
        is_early = is_draft and state.preview.region is not None
        place = self._place_of(state.part, is_early)
        if is_draft:
            seconds = state.preview.seconds
            remaining = "" if seconds is None else f", in about {duration(seconds)}"
            self._draft_text = f"Draft, nearly as Run will make it: {place}. "
            self.status.value = f"{self._draft_text}The exact preview follows{remaining}."
        else:
            elapsed = time.monotonic() - self._start_time
            self.status.value = f"As Run will make it: {place}, in {elapsed:.2g} s."
        if is_early:  # the exact preview may have to wait for the compiler
            self._show_progress()
        else:
            self._compile_timer.stop()

    def _place_of(self, part: Part, is_early: bool) -> str:
        """Return a part in words; the size of an early draft is not that of the preferences."""
        if part.whole:
            return "all of the plane"
        sizes = [side.stop - side.start for side in part.region[: self.context.layer.ndim]]
        sides = " × ".join(str(size) for size in sizes if size > 1)
        return f"the middle, {sides} voxels{'' if is_early else '; the preferences say how much'}"

    @slot
    def _show_progress(self) -> None:
        """Show that kernels are being compiled, or that the computation takes long."""
        if is_compiling():
            self.status.value = (
                f"{self._draft_text}Compiling the filter for this computer; once, then it is kept."
            )
        elif not self._draft_text and time.monotonic() - self._start_time > 1:
            self.status.value = (
                "Computing… A shorter diffusion time, or a smaller preview in the preferences, is "
                "faster."
            )
