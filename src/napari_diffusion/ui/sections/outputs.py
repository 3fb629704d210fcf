"""Outputs of a run besides the result: snapshots over diffusion time, and what was removed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, FileEdit, LineEdit, PushButton, SpinBox, Widget

import napari_diffusion as nd
from napari_diffusion.core.units import symbol
from napari_diffusion.diagnostics.orientation import has_tensor
from napari_diffusion.ui.layers.new_layers import METADATA_KEY, add_result
from napari_diffusion.ui.layers.result_names import result_title, time_in_words
from napari_diffusion.ui.layers.style import LayerStyle
from napari_diffusion.ui.qt.layout import bare_container, keep_narrow, wrapping_label
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.run.blocks import Place, ResultPlace
from napari_diffusion.ui.sections.base import Section

_TENSOR_TIPS = {
    "coherence": "Add a map of the result: 0 where it is smoothed equally in all directions, 1 "
    "where only along one.",
    "directions": "Add vectors along which the result is smoothed. Longer ones have a higher "
    "coherence.",
}
PLACE_TIP = (
    "Automatic: in blocks into an OME-Zarr for an image that lies on the disk, or is too large for "
    "the memory; else a layer in memory."
)
_NO_STACK = "Select a layer of snapshots first, and scroll to the one to extract."


class _Snapshot(NamedTuple):
    """Snapshot on screen: its layer, its number there from 0, and its diffusion time [unit²]."""

    layer: Any
    number: int
    time: float


class OutputsSection(Section):
    """Outputs to add, and *Extract this snapshot*, which keeps that on screen as a layer.

    Attributes
    ----------
    snapshots, removed, conductance, coherence, directions
        Controls for the outputs of a run.
    replace
        Whether the next run replaces the last result of its image.
    place, folder, name, overwrite
        Whether the result goes into memory or to the disk, and folder and name of its store.
    store
        Row of folder, name and overwrite, on screen where the result goes to the disk.
    position, stop
        Line about the snapshot on screen, and the button *Extract this snapshot*.
    """

    title = "Outputs"
    tooltip = "Intermediate results, what was removed, and maps."

    def make(self) -> list[Widget]:
        """Return the controls."""
        tip = (
            "Number of intermediate results. Their times have equal ratios; the first has an "
            "eighth of the chosen σ. 0 or 1 gives the result alone."
        )
        self.snapshots = SpinBox(value=0, min=0, max=200, label="Snapshots", tooltip=tip)
        snapshots_row = bare_container(self.snapshots)
        tip = (
            "Add a layer with what was removed. Visible structure in it means that detail was lost."
        )
        self.removed = CheckBox(text="Residual (original − result)", tooltip=tip)
        tip = (
            "Add a map of the result: 1 where it would be smoothed freely, 0 where an edge is kept."
        )
        self.conductance = CheckBox(text="Diffusivity map", tooltip=tip)
        self.coherence, self.directions = CheckBox(text="Coherence"), CheckBox(text="Directions")
        tip = "The next run on an image replaces its last result. Undo does not bring it back."
        self.replace = CheckBox(text="Replace the last result", tooltip=tip)
        self.replace.changed.connect(self._replace_changed)
        self._model: Any = None
        maps = [self.removed, self.conductance, self.coherence, self.directions]
        self.position = wrapping_label()
        self.stop = PushButton(text="Extract this snapshot", enabled=False, tooltip=_NO_STACK)
        self.snapshots.changed.connect(self._output_changed)
        for check_box in maps:
            check_box.changed.connect(self._output_changed)
        self.stop.changed.connect(self._keep_snapshot)
        viewer = self.context.viewer
        viewer.layers.selection.events.active.connect(self._show_position)
        viewer.dims.events.current_step.connect(self._show_position)
        self.context.settings_changed.connect(self._show_tensor_outputs)
        places = self._make_places()
        return [snapshots_row, *maps, self.position, self.stop, self.replace, *places]

    def _make_places(self) -> list[Widget]:
        """Return the controls of the place of a result."""
        choices = [(place.value, place) for place in Place]
        self.place = ComboBox(choices=choices, label="Result", tooltip=PLACE_TIP)
        tip = "Folder of the OME-Zarr; empty for that of the file of the image."
        folder = FileDialogMode.EXISTING_DIRECTORY
        self.folder = FileEdit(mode=folder, label="Folder", tooltip=tip)
        self.folder.choose_btn.text = "Choose…"
        self.folder.line_edit.tooltip = self.folder.choose_btn.tooltip = tip
        tip = "Name of the OME-Zarr; empty for a free name after image and model."
        self.name = LineEdit(label="Name", tooltip=tip)
        tip = "Replace a store of this name, or an unfinished run with other settings."
        self.overwrite = CheckBox(text="Overwrite an existing store", tooltip=tip)
        keep_narrow(self.place)
        for control in (self.place, self.folder, self.name, self.overwrite):
            control.changed.connect(self._place_changed)
        self.context.result_on_disk_changed.connect(self._show_store)
        named = bare_container(self.folder, self.name)
        self.store = bare_container(named, self.overwrite, labels=False)
        self._show_store()
        return [bare_container(self.place), self.store]

    @slot
    def _show_store(self) -> None:
        """Show folder and name of the store where the result goes to the disk."""
        place = self.place.value
        automatic = place is Place.AUTOMATIC and self.context.result_on_disk
        self.store.visible = automatic or place is Place.DISK

    @slot
    def _place_changed(self) -> None:
        self._show_store()
        folder = str(self.folder.line_edit.value).strip()
        self.context.result_place = ResultPlace(
            self.place.value,
            Path(folder) if folder and folder != "." else None,
            str(self.name.value).strip(),
            bool(self.overwrite.value),
        )
        self.context.report_change()

    def output_options(self) -> dict[str, Any]:
        """Return the additional outputs of a run, as fields of `OutputRequest`."""
        count = int(self.snapshots.value)
        options = {
            "residual": bool(self.removed.value),
            "conductance": bool(self.conductance.value),
            "snapshots": count if count > 1 else 0,
        }
        for name, control in self._tensor_outputs().items():
            options[name] = control.enabled and bool(control.value)
        return options

    @slot
    def on_toggled(self, opened: bool) -> None:
        """Show the snapshot on screen and the outputs of the model."""
        if opened:
            self._show_tensor_outputs()
            self._show_position()

    @slot
    def _output_changed(self) -> None:
        self.context.report_change()

    @slot
    def _replace_changed(self, replaces: bool) -> None:
        self.context.result_card.replaces = replaces

    def _tensor_outputs(self) -> dict[str, CheckBox]:
        """Return the controls for outputs of models with a diffusion tensor, by field."""
        return {"coherence": self.coherence, "directions": self.directions}

    @slot
    def _show_tensor_outputs(self) -> None:
        """Enable the outputs that need a diffusion tensor if the model has one."""
        controls, model = self._tensor_outputs(), self.context.controls.model
        in_use = self.open or any(control.value for control in controls.values())
        if not in_use or self._model is model:
            return
        self._model = model
        enabled = has_tensor(model())
        for name, control in controls.items():
            control.enabled = enabled
            if enabled:
                control.tooltip = _TENSOR_TIPS[name]
            else:
                control.tooltip = (
                    f"{model.title} smooths alike in all directions. "
                    "This is for models of fibres, vessels and membranes."
                )

    def _snapshot(self) -> _Snapshot | None:
        """Return the snapshot on screen; ``None`` if no layer of snapshots is selected."""
        viewer = self.context.viewer
        layer = viewer.layers.selection.active
        provenance = getattr(layer, "metadata", {}).get(METADATA_KEY)
        if not isinstance(provenance, dict) or provenance.get("output") != "snapshots":
            return None
        leading_axes = viewer.dims.ndim - layer.ndim
        position = layer.world_to_data([*viewer.dims.point][leading_axes:])
        number = int(np.clip(round(position[0]), 0, len(layer.data) - 1))
        return _Snapshot(layer, number, provenance["times"][number])

    @slot
    def _show_position(self) -> None:
        """Show number and diffusion time of the snapshot on screen."""
        if not self.open:
            return
        snapshot = self._snapshot()
        self.stop.enabled = snapshot is not None
        if snapshot is None:
            self.stop.tooltip = _NO_STACK
            self.position.value = "With snapshots, napari's slider goes through diffusion time."
            return
        self.stop.tooltip = "Add the snapshot on screen as a layer of its own, with its recipe."
        layer, number, time = snapshot
        unit = symbol(layer.metadata[METADATA_KEY]["recipe"]["unit"])
        sigma = nd.equivalent_sigma(time)
        self.position.value = (
            f"Snapshot {number + 1} of {len(layer.data)}: diffusion time {time:.3g} {unit}², "
            f"Gaussian σ {sigma:.3g} {unit}."
        )

    @slot
    def _keep_snapshot(self) -> None:
        """Add the snapshot on screen as a layer."""
        snapshot = self._snapshot()
        if snapshot is None:
            return
        layer, number, time = snapshot
        provenance = dict(layer.metadata[METADATA_KEY])
        del provenance["output"], provenance["times"]
        recipe = provenance["recipe"] = {**provenance["recipe"], "time": time}
        style = LayerStyle.of(layer).without_first_axis()
        kept = time_in_words(time, recipe["unit"])
        added = add_result(
            self.context.viewer,
            np.array(layer.data[number]),
            replace(style, name=provenance["source"]),
            f"{result_title(nd.Recipe.from_dict(recipe))} at {kept}",
            provenance,
        )
        self.context.say(f"Kept: {added.name}")
