"""The two widgets: they turn what is on screen into one call of the library, and its result into a layer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from magicgui.widgets import CheckBox, ComboBox, Container, PushButton, Widget
from napari.layers import Image, Labels
from qtpy.QtCore import QTimer

import napari_diffusion as nd
from napari_diffusion.engine.slabs import cpu_count
from napari_diffusion.models import Model, all_models
from napari_diffusion.schemes import BUILTIN as SCHEMES
from napari_diffusion.ui import defaults
from napari_diffusion.ui.axes import AxesTable
from napari_diffusion.ui.layers import LENGTHS, PIXEL, Look, add_result, array_of, axes_of, channel_axis_of, conversion
from napari_diffusion.ui.layout import Scroll, align_labels, keep_narrow, set_tab_order, wrapping_label
from napari_diffusion.ui.number import Number
from napari_diffusion.ui.panel import RunPanel, duration, sentence
from napari_diffusion.ui.parameters import ModelControls
from napari_diffusion.ui.settings import Settings
from napari_diffusion.ui.worker import Control, Latest

#: Full width at half maximum of a Gaussian, in sigmas: 2 sqrt(2 ln 2).
FWHM = 2.354820045
#: Rest after the last change before the plan is made anew [ms].
PLAN_DELAY = 150


class DiffusionWidget(Container):  # type: ignore[type-arg]
    """Common base of the two widgets.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by this name.
    """

    #: Which models to list, and whether the amount of smoothing is set as a Gaussian sigma rather than a diffusion time.
    isotropic: ClassVar[bool]
    #: Layers that a widget adds are selected by napari, but nobody has picked them as the next thing to filter.
    _adding: ClassVar[bool] = False

    def __init__(self, napari_viewer: Any) -> None:
        self._viewer = napari_viewer
        self._unit = PIXEL
        self._amount_edited = self._filling = self._due = False
        self._watched: Any = None
        self._controls: dict[type[Model], ModelControls] = {}
        self._make_controls()
        self.panel = RunPanel(self._run)
        body = Container(widgets=[self.form, self.panel], labels=False)
        body.native.layout().addStretch()
        super().__init__(widgets=[body], labels=False)
        self.margins = (0, 0, 0, 0)
        self.scroll = Scroll(body.native)
        self.native.layout().addWidget(self.scroll)
        self._timer = QTimer(self.native)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PLAN_DELAY)
        self._timer.timeout.connect(self._settled)
        plans, suggestions = Latest(), Latest()
        self._plans, self._suggestions = plans, suggestions
        # A closure each: when the Qt widget dies, this object may be half gone.
        self.native.destroyed.connect(lambda: plans.drop())
        self.native.destroyed.connect(lambda: suggestions.drop())
        self._connect()
        self._set_unit(PIXEL)
        self._show_model()
        self._follow()
        self._show_layer()

    def _make_controls(self) -> None:
        models = [(model.title, model) for model in all_models() if model.isotropic is self.isotropic]
        self.layer = ComboBox(choices=self._layers_of(Image), tooltip="Image to filter; follows the selected layer.")
        # A container of its own: magicgui looks at everything beside a widget that changes, and a layer is heavy to look at.
        layer_box = Container(widgets=[self.layer], labels=False, label="Layer", tooltip=self.layer.tooltip)
        layer_box.margins = (0, 0, 0, 0)
        self.model = ComboBox(choices=models, label="Model", visible=len(models) > 1)
        self.table = AxesTable()
        if self.isotropic:
            tip = "Width of the Gaussian that smooths; details smaller than this disappear."
            self.amount = Number(1.0, minimum=0.0, label="Sigma", tooltip=tip)
        else:
            tip = "How long to diffuse. Where no edge holds it back, the result is like a Gaussian of the width below."
            self.amount = Number(1.0, minimum=0.0, label="Diffusion time", tooltip=tip)
        self.equivalent = wrapping_label()
        self.equivalent.label = " "
        self.suggest = PushButton(text="Suggest", tooltip="Measure noise and edges in the middle of the image and fill in values that fit.")
        self.more = PushButton(text="More options")
        self.more.native.setCheckable(True)
        tip = "Unit of the voxel size and of every length here."
        self.unit = ComboBox(choices=self._unit_choices, value=PIXEL, label="Length unit", tooltip=tip)
        tip = "Smooth inside each label on its own and leave label 0 as it is."
        self.regions = ComboBox(choices=self._layers_of(Labels), nullable=True, label="Within labels", tooltip=tip)
        self.regions.null_string = "everywhere"
        tip = "What to do about NaN and infinite values."
        self.nan = ComboBox(choices=[("stop with a message", "raise"), ("leave, smooth around", "mask")], label="NaN", tooltip=tip)
        tip = "Round the result to the integer type of the image; otherwise it is float32, in the same intensity unit."
        self.preserve = CheckBox(text="Keep integer type", tooltip=tip)
        preserve = Container(widgets=[self.preserve], labels=False, label=" ")
        preserve.margins = (0, 0, 0, 0)
        schemes = ["auto", *(scheme.name for scheme in SCHEMES)]
        tip = "How to step through diffusion time; auto takes the fastest that is exact enough."
        self.scheme = ComboBox(choices=schemes, label="Scheme", tooltip=tip)
        counts = [("all processors", 0), *((str(n), n) for n in range(1, cpu_count() + 1))]
        self.threads = ComboBox(choices=counts, label="Threads", tooltip="How many to use. The result does not depend on it.")
        self._options: list[Widget] = [self.unit, self.regions, self.nan, preserve, self.scheme, self.threads]
        self.buttons = Container(widgets=[self.suggest, self.more], layout="horizontal", labels=False, label=" ")
        self.buttons.margins = (0, 0, 0, 0)
        widgets = [layer_box, self.model, self.table, self.amount, self.equivalent, self.buttons, *self._options]
        for box in (self.layer, self.model, self.regions, self.nan, self.threads):
            keep_narrow(box)
        self.form = Container(widgets=widgets)
        self.form.margins = (0, 0, 0, 0)

    def _connect(self) -> None:
        self.layer.changed.connect(self._show_layer)
        self.model.changed.connect(self._show_model)
        self.unit.changed.connect(self._unit_picked)
        self.amount.changed.connect(self._amount_changed)
        self.suggest.changed.connect(lambda: self._suggest(asked=True))
        self.more.changed.connect(self._show_options)
        self.table.changed.connect(self._suggestion_due)
        self.form.changed.connect(lambda: self._timer.start())
        self._viewer.layers.selection.events.active.connect(self._follow)

    # ---- layer

    def _layers_of(self, kind: Any) -> Callable[[Any], list[tuple[str, Any]]]:
        return lambda _: [(layer.name, layer) for layer in self._viewer.layers if isinstance(layer, kind)]

    def reset_choices(self, *_: Any) -> None:
        """List the layers anew; napari calls this when one comes, goes, moves or is renamed.

        magicgui finds the chosen layer again by its name, loses a renamed one, and does not tell when the last one goes.
        """
        chosen = [(box, box.value) for box in (self.layer, self.regions)]
        with self.layer.changed.blocked(), self.regions.changed.blocked():
            super().reset_choices()
            for box, layer in chosen:
                if layer is not None and layer in box.choices:
                    box.value = layer
        if self.layer.value != self._watched:
            self._show_layer()
        self._timer.start()

    def _follow(self) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Image) and not DiffusionWidget._adding:
            # The selection changes before napari tells about the new layer.
            self.layer.reset_choices()
            self.layer.value = active

    def _show_layer(self) -> None:
        layer = self.layer.value
        self._watch(layer)
        known = layer is not None
        for widget in (self.table, self.suggest, self.panel.button):
            widget.enabled = known or self.panel.busy
        if not known:
            self._timer.start()
            return
        unit = self.table.show_layer(axes_of(layer))
        self.unit.reset_choices()
        self._set_unit(unit)
        if not self._amount_edited:
            sigma = defaults.start_sigma(self.table.spacing)
            self._fill_amount(nd.time_for_sigma(sigma if self.isotropic else 2 * sigma))
        self._suggestion_due()

    def _watch(self, layer: Any) -> None:
        """Follow later corrections of the layer's voxel size, units and data; those of the one before no more."""
        for watched, change in ((self._watched, "disconnect"), (layer, "connect")):
            if watched is not None:
                for name in ("scale", "units", "axis_labels", "data"):
                    getattr(watched.events[name], change)(self._show_layer)
        self._watched = layer

    # ---- model, units, amount

    @property
    def controls(self) -> ModelControls:
        """The parameter controls of the chosen model."""
        return self._controls[self.model.value]

    def _show_model(self) -> None:
        model = self.model.value
        if model not in self._controls:
            controls = self._controls[model] = ModelControls(model)
            controls.set_unit(self._unit)
            for before, widgets in ((self.amount, controls.first), (self.unit, controls.more)):
                for control in widgets:
                    self.form.insert(self.form.index(before), control)
        self.model.tooltip = model.summary
        self.suggest.visible = self.controls.depends_on_data
        for each, controls in self._controls.items():
            for control in controls.first:
                control.visible = each is model
        self._show_options()
        self._suggestion_due()

    def _show_options(self) -> None:
        shown = bool(self.more.value)
        self.more.text = "Fewer options" if shown else "More options"
        for model, controls in self._controls.items():
            for control in controls.more:
                control.visible = shown and model is self.model.value
        for widget in self._options:
            widget.visible = shown
        set_tab_order(self)

    def _unit_choices(self, _: Any) -> list[str]:
        return list(dict.fromkeys([self.table.unit or PIXEL, PIXEL, *LENGTHS]))

    def _unit_picked(self, unit: str) -> None:
        if not self._filling and unit and unit != self._unit:
            self.table.set_unit(unit, conversion(self._unit, unit) or 1.0)
            self._set_unit(unit)

    def _set_unit(self, unit: str) -> None:
        """Show everything in ``unit`` and convert what is there; from and to pixel there is nothing to convert by."""
        factor = conversion(self._unit, unit) or 1.0
        self._filling = True
        try:
            self._unit = self.unit.value = unit
            for controls in self._controls.values():
                controls.set_unit(unit, factor)
            self.amount.unit = unit if self.isotropic else _squared(unit)
            self.amount.value = self.amount.value * (factor if self.isotropic else factor**2)
        finally:
            self._filling = False
        self._show_equivalent()

    @property
    def time(self) -> float:
        """Diffusion time on screen [unit²]."""
        return nd.time_for_sigma(self.amount.value) if self.isotropic else float(self.amount.value)

    def _fill_amount(self, time: float) -> None:
        self._filling = True
        try:
            self.amount.value = nd.equivalent_sigma(time) if self.isotropic else time
        finally:
            self._filling = False
        self._show_equivalent()

    def _amount_changed(self) -> None:
        self._amount_edited |= not self._filling
        self._show_equivalent()

    def _show_equivalent(self) -> None:
        sigma = nd.equivalent_sigma(self.time)
        width, time = _quantity("FWHM", FWHM * sigma, self._unit), _quantity("diffusion time", self.time, _squared(self._unit))
        other = f"= {_quantity('Gaussian σ', sigma, self._unit)}, {width}"
        self.equivalent.value = f"{width}, {time}" if self.isotropic else other

    # ---- suggest, plan, run

    def _settings(self) -> Settings:
        layer = self.layer.value
        if layer is None:
            raise ValueError("Open an image and choose its layer first.")
        if not self.table.axes:
            raise ValueError("Check at least one axis to smooth along.")
        keywords = {
            "time": self.time,
            "spacing": self.table.spacing,
            "axes": self.table.axes,
            "channel_axis": channel_axis_of(layer),
            "labels": None if self.regions.value is None else array_of(self.regions.value),
            "nan": self.nan.value,
            "scheme": self.scheme.value,
            "preserve_dtype": self.preserve.value,
            "threads": self.threads.value or None,
        }
        return Settings(array_of(layer), self.controls.value(), keywords, self._unit)

    def _suggestion_due(self) -> None:
        self._due = True
        self._timer.start()

    def _settled(self) -> None:
        """Do what is due after a change, once changes have paused."""
        align_labels(self.form)
        if self._due:
            self._due = False
            self._suggest()
        self._make_plan()

    def _suggest(self, asked: bool = False) -> None:
        """Fill in suggested values where the user has set none; everywhere when he asked for them."""
        controls = self.controls
        if self.layer.value is None or not self.table.axes or not controls.depends_on_data:
            return
        if asked:
            controls.forget_edits()
            self._amount_edited = False
        settings = self._settings()
        keywords = {name: settings.keywords[name] for name in ("spacing", "axes", "channel_axis")}

        def done(found: tuple[Model, float]) -> None:
            model, time = found
            controls.fill(model)
            if not self._amount_edited:
                self._fill_amount(time)
            if asked:
                self.panel.say("Values suggested from the middle of the image.")

        def failed(error: Exception) -> None:
            if asked:
                self.panel.fail(error)
            elif not self.panel.busy:
                self.panel.say(f"No suggestion for this image: {sentence(error)}")

        self._suggestions.start(lambda control: defaults.suggest(settings.image, settings.model, **keywords), done, failed)

    def _make_plan(self) -> None:
        try:
            settings = self._settings()
        except (TypeError, ValueError) as error:
            self.panel.plan.value = sentence(error)
            return
        keywords = dict(settings.keywords)
        if keywords["labels"] is not None:
            # The shape is all that a plan needs; a lazy array would be computed.
            keywords["labels"] = np.broadcast_to(np.uint8(0), keywords["labels"].shape)

        def describe(control: Control) -> str:
            return nd.plan(settings.image, settings.model, **keywords).describe()

        def show(text: str) -> None:
            self.panel.plan.value = text

        self._plans.start(describe, show, lambda error: show(sentence(error)))

    def _run(self) -> None:
        try:
            settings = self._settings()
            look = Look.of(self.layer.value)
            provenance = {"recipe": settings.recipe().to_dict(), "source": look.name}
        except (TypeError, ValueError) as error:
            self.panel.fail(error)
            return
        title, viewer, began = type(settings.model).title, self._viewer, time.monotonic()

        def work(control: Control) -> Any:
            return nd.diffuse(settings.image, settings.model, **settings.keywords, progress=control.progress, cancel=control.cancel)

        def done(result: Any) -> str:
            DiffusionWidget._adding = True
            try:
                layer = add_result(viewer, result, look, title, provenance)
            finally:
                DiffusionWidget._adding = False
            return f"Done in {duration(time.monotonic() - began)}: {layer.name}"

        self.panel.run(work, done)


def _squared(unit: str) -> str:
    return f"{unit}²"


def _quantity(name: str, value: float, unit: str) -> str:
    """Return ``name value unit``; no line is broken between value and unit."""
    return f"{name} {value:.3g}\N{NO-BREAK SPACE}{unit}"


class IsotropicDiffusion(DiffusionWidget):
    """Smooth the same in every direction, by a physical distance."""

    isotropic = True


class AnisotropicDiffusion(DiffusionWidget):
    """Smooth inside regions and keep edges."""

    isotropic = False
