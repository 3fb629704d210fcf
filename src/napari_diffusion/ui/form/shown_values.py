"""The values on screen: which layer they belong to, and where each of them comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_diffusion.models import Model
from napari_diffusion.ui.form.model_controls import ModelControls
from napari_diffusion.ui.form.smoothing_amount import SmoothingAmount
from napari_diffusion.ui.layers.axes import PIXEL
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.values.layer_values import (
    TIME,
    LayerValues,
    Measured,
    ModelValues,
    memory,
    with_strength,
)
from napari_diffusion.ui.values.strength import StrengthControl
from napari_diffusion.ui.values.value_state import state_of
from napari_diffusion.ui.values.words import NO_IMAGE, TIME_NAME, strength_text

if TYPE_CHECKING:
    from napari_diffusion.estimation.suggestion import Suggestion


class ShownValues:
    """Fills the controls from a layer's values and suggestion, and records what the user sets.

    Parameters
    ----------
    isotropic
        Which of the two widgets.
    amount
        Control of the diffusion time.
    strength
        Control of the strength; ``None`` without one.
    fail
        Shows an error.

    Attributes
    ----------
    changed
        Signal: suggestion, states or strength may have changed.
    default_time
        Diffusion time without a suggestion [unit²].
    layer_values
        Values of the chosen layer; those without a layer go to the first one that is chosen.
    """

    changed = Signal()

    def __init__(
        self,
        isotropic: bool,
        amount: SmoothingAmount,
        strength: StrengthControl | None,
        fail: Callable[[Exception], None],
    ) -> None:
        self.fail = fail
        self._isotropic = isotropic
        self._amount, self._strength = amount, strength
        self._controls: ModelControls | None = None
        self._layer: Any = None
        self._measuring, self._reason = False, ""
        self._starting_model: Model | None = None
        self.layer_values = LayerValues(PIXEL)
        self.default_time = 0.5
        amount.edited_by_user.connect(self._time_edited)
        amount.line.reset.connect(self._time_reset)
        if strength is not None:
            strength.moved.connect(self._strength_moved)
            strength.reset.connect(self.reset_all)

    # ---- what is shown

    @property
    def model_values(self) -> ModelValues:
        """Values of the chosen model for the chosen layer."""
        assert self._controls is not None
        return self.layer_values.of(self._controls.model)

    @property
    def suggestion(self) -> Suggestion | None:
        """The suggestion at the chosen strength, or ``None``."""
        values = self.model_values
        if values.measured is None:
            return None
        return with_strength(values.measured.suggestion, values.strength)

    @property
    def measuring(self) -> bool:
        """Whether the values are not known yet, because the image is being measured."""
        return self._measuring

    @property
    def own_names(self) -> list[str]:
        """Names on screen of the values that the user has set in the place of a suggestion."""
        assert self._controls is not None
        own = self.model_values.own
        names = [self._controls.label(name) for name in self._controls.measurable if name in own]
        return [*names, TIME_NAME] if TIME in own else names

    # ---- layer, model, unit

    def choose_layer(self, layer: Any, unit: str) -> LayerValues:
        """Take the values of a layer, or those for no layer, and return them."""
        if layer is self._layer and layer is not None:
            return self.layer_values
        before = self.layer_values
        if layer is None:
            self.layer_values = LayerValues(unit)
        else:
            self.layer_values = memory.of(layer, self._isotropic, unit)
            if self._layer is None:
                self.layer_values.adopt(before)
        self._layer, self._starting_model = layer, None
        return self.layer_values

    def choose_model(self, controls: ModelControls) -> None:
        """Show the values of a model for the chosen layer."""
        if self._controls is not controls:
            if self._controls is not None:
                self._controls.edited_by_user.disconnect(self._edited)
                self._controls.reset.disconnect(self._reset)
            controls.edited_by_user.connect(self._edited)
            controls.reset.connect(self._reset)
        self._controls = controls
        self.layer_values.model = controls.model
        values = self.model_values
        own = {name: value for name, value in values.own.items() if name != TIME}
        controls.restore(own)
        self._amount.edited = TIME in values.own
        # Until it is known what the image says, no default is shown as if it were its value.
        is_measured = self._strength is not None and self._layer is not None
        self._measuring = is_measured and values.measured is None
        self._reason = "" if is_measured else NO_IMAGE
        self._fill(centre=True)

    def set_unit(self, layer: Any, unit: str, factor: float) -> None:
        """Convert the values of the chosen layer; those of a layer before it keep their unit."""
        self.default_time *= factor**2
        if factor != 1.0:
            self._starting_model = None
        if layer is self._layer or self._layer is None:
            self.layer_values.convert(unit, factor)

    # ---- suggestion

    def show(self, measured: Measured | None, measuring: bool, reason: str = "") -> None:
        """Show a suggestion, or that there is none yet, or why there is none."""
        state = measured, measuring and measured is None, reason
        is_new = measured is not self.model_values.measured
        if is_new or state != (measured, self._measuring, self._reason):
            self.model_values.measured, self._measuring, self._reason = state
            self._fill(centre=is_new)

    def begin_with(self, model: Model | None) -> None:
        """Show values of a model that are better than its defaults, until there is a suggestion."""
        self._starting_model = model
        self._fill(centre=True)

    def _fill(self, centre: bool = False) -> None:
        """Show suggested values and defaults where the user has set none."""
        controls, amount, suggestion = self._controls, self._amount, self.suggestion
        assert controls is not None
        own = self.model_values.own
        starting = self._starting_model if self._measuring else None
        controls.fill(controls.with_measured(starting if suggestion is None else suggestion.model))
        if TIME in own:
            amount.fill(own[TIME])
        else:
            amount.fill(self.default_time if suggestion is None else suggestion.time)
        if centre:
            controls.centre()
            amount.centre()
        self._show_states()

    def _show_states(self) -> None:
        controls, suggestion = self._controls, self.suggestion
        assert controls is not None
        own = self.model_values.own
        is_suggested, measuring = suggestion is not None, self._measuring
        for name, row in controls.rows.items():
            measurable = name in controls.measurable
            row.show_state(state_of(name in own, measurable, measuring, is_suggested))
        self._amount.show_state(state_of(TIME in own, True, measuring, is_suggested))
        if self._strength is not None:
            automatic, is_own = self.layer_values.automatic, bool(self.own_names)
            text = strength_text(suggestion, measuring, is_own, self._reason, automatic)
            self._strength.show_strength(self.model_values.strength, text)
        self.changed.emit()

    # ---- what the user does

    @slot
    def _edited(self, name: str) -> None:
        assert self._controls is not None
        self.model_values.own[name] = self._controls.own_value(name)
        self._show_states()

    @slot
    def _time_edited(self) -> None:
        self.model_values.own[TIME] = self._amount.time
        self._show_states()

    @slot
    def _reset(self, name: str) -> None:
        self._forget(name)

    @slot
    def _time_reset(self) -> None:
        self._forget(TIME)

    def _forget(self, *names: str) -> None:
        """Forget values of the user."""
        assert self._controls is not None
        for name in names:
            self.model_values.own.pop(name, None)
        self._controls.forget(names)
        self._amount.edited = TIME in self.model_values.own
        self._fill()

    @slot
    def _strength_moved(self, strength: float) -> None:
        self.model_values.strength = strength
        self._forget(TIME)

    @slot
    def reset_all(self) -> None:
        """Go back to the recommended strength and to all suggested values."""
        assert self._controls is not None
        self.model_values.strength = 0.0
        self._forget(TIME, *self._controls.measurable)

    def set_by_user(self, model: Model, time: float) -> None:
        """Show the values of a recipe as if the user had set them."""
        assert self._controls is not None
        self._controls.set_by_user(model)
        self.model_values.own = self._controls.own() | {TIME: time}
        self.model_values.strength = 0.0
        self._amount.edited = True
        self._fill(centre=True)
