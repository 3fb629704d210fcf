"""A layer over the chosen image that follows the view, such as the preview."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from napari_diffusion.previewing.previewer import PreviewImage
from napari_diffusion.ui.context import Context
from napari_diffusion.ui.layers.axes import array_of
from napari_diffusion.ui.layers.events import reconnect
from napari_diffusion.ui.layers.new_layers import auxiliary_layers, selected_by_user
from napari_diffusion.ui.layers.view_state import bare
from napari_diffusion.ui.overlay.coalescing_queue import CoalescingQueue, Work
from napari_diffusion.ui.overlay.visible_region import Part, camera
from napari_diffusion.ui.qt.canvas import canvases, make_current
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.timers import single_shot
from napari_diffusion.ui.qt.undocked import Undocked
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import TaskControl

#: Delay between a change and the computation that follows it [ms].
REFRESH_DELAY_MS = 30


@dataclass(frozen=True)
class Shown:
    """Content of the overlay.

    Attributes
    ----------
    part
        Part of the layer that is shown.
    preview
        Picture of that part, and a function that refines it where it is a draft.
    """

    part: Part
    preview: PreviewImage


class Overlay:
    """A layer over the chosen one that shows something computed from it.

    Parameters
    ----------
    context
        Context of the section.
    title
        Text after the name of the layer, in brackets.
    compute
        Called in a thread with the settings, the part and a `TaskControl`. It returns a
        `PreviewImage`, whose ``refine`` may compute a more exact picture. The picture keeps all
        axes of the array; the axis across a plane has one voxel.
    get_part
        Returns the part on screen, ``None`` where there is none.
    report
        Called with ``None`` when a computation begins, with a `Shown` when its picture is shown,
        with its error, or with a sentence that says why nothing is computed.
    on_deleted
        Called when the user has deleted the layer without its image, or has closed the dock.
    style
        Arguments of the new layer, instead of colormap, contrast limits and gamma of the image.
    """

    def __init__(
        self,
        context: Context,
        title: str,
        compute: Callable[[Settings, Part, TaskControl], PreviewImage],
        get_part: Callable[[], Part | None],
        report: Callable[[Shown | Exception | str | None], None],
        on_deleted: Callable[[], None],
        **style: Any,
    ) -> None:
        self._context, self._title, self._style = context, title, style
        self._compute, self._get_part = compute, get_part
        self._report, self._on_deleted = report, on_deleted
        self._layer: Any = None
        self._source: Any = None
        self._shown_part: Part | None = None
        self._picture: Any = None
        self._canvases: list[Any] = []
        self._whole_shape: tuple[int, ...] = ()
        self._on = self._held = False
        self._queue = CoalescingQueue()
        parent, viewer = context.parent, context.viewer
        self._refresh_timer = single_shot(parent, REFRESH_DELAY_MS, self._request)
        # At its timeout, all layers that are deleted together are gone.
        self._deletion_timer = single_shot(parent, 0, self._handle_deletion)
        # napari has to show a new layer before others are moved.
        self._raise_timer = single_shot(parent, 0, self._raise)
        context.settings_changed.connect(self.refresh)
        for name in ("point", "order", "ndisplay", "margin_left", "margin_right"):
            getattr(viewer.dims.events, name).connect(self._moved)
        camera(viewer).events.center.connect(self._panned)
        viewer.layers.events.removed.connect(self._removed)
        viewer.layers.events.inserted.connect(self._inserted)
        context.on_close(self._close)
        self._undocked = Undocked(parent, self._leave)

    def fail(self, error: Exception) -> None:
        """Show an error below Run."""
        self._context.fail(error)

    @property
    def layer(self) -> Any:
        """The layer, ``None`` without one."""
        return self._layer

    @property
    def on(self) -> bool:
        """Whether the overlay follows the view."""
        return self._on

    @property
    def pending(self) -> bool:
        """Whether a computation waits or is under way."""
        return self._on and (self._queue.busy or bool(self._refresh_timer.isActive()))

    def switch(self, on: bool) -> None:
        """Begin or cease to follow the view."""
        self._on = on
        if on:
            self.refresh()
        else:
            self._refresh_timer.stop()
            self._queue.drop()
            self.remove()

    def hold(self, held: bool) -> None:
        """Compute and add nothing for a while, or begin again; the layer stays as it is.

        A layer that was added hidden just after a change to 3-D ended napari with a fault in OpenGL
        (software rendering; vispy 0.17).
        """
        self._held = held
        if not held:
            self.refresh()

    @slot
    def refresh(self) -> None:
        """Compute the picture again after `REFRESH_DELAY_MS`."""
        if self._on and not self._held and not self._refresh_timer.isActive():
            self._refresh_timer.start()

    def remove(self) -> None:
        """Remove the layer from the viewer."""
        layer, self._layer, self._shown_part, self._picture = self._layer, None, None, None
        self._follow_source(None)
        if layer is not None and layer in self._context.viewer.layers:
            make_current(self._canvases)
            self._context.viewer.layers.remove(layer)

    @slot
    def _close(self) -> None:
        self._on = False
        self._queue.drop()
        try:
            self.remove()
        except Exception:  # the whole window is being destroyed, and parts of it are gone
            self._layer = None

    @slot
    def _leave(self) -> None:
        if self._on:
            self.switch(False)
            self._on_deleted()

    @slot
    def _moved(self) -> None:
        if self._layer is not None and self._is_off_screen():
            self.remove()
        self.refresh()

    def _place(self, layers: Any) -> int:
        """Return the index in the list of layers for the layer: above all images."""
        return index_above(layers, lambda layer: bare(layer) is not self._layer)

    def _is_off_screen(self) -> bool:
        """Whether the image is not on screen any more.

        A layer that has been drawn in that state and is removed later ends napari (vispy 0.17).
        """
        try:
            return self._context.layer is not None and self._get_part() is None
        except (TypeError, ValueError):
            return False

    @slot
    def _panned(self) -> None:
        if self._on and self._shown_part is not None and not self._shown_part.whole:
            self.refresh()

    @slot
    def _removed(self, event: Any) -> None:
        if event.value in (self._layer, self._source):
            if event.value is self._layer:
                self._layer = None
            self._deletion_timer.start()

    @slot
    def _inserted(self, event: Any) -> None:
        is_result = not selected_by_user() and event.value not in auxiliary_layers
        if self._layer is not None and is_result:
            self._raise_timer.start()

    @slot
    def _raise(self) -> None:
        """Move the layer above the result of a run, which would hide later changes of it."""
        layers = self._context.viewer.layers
        if self._layer is not None and self._layer in layers:
            place, target = layers.index(self._layer), self._place(layers)
            if target not in (place, place + 1):
                layers.move(place, target)

    @slot
    def _handle_deletion(self) -> None:
        """Switch off if the layer alone was deleted; with its image, continue on the next one."""
        if self._on and self._source in self._context.viewer.layers:
            self.switch(False)
            self._on_deleted()
        elif self._on:
            self.remove()
            self.refresh()

    @slot
    def _request(self) -> None:
        context = self._context
        try:
            settings = context.settings()
        except (TypeError, ValueError):
            self.remove()
            self._report("")  # the line above Run says what is wrong
            return
        try:
            part = self._get_part()
        except (TypeError, ValueError) as error:
            self._fail(error)
            return
        if part is None:
            self._fail(ValueError("The chosen layer is not on screen here."))
            return
        source = context.layer
        if self._is_needless(settings):
            return
        work = self._work(source, settings, part)
        self._report(None)

        def done(preview: PreviewImage) -> Work | None:
            if not self._is_current(source, settings):
                return None
            shown = part
            if preview.region is not None:
                whole = part.whole and preview.region == part.region
                shown = replace(part, region=preview.region, whole=whole)
            self._shown_part, self._picture = shown, preview.picture
            self._display(source)
            self._report(Shown(shown, preview))
            refine = preview.refine
            return None if refine is None else lambda control: refine(control.cancel)

        self._queue.request(work, done, self._fail)

    def _is_needless(self, settings: Settings) -> bool:
        """Whether nothing is to be computed for these settings."""
        return False

    def _work(self, source: Any, settings: Settings, part: Part) -> Work:
        """Return the function that computes the picture; it is called in a thread."""
        compute = self._compute
        return lambda control: compute(settings, part, control)

    def _is_current(self, source: Any, settings: Settings) -> bool:
        """Whether a picture is still to be shown.

        Since its request, the layer may have been deleted, exchanged or given other data.
        """
        if not self._on or self._held or source is not self._context.layer:
            return False
        return source in self._context.viewer.layers and array_of(source) is settings.image

    def _fail(self, error: Exception) -> None:
        self.remove()
        self._report(error)

    def _arranged(self, source: Any, part: Part, picture: Any) -> tuple[Part, Any]:
        """Return the part and the picture that the layer gets."""
        return part, picture

    def _display(self, source: Any) -> None:
        """Show the picture, in the existing layer where it fits, so that nothing flickers."""
        assert self._shown_part is not None
        shown_part, whole_picture = self._shown_part, self._picture
        part, picture = self._arranged(source, shown_part, whole_picture)
        names = ("scale", "rotate", "shear", "affine", "units", "axis_labels")
        transform = {name: getattr(source, name) for name in names}
        layer = self._layer
        if (
            layer is not None
            and self._source is source
            and self._whole_shape == whole_picture.shape
            and layer.data.dtype == picture.dtype
            and layer.blending == self._blending(source)
            and all(_same(getattr(layer, name), value) for name, value in transform.items())
        ):
            layer.data = picture
            layer.translate = part.translate_for(source)
        else:
            self.remove()
            self._shown_part, self._picture = shown_part, whole_picture
            self._layer = self._new_layer(source, part, picture, transform)
            self._whole_shape = whole_picture.shape
            # Kept for the removal: the dock may be closed by then, and in no window any more.
            self._canvases = canvases(self._context.parent)
            self._context.add_auxiliary_layer(self._layer, self._place)
            self._follow_source(source)

    def _blending(self, source: Any) -> str:
        """Return the blending of the layer."""
        return "translucent_no_depth"

    def _new_layer(self, source: Any, part: Part, picture: Any, transform: dict[str, Any]) -> Any:
        from napari.layers import Image

        rgb = source.rgb and picture.ndim > source.ndim
        style = {
            "colormap": source.colormap,
            "contrast_limits": source.contrast_limits,
            "gamma": source.gamma,
        }
        return Image(
            picture,
            name=f"{source.name} [{self._title}]",
            translate=part.translate_for(source),
            rgb=rgb,
            blending=self._blending(source),
            interpolation2d=source.interpolation2d,
            projection_mode=getattr(source, "projection_mode", "none"),
            **transform,
            **({} if rgb else style | self._style),
        )

    def _follow_source(self, source: Any) -> None:
        """Copy changes of the source's name, and of its style unless the overlay has its own."""
        reconnect(self._source, source, ("name",), self._copy_name)
        if not self._style:
            style = ("contrast_limits", "gamma", "colormap")
            reconnect(self._source, source, style, self._copy_style)
        reconnect(self._source, source, ("blending", "projection_mode"), self.refresh)
        self._source = source

    @slot
    def _copy_name(self) -> None:
        if self._layer is not None:
            self._layer.name = f"{self._source.name} [{self._title}]"

    @slot
    def _copy_style(self) -> None:
        if self._layer is not None and self._source is not None and not self._layer.rgb:
            self._layer.contrast_limits = self._source.contrast_limits
            self._layer.gamma = self._source.gamma
            self._layer.colormap = self._source.colormap


def index_above(layers: Any, counts: Callable[[Any], bool]) -> int:
    """Return the index in a list of layers above all images for which ``counts`` is true.

    Vectors, labels and shapes do not count. Without such an image, it is the top of the list.
    """
    pictures = [
        index
        for index, layer in enumerate(layers)
        if hasattr(layer, "interpolation2d") and counts(layer)
    ]
    return pictures[-1] + 1 if pictures else len(layers)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; each is an array or an affine transform."""
    import numpy as np

    left, right = getattr(one, "affine_matrix", one), getattr(other, "affine_matrix", other)
    return bool(np.array_equal(np.asarray(left), np.asarray(right)))
