"""Form of a widget: the controls that define one call of the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from napari.layers import Image
from psygnal import Signal

import napari_diffusion as nd
from napari_diffusion.core import units
from napari_diffusion.engine.execution import Execution
from napari_diffusion.models import Model
from napari_diffusion.ui.form.chosen_layers import LayerWatcher
from napari_diffusion.ui.form.form_controls import FormControls
from napari_diffusion.ui.form.header import ANISOTROPIC, ISOTROPIC
from napari_diffusion.ui.form.model_controls import ModelControls
from napari_diffusion.ui.form.recipe_checks import check_range, shortcomings
from napari_diffusion.ui.form.shown_values import ShownValues
from napari_diffusion.ui.form.smoothing_amount import start_sigma
from napari_diffusion.ui.layers.axes import (
    PIXEL,
    channel_axis_of,
    dtype_of,
    layer_axes,
    length_conversion,
    shape_of,
)
from napari_diffusion.ui.layers.file_metadata import FileAxes, FileWords
from napari_diffusion.ui.layers.new_layers import auxiliary_layers, selected_by_user
from napari_diffusion.ui.qt.layout import put_label_above
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.timers import single_shot
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.structures.table import AUTOMATIC, Structure

#: What *Suggest* does.
SUGGEST = "Measure the noise, try values on pieces of the image, and fill in the best."


class Form(FormControls):
    """The controls of one widget, and what they do.

    Parameters
    ----------
    viewer, isotropic, fail
        As for `FormControls`.

    Attributes
    ----------
    layer_changed, settings_changed
        Signals, as in `Context`.
    layout_changed
        Signal: controls were added, removed, shown or hidden.
    values
        Which layer the values on screen belong to, and where each of them comes from.
    """

    layer_changed = Signal()
    settings_changed = Signal()
    layout_changed = Signal()

    def __init__(self, viewer: Any, isotropic: bool, fail: Callable[[Exception], None]) -> None:
        super().__init__(viewer, isotropic, fail)
        self._unit = PIXEL
        self._filling = False
        self._layer_change_due = False
        self._integer_colours = self._choosing_automatically = False
        self._watcher, self._guide_watcher = (LayerWatcher(viewer, fail) for _ in range(2))
        self._controls: dict[type[Model], ModelControls] = {}
        self._end_of_parameters = 0
        self.values = ShownValues(isotropic, self.amount, self.strength, fail)
        # Several controls may change at once, and only their final state is valid: signals are
        # emitted once, after the last change.
        self._emission = single_shot(self.native, 0, self._emit_changes)
        self._connect()
        self._set_unit(PIXEL)
        self._show_model()
        self._selection_changed()
        if not self._layer_change_due:  # no layer was selected
            self._show_layer()

    def _connect(self) -> None:
        self.layer.changed.connect(self._show_layer)
        self.model.changed.connect(self._show_model)
        self.unit.changed.connect(self._unit_chosen)
        rows = (self.value_rows, self.model_row, self.option_rows, self.region, self.noise_place)
        for container in (self, *rows):
            container.changed.connect(self._changed)
        self.table.toggled.connect(self.layout_changed)
        if self.structure is not None:
            self.structure.chosen.connect(self._structure_chosen)
        self.table.use_file_axes.changed.connect(self._use_file_axes)
        self.table.changed.connect(self._axes_changed)
        self.values.changed.connect(self._values_changed)
        self._watcher.corrected.connect(self._layer_corrected)
        for watcher in (self._watcher, self._guide_watcher):
            watcher.changed.connect(self._changed)
        self._viewer.layers.selection.events.active.connect(self._selection_changed)

    @slot
    def _changed(self, *_: Any) -> None:
        self._emission.start()

    @slot
    def _emit_changes(self) -> None:
        self._watcher.watch_labels(self.regions.value)
        self._guide_watcher.watch_labels(self.guide.value)
        self.table.describe()
        if self._layer_change_due:
            self._layer_change_due = False
            self.layer_changed.emit()
        self.settings_changed.emit()

    @property
    def pending(self) -> bool:
        """Whether a change has not been emitted yet."""
        return bool(self._emission.isActive())

    @property
    def revision(self) -> int:
        """Number of times that image, labels or guide were changed in place, as by painting."""
        return self._watcher.revision + self._guide_watcher.revision

    # ---- layer

    @slot
    def reset_choices(self, *_: Any) -> None:
        """Update the lists of layers; magicgui emits nothing when the last layer is removed."""
        super().reset_choices()
        self.value_rows.reset_choices()
        self.option_rows.reset_choices()
        self.region.reset_choices()
        self.noise_place.reset_choices()
        self._follow_layer()
        self._changed()

    def _follow_layer(self) -> None:
        """Show the chosen layer if a change of the list has replaced it."""
        if self.layer.value != self._watcher.image:
            self._show_layer()

    @slot
    def _selection_changed(self) -> None:
        """Choose the layer that the user has selected in the viewer."""
        active = self._viewer.layers.selection.active
        if isinstance(active, Image) and selected_by_user() and active not in auxiliary_layers:
            # The selection of a new layer changes before napari emits its insertion.
            self.layer.reset_choices()
            self.layer.value = active
            self._follow_layer()

    @slot
    def _show_layer(self) -> None:
        layer = self.layer.value
        self._watcher.watch_image(layer)
        self._keep_integer_colours(layer)
        self.table.visible = self.suggest.enabled = layer is not None
        self.suggest.tooltip = SUGGEST if layer is not None else f"Open an image first. {SUGGEST}"
        self._show_axes()

    def _keep_integer_colours(self, layer: Any) -> None:
        """Check *Output data type same as input* for colours of an integer type.

        napari saves only such colours as a picture, and shows floats above 1 as white.
        """
        before = self._integer_colours
        colours = layer is not None and layer.rgb and dtype_of(layer).kind in "iu"
        if colours != before:
            self._integer_colours = colours
            control = self.run_options["preserve_dtype"]
            control.value = colours or (bool(control.value) and not before)

    @slot
    def make_options(self) -> None:
        """Make the controls of the options, before their drawer is opened for the first time."""
        self.run_options.make()
        self.run_options["transform"].changed.connect(self._transform_chosen)

    @slot
    def _transform_chosen(self, transform: str) -> None:
        """Show the measured gain, offset and read noise, if the image shows photon noise."""
        measured = self.values.model_values.measured
        if transform == "none" or measured is None:
            return
        from napari_diffusion.estimation.measurement.photons import photon_values

        for name, value in photon_values(measured.suggestion.noise).items():
            self.run_options[name].value = float(f"{value:.3g}")

    @slot
    def _layer_corrected(self) -> None:
        self._show_axes(corrected=True)

    def _show_axes(self, corrected: bool = False) -> None:
        layer = self.layer.value
        self._layer_change_due = True
        if layer is None:
            self.values.choose_layer(None, self._unit)
            self.values.choose_model(self.controls)
        else:
            colours = shape_of(layer)[-1] if layer.rgb else 0
            unit = self.table.show_layer(layer_axes(layer), corrected, colours)
            self.table.show_file(FileWords.of_file(layer))
            file_axes = FileAxes.of_file(layer)
            self.table.use_file_axes.visible = file_axes is not None
            if file_axes is not None:
                self.table.use_file_axes.tooltip = (
                    f"The file says: {file_axes.describe()}. The layer will say so, too."
                )
            self.unit.reset_choices()
            self._set_unit(unit)
            self._show_values(layer)
            self.layout_changed.emit()
        self._changed()

    def _show_values(self, layer: Any) -> None:
        """Show axes, model and values that belong to a layer."""
        sigma = start_sigma(self.table.spacing)
        self.values.default_time = nd.time_for_sigma(sigma if self._isotropic else 2 * sigma)
        own = self.values.choose_layer(layer, self._unit)
        self.table.apply(own.axes, own.sizes)
        if own.automatic and self.structure is not None:
            self.structure.value = AUTOMATIC
        if own.model is not None and own.model in self.model.choices:
            if own.automatic:
                self.choose_automatically(own.model)
            else:
                self.model.value = own.model
        self.values.choose_model(self.controls)
        own.automatic = self.automatic

    @slot
    def _axes_changed(self) -> None:
        own = self.values.layer_values
        own.axes, own.sizes = self.table.changes()

    @slot
    def _values_changed(self) -> None:
        suggestion, own = self.values.suggestion, self.values.own_names
        self.reasons.show_suggestion(suggestion, own, self._unit)
        if self.effect is not None:
            self.effect.value = "" if suggestion is None or own else suggestion.effect

    @slot
    def _use_file_axes(self) -> None:
        file_axes = FileAxes.of_file(self.layer.value)
        if file_axes is not None:
            file_axes.apply_to(self.layer.value)

    # ---- model, unit

    @property
    def controls(self) -> ModelControls:
        """The parameter controls of the chosen model."""
        return self._controls[self.model.value]

    @slot
    def _show_model(self) -> None:
        chosen = self.model.value
        if chosen not in self._controls:
            self._add_controls(chosen)
        self.model.tooltip = chosen.summary
        for model, controls in self._controls.items():
            controls.show(model is chosen)
        if self.structure is not None and not self._choosing_automatically:
            self.structure.show_model(chosen)
        self.values.choose_model(self.controls)
        self.values.layer_values.automatic = self.automatic
        self.layout_changed.emit()

    @slot
    def _structure_chosen(self, structure: Structure) -> None:
        """Choose the model for a structure; the image decides where there is none."""
        if structure.model is not None:
            self.model.value = structure.model
        self.values.layer_values.automatic = self.automatic
        self._changed()

    @property
    def automatic(self) -> bool:
        """Whether the image decides about the model."""
        return self.structure is not None and self.structure.value.model is None

    def choose_automatically(self, model: type[Model]) -> None:
        """Choose a model that `suggest` has chosen; the structure on screen stays as it is."""
        self._choosing_automatically = True
        try:
            self.model.value = model
        finally:
            self._choosing_automatically = False

    def _add_controls(self, model: type[Model]) -> None:
        controls = self._controls[model] = ModelControls(model)
        controls.set_unit(self._unit)
        for row in (*controls.rows.values(), *controls.buttons):
            self.value_rows.insert(self._end_of_parameters, row)
            self._end_of_parameters += 1
        for row in controls.rows.values():
            put_label_above(row, row.line.mark, row.line.arrow)

    @slot
    def _unit_chosen(self, unit: str) -> None:
        if not self._filling and unit and unit != self._unit:
            self.table.set_unit(unit, length_conversion(self._unit, unit))
            self._set_unit(unit)
            self.values.choose_model(self.controls)

    def _set_unit(self, unit: str) -> None:
        """Show and convert all values in ``unit``; from and to pixel, numbers stay the same."""
        factor = length_conversion(self._unit, unit)
        self._filling = True
        try:
            self._unit = self.unit.value = unit
        finally:
            self._filling = False
        for controls in self._controls.values():
            controls.set_unit(unit, factor)
        self.run_options.set_unit(unit, factor)
        self.amount.set_unit(unit, factor)
        self.values.set_unit(self.layer.value, unit, factor)

    # ---- recipe, settings

    def recipe(self) -> nd.Recipe:
        """Return the settings as a recipe; without a layer, it has no axes."""
        if self.layer.value is not None:
            return self.settings().recipe
        return nd.Recipe(
            self.controls.value(),
            self.run_options.time(self.amount.time),
            unit=units.canonical(self._unit),
            **self.run_options.recipe_options(),
        )

    def execution(self) -> Execution:
        """Return how a run is computed."""
        return self.run_options.execution()

    def load(self, recipe: nd.Recipe) -> list[str]:
        """Show the settings of a recipe in the unit of the layer; the voxel size stays the same.

        Returns
        -------
        list of str
            One sentence for each part of the recipe that cannot be used with the chosen layer:
            axes that cannot be identified, labels or a guide that are not in the viewer, channels
            to couple in a layer without colours. Without identified axes, the checked axes stay
            the same.

        Raises
        ------
        ValueError
            When the model belongs to the other widget, only one of recipe and layer is in pixel,
            or a number is out of the range of the controls. Nothing is changed then.
        """
        model = type(recipe.model)
        if model not in self.model.choices:
            other = ISOTROPIC if model.isotropic else ANISOTROPIC
            raise ValueError(
                f"{model.title} is a model of the widget {other.title}; load the recipe there."
            )
        recipe = recipe.in_unit(units.canonical(self._unit))
        check_range(recipe)
        axes_identified = self.table.check_axes_of(recipe)
        named = {layer.name: layer for layer in self.regions.choices if layer is not None}
        labels = named.get(recipe.labels)
        images = {layer.name: layer for layer in self.guide.choices if layer is not None}
        guide = images.get(recipe.guide)
        sentences = shortcomings(recipe, self.layer.value, labels, guide, axes_identified)
        self.model.value = model
        self.values.set_by_user(recipe.model, recipe.time)
        self.run_options.show(recipe)
        self.regions.value = labels
        self.guide.value = guide
        self._changed()
        return sentences

    def settings(self) -> Settings:
        """Return the settings as one call of the library.

        Raises
        ------
        ValueError
            When no layer is chosen, no axis is checked, or labels or guide are not on the voxels of
            the layer.
        """
        layer = self.layer.value
        if layer is None:
            raise ValueError("Open an image and choose its layer first.")
        if not self.table.axes:
            raise ValueError("Check at least one axis to smooth along.")
        labels, guide = self.regions.value, self.guide.value
        recipe = nd.Recipe(
            self.controls.value(),
            self.run_options.time(self.amount.time),
            unit=units.canonical(self._unit),
            spacing=self.table.spacing,
            axes=self.table.axes,
            channel_axis=channel_axis_of(layer),
            axis_names=self.table.names,
            labels=getattr(labels, "name", None),
            guide=getattr(guide, "name", None),
            **self.run_options.recipe_options(),
        )
        settings = Settings.of_recipe(layer, recipe, self.execution(), labels, guide)
        noise_mask = self.noise_place.noise_mask(layer, self.table.axes)
        return replace(settings, region=self.region.region(layer), noise_mask=noise_mask)
