"""A spin box for physical quantities, which may be 3e-7 as well as 40000 and carry a unit."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

from magicgui.application import use_app
from magicgui.widgets.bases import RangedWidget
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QValidator, QWheelEvent
from qtpy.QtWidgets import QDoubleSpinBox, QWidget

from napari_diffusion.core import units

#: A length, a length² or an intensity per length, as people write them.
_UNIT = re.compile(
    r"(?P<per>(?:intensity)?\s*/)?\s*(?P<length>[^\d\s/^².,+-]+)\s*(?P<square>²|\^?2)?"
)
_TYPED = re.compile(r"(?P<number>[+-]?[\d.,]+(?:[eE][+-]?\d+)?)\s*(?P<unit>\S.*)")
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(,\d{3})+(?!\d)")
#: Stands for "above zero" and "no limit": a spin box needs both ends of its range.
SMALLEST, LARGEST = 1e-300, 1e300


class QuantitySpinBox(QDoubleSpinBox):
    """A spin box that shows six significant digits or fewer, steps by a tenth of the leading one and keeps digits it does not show."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.digits = 6
        self.setDecimals(310)
        # A wheel over the dock scrolls the dock; only a box that was clicked into takes it.
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._before: float | None = None
        line = self.lineEdit()
        assert line is not None
        line.textEdited.connect(self._typing)
        self.editingFinished.connect(self._typed)

    def _typing(self) -> None:
        if self._before is None:  # every digit that is typed makes a new value
            self._before = self.value()

    def _typed(self) -> None:
        self._before = None

    def textFromValue(self, v: float) -> str:
        """Return the text for a value: never with a power of ten only because few digits are shown."""
        return f"{v:.{self.digits if abs(v) < 10**self.digits else 6}g}"

    def valueFromText(self, text: str | None) -> float:
        """Return the value of a text; the text of the present value keeps the digits that are not shown."""
        number = self._bare(text)
        return self.value() if number == self.textFromValue(self.value()) else float(number)

    def validate(self, input: str | None, pos: int) -> tuple[QValidator.State, str, int]:
        """Accept everything that Python reads as a finite number within the range, ``1e-5`` included."""
        text = input or ""
        if _THOUSANDS.match(text):  # 1,000 is a thousand to one and one to another
            return QValidator.State.Intermediate, text, pos
        try:
            number = float(self._bare(text))
        except ValueError:
            return QValidator.State.Intermediate, text, pos
        inside = math.isfinite(number) and self.minimum() <= number <= self.maximum()
        return (QValidator.State.Acceptable if inside else QValidator.State.Intermediate), text, pos

    def fixup(self, input: str | None) -> str:
        """Convert a number in another unit; go back to the value of before when the text is neither."""
        typed = _TYPED.fullmatch((input or "").removesuffix(self.suffix()).strip())
        factor = None if typed is None else unit_factor(typed["unit"], self.suffix())
        if typed is not None and factor is not None:
            text = f"{typed['number']}{self.suffix()}"
            if self.validate(text, 0)[0] == QValidator.State.Acceptable:
                number = float(self._bare(text)) * factor
                if self.minimum() <= number <= self.maximum():
                    return f"{number:.15g}{self.suffix()}"
        return (
            self.textFromValue(self.value() if self._before is None else self._before)
            + self.suffix()
        )

    def stepBy(self, steps: int) -> None:
        """Step by a tenth of the leading digit's place; from zero by 0.1."""
        value = self.value()
        step = 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 0.1
        # Rounding to the step's own digit keeps 0.3 from becoming 0.30000000000000004.
        self.setValue(round(value + steps * step, 12 - math.floor(math.log10(step))))

    def sizeHint(self) -> QSize:
        """Return room for six digits, exponent and unit: Qt's own hint would make room for thirty decimals."""
        return self._room_for("1.2345e-10")

    def minimumSizeHint(self) -> QSize:
        """Return room for a number as most are, so that a narrow dock stays narrow."""
        return self._room_for("1234.56")

    def _room_for(self, number: str) -> QSize:
        # napari's theme gives either arrow 30 pixels whatever the font, and the text a margin.
        arrows = 24 if self.buttonSymbols() == self.ButtonSymbols.NoButtons else 76
        return QSize(
            self.fontMetrics().horizontalAdvance(number + self.suffix()) + arrows,
            super().sizeHint().height(),
        )

    def wheelEvent(self, e: QWheelEvent | None) -> None:
        """Leave the wheel to the dock unless the box has the focus."""
        if e is not None and not self.hasFocus():
            e.ignore()
        else:
            super().wheelEvent(e)

    def _bare(self, text: str | None) -> str:
        return (text or "").removesuffix(self.suffix()).strip().replace(",", ".")


def unit_factor(typed: str, shown: str) -> float | None:
    """Return how many of the unit that is ``shown`` one of the ``typed`` one is; ``None`` where they are not of one kind."""
    old, new = (_UNIT.fullmatch(unit.strip()) for unit in (typed, shown))
    if (
        old is None
        or new is None
        or any(bool(old[part]) != bool(new[part]) for part in ("per", "square"))
    ):
        return None
    try:
        power = -1 if new["per"] else 2 if new["square"] else 1
        return float(f"{units.factor(old['length'], new['length']) ** power:.12g}")
    except ValueError:
        return None


@cache
def _backend() -> type:
    """Return magicgui's spin box backend, made to wrap `QuantitySpinBox`."""
    base: Any = use_app().get_obj("FloatSpinBox")

    class Backend(base):  # type: ignore[misc]
        def __init__(self, parent: QWidget | None = None) -> None:
            super(base, self).__init__(QuantitySpinBox, parent=parent)

    return Backend


class QuantityBox(RangedWidget[float]):
    """A number with a unit, for magicgui containers.

    Parameters
    ----------
    value
        Value to start with.
    label, tooltip
        As for every magicgui widget.
    minimum, maximum
        Bounds, both allowed.
    arrows
        Whether there are arrows to step by.
    digits
        Significant digits that are shown.
    """

    def __init__(
        self,
        value: float,
        *,
        label: str = "",
        tooltip: str = "",
        minimum: float = SMALLEST,
        maximum: float = LARGEST,
        arrows: bool = True,
        digits: int = 6,
    ) -> None:
        super().__init__(
            value, min=minimum, max=maximum, label=label, tooltip=tooltip, widget_type=_backend()
        )
        self.native.digits = digits
        if not arrows:
            self.native.setButtonSymbols(QuantitySpinBox.ButtonSymbols.NoButtons)

    @property
    def unit(self) -> str:
        """The unit behind the number."""
        box: QuantitySpinBox = self.native
        return box.suffix().strip()

    @unit.setter
    def unit(self, unit: str) -> None:
        self.native.setSuffix(f" {unit}" if unit else "")
        self.native.updateGeometry()
