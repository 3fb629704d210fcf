"""Choice of what the image shows: a row of pictures, and a menu of further structures."""

from __future__ import annotations

from collections.abc import Sequence

from magicgui.widgets import Container
from psygnal import Signal
from qtpy.QtCore import QObject, QSize, Qt
from qtpy.QtGui import QAction, QIcon
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QMenu, QPushButton, QSizePolicy, QToolButton

from napari_diffusion.models import Model
from napari_diffusion.ui.qt.layout import NO_MARGINS, bare_container, indent_left, wrapping_label
from napari_diffusion.ui.qt.slots import slot
from napari_diffusion.ui.structures.table import (
    CELLS,
    FIRST_ROW,
    Structure,
    further_structures,
    structure_of,
)

#: Side of a picture [pixel].
PICTURE_SIDE = 64
QUESTION = "My image shows"
#: The frame of the chosen picture, and of the one with the focus or under the pointer. Its colour
#: is seen on a dark and on a light background.
FRAME = 2
STYLE = f"""
QToolButton {{ border: {FRAME}px solid transparent; border-radius: 4px; padding: 2px 0px; }}
QToolButton:hover, QToolButton:focus {{ border-color: #808890; }}
QToolButton:checked {{ border-color: #4c8bf5; }}
QToolButton:checked:focus {{ border-style: dashed; }}
"""


class StructurePicker(Container):  # type: ignore[type-arg]
    """Four pictures and *More*; exactly one structure is chosen.

    Parameters
    ----------
    models
        All models to choose from.

    Attributes
    ----------
    chosen
        Signal: the user has chosen a structure.
    line
        The chosen structure in words.
    buttons
        One button for each picture.
    more, menu
        The button *More* and its menu.
    """

    chosen = Signal(object)

    def __init__(self, models: Sequence[type[Model]]) -> None:
        self._value = CELLS
        self.line = wrapping_label()
        self.buttons = {structure: _button(structure) for structure in FIRST_ROW}
        self.more, self.menu = _more_button()
        self._entries = {each: _entry(self.menu, each) for each in further_structures(models)}
        top = bare_container(self.line, layout="horizontal", labels=False)
        top.native.layout().addWidget(self.more)
        top.native.layout().setStretch(0, 1)
        # A second line of words would move the pictures.
        indent_left(self.line.native)
        top.native.layout().setSpacing(2)
        super().__init__(widgets=[top], labels=False)
        self.margins = NO_MARGINS
        row = QHBoxLayout()
        row.setSpacing(4)
        self._group = QButtonGroup(self.native)
        for button in self.buttons.values():
            row.addWidget(button, 1)
            self._group.addButton(button)
        self.native.layout().addLayout(row)
        self.native.layout().setSpacing(2)
        self._group.buttonClicked.connect(self._pressed)
        self.menu.triggered.connect(self._pressed)
        self._show()

    @property
    def value(self) -> Structure:
        """The chosen structure; ``AUTOMATIC`` of the table where the image decides."""
        return self._value

    @value.setter
    def value(self, structure: Structure) -> None:
        if structure != self._value:
            self._value = structure
            self._show()
            self.chosen.emit(structure)

    def show_model(self, model: type[Model]) -> None:
        """Show the structure of a model that was chosen by its name; nothing is emitted."""
        if self._value.model is not model:
            self._value = structure_of(model)
            self._show()

    @slot
    def _pressed(self, pressed: QObject) -> None:
        for structure, item in (*self.buttons.items(), *self._entries.items()):
            if item is pressed:
                self.value = structure
        self._show()  # an entry that was chosen already must stay checked

    def _show(self) -> None:
        self.line.value = f"{QUESTION}: {self._value.name}"
        self.line.tooltip = self._value.sentence
        self._group.setExclusive(False)  # no picture is checked for a structure of the menu
        for structure, button in self.buttons.items():
            button.setChecked(structure == self._value)
        for structure, entry in self._entries.items():
            entry.setChecked(structure == self._value)
        self._group.setExclusive(True)


class PictureButton(QToolButton):
    """A button with a picture and two lines of text, as narrow as these: Qt would add two letters.

    Four of them have to fit into a narrow dock.
    """

    def sizeHint(self) -> QSize:
        """Return the size of picture and text with their frame."""
        hint = super().sizeHint()
        widest = max(self.fontMetrics().horizontalAdvance(line) for line in self.text().split("\n"))
        hint.setWidth(max(widest, self.iconSize().width()) + 2 * FRAME)
        return hint

    def minimumSizeHint(self) -> QSize:
        """Return the same: nothing of it can be left out."""
        return self.sizeHint()


def _button(structure: Structure) -> PictureButton:
    """Return the button of a structure: its picture, and its name in two lines."""
    button = PictureButton()
    button.setCheckable(True)
    button.setStyleSheet(STYLE)
    button.setText("\n".join(structure.name.rsplit(" ", 1)))
    button.setToolTip(structure.sentence)
    button.setAccessibleName(f"{QUESTION} {structure.name}")
    button.setIcon(_icon(structure))
    button.setIconSize(QSize(PICTURE_SIDE, PICTURE_SIDE))
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return button


def _more_button() -> tuple[QPushButton, QMenu]:
    """Return the button *More* and its menu."""
    button = QPushButton("More ▾")
    button.setToolTip("Further kinds of images, and an automatic choice.")
    button.setAccessibleName(f"{QUESTION}: more kinds")
    button.setStyleSheet("QPushButton::menu-indicator { width: 0; }")
    button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
    menu = QMenu(button)
    menu.setToolTipsVisible(True)
    button.setMenu(menu)
    return button, menu


def _entry(menu: QMenu, structure: Structure) -> QAction:
    """Add a structure to the menu."""
    entry = menu.addAction(structure.name)
    assert entry is not None
    entry.setCheckable(True)
    entry.setToolTip(structure.sentence)
    return entry


def _icon(structure: Structure) -> QIcon:
    """Return the picture of a structure; Qt takes the file ``@2x`` on a fine screen."""
    return QIcon(str(structure.picture))
