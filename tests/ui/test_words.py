"""Words of the widgets: short sentences, no words of developers, names and tooltips for all."""

import re

import numpy as np
import pytest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QMenu,
    QScrollBar,
    QWidget,
)

from helpers.viewer import wait_until_settled

WIDGETS = ("Anisotropic diffusion", "Isotropic diffusion")
#: Maximum number of words of a sentence.
MAX_WORDS = 20
#: Words of developers and of mathematics, which a first screen must not contain.
BANNED = re.compile(
    r"explicit|implicit|\bscheme|\bsteps?\b|thread|MiB|kernel|kappa|perona|malik|"
    r"conductance|diffusivity|diffusion time|\brecipe|float|dtype|tensor|SURE\b|isotropic|backend|"
    r"÷",
    re.IGNORECASE,
)
CONTROLS = (QAbstractButton, QComboBox, QAbstractSlider, QAbstractSpinBox, QLineEdit)


def described(native):
    """Class, text and tooltip of a Qt widget, for messages."""
    text, above = getattr(native, "text", str)(), native.parentWidget()
    names = f"{type(native).__name__} in {type(above).__name__} {above.toolTip()!r}"
    return f"{names}: {text!r} ({native.toolTip()!r})"


def children(native):
    """All Qt widgets inside another one that napari or we have made, not parts of Qt's own."""
    for child in native.findChildren(QWidget):
        within = child.parentWidget()
        internal = isinstance(within, QComboBox | QAbstractSpinBox | QAbstractItemView)
        internal |= _is_in_menu(child) or child.maximumWidth() == 0  # reserves a height
        if not internal and not isinstance(child, QScrollBar) and child.objectName()[:3] != "qt_":
            yield child


def _is_in_menu(native):
    """Whether a widget is in a context menu, such as that of a plot."""
    while native is not None and not isinstance(native, QMenu):
        native = native.parentWidget()
    return native is not None


def texts_of(native):
    """All texts of a Qt widget: on its face, its choices, its tooltip and its accessible name."""
    if isinstance(native, QLabel | QAbstractButton):
        yield native.text()
    if isinstance(native, QComboBox):
        yield from (native.itemText(k) for k in range(native.count()))
    yield from (native.toolTip(), native.accessibleName(), native.accessibleDescription())


def face_of(native):
    """Texts on the face of a Qt widget."""
    if isinstance(native, QLabel | QAbstractButton):
        return [native.text()]
    return [native.currentText()] if isinstance(native, QComboBox) else []


def sentences(text):
    """Sentences of a text; lines and clauses after a colon or semicolon count as sentences."""
    return [part for part in re.split(r"(?<=[.:;?!…])\s+|\n", text) if part.strip()]


@pytest.fixture(params=WIDGETS)
def widget(request, open_alone, qtbot):
    """Each of the two widgets, with an image."""
    viewer, gui = open_alone(request.param)
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, (6, 40, 40)).astype(np.float32)
    image[:, 10:30, 10:30] += 200
    viewer.add_image(image, name="cells", scale=(0.5, 0.2, 0.2), units=("um",) * 3)
    wait_until_settled(qtbot, gui)
    gui.native.resize(320, 760)
    gui.native.show()
    yield gui
    gui.native.hide()


def open_drawers(gui):
    for drawer in gui.drawers.values():
        drawer.open = True
    assert gui.explain.isHidden()  # it is made by this


def test_no_sentence_is_long(widget):
    open_drawers(widget)
    long = [
        sentence
        for native in children(widget.native)
        for text in texts_of(native)
        for sentence in sentences(text)
        if len(sentence.split()) > MAX_WORDS
    ]
    assert not long, "\n".join(long)


def test_first_screen_has_no_words_of_developers(widget):
    shown = [
        text
        for native in children(widget.native)
        if native.isVisibleTo(widget.native)
        for text in face_of(native)
    ]
    assert "Run" in shown
    banned = [text for text in shown if BANNED.search(text)]
    assert not banned, "\n".join(banned)


def test_first_screen_has_few_controls(widget):
    """At most seven above Run; the parts of one choice count once, and drawers and help do not."""
    form, groups = widget.form, set()
    apart = {drawer.button.native for drawer in widget.drawers.values()}
    apart.add(widget.header.help.native)
    choices = [part.native for part in (form.structure, form.strength_place) if part is not None]
    for native in children(widget.scroll):
        if isinstance(native, CONTROLS) and native.isVisibleTo(widget.scroll):
            group = next((c for c in choices if c.isAncestorOf(native)), native)
            groups |= {group} - apart
    assert 5 <= len(groups) <= 7, [described(native) for native in groups]
    assert len(widget.drawers) == 3


def test_every_control_has_a_tooltip_and_an_accessible_name(widget):
    open_drawers(widget)
    controls = [native for native in children(widget.native) if isinstance(native, CONTROLS)]
    assert len(controls) > 20
    silent = [described(native) for native in controls if not native.toolTip()]
    nameless = [
        described(native)
        for native in controls
        if not native.accessibleName()
        and not (isinstance(native, QAbstractButton) and re.search(r"\w\w", native.text()))
    ]
    assert not silent + nameless, "\n".join(["no tooltip:", *silent, "no name:", *nameless])
