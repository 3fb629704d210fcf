"""Controls for the parameters of a model, made from their declarations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, PushButton, SpinBox
from magicgui.widgets.bases import ValueWidget
from psygnal import Signal

from napari_diffusion.models import Model, Parameter, parameters
from napari_diffusion.models.base import ThresholdMap
from napari_diffusion.operators.threshold_map import in_words
from napari_diffusion.ui.qt.quantity_box import (
    MAX_VALUE,
    MIN_VALUE,
    OptionalQuantityBox,
    QuantityBox,
)
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.values.value_row import ValueRow
from napari_diffusion.ui.values.words import label_of

#: Number of parameters that come first for a model of which none depends on the data.
SHOWN_AT_FIRST = 2

#: Largest integer that a spin box can hold.
MAX_INTEGER = 2**31 - 1


def tooltip_of(parameter: Parameter) -> str:
    """Return the help sentence of a parameter, and its name and choices elsewhere."""
    elsewhere = f"In Python and on the command line: {parameter.name}"
    if parameter.choice_labels is not None and parameter.choices is not None:
        names = zip(parameter.choices, parameter.choice_labels, strict=True)
        elsewhere += f"; {', '.join(f'{name} is “{shown}”' for name, shown in names)}"
    return f"{parameter.doc} {elsewhere}."


def control_of(parameter: Parameter) -> ValueWidget[Any]:
    """Return a control that can hold every value that the declaration allows."""
    label, tooltip = label_of(parameter), tooltip_of(parameter)
    if parameter.choices is not None:
        names = zip(parameter.choice_labels or parameter.choices, parameter.choices, strict=True)
        return ComboBox(value=parameter.default, choices=[*names], label=label, tooltip=tooltip)
    if parameter.type is bool:
        return CheckBox(value=parameter.default, text=label, tooltip=tooltip)
    if parameter.type is int:
        low = parameter.ge if parameter.gt is None else parameter.gt + 1
        high = MAX_INTEGER if parameter.le is None else parameter.le
        return SpinBox(
            value=parameter.default,
            min=int(-high if low is None else low),
            max=int(high),
            label=label,
            tooltip=tooltip,
        )
    lowest = -MAX_VALUE if parameter.ge is None else parameter.ge
    if parameter.gt is not None:
        lowest = parameter.gt + max(MIN_VALUE, abs(parameter.gt) * 1e-12)
    highest = MAX_VALUE if parameter.le is None else parameter.le
    if parameter.optional:
        return OptionalQuantityBox(parameter.default, label=label, tooltip=tooltip, maximum=highest)
    return QuantityBox(
        parameter.default, label=label, tooltip=tooltip, minimum=lowest, maximum=highest
    )


def convert_unit(parameter: Parameter, control: ValueWidget[Any], unit: str, factor: float) -> None:
    """Show the value of a control in another unit of length; ``factor`` converts a length to it."""
    if isinstance(control, QuantityBox):
        control.unit = parameter.unit_in(unit)
        scale = parameter.dimension.factor(factor)
        if scale != 1.0 and control.value is not None:
            control.value = min(max(control.value * scale, control.min), control.max)


class ModelControls:
    """The controls of one model, with a record of those that the user has set.

    Parameters
    ----------
    model
        The model class.

    Attributes
    ----------
    first, more
        Controls that come first, and the others.
    rows
        The row of every control, by the name of its parameter, in the order on screen.
    edited_by_user
        Signal: the user has set the parameter of this name.
    reset
        Signal: the reset arrow of the parameter of this name was pressed.
    buttons
        For a model that can have maps, the button below the controls that names the maps of the
        threshold, which come from a recipe, and removes them. It is shown while there is a map.
    """

    edited_by_user = Signal(str)
    reset = Signal(str)

    def __init__(self, model: type[Model]) -> None:
        self.model = model
        declared = parameters(model)
        self._maps: dict[str, ThresholdMap | None] = {p.name: None for p in declared if p.is_map}
        self.buttons = [PushButton()] if self._maps else []
        for button in self.buttons:
            button.changed.connect(self._remove_maps)
        self._shown = False
        self._parameters = {p.name: p for p in declared if not p.hidden}
        self._controls = {name: control_of(p) for name, p in self._parameters.items()}
        self._edited: set[str] = set()
        self._filling = False
        # A parameter that depends on the data comes first: no user can know its value beforehand.
        first = [p.name for p in self._parameters.values() if p.suggest is not None][:1]
        if not first:
            first = list(self._parameters)[:SHOWN_AT_FIRST]
        self.first = [self._controls[name] for name in first]
        self.more = [control for name, control in self._controls.items() if name not in first]
        order = [*first, *(name for name in self._controls if name not in first)]
        self.rows = {n: ValueRow(self._parameters[n], self._controls[n]) for n in order}
        for name, control in self._controls.items():
            control.changed.connect(self._recorder(name))
            self.rows[name].reset.connect(self.reset)

    def __getitem__(self, name: str) -> ValueWidget[Any]:
        """Return the control of a parameter."""
        return self._controls[name]

    @property
    def edited(self) -> frozenset[str]:
        """Names of the parameters that the user has set."""
        return frozenset(self._edited)

    @property
    def measurable(self) -> list[str]:
        """Names of the parameters that can be chosen from the image."""
        return [name for name, p in self._parameters.items() if p.suggest is not None]

    def with_measured(self, suggested: Model | None) -> Model:
        """Return the defaults, with what a suggestion has chosen from the image."""
        if not isinstance(suggested, self.model):  # another model has been chosen since
            return self.model()
        names = (*self.measurable, *self._maps)
        return self.model(**{name: getattr(suggested, name) for name in names})

    def label(self, name: str) -> str:
        """Return the name of a parameter on screen."""
        return label_of(self._parameters[name])

    def own(self) -> dict[str, Any]:
        """Return the values that the user has set, by the names of the parameters."""
        return {name: self.own_value(name) for name in self._edited}

    def own_value(self, name: str) -> Any:
        """Return the value of a parameter, or of a map."""
        return self._maps[name] if name in self._maps else self._controls[name].value

    def restore(self, own: dict[str, Any]) -> None:
        """Show the defaults, and values that the user has set before."""
        self.forget_edits()
        self.fill(self.model(**own))
        self._edited.update(own)

    def forget(self, names: Iterable[str]) -> None:
        """Let `fill` change these parameters again."""
        self._edited.difference_update(names)

    def centre(self) -> None:
        """Put the present values into the middle of their sliders."""
        for row in self.rows.values():
            row.centre()

    def forget_edits(self) -> None:
        """Let `fill` change every parameter again."""
        self._edited.clear()

    def value(self) -> Model:
        """Return the model with the values of the controls."""
        values = {name: control.value for name, control in self._controls.items()}
        return self.model(**values, **self._maps)

    def set_by_user(self, model: Model) -> None:
        """Show the values of a model as if the user had set them; no suggestion changes them."""
        self.forget_edits()
        self.fill(model)
        self._edited.update(self._controls, self._maps)

    def fill(self, model: Model) -> None:
        """Show the values of a model, except for parameters that the user has set."""
        with self._quietly():
            for name, control in self._controls.items():
                if name not in self._edited:
                    control.value = getattr(model, name)
        for name in self._maps:
            if name not in self._edited:
                self._maps[name] = getattr(model, name)
        self._show_maps()

    def show(self, visible: bool) -> None:
        """Show or hide the controls."""
        self._shown = visible
        for row in self.rows.values():
            row.visible = visible
        self._show_maps()

    def _show_maps(self) -> None:
        """Name the maps on their button."""
        maps = [in_words(values) for values in self._maps.values() if values is not None]
        for button in self.buttons:
            button.text = "Remove the map of the threshold"
            button.tooltip = (
                f"{' and '.join(maps)}. The threshold differs from place to place: it is "
                "multiplied by the factors of a map from a recipe. Without the map, it is the same "
                "everywhere."
            )
            button.visible = self._shown and bool(maps)

    @slot
    def _remove_maps(self) -> None:
        """Make the thresholds the same everywhere."""
        self._maps = dict.fromkeys(self._maps)
        self._edited.update(self._maps)
        self._show_maps()
        for name in self._maps:
            self.edited_by_user.emit(name)

    def set_unit(self, unit: str, factor: float = 1.0) -> None:
        """Show values in another unit of length; ``factor`` converts a length to it."""
        with self._quietly():
            for name, control in self._controls.items():
                convert_unit(self._parameters[name], control, unit, factor)

    def _recorder(self, name: str) -> Callable[[], None]:
        """Return a function that records a parameter as set by the user."""

        def record() -> None:
            if not self._filling:
                self._edited.add(name)
                self.edited_by_user.emit(name)

        return record

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Change controls without a record of edits."""
        self._filling = True
        try:
            yield
        finally:
            self._filling = False
