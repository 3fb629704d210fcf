"""The number of a box is seen in the theme of napari, with and without arrows."""

import pytest
from napari._qt.qt_resources import get_stylesheet
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_diffusion.ui.qt.quantity_box import QuantityBox


@pytest.mark.parametrize("arrows", [True, False])
def test_number_has_its_room_in_every_theme(qtbot, arrows):
    """Qt 6.11.3 gives it one pixel where a style sheet meets a box without arrows."""
    top = QWidget()
    qtbot.addWidget(top)
    box = QuantityBox(0.5, arrows=arrows)
    box.unit = "µm"
    QVBoxLayout(top).addWidget(box.native)
    top.setStyleSheet(get_stylesheet("dark"))
    top.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
    top.show()
    line = box.native.lineEdit()

    def assert_seen():
        assert line.width() >= line.fontMetrics().horizontalAdvance(line.text())
        assert box.native.rect().contains(line.geometry())

    assert_seen()
    top.resize(400, 60)
    top.setStyleSheet(get_stylesheet("light"))
    assert_seen()
    if not arrows:
        assert line.width() > 300
