"""Controls for the parameters of a model, made from their declarations alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, SpinBox
from magicgui.widgets.bases import ValueWidget

from napari_diffusion.models import Model, Parameter, parameters
from napari_diffusion.ui.qt.quantity_box import LARGEST, SMALLEST, QuantityBox

#: A model of which nothing depends on the data shows this many parameters at first; the others wait under "More options".
SHOWN_AT_FIRST = 2

#: Largest whole number that a control can hold.
MOST = 2**31 - 1


def label_of(parameter: Parameter) -> str:
    """Return what a parameter is called on screen: the words before the colon of its sentence, or else its name."""
    title, colon, _ = parameter.doc.partition(":")
    return title if colon else parameter.name.replace("_", " ").capitalize()


def length_power(unit: str) -> int:
    """Return the power of length in a declared unit: 2 in ``length^2``, -1 in ``intensity/length``, 0 without length."""
    above, _, below = unit.partition("/")
    for part, sign in ((above, 1), (below, -1)):
        if part.startswith("length"):
            return sign * int(part.partition("^")[2] or 1)
    return 0


def control_of(parameter: Parameter) -> ValueWidget[Any]:
    """Return a control that can hold every value the declaration allows."""
    label = label_of(parameter)
    tooltip = f"{parameter.doc} In Python and on the command line: {parameter.name}."
    if parameter.choices is not None:
        return ComboBox(
            value=parameter.default, choices=parameter.choices, label=label, tooltip=tooltip
        )
    if parameter.type is bool:
        return CheckBox(value=parameter.default, text=label, tooltip=tooltip)
    if parameter.type is int:
        low = parameter.ge if parameter.gt is None else parameter.gt + 1
        high = MOST if parameter.le is None else parameter.le
        return SpinBox(
            value=parameter.default,
            min=int(-high if low is None else low),
            max=int(high),
            label=label,
            tooltip=tooltip,
        )
    lowest = -LARGEST if parameter.ge is None else parameter.ge
    if parameter.gt is not None:
        lowest = parameter.gt + max(SMALLEST, abs(parameter.gt) * 1e-12)
    highest = LARGEST if parameter.le is None else parameter.le
    return QuantityBox(
        parameter.default, label=label, tooltip=tooltip, minimum=lowest, maximum=highest
    )


class ModelControls:
    """The controls of one model, and which of them the user has set.

    Parameters
    ----------
    model
        The model class.

    Attributes
    ----------
    first, more
        Controls to show at first, and under "More options".
    """

    def __init__(self, model: type[Model]) -> None:
        self.model = model
        self._declared = {p.name: p for p in parameters(model)}
        self._controls = {name: control_of(p) for name, p in self._declared.items()}
        self._edited: set[str] = set()
        self._filling = False
        # What depends on the data comes first: nobody can know it by heart.
        first = [p.name for p in self._declared.values() if p.suggest is not None][:1] or list(
            self._declared
        )[:SHOWN_AT_FIRST]
        self.first = [self._controls[name] for name in first]
        self.more = [control for name, control in self._controls.items() if name not in first]
        for name, control in self._controls.items():
            control.changed.connect(self._noting(name))

    def __getitem__(self, name: str) -> ValueWidget[Any]:
        """Return the control of a parameter."""
        return self._controls[name]

    @property
    def edited(self) -> frozenset[str]:
        """Names of the parameters that the user has set."""
        return frozenset(self._edited)

    @property
    def depends_on_data(self) -> bool:
        """Whether there is a parameter that an image can suggest."""
        return any(p.suggest is not None for p in self._declared.values())

    def forget_edits(self) -> None:
        """Let every parameter be filled in again."""
        self._edited.clear()

    def value(self) -> Model:
        """Return the model with the values on screen."""
        return self.model(**{name: control.value for name, control in self._controls.items()})

    def set_by_user(self, model: Model) -> None:
        """Show the values of a model as the user's own, which no suggestion changes."""
        self.forget_edits()
        self.fill(model)
        self._edited.update(self._controls)

    def fill(self, model: Model) -> None:
        """Show the values of a model, but leave what the user has set."""
        self._filling = True
        try:
            for name, control in self._controls.items():
                if name not in self._edited:
                    control.value = getattr(model, name)
        finally:
            self._filling = False

    def set_unit(self, unit: str, factor: float = 1.0) -> None:
        """Show units with ``unit`` as length; ``factor`` converts values that have length in their unit."""
        self._filling = True
        try:
            for name, control in self._controls.items():
                if isinstance(control, QuantityBox):
                    parameter = self._declared[name]
                    control.unit = parameter.unit_in(unit)
                    power = length_power(parameter.unit)
                    if power and factor != 1.0:
                        control.value = min(
                            max(control.value * factor**power, control.min), control.max
                        )
        finally:
            self._filling = False

    def _noting(self, name: str) -> Callable[[], None]:
        def note() -> None:
            if not self._filling:
                self._edited.add(name)

        return note
