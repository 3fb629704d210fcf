"""Options of a run, for experts: controls that are made from their declarations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import CheckBox, ComboBox
from magicgui.widgets.bases import ValueWidget

import napari_diffusion as nd
from napari_diffusion.core.parameters import Parameter, rescaled
from napari_diffusion.core.resources import cpu_count
from napari_diffusion.engine.execution import Execution
from napari_diffusion.engine.recipe_fields import run_options, transform_numbers
from napari_diffusion.ui.form.model_controls import (
    control_of,
    convert_unit,
    tooltip_of,
)
from napari_diffusion.ui.layers.axes import PIXEL
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.choice_box import ChoiceBox
from napari_diffusion.ui.qt.layout import bare_container, keep_narrow
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.values.words import label_of


class Options:
    """The options of a run and their controls.

    Parameters
    ----------
    units
        Returns the units of length to choose from.
    labels, images
        Return names and layers of the labels, and of the images, to choose from.

    The controls are made when they are first needed: until then, the options are those of
    declaration and preferences.

    Attributes
    ----------
    box
        Container of the controls.
    unit, regions, guide
        Controls for the unit of length, for the labels to smooth within, and for the image from
        which edges come.
    steady
        Control for a run to the steady state of a fidelity length; ``None`` until it is made.
    """

    def __init__(
        self,
        units: Callable[[Any], list[str]],
        labels: Callable[[Any], list[tuple[str, Any]]],
        images: Callable[[Any], list[tuple[str, Any]]],
    ) -> None:
        tip = "Unit of the voxel size and of every length here."
        self.unit = ChoiceBox(choices=units, value=PIXEL, label="Length unit", tooltip=tip)
        tip = "Smooth inside each label on its own and leave label 0 as it is."
        self.regions = ChoiceBox(
            choices=labels, nullable=True, label="Restrict to labels", tooltip=tip
        )
        self.regions.null_string = "none"
        tip = (
            "Take edges and directions from another image on the same voxels, such as a cleaner "
            "channel. Thresholds are then in its intensities. In Python and on the command line: "
            "guide."
        )
        self.guide = ChoiceBox(choices=images, nullable=True, label="Edges from", tooltip=tip)
        self.guide.null_string = "the image itself"
        for choice in (self.regions, self.guide):
            keep_narrow(choice)
        self.steady: CheckBox | None = None
        self._own_values: dict[str, Any] = {}
        self._recipe: dict[str, tuple[Parameter, ValueWidget[Any]]] = {}
        self._execution: dict[str, tuple[Parameter, ValueWidget[Any]]] = {}
        self._length_unit = PIXEL
        self.box = bare_container(self.unit, self.regions, self.guide)

    def make(self) -> None:
        """Make the controls, once."""
        if self._recipe:
            return
        self._recipe = {p.name: (p, self._control(p)) for p in run_options(nd.Recipe)}
        controls = [p for p in run_options(Execution) if not p.preference]
        self._execution = {p.name: (p, _execution_control(p)) for p in controls}
        for parameter, control in [*self._recipe.values(), *self._execution.values()]:
            convert_unit(parameter, control, self._length_unit, 1.0)
            if isinstance(control, ComboBox):
                keep_narrow(control, 6)
            self.box.append(control)
            if parameter.name == "fidelity_length":
                self.steady = _steady_control()
                self.box.append(self.steady)
        for chosen in (self.guide, self["transform"], self["fidelity_length"]):
            chosen.changed.connect(self._show_needed)
        self._show_needed()

    @slot
    def _show_needed(self) -> None:
        """Show the controls that have an effect, and hide those of an option that is not chosen."""
        options = self.recipe_options()
        transforms = options["transform"] != "none"
        needed = {self[name]: transforms for name in transform_numbers()}
        needed[self["guide_weight"]] = self.guide.value is not None
        assert self.steady is not None
        needed[self.steady] = options["fidelity_length"] is not None
        for control, is_needed in needed.items():
            if control.native.isHidden() is is_needed:
                control.visible = is_needed

    def __getitem__(self, name: str) -> ValueWidget[Any]:
        """Return the control of an option."""
        self.make()
        return (self._recipe | self._execution)[name][1]

    def recipe_options(self) -> dict[str, Any]:
        """Return the options of a recipe that the controls show."""
        defaults = {p.name: p.default for p in run_options(nd.Recipe)}
        return defaults | {name: control.value for name, (_, control) in self._recipe.items()}

    def time(self, amount: float) -> Any:
        """Return the diffusion time of a run: the ``amount``, or ``None`` for the steady state."""
        is_held = self.recipe_options()["fidelity_length"] is not None
        is_steady = self.steady is not None and bool(self.steady.value)
        return None if is_held and is_steady else amount

    def execution(self) -> Execution:
        """Return how a run is computed; an option that is not set is that of the preferences."""
        preferences, options = Preferences.read(), {}
        for parameter in run_options(Execution):
            name, own = parameter.name, parameter.default
            if name in self._execution:
                own = self._execution[name][1].value
            is_open = parameter.optional and not own
            options[name] = getattr(preferences, name, None) if is_open else own
        return Execution(**options)

    def show(self, recipe: nd.Recipe) -> None:
        """Show the options of a recipe."""
        self.make()
        for name, (_, control) in self._recipe.items():
            value = getattr(recipe, name)
            self._offer(name, value)
            control.value = value
        assert self.steady is not None
        self.steady.value = recipe.steady_time is not None

    def _offer(self, name: str, value: Any) -> None:
        """Add a value that is no name, such as a scheme with options, to the choices."""
        parameter, control = self._recipe[name]
        if parameter.offered is not None:
            self._own_values[name] = value
            control.reset_choices()  # type: ignore[attr-defined]

    def set_unit(self, unit: str, factor: float) -> None:
        """Show lengths in another unit; ``factor`` converts a length to it."""
        if factor != 1.0:
            self.make()
        self._length_unit = unit
        for name, (parameter, control) in self._recipe.items():
            convert_unit(parameter, control, unit, factor)
            own = self._own_values.get(name, "")
            if factor != 1.0 and not isinstance(own, str):
                is_chosen, converted = control.value == own, rescaled(own, factor)
                self._offer(name, converted)
                if is_chosen:
                    control.value = converted

    def _control(self, parameter: Parameter) -> ValueWidget[Any]:
        if parameter.offered is None:
            return control_of(parameter)
        names = parameter.offered()

        def choices(_: Any) -> list[tuple[str, Any]]:
            own = self._own_values.get(parameter.name)
            listed = [(name, name) for name in names]
            return listed if own is None or own in names else [*listed, (str(own), own)]

        return ChoiceBox(
            value=parameter.default,
            choices=choices,
            label=label_of(parameter),
            tooltip=tooltip_of(parameter),
        )


def _steady_control() -> CheckBox:
    """Return the control for a run to the steady state."""
    return CheckBox(
        text="Run to the steady state",
        tooltip="Smooth until the fidelity length holds the result; the strength then has no "
        "effect. It needs a fidelity length. In Python: time=None; on the command line: "
        "--time steady.",
    )


def _execution_control(parameter: Parameter) -> ValueWidget[Any]:
    """Return a control; an optional count may be left to the preferences."""
    if not (parameter.optional and parameter.type is int):
        return control_of(parameter)
    counts = [("as in preferences", 0), *((str(n), n) for n in range(1, cpu_count() + 1))]
    return ComboBox(choices=counts, label=label_of(parameter), tooltip=tooltip_of(parameter))
