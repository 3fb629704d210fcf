"""One measurement of an image: values to begin with, a quick suggestion, then a thorough one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_diffusion.core.cancellation import poll
from napari_diffusion.models import Model
from napari_diffusion.ui.run.kernels import is_prepared, wait_for_suggestion
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl

if TYPE_CHECKING:
    from napari_diffusion.estimation.noise.kinds import Noise
    from napari_diffusion.estimation.suggestion import Suggestion

#: Interval at which a run that waits checks whether it was cancelled [s].
POLL_S = 0.05


class Measurement:
    """Suggestions for one image and model, made in threads.

    A run can wait for the thorough suggestion in its own thread. Then the measurement goes on
    though the widget shows another layer.

    Parameters
    ----------
    settings
        Image, axes and model.
    model
        Model whose parameters are chosen, or ``"auto"``.
    changed
        Called in the GUI thread when there is a suggestion or an error.
    noise_reduction
        Factor by which the noise shall fall, or ``None`` for the least error.

    Attributes
    ----------
    settings
        As given.
    suggestion
        The last suggestion, or ``None``.
    starting_model
        The model with values from the noise alone, while the kernels of a suggestion are compiled;
        ``None`` without it.
    error
        Why there is no suggestion, or ``None``.
    thorough
        Whether the suggestion is that of the whole image.
    """

    def __init__(
        self,
        settings: Settings,
        model: Model | str,
        changed: Callable[[Measurement], None],
        noise_reduction: float | None = None,
    ) -> None:
        self.settings, self._model, self._target = settings, model, noise_reduction
        self._changed: Callable[[Measurement], None] | None = changed
        self.suggestion: Suggestion | None = None
        self.starting_model: Model | None = None
        self.error: Exception | None = None
        self.thorough = False
        self._ready, self._waiting = threading.Event(), 0
        self._task = ReplaceableTask()

    @property
    def under_way(self) -> bool:
        """Whether a better suggestion will come."""
        return self._task.task is not None

    @property
    def noise(self) -> Noise | None:
        """Noise of the whole image; None where only a part was measured."""
        return self.suggestion.noise if self.suggestion is not None and self.thorough else None

    @property
    def is_automatic(self) -> bool:
        """Whether the measurement chooses the model."""
        return isinstance(self._model, str)

    def start(self, quick: bool) -> None:
        """Start; ``quick`` says whether a quick suggestion comes first."""
        if quick:
            self._measure_noise()
        else:
            self._start(thorough=True)

    def _measure_noise(self) -> None:
        """Find values to begin with where the kernels are not ready, then start a suggestion."""
        settings = self.settings

        def work(control: TaskControl) -> Model | None:
            from napari_diffusion.ui.run import starting_values

            if is_prepared(settings):
                return None
            return starting_values.model_from_noise(settings, control.cancel)

        def done(model: Model | None) -> None:
            self.starting_model = model
            self._start(thorough=False)
            if model is not None and self._changed is not None:
                self._changed(self)

        self._task.start(work, done, lambda _: self._start(thorough=False))

    def _start(self, thorough: bool) -> None:
        settings, model, target = self.settings, self._model, self._target

        def work(control: TaskControl) -> Suggestion:
            from napari_diffusion.ui.run import starting_values

            wait_for_suggestion(settings, control.cancel)
            return starting_values.suggest_values(
                settings,
                thorough=thorough,
                cancel=control.cancel,
                model=model,
                noise_reduction=target,
            )

        def done(suggestion: Suggestion) -> None:
            self.suggestion, self.thorough = suggestion, thorough
            self._continue(thorough)

        def failed(error: Exception) -> None:
            if thorough and self.suggestion is None:
                self.error = error
            self._continue(thorough)

        self._task.start(work, done, failed)

    def _continue(self, thorough: bool) -> None:
        """Report a result; after a quick one, start the thorough one."""
        if thorough:
            self._ready.set()
        else:
            self._start(thorough=True)
        if self._changed is not None:
            self._changed(self)

    def leave(self) -> None:
        """Report nothing any more; the measurement ends unless a run waits for it."""
        self._changed = None
        if not self._waiting:
            self.drop()

    def drop(self) -> None:
        """End the measurement."""
        self._changed = None
        self._task.drop()
        self._ready.set()

    # ---- runs that wait

    def hold(self) -> None:
        """Keep the measurement for a run that will call `result`."""
        self._waiting += 1

    def result(self, cancel: threading.Event) -> Suggestion | None:
        """Wait, in the thread of a run, for the last suggestion; ``None`` if there is none.

        Raises
        ------
        Cancelled
            When ``cancel`` is set.
        """
        try:
            while not self._ready.wait(POLL_S):
                poll(cancel)
            return self.suggestion
        finally:
            self._waiting -= 1
            if self._changed is None and not self._waiting and self._task.task is not None:
                self._task.task.cancel.set()
