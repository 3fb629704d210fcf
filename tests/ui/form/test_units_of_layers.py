"""Layers in different units of length, shown one after the other; runs in units beyond the list."""

import itertools
import shlex

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from helpers.viewer import open_section, wait_until_ended, wait_until_settled
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core import units
from napari_diffusion.io.volume import Volume
from napari_diffusion.ui.form.smoothing_amount import TIME
from napari_diffusion.ui.layers.axes import LENGTHS
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.recipes import RecipeSection
from napari_diffusion.ui.widget import EXPERT

SYMBOLS = {
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "pixel": "pixel",
    "foot": "ft",
    "kilometer": "km",
}
SCALE = (2.0, 0.5, 0.25)
SHAPE = (3, 4, 5)


def assert_shows(gui, unit):
    """Assert that table, list of units, controls and recipe have the unit and sizes of a layer."""
    form, symbol = gui.form, SYMBOLS[unit]
    assert (form.table.spacing, form.table.unit) == (SCALE, symbol)
    assert (form.unit.value, form.unit.current_choice) == (symbol, symbol)
    assert form.unit.choices[0] == symbol
    assert {row.size.unit for row in form.table.rows} == {symbol}
    assert form.amount.number.unit == f"{symbol}²"
    assert form.controls["kappa"].unit == f"intensity/{symbol}"
    recipe = form.recipe()
    assert (recipe.spacing, recipe.unit) == (SCALE, unit)


def add(viewer, unit):
    return viewer.add_image(np.ones(SHAPE, np.float32), scale=SCALE, units=(unit,) * 3, name=unit)


def test_listed_units_are_written_as_everywhere():
    assert tuple(map(units.symbol, LENGTHS)) == LENGTHS
    assert sorted(LENGTHS, key=lambda unit: units.factor(unit, "m")) == list(LENGTHS)


@pytest.mark.parametrize("choose", ["list", "selection"])
def test_every_layer_is_shown_in_its_own_unit_after_every_other(open_alone, choose):
    viewer, gui = open_alone()
    layers = {unit: add(viewer, unit) for unit in SYMBOLS}
    gui.form.amount.kind.value = TIME
    for pair in itertools.permutations(SYMBOLS, 2):
        for unit in pair:
            if choose == "list":
                gui.form.layer.value = layers[unit]
            else:
                viewer.layers.selection.active = layers[unit]
            assert_shows(gui, unit)


def test_every_new_layer_is_shown_in_its_own_unit_after_every_other(open_alone):
    viewer, gui = open_alone()
    gui.form.amount.kind.value = TIME
    for pair in itertools.permutations(SYMBOLS, 2):
        for unit in pair:
            add(viewer, unit)
            assert_shows(gui, unit)
        viewer.layers.remove(viewer.layers[-1])
        assert_shows(gui, pair[0])
        viewer.layers[0].units = (pair[1],) * 3
        assert_shows(gui, pair[1])
        viewer.layers.clear()


@pytest.mark.usefixtures("values_of_noisy")
def test_unit_is_that_of_the_layer_in_a_window(open_widget, qtbot, noisy):
    viewer, gui = open_widget()
    gui.root_native_widget.window().show()
    gui.drawers[EXPERT].button.native.click()
    for unit in ("angstrom", "micrometer", "pixel", "angstrom", "nanometer"):
        viewer.add_image(noisy, scale=SCALE, units=(unit,) * 3)
        wait_until_settled(qtbot, gui)
        symbol = SYMBOLS[unit]
        assert gui.form.unit.native.currentText() == symbol
        texts = [row.size.native.text() for row in gui.form.table.rows]
        assert texts == [f"2 {symbol}", f"0.5 {symbol}", f"0.25 {symbol}"]


def test_values_of_the_user_belong_to_a_layer_and_are_the_same_lengths_in_every_unit(open_alone):
    viewer, gui = open_alone()
    layers = {unit: add(viewer, unit) for unit in SYMBOLS if unit != "pixel"}
    form, values = gui.form, {}
    for number, (unit, layer) in enumerate(layers.items(), 1):
        form.layer.value = layer
        form.amount.kind.value = TIME
        values[unit] = 3.0 * number, 0.7 * number, 4.0 * number
        form.controls["kappa"].value, form.controls["sigma"].value, time = values[unit]
        form.amount.number.value = time
    for pair in itertools.permutations(layers, 2):
        for unit in pair:
            form.layer.value = layers[unit]
            shown = form.controls["kappa"].value, form.controls["sigma"].value, form.amount.time
            assert shown == values[unit]
    form.layer.value = layers["kilometer"]
    for unit in ("nanometer", "micrometer", "millimeter", "kilometer"):
        form.unit.value = SYMBOLS[unit]
        to_unit, (kappa, sigma, time) = units.factor("kilometer", unit), values["kilometer"]
        shown = form.controls["kappa"].value, form.controls["sigma"].value
        assert shown == pytest.approx((kappa / to_unit, sigma * to_unit), rel=1e-12)
        assert form.amount.time == pytest.approx(time * to_unit**2, rel=1e-12)


