"""Changes of a layer while the widget is open: settings are kept, and the preview follows."""

import json

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

import napari_diffusion as nd
from helpers.viewer import WAIT, assert_shows_the_run, wait_for_preview, wait_until_settled
from napari_diffusion.engine.execution import Execution
from napari_diffusion.ui.run import kernels
from napari_diffusion.ui.run.settings import Settings
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.recipes import RecipeSection

GOOD = nd.Recipe(nd.PeronaMalik(kappa=3.0), 2.0).to_dict()


def table(gui):
    axes = gui.form.table
    return axes.axes, axes.spacing, axes.unit


def test_new_data_keeps_the_settings_of_the_user(open_alone, noisy):
    viewer, gui = open_alone()
    layer = viewer.add_image(noisy, scale=(6, 1, 1), units=["um"] * 3)
    first, second, _ = gui.form.table.rows
    first.smooth.value = False
    second.size.value = 2.0
    gui.form.unit.value = "nm"
    before = table(gui)
    assert before == ((1, 2), (2000, 1000), "nm")
    layer.data = noisy + 1
    assert table(gui) == before
    layer.data = noisy[:4]
    assert table(gui) == before


def test_corrected_scale_replaces_sizes_that_the_user_has_not_set(open_alone, noisy):
    viewer, gui = open_alone()
    layer = viewer.add_image(noisy, scale=(6, 1, 1), units=["um"] * 3)
    first, second, _ = gui.form.table.rows
    first.smooth.value = False
    second.size.value = 2.0
    layer.scale = (5, 3, 4)
    assert table(gui) == ((1, 2), (2, 4), "µm")
    layer.units = ["mm"] * 3
    assert table(gui) == ((1, 2), (0.002, 4), "mm")
    gui.form.table.reset.native.click()
    assert table(gui) == ((1, 2), (3, 4), "mm")


def test_later_axis_names_change_the_checked_axes_until_the_user_chooses(open_alone, noisy):
    viewer, gui = open_alone()
    layer = viewer.add_image(noisy)
    layer.axis_labels = ("t", "y", "x")
    assert gui.form.table.axes == (1, 2)
    gui.form.table.rows[0].smooth.value = True
    layer.axis_labels = ("time", "y", "x")
    assert gui.form.table.axes == (0, 1, 2)
    layer.data = noisy[0]  # another number of axes counts as another image
    assert gui.form.table.axes == (0, 1)
    viewer.add_image(noisy, axis_labels=("t", "y", "x"))
    assert gui.form.table.axes == (1, 2)


def test_tab_order_includes_the_axes_of_a_later_image(open_widget, noisy, qtbot):
    viewer, gui = open_widget()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    form = gui.form
    expected = [
        form.table.rows[0].smooth.native,
        form.table.rows[2].size.native,
        form.amount.number.native,
    ]
    native, visited = form.layer.native, []
    # The loop ends before the widgets of napari, which PySide6 would keep alive.
    while native is not form.suggest.native:
        native = native.nextInFocusChain()
        visited += [number for number, widget in enumerate(expected) if widget is native]
    assert visited == [0, 1, 2]


@pytest.mark.parametrize(
    ("recipe", "shape", "names", "expected"),
    [
        ({"axes": (1, 2)}, (6, 8, 9), None, (1, 2)),
        ({"axes": (0, 2), "axis_names": ("z", "x")}, (6, 8, 9), None, (0, 2)),
        ({"axes": (1, 2), "axis_names": ("z", "X")}, (6, 8, 9), "zyx", (0, 2)),
        ({"axes": (1, 2)}, (5, 6, 8, 9), None, None),
        ({"axes": (0, 1)}, (6, 8, 9), None, None),
        ({"axes": (0, 1), "axis_names": ("a", "b")}, (6, 8, 9), "zyx", None),
    ],
)
def test_axes_of_a_recipe_are_identified_or_reported(open_alone, recipe, shape, names, expected):
    viewer, gui = open_alone()
    layer = viewer.add_image(np.zeros(shape, np.float32), axis_labels=names)
    before, recipe = gui.form.table.axes, nd.Recipe(nd.PeronaMalik(kappa=3.0), 2.0, **recipe)
    QApplication.clipboard().setText(recipe.to_json())
    gui.sections[RecipeSection].paste.native.click()
    assert gui.form.table.axes == (before if expected is None else expected)
    assert ("cannot be told" in gui.panel.status.value) == (expected is None)
    if expected is None:
        with pytest.raises(ValueError, match="cannot be told"):
            Settings.of_layer(layer, recipe, Execution())
    else:
        assert Settings.of_layer(layer, recipe, Execution()).recipe.axes == expected


