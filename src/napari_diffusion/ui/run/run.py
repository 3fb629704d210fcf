"""One run of the widget: the settings when Run is pressed, and the layers added at its end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from napari_diffusion.diagnostics.orientation import MIN_COHERENCE
from napari_diffusion.ui.layers.new_layers import add_result
from napari_diffusion.ui.layers.style import LayerStyle
from napari_diffusion.ui.run.kernels import wait_with_message
from napari_diffusion.ui.run.panel import QueuedRun, duration
from napari_diffusion.ui.run.settings import Settings, provenance
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.workflows import outputs, pace
from napari_diffusion.workflows.outputs import OutputRequest, Outputs

#: Number of voxels from which the contrast limits of a difference are taken.
LIMIT_SAMPLE = 1_000_000
#: Fraction of these voxels inside the limits.
FRACTION_INSIDE = 0.999
#: Width of vectors as a fraction of the distance between them.
VECTOR_WIDTH = 0.1


class RunResult(NamedTuple):
    """Answer of the thread of a run.

    Attributes
    ----------
    outputs
        Result and additional outputs.
    residual_limit
        Contrast limit of the residual.
    seconds
        Duration of the run [s].
    """

    outputs: Outputs
    residual_limit: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """One run, independent of its layer, which may be renamed, changed or deleted in the meantime.

    Attributes
    ----------
    viewer
        Viewer that gets the layers.
    settings
        Arguments of the run.
    outputs_request
        Outputs besides the result.
    limit
        Maximum memory of the run [bytes], ``None`` for all that is free.
    style
        Style of the source layer.
    """

    viewer: Any
    settings: Settings
    outputs_request: OutputRequest
    limit: int | None
    style: LayerStyle

    @classmethod
    def of(
        cls,
        viewer: Any,
        layer: Any,
        settings: Settings,
        outputs_request: OutputRequest,
        limit: int | None,
    ) -> Run:
        """Return a run on a layer, whose style is read now."""
        style = LayerStyle.of(layer)
        if settings.region is not None:
            style = style.at_voxel([part.start for part in settings.region])
        return cls(viewer, settings, outputs_request, limit, style)

    def queued_run(self) -> QueuedRun:
        """Return the run in the form that the panel takes."""
        return QueuedRun(self.style.name, self._work, self._show)

    def _work(self, control: TaskControl) -> RunResult:
        """Filter the image; called in a thread."""
        execution, request = self.settings.execution, self.outputs_request
        problem, run = self.settings.problem_and_run(request)
        # Refuse a run that cannot be done before waiting for its kernels.
        planned = outputs.plan_run(problem, request, execution, self.limit)
        wait_with_message(self.settings, control)
        began = time.monotonic()
        result = run(
            request,
            execution,
            progress=control.progress,
            cancel=control.cancel,
            stop=control.stop,
        )
        seconds = time.monotonic() - began
        if result.frame is None and len(result.times) == len(planned.times):
            pace.SESSION.record(pace.work_of(problem, planned), seconds)
        limit = 0.0 if result.residual is None else symmetric_limit(result.residual)
        return RunResult(result, limit, seconds)

    def _show(self, finished: RunResult) -> str:
        """Add the layers of a run and return the text of the status line."""
        result = finished.outputs
        stopped = result.frame is not None or len(result.times) < self.outputs_request.snapshots
        notes = self._provenance(result, stopped)
        self._add_residual(result, finished.residual_limit, notes)
        self._add_maps(result, notes)
        comment = self._add_directions(result, notes)
        layer = self._add_image(result, stopped, notes)
        verb = "Stopped" if stopped else "Done"
        note = outputs.impulse_note(result.replaced, math.prod(self.settings.image.shape))
        comment += f"; {note.removesuffix('.')}" if note else ""
        return f"{verb} in {duration(finished.seconds)}: {layer.name}{comment}"

    @property
    def _title(self) -> str:
        return type(self.settings.model).title

    def _provenance(self, result: Outputs, stopped: bool) -> dict[str, Any]:
        """Return the provenance of all layers of the run."""
        recipe, reached = self.settings.recipe, result.times[-1]
        notes: dict[str, Any] = {}
        if self.settings.region is not None:
            notes["region"] = [[part.start, part.stop] for part in self.settings.region]
        if stopped:
            stopped_at = {"time": reached, "frame": result.frame, "ordered": recipe.time}
            notes["stopped"] = stopped_at
            # Frames of a series may have reached different times: keep the ordered one.
            if result.frame is None or self.settings.frames == 1:
                recipe = replace(recipe, time=reached)
        return provenance(recipe, self.style.name, self.style.metadata) | notes

    def _add_residual(self, result: Outputs, limit: float, notes: dict[str, Any]) -> None:
        """Add the difference between the image and the result."""
        if result.residual is None:
            return
        style, data = self.style.as_difference(limit), result.residual
        if self.style.arguments["rgb"]:
            # Differences have no colour: the channels become an axis with a slider.
            style = style.with_axis("channel", (0, 1), self._unit_of_new_axis())
            data = np.moveaxis(data, -1, 0)
        title, notes = f"{self._title}, removed", notes | {"output": "removed"}
        add_result(self.viewer, data, style, title, notes)

    def _add_maps(self, result: Outputs, notes: dict[str, Any]) -> None:
        """Add conductance and coherence."""
        if result.conductance is not None:
            highest = max(1.0, float(result.conductance.max(initial=0.0)))
            self._add_map("conductance", result.conductance, highest, notes)
        if result.coherence is not None:
            self._add_map("coherence", result.coherence, 1.0, notes)

    def _add_map(self, name: str, data: Any, highest: float, notes: dict[str, Any]) -> None:
        style, title = self.style.as_map(highest), f"{self._title}, {name}"
        add_result(self.viewer, data, style, title, notes | {"output": name})

    def _add_directions(self, result: Outputs, notes: dict[str, Any]) -> str:
        """Add the directions as vectors; return a comment for the status line if there are none."""
        directions = result.directions
        if directions is None:
            return ""
        if not len(directions.positions):
            return f"; no directions: no place of their grid has a coherence of {MIN_COHERENCE}"
        width = VECTOR_WIDTH * directions.distance / min(directions.spacing)
        style, title = self.style.as_vectors(width), f"{self._title}, directions"
        notes = notes | {"output": "directions"}
        add_result(self.viewer, directions.arrows(), style, title, notes, vectors=True)
        return ""

    def _add_image(self, result: Outputs, stopped: bool, notes: dict[str, Any]) -> Any:
        """Add the filtered image, or the stack of snapshots, and return the layer."""
        ending = f" stopped at {result.times[-1]:.3g}" if stopped else ""
        if not self.outputs_request.snapshots or result.frame is not None:
            return add_result(self.viewer, result.image, self.style, self._title + ending, notes)
        positions = np.log10(result.times).tolist()
        style = self.style.with_axis("diffusion time", positions, self._unit_of_new_axis())
        title = f"{self._title}, {len(result.times)} snapshots{ending}"
        notes = notes | {"output": "snapshots", "times": list(result.times)}
        return add_result(self.viewer, result.image, style, title, notes)

    def _unit_of_new_axis(self) -> str:
        """Return the unit for a new first axis of the image: that of the viewer's axis there.

        With any other unit, napari would ignore the units of all layers.
        """
        common = getattr(self.viewer.layers.extent, "units", None)
        ndim = len(self.style.arguments["scale"])
        return "dimensionless" if common is None or len(common) <= ndim else str(common[-ndim - 1])


def symmetric_limit(difference: Any) -> float:
    """Return the limit for symmetric contrast limits of a difference.

    It is the `FRACTION_INSIDE` quantile of the magnitude, taken from about `LIMIT_SAMPLE` voxels at
    equal intervals. It is 1 where all of them are zero. NaN and infinite values are left out.
    """
    flat = np.asarray(difference).reshape(-1)
    sample = np.abs(flat[:: max(1, flat.size // LIMIT_SAMPLE)].astype(float))
    sample = sample[np.isfinite(sample)]
    return float(np.quantile(sample, FRACTION_INSIDE)) if sample.any() else 1.0
