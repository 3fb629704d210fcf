"""The first screen in a visible window: nothing moves, jumps, is cut or changes by accident."""

import threading

import numpy as np
import pytest
from npe2 import PluginManifest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QScrollBar,
)

import napari_diffusion as nd
from helpers.paths import ROOT
from helpers.viewer import (
    WAIT,
    start_run,
    wait_for_preview,
    wait_until_ended,
    wait_until_settled,
)
from napari_diffusion.io import samples
from napari_diffusion.ui.qt.layout import tab_stops
from napari_diffusion.ui.run.status import Status, StatusKind
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.structures.table import CELLS
from napari_diffusion.ui.widget import DRAWERS, FINE_TUNE
from napari_diffusion.workflows import outputs

BOTH = pytest.mark.parametrize("name", ["Anisotropic diffusion", "Isotropic diffusion"])


@pytest.fixture
def on_screen(open_widget, qtbot, noisy):
    """Return a function that opens a visible window of 1280 x 800 pixel with image and widget."""

    def open_one(name="Anisotropic diffusion", image=noisy, **options):
        viewer, gui = open_widget(name)
        window = gui.root_native_widget.window()
        window.resize(1280, 800)
        with qtbot.waitExposed(window, timeout=WAIT):
            window.show()
        viewer.add_image(image, **{"name": "cells"} | options)
        settle(qtbot, gui)
        return viewer, gui

    return open_one


def settle(qtbot, gui):
    """Wait for suggestion and plan, and for the layouts: the window gets its size from X later."""
    wait_until_settled(qtbot, gui)
    places = [place_of(gui.panel.button)]
    while len(places) < 3 or len(set(places[-3:])) > 1:
        qtbot.wait(10)
        places.append(place_of(gui.panel.button))


def place_of(widget):
    """Return position and size of a widget in its window."""
    native = widget.native
    corner = native.mapTo(native.window(), QPoint(0, 0))
    return corner.x(), corner.y(), native.width(), native.height()


@BOTH
def test_menu_has_the_names_of_the_widgets(open_alone, name):
    _, gui = open_alone(name)
    manifest = PluginManifest.from_file(ROOT / "napari.yaml")
    kind = "isotropic" if gui.isotropic else "anisotropic"
    command = f"napari-diffusion.{kind}"
    names = {w.command: w.display_name for w in manifest.contributions.widgets}
    assert names[command] == gui.words.title
    titles = {c.id: c.title for c in manifest.contributions.commands}
    assert titles[command] == gui.words.title
    assert command in {
        item.command for item in manifest.contributions.menus["napari/layers/filter"]
    }


