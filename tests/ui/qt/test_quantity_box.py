"""Spin box for physical quantities: typed numbers, shown digits and steps."""

import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QKeyEvent, QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_diffusion.ui.qt.quantity_box import QuantityBox


def type_text(box, text):
    box.lineEdit().setText(text + box.suffix())
    for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
        event = QKeyEvent(kind, Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(box, event)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-7", 1e-7),
        ("0.000012345", 1.2345e-5),
        ("2,5", 2.5),
        ("0,125", 0.125),
        ("120000", 120000),
    ],
)
def test_numbers_of_any_size_can_be_typed(qtbot, text, value):
    number = QuantityBox(1.0, minimum=0.0)
    number.unit = "intensity/µm"
    type_text(number.native, text)
    assert number.value == value


@pytest.mark.parametrize(
    ("text", "unit", "value", "shown"),
    [
        ("2.5 mm", "µm", 2500, "2500 µm"),
        ("2,5mm", "µm", 2500, "2500 µm"),
        ("3 um", "µm", 3, "3 µm"),
        ("1e2 nm", "µm", 0.1, "0.1 µm"),
        ("2 mm^2", "µm²", 2e6, "2e+06 µm²"),
        ("2 mm²", "µm²", 2e6, "2e+06 µm²"),
        ("7 intensity/mm", "intensity/µm", 0.007, "0.007 intensity/µm"),
        ("7 /mm", "intensity/µm", 0.007, "0.007 intensity/µm"),
        ("7 1/mm", "1/µm", 0.007, "0.007 1/µm"),
        ("7 /mm^2", "1/µm²", 7e-6, "7e-06 1/µm²"),
        ("8 intensity²/mm²", "intensity²/µm²", 8e-6, "8e-06 intensity²/µm²"),
        ("8 intensity^2 / mm^2", "intensity²/µm²", 8e-6, "8e-06 intensity²/µm²"),
        ("2 intensity·mm", "intensity·µm", 2000, "2000 intensity·µm"),
        ("3 Å^2", "nm²", 0.03, "0.03 nm²"),
        ("2 ft", "in", 24, "24 in"),
        ("1 km", "ft", 3280.839895013123, "3280.84 ft"),
        ("2 px", "pixel", 2, "2 pixel"),
        ("2 intensity/mm", "1/µm", 9, "9 1/µm"),
        ("2 1/mm", "intensity/µm", 9, "9 intensity/µm"),
        ("2 mm", "intensity·µm", 9, "9 intensity·µm"),
        ("2 mm^3", "µm²", 9, "9 µm²"),
        ("2 10**9*mm", "µm", 9, "9 µm"),
        ("2 s", "µm", 9, "9 µm"),
        ("2 mm", "µm²", 9, "9 µm²"),
        ("2 mm", "pixel", 9, "9 pixel"),
        ("2 mm", "", 9, "9"),
        ("1,000 mm", "µm", 9, "9 µm"),
        ("-2 mm", "µm", 9, "9 µm"),
        ("mm", "µm", 9, "9 µm"),
        ("2 mm 3", "µm", 9, "9 µm"),
    ],
)
def test_numbers_in_other_units_are_converted_or_rejected(qtbot, text, unit, value, shown):
    number = QuantityBox(9.0, minimum=0.0)
    number.unit = unit
    qtbot.addWidget(number.native)
    box = number.native
    box.lineEdit().selectAll()
    qtbot.keyClicks(box.lineEdit(), text) if text.isascii() else box.lineEdit().insert(text)
    qtbot.keyClick(box.lineEdit(), Qt.Key.Key_Return)
    assert number.value == pytest.approx(value, rel=1e-12)
    assert box.text() == shown


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "-1", "1e301", "1,000", "12,500.5"])
def test_text_that_is_not_a_number_is_rejected(qtbot, text):
    number = QuantityBox(4.0, minimum=0.0)
    type_text(number.native, text)
    assert number.value == 4
    assert number.native.text() == "4"


def test_hidden_digits_are_kept(qtbot):
    number = QuantityBox(0.123456789012, minimum=0.0)
    number.unit = "mm"
    assert number.native.text() == "0.123457 mm"
    type_text(number.native, "0.123457")
    assert number.value == 0.123456789012


@pytest.mark.parametrize(
    ("value", "text"), [(2.3832751, "2.383"), (12345.6, "12345.6"), (0.00012347, "0.0001235")]
)
def test_number_of_shown_digits_is_limited_without_an_exponent(qtbot, value, text):
    number = QuantityBox(1.0, digits=4)
    number.value = value
    assert number.native.text() == text
    type_text(number.native, text)
    assert number.value == value


@pytest.mark.parametrize(
    ("value", "up"), [(0.0, 0.1), (0.3, 0.31), (12.0, 13.0), (2e-6, 2.1e-6), (0.99, 1.0)]
)
def test_arrows_step_by_a_tenth_of_the_leading_digit(qtbot, value, up):
    number = QuantityBox(value, minimum=0.0)
    number.native.stepBy(1)
    assert number.value == up


def test_mouse_wheel_scrolls_the_dock(qtbot):
    number = QuantityBox(4.0)
    event = QWheelEvent(
        QPointF(),
        QPointF(),
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    number.native.wheelEvent(event)
    assert number.value == 4
    assert not event.isAccepted()
