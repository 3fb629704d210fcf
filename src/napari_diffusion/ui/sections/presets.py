"""Values of a filter of another program, converted to the model, the threshold and the time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from magicgui.widgets import ComboBox, Container, PushButton, Widget
from magicgui.widgets.bases import ValueWidget

import napari_diffusion as nd
from napari_diffusion.core.parameters import parameters
from napari_diffusion.presets import BUILTIN, Preset
from napari_diffusion.ui.form.model_controls import control_of, convert_unit
from napari_diffusion.ui.qt.layout import bare_container, keep_narrow, wrapping_label
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl
from napari_diffusion.ui.sections.base import Section

#: Status while the image is measured.
CONVERTING = "Converting the values for this image…"


class PresetSection(Section):
    """Takes the values of a filter of another program, and says what differs.

    Attributes
    ----------
    program
        The filter.
    controls
        The controls of each filter, by the names of its parameters.
    use, differences
        The button that converts the values, and what differs after it.
    """

    title = "As in another program"
    tooltip = "Convert the values of ITK, MedPy, DIPlib or OpenCV."

    def make(self) -> list[Widget]:
        """Return the controls."""
        filters = [(kind.title, kind) for kind in BUILTIN]
        tip = "Program and filter whose values are converted."
        self.program = ComboBox(choices=filters, label="Filter", tooltip=tip)
        keep_narrow(self.program)
        self.controls: dict[type[Preset], dict[str, ValueWidget[Any]]] = {
            kind: {p.name: control_of(p) for p in parameters(kind)} for kind in BUILTIN
        }
        self._rows: dict[type[Preset], Container[Any]] = {
            kind: bare_container(*controls.values()) for kind, controls in self.controls.items()
        }
        tip = "Show model, threshold and time that correspond to these values in this image."
        self.use = PushButton(text="Use these values", tooltip=tip)
        self.differences = wrapping_label()
        self.differences.visible = False
        self._task = ReplaceableTask()
        self.program.changed.connect(self._show_controls)
        self.use.changed.connect(self._convert)
        self.context.settings_changed.connect(self._show_units)
        self.context.layer_changed.connect(self._forget)
        self.context.on_close(self._task.drop)
        return [bare_container(self.program), *self._rows.values(), self.use, self.differences]

    @slot
    def on_toggled(self, opened: bool) -> None:
        """Show the controls; the filters are all for the edge-preserving widget."""
        self.box.visible = is_offered = not self.context.controls.model.isotropic
        if opened and is_offered:
            self._show_controls()
            self._show_units()

    @slot
    def _show_controls(self) -> None:
        for kind, rows in self._rows.items():
            rows.visible = kind is self.program.value

    @slot
    def _show_units(self) -> None:
        for kind, controls in self.controls.items():
            for p in parameters(kind):
                convert_unit(p, controls[p.name], self.context.unit, 1.0)

    @slot
    def _forget(self) -> None:
        """Leave out what was said about another image."""
        self._task.drop()
        self.differences.visible = False

    @slot
    def _convert(self) -> None:
        """Convert the values in the background: the gradients of the image may be measured."""
        try:
            kind = self.program.value
            values = {name: control.value for name, control in self.controls[kind].items()}
            preset, settings = kind(**values), self.context.settings()
        except (TypeError, ValueError) as error:
            self.fail(error)
            return

        def work(control: TaskControl) -> nd.Recipe:
            own = settings.recipe
            made = preset.recipe(settings.image, settings.geometry, own.unit, control.cancel)
            values = {name: getattr(made, name) for name in ("model", "time", "remarks")}
            return replace(own, scheme=made.scheme, **values)

        self.context.say(CONVERTING)
        self._task.start(work, self._show, self.fail)

    def _show(self, recipe: nd.Recipe) -> None:
        shortcomings = self.context.load(recipe)
        self.context.say(" ".join(["Values converted.", *shortcomings]), error=bool(shortcomings))
        self.differences.value = " ".join(recipe.remarks)
        self.differences.visible = bool(recipe.remarks)
