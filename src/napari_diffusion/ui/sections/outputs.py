"""What to keep of a run beside the result: snapshots over diffusion time, and what was removed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from magicgui.widgets import CheckBox, Container, PushButton, SpinBox, Widget

import napari_diffusion as nd
from napari_diffusion.core.units import symbol
from napari_diffusion.diagnostics.orientation import has_tensor
from napari_diffusion.models import get
from napari_diffusion.ui.layers.adding import add_result
from napari_diffusion.ui.layers.style import LayerStyle
from napari_diffusion.ui.qt.layout import wrapping_label
from napari_diffusion.ui.run.request import KEY
from napari_diffusion.ui.sections.base import Section

_TENSOR = {
    "coherence": "Add a map of how much more is smoothed along a direction than across it, from 0 to 1, at the end.",
    "directions": "Add vectors that show where the model smooths along, at the end; the longer, the higher the coherence.",
}
_NO_STACK = "Select a layer of snapshots first, and scroll to the one to keep."


class OutputsSection(Section):
    """Snapshots, and the scrubber's *Stop here*; the removed noise."""

    title = "Snapshots and other outputs"
    tooltip = "Keep the image at several diffusion times, and see what was removed."

    def make(self) -> list[Widget]:
        """Return the controls."""
        tip = "Keep the image at this many diffusion times, from an eighth of the Gaussian sigma on; 0 or 1 for the result alone."
        self.snapshots = SpinBox(value=0, min=0, max=200, label="Snapshots", tooltip=tip)
        tip = "Add a layer with image minus result: noise if all goes well, and no trace of a structure."
        self.removed = CheckBox(text="What was removed", tooltip=tip)
        tip = "Add a map of where the model would go on smoothing (1) and where it holds an edge (0), at the end."
        self.conductance = CheckBox(text="Conductance", tooltip=tip)
        self.coherence, self.directions = CheckBox(text="Coherence"), CheckBox(text="Directions")
        self._model: Any = None
        form = Container(widgets=[self.snapshots])
        form.margins = (0, 0, 0, 0)
        self.here = wrapping_label()
        self.stop = PushButton(text="Stop here", enabled=False, tooltip=_NO_STACK)
        for control in (
            self.snapshots,
            self.removed,
            self.conductance,
            self.coherence,
            self.directions,
        ):
            control.changed.connect(self._changed)
        self.stop.changed.connect(self._stop_here)
        viewer = self.context.viewer
        viewer.layers.selection.events.active.connect(self._show_here)
        viewer.dims.events.current_step.connect(self._show_here)
        self.context.settings_changed.connect(self._model_changed)
        return [
            form,
            self.removed,
            self.conductance,
            self.coherence,
            self.directions,
            self.here,
            self.stop,
        ]

    def output_options(self) -> dict[str, Any]:
        """Return what to keep."""
        options = {
            "residual": bool(self.removed.value),
            "conductance": bool(self.conductance.value),
        }
        options |= {
            name: control.enabled and bool(control.value)
            for name, control in self._of_tensors().items()
        }
        count = int(self.snapshots.value)
        return options | {"snapshots": count if count > 1 else 0}

    def folded(self, opened: bool) -> None:
        """Say which snapshot is on screen."""
        if opened:
            self._model_changed()
            self._show_here()

    def _changed(self) -> None:
        self.context.touch()

    def _of_tensors(self) -> dict[str, CheckBox]:
        return {"coherence": self.coherence, "directions": self.directions}

    def _model_changed(self) -> None:
        """Offer what only models with a diffusion tensor have."""
        asked = self.box.open or any(control.value for control in self._of_tensors().values())
        if not asked or self._model is self.context.controls.model:
            return
        self._model = self.context.controls.model
        offered = has_tensor(self._model())
        for name, control in self._of_tensors().items():
            control.enabled = offered
            control.tooltip = (
                _TENSOR[name]
                if offered
                else f"{self._model.title} smooths alike in all directions at a voxel."
            )

    def _stack(self) -> tuple[Any, int, float] | None:
        """Return the selected layer of snapshots, the one of them that is on screen, and its diffusion time."""
        layer = self.context.viewer.layers.selection.active
        told = getattr(layer, "metadata", {}).get(KEY)
        if not isinstance(told, dict) or told.get("output") != "snapshots":
            return None
        dims, ahead = self.context.viewer.dims, self.context.viewer.dims.ndim - layer.ndim
        position = [*dims.point][ahead:]
        number = int(np.clip(round(layer.world_to_data(position)[0]), 0, len(layer.data) - 1))
        return layer, number, told["times"][number]

    def _show_here(self) -> None:
        if not self.box.open:
            return
        found = self._stack()
        self.stop.enabled = found is not None
        self.stop.tooltip = (
            _NO_STACK
            if found is None
            else "Add the snapshot on screen as a layer of its own, with its recipe."
        )
        if found is None:
            self.here.value = "With snapshots, napari's slider goes through diffusion time."
            return
        layer, number, time = found
        unit = symbol(layer.metadata[KEY]["recipe"]["unit"])
        sigma = nd.equivalent_sigma(time)
        self.here.value = f"Snapshot {number + 1} of {len(layer.data)}: diffusion time {time:.3g} {unit}², Gaussian σ {sigma:.3g} {unit}."

    def _stop_here(self) -> None:
        found = self._stack()
        if found is None:
            return
        layer, number, time = found
        told = {
            key: value
            for key, value in layer.metadata[KEY].items()
            if key not in ("output", "times")
        }
        told["recipe"] = {**told["recipe"], "time": time}
        look = replace(LayerStyle.of(layer).without_first_axis(), name=told["source"])
        title, unit = get(told["recipe"]["model"]).title, symbol(told["recipe"]["unit"])
        added = add_result(
            self.context.viewer,
            np.array(layer.data[number]),
            look,
            f"{title} at {time:.3g} {unit}²",
            told,
        )
        self.context.say(f"Kept: {added.name}")
