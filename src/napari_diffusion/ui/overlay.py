"""A picture of what is on screen, computed beside it and kept up to date: newest request first, never in the way of the viewer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

from napari_diffusion.engine.preview import Look
from napari_diffusion.engine.slabs import Cancelled
from napari_diffusion.ui.layers import array_of, helpers, picked
from napari_diffusion.ui.section import Context
from napari_diffusion.ui.settings import Settings
from napari_diffusion.ui.view import Part, camera
from napari_diffusion.ui.worker import Control, Task

#: Rest between two looks at what has changed [ms].
REST = 30
#: A request that has been under way for longer is dropped for a newer one; a younger one may end, so that dragging shows something [s].
PATIENCE = 1.0

Work = Callable[[Control], Any]


class Newest:
    """At most one task under way and one waiting; the next request takes the place of the waiting one."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._began = 0.0
        self._improving = False
        self._waiting: tuple[Work, Callable[[Any], Work | None], Callable[[Exception], None]] | None = None

    @property
    def busy(self) -> bool:
        """Whether a task is under way."""
        return self._task is not None

    def request(self, work: Work, done: Callable[[Any], Work | None], failed: Callable[[Exception], None]) -> None:
        """Ask for a task; `done` or `failed` are told, unless a newer request came before.

        `done` may return another task, which improves on what it was told. That one begins when nothing newer waits, and gives way to
        what does at once.
        """
        self._waiting = work, done, failed
        if self._task is None:
            self._next()
        elif self._improving or time.monotonic() - self._began > PATIENCE:
            self._task.cancel.set()

    def drop(self) -> None:
        """Cancel everything, and tell nobody."""
        self._waiting = None
        if self._task is not None:
            self._task.drop()
            self._task = None

    def _next(self, improving: bool = False) -> None:
        if self._waiting is None:
            return
        work, done, failed = self._waiting
        self._waiting, self._improving = None, improving

        def over(value: Any) -> None:
            self._task = None
            better = done(value)
            if better is not None and self._waiting is None:
                self._waiting = better, done, failed
                self._next(improving=True)
            else:
                self._next()

        def broken(error: Exception) -> None:
            self._task = None
            if not isinstance(error, Cancelled):
                failed(error)
            self._next()

        self._began = time.monotonic()
        self._task = Task(work, over, broken)
        self._task.start()


class Undocked(QObject):
    """Tells when a widget is taken off its dock, which is all that napari does when the user closes one: nothing is destroyed.

    Parameters
    ----------
    native
        A part of the widget, which has not been docked yet.
    call
        What to call.
    """

    def __init__(self, native: QWidget, call: Callable[[], object]) -> None:
        top = native
        while (above := top.parentWidget()) is not None:
            top = above
        super().__init__(top)
        self._call = call
        top.installEventFilter(self)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """See a parent go."""
        if a1 is not None and a1.type() == QEvent.Type.ParentChange and a0 is not None and a0.parent() is None:
            self._call()
        return False


@dataclass(frozen=True)
class Shown:
    """What is on screen now: which part, and what was made of it."""

    part: Part
    look: Look


