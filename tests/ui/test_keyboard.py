"""Everything on the first screen works without a mouse, by real key events in a visible window.

Each event goes to the widget with the keyboard focus, or to the menu that is open.
"""

import itertools

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from helpers.canvas import canvas_of
from helpers.viewer import WAIT, wait_for_preview, wait_until_settled
from napari_diffusion.ui.qt.layout import tab_stops
from napari_diffusion.ui.sections.preview import COMPARE_KEY, PreviewSection
from napari_diffusion.ui.structures.table import FIRST_ROW
from napari_diffusion.ui.widget import OUTPUTS

Key, Modifier = Qt.Key, Qt.KeyboardModifier


class Keyboard:
    """Types into whatever has the focus in a window."""

    def __init__(self, qtbot, window):
        self._qtbot, self._window = qtbot, window

    @property
    def focus(self):
        """The open menu, or the widget with the focus."""
        return QApplication.activePopupWidget() or QApplication.focusWidget() or self._window

    def type(self, key, modifier=Modifier.NoModifier):
        QTest.keyClick(self.focus, key, modifier)
        QApplication.processEvents()

    def open_widget(self, beginning):
        """Open a widget by the menu: the underlined letter, then the arrow keys."""
        self.type(Key.Key_L, Modifier.AltModifier)
        self._qtbot.waitUntil(lambda: QApplication.activePopupWidget() is not None, timeout=WAIT)
        self._to("Filter")
        self.type(Key.Key_Right)
        self._to(beginning)
        self.type(Key.Key_Return)

    def _to(self, beginning):
        menu = QApplication.activePopupWidget()
        for _ in menu.actions():
            chosen = menu.activeAction()
            if chosen is not None and chosen.text().replace("&", "").startswith(beginning):
                return
            self.type(Key.Key_Down)
        raise AssertionError(f"the menu has no entry {beginning}")

    def tab_to(self, native):
        """Press Tab until a widget has the focus."""
        visited = []
        for _ in range(60):
            if self.focus is native:
                return
            visited.append(self.focus.accessibleName() or type(self.focus).__name__)
            self.type(Key.Key_Tab)
        raise AssertionError(f"Tab does not reach {native}: {visited}")


@pytest.fixture
def desk(make_napari_viewer, preview_at_opening, qtbot, noisy):
    """Return a function that shows an image, and opens the widget and its preview by keys."""
    preview_at_opening()

    def prepare():
        viewer = make_napari_viewer(show=True)
        window = viewer.window._qt_window
        window.resize(1280, 800)
        viewer.add_image(noisy, name="noisy")
        qtbot.waitExposed(window)
        window.activateWindow()
        qtbot.waitUntil(window.isActiveWindow, timeout=WAIT)
        keyboard = Keyboard(qtbot, window)
        keyboard.open_widget("Edge-preserving denoising")
        qtbot.waitUntil(lambda: len(viewer.window.dock_widgets) == 1, timeout=WAIT)
        (gui,) = viewer.window.dock_widgets.values()
        wait_for_preview(qtbot, gui)
        canvas_of(gui).setFocus()
        return viewer, gui, keyboard

    return prepare


def test_whole_path_without_a_mouse(desk, qtbot):
    viewer, gui, keyboard = desk()
    section, picker, strength = gui.sections[PreviewSection], gui.form.structure, gui.form.strength
    keyboard.type(Key.Key_F6)
    assert gui.native.isAncestorOf(keyboard.focus)

    cells, flat = FIRST_ROW[:2]
    keyboard.tab_to(picker.buttons[cells])
    keyboard.type(Key.Key_Right)
    assert picker.value == flat
    assert keyboard.focus is picker.buttons[flat]
    keyboard.type(Key.Key_Left)
    assert picker.value == cells
    wait_until_settled(qtbot, gui)  # the slider is disabled while the noise is measured
    wait_for_preview(qtbot, gui)

    keyboard.tab_to(strength.slider.native)
    before = np.array(section.overlay.layer.data)
    for _ in range(5):
        keyboard.type(Key.Key_Right)
    assert strength.slider.value > 0
    wait_for_preview(qtbot, gui)
    assert not np.array_equal(section.overlay.layer.data, before)

    keyboard.tab_to(section.show.native)
    for expected in (False, True):
        keyboard.type(Key.Key_Space)
        assert section.show.value is expected
    keyboard.tab_to(section.split.native)
    keyboard.type(Key.Key_Space)
    assert section.split.value
    wait_for_preview(qtbot, gui)

    keyboard.tab_to(section.compare.native)
    QTest.keyPress(keyboard.focus, Key.Key_Space)
    assert section.comparison.held
    QTest.keyRelease(keyboard.focus, Key.Key_Space)
    assert not section.comparison.held

    drawer = gui.drawers[OUTPUTS]
    keyboard.tab_to(drawer.button.native)
    keyboard.type(Key.Key_Space)
    assert drawer.open
    assert keyboard.focus is drawer.button.native
    keyboard.type(Key.Key_Space)
    assert not drawer.open

    layers = len(viewer.layers)
    keyboard.tab_to(gui.panel.button.native)
    keyboard.type(Key.Key_Space)
    qtbot.waitUntil(lambda: not gui.panel.busy and len(viewer.layers) > layers, timeout=WAIT)
    assert len(viewer.layers) == layers + 1

    assert gui.native.isAncestorOf(keyboard.focus)
    keyboard.type(Key.Key_F6)
    assert keyboard.focus is canvas_of(gui)