@pytest.mark.parametrize("unit", ["foot", "kilometer", "light_year", "css_pixel"])
def test_run_in_any_unit_has_a_history_and_a_command_that_repeats_it(
    open_alone, qtbot, press_run, noisy, tmp_path, unit
):
    viewer, gui = open_alone("Isotropic diffusion")
    size = (2.0, 0.5, 0.5)
    viewer.add_image(noisy, name="a", scale=size, units=(unit,) * 3, axis_labels=("z", "y", "x"))
    wait_until_settled(qtbot, gui)
    result = press_run(viewer, gui)
    symbol, time = units.symbol(unit), gui.form.amount.time
    expected = nd.diffuse(noisy, nd.Linear(), time=time, spacing=size)
    np.testing.assert_array_equal(result.data, expected)

    section = open_section(gui, RecipeSection)
    viewer.layers.selection.active = result
    assert "Processing history of" in section.of.value
    assert section.step.value.startswith(f"Linear: time {time:.4g} {symbol}²")
    section.again.native.click()
    assert not gui.panel.failed
    assert (gui.form.amount.time, gui.form.unit.value) == (time, symbol)

    section.command.native.click()
    words = shlex.split(QApplication.clipboard().text())
    assert words[words.index("--unit") + 1] == unit
    source, target = tmp_path / "in.ome.tif", tmp_path / "out.ome.tif"
    io.write(source, noisy, Volume(noisy, "ZYX", size, "foot", None), None)
    words[words.index("IN")], words[words.index("OUT")] = str(source), str(target)
    for word in (unit, symbol):
        words[words.index("--unit") + 1] = word
        assert main([*words[1:], "--overwrite"]) == 0
        np.testing.assert_array_equal(io.read(target).data, result.data)
        assert nd.Recipe.load(f"{target}.recipe.json").unit == unit


def test_layer_in_feet_and_recipe_in_metres_are_the_same_run(open_alone, qtbot, press_run, noisy):
    viewer, gui = open_alone("Isotropic diffusion")
    viewer.add_image(noisy, scale=(1, 1, 1), units=("foot",) * 3)
    wait_until_settled(qtbot, gui)
    recipe = nd.Recipe(nd.Linear(), 0.3048**2, unit="meter", axes=(0, 1, 2))
    QApplication.clipboard().setText(recipe.to_json())
    open_section(gui, RecipeSection).paste.native.click()
    assert not gui.panel.failed
    assert gui.form.amount.time == pytest.approx(1.0, rel=1e-15)
    gui.form.unit.value = "m"
    assert gui.form.table.spacing == (0.3048,) * 3


@pytest.mark.parametrize("widget", ["Isotropic diffusion", "Anisotropic diffusion"])
def test_batch_smooths_every_layer_in_its_own_unit(open_alone, qtbot, noisy, widget):
    """The chosen layer is in ångström; the others are filtered with the same physical values."""
    viewer, gui = open_alone(widget)
    names = [unit for unit in SYMBOLS if unit not in ("pixel", "foot", "kilometer")]
    for name in names:
        viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=(name,) * 3, name=name)
    gui.form.layer.value = viewer.layers["angstrom"]
    if widget.startswith("Aniso"):
        gui.form.controls["kappa"].value, gui.form.controls["sigma"].value = 9.0, 0.7
    gui.form.amount.kind.value = TIME
    gui.form.amount.number.value = 4.0
    wait_until_settled(qtbot, gui)
    viewer.layers.selection = set(viewer.layers)
    open_section(gui, BatchSection).layers.native.click()
    wait_until_ended(qtbot, gui)
    results = list(viewer.layers)[len(names) :]
    assert [layer.name.split(",")[0] for layer in results] == names
    for name, result in zip(names, results, strict=True):
        length = units.factor("angstrom", name)
        if widget.startswith("Iso"):
            model = nd.Linear()
        else:
            model = nd.PeronaMalik(kappa=9 / length, sigma=0.7 * length)
        expected = nd.diffuse(noisy, model, time=4 * length**2, spacing=(2, 0.5, 0.5))
        np.testing.assert_allclose(result.data, expected, rtol=1e-6)
