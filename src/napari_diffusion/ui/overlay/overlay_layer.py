"""A picture of what is on screen, computed beside it and kept up to date: newest request first, never in the way of the viewer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from qtpy.QtCore import QTimer

from napari_diffusion.previewing.previewer import PreviewImage
from napari_diffusion.ui.context import Context
from napari_diffusion.ui.layers.adding import auxiliary_layers, selected_by_user
from napari_diffusion.ui.layers.axes import array_of
from napari_diffusion.ui.overlay.coalescing_queue import CoalescingQueue, Work
from napari_diffusion.ui.overlay.visible_region import Part, camera
from napari_diffusion.ui.qt.undocked import Undocked
from napari_diffusion.ui.run.request import Settings
from napari_diffusion.ui.run.task import TaskControl

#: Rest between two looks at what has changed [ms].
REST = 30


@dataclass(frozen=True)
class Shown:
    """What is on screen now: which part, and what was made of it."""

    part: Part
    look: PreviewImage


class Overlay:
    """A layer over the chosen one that shows something computed from it.

    Parameters
    ----------
    context
        The section's.
    title
        Put behind the name of the layer.
    compute
        Called in a thread with the settings, the part and a `TaskControl`; returns the picture, with an axis of one voxel where one is cut,
        as a `PreviewImage`, which may have a better one.
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
        compute: Callable[[Settings, Part, TaskControl], PreviewImage],
        part: Callable[[], Part | None],
        tell: Callable[[Shown | Exception | None], None],
        gone: Callable[[], None],
        **look: Any,
    ) -> None:
        self._context, self._title, self._compute, self._part, self._tell, self._gone = (
            context,
            title,
            compute,
            part,
            tell,
            gone,
        )
        self._look = look
        self._layer: Any = None
        self._source: Any = None
        self._shown: Any = None
        self._on = self._hidden = False
        self._newest = CoalescingQueue()
        self._soon = QTimer(context.parent)
        self._soon.setSingleShot(True)
        self._soon.setInterval(REST)
        self._soon.timeout.connect(self._request)
        self._lost = QTimer(context.parent)  # by then all layers that are deleted together are gone
        self._lost.setSingleShot(True)
        self._lost.timeout.connect(self._decide)
        viewer = context.viewer
        context.settings_changed.connect(self.refresh)
        for name in ("point", "order", "ndisplay"):
            getattr(viewer.dims.events, name).connect(self._moved)
        camera(viewer).events.center.connect(self._panned)
        self._covered = QTimer(
            context.parent
        )  # napari has to show a new layer before others are moved
        self._covered.setSingleShot(True)
        self._covered.timeout.connect(self._raise)
        viewer.layers.events.removed.connect(self._removed)
        viewer.layers.events.inserted.connect(self._inserted)
        context.on_close(self._close)
        self._undocked = Undocked(context.parent, self._leave)

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
        self._on, self._hidden = (
            on,
            False,
        )  # a button that is disabled while it is held down is never released
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
        if (
            self._layer is not None
            and not selected_by_user()
            and event.value not in auxiliary_layers
        ):
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

        def done(look: PreviewImage) -> Work | None:
            # Meanwhile the layer may have been deleted, exchanged or given other data.
            wanted = self._on and not self._hidden
            if not (
                wanted
                and source is context.layer
                and source in context.viewer.layers
                and array_of(source) is settings.image
            ):
                return None
            shown = part
            if look.region is not None:
                shown = replace(
                    part, region=look.region, whole=part.whole and look.region == part.region
                )
            self._show(source, shown, look.picture)
            self._tell(Shown(shown, look))
            refine = look.refine
            return None if refine is None else lambda control: refine(control.cancel)

        self._newest.request(lambda control: compute(settings, part, control), done, self._refuse)

    def _refuse(self, error: Exception) -> None:
        self.remove()
        self._tell(error)

    def _show(self, source: Any, part: Part, picture: Any) -> None:
        """Put a picture on screen: into the layer that is there where it fits, so that nothing flickers."""
        transform = {
            name: getattr(source, name)
            for name in ("scale", "rotate", "shear", "affine", "units", "axis_labels")
        }
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
            self._context.add_auxiliary_layer(self._layer)
            self._follow_look(source)
        self._shown = part

    def _new(self, source: Any, part: Part, picture: Any, transform: dict[str, Any]) -> Any:
        from napari.layers import Image

        rgb = source.rgb and picture.ndim > source.ndim
        look = {
            "colormap": source.colormap,
            "contrast_limits": source.contrast_limits,
            "gamma": source.gamma,
        }
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
