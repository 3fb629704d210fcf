"""The Threshold section: the gradients of the image, and the edge threshold, set by eye."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import CheckBox, Container, Widget

import napari_diffusion as nd
from napari_diffusion.diagnostics.conductance import conductance_map, diffusivity_curve
from napari_diffusion.diagnostics.gradients import sample_gradients
from napari_diffusion.models import Parameter, parameters
from napari_diffusion.previewing.previewer import PreviewImage
from napari_diffusion.ui.overlay.coalescing_queue import CoalescingQueue
from napari_diffusion.ui.overlay.overlay_layer import Overlay, Shown
from napari_diffusion.ui.overlay.visible_region import Part, on_screen, position
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.layout import bare_container, wrapping_label
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.run.messages import screen_message
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.ui.sections.base import Section
from napari_diffusion.ui.values.words import MEASURING

if TYPE_CHECKING:
    from napari_diffusion.ui.sections.gradient_histogram import GradientHistogram

#: Colours of conductance 0 and 1 [RGBA]: orange at edges, transparent elsewhere.
EDGE_COLOURS = [[1.0, 0.55, 0.0, 0.6], [1.0, 0.55, 0.0, 0.0]]

#: Largest fraction of voxels above the threshold that are called edges. Beyond it, most of them are
#: noise, which is smoothed slowly but not kept.
MAX_EDGE_FRACTION = 0.5


def threshold_of(model: Any) -> Parameter | None:
    """Return the parameter of a model that is an edge threshold, ``None`` where there is none."""
    for parameter in parameters(model):
        if parameter.suggest is not None and parameter.unit == "intensity/length":
            return parameter
    return None


def conductance_of(settings: Settings, part: Part, control: TaskControl) -> PreviewImage:
    """Return the conductance of a part of the image."""
    problem = settings.of_edges.unread_problem()
    return PreviewImage(conductance_map(problem, part.region, control.cancel))


class ThresholdSection(Section):
    """Histogram of gradient magnitudes with a movable threshold, and the edges on the image.

    Attributes
    ----------
    plot
        The histogram, made when the section is first opened.
    share
        Line about the fraction of voxels above the threshold.
    mark, overlay
        Whether to mark the edges, and the layer that marks them.
    """

    title = "Edge threshold"
    tooltip = "Histogram of gradients: drag the threshold to where noise ends and edges begin."

    def make(self) -> list[Widget]:
        """Return the controls, with an empty frame for the plot."""
        from napari.utils import Colormap

        self.plot: GradientHistogram | None = None
        self.frame: Container[Any] = bare_container(labels=False)
        self.share = wrapping_label()
        tip = (
            "Colour the edges that are kept: strong where nothing is smoothed, none where it is "
            "smoothed freely."
        )
        self.mark = CheckBox(value=False, text="Overlay edges", tooltip=tip)
        self.overlay = Overlay(
            self.context,
            "edges",
            conductance_of,
            self._part,
            self._show_error,
            self._overlay_deleted,
            colormap=Colormap(EDGE_COLOURS, name="held edges"),
            contrast_limits=(0, 1),
            gamma=1.0,
        )
        self._queue = CoalescingQueue()
        self._gradients = nd.Gradients(np.zeros(0))
        self._measured: tuple[tuple[Any, ...], list[Callable[[], Any]]] | None = None
        self.context.on_close(self._queue.drop)
        self.context.settings_changed.connect(self._refresh)
        self.context.suggestion_changed.connect(self._refresh)
        self.context.viewer.dims.events.point.connect(self._refresh)
        self.context.viewer.events.theme.connect(self._apply_theme)
        self.mark.changed.connect(self._switch_overlay)
        self.context.hidden_changed.connect(self._switch_overlay)
        return [self.frame, self.share, self.mark]

    @property
    def pending(self) -> bool:
        """Whether a computation is still to be done."""
        return self._queue.busy or self.overlay.pending

    @slot
    def on_toggled(self, opened: bool) -> None:
        """Make the plot when the section is first opened."""
        if opened and self.plot is None:
            from napari_diffusion.ui.sections.gradient_histogram import GradientHistogram

            self.plot = GradientHistogram()
            self.frame.native.layout().addWidget(self.plot)
            self.plot.dragged.connect(self._threshold_dragged)
            self._apply_theme()
        self._switch_overlay()
        self._refresh()

    # ---- edges on the image

    @slot
    def _switch_overlay(self) -> None:
        has_threshold = threshold_of(self.context.controls.model) is not None
        is_known = has_threshold and not self.context.measuring
        on = self.open and bool(self.mark.value) and is_known and not self.context.hidden
        if on != self.overlay.on:
            self.overlay.switch(on)

    def _overlay_deleted(self) -> None:
        self.mark.value = False

    def _part(self) -> Part | None:
        """Return the part of the layer on screen, ``None`` where there is none."""
        return on_screen(self.context.viewer, self.context.layer, Preferences.read().preview)

    def _show_error(self, state: Shown | Exception | str | None) -> None:
        if isinstance(state, Exception):
            self.share.value = screen_message(state)

    # ---- gradients

    @slot
    def _threshold_dragged(self, value: float) -> None:
        parameter = threshold_of(self.context.controls.model)
        if parameter is not None and self.plot is not None:
            rounded = float(f"{value:.3g}")
            self.context.controls[parameter.name].value = rounded
            self.plot.threshold = rounded

    @slot
    def _refresh(self) -> None:
        """Show the threshold; measure the gradients again if image, grid or frame have changed."""
        parameter = threshold_of(self.context.controls.model)
        self.box.visible = parameter is not None
        self._switch_overlay()
        if not self.open or parameter is None or self.plot is None:
            return
        try:
            settings = self.context.settings()
            voxel = position(self.context.viewer, self.context.layer)
        except (TypeError, ValueError):
            self._queue.drop()
            self._forget_gradients()  # the line above Run says what is wrong
            return
        geometry, sigma = settings.geometry, getattr(settings.model, "sigma", 0.0)
        frame = None
        if voxel is not None:
            frame = [p for axis, p in enumerate(voxel) if axis not in (geometry.axes or ())]
        # Arrays are compared by identity; the revision counts changes of their values in place.
        recipe = settings.recipe
        intensities = recipe.impulses, *recipe.transform_options.values()
        others = geometry, sigma, frame, intensities, self.context.revision, settings.model.maps
        arrays = settings.of_edges.image, settings.labels
        if not self._is_measured(others, arrays):
            self._measured = others, [_reference(array) for array in arrays]
            self._measure(settings, sigma, frame)
        self._show()

    def _is_measured(self, others: tuple[Any, ...], arrays: tuple[Any, ...]) -> bool:
        """Whether the last gradients are of these arrays and other arguments."""
        if self._measured is None:
            return False
        measured_others, references = self._measured
        same = (reference() is array for reference, array in zip(references, arrays, strict=True))
        return measured_others == others and all(same)

    def _measure(self, settings: Settings, sigma: float, frame: list[int] | None) -> None:
        """Compute and plot the gradients in a thread."""
        settings = replace(settings, recipe=replace(settings.recipe, nan="mask"))
        problem = settings.of_edges.unread_problem()

        def work(control: TaskControl) -> nd.Gradients:
            return sample_gradients(problem, sigma, frame, control.cancel)

        def done(gradients: nd.Gradients) -> None:
            self._plot(gradients)
            self._show()

        self._queue.request(work, done, self._forget_gradients)

    def _plot(self, gradients: nd.Gradients) -> None:
        self._gradients = gradients
        if self.plot is not None:
            self.plot.show_counts(*gradients.histogram())

    def _forget_gradients(self, error: Exception | None = None) -> None:
        """Show an error, or nothing, instead of the gradients."""
        self._measured = None
        self._plot(nd.Gradients(np.zeros(0)))
        self.share.value = "" if error is None else screen_message(error)

    def _show(self) -> None:
        """Draw threshold and diffusivity, and show the fraction of voxels above the threshold."""
        model, plot = self.context.controls.value(), self.plot
        parameter = threshold_of(model)
        magnitudes = self._gradients.magnitudes
        if plot is None or parameter is None or not magnitudes.size or not magnitudes[-1] > 0:
            flat = "The image is flat: there is no gradient to see."
            self.share.value = "" if self._queue.busy else flat
            return
        value, unit = float(getattr(model, parameter.name)), parameter.unit_in(self.context.unit)
        plot.name_axis(unit)
        plot.show_line(not self.context.measuring)
        if self.context.measuring:
            self.share.value = MEASURING
            return
        plot.threshold = value
        _, edges = self._gradients.histogram()
        span = np.geomspace(min(edges[0], value / 10), max(edges[-1], 10 * value), 60)
        plot.show_diffusivity(span, diffusivity_curve(model, span, min(self.context.spacing)))
        fraction = self._gradients.above(value)
        locally = " times the factor of the map there" if model.maps else ""
        if fraction <= MAX_EDGE_FRACTION:
            effect = "count as edges"
        else:
            effect = "are steep; noise among them is smoothed less"
        self.share.value = (
            f"{_percent(fraction)} of voxels {effect} (gradient > {value:.3g} {unit}{locally}). "
            "Dashed line: diffusivity (1 = smoothed freely, 0 = kept)."
        )

    @slot
    def _apply_theme(self) -> None:
        if self.plot is not None:
            from napari.utils.theme import get_theme

            theme = get_theme(self.context.viewer.theme)
            colours = (theme.background, theme.text, theme.highlight)
            self.plot.set_colours(*(colour.as_hex() for colour in colours))


def _reference(array: Any) -> Callable[[], Any]:
    """Return a weak reference to an array.

    The `id` of an array would not do: a later array may get the same one.
    """
    try:
        return weakref.ref(array)
    except TypeError:  # ``None``, and array types without weak references
        return lambda: array


def _percent(fraction: float) -> str:
    percent = 100 * fraction
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.1g} %"
