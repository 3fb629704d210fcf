"""Maps of thresholds in the widget: they come with a recipe, act in a run, and can be removed."""

import dataclasses

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from helpers.viewer import WAIT, open_section, wait_until_settled
from napari_diffusion.ui.form.model_controls import ModelControls
from napari_diffusion.ui.run.settings import history
from napari_diffusion.ui.sections.recipes import RecipeSection

LOOK = {"scale": (2, 0.5, 0.5), "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}
MODEL = nd.PeronaMalik(kappa=9.0, sigma=0.4, kappa_map=[[[1.0, 4.0]], [[0.5, 1.0]]])
RECIPE = nd.Recipe(
    MODEL, 0.8, unit="micrometer", spacing=(2, 0.5, 0.5), axes=(0, 1, 2), axis_names=tuple("zyx")
)


def is_shown(button):
    """Whether a button is shown as soon as its box is."""
    return not button.native.isHidden()


@pytest.fixture
def loaded(open_alone, qtbot, noisy):
    """Widget with an image, in which the recipe was pasted."""
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(noisy, name="a", **LOOK)
    wait_until_settled(qtbot, widget)
    section = open_section(widget, RecipeSection)
    QApplication.clipboard().setText(RECIPE.to_json())
    section.paste.native.click()
    wait_until_settled(qtbot, widget)
    return viewer, widget, section


def test_run_of_a_pasted_recipe_uses_the_map(loaded, press_run, noisy):
    viewer, widget, section = loaded
    assert widget.form.controls.value() == MODEL
    expected = nd.diffuse(noisy, MODEL, time=0.8, spacing=(2, 0.5, 0.5))
    layer = press_run(viewer, widget)
    np.testing.assert_array_equal(layer.data, expected)
    without = dataclasses.replace(MODEL, kappa_map=None)
    assert np.abs(nd.diffuse(noisy, without, time=0.8, spacing=(2, 0.5, 0.5)) - expected).max() > 1
    step = nd.Recipe.from_dict(history(layer.metadata)[0]["recipe"])
    assert step.model == MODEL
    names = {"image": noisy}
    section.python.native.click()
    exec(QApplication.clipboard().text(), names)
    np.testing.assert_array_equal(names["result"], expected)


def test_map_is_named_and_can_be_removed(loaded, qtbot):
    _, widget, _ = loaded
    (button,) = widget.form.controls.buttons
    assert is_shown(button)
    assert "the map" in button.text
    assert "2×1×2 factors from 0.5 to 4" in button.tooltip
    changes = []
    widget.form.settings_changed.connect(lambda: changes.append(widget.form.recipe()))
    button.native.click()
    qtbot.waitUntil(lambda: bool(changes), timeout=WAIT)
    assert changes[-1].model == dataclasses.replace(MODEL, kappa_map=None)
    assert not is_shown(button)


def test_command_line_refuses_the_map_instead_of_dropping_it(loaded):
    _, widget, section = loaded
    QApplication.clipboard().setText("before")
    section.command.native.click()
    assert QApplication.clipboard().text() == "before"
    assert "--recipe" in widget.panel.status.value


def test_button_is_hidden_for_a_model_without_a_map(loaded):
    _, widget, _ = loaded
    (button,) = widget.form.controls.buttons
    widget.form.model.value = nd.TotalVariation
    assert not is_shown(button)
    assert not any(map(is_shown, widget.form.controls.buttons))
    widget.form.model.value = nd.PeronaMalik
    assert is_shown(button)
    assert widget.form.controls.value() == MODEL


def test_models_without_a_threshold_have_no_button(qtbot):
    assert ModelControls(nd.PeronaMalik).buttons
    assert not ModelControls(nd.Linear).buttons


def test_suggestion_fills_in_a_map_and_spares_one_of_the_user(qtbot):
    controls = ModelControls(nd.PeronaMalik)
    controls.fill(MODEL)
    assert controls.value() == MODEL
    controls.fill(nd.PeronaMalik())
    assert controls.value() == nd.PeronaMalik()
    controls.set_by_user(MODEL)
    controls.fill(nd.PeronaMalik())
    assert controls.value() == MODEL


def test_unchecked_axis_is_reported_in_one_sentence(loaded, qtbot):
    _, widget, _ = loaded
    widget.form.table.rows[0].smooth.value = False
    wait_until_settled(qtbot, widget)
    widget.panel.button.native.click()
    qtbot.waitUntil(lambda: "3 levels" in widget.panel.status.value, timeout=WAIT)
