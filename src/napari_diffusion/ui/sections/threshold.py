"""The Threshold section: the gradients of the image, and the threshold among them, set by eye."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import CheckBox, Container, Widget

import napari_diffusion as nd
from napari_diffusion.diagnostics.conductance import diffusivity_curve
from napari_diffusion.models import Parameter, parameters
from napari_diffusion.previewing.previewer import PreviewImage
from napari_diffusion.ui.overlay.coalescing_queue import CoalescingQueue
from napari_diffusion.ui.overlay.overlay_layer import Overlay
from napari_diffusion.ui.overlay.visible_region import Part, on_screen, position
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.layout import wrapping_label
from napari_diffusion.ui.run.panel import sentence
from napari_diffusion.ui.run.request import Settings
from napari_diffusion.ui.run.task import TaskControl
from napari_diffusion.ui.sections.base import Section

if TYPE_CHECKING:
    from napari_diffusion.ui.qt.gradient_histogram import GradientHistogram

#: Orange where an edge is held, the image where it is not.
HELD = [[1.0, 0.55, 0.0, 0.6], [1.0, 0.55, 0.0, 0.0]]

#: Share of voxels above the threshold up to which these are edges.
MOST_EDGES = 0.5


def threshold_of(model: Any) -> Parameter | None:
    """Return the parameter of a model that is an edge threshold."""
    return next(
        (p for p in parameters(model) if p.suggest is not None and p.unit == "intensity/length"),
        None,
    )


def conductance(settings: Settings, part: Part, control: TaskControl) -> PreviewImage:
    """Return the conductance of the part on screen."""
    names = ("spacing", "axes", "channel_axis", "labels", "nan")
    keywords = {name: settings.keywords[name] for name in names}
    return PreviewImage(
        nd.conductance(
            settings.image, settings.model, region=part.region, **keywords, cancel=control.cancel
        )
    )


class ThresholdSection(Section):
    """Histogram of gradient magnitudes with a line to drag, and what it keeps, on the image."""

    title = "Threshold by eye"
    tooltip = "See how steep the image is, and drag the threshold to where edges begin."

    def make(self) -> list[Widget]:
        """Return the controls; the plot comes when it is first opened."""
        self.plot: GradientHistogram | None = None
        self.frame: Container[Any] = Container(widgets=[], labels=False)
        self.frame.margins = (0, 0, 0, 0)
        self.share = wrapping_label()
        tip = "Colour what the model takes for an edge, before its first step: strong where nothing flows, none where it smooths freely."
        self.mark = CheckBox(value=False, text="Mark the edges on the image", tooltip=tip)
        from napari.utils import Colormap

        look = {
            "colormap": Colormap(HELD, name="held edges"),
            "contrast_limits": (0, 1),
            "gamma": 1.0,
        }
        self.overlay = Overlay(
            self.context, "edges", conductance, self._part, self._tell, self._gone, **look
        )
        self._newest = CoalescingQueue()
        self._gradients = nd.Gradients(np.zeros(0))
        self._known: Any = None
        self.context.on_close(self._newest.drop)
        self.context.settings_changed.connect(self._refresh)
        self.context.viewer.dims.events.point.connect(self._refresh)
        self.context.viewer.events.theme.connect(self._dress)
        self.mark.changed.connect(self._switch)
        return [self.frame, self.share, self.mark]

    @property
    def pending(self) -> bool:
        """Whether something is still to be computed."""
        return self._newest.busy or self.overlay.pending

    def folded(self, opened: bool) -> None:
        """Make the plot when it is first seen."""
        if opened and self.plot is None:
            from napari_diffusion.ui.qt.gradient_histogram import GradientHistogram

            self.plot = GradientHistogram()
            self.frame.native.layout().addWidget(self.plot)
            self.plot.dragged.connect(self._dragged)
            self._dress()
        self._switch()
        self._refresh()

    def _switch(self) -> None:
        on = (
            self.box.open
            and bool(self.mark.value)
            and threshold_of(self.context.controls.model) is not None
        )
        if on != self.overlay.on:
            self.overlay.switch(on)

    def _gone(self) -> None:
        self.mark.value = False

    def _part(self) -> Part | None:
        return on_screen(self.context.viewer, self.context.layer, Preferences.read().preview)

    def _tell(self, about: Any) -> None:
        if isinstance(about, Exception):
            self.share.value = sentence(about)

    def _dragged(self, value: float) -> None:
        parameter = threshold_of(self.context.controls.model)
        if parameter is not None and self.plot is not None:
            self.context.controls[parameter.name].value = rounded = float(f"{value:.3g}")
            self.plot.threshold = rounded

    def _refresh(self) -> None:
        """Show the threshold among the gradients; measure these anew where the image, its grid or the frame is another."""
        parameter = threshold_of(self.context.controls.model)
        self.box.visible = parameter is not None
        self._switch()
        if not self.box.open or parameter is None or self.plot is None:
            return
        try:
            settings = self.context.settings()
            here = position(self.context.viewer, self.context.layer)
        except (TypeError, ValueError) as error:
            self._newest.drop()
            self._forget(error)
            return
        keywords = {
            name: settings.keywords[name] for name in ("spacing", "axes", "channel_axis", "labels")
        }
        keywords["sigma"] = getattr(settings.model, "sigma", 0.0)
        if here is not None:
            keywords["frame"] = [
                p for axis, p in enumerate(here) if axis not in settings.keywords["axes"]
            ]
        arrays = (settings.image, keywords["labels"])
        rest = {**keywords, "labels": self.context.revision}
        if (
            self._known is None
            or self._known[0] != rest
            or any(seen() is not one for seen, one in zip(self._known[1], arrays, strict=True))
        ):
            self._known = rest, [_held(one) for one in arrays]

            def done(found: nd.Gradients) -> None:
                self._gradients = found
                if self.plot is not None:
                    self.plot.show_counts(*found.histogram())
                self._show()

            def failed(error: Exception) -> None:
                self._forget(error)

            self._newest.request(
                lambda control: nd.gradients(settings.image, **keywords, cancel=control.cancel),
                done,
                failed,
            )
        self._show()

    def _forget(self, error: Exception) -> None:
        """Show no gradients, and why."""
        self._known, self._gradients = None, nd.Gradients(np.zeros(0))
        if self.plot is not None:
            self.plot.show_counts(*self._gradients.histogram())
        self.share.value = sentence(error)

    def _show(self) -> None:
        """Draw line and curve, and say what the threshold keeps."""
        model, plot = self.context.controls.value(), self.plot
        parameter = threshold_of(model)
        steep = self._gradients.magnitudes
        if plot is None or parameter is None or not steep.size or not steep[-1] > 0:
            self.share.value = (
                "" if self._newest.busy else "The image is flat: there is no gradient to see."
            )
            return
        value, unit = float(getattr(model, parameter.name)), parameter.unit_in(self.context.unit)
        plot.threshold = value
        plot.name_axis(unit)
        _, edges = self._gradients.histogram()
        span = np.geomspace(min(edges[0], value / 10), max(edges[-1], 10 * value), 60)
        plot.show_diffusivity(span, diffusivity_curve(model, span, min(self.context.spacing)))
        kept = self._gradients.above(value)
        # Where most voxels are steeper, most of them are noise, which goes slowly and is not kept.
        so = (
            "and kept as edges"
            if kept <= MOST_EDGES
            else "and smoothed the less, the steeper they are"
        )
        self.share.value = f"{_percent(kept)} of the voxels are steeper than {value:.3g} {unit} {so}. Dashed: how freely is smoothed."

    def _dress(self) -> None:
        if self.plot is not None:
            from napari.utils.theme import get_theme

            theme = get_theme(self.context.viewer.theme)
            colours = (theme.background, theme.text, theme.highlight, theme.current)
            self.plot.set_colours(*(colour.as_hex() for colour in colours))


def _held(array: Any) -> Callable[[], Any]:
    """Return what gives an array back while it lives: a new one may get the number of one that is gone."""
    try:
        return weakref.ref(array)
    except TypeError:  # ``None``, and what knows no weak references
        return lambda: array


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.1g} %"
