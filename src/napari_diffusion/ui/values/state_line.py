"""The line of a value: a slider, the mark of its state, and a reset arrow."""

from __future__ import annotations

from magicgui.widgets import Container, Label, PushButton
from psygnal import Signal
from qtpy.QtWidgets import QSizePolicy

from napari_diffusion.ui.qt.layout import NO_MARGINS
from napari_diffusion.ui.qt.plain_slider import PlainSlider
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.values.log_scale import STEPS, LogScale
from napari_diffusion.ui.values.value_state import ValueState

#: Width of the reset arrow [pixel].
ARROW_WIDTH = 26
#: Styles of the marks. The mark is a word, so that no colour is needed to tell the states apart. It
#: has the colour of the theme, or is white on a blue with a contrast of 5 to 1 in every theme.
_STYLES = {
    ValueState.MEASURING: "font-style: italic;",
    ValueState.SUGGESTED: (
        "color: white; background: #2b6cb0; border-radius: 3px; padding: 0px 4px;"
    ),
    ValueState.YOURS: "font-weight: bold;",
    ValueState.DEFAULT: "",
}


class StateLine(Container):  # type: ignore[type-arg]
    """Slider, mark and arrow of one value.

    Parameters
    ----------
    name
        Name of the value, for screen readers.
    with_slider
        Whether the value has a logarithmic slider.

    Attributes
    ----------
    slider, mark, arrow
        The parts; the slider is ``None`` without one.
    moved
        Signal: the user has moved the slider to this value.
    reset
        Signal: the arrow was pressed.
    """

    moved = Signal(float)
    reset = Signal()

    def __init__(self, name: str, with_slider: bool) -> None:
        self._state = ValueState.DEFAULT
        self._scale = LogScale.around(1.0)
        self._following = False
        self.slider = None
        if with_slider:
            tip = f"{name}: drag for smaller and larger values, in equal ratios."
            self.slider = PlainSlider(
                STEPS // 2, minimum=0, maximum=STEPS, page=STEPS // 20, tooltip=tip, name=name
            )
            self.slider.changed.connect(self._slid)
        self._name, self.mark = name, Label(value="")
        self.mark.native.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        tip = "Back to the suggested value, or to the default where nothing is suggested."
        self.arrow = PushButton(text="↺", tooltip=tip)
        self.arrow.native.setFixedWidth(ARROW_WIDTH)
        self.arrow.native.setAccessibleName(f"Reset {name}")
        policy = self.arrow.native.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # nothing moves when the arrow comes and goes
        self.arrow.native.setSizePolicy(policy)
        self.arrow.changed.connect(self._reset)
        parts = [part for part in (self.slider, self.mark, self.arrow) if part is not None]
        super().__init__(widgets=parts, layout="horizontal", labels=False)
        self.margins = NO_MARGINS
        layout = self.native.layout()
        layout.setSpacing(4)
        if self.slider is None:
            layout.insertStretch(0)
        else:
            layout.setStretch(0, 1)
        self.show_state(self._state)

    @property
    def state(self) -> ValueState:
        """The state of the value."""
        return self._state

    def show_state(self, state: ValueState) -> None:
        """Show where the value comes from."""
        self._state = state
        # A number that is being measured says so itself.
        self.mark.value = "" if state is ValueState.MEASURING else state.value
        self.mark.tooltip = state.explanation
        self.mark.native.setAccessibleName(f"{self._name}: {state.value}")
        self.mark.native.setStyleSheet(_STYLES[state])
        self.arrow.visible = state is ValueState.YOURS
        if self.slider is not None:
            self.slider.enabled = state is not ValueState.MEASURING

    def centre(self, value: float) -> None:
        """Put a positive value into the middle of the slider."""
        if value > 0:
            self._scale = LogScale.around(value)
            self.follow(value)

    def follow(self, value: float) -> None:
        """Move the slider to a value without a report of it."""
        if self.slider is None or not value > 0:
            return
        if not self.slider.native.isSliderDown():
            self._scale = self._scale.including(value)
        self._following = True
        try:
            self.slider.value = self._scale.position(value)
        finally:
            self._following = False

    @slot
    def _slid(self, position: int) -> None:
        if not self._following:
            self.moved.emit(self._scale.value(position))

    @slot
    def _reset(self) -> None:
        self.reset.emit()
