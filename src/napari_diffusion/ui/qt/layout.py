"""How the widgets sit in a dock: scrolling, aligned labels, tab order, text that wraps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from magicgui.widgets import ComboBox, Container, FileEdit, Label
from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtWidgets import QComboBox, QFrame, QHBoxLayout, QLabel, QScrollArea, QSizePolicy, QWidget

#: Height below which a dock cannot be pulled [pixel].
LEAST_HEIGHT = 120
#: napari's theme draws a line around a scroll area, on both sides [pixel].
BORDER = 2


class Scroll(QScrollArea):
    """Scrolls upright only, and is as wide as its content needs.

    magicgui's own ``scrollable=True`` does not work in a napari dock: napari docks the content and leaves the scroll area out.
    """

    #: Theme or font have changed.
    restyled = Signal()

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(content)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """Tell the dock when the content needs another width."""
        if a1 is not None and a1.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(a0, a1)

    def changeEvent(self, a0: QEvent | None) -> None:
        """Tell when theme or font have changed."""
        super().changeEvent(a0)
        if a0 is not None and a0.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.restyled.emit()

    def minimumSizeHint(self) -> QSize:
        """Return the content's smallest width and room for the scroll bar, whether it shows or not."""
        content, bar = self.widget(), self.verticalScrollBar()
        assert content is not None
        assert bar is not None
        return QSize(
            content.minimumSizeHint().width() + bar.sizeHint().width() + BORDER, LEAST_HEIGHT
        )

    def sizeHint(self) -> QSize:
        """Return the content's size."""
        content = self.widget()
        assert content is not None
        return self.minimumSizeHint().expandedTo(QSize(0, content.sizeHint().height()))


def wrapping_label(text: str = "") -> Label:
    """Return a label that breaks its lines, so that no text makes the dock wider."""
    label = Label(value=text)
    label.native.setWordWrap(True)
    label.native.setTextFormat(Qt.TextFormat.PlainText)
    label.native.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def keep_narrow(box: ComboBox, letters: int = 8) -> None:
    """Let a combo box cut long entries short, to that many letters, instead of making the dock wider."""
    box.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.native.setMinimumContentsLength(letters)
    box.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


def align_labels(form: Container[Any]) -> None:
    """Give all labels of a container the width of the widest: magicgui measures them before the theme has set their font."""
    labels = [label for widget in form for label in [_label_of(widget)] if label is not None]
    for label in labels:
        label.ensurePolished()
    width = max(label.sizeHint().width() for label in labels)
    for label in labels:
        label.setFixedWidth(width)


def set_tab_order(container: Container[Any]) -> None:
    """Make Tab go down a container: Qt's own order is that of construction."""
    stops = [
        native for native in _natives(container) if native.focusPolicy() & Qt.FocusPolicy.TabFocus
    ]
    for before, after in itertools.pairwise(stops):
        QWidget.setTabOrder(before, after)


def _label_of(widget: Any) -> QLabel | None:
    """Qt label that magicgui has put before a widget of a labelled container."""
    layout = widget.native.parentWidget().layout()
    first = layout.itemAt(0) if isinstance(layout, QHBoxLayout) else None
    label = None if first is None else first.widget()
    return label if isinstance(label, QLabel) else None


def _natives(container: Any) -> Iterator[QWidget]:
    for widget in container:
        if isinstance(widget, Container | FileEdit):
            yield from _natives(widget)
        else:
            yield widget.native
