"""Compiles the kernels of a run while the user still looks at the controls."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer

from napari_diffusion.engine.request import Request
from napari_diffusion.ui.context import Context
from napari_diffusion.ui.run.panel import RunPanel
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl
from napari_diffusion.ui.run.warmup import (
    POLL_INTERVAL_MS,
    announcement,
    client,
    compiled_kinds,
    for_suggestion,
    is_compiling,
    kind,
    others,
    wait_for_kernels,
)
from napari_diffusion.workflows.warmup import compile_by_running


class WidgetWarmup:
    """Follows a widget and prepares each kind of run once.

    Parameters
    ----------
    context
        The widget's.
    panel
        Where it is said, unless a run is under way.
    """

    def __init__(self, context: Context, panel: RunPanel) -> None:
        self._context, self._panel = context, panel
        self._task = ReplaceableTask()
        self._under_way: tuple[Any, ...] | None = None
        self._said = ""
        self._looks = QTimer(panel.native)
        self._looks.setInterval(POLL_INTERVAL_MS)
        self._looks.timeout.connect(self._announce)
        context.settings_changed.connect(self._prepare)
        context.on_close(self._task.drop)
        client.join()
        context.on_close(client.leave)

    def _prepare(self) -> None:
        try:
            settings = self._context.settings()
        except (TypeError, ValueError):
            return
        what = kind(settings)
        if what in compiled_kinds or what == self._under_way:
            return

        def work(control: TaskControl) -> None:
            wait_for_kernels(settings, control.cancel, [for_suggestion(settings)], others(settings))
            compile_by_running(
                Request.of(settings.image, settings.model, **settings.keywords), control.cancel
            )

        def over(_: Any) -> None:
            compiled_kinds.add(what)  # what is wrong with an image, preview and run say
            self._under_way = None
            self._looks.stop()
            if self._said and self._panel.status.value == self._said:
                self._panel.say("")

        self._under_way = what
        self._said = announcement(settings)
        self._looks.start()
        self._task.start(work, over, over)

    def _announce(self) -> None:
        if is_compiling() and not self._panel.busy and not self._panel.failed:
            self._panel.say(self._said)