class Overlay:
    """A layer over the chosen one that shows something computed from it.

    Parameters
    ----------
    context
        The section's.
    title
        Put behind the name of the layer.
    compute
        Called in a thread with the settings, the part and a `Control`; returns the picture, with an axis of one voxel where one is cut,
        as a `Look`, which may have a better one.
    part
        Returns the part on screen, ``None`` where there is none.
    tell
        Called with ``None`` when something begins, with what is shown, or with the error.
    look
        Changes the arguments of the new layer.
    gone
        Called when the user has deleted the layer, and not its image with it.
    """

    def __init__(
        self,
        context: Context,
        title: str,
        compute: Callable[[Settings, Part, Control], Look],
        part: Callable[[], Part | None],
        tell: Callable[[Shown | Exception | None], None],
        gone: Callable[[], None],
        **look: Any,
    ) -> None:
        self._context, self._title, self._compute, self._part, self._tell, self._gone = context, title, compute, part, tell, gone
        self._look = look
        self._layer: Any = None
        self._source: Any = None
        self._shown: Any = None
        self._on = self._hidden = False
        self._newest = Newest()
        self._soon = QTimer(context.form.native)
        self._soon.setSingleShot(True)
        self._soon.setInterval(REST)
        self._soon.timeout.connect(self._request)
        self._lost = QTimer(context.form.native)  # by then all layers that are deleted together are gone
        self._lost.setSingleShot(True)
        self._lost.timeout.connect(self._decide)
        viewer = context.viewer
        context.settings_changed.connect(self.refresh)
        for name in ("point", "order", "ndisplay"):
            getattr(viewer.dims.events, name).connect(self._moved)
        camera(viewer).events.center.connect(self._panned)
        self._covered = QTimer(context.form.native)  # napari has to show a new layer before others are moved
        self._covered.setSingleShot(True)
        self._covered.timeout.connect(self._raise)
        viewer.layers.events.removed.connect(self._removed)
        viewer.layers.events.inserted.connect(self._inserted)
        context.on_close(self._close)
        self._undocked = Undocked(context.form.native, self._leave)

    @property
    def layer(self) -> Any:
        """The layer, while there is one."""
        return self._layer

    @property
    def on(self) -> bool:
        """Whether it follows what is on screen."""
        return self._on

    @property
    def pending(self) -> bool:
        """Whether something is still to be computed."""
        return self._on and (self._newest.busy or bool(self._soon.isActive()))

    def switch(self, on: bool) -> None:
        """Begin or cease to follow what is on screen."""
        self._on, self._hidden = on, False  # a button that is disabled while it is held down is never released
        if on:
            self.refresh()
        else:
            self._soon.stop()
            self._newest.drop()
            self.remove()

    def hide(self, hidden: bool) -> None:
        """Hide the layer for a moment, or show it again; meanwhile nothing is computed or added.

        A layer that is added hidden just after a change to 3-D ended napari with a fault in OpenGL (drawn by software; vispy 0.17).
        """
        self._hidden = hidden
        if self._layer is not None:
            self._layer.visible = not hidden
        if not hidden:
            self.refresh()

    def refresh(self) -> None:
        """Compute anew, soon."""
        if self._on and not self._hidden and not self._soon.isActive():
            self._soon.start()

    def remove(self) -> None:
        """Take the layer away."""
        layer, self._layer, self._shown = self._layer, None, None
        self._follow_look(None)
        if layer is not None and layer in self._context.viewer.layers:
            self._context.viewer.layers.remove(layer)

    def _close(self) -> None:
        self._on = False
        self._newest.drop()
        try:
            self.remove()
        except RuntimeError:  # the whole window is going, and parts of it are gone
            self._layer = None

    def _leave(self) -> None:
        if self._on:
            self.switch(False)
            self._gone()

    def _moved(self) -> None:
        if self._layer is not None and self._left():
            self.remove()
        self.refresh()

    def _left(self) -> bool:
        """Whether the image is not on screen any more. A layer that has been drawn there and is removed later ends napari (vispy 0.17)."""
        try:
            return self._context.layer is not None and self._part() is None
        except (TypeError, ValueError):
            return False

    def _panned(self) -> None:
        if self._on and self._shown is not None and not self._shown.whole:
            self.refresh()

    def _removed(self, event: Any) -> None:
        if self._layer is not None and event.value == self._layer:
            self._layer = None
            self._lost.start()

    def _inserted(self, event: Any) -> None:
        if self._layer is not None and not picked() and event.value not in helpers:
            self._covered.start()

    def _raise(self) -> None:
        """Lie over the result of a run, which would hide what is changed afterwards."""
        layers = self._context.viewer.layers
        if self._layer is not None and self._layer in layers and layers[-1] is not self._layer:
            layers.move(layers.index(self._layer), len(layers))

    def _decide(self) -> None:
        """Deleted by itself it is not wanted; deleted with its image, it is for the next one."""
        if self._on and self._source in self._context.viewer.layers:
            self.switch(False)
            self._gone()
        elif self._on and self._layer is None:
            self.remove()
            self.refresh()

    def _request(self) -> None:
        context = self._context
        try:
            settings, part = context.settings(), self._part()
        except (TypeError, ValueError) as error:
            self._refuse(error)
            return
        if part is None:
            self._refuse(ValueError("The chosen layer is not on screen here."))
            return
        source, compute = context.layer, self._compute
        self._tell(None)

        def done(look: Look) -> Work | None:
            # Meanwhile the layer may have been deleted, exchanged or given other data.
            wanted = self._on and not self._hidden
            if not (wanted and source is context.layer and source in context.viewer.layers and array_of(source) is settings.image):
                return None
            shown = part
            if look.region is not None:
                shown = replace(part, region=look.region, whole=part.whole and look.region == part.region)
            self._show(source, shown, look.picture)
            self._tell(Shown(shown, look))
            better = look.better
            return None if better is None else lambda control: better(control.cancel)

        self._newest.request(lambda control: compute(settings, part, control), done, self._refuse)

    def _refuse(self, error: Exception) -> None:
        self.remove()
        self._tell(error)

    def _show(self, source: Any, part: Part, picture: Any) -> None:
        """Put a picture on screen: into the layer that is there where it fits, so that nothing flickers."""
        transform = {name: getattr(source, name) for name in ("scale", "rotate", "shear", "affine", "units", "axis_labels")}
        layer = self._layer
        if (
            layer is not None
            and self._source is source
            and layer.data.shape == picture.shape
            and all(_same(getattr(layer, name), value) for name, value in transform.items())
        ):
            layer.data = picture
            layer.translate = part.place(source)
        else:
            self.remove()
            self._layer = self._new(source, part, picture, transform)
            self._context.add_helper(self._layer)
            self._follow_look(source)
        self._shown = part

    def _new(self, source: Any, part: Part, picture: Any, transform: dict[str, Any]) -> Any:
        from napari.layers import Image

        rgb = source.rgb and picture.ndim > source.ndim
        look = {"colormap": source.colormap, "contrast_limits": source.contrast_limits, "gamma": source.gamma}
        return Image(
            picture,
            name=f"{source.name} [{self._title}]",
            translate=part.place(source),
            rgb=rgb,
            blending="translucent_no_depth",
            interpolation2d=source.interpolation2d,
            **transform,
            **({} if rgb else look | self._look),
        )

    def _follow_look(self, source: Any) -> None:
        """Keep the name after the source's, and contrast, gamma and colormap too, unless they are the picture's own."""
        for watched, change in ((self._source, "disconnect"), (source, "connect")):
            if watched is not None:
                getattr(watched.events.name, change)(self._copy_name)
            if watched is not None and not self._look:
                for name in ("contrast_limits", "gamma", "colormap"):
                    getattr(watched.events[name], change)(self._copy_look)
        self._source = source

    def _copy_name(self) -> None:
        if self._layer is not None:
            self._layer.name = f"{self._source.name} [{self._title}]"

    def _copy_look(self) -> None:
        if self._layer is not None and self._source is not None and not self._layer.rgb:
            self._layer.contrast_limits = self._source.contrast_limits
            self._layer.gamma = self._source.gamma
            self._layer.colormap = self._source.colormap


def _same(one: Any, other: Any) -> bool:
    import numpy as np

    left, right = getattr(one, "affine_matrix", one), getattr(other, "affine_matrix", other)
    return bool(np.array_equal(np.asarray(left), np.asarray(right)))
