"""No number and no choice is cut off in the dock at its first width."""

import numpy as np
import pytest
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QStyle, QStyleOptionComboBox

from helpers.viewer import WAIT, wait_until_settled


@pytest.fixture(params=["Anisotropic diffusion", "Isotropic diffusion"])
def opened(request, open_widget, qtbot):
    """A visible widget with a scroll bar: its table of axes and all drawers are open."""
    image = np.random.default_rng(0).normal(100, 5, (6, 16, 20)).astype(np.float32)
    viewer, widget = open_widget(request.param)
    window = widget.root_native_widget.window()
    window.resize(1280, 800)
    with qtbot.waitExposed(window, timeout=WAIT):
        window.show()
    viewer.add_image(image, name="cells", scale=(0.5, 0.07489, 0.07489), units=("um",) * 3)
    wait_until_settled(qtbot, widget)
    widget.form.table.change.native.click()
    for drawer in widget.drawers.values():
        drawer.open = True
    wait_until_settled(qtbot, widget)
    qtbot.waitUntil(lambda: widget.scroll.verticalScrollBar().maximum() > 0, timeout=WAIT)
    return widget


def visible(widget, kind):
    """Return the controls of a kind that are on screen."""
    return [native for native in widget.native.findChildren(kind) if native.isVisible()]


def test_no_number_is_cut(opened):
    lines = [box.lineEdit() for box in visible(opened, QAbstractSpinBox)]
    widths = {line.text(): (text_width(line, line.text()), line.width()) for line in lines}
    assert {text: both for text, both in widths.items() if both[0] > both[1]} == {}


def test_no_choice_is_cut(opened):
    boxes = visible(opened, QComboBox)
    assert len(boxes) >= 5
    cut = []
    for box in boxes:
        option = QStyleOptionComboBox()
        box.initStyleOption(option)
        part = QStyle.SubControl.SC_ComboBoxEditField
        place = box.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, part, box)
        choices = [box.itemText(index) for index in range(box.count())]
        cut += [text for text in choices if text_width(box, text) > place.width()]
    assert cut == []


def text_width(native, text):
    """Return the width of a text in the font of a control [pixel]."""
    return native.fontMetrics().horizontalAdvance(text)