def test_run_is_cancelled_and_undone_without_a_mouse(desk, fake_run, qtbot):
    viewer, gui, keyboard = desk()
    layers = list(viewer.layers)
    gui.panel.button.native.setFocus()
    keyboard.type(Key.Key_Space)
    qtbot.waitUntil(fake_run.started.is_set, timeout=WAIT)
    keyboard.tab_to(gui.panel.cancel.native)
    keyboard.type(Key.Key_Space)
    qtbot.waitUntil(lambda: not gui.panel.busy, timeout=WAIT)
    assert list(viewer.layers) == layers


def test_tab_visits_the_controls_from_top_to_bottom(desk):
    _, gui, keyboard = desk()
    keyboard.type(Key.Key_F6)
    visited = [keyboard.focus]
    while gui.native.isAncestorOf(keyboard.focus):
        keyboard.type(Key.Key_Tab)
        assert keyboard.focus not in visited, "Tab goes round without an end"
        visited.append(keyboard.focus)
    visited.pop()  # outside
    pictures = gui.form.structure.buttons.values()
    expected = [
        stop
        for stop in tab_stops(gui.native)
        if stop.isVisible()
        and stop.isEnabled()
        # The arrow keys lead from the chosen picture to the others.
        and (stop not in pictures or stop.isChecked())
    ]
    assert visited == expected
    heights = [stop.mapTo(gui.native, stop.rect().center()).y() for stop in visited]
    rows = [height for height in heights if height >= 0]
    assert all(after > before - 30 for before, after in itertools.pairwise(rows))


def test_compare_key_works_with_the_focus_on_any_control(desk):
    _, gui, keyboard = desk()
    section, key = gui.sections[PreviewSection], Key[f"Key_{COMPARE_KEY}"]
    for stop in (gui.form.strength.slider.native, section.show.native, gui.panel.button.native):
        stop.setFocus()
        QTest.keyPress(keyboard.focus, key)
        assert section.comparison.held, stop
        QTest.keyRelease(keyboard.focus, key)
        assert not section.comparison.held, stop


def test_explanation_is_opened_read_and_left_without_a_mouse(desk):
    _, gui, keyboard = desk()
    keyboard.type(Key.Key_F6)
    keyboard.tab_to(gui.header.help.native)
    keyboard.type(Key.Key_Space)
    assert gui.explain.isVisible()
    keyboard.tab_to(gui.explain.topics[0])
    keyboard.type(Key.Key_Right)
    assert gui.explain.topics[1].isChecked()
    keyboard.tab_to(gui.explain.slider)
    keyboard.type(Key.Key_Right)
    assert gui.explain.slider.value() > 0
    QTest.keyClick(gui.explain.back, Key.Key_Space)
    assert gui.scroll.isVisible()
    assert keyboard.focus is gui.header.help.native


def test_command_palette_leads_to_the_controls(desk, qtbot):
    viewer, gui, keyboard = desk()
    palette = viewer.window._qt_window._command_palette
    keyboard.type(Key.Key_P, Modifier.ControlModifier | Modifier.ShiftModifier)
    qtbot.waitUntil(lambda: palette.isAncestorOf(QApplication.focusWidget()), timeout=WAIT)
    QTest.keyClicks(QApplication.focusWidget(), "controls and back")
    keyboard.type(Key.Key_Return)
    qtbot.waitUntil(lambda: gui.native.isAncestorOf(keyboard.focus), timeout=WAIT)
