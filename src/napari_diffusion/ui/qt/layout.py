"""Layout of the widgets in a dock: scrolling, margins, aligned labels, tab order, wrapped text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from magicgui.widgets import ComboBox, Container, Label, Widget
from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QPaintEvent, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QScrollArea,
    QScrollBar,
    QSizePolicy,
    QWidget,
)

from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.qt.timers import single_shot
from napari_diffusion.ui.qt.wheel import WheelGuard

#: Time for the layouts to be updated after a drawer was opened [ms].
REVEAL_MS = 500
#: Minimum height of the scroll area, and thereby of the dock [pixel].
MIN_HEIGHT = 120
#: Minimum width: all drawers fit, so that nothing moves sideways when one is opened [pixel].
MIN_WIDTH = 318
#: Width of the place of the scroll bar [pixel].
BAR_WIDTH = 8
#: Left and right border of a scroll area in napari's theme, together [pixel].
BORDER = 2
#: Distance of the controls from the edges of the dock [pixel].
MARGIN = 9
#: Margins of a container inside another one [pixel].
NO_MARGINS = (0, 0, 0, 0)


class ReservedScrollBar(QScrollBar):
    """Vertical scroll bar that keeps its place and is drawn where there is something to scroll.

    A bar that comes and goes would change the width of the controls, and thereby wrap their text.
    """

    def sizeHint(self) -> QSize:
        """Return a narrower bar than that of napari's theme."""
        return QSize(BAR_WIDTH, super().sizeHint().height())

    def paintEvent(self, a0: QPaintEvent | None) -> None:
        """Draw the bar unless all of the content is visible."""
        if self.maximum() > self.minimum():
            super().paintEvent(a0)


class VerticalScrollArea(QScrollArea):
    """Vertical scroll area that is as wide as its content needs.

    magicgui's own ``scrollable=True`` does not work in a napari dock: napari docks the content and
    leaves the scroll area out.
    """

    #: The theme or the font has changed.
    restyled = Signal()

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBar(ReservedScrollBar())
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(content)
        self._wheel_guard = WheelGuard(self)
        self._revealed: tuple[QWidget, QWidget] | None = None
        self._reveal_ends = single_shot(self, REVEAL_MS, self._forget_revealed)
        bar = self.verticalScrollBar()
        assert bar is not None
        bar.rangeChanged.connect(self._scroll_to_revealed)
        self.guard()

    def guard(self) -> None:
        """Keep the mouse wheel from changing values; call it when controls were added."""
        content = self.widget()
        assert content is not None
        self._wheel_guard.guard(content)

    def reveal(self, header: QWidget, body: QWidget) -> None:
        """Scroll until a widget that is about to grow is visible, and first of all its header.

        Its size is known only after the layouts around it, one after the other, have been updated.
        """
        self._revealed = header, body
        self._reveal_ends.start()
        self._scroll_to_revealed()

    @slot
    def _scroll_to_revealed(self) -> None:
        if self._revealed is not None:
            header, body = self._revealed
            self.ensureWidgetVisible(body, 0, 0)
            self.ensureWidgetVisible(header, 0, 0)

    @slot
    def _forget_revealed(self) -> None:
        self._revealed = None

    def wheelEvent(self, a0: QWheelEvent | None) -> None:
        """Scroll; the user has taken over."""
        self._forget_revealed()
        super().wheelEvent(a0)

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """Update the geometry when the content needs another width."""
        if a1 is not None and a1.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(a0, a1)

    def changeEvent(self, a0: QEvent | None) -> None:
        """Emit `restyled` when the theme or the font has changed."""
        super().changeEvent(a0)
        if a0 is not None and a0.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.restyled.emit()

    def minimumSizeHint(self) -> QSize:
        """Return the minimum size: the minimum width of content and bar, and `MIN_HEIGHT`."""
        content = self.widget()
        assert content is not None
        width = content.minimumSizeHint().width() + BAR_WIDTH + BORDER
        return QSize(max(width, MIN_WIDTH), MIN_HEIGHT)

    def sizeHint(self) -> QSize:
        """Return the minimum width and the content's height."""
        content = self.widget()
        assert content is not None
        return self.minimumSizeHint().expandedTo(QSize(0, content.sizeHint().height()))


