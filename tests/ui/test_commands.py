"""Commands of the command palette, and their keys in the canvas."""

import pytest
from napari._app_model import get_app_model
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import Qt

from helpers.canvas import canvas_of, wait_for_canvas
from helpers.viewer import WAIT, wait_for_preview, wait_until_settled
from napari_diffusion.ui import commands
from napari_diffusion.ui.sections.preview import COMPARE_KEY, PreviewSection

IDS = [f"napari-diffusion.{name}" for name in ("run", "preview", "compare", "suggest", "switch")]


def give(name):
    """Give a command as the command palette does."""
    get_app_model().commands.execute_command(f"napari-diffusion.{name}").result()


@pytest.fixture
def shown(open_widget, make_napari_viewer_proxy, qtbot, noisy):
    """A visible window with an image and the widget."""
    viewer = make_napari_viewer_proxy(show=True, strict_qt="raise")
    viewer, gui = open_widget(viewer=viewer)
    viewer.add_image(noisy, name="noisy")
    wait_for_canvas(qtbot, gui)
    wait_until_settled(qtbot, gui)
    return viewer, gui, gui.sections[PreviewSection]


def test_commands_are_listed_with_their_keys(make_napari_viewer_proxy):
    make_napari_viewer_proxy()
    app = get_app_model()
    titles = [app.commands[name].title for name in IDS]
    keys = ("Ctrl+Enter", f"Shift+{COMPARE_KEY}", f"hold {COMPARE_KEY}", "Shift+N", "F6")
    assert all(f"({key})" in title for title, key in zip(titles, keys, strict=True)), titles


def test_commands_act_on_the_open_widget(shown, qtbot):
    viewer, gui, section = shown
    give("preview")
    wait_for_preview(qtbot, gui)
    assert section.overlay.layer.visible
    give("compare")
    assert not section.overlay.layer.visible
    give("compare")
    assert section.overlay.layer.visible
    give("preview")
    assert section.overlay.layer is None
    give("suggest")
    wait_until_settled(qtbot, gui)
    assert gui.context.suggestion is not None
    before = len(viewer.layers)
    give("run")
    qtbot.waitUntil(lambda: not gui.panel.busy, timeout=WAIT)
    assert len(viewer.layers) == before + 1


def test_keys_of_the_canvas(shown, qtbot):
    viewer, gui, section = shown
    canvas, shift = canvas_of(gui), Qt.KeyboardModifier.ShiftModifier
    compare = Qt.Key[f"Key_{COMPARE_KEY}"]
    qtbot.keyClick(canvas, compare, shift)
    wait_for_preview(qtbot, gui)
    assert section.show.value
    qtbot.keyPress(canvas, compare)
    assert section.comparison.held
    qtbot.keyRelease(canvas, compare)
    assert not section.comparison.held
    before = len(viewer.layers)
    qtbot.keyClick(canvas, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: not gui.panel.busy and len(viewer.layers) > before, timeout=WAIT)
    # napari's own keys for the chosen image stay.
    source = viewer.layers["noisy"]
    viewer.layers.selection.active = source
    qtbot.keyClick(canvas, Qt.Key.Key_2)
    assert source.mode == "transform"
    if "napari:auto_contrast_once" in default_shortcuts:  # C sets the contrast since napari 0.7
        source.contrast_limits = (0, 1)
        qtbot.keyClick(canvas, Qt.Key.Key_C)
        assert source.contrast_limits[1] > 1


def test_keys_that_are_taken_stay_as_they_are(make_napari_viewer_proxy, open_widget, noisy, qtbot):
    viewer = make_napari_viewer_proxy(show=True, strict_qt="raise")
    viewer.add_image(noisy)  # before napari 0.6.2, the welcome hides the canvas without a layer
    pressed = []
    viewer.bind_key(COMPARE_KEY, lambda viewer: pressed.append(viewer))
    viewer, gui = open_widget(viewer=viewer)
    wait_for_canvas(qtbot, gui)
    qtbot.keyClick(canvas_of(gui), Qt.Key[f"Key_{COMPARE_KEY}"])
    assert len(pressed) == 1


def test_command_without_a_widget_opens_it_and_says_so(
    make_napari_viewer_proxy, noisy, monkeypatch, qtbot
):
    said = []
    monkeypatch.setattr(commands, "show_info", said.append)
    viewer = make_napari_viewer_proxy(strict_qt="raise")
    viewer.add_image(noisy)
    assert commands.open_widget(viewer) is None
    give("run")
    gui = commands.open_widget(viewer)
    assert said == [commands.OPENED]
    assert not gui.panel.busy
    wait_until_settled(qtbot, gui)
    assert len(viewer.layers) == 1
    give("anisotropic")  # the item in the menu hides it, and opens no second one
    assert [*viewer.window.dock_widgets.values()] == [gui]


def test_command_that_can_do_nothing_says_why(open_widget, monkeypatch, qtbot):
    said = []
    monkeypatch.setattr(commands, "show_info", said.append)
    _, gui = open_widget()
    wait_until_settled(qtbot, gui)
    give("run")
    assert len(said) == 1
    assert "Open an image" in said[0]


@pytest.mark.usefixtures("widget_off_its_dock")
def test_command_acts_on_the_widget_opened_last(open_widget, noisy):
    viewer, first = open_widget("Isotropic diffusion")
    viewer.add_image(noisy)
    _, last = open_widget("Anisotropic diffusion", viewer)
    assert commands.open_widget(viewer) is last
    other, _ = open_widget()
    assert commands.open_widget(viewer) is last
    assert commands.open_widget(other) is not last
    viewer.window.remove_dock_widget(last.native)
    assert commands.open_widget(viewer) is first
