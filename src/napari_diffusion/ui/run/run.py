"""One run of the widget: the settings when Run is pressed, and the layers added at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import ref

import numpy as np

from napari_diffusion.diagnostics.orientation import MIN_COHERENCE
from napari_diffusion.ui.files.layer_volume import LayerRecord
from napari_diffusion.ui.layers.new_layers import add_result
from napari_diffusion.ui.layers.result_names import result_title, time_in_words
from napari_diffusion.ui.layers.run_record import RunRecord, add_residual, unit_of_new_axis
from napari_diffusion.ui.layers.style import LayerStyle
from napari_diffusion.ui.layers.view_state import (
    ViewState,
    bare,
    is_below_channels,
    mixed_layers,
    move_above,
)
from napari_diffusion.ui.run.blocks import BlockRequest, ResultPlace, levels_of
from napari_diffusion.ui.run.kernels import wait_with_message
from napari_diffusion.ui.run.panel import NOTHING_ADDED, QueuedRun, duration
from napari_diffusion.ui.run.settings import Settings, provenance
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.ui.values.layer_values import weak_reference
from napari_diffusion.workflows import outputs, pace
from napari_diffusion.workflows.outputs import OutputRequest, Outputs

if TYPE_CHECKING:
    from napari_diffusion.estimation.noise.kinds import Noise
    from napari_diffusion.workflows.store.run import StoreRun

#: Replaces settings by suggested ones, in the thread of a run.
Choose = Callable[[Settings, TaskControl], Settings]
HIDDEN = "the original is hidden, as its blending would mix both"
BLOCKS_KEPT = "Cancelled; the blocks that are done are kept, and Run continues with them."
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
    levels, path
        Levels of the result and its store, of a run in blocks.
    """

    outputs: Outputs
    residual_limit: float
    seconds: float
    levels: tuple[Any, ...] = ()
    path: Path | None = None