def bare_container(*widgets: Widget, **options: Any) -> Container[Any]:
    """Return a container without margins; ``options`` are those of magicgui's `Container`."""
    container: Container[Any] = Container(widgets=widgets, **options)
    container.margins = NO_MARGINS
    return container


def wrapping_label(text: str = "") -> Label:
    """Return a label that wraps its text, so that no text makes the dock wider."""
    label = Label(value=text)
    wrap(label.native)
    label.native.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def wrap(label: QLabel) -> None:
    """Make a label wrap its text, and as high as its text is at its width.

    With another vertical policy, a layout would reserve the lines of Qt's size hint, which is for a
    label of about twenty letters.
    """
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    policy.setHeightForWidth(True)
    label.setSizePolicy(policy)


def heading(text: str, tooltip: str = "") -> Label:
    """Return the heading of a block of controls."""
    label = Label(value=text, tooltip=tooltip)
    label.native.setStyleSheet("font-weight: bold; padding-top: 4px;")
    return label


def reserve_height(row: Container[Any], model: QWidget) -> None:
    """Make a horizontal container always as high as a widget, whatever it shows.

    Lines of text begin at its top: the first one stays in place when others follow.

    Parameters
    ----------
    row
        A horizontal container.
    model
        A widget of the height to reserve; it becomes an invisible part of the row. It follows the
        theme and the font, which a number of pixels would not.
    """
    labels = row.native.findChildren(QLabel) if isinstance(model, QLabel) else []
    hold_height(row.native.layout(), model, *labels)


