"""Amount of smoothing as one of three equivalent quantities: sigma, FWHM, diffusion time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from magicgui.widgets import ComboBox, Container
from psygnal import Signal
from qtpy.QtWidgets import QLabel

from napari_diffusion.core.gaussian import FWHM, equivalent_sigma, time_for_sigma
from napari_diffusion.ui.qt.layout import (
    NO_MARGINS,
    bare_container,
    keep_narrow,
    reserve_height,
    wrapping_label,
)
from napari_diffusion.ui.qt.quantity_box import QuantityBox
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.values.state_line import StateLine
from napari_diffusion.ui.values.value_state import ValueState
from napari_diffusion.ui.values.words import TIME_NAME

SIGMA, WIDTH, TIME = "sigma", "FWHM", "time"
#: Names of the widths of a Gaussian.
_NAMES = {SIGMA: "σ", WIDTH: "FWHM"}
_TIPS = {
    SIGMA: "σ of the Gaussian blur that this gives where there are no edges. "
    "Smaller details disappear.",
    WIDTH: "Full width at half maximum of the Gaussian blur that this gives where there are no "
    "edges.",
    TIME: "Diffusion time T. Where there are no edges, it gives a Gaussian blur of σ = √(2T).",
}


def start_sigma(spacing: Sequence[float]) -> float:
    """Return an initial Gaussian sigma [length]: one voxel, as the geometric mean of its sides.

    It visibly smooths any image and removes no structure. The number has two significant digits.
    """
    side = math.exp(sum(math.log(size) for size in spacing) / len(spacing)) if spacing else 1.0
    return float(f"{side:.2g}")


class SmoothingAmount(Container):  # type: ignore[type-arg]
    """Number and quantity, and a line about the Gaussian; emits ``changed`` when the time changes.

    Parameters
    ----------
    tooltip
        What the amount is.
    keeps_edges
        Whether less is smoothed than by the Gaussian, because edges hold it back.

    Attributes
    ----------
    kind, number
        Controls for the quantity and its value.
    line
        Slider of the number, mark of its state, and reset arrow.
    others
        Line with the width of the Gaussian in another measure.
    edited
        Whether the user has set the amount.
    edited_by_user
        Signal: the user has set the amount.
    """

    edited_by_user = Signal()

    def __init__(self, tooltip: str, keeps_edges: bool = False) -> None:
        self._begin = "At most like a Gaussian of " if keeps_edges else "= "
        self._time = 0.5
        self._unit = ""
        self._filling = False
        self.edited = False
        self.kind = ComboBox(
            choices=[("σ", SIGMA), (WIDTH, WIDTH), (TIME, TIME)],
            value=SIGMA,
            tooltip="What the number says; the time stays as it is.",
        )
        keep_narrow(self.kind, 4)
        # Suggestions are diffusion times; the sigma of such a time has many digits.
        self.number = QuantityBox(1.0, minimum=0.0, arrows=False, digits=4)
        row = bare_container(self.number, self.kind, layout="horizontal", labels=False)
        row.native.layout().setStretch(0, 3)
        row.native.layout().setStretch(1, 2)
        self.line = StateLine(TIME_NAME, with_slider=True)
        self.others = wrapping_label()
        below = bare_container(self.others, layout="horizontal", labels=False)
        if keeps_edges:
            reserve_height(below, QLabel("\n"))  # the sentence may need a second line at any moment
        super().__init__(
            widgets=[row, self.line, below], labels=False, label=TIME_NAME, tooltip=tooltip
        )
        self.margins = NO_MARGINS
        self.native.layout().setSpacing(2)
        self.number.changed.connect(self._number_changed)
        self.kind.changed.connect(self._kind_changed)
        self.line.moved.connect(self._slid)

    @property
    def time(self) -> float:
        """Diffusion time [unit²]."""
        return self._time

    def fill(self, time: float) -> None:
        """Show a diffusion time [unit²] that the user has not set."""
        self._time = time
        self._show()

    def set_unit(self, unit: str, factor: float = 1.0) -> None:
        """Show the amount in another unit of length; ``factor`` converts a length to it."""
        self._unit = unit
        self._time *= factor**2
        self._show()

    def show_state(self, state: ValueState) -> None:
        """Show where the amount comes from; an amount that is not known yet is not shown."""
        measuring = state is ValueState.MEASURING
        self.line.show_state(state)
        self.number.placeholder = state.value if measuring else ""
        self._show_others()

    def centre(self) -> None:
        """Put the present amount into the middle of the slider."""
        self.line.centre(self.number.value)

    @slot
    def _slid(self, value: float) -> None:
        self.number.value = value

    @slot
    def _kind_changed(self) -> None:
        self._show()
        self.centre()

    @slot
    def _number_changed(self, value: float) -> None:
        if not self._filling:
            sigma = value / FWHM if self.kind.value == WIDTH else value
            self._time = value if self.kind.value == TIME else time_for_sigma(sigma)
            self.edited = True
            self.line.follow(value)
            self._show_others()
            self.edited_by_user.emit()

    def _show(self) -> None:
        self._filling = True
        try:
            kind = self.kind.value
            self.number.unit = self._units()[kind]
            self.number.value = self._values()[kind]
            self.number.tooltip = f"{_TIPS[kind]} In Python and on the command line: time."
        finally:
            self._filling = False
        self.line.follow(self.number.value)
        self._show_others()

    def _show_others(self) -> None:
        if self.number.placeholder:
            self.others.value = ""
            return
        other = SIGMA if self.kind.value == WIDTH else WIDTH
        value = self._values()[other]
        # The no-break space keeps value and unit on one line.
        number = f"{value:.3g}\N{NO-BREAK SPACE}{self._units()[other]}"
        self.others.value = f"{self._begin}{_NAMES[other]} {number}"

    def _values(self) -> dict[str, float]:
        sigma = equivalent_sigma(self._time)
        return {SIGMA: sigma, WIDTH: FWHM * sigma, TIME: self._time}

    def _units(self) -> dict[str, str]:
        return {SIGMA: self._unit, WIDTH: self._unit, TIME: f"{self._unit}²"}