class ResultTarget(Protocol):
    """Takes the record of a finished run: the result card.

    Attributes
    ----------
    replaces
        Whether the next run on an image replaces its last result.
    """

    replaces: bool

    def make_room(self, source: Any) -> None:
        """Remove the previous result of a layer if the user wants it replaced."""

    def show_run(
        self, record: RunRecord, settings: Settings | None, noise: Noise | None = None
    ) -> None:
        """Show a finished run; its settings are None where frames are missing."""


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
    source
        The source layer, held weakly.
    target
        Takes the record of the run; None for nobody.
    choose
        Replaces the settings by suggested ones, in the thread of the run; None to keep them.
    batch
        The same object for all runs of a batch, None for a single run.
    noise
        Noise of what is filtered, where it is known already.
    blocks
        What decides whether the run is done in blocks; None for a run in memory.
    """

    viewer: Any
    settings: Settings
    outputs_request: OutputRequest
    limit: int | None
    style: LayerStyle
    source: ref[Any]
    target: ResultTarget | None = None
    choose: Choose | None = None
    batch: object = None
    noise: Noise | None = None
    blocks: BlockRequest | None = None

    @classmethod
    def of(
        cls,
        viewer: Any,
        layer: Any,
        settings: Settings,
        outputs_request: OutputRequest,
        limit: int | None,
        where: ResultPlace | None = None,
    ) -> Run:
        """Return a run on a layer, whose style is read now."""
        style = LayerStyle.of(layer)
        if settings.region is not None:
            style = style.at_voxel([part.start for part in settings.region])
        blocks = BlockRequest(LayerRecord.of(layer), where or ResultPlace(), limit)
        own = ref(bare(layer))
        return cls(viewer, settings, outputs_request, limit, style, own, blocks=blocks)

    def with_noise(self, noise: Noise | None) -> Run:
        """Return the run with the noise of its image; that of a part may be another one."""
        is_whole = self.settings.region is None and self.settings.labels is None
        return replace(self, noise=noise if is_whole else None)

    def queued_run(self) -> QueuedRun:
        """Return the run in the form that the panel takes."""
        in_blocks = self.blocks is not None and self.blocks.is_for_disk(
            self.settings, self.outputs_request
        )
        return QueuedRun(
            self.style.name,
            self._work,
            self._show,
            stoppable=not in_blocks,
            cancelled=BLOCKS_KEPT if in_blocks else NOTHING_ADDED,
        )

    def _work(self, control: TaskControl) -> tuple[Run, RunResult]:
        """Filter the image; called in a thread. Also return the run with its final settings."""
        run = self
        if self.choose is not None:
            settings = self.choose(self.settings, control)
            run = replace(self, settings=settings, choose=None)
        return run, run._filter(control)

    def _filter(self, control: TaskControl) -> RunResult:
        execution, request = self.settings.execution, self.outputs_request
        store = None if self.blocks is None else self.blocks.run(self.settings, request)
        if store is not None:
            return self._filter_in_blocks(store, control)
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

    def _filter_in_blocks(self, store: StoreRun, control: TaskControl) -> RunResult:
        """Filter the image in blocks; return the levels of the result, which are not read."""
        wait_with_message(self.settings, control)
        began = time.monotonic()
        store.compute(control.progress, control.cancel)
        devices = store.devices
        path, *_ = store.finish()
        levels = levels_of(store)
        whole = Outputs(levels[0], (self.settings.recipe.time,), devices=devices)
        return RunResult(whole, 0.0, time.monotonic() - began, tuple(levels), path)

    def _show(self, answer: tuple[Run, RunResult]) -> str:
        """Add the layers of a run and return the text of the status line."""
        run, finished = answer
        return run._add_layers(finished)

    def _add_layers(self, finished: RunResult) -> str:
        result, source = finished.outputs, self.source()
        stopped = result.frame is not None or len(result.times) < self.outputs_request.snapshots
        source = source if source is not None and source in self.viewer.layers else None
        if self.target is not None:
            self.target.make_room(source)
        before, known = ViewState.of(self.viewer), set(self.viewer.layers)
        notes = self._provenance(result, stopped)
        if finished.path is not None:
            notes["path"] = str(finished.path)
        if result.residual is not None:
            add_residual(
                self.viewer, result.residual, finished.residual_limit, self.style, self.title, notes
            )
        self._add_maps(result, notes)
        if self.style.is_mixed:  # the result would be mixed with the layers below it
            for below in self.viewer.layers:
                below.visible = below.visible and below in known
        layer = self._add_image(finished, stopped, notes)
        comment = self._add_directions(result, notes)  # above the image, which is opaque
        added = [
            ref(bare(new)) for new in self.viewer.layers if new not in known and new is not layer
        ]
        if source is not None:
            before.hide(mixed for mixed in mixed_layers(self.viewer, source) if mixed is not layer)
            if is_below_channels(self.viewer, source):
                new = [each for each in self.viewer.layers if each not in known]
                move_above(self.viewer, source, new)
        if self.target is not None:
            record = RunRecord(
                viewer=self.viewer,
                source=None if source is None else self.source,
                layers=[*added, ref(bare(layer))],
                before=before,
                model=type(self.settings.model),
                array=weak_reference(self.settings.image),
                region=self.settings.region,
                style=self.style,
                title=self.title,
                notes=notes,
                batch=self.batch,
            )
            settings = None if result.frame is not None else self.settings
            self.target.show_run(record, settings, self.noise)
        verb = "Stopped" if stopped else "Done"
        note = outputs.impulse_note(result.replaced, math.prod(self.settings.image.shape))
        comment += f"; {note.removesuffix('.')}" if note else ""
        comment += f"; {HIDDEN}" if before.hidden else ""
        comment += f"; written to {finished.path}" if finished.path is not None else ""
        return f"{verb} in {duration(finished.seconds)}: {layer.name}{comment}"

    @property
    def title(self) -> str:
        """Words after the name of the source in the name of the result."""
        return result_title(self.settings.recipe)

    def _provenance(self, result: Outputs, stopped: bool) -> dict[str, Any]:
        """Return the provenance of all layers of the run."""
        recipe, reached = self.settings.recipe.on_devices(result.devices), result.times[-1]
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

    def _add_maps(self, result: Outputs, notes: dict[str, Any]) -> None:
        """Add conductance and coherence."""
        if result.conductance is not None:
            highest = max(1.0, float(result.conductance.max(initial=0.0)))
            self._add_map("conductance", result.conductance, highest, notes)
        if result.coherence is not None:
            self._add_map("coherence", result.coherence, 1.0, notes)

    def _add_map(self, name: str, data: Any, highest: float, notes: dict[str, Any]) -> None:
        style, title = self.style.as_map(highest), f"{self.title}, {name}"
        add_result(self.viewer, data, style, title, notes | {"output": name})

    def _add_directions(self, result: Outputs, notes: dict[str, Any]) -> str:
        """Add the directions as vectors; return a comment for the status line if there are none."""
        directions = result.directions
        if directions is None:
            return ""
        if not len(directions.positions):
            return f"; no directions: no place of their grid has a coherence of {MIN_COHERENCE}"
        width = VECTOR_WIDTH * directions.distance / min(directions.spacing)
        style, title = self.style.as_vectors(width), f"{self.title}, directions"
        notes = notes | {"output": "directions"}
        add_result(self.viewer, directions.arrows(), style, title, notes, vectors=True)
        return ""

    def _add_image(self, finished: RunResult, stopped: bool, notes: dict[str, Any]) -> Any:
        """Add the filtered image, or the stack of snapshots, and return the layer."""
        result = finished.outputs
        reached = time_in_words(result.times[-1], self.settings.recipe.unit)
        ending = f" stopped at {reached}" if stopped else ""
        if not self.outputs_request.snapshots or result.frame is not None:
            image = list(finished.levels) or result.image
            return add_result(self.viewer, image, self.style, self.title + ending, notes)
        positions = np.log10(result.times).tolist()
        unit = unit_of_new_axis(self.viewer, self.style)
        style = self.style.with_axis("diffusion time", positions, unit)
        title = f"{self.title}, {len(result.times)} snapshots{ending}"
        notes = notes | {"output": "snapshots", "times": list(result.times)}
        return add_result(self.viewer, result.image, style, title, notes)


def symmetric_limit(difference: Any) -> float:
    """Return the limit for symmetric contrast limits of a difference.

    It is the `FRACTION_INSIDE` quantile of the magnitude, taken from about `LIMIT_SAMPLE` voxels at
    equal intervals. It is 1 where all of them are zero. NaN and infinite values are left out.
    """
    flat = np.asarray(difference).reshape(-1)
    sample = np.abs(flat[:: max(1, flat.size // LIMIT_SAMPLE)].astype(float))
    sample = sample[np.isfinite(sample)]
    return float(np.quantile(sample, FRACTION_INSIDE)) if sample.any() else 1.0
