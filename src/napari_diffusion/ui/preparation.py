"""Compiles what a run will need while the user still looks at the controls, so that the first preview and the first run need not wait."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer

from napari_diffusion import kernels
from napari_diffusion.engine.preview import rehearse
from napari_diffusion.models import parameters
from napari_diffusion.ui.panel import RunPanel
from napari_diffusion.ui.section import Context
from napari_diffusion.ui.settings import Settings
from napari_diffusion.ui.worker import Control, Latest

#: How often it is looked whether a kernel is being compiled [ms].
LOOK = 200
#: What has been prepared since napari was started; compiled code is kept for all widgets.
_known: set[tuple[Any, ...]] = set()


def kind(settings: Settings) -> tuple[Any, ...]:
    """Return what decides which kernels a run needs: settings of the same kind need the same."""
    model, keywords = settings.model, settings.keywords
    choices = tuple(getattr(model, parameter.name) for parameter in parameters(model) if parameter.choices)
    smooths = tuple(bool(getattr(model, name, 0)) for name in ("sigma", "rho"))
    walls = keywords["labels"] is not None, keywords["nan"]
    how = str(keywords["scheme"]), keywords["strict"], len(keywords["axes"])
    return type(model), choices, smooths, walls, how, str(settings.image.dtype), keywords["channel_axis"] is not None


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

    def _prepare(self) -> None:
        try:
            settings = self._context.settings()
        except (TypeError, ValueError):
            return
        what = kind(settings)
        if what in _known or what == self._under_way:
            return

        def work(control: Control) -> None:
            rehearse(settings.image, settings.model, cancel=control.cancel, **settings.keywords)

        def over(_: Any) -> None:
            _known.add(what)  # what is wrong with an image, preview and run say
            self._under_way = None
            self._looks.stop()
            if self._said and self._panel.status.value == self._said:
                self._panel.say("")

        self._under_way = what
        self._said = f"Preparing {settings.model.title} for this computer, once; it takes some seconds."
        self._looks.start()
        self._task.start(work, over, over)

    def _announce(self) -> None:
        if kernels.compiling() and not self._panel.busy:
            self._panel.say(self._said)
