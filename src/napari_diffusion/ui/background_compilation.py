"""Kernels are compiled in the background while the user sets the controls."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

from qtpy.QtCore import QTimer

from napari_diffusion.ui.context import Context
from napari_diffusion.ui.overlay.coalescing_queue import CoalescingQueue
from napari_diffusion.ui.qt.slots import slot
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
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.status import StatusKind
from napari_diffusion.ui.run.task import ReplaceableTask, TaskControl
from napari_diffusion.workflows.warmup import compile_by_running


class BackgroundCompilation:
    """Compiles the kernels of each kind of run once.

    Parameters
    ----------
    context
        Context of the widget.
    panel
        Panel whose status line announces the compilation, unless a run is under way.
    """

    def __init__(self, context: Context, panel: RunPanel) -> None:
        self._context, self._panel = context, panel
        self._keys, self._task = CoalescingQueue(), ReplaceableTask()
        self._current_key: Hashable | None = None
        self._message = ""
        self._poll_timer = QTimer(panel.native)
        self._poll_timer.setInterval(POLL_INTERVAL_MS)
        self._poll_timer.timeout.connect(self._announce)
        context.on_close(self._keys.drop)
        context.on_close(self._task.drop)
        client.join()
        context.on_close(client.leave)

    def prepare(self) -> None:
        """Compile the kernels of the current settings.

        Call it after a pause in the changes. A thread finds out the kernels, and Python's lock
        delays the window by milliseconds for each thread.
        """
        try:
            settings = self._context.settings()
        except (TypeError, ValueError):
            return

        def ignore(_: Exception) -> None:
            """Preview and run report what is wrong."""

        self._keys.request(
            lambda control: kernel_key(settings), partial(self._compile, settings), ignore
        )

    def _compile(self, settings: Settings, key: Hashable | None) -> None:
        if key is None or key in compiled_keys or key == self._current_key:
            return

        def work(control: TaskControl) -> None:
            soon, later = [run_like_suggestion(settings)], runs_of_all_models(settings)
            wait_for_kernels(settings, control.cancel, soon, later)
            compile_by_running(settings.unread_problem(), control.cancel)

        def finish(_: Any) -> None:
            # Errors are ignored: preview and run report what is wrong with an image.
            compiled_keys.add(key)
            self._current_key = None
            self._poll_timer.stop()
            self._panel.clear(StatusKind.COMPILING)

        self._current_key = key
        self._message = warmup_message(settings)
        self._poll_timer.start()
        self._task.start(work, finish, finish)

    @slot
    def _announce(self) -> None:
        if is_compiling() and not self._panel.busy and not self._panel.failed:
            self._panel.say(self._message, StatusKind.COMPILING)