def indent_left(label: QLabel) -> None:
    """Indent the text of a label on the left only; Qt does the same on all sides."""
    label.setIndent(0)
    label.setContentsMargins(label.fontMetrics().horizontalAdvance("x") // 2, 0, 0, 0)


def hold_height(layout: QLayout, model: QWidget, *labels: QLabel) -> None:
    """Add an invisible widget to a horizontal layout, for its height alone.

    The text of ``labels``, which are in the layout, begins at the top.
    """
    for label in labels:
        indent_left(label)
        label.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
    policy = model.sizePolicy()
    policy.setRetainSizeWhenHidden(True)
    model.setSizePolicy(policy)
    model.setFixedWidth(0)
    model.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    layout.addWidget(model)  # a first widget would move the others to the right
    model.hide()


def keep_narrow(box: ComboBox, letters: int = 8) -> None:
    """Shorten long entries of a combo box to ``letters`` characters: they would widen the dock."""
    box.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.native.setMinimumContentsLength(letters)
    box.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


def align_labels(container: Container[Any]) -> None:
    """Give all labels of a container the width of the widest; do the same inside it.

    magicgui measures them too early, before the theme has set their font.
    """
    for widget in container:
        if isinstance(widget, Container):
            align_labels(widget)
    labels = [label for widget in container if (label := _label_of(widget)) is not None]
    if not container.labels or not labels:
        return
    for label in labels:
        label.ensurePolished()
        label.setMinimumWidth(0)  # the size hint is never below the minimum
        label.setIndent(label.indent())  # Qt forgets the size hint that it has kept
    width = max(label.sizeHint().width() for label in labels)
    for label in labels:
        label.setFixedWidth(width)


def put_label_above(widget: Widget, *beside: Widget) -> None:
    """Put the label of a widget above it: beside it, the two would be wider than a narrow dock.

    Parameters
    ----------
    widget
        A widget in a container with labels. An empty label takes no place.
    beside
        Widgets that are moved into the line of the label, to its right.
    """
    label, layout = _label_of(widget), widget.native.parentWidget().layout()
    if label is None or not isinstance(layout, QHBoxLayout):
        return
    layout.setDirection(QHBoxLayout.Direction.TopToBottom)
    layout.setSpacing(0)
    label.setVisible(bool(label.text().strip()))
    label.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    line = QHBoxLayout()
    line.addWidget(label)
    line.addStretch(1)
    for part in beside:
        line.addWidget(part.native)
    layout.insertLayout(0, line)


def set_tab_order(top: QWidget) -> None:
    """Make Tab visit the widgets inside another one from top to bottom.

    Qt's default is the order in which they were constructed. Of a group of buttons, Tab visits the
    chosen one; the others have their place in the order, since they may be chosen later.
    """
    stops = [native for native in _leaves(top) if _is_stop(native) or _is_in_group(native)]
    for before, after in itertools.pairwise(stops):
        QWidget.setTabOrder(before, after)


def tab_stops(top: QWidget) -> list[QWidget]:
    """Return the widgets inside another one that Tab visits, from top to bottom."""
    return [native for native in _leaves(top) if _is_stop(native)]


def _is_stop(native: QWidget) -> bool:
    return bool(native.focusPolicy() & Qt.FocusPolicy.TabFocus)


def _is_in_group(native: QWidget) -> bool:
    return isinstance(native, QAbstractButton) and native.group() is not None


def name_controls(top: QWidget) -> None:
    """Name the controls inside a widget for screen readers: buttons by text, others by label.

    A control that has a name keeps it. One without a label has the first sentence of its tooltip.
    """
    for native in tab_stops(top):
        if not native.accessibleName() and not isinstance(native, QAbstractButton):
            tooltip = native.toolTip() or getattr(native.parentWidget(), "toolTip", str)()
            name = _label_before(native, top) or tooltip.partition(".")[0]
            native.setAccessibleName(name)


def name_parts(native: QWidget, name: str, tooltip: str) -> None:
    """Give a control and its parts, such as slider and number, a name and a tooltip."""
    for part in (native, *native.findChildren(QWidget)):
        if isinstance(part, QAbstractSlider | QAbstractSpinBox):
            part.setToolTip(tooltip)
            part.setAccessibleName(name)


def _label_before(native: QWidget, top: QWidget) -> str:
    """Return the text of the label in the row of a control, empty without one."""
    inner: QWidget | None = native
    while inner is not None and inner is not top:
        outer = inner.parentWidget()
        layout = None if outer is None else outer.layout()
        first = layout.itemAt(0) if isinstance(layout, QHBoxLayout) else None
        line = None if first is None else first.layout()
        if line is not None:  # the label is above
            first = line.itemAt(0)
        label = None if first is None else first.widget()
        if isinstance(label, QLabel) and label.text().strip():
            return label.text()
        inner = outer
    return ""


def _label_of(widget: Any) -> QLabel | None:
    """Return the Qt label beside a widget, which magicgui has put there; ``None`` without one."""
    layout = widget.native.parentWidget().layout()
    first = layout.itemAt(0) if isinstance(layout, QHBoxLayout) else None
    label = None if first is None else first.widget()
    return label if isinstance(label, QLabel) else None


def _leaves(native: QWidget) -> Iterator[QWidget]:
    """Yield the widgets without a layout inside another one, from top to bottom."""
    content = native.widget() if isinstance(native, QScrollArea) else None
    layout = native.layout()
    if content is not None:
        yield from _leaves(content)
    elif layout is not None:
        yield from _leaves_of(layout)
    else:
        yield native


def _leaves_of(layout: QLayout) -> Iterator[QWidget]:
    for index in range(layout.count()):
        item = layout.itemAt(index)
        assert item is not None
        native, inner = item.widget(), item.layout()
        if native is not None:
            yield from _leaves(native)
        elif inner is not None:
            yield from _leaves_of(inner)
