"""One run of the widget: settings and a layer's look, read when it is ordered, and the layers that it adds when it ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_diffusion.diagnostics.orientation import MIN_COHERENCE
from napari_diffusion.ui.layers.adding import add_result
from napari_diffusion.ui.layers.style import LayerStyle
from napari_diffusion.ui.run.panel import QueuedRun, duration
from napari_diffusion.ui.run.request import Settings, provenance
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.ui.run.warmup import wait_and_say
from napari_diffusion.workflows import outputs
from napari_diffusion.workflows.outputs import OutputRequest, Outputs

#: Voxels that the contrast limits of the removed noise are taken from, and their share inside the limits.
SAMPLE, INSIDE = 1_000_000, 0.999
#: Width of vectors as a share of their distance.
WIDTH = 0.1


@dataclass(frozen=True)
class Run:
    """What is needed to run and to show the result; the layer may be moved, renamed, changed or gone by then."""

    viewer: Any
    settings: Settings
    outputs_request: OutputRequest
    limit: int | None
    look: LayerStyle

    @classmethod
    def of(
        cls,
        viewer: Any,
        layer: Any,
        settings: Settings,
        outputs_request: OutputRequest,
        limit: int | None,
    ) -> Run:
        """Read what there is to know of a layer."""
        return cls(viewer, settings, outputs_request, limit, LayerStyle.of(layer))

    def queued_run(self) -> QueuedRun:
        """Return it as something to run."""
        return QueuedRun(self.look.name, self._work, self._show)

    def _work(self, control: TaskControl) -> tuple[Outputs, float, float]:
        s = self.settings
        outputs.describe_run(s.image, s.model, self.outputs_request, limit=self.limit, **s.keywords)
        wait_and_say(s, control)
        began = time.monotonic()
        progress, cancel, stop = control.progress, control.cancel, control.stop
        found = outputs.run_with_outputs(
            s.image,
            s.model,
            self.outputs_request,
            progress=progress,
            cancel=cancel,
            stop=stop,
            **s.keywords,
        )
        return (
            found,
            0.0 if found.residual is None else symmetric_limit(found.residual),
            time.monotonic() - began,
        )

    def _show(self, answer: tuple[Outputs, float, float]) -> str:
        found, limit, seconds = answer
        title, stopped, lacks, reached = type(self.settings.model).title, "", "", found.times[-1]
        notes: dict[str, Any] = {}
        if found.frame is not None or len(found.times) < self.outputs_request.snapshots:
            stopped = f" stopped at {reached:.3g}"
            notes["stopped"] = {
                "time": reached,
                "frame": found.frame,
                "ordered": self.settings.keywords["time"],
            }
        recipe = self.settings.recipe()
        if stopped and (
            found.frame is None or self.settings.frames == 1
        ):  # frames of a series may have gone different ways
            recipe = replace(recipe, time=reached)
        told = provenance(recipe, self.look.name, self.look.metadata) | notes
        if found.residual is not None:
            signed, data = self.look.signed(limit), found.residual
            if self.look.arguments[
                "rgb"
            ]:  # differences have no colour: the channels become an axis to scroll through
                signed, data = (
                    signed.with_axis("channel", (0, 1), self._unit_ahead()),
                    np.moveaxis(data, -1, 0),
                )
            add_result(self.viewer, data, signed, f"{title}, removed", told | {"output": "removed"})
        if found.conductance is not None:
            highest = max(1.0, float(found.conductance.max(initial=0.0)))
            add_result(
                self.viewer,
                found.conductance,
                self.look.share(highest),
                f"{title}, conductance",
                told | {"output": "conductance"},
            )
        if found.coherence is not None:
            add_result(
                self.viewer,
                found.coherence,
                self.look.share(1.0),
                f"{title}, coherence",
                told | {"output": "coherence"},
            )
        way = found.directions
        if way is not None and not len(way.positions):
            lacks = f"; no directions: no place of their grid has a coherence of {MIN_COHERENCE}"
        elif way is not None:
            look, notes = (
                self.look.arrows(WIDTH * way.distance / min(way.spacing)),
                told | {"output": "directions"},
            )
            add_result(self.viewer, way.arrows(), look, f"{title}, directions", notes, vectors=True)
        if self.outputs_request.snapshots and found.frame is None:
            look = self.look.with_axis(
                "diffusion time", np.log10(found.times).tolist(), self._unit_ahead()
            )
            told |= {"output": "snapshots", "times": list(found.times)}
            layer = add_result(
                self.viewer,
                found.image,
                look,
                f"{title}, {len(found.times)} snapshots{stopped}",
                told,
            )
        else:
            layer = add_result(self.viewer, found.image, self.look, title + stopped, told)
        return f"{'Stopped' if stopped else 'Done'} in {duration(seconds)}: {layer.name}{lacks}"

    def _unit_ahead(self) -> str:
        """Return the unit of an axis ahead of those of the image: that of the viewer's axis that it meets, or napari would draw none."""
        common, ndim = (
            getattr(self.viewer.layers.extent, "units", None),
            len(self.look.arguments["scale"]),
        )
        return "dimensionless" if common is None or len(common) <= ndim else str(common[-ndim - 1])


def symmetric_limit(difference: Any) -> float:
    """Return the magnitude below which nearly all of a difference is, for contrast limits around zero; 1 where it is zero everywhere."""
    flat = np.asarray(difference).reshape(-1)
    some = np.abs(flat[:: max(1, flat.size // SAMPLE)].astype(float))
    some = some[np.isfinite(some)]
    return float(np.quantile(some, INSIDE)) if some.any() else 1.0
