"""Spin box for physical quantities of any magnitude, such as 3e-7 or 40000, with a unit."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

from magicgui.application import use_app
from magicgui.widgets.bases import RangedWidget
from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtGui import QResizeEvent, QShowEvent, QValidator, QWheelEvent
from qtpy.QtWidgets import QDoubleSpinBox, QWidget

from napari_diffusion.core import units
from napari_diffusion.ui.qt.slots import slot

#: Unit with a power of a length, such as µm, µm², 1/µm and intensity/µm, without signs of powers.
_UNIT = re.compile(
    r"(?:(?P<above>1|intensity\d*)?(?P<per>/)|(?P<times>intensity\d*)·)?"
    r"(?P<length>[^\d/^.,·+-]+)(?P<power>\d?)"
)
_PLAIN_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", "^ ")
_TYPED = re.compile(r"(?P<number>[+-]?[\d.,]+(?:[eE][+-]?\d+)?)\s*(?P<unit>\S.*)")
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(,\d{3})+(?!\d)")
#: Stands for "above zero" and "no limit": a spin box needs both ends of its range.
MIN_VALUE, MAX_VALUE = 1e-300, 1e300
#: Space beside the text, as in the theme of napari [pixel].
TEXT_MARGIN = 10


class QuantitySpinBox(QDoubleSpinBox):
    """Qt spin box with at most six significant digits.

    It steps by a tenth of the leading digit's place and keeps the digits that it does not show.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.digits = 6
        #: Text in the place of the number while the number is not known; empty otherwise.
        self.placeholder = ""
        #: Text in the place of the number 0; empty for the number itself.
        self.zero_text = ""
        self.setDecimals(310)
        # The mouse wheel scrolls the dock; only a box with the focus takes it.
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._before: float | None = None
        line = self.lineEdit()
        assert line is not None
        line.textEdited.connect(self._typing)
        self.editingFinished.connect(self._typed)

    @slot
    def _typing(self) -> None:
        if self._before is None:  # keep the value before the first digit: each digit changes it
            self._before = self.value()

    @slot
    def _typed(self) -> None:
        self._before = None

    def textFromValue(self, v: float) -> str:
        """Return the text for a value, with six digits where fewer would need an exponent."""
        if self.placeholder:
            return self.placeholder
        if self.zero_text and v == 0:
            return self.zero_text
        return f"{v:.{self.digits if abs(v) < 10**self.digits else 6}g}"

    def valueFromText(self, text: str | None) -> float:
        """Return the value of a text; an unchanged text keeps the digits that are not shown."""
        number = self._without_unit(text)
        if self.zero_text and number == self.zero_text:
            return 0.0
        return self.value() if number == self.textFromValue(self.value()) else float(number)

    def validate(self, input: str | None, pos: int) -> tuple[QValidator.State, str, int]:
        """Accept every finite number within the range that Python can read, such as ``1e-5``."""
        text = input or ""
        words = [word for word in (self.placeholder, self.zero_text) if word]
        if self._without_unit(text) in words:
            return QValidator.State.Acceptable, text, pos
        if _THOUSANDS.match(text):  # 1,000 is ambiguous: the comma may separate decimals
            return QValidator.State.Intermediate, text, pos
        try:
            number = float(self._without_unit(text))
        except ValueError:
            return QValidator.State.Intermediate, text, pos
        inside = math.isfinite(number) and self.minimum() <= number <= self.maximum()
        state = QValidator.State.Acceptable if inside else QValidator.State.Intermediate
        return state, text, pos

    def fixup(self, input: str | None) -> str:
        """Convert a number in another unit; return the text of the previous value otherwise."""
        typed = _TYPED.fullmatch((input or "").removesuffix(self.suffix()).strip())
        factor = None if typed is None else unit_factor(typed["unit"], self.suffix())
        if typed is not None and factor is not None:
            text = f"{typed['number']}{self.suffix()}"
            if self.validate(text, 0)[0] == QValidator.State.Acceptable:
                number = float(self._without_unit(text)) * factor
                if self.minimum() <= number <= self.maximum():
                    return f"{number:.15g}{self.suffix()}"
        previous = self.value() if self._before is None else self._before
        return self.textFromValue(previous) + self.suffix()

    def stepBy(self, steps: int) -> None:
        """Step by a tenth of the leading digit's place; from zero, by 0.1."""
        value = self.value()
        step = 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 0.1
        # Rounding to the step's own digit keeps 0.3 from becoming 0.30000000000000004.
        self.setValue(round(value + steps * step, 12 - math.floor(math.log10(step))))

    def sizeHint(self) -> QSize:
        """Return the size for six digits, exponent and unit; Qt would reserve thirty decimals."""
        return self._size_for("1.2345e-10")

    def minimumSizeHint(self) -> QSize:
        """Return the size for a number of usual length, so that a narrow dock stays narrow."""
        return self._size_for("1234.56")

    def _size_for(self, number: str) -> QSize:
        # napari's theme gives each arrow 30 pixels whatever the font, and the text a margin.
        arrows = 24 if self.buttonSymbols() == self.ButtonSymbols.NoButtons else 76
        width = self.fontMetrics().horizontalAdvance(number + self.suffix()) + arrows
        return QSize(width, super().sizeHint().height())

    def wheelEvent(self, e: QWheelEvent | None) -> None:
        """Pass the mouse wheel on to the dock unless the box has the focus."""
        if e is not None and not self.hasFocus():
            e.ignore()
        else:
            super().wheelEvent(e)

    def resizeEvent(self, e: QResizeEvent | None) -> None:
        """Place the text in the new size."""
        super().resizeEvent(e)
        self._place_text()

    def changeEvent(self, e: QEvent | None) -> None:
        """Place the text after a change of the theme or the font."""
        super().changeEvent(e)
        self._place_text()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Place the text in the theme of the window."""
        super().showEvent(event)
        self._place_text()

    def _place_text(self) -> None:
        """Give the text its width: Qt 6.11.3 leaves one pixel in a box with a theme and no arrows.

        Without it, the number is not seen.
        """
        line = self.lineEdit()
        room = self.rect().adjusted(TEXT_MARGIN, 1, -TEXT_MARGIN, -1)
        has_arrows = self.buttonSymbols() != self.ButtonSymbols.NoButtons
        if line is not None and not has_arrows and line.width() < room.width():
            line.setGeometry(room)

    def _without_unit(self, text: str | None) -> str:
        return (text or "").removesuffix(self.suffix()).strip().replace(",", ".")


def unit_factor(typed: str, shown: str) -> float | None:
    """Return the factor that converts from the ``typed`` unit to the ``shown`` one.

    It is ``None`` where the units have different dimensions or one of them is unknown.
    """
    old, new = (_UNIT.fullmatch(unit.translate(_PLAIN_POWERS)) for unit in (typed, shown))
    if old is None or new is None or old["above"] not in (None, new["above"]):
        return None
    if any(old[part] != new[part] for part in ("per", "times", "power")):
        return None
    power = int(new["power"] or 1)
    try:
        scale = units.factor(old["length"], new["length"])
    except ValueError:
        return None
    return units.Dimension(length=-power if new["per"] else power).factor(scale)


@cache
def _backend() -> type:
    """Return magicgui's spin box backend, changed to wrap `QuantitySpinBox`."""
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
        Initial value.
    label, tooltip
        As for every magicgui widget.
    minimum, maximum
        Inclusive bounds.
    arrows
        Whether the box has step buttons.
    digits
        Number of significant digits shown.
    """

    def __init__(
        self,
        value: float,
        *,
        label: str = "",
        tooltip: str = "",
        minimum: float = MIN_VALUE,
        maximum: float = MAX_VALUE,
        arrows: bool = True,
        digits: int = 6,
    ) -> None:
        super().__init__(
            value, min=minimum, max=maximum, label=label, tooltip=tooltip, widget_type=_backend()
        )
        self.native.digits = digits
        if not arrows:
            self.hide_arrows()

    def hide_arrows(self) -> None:
        """Remove the step buttons, for a narrow place; the arrow keys still step."""
        self.native.setButtonSymbols(QuantitySpinBox.ButtonSymbols.NoButtons)

    @property
    def placeholder(self) -> str:
        """Text in the place of the number while the number is not known; empty otherwise."""
        box: QuantitySpinBox = self.native
        return box.placeholder

    @placeholder.setter
    def placeholder(self, text: str) -> None:
        box: QuantitySpinBox = self.native
        line = box.lineEdit()
        assert line is not None
        before, box.placeholder = box.placeholder, text
        # A number that is being typed stays as it is.
        is_typed = bool(before) and line.text() != f"{before}{box.suffix()}"
        if text != before and not is_typed:
            line.setText(f"{box.textFromValue(box.value())}{box.suffix()}")

    @property
    def unit(self) -> str:
        """Unit shown after the number."""
        box: QuantitySpinBox = self.native
        return box.suffix().strip()

    @unit.setter
    def unit(self, unit: str) -> None:
        self.native.setSuffix(f" {unit}" if unit else "")
        self.native.updateGeometry()


class OptionalQuantityBox(QuantityBox):
    """A number above zero with a unit, or none: its value is ``None`` where the box says "none".

    Parameters
    ----------
    value
        Initial value, or ``None``.
    label, tooltip, maximum
        As for `QuantityBox`.
    """

    def __init__(
        self, value: float | None, *, label: str = "", tooltip: str = "", maximum: float = MAX_VALUE
    ) -> None:
        super().__init__(0.0, label=label, tooltip=tooltip, minimum=0.0, maximum=maximum)
        self.native.zero_text = "none"
        self.native.setSpecialValueText("none")  # without the unit
        self.value = value

    # Older releases of magicgui have no `get_value` and `set_value`.
    @property
    def value(self) -> Any:
        """The number, or ``None``."""
        return super().value or None

    @value.setter
    def value(self, value: Any) -> None:
        QuantityBox.value.fset(self, 0.0 if value is None else value)  # type: ignore[attr-defined]
