"""Compilation of the kernels of a run in a worker process, before the run needs them."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import replace

from napari_diffusion import backends
from napari_diffusion.core.arrays import shape_and_dtype
from napari_diffusion.engine.recipe import Recipe
from napari_diffusion.models import Model, PeronaMalik, all_models
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.workflows.warmup import (
    NOW,
    SOON,
    WarmupClient,
    WarmupTask,
)

#: Interval at which the widgets check whether kernels are being compiled [ms].
POLL_INTERVAL_MS = 200
#: Client of the compile worker, shared by all widgets.
client = WarmupClient()
#: Keys of the kernels that were compiled or loaded since napari was started, shared by all widgets.
compiled_keys: set[Hashable] = set()


def kernel_key(settings: Settings) -> Hashable | None:
    """Return the key of the kernels of a run: runs with the same key need the same kernels.

    It is ``None`` if nothing is compiled, or if the run cannot be done. The first call for some
    settings takes milliseconds: it belongs in a thread.
    """
    plan = settings.plan_of_kernels
    return None if plan is None else plan.kernel_key()


def runs_of_all_models(settings: Settings) -> list[Settings]:
    """Return a run of every model, with its default parameters, on the same image."""
    return [_with_default_options(settings, model()) for model in all_models()]


def run_like_suggestion(settings: Settings) -> Settings:
    """Return a run whose kernels a quick suggestion needs, besides those of its own model.

    For Perona-Malik, the run that follows is often of this kind, too.
    """
    return _with_default_options(settings, PeronaMalik(sigma=1.0))


def _with_default_options(settings: Settings, model: Model) -> Settings:
    """Return a run of a model on the same image, without labels, with default options."""
    recipe, geometry = settings.recipe, settings.recipe.geometry
    default = Recipe(
        model,
        recipe.time,
        recipe.unit,
        spacing=recipe.spacing,
        axes=recipe.axes,
        channel_axis=geometry.channel_axis,
    )
    return replace(settings, recipe=default, labels=None)


def wait_for_kernels(
    settings: Settings,
    cancel: threading.Event,
    soon: Sequence[Settings] = (),
    later: Sequence[Settings] = (),
    priority: int = NOW,
) -> None:
    """Wait, in a thread, while the compile worker compiles the kernels of a run.

    It returns early where the worker cannot compile them.

    Parameters
    ----------
    settings
        The run.
    cancel
        Ends the wait when it is set.
    soon, later
        Runs whose kernels are compiled after those of ``settings``.
    priority
        Urgency of ``settings``, as in `WarmupClient.prepare`.
    """
    task = _warmup_task(settings)
    if task is not None and kernel_key(settings) not in compiled_keys:
        client.prepare(task, cancel, _warmup_tasks(soon), _warmup_tasks(later), priority=priority)


def wait_for_suggestion(settings: Settings, cancel: threading.Event) -> None:
    """Wait, in a thread, for the kernels of a suggestion; those of runs have priority."""
    wait_for_kernels(settings, cancel)
    wait_for_kernels(run_like_suggestion(settings), cancel, priority=SOON)


def wait_with_message(settings: Settings, control: TaskControl) -> None:
    """Wait for the kernels of a run, with a message on the status line.

    Compilation in this process would block the window.
    """
    if not is_prepared(settings):
        control.say(warmup_message(settings))
        wait_for_kernels(settings, control.cancel)
        control.say("")


def is_prepared(settings: Settings) -> bool:
    """Whether the kernels of a run are known to be compiled; does not load the compiler."""
    key = kernel_key(settings)
    return key is None or key in compiled_keys or client.has(repr(key))


def warmup_message(settings: Settings) -> str:
    """Return the text to show while the kernels of a run are compiled."""
    return f"First use: compiling {settings.model.title} (once, about 10 s)…"


def is_compiling() -> bool:
    """Whether a run waits for a kernel, compiled in this process or by the worker."""
    return client.waiting or backends.is_compiling()


def _warmup_tasks(runs: Sequence[Settings]) -> list[WarmupTask]:
    tasks = [_warmup_task(run) for run in runs]
    return [task for task in tasks if task is not None]


def _warmup_task(settings: Settings) -> WarmupTask | None:
    """Return the task that compiles the kernels of a run; ``None`` if nothing is compiled."""
    plan, key, labels = settings.plan_of_kernels, kernel_key(settings), settings.labels
    if plan is None or key is None:
        return None
    shape, dtype = shape_and_dtype(settings.image, "image")
    return WarmupTask(
        repr(key),
        plan.backend,
        settings.recipe.to_dict(),
        shape,
        str(dtype),
        None if labels is None else tuple(map(int, labels.shape)),
    )
