"""Compiles what a run will need while the user still looks at the controls, so that the first preview and the first run need not wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from napari_diffusion import backends
from napari_diffusion.core.dtypes import working_dtype
from napari_diffusion.models import Model, PeronaMalik, all_models, parameters
from napari_diffusion.ui.run.request import Settings
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.workflows.warmup import (
    NOW,
    SOON,
    WarmupClient,
    WarmupTask,
)

#: How often it is looked whether a kernel is being compiled [ms].
POLL_INTERVAL_MS = 200
#: Compiles for all widgets, as long as there are any.
client = WarmupClient()
#: What has been prepared since napari was started; compiled code is kept for all widgets.
compiled_kinds: set[tuple[Any, ...]] = set()


def kind(settings: Settings) -> tuple[Any, ...]:
    """Return what decides which kernels a run needs: settings of the same kind need the same."""
    model, keywords = settings.model, settings.keywords
    choices = tuple(
        getattr(model, parameter.name) for parameter in parameters(model) if parameter.choices
    )
    smooths = tuple(bool(getattr(model, name, 0)) for name in ("sigma", "rho"))
    walls = keywords["labels"] is not None, keywords["nan"]
    # Up to three axes are padded to three, and channels are looped over: the kernels are the same.
    how = str(keywords["scheme"]), keywords["strict"], len(keywords["axes"]) > 3
    return type(model), choices, smooths, walls, how, str(working_dtype(settings.image.dtype))


def others(settings: Settings) -> list[Settings]:
    """Return the runs that may be wanted later for the same image: each model as it begins."""
    return [_plain(settings, model()) for model in all_models()]


def wait_for_suggestion(settings: Settings, cancel: threading.Event) -> None:
    """Wait, in a thread, for the kernels of a suggestion; those of runs come first."""
    wait_for_kernels(settings, cancel)
    wait_for_kernels(for_suggestion(settings), cancel, rank=SOON)


def for_suggestion(settings: Settings) -> Settings:
    """Return a run that needs the kernels that a quick suggestion needs beside those of its own model; Perona-Malik often continues so."""
    return _plain(settings, PeronaMalik(sigma=1.0))


def _plain(settings: Settings, model: Model) -> Settings:
    return replace(
        settings,
        model=model,
        keywords=settings.keywords
        | {"labels": None, "nan": "raise", "scheme": "auto", "strict": False},
    )


def wait_for_kernels(
    settings: Settings,
    cancel: threading.Event,
    soon: Sequence[Settings] = (),
    later: Sequence[Settings] = (),
    rank: int = NOW,
) -> None:
    """Wait, in a thread, while the kernels of a run are compiled by another process, as far as that can be, before other runs'."""
    if (
        kind(settings) not in compiled_kinds and len(settings.keywords["axes"]) <= 3
    ):  # more axes have no compiled kernels
        client.prepare(
            _rehearsal(settings),
            cancel,
            [_rehearsal(each) for each in soon],
            [_rehearsal(each) for each in later],
            rank,
        )


def wait_and_say(settings: Settings, control: TaskControl) -> None:
    """Do so for a run that somebody waits for; compiled in this process, it would hold up the window."""
    if not prepared(settings):
        control.say(announcement(settings))
        wait_for_kernels(settings, control.cancel)
        control.say("")


def prepared(settings: Settings) -> bool:
    """Whether a run is known to have its kernels; it never loads the compiler."""
    what = kind(settings)
    return what in compiled_kinds or len(settings.keywords["axes"]) > 3 or client.has(repr(what))


def announcement(settings: Settings) -> str:
    """Return what is said meanwhile."""
    return f"Preparing {settings.model.title} for this computer, once; it takes some seconds."


def is_compiling() -> bool:
    """Whether somebody waits for a kernel, compiled here or elsewhere."""
    return client.waiting or backends.is_compiling()


def _rehearsal(settings: Settings) -> WarmupTask:
    labels = settings.keywords["labels"]
    sizes = (
        tuple(map(int, settings.image.shape)),
        None if labels is None else tuple(map(int, labels.shape)),
    )
    return WarmupTask(
        repr(kind(settings)),
        settings.recipe().to_dict(),
        sizes[0],
        str(settings.image.dtype),
        sizes[1],
    )
