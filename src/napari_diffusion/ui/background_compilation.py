"""Kernels are compiled in the background while the user sets the controls."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer

from napari_diffusion.engine.request import Request
from napari_diffusion.ui.context import Context
from napari_diffusion.ui.run.kernels import (
    POLL_INTERVAL_MS,
    client,
    compiled_keys,
    is_compiling,
    kernel_key,
    run_like_suggestion,
    runs_of_all_models,
    wait_for_kernels,
    warmup_message,
)
from napari_diffusion.ui.run.panel import RunPanel
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl
from napari_diffusion.workflows.warmup import compile_by_running


class BackgroundCompilation:
    """Follows the settings of a widget and compiles the kernels of each kind of run once.

    Parameters
    ----------
    context
        Context of the widget.
    panel
        Panel whose status line announces the compilation, unless a run is under way.
    """

    def __init__(self, context: Context, panel: RunPanel) -> None:
        self._context, self._panel = context, panel
        self._task = ReplaceableTask()
        self._current_key: tuple[Any, ...] | None = None
        self._message = ""
        self._poll_timer = QTimer(panel.native)
        self._poll_timer.setInterval(POLL_INTERVAL_MS)
        self._poll_timer.timeout.connect(self._announce)
        context.settings_changed.connect(self._prepare)
        context.on_close(self._task.drop)
        client.join()
        context.on_close(client.leave)

    def _prepare(self) -> None:
        try:
            settings = self._context.settings()
        except (TypeError, ValueError):
            return
        key = kernel_key(settings)
        if key in compiled_keys or key == self._current_key:
            return

        def work(control: TaskControl) -> None:
            soon, later = [run_like_suggestion(settings)], runs_of_all_models(settings)
            wait_for_kernels(settings, control.cancel, soon, later)
            request = Request.of(settings.image, settings.model, **settings.keywords)
            compile_by_running(request, control.cancel)

        def finish(_: Any) -> None:
            # Errors are ignored: preview and run report what is wrong with an image.
            compiled_keys.add(key)
            self._current_key = None
            self._poll_timer.stop()
            if self._message and self._panel.status.value == self._message:
                self._panel.say("")

        self._current_key = key
        self._message = warmup_message(settings)
        self._poll_timer.start()
        self._task.start(work, finish, finish)

    def _announce(self) -> None:
        if is_compiling() and not self._panel.busy and not self._panel.failed:
            self._panel.say(self._message)
