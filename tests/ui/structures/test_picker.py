"""The row of pictures chooses the model; the list of models and the pictures agree."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from helpers import example_package
from helpers.viewer import WAIT, wait_until_settled
from napari_diffusion.ui.structures.table import AUTOMATIC, CELLS, FIBRES, FIRST_ROW, FLAT, MORE


@pytest.fixture
def picker(open_alone):
    """Return the form of a widget without an image."""
    _, gui = open_alone()
    return gui.form


def checked(form):
    """Return the structures that are marked as chosen."""
    structure = form.structure
    items = [*structure.buttons.items(), *structure._entries.items()]
    return [each for each, item in items if item.isChecked()]


def press(form, structure):
    """Choose a structure by its picture or in the menu."""
    if structure in form.structure.buttons:
        QTest.mouseClick(form.structure.buttons[structure], Qt.MouseButton.LeftButton)
    else:
        form.structure._entries[structure].trigger()


def test_cells_and_tissue_is_chosen_at_opening(picker):
    assert picker.structure.value is CELLS
    assert picker.model.value is nd.PeronaMalik
    assert checked(picker) == [CELLS]


@pytest.mark.parametrize("structure", [*FIRST_ROW, *MORE[:-1]], ids=lambda s: s.name)
def test_structure_chooses_its_model(picker, structure):
    press(picker, FIBRES)
    press(picker, structure)
    assert picker.model.value is structure.model
    assert picker.structure.value is structure
    assert checked(picker) == [structure]
    assert picker.structure.line.value == f"My image shows: {structure.name}"
    press(picker, structure)  # a second press keeps it
    assert checked(picker) == [structure]


def test_model_of_the_list_shows_its_structure(picker):
    picker.model.value = nd.TotalVariation
    assert checked(picker) == [FLAT]
    picker.model.value = nd.MeanCurvature
    assert checked(picker) == []
    assert picker.structure.line.value == "My image shows: Mean curvature"
    picker.model.value = nd.PeronaMalik
    assert checked(picker) == [CELLS]


def test_automatic_stays_while_the_model_is_suggested(picker):
    press(picker, AUTOMATIC)
    assert picker.structure.value is AUTOMATIC
    picker.choose_automatically(nd.VesselEnhancing)
    assert picker.model.value is nd.VesselEnhancing
    assert picker.structure.value is AUTOMATIC
    assert checked(picker) == [AUTOMATIC]
    picker.model.value = nd.TotalVariation  # the user has chosen a model by its name
    assert checked(picker) == [FLAT]


def test_menu_lists_models_of_other_packages(tmp_path, monkeypatch, open_alone):
    monkeypatch.syspath_prepend(example_package.install(tmp_path))
    _, gui = open_alone()
    entry = gui.form.structure.menu.actions()[-1]
    assert entry.text() == "Geman-McClure"
    assert entry.toolTip()
    entry.trigger()
    assert gui.form.model.value is nd.models.get("geman-mcclure")
    assert entry.isChecked()


def test_structures_have_pictures_tooltips_and_names_for_screen_readers(picker):
    for structure, button in picker.structure.buttons.items():
        assert not button.icon().isNull()
        sizes = {size.width() for size in button.icon().availableSizes()}
        assert sizes >= {64}
        assert button.toolTip() == structure.sentence
        assert button.accessibleName() == f"My image shows {structure.name}"
        assert button.text().replace("\n", " ") == structure.name
    assert picker.structure.menu.toolTipsVisible()


def test_arrow_keys_go_through_the_pictures(open_widget, qtbot, noisy):
    viewer, gui = open_widget()
    viewer.add_image(noisy)
    window = gui.root_native_widget.window()
    window.show()
    window.activateWindow()
    wait_until_settled(qtbot, gui)
    buttons = gui.form.structure.buttons
    buttons[CELLS].setFocus()
    qtbot.waitUntil(buttons[CELLS].hasFocus, timeout=WAIT)
    QTest.keyClick(buttons[CELLS], Qt.Key.Key_Right)
    assert gui.form.model.value is nd.TotalVariation
    assert checked(gui.form) == [FLAT]


def test_isotropic_widget_asks_nothing(open_alone):
    _, gui = open_alone("Isotropic diffusion")
    assert gui.form.structure is None


def test_no_choice_moves_the_pictures(open_widget, qtbot, noisy):
    viewer, gui = open_widget("Anisotropic diffusion")
    window = gui.native.window()
    window.resize(1280, 800)
    window.show()
    viewer.add_image(noisy)
    picker, places = gui.form.structure, {}
    for structure in (*picker.buttons, *picker._entries):
        picker.value = structure
        for _ in range(5):
            QApplication.processEvents()
        places[structure.name] = picker.buttons[CELLS].y()
    assert len(set(places.values())) == 1, places
