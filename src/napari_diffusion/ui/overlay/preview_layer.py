"""The layer of the preview: its split, its frame, and its blending with other layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import numpy as np

from napari_diffusion.previewing.previewer import PreviewImage
from napari_diffusion.ui.context import Context
from napari_diffusion.ui.layers.axes import array_of, shape_of
from napari_diffusion.ui.layers.new_layers import auxiliary_layers, selected_by_user
from napari_diffusion.ui.layers.view_state import bare, mixed_layers
from napari_diffusion.ui.overlay.coalescing_queue import Work
from napari_diffusion.ui.overlay.overlay_layer import Overlay, Shown, index_above
from napari_diffusion.ui.overlay.split import Split, split_at
from napari_diffusion.ui.overlay.visibility import COVERING, VisibilityMemory, is_result
from napari_diffusion.ui.overlay.visible_region import Part, displayed
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.timers import single_shot
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import TaskControl

#: Colour and width [pixel] of the frame.
FRAME_COLOUR, FRAME_WIDTH = "#f0ad4e", 2
#: Number of voxels up to which the original surrounds an additive preview.
MAX_SURROUNDINGS = 2**24
#: Delay between a movement of the split line and its drawing [ms].
REDRAW_DELAY_MS = 10
RESULT_ON_SCREEN = "The new layer is this result. Change a value to preview another one."


class PreviewOverlay(Overlay):
    """The overlay of the preview.

    **Split.** Only the columns right of a line are shown; the picture itself stays whole.

    **Frame.** A frame surrounds a preview that does not cover the plane. With a split it surrounds
    the columns shown, so that its left side is the line.

    **Blending.** A layer whose blending adds it to others gets a preview of the same blending. The
    original and its results are hidden meanwhile: they would be added to it. The preview then has
    the original around the previewed part, unless that is too large.

    Parameters
    ----------
    context, compute, get_part, report, on_deleted
        As for `Overlay`.
    """

    def __init__(
        self,
        context: Context,
        compute: Callable[[Settings, Part, TaskControl], PreviewImage],
        get_part: Callable[[], Part | None],
        report: Callable[[Shown | Exception | str | None], None],
        on_deleted: Callable[[], None],
    ) -> None:
        super().__init__(context, "preview", compute, get_part, report, on_deleted)
        self._fraction: float | None = None
        self._surroundings: _Surroundings | None = None
        self._hidden_layers = VisibilityMemory(context.viewer)
        self._has_new_result = self._has_surroundings = False
        self._shown_by_result: tuple[Any, ...] | None = None
        self._redraw_timer = single_shot(context.parent, REDRAW_DELAY_MS, self._redraw)
        self._result_timer = single_shot(context.parent, 0, self._yield_to_result)

    @property
    def fraction(self) -> float | None:
        """Place of the split line in the previewed part, from left to right; ``None`` without."""
        return self._fraction

    @fraction.setter
    def fraction(self, value: float | None) -> None:
        self._fraction = value
        self._redraw_timer.start()

    @property
    def split(self) -> Split | None:
        """The split on screen, ``None`` without one."""
        if self._fraction is None or self._layer is None or self._source is None:
            return None
        return split_at(self._context.viewer, self._source, self._fraction)

    @property
    def part(self) -> Part | None:
        """The previewed part, ``None`` without a preview."""
        return self._shown_part

    @property
    def source(self) -> Any:
        """The layer under the preview, ``None`` without a preview."""
        return self._source

    @slot
    def _redraw(self) -> None:
        """Show the picture again with another split; nothing is computed."""
        if self._layer is not None and self._source in self._context.viewer.layers:
            self._display(self._source)

    # ---- a layer that blends with others

    def _work(self, source: Any, settings: Settings, part: Part) -> Work:
        plane = self._plane_of(source, part)
        compute = self._compute

        def work(control: TaskControl) -> PreviewImage:
            around = None
            if plane is not None:
                original = np.asarray(settings.image[plane.region])
                around = _Surroundings(settings.image, plane, original)
            self._surroundings = around
            return compute(settings, part, control)

        return work

    def _plane_of(self, source: Any, part: Part) -> Part | None:
        """Return the plane, in 3-D view the volume, around a part of a layer that blends.

        It is ``None`` for other layers, for a plane across a volume, and for a plane or a volume
        that is too large. A plane across a volume would not be seen in it.
        """
        viewer = self._context.viewer
        region, shape, shown = list(part.region), shape_of(source), displayed(viewer, source)
        is_cut = len(shown) == 3 and any(
            region[axis].stop - region[axis].start < min(2, shape[axis]) for axis in shown
        )
        if hides(source) or is_cut:
            return None
        for axis in shown:
            region[axis] = slice(0, shape[axis])
        if math.prod(side.stop - side.start for side in region) > MAX_SURROUNDINGS:
            return None
        return replace(part, region=tuple(region))

    def _surroundings_of(self, source: Any, part: Part) -> _Surroundings | None:
        """Return the plane around a part, ``None`` for a layer that hides what lies below it."""
        around = self._surroundings
        if around is None or hides(source):
            return None
        return around if around.image is array_of(source) and around.contain(part) else None

    def _place(self, layers: Any) -> int:
        """Return the index for the layer: above its image and what would hide the preview.

        Channels that are added to it stay above it, and so do other layers of ours, such as edges.
        """
        source = bare(self._context.layer)

        def counts(layer: Any) -> bool:
            if bare(layer) is source:
                return True
            return layer not in auxiliary_layers and hides(layer)

        return index_above(layers, counts)

    def _blending(self, source: Any) -> str:
        if self._shown_part is None or self._context.viewer.dims.ndisplay == 3:
            return super()._blending(source) if hides(source) else str(source.blending)
        around = self._surroundings_of(source, self._shown_part)
        return super()._blending(source) if around is None else str(source.blending)

    def _arranged(self, source: Any, part: Part, picture: Any) -> tuple[Part, Any]:
        around = self._surroundings_of(source, part)
        self._has_surroundings = around is not None
        if self._fraction is not None:
            split = split_at(self._context.viewer, source, self._fraction)
            if split is not None:
                part, picture = split.cropped(part, picture)
        if around is None:
            return part, picture
        shown = displayed(self._context.viewer, source)
        return around.plane, around.composed(part, picture, shown, brightest(source))

    def _display(self, source: Any) -> None:
        super()._display(source)
        assert self._layer is not None
        assert self._shown_part is not None
        if not hides(self._layer):
            self._hide_others(source)
        frame = self._layer.bounding_box
        frame.points, frame.line_thickness, frame.line_color = False, FRAME_WIDTH, FRAME_COLOUR
        is_framed = self.split is not None or not self._shown_part.whole
        frame.visible = is_framed and not self._has_surroundings

    def _hide_others(self, source: Any) -> None:
        """Hide the original and its results, which would be added to the preview."""
        for layer in self._context.viewer.layers:
            is_own = bare(layer) is bare(source) or is_result(layer, source.name)
            if is_own and not hides(layer):
                self._hidden_layers.show(layer, False)

    def remove(self) -> None:
        """Remove the layer from the viewer, and show the layers that were hidden for it."""
        source = self._source
        super().remove()
        self._hidden_layers.restore()
        if self._has_new_result and source in self._context.viewer.layers:
            *others, _ = mixed_layers(self._context.viewer, source)
            for layer in others:
                layer.visible = False  # the new result, which is the last one, takes their place
        self._has_new_result = False

    # ---- a result on screen

    @slot
    def _inserted(self, event: Any) -> None:
        super()._inserted(event)
        if self._source is None or self._layer is None or hides(self._layer):
            return
        if not selected_by_user() and is_result(event.value, self._source.name):
            self._has_new_result = True
            self._result_timer.start()

    @slot
    def _yield_to_result(self) -> None:
        """Remove the preview: the result shows the same, and would be added to it."""
        self._shown_by_result = _key(self._context.settings())
        self.remove()
        self._report(RESULT_ON_SCREEN)

    def _is_needless(self, settings: Settings) -> bool:
        if self._shown_by_result is None:
            return False
        if self._shown_by_result == _key(settings):
            return True
        self._shown_by_result = None
        return False

    @slot
    def _removed(self, event: Any) -> None:
        super()._removed(event)
        if self._shown_by_result is not None and is_result(event.value):
            self._shown_by_result = None
            self.refresh()

    def switch(self, on: bool) -> None:
        """Begin or cease to follow the view."""
        self._shown_by_result = None
        super().switch(on)


def hides(layer: Any) -> bool:
    """Whether a layer hides what lies below it; others are mixed with it."""
    return str(layer.blending) in COVERING


@dataclass(frozen=True)
class _Surroundings:
    """The original around a preview.

    Attributes
    ----------
    image
        Array of the layer.
    plane
        The plane, or the volume.
    original
        Its voxels.
    """

    image: Any
    plane: Part
    original: Any

    def contain(self, part: Part) -> bool:
        """Whether a part lies in the plane."""
        return all(
            outer.start <= inner.start and inner.stop <= outer.stop
            for inner, outer in zip(part.region, self.plane.region, strict=True)
        )

    def composed(self, part: Part, picture: Any, shown: tuple[int, ...], bright: float) -> Any:
        """Return the plane with a picture of a part in it, and lines around that part.

        In a volume they are the edges of a box: its faces would hide what lies inside.

        Parameters
        ----------
        part, picture
            The part and its picture.
        shown
            Axes on screen.
        bright
            Value of the lines.
        """
        composed = self.original.astype(picture.dtype)
        pairs = list(zip(part.region, self.plane.region, strict=True))
        place = [slice(a.start - b.start, a.stop - b.start) for a, b in pairs]
        ends = {axis: (place[axis].start - 1, place[axis].stop) for axis in shown}
        for axes in combinations(shown, len(shown) - 1):
            for corner in product(*(ends[axis] for axis in axes)):
                line: list[Any] = list(place)
                for axis, index in zip(axes, corner, strict=True):
                    line[axis] = slice(max(index, 0), index + 1)  # empty outside the plane
                composed[tuple(line)] = bright
        composed[tuple(place)] = picture
        return composed


def brightest(layer: Any) -> float:
    """Return the value that a layer shows in its brightest colour."""
    if not layer.rgb:
        return float(layer.contrast_limits[1])
    return float(np.iinfo(layer.dtype).max) if np.dtype(layer.dtype).kind in "iu" else 1.0


def _key(settings: Settings) -> tuple[Any, ...]:
    """Return a key of the settings of a run; it holds no array."""
    return id(settings.image), settings.recipe.to_dict()
