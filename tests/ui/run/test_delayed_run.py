"""Run waits for the measurement of the image, visibly, and then uses what it suggests."""

import threading

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.viewer import WAIT, wait_for_go, wait_until_ended, wait_until_settled
from napari_diffusion.ui.run import starting_values
from napari_diffusion.ui.run.delayed_run import NOT_MEASURED, WAITING

NAME = "Anisotropic diffusion"


@pytest.fixture
def held(monkeypatch):
    """Hold thorough suggestions until the event that is returned is set."""
    go, real = threading.Event(), starting_values.suggest_values

    def slow(settings, thorough=False, cancel=None, **options):
        if thorough:
            wait_for_go(go, cancel)
        return real(settings, thorough, cancel, **options)

    monkeypatch.setattr(starting_values, "suggest_values", slow)
    yield go
    go.set()


def press_early(qtbot, viewer, gui, image, **layer):
    """Add an image and press Run before it is measured; return its layer."""
    source = viewer.add_image(image, **layer)
    qtbot.waitUntil(lambda: gui.panel.button.enabled, timeout=WAIT)
    gui.panel.button.native.click()
    qtbot.waitUntil(lambda: WAITING in gui.panel.status.value, timeout=WAIT)
    return source


def recipe_of(layer):
    return nd.Recipe.from_dict(layer.metadata["napari-diffusion"]["recipe"])


def test_a_run_waits_for_the_measurement(open_widget, noisy, qtbot, held):
    viewer, gui = open_widget(NAME)
    press_early(qtbot, viewer, gui, noisy)
    assert len(viewer.layers) == 1
    held.set()
    wait_until_ended(qtbot, gui)
    wait_until_settled(qtbot, gui)
    suggested = starting_values.suggest_values(gui.form.settings(), thorough=True)
    recipe = recipe_of(viewer.layers[-1])
    assert (recipe.model, recipe.time) == (suggested.model, suggested.time)
    assert recipe.model.kappa != nd.PeronaMalik().kappa
    assert gui.form.recipe() == recipe


def test_own_values_and_strength_are_those_when_run_was_pressed(open_widget, noisy, qtbot, held):
    viewer, gui = open_widget(NAME)
    viewer.add_image(noisy)
    qtbot.waitUntil(lambda: gui.context.suggestion is not None, timeout=WAIT)
    gui.form.controls["kappa"].value = 12.0
    gui.form.strength.slider.value = 100
    gui.panel.button.native.click()
    qtbot.waitUntil(lambda: WAITING in gui.panel.status.value, timeout=WAIT)
    gui.form.controls["kappa"].value = 40.0
    gui.form.strength.slider.value = 0
    held.set()
    wait_until_ended(qtbot, gui)
    wait_until_settled(qtbot, gui)
    suggested = starting_values.suggest_values(gui.form.settings(), thorough=True)
    recipe = recipe_of(viewer.layers[-1])
    assert recipe.model.kappa == 12.0
    assert recipe.time == suggested.with_strength(1.0).time


@pytest.mark.usefixtures("thorough_suggestions")
def test_a_waiting_run_keeps_the_measurement_of_its_layer(open_widget, noisy, qtbot, held):
    viewer, gui = open_widget(NAME)
    press_early(qtbot, viewer, gui, noisy, name="one")
    other = viewer.add_image(noisy * 20, name="two")
    qtbot.waitUntil(lambda: gui.form.layer.value == other and not gui.pending, timeout=WAIT)
    gui.form.unit.value = "nm"
    held.set()
    wait_until_ended(qtbot, gui)
    wait_until_settled(qtbot, gui)
    result = viewer.layers[-1]
    assert result.metadata["napari-diffusion"]["source"] == "one"
    expected = nd.suggest(noisy, nd.PeronaMalik())
    assert recipe_of(result).model == expected.model
    assert gui.form.controls["kappa"].value > 5 * expected.model.kappa


def test_a_waiting_run_can_be_cancelled(open_widget, noisy, qtbot, held):
    viewer, gui = open_widget(NAME)
    press_early(qtbot, viewer, gui, noisy)
    gui.panel.cancel.native.click()
    assert "Cancelled" in gui.panel.status.value
    held.set()
    wait_until_settled(qtbot, gui)
    assert len(viewer.layers) == 1
    assert gui.context.suggestion is not None


def test_a_run_whose_image_cannot_be_measured_says_so(open_widget, qtbot, held):
    viewer, gui = open_widget(NAME)
    press_early(qtbot, viewer, gui, np.ones((8, 9), np.float32))
    held.set()
    wait_until_ended(qtbot, gui)
    assert NOT_MEASURED in gui.panel.status.value
    assert len(viewer.layers) == 1
    assert "could not be measured" in gui.form.strength.sentence.value
    gui.panel.button.native.click()  # the values on screen are the defaults, and are marked so
    wait_until_ended(qtbot, gui)
    assert len(viewer.layers) == 2