def test_axes_with_the_same_name_are_smoothed(open_alone, noisy, press_run):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, axis_labels=("z", "x", "X"))
    result, time = press_run(viewer, gui), gui.form.amount.time
    np.testing.assert_array_equal(result.data, nd.diffuse(noisy, nd.Linear(), time=time))
    assert gui.form.recipe().axis_names is None  # they identify no axis


def test_selected_layers_are_smoothed_along_the_checked_axes(open_alone, noisy, qtbot):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, name="one")
    viewer.add_image(noisy + 1, name="two")
    gui.form.table.rows[2].smooth.value = False
    wait_until_settled(qtbot, gui)
    viewer.layers.selection = set(viewer.layers)
    gui.sections[BatchSection].drawer.open = True
    gui.sections[BatchSection].layers.native.click()
    qtbot.waitUntil(lambda: not gui.panel.busy, timeout=60_000)
    for layer in [layer for layer in viewer.layers if "[" in layer.name]:
        assert layer.metadata["napari-diffusion"]["recipe"]["axes"] == [0, 1]
    assert len(viewer.layers) == 4


#: Wrong values in a recipe.
WRONG = [
    {"time": -1},
    {"time": "long"},
    {"time": None},
    {"time": 1e308},
    {"nan": "banana"},
    {"tolerance": -1},
    {"tolerance": "a"},
    {"tolerance": 1e-305},
    {"scheme": "magic"},
    {"scheme": {"name": "explicit", "step": -1}},
    {"scheme": {"name": "fsi", "cycles": 1.5}},
    {"axes": [0, 0]},
    {"axes": [0, 1], "axis_names": ["x", "x"]},
    {"axes": [0, 1], "spacing": [2]},
    {"labels": 3},
    {"preserve_dtype": "yes"},
    {"unit": 3},
    {"parameters": {"kappa": 1e305}},
    {"parameters": {"kapa": 2}},
    {"colour": "red"},
]


def test_a_recipe_with_a_wrong_value_changes_nothing(open_alone, noisy, qtbot):
    """One widget meets all of them, since none changes it."""
    viewer, gui = open_alone()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    gui.form.controls["kappa"].value = 7.0
    before = gui.form.recipe()
    for change in WRONG:
        gui.panel.clear()
        QApplication.clipboard().setText(json.dumps(GOOD | change))
        gui.sections[RecipeSection].paste.native.click()
        assert gui.panel.failed, change
        message = gui.panel.status.value
        assert "recipe" in message.lower() or "scheme" in message, change
        assert "__init__" not in message, change
        assert gui.form.recipe() == before, change


def test_damaged_history_counts_as_none(open_alone, noisy):
    viewer, gui = open_alone()
    layer = viewer.add_image(noisy)
    for damage in (
        "x",
        {"recipe": None},
        {"recipe": "x", "earlier": 3},
        {"earlier": [1, {"recipe": 2}]},
    ):
        layer.metadata["napari-diffusion"] = damage
        gui.sections[RecipeSection].drawer.open = False
        gui.sections[RecipeSection].drawer.open = True
        assert "No filter of this plugin" in gui.sections[RecipeSection].of.value


