"""Row of one parameter: its control, a slider, the mark of its state, and a reset arrow."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import ComboBox, Container
from magicgui.widgets.bases import ValueWidget
from psygnal import Signal

from napari_diffusion.models import Parameter
from napari_diffusion.ui.qt.layout import NO_MARGINS, keep_narrow
from napari_diffusion.ui.qt.quantity_box import QuantityBox
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.values.state_line import StateLine
from napari_diffusion.ui.values.value_state import ValueState


class ValueRow(Container):  # type: ignore[type-arg]
    """The control of a parameter with its state.

    Parameters
    ----------
    parameter
        The declaration of the parameter.
    control
        Its control.

    Attributes
    ----------
    control, line
        The control, and its slider, mark and arrow.
    reset
        Signal: the reset arrow of the parameter of this name was pressed.
    """

    reset = Signal(str)

    def __init__(self, parameter: Parameter, control: ValueWidget[Any]) -> None:
        self.control, self._name = control, parameter.name
        positive = parameter.suggest is not None and parameter.gt == 0
        has_slider = positive and isinstance(control, QuantityBox)
        if isinstance(control, QuantityBox):
            control.hide_arrows()  # slider and state stand beside the number
        if isinstance(control, ComboBox):
            keep_narrow(control, 5)
        label = control.label or parameter.name
        self.line = StateLine(label, with_slider=has_slider)
        super().__init__(
            widgets=[control, self.line],
            layout="horizontal",
            labels=False,
            label=label,
            tooltip=control.tooltip,
        )
        self.margins = NO_MARGINS
        self.native.layout().setSpacing(6)
        for part in (0, 1):
            self.native.layout().setStretch(part, 1)
        control.changed.connect(self._follow)
        self.line.moved.connect(self._moved)
        self.line.reset.connect(self._reset)
        self._follow()

    def show_state(self, state: ValueState) -> None:
        """Show where the value comes from; a value that is not known yet is not shown."""
        self.line.show_state(state)
        if isinstance(self.control, QuantityBox):
            measuring = state is ValueState.MEASURING
            self.control.placeholder = state.value if measuring else ""

    def centre(self) -> None:
        """Put the present value into the middle of the slider."""
        if self.line.slider is not None:
            self.line.centre(self.control.value)

    @slot
    def _follow(self) -> None:
        if self.line.slider is not None:
            self.line.follow(self.control.value)

    @slot
    def _moved(self, value: float) -> None:
        self.control.value = value

    @slot
    def _reset(self) -> None:
        self.reset.emit(self._name)
