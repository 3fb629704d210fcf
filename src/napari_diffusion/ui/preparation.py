"""Compiles what a run will need while the user still looks at the controls, so that the first preview and the first run need not wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qtpy.QtCore import QTimer

from napari_diffusion import kernels
from napari_diffusion.engine.beforehand import SOON, WANTED, Helper, Rehearsal
from napari_diffusion.engine.preview import rehearse
from napari_diffusion.grid import working_dtype
from napari_diffusion.models import Model, PeronaMalik, all_models, parameters
from napari_diffusion.ui.panel import RunPanel
from napari_diffusion.ui.section import Context
from napari_diffusion.ui.settings import Settings
from napari_diffusion.ui.worker import Control, Latest

#: How often it is looked whether a kernel is being compiled [ms].
LOOK = 200
#: Compiles for all widgets, as long as there are any.
helper = Helper()
#: What has been prepared since napari was started; compiled code is kept for all widgets.
_known: set[tuple[Any, ...]] = set()


def kind(settings: Settings) -> tuple[Any, ...]:
    """Return what decides which kernels a run needs: settings of the same kind need the same."""
    model, keywords = settings.model, settings.keywords
    choices = tuple(getattr(model, parameter.name) for parameter in parameters(model) if parameter.choices)
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
    return replace(settings, model=model, keywords=settings.keywords | {"labels": None, "nan": "raise", "scheme": "auto", "strict": False})


def wait_for_kernels(
    settings: Settings, cancel: threading.Event, soon: Sequence[Settings] = (), later: Sequence[Settings] = (), rank: int = WANTED
) -> None:
    """Wait, in a thread, while the kernels of a run are compiled by another process, as far as that can be, before other runs'."""
    if kind(settings) not in _known and len(settings.keywords["axes"]) <= 3:  # more axes have no compiled kernels
        helper.prepare(_rehearsal(settings), cancel, [_rehearsal(each) for each in soon], [_rehearsal(each) for each in later], rank)


def wait_and_say(settings: Settings, control: Control) -> None:
    """Do so for a run that somebody waits for; compiled in this process, it would hold up the window."""
    if not prepared(settings):
        control.say(announcement(settings))
        wait_for_kernels(settings, control.cancel)
        control.say("")


def prepared(settings: Settings) -> bool:
    """Whether a run is known to have its kernels; it never loads the compiler."""
    what = kind(settings)
    return what in _known or len(settings.keywords["axes"]) > 3 or helper.has(repr(what))


def announcement(settings: Settings) -> str:
    """Return what is said meanwhile."""
    return f"Preparing {settings.model.title} for this computer, once; it takes some seconds."


def compiling() -> bool:
    """Whether somebody waits for a kernel, compiled here or elsewhere."""
    return helper.waiting or kernels.compiling()


def _rehearsal(settings: Settings) -> Rehearsal:
    labels = settings.keywords["labels"]
    sizes = tuple(map(int, settings.image.shape)), None if labels is None else tuple(map(int, labels.shape))
    return Rehearsal(repr(kind(settings)), settings.recipe().to_dict(), sizes[0], str(settings.image.dtype), sizes[1])


class Preparation:
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
        self._task = Latest()
        self._under_way: tuple[Any, ...] | None = None
        self._said = ""
        self._looks = QTimer(panel.native)
        self._looks.setInterval(LOOK)
        self._looks.timeout.connect(self._announce)
        context.settings_changed.connect(self._prepare)
        context.on_close(self._task.drop)
        helper.join()
        context.on_close(helper.leave)

    def _prepare(self) -> None:
        try:
            settings = self._context.settings()
        except (TypeError, ValueError):
            return
        what = kind(settings)
        if what in _known or what == self._under_way:
            return

        def work(control: Control) -> None:
            wait_for_kernels(settings, control.cancel, [for_suggestion(settings)], others(settings))
            rehearse(settings.image, settings.model, cancel=control.cancel, **settings.keywords)

        def over(_: Any) -> None:
            _known.add(what)  # what is wrong with an image, preview and run say
            self._under_way = None
            self._looks.stop()
            if self._said and self._panel.status.value == self._said:
                self._panel.say("")

        self._under_way = what
        self._said = announcement(settings)
        self._looks.start()
        self._task.start(work, over, over)

    def _announce(self) -> None:
        if compiling() and not self._panel.busy and not self._panel.failed:
            self._panel.say(self._said)
