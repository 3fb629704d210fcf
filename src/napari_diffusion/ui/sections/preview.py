"""The preview: the result of Run on the image, the split line, and Compare."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from magicgui.widgets import CheckBox, PushButton, Widget
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel

from napari_diffusion.previewing.cold_start import first_preview
from napari_diffusion.previewing.previewer import Previewer, PreviewImage
from napari_diffusion.previewing.request import PreviewRequest
from napari_diffusion.ui.overlay.compare import Compare, HoldKey
from napari_diffusion.ui.overlay.overlay_layer import Shown
from napari_diffusion.ui.overlay.preview_layer import PreviewOverlay
from napari_diffusion.ui.overlay.preview_words import (
    COMPUTING,
    describe_compilation,
    describe_draft,
    describe_exact,
    describe_part,
)
from napari_diffusion.ui.overlay.solid_controls import SolidControls
from napari_diffusion.ui.overlay.split_line import SplitLine
from napari_diffusion.ui.overlay.visible_region import Part, displayed, grid, on_screen
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.layout import (
    bare_container,
    reserve_height,
    wrapping_label,
)
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.run.kernels import (
    POLL_INTERVAL_MS,
    is_compiling,
    is_prepared,
    wait_for_kernels,
)
from napari_diffusion.ui.run.messages import screen_message
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.ui.sections.base import Section

#: Key that shows the original while it is held. C is taken: napari 0.9 sets the contrast by it.
COMPARE_KEY = "H"
#: Whether the preview is on when a widget opens.
ON_AT_OPENING = True
#: Mark of a draft at the status line: on screen, a draft looks like a final preview.
_DRAFT_STYLE = "border-left: 3px solid #f0ad4e; padding-left: 6px;"
SPLIT_TIP = "Original on the left, preview on the right. Drag the line in the image."
NO_SPLIT_IN_3D = "The split needs the 2-D view."
NO_SPLIT_IN_GRID = "In grid view the preview lies beside the original: no split is needed."


class PreviewSection(Section):
    """The filtered plane over the original; in 3-D view, a plane or a box.

    Attributes
    ----------
    show, split
        Whether to show the preview, and the original beside it.
    compare
        Button that shows the original while it is pressed.
    solid
        Controls for 3-D view.
    status
        Line about the state of the preview.
    overlay
        The layer that shows the preview.
    comparison
        Shows the original while button or key are held.
    """

    title = ""

    def make(self) -> list[Widget]:
        """Return the controls."""
        tip = "Show on the image what Run will make of the slice on screen."
        self.show = CheckBox(value=ON_AT_OPENING, text="Preview", tooltip=tip)
        self.split = CheckBox(value=False, text="Split", tooltip=SPLIT_TIP)
        tip = f"Press and hold to see the original. Key {COMPARE_KEY} does the same."
        self.compare = PushButton(text=f"Compare ({COMPARE_KEY})", tooltip=tip)
        self.solid = SolidControls()
        self.status = wrapping_label()
        self._previewer = Previewer()
        self.overlay = PreviewOverlay(
            self.context, self._compute, self._part, self._show_state, self._overlay_deleted
        )
        self._line = SplitLine(self.context, self.overlay)
        self.comparison = Compare(self.context, self.overlay)
        self._key = HoldKey(self.context.parent, COMPARE_KEY, self.comparison)
        self._start_time = 0.0
        self._draft_place = ""
        self._error: Exception | None = None
        self._describe: Callable[[], str] | None = None
        self._compile_timer = QTimer(self.context.parent)
        self._compile_timer.setInterval(POLL_INTERVAL_MS)
        self._compile_timer.timeout.connect(self._show_progress)
        self._connect()
        row = bare_container(self.show, self.split, self.compare, layout="horizontal", labels=False)
        below = bare_container(self.status, layout="horizontal", labels=False)
        reserve_height(below, QLabel("\n"))  # what is below stays in place
        return [row, self.context.region_choice, self.solid, below]

    def _connect(self) -> None:
        viewer = self.context.viewer
        self.show.changed.connect(self._switch)
        self.context.hidden_changed.connect(self._switch)
        self.split.changed.connect(self._switch_split)
        self.compare.native.pressed.connect(self.comparison.begin)
        self.compare.native.released.connect(self.comparison.end)
        self.solid.moved.connect(self.overlay.refresh)
        self.context.layer_changed.connect(self._view_changed)
        viewer.dims.events.ndisplay.connect(self._view_changed)
        grid(viewer).events.enabled.connect(self._view_changed)
        self.context.settings_changed.connect(self._update_button)
        self.context.suggestion_changed.connect(self._measured)
        self.context.status_changed.connect(self._show_error)
        self._view_changed()
        self._update_button()
        self._switch()

    def toggle(self) -> None:
        """Switch the preview on or off."""
        self.show.value = not self.show.value

    @property
    def _is_on(self) -> bool:
        """Whether there is to be a preview: a hidden widget has none."""
        return bool(self.show.value) and not self.context.hidden

    @slot
    def _switch(self) -> None:
        self.comparison.end()
        on = self._is_on
        if on != self.overlay.on:
            self.overlay.switch(on)
        if not on:
            self._compile_timer.stop()
            self._describe = self._error = None
            self._set_status("")
        self._switch_split()

    @slot
    def _switch_split(self) -> None:
        """Show or hide the split; it starts in the middle."""
        on = bool(self._is_on and self.split.value and self.split.enabled)
        if on != (self.overlay.fraction is not None):
            self.overlay.fraction = 0.5 if on else None
        if on:
            self._line.start()
        else:
            self._line.stop()

    @slot
    def _update_button(self) -> None:
        has_layer = self.context.layer is not None
        if self.compare.enabled != has_layer:
            self.comparison.end()
            self.compare.enabled = has_layer

    def _overlay_deleted(self) -> None:
        """Switch the preview off: the user has deleted its layer."""
        self.show.value = False

    @slot
    def _view_changed(self) -> None:
        """Update the controls that belong to a view: the split, and those for 3-D."""
        viewer = self.context.viewer
        reason = ""
        if viewer.dims.ndisplay == 3:
            reason = NO_SPLIT_IN_3D
        elif grid(viewer).enabled:
            reason = NO_SPLIT_IN_GRID
        self.split.enabled, self.split.tooltip = not reason, reason or SPLIT_TIP
        self._switch_split()
        self.solid.show_layer(viewer, self.context.layer)

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
        viewer, layer, region = self.context.viewer, self.context.layer, self.context.region
        return on_screen(viewer, layer, Preferences.read().preview, *self.solid.plane, region)

    def _show_state(self, state: Shown | Exception | str | None) -> None:
        """Show the state of the preview.

        It is begun (``None``), shown, failed (its error), or not needed (a sentence).
        """
        self._describe = self._error = None
        if state is None:
            self._start_time, self._draft_place = time.monotonic(), ""
            self._compile_timer.start()
            return
        self.context.opening.end_soon()
        if not isinstance(state, Shown):
            self._compile_timer.stop()
            self._set_status(state if isinstance(state, str) else "")
            self._error = None if isinstance(state, str) else state
            self._show_error()
            return
        is_draft = state.preview.refine is not None
        place, seconds = self._place_of(state.part), state.preview.seconds
        if is_draft:
            self._draft_place = place
            self._describe = lambda: describe_draft(place, seconds, self.context.measuring)
        else:
            elapsed = time.monotonic() - self._start_time
            self._describe = lambda: describe_exact(place, elapsed, self.context.measuring)
        self._set_status(self._describe(), is_draft)
        # An early draft is made before the kernels are compiled. It has a region of its own.
        if is_draft and state.preview.region is not None:
            self._show_progress()
        else:
            self._compile_timer.stop()

    def _place_of(self, part: Part) -> str:
        """Return a part in words."""
        layer = self.context.layer
        shown = displayed(self.context.viewer, layer)
        return describe_part(part, shown, layer.ndim, self.context.region)

    @slot
    def _measured(self) -> None:
        """Drop the note on starting values once the image is measured."""
        if self._describe is not None:
            self.status.value = self._describe()

    @slot
    def _show_error(self) -> None:
        """Show the error of the preview while the line above Run does not say the same."""
        error = self._error
        if error is not None:
            self._set_status("" if self.context.states(error) else screen_message(error))

    def _set_status(self, text: str, is_draft: bool = False) -> None:
        self.status.value = text
        self.status.native.setStyleSheet(_DRAFT_STYLE if is_draft else "")

    @slot
    def _show_progress(self) -> None:
        """Show that kernels are being compiled, or that the computation takes long."""
        if is_compiling():
            self._describe = None
            model = type(self.context.controls.value()).title
            text = describe_compilation(self._draft_place, model)
            self._set_status(text, is_draft=bool(self._draft_place))
        elif not self._draft_place and time.monotonic() - self._start_time > 1:
            self._set_status(COMPUTING)