def test_double_click_on_run_starts_one_run_and_does_not_cancel_it(on_screen, fake_run, qtbot):
    viewer, gui = on_screen()
    button = gui.panel.button.native
    places = [(1, button.height() // 2), (button.width() // 2, 3), (button.width() - 2, 4)]
    for x, y in places:
        before = len(viewer.layers)
        for event in (QTest.mouseClick, QTest.mouseDClick, QTest.mouseRelease):
            event(button, Qt.MouseButton.LeftButton, pos=QPoint(x, y))
        qtbot.waitUntil(fake_run.started.is_set, timeout=WAIT)
        clicked = QApplication.widgetAt(button.mapToGlobal(QPoint(x, y)))
        assert clicked in (button, None)  # None where another window covers this one
        assert gui.panel.busy
        assert gui.panel.queued == 0
        fake_run.go.set()
        wait_until_ended(qtbot, gui)
        assert len(viewer.layers) == before + 1
        assert gui.panel.state.kind is StatusKind.DONE
        fake_run.go.clear()
        fake_run.started.clear()


@BOTH
def test_run_and_cancel_never_move(on_screen, fake_run, qtbot, name):
    viewer, gui = on_screen(name)
    panel, places = gui.panel, []

    def note():
        settle_layout()
        places.append((place_of(panel.button), place_of(panel.cancel)))

    def settle_layout():
        for _ in range(5):
            QApplication.processEvents()

    note()
    assert not panel.cancel.enabled
    assert panel.cancel.visible
    start_run(qtbot, gui, fake_run)
    note()
    assert panel.cancel.enabled
    panel.button.native.click()
    panel.button.native.click()
    assert panel.queued == 2
    note()
    panel.stop.native.click()
    note()
    fake_run.go.set()
    wait_until_ended(qtbot, gui)
    note()
    panel.fail(ValueError("An error of many words, which needs several lines on the screen. " * 6))
    note()
    panel.clear()
    note()
    for drawer in gui.drawers.values():
        drawer.open = True
        note()
    viewer.layers.clear()
    wait_until_settled(qtbot, gui)
    note()
    assert len(set(places)) == 1, places


def test_content_does_not_jump_while_the_status_changes(on_screen):
    _, gui = on_screen()
    gui.drawers[FINE_TUNE].open = True
    controls = [gui.form.layer, gui.form.structure, gui.form.amount]

    def places():
        for _ in range(5):
            QApplication.processEvents()
        return [place_of(control) for control in controls], gui.scroll.height()

    before = places()
    for text in ("One line.", "Two lines of words about what is done, on a narrow screen."):
        gui.panel.show_status(Status(StatusKind.NOTICE, text))
        assert places() == before
    gui.panel.show_plan("about 100 min · 5.5 GB", "rkl2: 1000 steps.")
    assert places() == before


@BOTH
def test_result_card_fits_and_moves_no_control(on_screen, preview_at_opening, qtbot, name):
    preview_at_opening()
    _, gui = on_screen(name, samples.confocal()[0][8:16, 32:80, 32:80], units=("um",) * 3)
    wait_for_preview(qtbot, gui)
    controls = [gui.header, gui.form.layer, gui.form.table.change, gui.form.strength_place]
    controls += [gui.sections[PreviewSection].compare, *gui.drawers.values()]
    controls = [control for control in controls if control.native.isVisible()]

    def note():
        for _ in range(5):
            QApplication.processEvents()
        return [place_of(control) for control in controls], gui.scroll.verticalScrollBar().maximum()

    before = note()
    assert before[1] == 0
    gui.panel.button.native.click()
    wait_until_ended(qtbot, gui)
    settle(qtbot, gui)
    assert gui.card.native.isVisible()
    assert "What was removed is" in gui.card.text.value
    assert note() == before  # all of it is visible, without scrolling
    # Where there is too little room for all, nothing moves either.
    gui.card.text.value = gui.card.text.value * 3
    places, hidden = note()
    assert hidden > 0
    assert places == before[0]


def test_suggestion_of_the_gaussian_width_moves_no_control(on_screen, qtbot):
    _, gui = on_screen("Isotropic diffusion")
    controls = [gui.sections[PreviewSection].compare, gui.form.suggest, *gui.drawers.values()]
    before = [place_of(control) for control in controls]
    gui.form.suggest.native.click()
    settle(qtbot, gui)
    assert gui.form.effect.value
    assert gui.drawers[FINE_TUNE].button.enabled
    assert [place_of(control) for control in controls] == before


@BOTH
def test_sentence_on_the_effect_moves_no_control(on_screen, name):
    _, gui = on_screen(name)
    sentence = gui.form.effect or gui.form.strength.sentence
    compare, places = gui.sections[PreviewSection].compare, set()
    longest = "Removes about 0.9 of the noise; faint detail smaller than about 0.79 µm goes too."
    for text in ("", "Removes half of the noise.", longest):
        sentence.value = text
        for _ in range(5):
            QApplication.processEvents()
        places.add(place_of(compare))
    assert len(places) == 1


def test_text_has_the_height_of_its_lines(on_screen, qtbot):
    _, gui = on_screen()
    label = gui.header.sentence.native
    line = label.fontMetrics().lineSpacing()
    assert label.heightForWidth(label.width()) < 1.5 * line
    content = gui.scroll.widget()
    assert content.minimumSizeHint().height() <= content.heightForWidth(content.width())


@BOTH
def test_every_line_of_every_sentence_is_visible(on_screen, qtbot, name):
    _, gui = on_screen(name)
    for drawer in gui.drawers.values():
        drawer.open = True
    settle(qtbot, gui)
    labels = [label for label in gui.scroll.widget().findChildren(QLabel) if label.wordWrap()]
    labels = [label for label in labels if label.isVisible() and label.text()]
    assert gui.form.amount.others.native in labels

    def cut():
        return [n.text() for n in labels if n.height() < n.heightForWidth(n.width())]

    assert cut() == []
    if name == "Anisotropic diffusion":
        gui.form.amount.number.value = 1234.5
        assert len(gui.form.amount.others.value) > 40
        assert cut() == []  # at once: the layouts follow only after the next drawings


def wheel(native):
    """Turn the mouse wheel over a widget: Qt offers it to the parents until one accepts it."""
    middle = QPointF(native.rect().center())
    turn = QPoint(0, -120)
    event = QWheelEvent(
        middle,
        QPointF(native.mapToGlobal(native.rect().center())),
        turn,
        turn,
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    while native is not None:
        event.accept()
        QApplication.sendEvent(native, event)
        if event.isAccepted():
            break
        native = native.parentWidget()


def state_of(native):
    """Return what a box or a slider shows."""
    return native.currentIndex() if isinstance(native, QComboBox) else native.value()


@BOTH
@pytest.mark.parametrize("focused", [False, True])
def test_wheel_scrolls_the_dock_and_changes_nothing(on_screen, qtbot, name, focused):
    viewer, gui = on_screen(name)
    viewer.add_image(np.zeros((5, 6, 7), np.float32), name="other")
    gui.form.table.change.native.click()
    for drawer in gui.drawers.values():
        drawer.open = True
    settle(qtbot, gui)
    kinds = (QComboBox, QAbstractSpinBox, QAbstractSlider)
    content = gui.scroll.widget()
    natives = [native for kind in kinds for native in content.findChildren(kind)]
    natives = [n for n in natives if n.isVisible() and not isinstance(n, QScrollBar)]
    assert len(natives) > 10
    bar = gui.scroll.verticalScrollBar()
    assert bar.maximum() > 0
    for native in natives:
        bar.setValue(0)
        if focused:
            native.setFocus()
        bar.setValue(0)
        before = state_of(native)
        wheel(native)
        assert state_of(native) == before, native
        assert bar.value() > 0, native


def test_wheel_over_controls_of_a_model_that_is_chosen_later(on_screen, qtbot):
    _, gui = on_screen()
    gui.drawers[FINE_TUNE].open = True
    gui.form.model.value = nd.VesselEnhancing
    settle(qtbot, gui)
    control = gui.form.controls["polarity"].native
    before = state_of(control)
    wheel(control)
    assert state_of(control) == before


@pytest.mark.parametrize("drawer", DRAWERS, ids=lambda drawer: drawer.title)
def test_opened_drawer_is_scrolled_into_view(on_screen, qtbot, drawer):
    _, gui = on_screen()
    gui.root_native_widget.window().resize(1280, 620)
    settle(qtbot, gui)
    opened = gui.drawers[drawer]
    opened.button.native.click()
    settle(qtbot, gui)
    view, bar = gui.scroll.viewport(), gui.scroll.verticalScrollBar()

    def is_in_view():
        top = opened.native.mapTo(view, QPoint(0, 0)).y()
        bottom = top + opened.native.height()
        fills = top == 0 and bottom > view.height()
        return fills or (top >= 0 and bottom <= view.height())

    qtbot.waitUntil(is_in_view, timeout=WAIT)
    assert bar.value() > 0
    # Later changes of the content do not take the screen from the user.
    qtbot.waitUntil(lambda: gui.scroll._revealed is None, timeout=WAIT)
    bar.setValue(0)
    gui.form.table.change.native.click()
    settle(qtbot, gui)
    assert bar.value() == 0


def test_error_is_shown_once(on_screen, qtbot, monkeypatch):
    from napari.utils import notifications

    shown = []
    monkeypatch.setattr(notifications, "show_error", shown.append)
    _, gui = on_screen()
    gui.sections[PreviewSection].show.value = True
    gui.drawers[FINE_TUNE].open = True
    wait_for_preview(qtbot, gui)
    for row in gui.form.table.rows:
        row.smooth.value = False
    wait_for_preview(qtbot, gui)
    settle(qtbot, gui)
    sentence = "Check at least one axis to smooth along."
    assert gui.panel.status.value == sentence
    gui.panel.button.native.click()
    settle(qtbot, gui)
    assert gui.panel.failed
    labels = [label.text() for label in gui.native.findChildren(QLabel)]
    assert [*labels, *shown].count(sentence) == 1
    gui.form.table.rows[-1].smooth.value = True
    qtbot.waitUntil(lambda: "B" in gui.panel.plan.value, timeout=WAIT)  # as in MB
    assert gui.panel.status.value != sentence


@pytest.mark.parametrize("plan_first", [True, False])
def test_error_of_the_engine_is_shown_once(on_screen, qtbot, monkeypatch, plan_first):
    """Plan and preview find it, each in a thread of its own; either may be the first."""
    _, gui = on_screen()
    first = threading.Event()
    real = outputs.plan_run

    def plan(*args):
        if not plan_first:
            first.wait(60)
        return real(*args)

    monkeypatch.setattr(outputs, "plan_run", plan)
    section = gui.sections[PreviewSection]
    gui.form.amount.number.value = 1e6  # far more than 100 000 steps
    if plan_first:
        qtbot.waitUntil(lambda: bool(gui.panel.refusal), timeout=WAIT)
        section.show.value = True
    else:
        section.show.value = True
        qtbot.waitUntil(lambda: "steps" in section.status.value, timeout=WAIT)
    first.set()
    qtbot.waitUntil(lambda: bool(gui.panel.refusal), timeout=WAIT)
    wait_for_preview(qtbot, gui)
    settle(qtbot, gui)
    labels = [label.text() for label in gui.native.findChildren(QLabel)]
    assert labels.count(gui.panel.refusal) == 1
    assert section.status.value == ""


def test_values_that_are_not_finite_are_named_once(on_screen, noisy, qtbot):
    noisy[2:4, 5:9, 5:9] = np.nan
    viewer, gui = on_screen(image=noisy)
    viewer.dims.set_current_step(0, 3)
    section = gui.sections[PreviewSection]
    section.show.value = True
    wait_for_preview(qtbot, gui)
    assert "NaN or infinite" in section.status.value
    gui.panel.button.native.click()
    wait_until_ended(qtbot, gui)
    assert gui.panel.failed

    def named():
        labels = [label.text() for label in gui.native.findChildren(QLabel)]
        return [text for text in labels if "are NaN or infinite" in text]

    assert named() == [gui.panel.status.value]
    gui.panel.say("Copied.")
    assert named() == [section.status.value]


def test_error_off_the_screen_is_a_notification(on_screen, monkeypatch):
    from napari.utils import notifications

    shown = []
    monkeypatch.setattr(notifications, "show_error", shown.append)
    _, gui = on_screen()
    gui.panel.fail(ValueError("seen"))
    assert shown == []
    gui.native.hide()
    gui.panel.fail(ValueError("unseen"))
    assert shown == ["unseen"]


def test_list_of_errors_ends_with_a_change_of_the_model(on_screen):
    _, gui = on_screen()
    gui.panel.show_status(Status(StatusKind.FAILED, "1 done, 2 failed:\na\nb", "all of them"))
    gui.form.structure.value = next(iter(reversed(gui.form.structure.buttons)))
    assert not gui.panel.failed


@BOTH
def test_dock_has_its_width_from_the_first_moment(open_widget, qtbot, noisy, name):
    viewer, gui = open_widget(name)
    window = gui.root_native_widget.window()
    window.resize(1280, 800)
    viewer.add_image(noisy)
    window.show()
    QApplication.processEvents()
    first = gui.scroll.minimumSizeHint().width()
    settle(qtbot, gui)
    assert gui.scroll.minimumSizeHint().width() == first
    assert first <= 330


def test_every_control_has_a_name_for_screen_readers(on_screen, qtbot):
    _, gui = on_screen()
    gui.form.table.change.native.click()
    for drawer in gui.drawers.values():
        drawer.open = True
    settle(qtbot, gui)
    stops = tab_stops(gui.native)
    assert len(stops) > 30
    names = {stop: spoken_name(stop) for stop in stops}
    assert [stop for stop, name in names.items() if not name] == []
    expected = {
        gui.form.layer: "Image",
        gui.form.table.rows[0].size: "Voxel size of axis 0",
        gui.form.controls["kappa"]: "Edge threshold",
        gui.form.run_options["threads"]: "Threads",
        gui.panel.button: "Run",
    }
    for control, name in expected.items():
        assert names[control.native] == name
    assert names[gui.form.structure.buttons[CELLS]] == "My image shows cells and tissue"


def spoken_name(native):
    """Return what a screen reader says of a control: its name, or the text of a button."""
    text = native.text() if isinstance(native, QAbstractButton) else ""
    return (native.accessibleName() or text).strip("? ")
