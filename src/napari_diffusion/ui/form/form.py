"""What to filter and how: the controls that make up one call of the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from magicgui.widgets import CheckBox, ComboBox, Container, PushButton, Widget
from napari.layers import Image, Labels
from psygnal import Signal
from qtpy.QtCore import QTimer

import napari_diffusion as nd
from napari_diffusion.engine.slab_pool import cpu_count
from napari_diffusion.models import Model, all_models, parameters
from napari_diffusion.schemes import BUILTIN as SCHEMES
from napari_diffusion.schemes import Scheme
from napari_diffusion.ui.form.axes_table import AxesTable
from napari_diffusion.ui.form.model_controls import MOST, ModelControls
from napari_diffusion.ui.form.smoothing_amount import SmoothingAmount
from napari_diffusion.ui.layers.adding import auxiliary_layers, selected_by_user
from napari_diffusion.ui.layers.axes import (
    LENGTHS,
    PIXEL,
    array_of,
    channel_axis_of,
    layer_axes,
    length_conversion,
    recipe_unit,
)
from napari_diffusion.ui.layers.file_metadata import FileAxes
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.foldable import Foldable
from napari_diffusion.ui.qt.layout import keep_narrow, wrapping_label
from napari_diffusion.ui.qt.quantity_box import LARGEST, SMALLEST, QuantityBox
from napari_diffusion.ui.run import starting_values
from napari_diffusion.ui.run.request import Settings

SUGGEST = (
    "Measure the noise, try parameters on pieces of the image, and fill in those that fit best."
)
SCHEME_NAMES = ["auto", *(scheme.name for scheme in SCHEMES)]


class Form(Container):  # type: ignore[type-arg]
    """The controls of one widget.

    Parameters
    ----------
    viewer
        The viewer whose layers are on offer.
    isotropic
        Which models to list.

    Attributes
    ----------
    layer_changed, settings_changed
        As `Context` has them.
    layout_changed
        Controls came or went.
    revision
        How often image or labels were changed in place, as by painting.
    """

    layer_changed = Signal()
    settings_changed = Signal()
    layout_changed = Signal()

    def __init__(self, viewer: Any, isotropic: bool) -> None:
        self._viewer = viewer
        self._isotropic = isotropic
        self._unit = PIXEL
        self._filling = self._other_layer = self._colours = False
        self._watched: Any = None
        self._within: Any = None
        self._views: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self.revision = 0
        self._controls: dict[type[Model], ModelControls] = {}
        self._make_first()
        self._make_options()
        super().__init__(widgets=self._first)
        self.margins = (0, 0, 0, 0)
        # Several controls change at once, and together they make sense: it is told once, after the last.
        self._soon = QTimer(self.native)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._tell)
        self._connect()
        self._set_unit(PIXEL)
        self._show_model()
        self._follow()
        self._show_layer()

    def _make_first(self) -> None:
        models = [
            (model.title, model) for model in all_models() if model.isotropic is self._isotropic
        ]
        self.layer = ComboBox(
            choices=self._layers_of(Image), tooltip="Image to filter; follows the selected layer."
        )
        # A container of its own: magicgui looks at everything beside a widget that changes, and a layer is heavy to look at.
        layer_box = Container(
            widgets=[self.layer], labels=False, label="Layer", tooltip=self.layer.tooltip
        )
        layer_box.margins = (0, 0, 0, 0)
        self.model = ComboBox(choices=models, label="Model", visible=len(models) > 1)
        self.table = AxesTable()
        tip = (
            "How far to diffuse."
            if self._isotropic
            else "How far to diffuse; where an edge holds it back, less is smoothed."
        )
        self.amount = SmoothingAmount(tip)
        self.suggest = PushButton(text="Suggest")
        self._suggest_row = Container(widgets=[self.suggest], labels=False, label=" ")
        self._suggest_row.margins = (0, 0, 0, 0)
        self.report = wrapping_label()
        self.reasons = Foldable(
            "Why these values",
            [self.report],
            tooltip="What Suggest has measured and chosen, and why.",
        )
        self.reasons.visible = False
        for box in (self.layer, self.model):
            keep_narrow(box)
        self._first: list[Widget] = [
            layer_box,
            self.model,
            self.table,
            self.amount,
            self._suggest_row,
        ]

    def _make_options(self) -> None:
        tip = "Unit of the voxel size and of every length here."
        self.unit = ComboBox(
            choices=self._unit_choices, value=PIXEL, label="Length unit", tooltip=tip
        )
        tip = "Smooth inside each label on its own and leave label 0 as it is."
        self.regions = ComboBox(
            choices=self._layers_of(Labels), nullable=True, label="Within labels", tooltip=tip
        )
        self.regions.null_string = "everywhere"
        tip = "What to do about NaN and infinite values."
        self.nan = ComboBox(
            choices=[("stop with a message", "raise"), ("leave, smooth around", "mask")],
            label="NaN",
            tooltip=tip,
        )
        tip = "Round the result to the integer type of the image; otherwise it is float32, in the same intensity unit."
        self.preserve = CheckBox(text="Keep integer type", tooltip=tip)
        preserve = Container(widgets=[self.preserve], labels=False, label=" ")
        preserve.margins = (0, 0, 0, 0)
        tip = "How to step through diffusion time; auto takes the fastest that is exact enough."
        self._scheme: str | Scheme = "auto"  # of a recipe, perhaps with numbers of its own
        self.scheme = ComboBox(choices=self._schemes, label="Scheme", tooltip=tip)
        tip = "Error in time to aim at, as a share of the intensity range."
        self.tolerance = QuantityBox(1e-3, label="Tolerance", tooltip=tip, arrows=False)
        self.strict = CheckBox(
            text="Never leave the range",
            tooltip="Guarantee that no value leaves the range of the image, at some cost.",
        )
        strict = Container(widgets=[self.strict], labels=False, label=" ")
        strict.margins = (0, 0, 0, 0)
        counts = [("as in preferences", 0), *((str(n), n) for n in range(1, cpu_count() + 1))]
        self.threads = ComboBox(
            choices=counts,
            label="Threads",
            tooltip="How many to use. The result does not depend on it.",
        )
        for box in (self.regions, self.nan, self.scheme, self.threads):
            keep_narrow(box)
        options = [
            self.unit,
            self.regions,
            self.nan,
            preserve,
            self.scheme,
            self.tolerance,
            strict,
            self.threads,
        ]
        self.more = Foldable(
            "More options", options, labels=True, tooltip="Everything else that can be set."
        )

    def _connect(self) -> None:
        self.layer.changed.connect(self._show_layer)
        self.model.changed.connect(self._show_model)
        self.unit.changed.connect(self._unit_picked)
        self.changed.connect(self._changed)
        self.more.changed.connect(self._changed)
        self.more.folded.connect(self.layout_changed)
        self.table.take.changed.connect(self._take)
        self._viewer.layers.selection.events.active.connect(self._follow)

    def _changed(self, *_: Any) -> None:
        self._soon.start()

    def _tell(self) -> None:
        self._watch_labels()
        if self._other_layer:
            self._other_layer = False
            self.layer_changed.emit()
        self.settings_changed.emit()

    @property
    def pending(self) -> bool:
        """Whether a change has not been told yet."""
        return bool(self._soon.isActive())

    # ---- layer

    def _layers_of(self, kind: Any) -> Callable[[Any], list[tuple[str, Any]]]:
        return lambda _: [
            (layer.name, layer)
            for layer in self._viewer.layers
            if isinstance(layer, kind) and layer not in auxiliary_layers
        ]

    def reset_choices(self, *_: Any) -> None:
        """List the layers anew.

        magicgui finds the chosen layer again by its name, loses a renamed one, and does not tell when the last one goes.
        """
        chosen = [(box, box.value) for box in (self.layer, self.regions)]
        with self.layer.changed.blocked(), self.regions.changed.blocked():
            super().reset_choices()
            self.more.reset_choices()
            for box, layer in chosen:
                if layer is not None and layer in box.choices:
                    box.value = layer
        if self.layer.value != self._watched:
            self._show_layer()
        self._changed()

    def _follow(self) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Image) and selected_by_user() and active not in auxiliary_layers:
            # The selection changes before napari tells about the new layer.
            self.layer.reset_choices()
            self.layer.value = active

    def _show_layer(self) -> None:
        layer = self.layer.value
        self._watch(layer)
        self._keep_colours(layer)
        for widget in (self.table, self.suggest):
            widget.enabled = layer is not None
        self.suggest.tooltip = SUGGEST if layer is not None else f"Open an image first. {SUGGEST}"
        self._show_axes()

    def _keep_colours(self, layer: Any) -> None:
        """Check *Keep integer type* for colours of whole numbers: napari saves no others as a picture, and shows those above 1 as white."""
        colours = layer is not None and layer.rgb and array_of(layer).dtype.kind in "iu"
        if colours != self._colours:
            self._colours, before = colours, self._colours
            self.preserve.value = colours or (bool(self.preserve.value) and not before)

    def _corrected(self) -> None:
        self._show_axes(corrected=True)

    def _show_axes(self, corrected: bool = False) -> None:
        layer = self.layer.value
        self._other_layer = True
        self.reasons.visible = False
        if layer is not None:
            unit = self.table.show_layer(layer_axes(layer), corrected)
            told = FileAxes.of_file(layer)
            self.table.take.visible = told is not None
            if told is not None:
                self.table.take.tooltip = (
                    f"The file says: {told.describe()}. The layer will say so, too."
                )
            self.unit.reset_choices()
            self._set_unit(unit)
            if not self.amount.edited:
                sigma = starting_values.start_sigma(self.table.spacing)
                self.amount.fill(nd.time_for_sigma(sigma if self._isotropic else 2 * sigma))
            self.layout_changed.emit()
        self._changed()

    def _take(self) -> None:
        told = FileAxes.of_file(self.layer.value)
        if told is not None:
            told.apply_to(self.layer.value)

    def explain(self, report: str) -> None:
        """Show why the suggested values are what they are."""
        self.report.value = report
        self.reasons.visible = True
        self.reasons.open = True

    def _watch(self, layer: Any) -> None:
        """Follow later corrections of the layer's voxel size, units and data; those of the one before no more."""
        for watched, change in ((self._watched, "disconnect"), (layer, "connect")):
            if watched is not None:
                for name in ("scale", "units", "axis_labels", "data"):
                    getattr(watched.events[name], change)(self._corrected)
                for name in (
                    "translate",
                    "rotate",
                    "shear",
                    "affine",
                ):  # what is shown over it moves with it
                    getattr(watched.events[name], change)(self._changed)
                getattr(watched.events.set_data, change)(self._redrawn)
        self._watched = layer

    def _watch_labels(self) -> None:
        """Follow painting in the labels to smooth within."""
        labels = self.regions.value
        for watched, change in (
            ((self._within, "disconnect"), (labels, "connect"))
            if labels is not self._within
            else ()
        ):
            if watched is not None:
                getattr(watched.events.set_data, change)(self._redrawn)
                getattr(watched.events.labels_update, change)(self._painted)
        self._within = labels

    def _painted(self) -> None:
        self.revision += 1
        self._changed()

    def _redrawn(self, event: Any) -> None:
        """See values that were changed in place: the layer is drawn again, and neither the sliders nor a level of it say why."""
        layer, dims = event.source, self._viewer.dims
        view = tuple(dims.point), dims.order, dims.ndisplay
        if self._views.get(layer) == view and not layer.multiscale:
            self._painted()
        self._views[layer] = view

    # ---- model, unit

    @property
    def controls(self) -> ModelControls:
        """The parameter controls of the chosen model."""
        return self._controls[self.model.value]

    def _show_model(self) -> None:
        model = self.model.value
        if model not in self._controls:
            controls = self._controls[model] = ModelControls(model)
            controls.set_unit(self._unit)
            for control in controls.first:
                self.insert(self.index(self.amount), control)
            for control in controls.more:
                self.more.body.insert(self.more.body.index(self.unit), control)
        self.model.tooltip = model.summary
        self._suggest_row.visible = self.controls.depends_on_data
        for each, controls in self._controls.items():
            for control in (*controls.first, *controls.more):
                control.visible = each is model
        self.layout_changed.emit()

    def _schemes(self, _: Any) -> list[tuple[str, str | Scheme]]:
        own = [(str(self._scheme), self._scheme)] if isinstance(self._scheme, Scheme) else []
        return [*((name, name) for name in SCHEME_NAMES), *own]

    def _unit_choices(self, _: Any) -> list[str]:
        return list(dict.fromkeys([self.table.unit or PIXEL, PIXEL, *LENGTHS]))

    def _unit_picked(self, unit: str) -> None:
        if not self._filling and unit and unit != self._unit:
            self.table.set_unit(unit, length_conversion(self._unit, unit) or 1.0)
            self._set_unit(unit)

    def _set_unit(self, unit: str) -> None:
        """Show everything in ``unit`` and convert what is there; from and to pixel there is nothing to convert by."""
        factor = length_conversion(self._unit, unit) or 1.0
        self._filling = True
        try:
            self._unit = self.unit.value = unit
        finally:
            self._filling = False
        for controls in self._controls.values():
            controls.set_unit(unit, factor)
        self.amount.set_unit(unit, factor)

    # ---- the call

    def recipe(self) -> nd.Recipe:
        """Return the settings as a recipe; without a layer it is one without axes."""
        if self.layer.value is not None:
            return self.settings().recipe()
        names = ("scheme", "tolerance", "strict", "nan")
        own = {name: getattr(self, name).value for name in names} | {
            "preserve_dtype": self.preserve.value
        }
        return nd.Recipe(
            self.controls.value(), self.amount.time, unit=recipe_unit(self._unit), **own
        )

    def load(self, recipe: nd.Recipe) -> list[str]:
        """Show the settings of a recipe, its lengths in the unit of the layer; the voxel size stays that of the layer.

        Returns
        -------
        list of str
            What of the recipe cannot be had here, in sentences: its axes, where it cannot be told which they are (those of before stay
            checked), labels that are not here, channels that are coupled in no layer without colours.

        Raises
        ------
        ValueError
            When the model belongs to the other widget, the recipe is in pixel and the layer in a unit of length, or the reverse, or
            a number is too large or small for the controls; nothing is changed then.
        """
        kind = type(recipe.model)
        if kind not in self.model.choices:
            other = "Isotropic" if kind.isotropic else "Anisotropic"
            raise ValueError(
                f"{kind.title} is a model of the widget {other} diffusion; load the recipe there."
            )
        pixel = PIXEL in (recipe.unit, self._unit)
        recipe = recipe.in_unit(self._unit if pixel else recipe_unit(self._unit))
        numbers = [getattr(recipe.model, p.name) for p in parameters(recipe.model)] + [
            recipe.time,
            recipe.tolerance,
        ]
        for number in numbers:
            if (
                isinstance(number, int | float)
                and number
                and not SMALLEST <= abs(number) <= (MOST if isinstance(number, int) else LARGEST)
            ):
                raise ValueError(
                    f"The recipe says {number:.3g}, which is too {'large' if abs(number) > 1 else 'small'} to be shown."
                )
        self._scheme = recipe.scheme
        self.scheme.reset_choices()
        lacks = (
            []
            if self.table.check(recipe)
            else ["Which axes it means cannot be told here: see to those above."]
        )
        within = {layer.name: layer for layer in self.regions.choices if layer is not None}.get(
            recipe.labels
        )
        if recipe.labels is not None and within is None:
            lacks.append(
                f"It smooths within the labels {recipe.labels}, and no layer here is called so."
            )
        if recipe.channel_axis is not None and not getattr(self.layer.value, "rgb", False):
            lacks.append(
                "It couples channels; those of this layer, if it has any, are smoothed one by one."
            )
        self.model.value = kind
        self.controls.set_by_user(recipe.model)
        self.amount.fill(recipe.time)
        self.amount.edited = True
        for control, value in (
            (self.scheme, recipe.scheme),
            (self.tolerance, recipe.tolerance),
            (self.strict, recipe.strict),
            (self.nan, recipe.nan),
            (self.preserve, recipe.preserve_dtype),
            (self.regions, within),
        ):
            control.value = value
        self._changed()
        return lacks

    def settings(self) -> Settings:
        """Return what is on screen as one call of the library.

        Raises
        ------
        ValueError
            When it is none; the sentence says what is missing.
        """
        layer = self.layer.value
        if layer is None:
            raise ValueError("Open an image and choose its layer first.")
        if not self.table.axes:
            raise ValueError("Check at least one axis to smooth along.")
        labels = self.regions.value
        keywords = {
            "time": self.amount.time,
            "spacing": self.table.spacing,
            "axes": self.table.axes,
            "channel_axis": channel_axis_of(layer),
            "labels": None if labels is None else array_of(labels),
            "nan": self.nan.value,
            "scheme": self.scheme.value,
            "tolerance": self.tolerance.value,
            "strict": self.strict.value,
            "preserve_dtype": self.preserve.value,
            "threads": self.threads.value or Preferences.read().threads,
        }
        return Settings(
            array_of(layer),
            self.controls.value(),
            keywords,
            self._unit,
            self.table.names,
            getattr(labels, "name", None),
        )
