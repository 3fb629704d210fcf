"""Control of the strength: gentle, recommended, strong."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import Container, Label, PushButton
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

from napari_diffusion.ui.qt.layout import (
    NO_MARGINS,
    bare_container,
    put_label_above,
    reserve_height,
    wrapping_label,
)
from napari_diffusion.ui.qt.plain_slider import PlainSlider
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.values.state_line import ARROW_WIDTH
from napari_diffusion.ui.values.words import StrengthText

#: Steps of the slider from the middle to an end.
STEPS = 100
#: Positions this close to the middle are the recommended strength, while the mouse drags.
SNAP = 4
#: Words below the slider, from its left end to its right one.
SCALE_WORDS = ("gentle", "recommended", "strong")
#: As high as the longest sentence on the effect of a suggestion in a narrow dock.
THREE_LINES = "\n\n"
TIP = (
    "How strong to smooth. The middle is recommended: it has the smallest estimated error. "
    "Keys: arrows, Page Up, Page Down."
)


class StrengthControl(Container):  # type: ignore[type-arg]
    """Slider from gentle to strong, with a sentence about its effect.

    Attributes
    ----------
    slider, arrow, sentence
        The slider, the arrow back to the recommended strength, and the sentence below.
    moved
        Signal: the user has chosen this strength, from -1 to 1.
    reset
        Signal: the user wants the recommended values.
    """

    moved = Signal(float)
    reset = Signal()

    def __init__(self) -> None:
        self._following = False
        self.slider = PlainSlider(
            0, minimum=-STEPS, maximum=STEPS, page=STEPS // 4, tooltip=TIP, name="Strength"
        )
        tip = "Back to the recommended strength and to all suggested values."
        self.arrow = PushButton(text="↺", tooltip=tip)
        self.arrow.native.setFixedWidth(ARROW_WIDTH)
        self.arrow.native.setAccessibleName("Reset Strength")
        policy = self.arrow.native.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.arrow.native.setSizePolicy(policy)
        scale = bare_container(self.slider, _scale_words(), labels=False)
        scale.native.layout().setSpacing(0)
        row = bare_container(scale, self.arrow, layout="horizontal", labels=False)
        row.label, row.tooltip = "Strength", TIP
        self.sentence = wrapping_label()
        head = bare_container(row)
        put_label_above(row, self.arrow)
        effect = bare_container(self.sentence, layout="horizontal", labels=False)
        reserve_height(effect, QLabel(THREE_LINES))  # what is below stays in place
        super().__init__(widgets=[head, effect], labels=False)
        self.margins = NO_MARGINS
        self.native.layout().setSpacing(0)
        self.slider.changed.connect(self._slid)
        self.arrow.changed.connect(self._reset)

    def show_strength(self, strength: float, text: StrengthText) -> None:
        """Show a strength and what it does."""
        self._following = True
        try:
            self.slider.value = round(strength * STEPS)
        finally:
            self._following = False
        self.slider.enabled = text.enabled
        self.slider.tooltip = TIP if text.enabled else f"{text.text} {TIP}"
        self.sentence.value = text.text
        self.arrow.visible = text.own or strength != 0

    @slot
    def _slid(self, position: int) -> None:
        if self._following:
            return
        is_near = self.slider.native.isSliderDown() and abs(position) <= SNAP
        self.moved.emit(0.0 if is_near else position / STEPS)

    @slot
    def _reset(self) -> None:
        self.reset.emit()


def _scale_words() -> Container[Any]:
    """Return the words below the slider: at its ends and at its middle."""
    labels = [Label(value=word) for word in SCALE_WORDS]
    words = bare_container(*labels, layout="horizontal", labels=False)
    words.native.layout().setSpacing(0)
    middle = labels[1].native
    middle.setAlignment(Qt.AlignmentFlag.AlignCenter)
    middle.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    for label in labels:
        label.native.setMargin(0)
        label.native.setIndent(0)
    return words
