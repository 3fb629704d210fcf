"""Measures the chosen image and shows what it finds: starting values, then two suggestions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_diffusion.core.units import factor
from napari_diffusion.models import Model, PeronaMalik, parameters
from napari_diffusion.ui.context import Context
from napari_diffusion.ui.form.form import Form
from napari_diffusion.ui.layers.axes import PIXEL, length_conversion
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.run.measurement import Measurement
from napari_diffusion.ui.run.messages import screen_message
from napari_diffusion.ui.run.panel import RunPanel
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.run.status import StatusKind
from napari_diffusion.ui.values.layer_values import (
    Measured,
    ModelValues,
    composed,
    in_unit,
    weak_reference,
)
from napari_diffusion.ui.values.words import NO_IMAGE

if TYPE_CHECKING:
    from napari_diffusion.estimation.noise.kinds import Noise
    from napari_diffusion.estimation.suggestion import Suggestion

#: Status while the user waits for values that were asked for.
TRYING = "Trying parameters on pieces of the image…"
#: Digits of a voxel size that count: the same size in two units differs by rounding.
SIZE_DIGITS = 9
NOT_MEASURED = "The noise of this image could not be measured: {}"
GAUSSIAN_SUFFICES = "A Gaussian filter would do as well for this image."


def basis_of(settings: Settings, model: Model | None) -> tuple[Any, ...]:
    """Return what a suggestion depends on besides the array, in no particular unit of length.

    Parameters
    ----------
    settings
        Image and axes.
    model
        Model whose other parameters are fixed; ``None`` where the suggestion chooses the model.
    """
    from napari_diffusion.estimation.search import ESTIMATORS

    geometry, recipe = settings.geometry, settings.recipe
    unit = settings.unit
    scale = 1.0 if unit == PIXEL else factor(unit, "µm")
    sizes = [float(f"{size * scale:.{SIZE_DIGITS}g}") for size in recipe.spacing or ()]
    fixed: tuple[Any, ...] = ("auto",)
    if model is not None:
        fixed = (
            type(model),
            *(
                getattr(model, p.name)
                for p in parameters(model)
                if p.suggest not in ESTIMATORS and not p.is_map
            ),
        )
    place = geometry.axes, geometry.channel_axis, geometry.channel_weights, settings.time_axes
    noise_region = None if settings.noise_mask is None else settings.noise_mask.key
    intensities = recipe.impulses, *recipe.transform_options.values()
    guide = () if settings.guide_key is None else (settings.guide_key, recipe.guide_weight)
    length, time = recipe.fidelity_length, recipe.steady_time
    held = () if length is None else (length * scale, time is None or time * scale**2)
    return unit == PIXEL, *sizes, *place, *intensities, noise_region, guide, held, *fixed


def _converted(suggestion: Suggestion, old: str, new: str) -> Suggestion:
    return suggestion if old == new else in_unit(suggestion, new, length_conversion(old, new))


class SuggestionController:
    """Keeps the suggestion on screen that of the chosen layer and model.

    A measurement ends when layer, axes or model change, and when the widget is closed. A run that
    waits for it keeps it.

    Parameters
    ----------
    context
        Context of the widget.
    form
        Form with the values.
    panel
        Panel whose status line tells about suggestions that were asked for.
    """

    def __init__(self, context: Context, form: Form, panel: RunPanel) -> None:
        self._context, self._form, self._panel = context, form, panel
        self._measurement: Measurement | None = None
        self._basis: tuple[Any, ...] = ()
        self._data: Callable[[], Any] = lambda: None
        self._requested = self._left = False
        context.on_close(self.leave)
        form.values.changed.connect(self._values_changed)

    def fail(self, error: Exception) -> None:
        """Show an error below Run."""
        self._panel.fail(error)

    @property
    def under_way(self) -> Measurement | None:
        """The measurement for which a run has to wait, or ``None``."""
        measurement = self._measurement
        return measurement if measurement is not None and measurement.under_way else None

    def noise_of(self, settings: Settings) -> Noise | None:
        """Return the noise of the image if these settings were measured thoroughly."""
        measured = self._form.values.model_values.measured
        basis = basis_of(settings, self._model(settings))
        if measured is None or not measured.thorough:
            return None
        is_same = measured.holds_for(self._form.layer.value.data, basis)
        return measured.suggestion.noise if is_same else None

    def values_of(self, unit: str) -> Callable[[Suggestion], tuple[Model, float]]:
        """Return a function for model and time of a run that waits for the suggestion.

        Values that the user has set now, and the strength, are those of the run.

        Parameters
        ----------
        unit
            Symbol of the unit of length of the run.
        """
        assert self._measurement is not None
        shown, model = self._form.values.model_values, self._form.model.value
        values = ModelValues(dict(shown.own), shown.strength)
        if self._requested:  # suggested values replace those of the user
            values = ModelValues()
        measured_in = self._measurement.settings.unit

        def compose(suggestion: Suggestion) -> tuple[Model, float]:
            own = values if type(suggestion.model) is model else ModelValues()
            return composed(_converted(suggestion, measured_in, unit), own)

        return compose

    @slot
    def leave(self) -> None:
        """End the measurement, and start none any more: the widget was taken off the screen."""
        self._left = True
        if self._measurement is not None:
            self._measurement.drop()
            self._measurement = None

    @slot
    def come_back(self) -> None:
        """Measure again: the widget is on a dock again."""
        self._left = False
        self.update()

    def _leave(self) -> None:
        if self._measurement is not None:
            self._measurement.leave()
            self._measurement = None
        self._requested = False
        self._panel.clear(StatusKind.SUGGESTING, StatusKind.SUGGESTED)

    @slot
    def _values_changed(self) -> None:
        """Do not call values suggested any longer that the user has changed."""
        values = self._form.values
        if values.own_names or values.model_values.strength != 0:
            self._panel.clear(StatusKind.SUGGESTED)

    @slot
    def update(self) -> None:
        """Measure the image unless its suggestion is known or under way.

        Call it when a layer was chosen, and after a pause in other changes.
        """
        if self._left:
            return
        values = self._form.values
        try:
            settings = self._context.settings()
        except (TypeError, ValueError):
            self._leave()
            values.show(None, False, self._reason())
            return
        basis = basis_of(settings, self._model(settings))
        data = self._form.layer.value.data
        measured = values.model_values.measured
        if measured is not None and not measured.holds_for(data, basis):
            measured = None
        if self._measurement is not None and self._basis == basis and self._data() is data:
            return  # under way, or failed
        self._leave()
        if self._form.isotropic or (measured is not None and measured.thorough):
            values.show(measured, False)
            return
        self._start(settings, basis, measured)

    def _reason(self) -> str:
        """Return why there is no suggestion for these settings, unless Run says it."""
        return NO_IMAGE if self._form.layer.value is None else ""

    def _model(self, settings: Settings) -> Model | None:
        """Return the model to measure; ``None`` where the suggestion chooses it."""
        return None if self._form.automatic else settings.model

    @slot
    def request(self) -> None:
        """Measure the image again, and replace what the user has set, because the user asks."""
        try:
            settings = self._context.settings()
        except (TypeError, ValueError) as error:
            self._panel.fail(error)
            return
        self._leave()
        self._panel.say(TRYING, StatusKind.SUGGESTING)
        self._requested = True
        basis = basis_of(settings, self._model(settings))
        self._start(settings, basis, None, quick=False)

    def _start(
        self,
        settings: Settings,
        basis: tuple[Any, ...],
        measured: Measured | None,
        quick: bool = True,
    ) -> None:
        model: Model | str = settings.model
        if self._form.automatic:
            model, quick = "auto", False  # the quick choice of a model would often be another one
        quick = quick and settings.noise_mask is None  # the middle of the image may not contain it
        # An index of multiscale data may return another object at each time, the data do not.
        self._basis, self._data = basis, weak_reference(self._form.layer.value.data)
        target = self._form.noise_reduction if self._form.isotropic else None
        self._measurement = Measurement(settings, model, self._measured, target)
        self._form.values.show(measured, True)
        self._measurement.start(quick=quick and measured is None)

    def _measured(self, measurement: Measurement) -> None:
        """Show the state of the measurement."""
        suggestion, values = measurement.suggestion, self._form.values
        if suggestion is not None and type(suggestion.model) not in self._form.model.choices:
            self._without_model(measurement)
            return
        if suggestion is not None:
            if measurement.is_automatic:
                self._form.choose_automatically(type(suggestion.model))
            suggestion = _converted(suggestion, measurement.settings.unit, self._context.unit)
            measured = Measured(suggestion, self._basis, self._data, measurement.thorough)
            values.show(measured, False)
            if self._requested:
                values.reset_all()
        elif not measurement.under_way:
            self._fail(measurement.error)
            return
        elif measurement.settings.unit == self._context.unit:
            values.begin_with(measurement.starting_model)
        if not measurement.under_way:
            self._panel.clear(StatusKind.SUGGESTING)
            if self._requested:
                self._requested = False
                self._form.reasons.open = True
                self._panel.say("Values suggested.", StatusKind.SUGGESTED)

    def _without_model(self, measurement: Measurement) -> None:
        """Choose the first model where the automatic choice belongs to the other widget."""
        settings = measurement.settings
        recipe = dataclasses.replace(settings.recipe, model=PeronaMalik())
        self._form.choose_automatically(PeronaMalik)
        self._panel.say(GAUSSIAN_SUFFICES)
        self._measurement = Measurement(
            dataclasses.replace(settings, recipe=recipe), recipe.model, self._measured
        )
        self._measurement.start(quick=False)

    def _fail(self, error: Exception | None) -> None:
        """Say why there is no suggestion; the defaults remain."""
        text = "" if error is None else NOT_MEASURED.format(screen_message(error))
        self._form.values.show(None, False, text)
        requested, self._requested = self._requested, False
        self._panel.clear(StatusKind.SUGGESTING)
        if requested and error is not None:
            self._panel.fail(error)
