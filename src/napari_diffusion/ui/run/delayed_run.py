"""A run that waits for the measurement of its image and then uses the suggested values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_diffusion.models import Model
from napari_diffusion.ui.run.measurement import Measurement
from napari_diffusion.ui.run.panel import QueuedRun
from napari_diffusion.ui.run.run import Run
from napari_diffusion.ui.run.task import TaskControl

if TYPE_CHECKING:
    from napari_diffusion.estimation.suggestion import Suggestion

WAITING = "Waiting for the measurement of the noise…"
NOT_MEASURED = (
    "The noise of this image could not be measured, so that no values are suggested. "
    "Set them under Fine-tune."
)


def delayed_run(
    run: Run,
    measurement: Measurement,
    values_of: Callable[[Suggestion], tuple[Model, float]],
) -> QueuedRun:
    """Return a run that starts when its image has been measured.

    Parameters
    ----------
    run
        The run with the values on screen.
    measurement
        The measurement for which the run waits.
    values_of
        Returns model and diffusion time that follow from a suggestion.
    """
    measurement.hold()
    started: list[QueuedRun] = []

    def work(control: TaskControl) -> Any:
        control.say(WAITING)
        suggestion = measurement.result(control.cancel)
        if suggestion is None:
            raise ValueError(NOT_MEASURED)
        control.say("")
        model, time = values_of(suggestion)
        recipe = replace(run.settings.recipe, model=model, time=time)
        ready = replace(run, settings=replace(run.settings, recipe=recipe))
        started.append(ready.with_noise(measurement.noise).queued_run())
        return started[0].work(control)

    def done(result: Any) -> str:
        return started[0].done(result)

    return replace(run.queued_run(), work=work, done=done)