def test_saved_recipe_gets_the_suffix_that_load_lists(open_alone, noisy, tmp_path, monkeypatch):
    viewer, gui = open_alone()
    viewer.add_image(noisy)
    section = gui.sections[RecipeSection]
    names = iter(["mine", "mine", "nowhere/mine"])
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / next(names)), "")
    )
    section.save.native.click()
    assert nd.Recipe.load(tmp_path / "mine.json") == gui.form.recipe()
    section.save.native.click()
    assert "mine.json is there already" in gui.panel.status.value
    section.save.native.click()
    assert "cannot be written: No such file" in gui.panel.status.value


def test_preview_follows_painting(open_preview_in_window, qtbot, noisy):
    viewer, gui, section = open_preview_in_window(noisy)
    labels = viewer.add_labels(np.ones(noisy.shape, np.uint8))
    gui.form.regions.value = labels
    wait_for_preview(qtbot, gui)
    whole = section.overlay.layer.data.copy()
    labels.brush_size = 6
    plane = int(viewer.dims.current_step[0])
    labels.paint((plane, 8, 14), 2)
    wait_for_preview(qtbot, gui)
    assert not np.array_equal(section.overlay.layer.data, whole)
    assert_shows_the_run(viewer, gui)
    labels.undo()
    wait_for_preview(qtbot, gui)
    np.testing.assert_allclose(section.overlay.layer.data, whole, rtol=1e-6)


def test_values_changed_in_place_are_detected_when_the_layer_is_redrawn(
    open_preview_in_window, qtbot, noisy
):
    image = noisy.copy()
    viewer, gui, _ = open_preview_in_window(image)
    before = gui.form.revision
    viewer.dims.set_current_step(0, 1)
    wait_for_preview(qtbot, gui)
    assert gui.form.revision == before  # another plane, same image
    image[:] = image[:, ::-1]
    gui.form.layer.value.refresh()
    wait_for_preview(qtbot, gui)
    assert gui.form.revision == before + 1
    assert_shows_the_run(viewer, gui)


def test_no_preview_layer_is_added_while_the_original_is_shown(open_preview, qtbot, noisy):
    viewer, gui, section = open_preview(noisy)
    first, added = section.overlay.layer, []
    qtbot.mousePress(section.compare.native, Qt.MouseButton.LeftButton)
    viewer.layers.events.inserted.connect(lambda event: added.append(event.value))
    viewer.dims.ndisplay = 3
    wait_for_preview(qtbot, gui)
    assert not added
    assert not first.visible
    qtbot.mouseRelease(section.compare.native, Qt.MouseButton.LeftButton)
    wait_for_preview(qtbot, gui)
    assert added == [section.overlay.layer]
    assert section.overlay.layer.visible
    assert_shows_the_run(viewer, gui)


def test_a_result_does_not_cover_the_preview(open_preview, qtbot, press_run, noisy):
    viewer, gui, section = open_preview(noisy)
    result = press_run(viewer, gui)
    wait_for_preview(qtbot, gui)
    qtbot.waitUntil(lambda: viewer.layers[-1] == section.overlay.layer, timeout=WAIT)
    assert viewer.layers[-2] == result
    # A layer that the user opens may cover the preview.
    labels = viewer.add_labels(np.ones(noisy.shape, np.uint8))
    wait_for_preview(qtbot, gui)
    assert viewer.layers[-1] == labels


def test_error_stays_on_screen_while_kernels_are_compiled(
    open_alone, noisy, fake_compile_client, qtbot, monkeypatch
):
    monkeypatch.setattr(kernels, "is_compiling", lambda: True)
    viewer, gui = open_alone()
    viewer.add_image(noisy)
    qtbot.waitUntil(lambda: "First use" in gui.panel.status.value, timeout=10_000)
    QApplication.clipboard().setText("no recipe")
    gui.sections[RecipeSection].paste.native.click()
    message = gui.panel.status.value
    assert "JSON" in message
    qtbot.wait(3 * kernels.POLL_INTERVAL_MS)
    assert gui.panel.status.value == message
    fake_compile_client.go.set()
