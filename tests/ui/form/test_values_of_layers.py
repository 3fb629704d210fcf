"""Values belong to layers, and nothing is shown that is not known yet."""

import gc
import threading
import weakref

import numpy as np
import pytest
from qtpy.QtWidgets import QDockWidget, QLabel

import napari_diffusion as nd
from helpers.viewer import WAIT, wait_for_go, wait_for_preview, wait_until_settled
from napari_diffusion.ui.form.smoothing_amount import TIME
from napari_diffusion.ui.layers.view_state import bare
from napari_diffusion.ui.run import settings, starting_values
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.values.layer_values import memory
from napari_diffusion.ui.values.value_state import ValueState

NAME = "Anisotropic diffusion"


class HeldMeasurements:
    """Replaces `suggest_values`: quick and thorough suggestions wait for their events."""

    def __init__(self):
        self.quick, self.thorough = threading.Event(), threading.Event()
        self.calls, self.cancelled = [], 0
        self.real = starting_values.suggest_values

    def __call__(self, settings, thorough=False, cancel=None, **options):
        self.calls.append(thorough)
        try:
            wait_for_go(self.thorough if thorough else self.quick, cancel)
        except nd.Cancelled:
            self.cancelled += 1
            raise
        return self.real(settings, thorough, cancel, **options)


@pytest.fixture
def held(monkeypatch):
    fake = HeldMeasurements()
    monkeypatch.setattr(starting_values, "suggest_values", fake)
    yield fake
    fake.quick.set()
    fake.thorough.set()


def states(gui):
    """Return the states of threshold and amount."""
    form = gui.form
    return form.controls.rows["kappa"].line.state, form.amount.line.state


def suggestion_for(gui, thorough=True):
    return starting_values.suggest_values(gui.form.settings(), thorough=thorough)


def test_a_typed_value_stays_with_its_layer(open_widget, noisy, qtbot):
    viewer, gui = open_widget(NAME)
    one = viewer.add_image(noisy, name="one")
    wait_until_settled(qtbot, gui)
    time = gui.form.amount.time
    gui.form.controls["kappa"].value = 33.0
    gui.form.amount.number.value *= 2
    viewer.add_image(noisy * 50, name="two", scale=(2, 0.5, 0.5), units=("um",) * 3)
    wait_until_settled(qtbot, gui)
    suggested = suggestion_for(gui)
    assert gui.form.controls["kappa"].value == suggested.model.kappa > 100
    assert gui.form.amount.time == suggested.time
    assert states(gui) == (ValueState.SUGGESTED, ValueState.SUGGESTED)
    gui.form.layer.value = one
    wait_until_settled(qtbot, gui)
    assert gui.form.controls["kappa"].value == 33
    assert gui.form.amount.time == pytest.approx(4 * time)
    assert states(gui) == (ValueState.YOURS, ValueState.YOURS)


def test_values_typed_for_a_removed_layer_are_not_those_of_the_next(open_widget, noisy, qtbot):
    viewer, gui = open_widget(NAME)
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    gui.form.controls["kappa"].value = 125.0
    viewer.layers.clear()
    viewer.add_image(noisy * 20)
    wait_until_settled(qtbot, gui)
    assert gui.form.controls["kappa"].value == suggestion_for(gui).model.kappa != 125


def test_values_set_before_there_is_an_image_are_those_of_the_first(open_alone, noisy, qtbot):
    viewer, gui = open_alone(NAME)
    gui.form.controls["diffusivity"].value = "tukey"
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    assert gui.form.controls["diffusivity"].value == "tukey"
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    assert gui.form.controls["diffusivity"].value == "rational"


def test_each_layer_keeps_its_model(open_alone, noisy, qtbot):
    viewer, gui = open_alone(NAME)
    one = viewer.add_image(noisy)
    gui.form.model.value = nd.TotalVariation
    wait_until_settled(qtbot, gui)
    viewer.add_image(noisy)
    gui.form.model.value = nd.PeronaMalik
    wait_until_settled(qtbot, gui)
    gui.form.layer.value = one
    assert gui.form.model.value is nd.TotalVariation


@pytest.mark.usefixtures("widget_off_its_dock")
def test_a_widget_that_is_opened_again_remembers(open_widget, noisy, qtbot, monkeypatch):
    viewer, gui = open_widget(NAME)
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    gui.form.model.value = nd.TotalVariation
    wait_until_settled(qtbot, gui)
    gui.form.controls["kappa"].value = 7.5
    gui.form.strength.slider.value = -40
    wait_until_settled(qtbot, gui)
    before = gui.form.recipe()
    viewer.window.remove_dock_widget("all")
    measured = []
    monkeypatch.setattr(starting_values, "suggest_values", lambda *a, **k: measured.append(1))
    _, again = open_widget(NAME, viewer)
    wait_until_settled(qtbot, again)
    assert again.form.recipe() == before
    assert again.form.strength.slider.value == -40
    assert states(again) == (ValueState.YOURS, ValueState.SUGGESTED)
    assert not measured


def add_volume(viewer):
    """Add a layer, and return weak references to it and to its array.

    napari reads the variables of the caller for the name of the layer, and keeps them alive.
    """
    values = np.random.default_rng(0).normal(100, 5, (24, 24)).astype(np.float32)
    return weakref.ref(viewer.add_image(values)), weakref.ref(values)


def test_the_memory_keeps_no_layer_alive(open_alone, qtbot):
    viewer, gui = open_alone(NAME)
    alive = add_volume(viewer)
    wait_until_settled(qtbot, gui)
    gui.form.controls["kappa"].value = 3.0
    viewer.layers.clear()
    viewer.add_image(np.zeros((4, 4)))  # napari's selection keeps the last selected layer
    wait_until_settled(qtbot, gui)
    gc.collect()
    assert [reference() for reference in alive] == [None, None]
    assert set(viewer.layers) <= set(memory._layers)  # those of other tests may be alive


def test_the_arrow_takes_a_value_back(open_widget, noisy, qtbot):
    viewer, gui = open_widget(NAME)
    gui.root_native_widget.window().show()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    form = gui.form
    kappa, time = form.controls["kappa"].value, form.amount.time
    for line in (form.controls.rows["kappa"].line, form.amount.line):
        assert line.arrow.native.isHidden()
    form.controls["kappa"].value, form.amount.number.value = 33.0, 9.0
    form.controls["diffusivity"].value = "tukey"
    wait_until_settled(qtbot, gui)
    assert states(gui) == (ValueState.YOURS, ValueState.YOURS)
    form.controls.rows["diffusivity"].line.arrow.native.click()
    assert form.controls["diffusivity"].value == "rational"
    assert form.controls.rows["diffusivity"].line.state is ValueState.DEFAULT
    wait_until_settled(qtbot, gui)
    form.controls.rows["kappa"].line.arrow.native.click()
    form.amount.line.arrow.native.click()
    assert (form.controls["kappa"].value, form.amount.time) == (kappa, time)
    assert states(gui) == (ValueState.SUGGESTED, ValueState.SUGGESTED)


@pytest.mark.usefixtures("thorough_suggestions")
def test_numbers_are_not_shown_before_they_are_measured(open_widget, noisy, qtbot, held):
    viewer, gui = open_widget(NAME)
    gui.root_native_widget.window().show()
    viewer.add_image(noisy)
    qtbot.waitUntil(lambda: held.calls == [False], timeout=WAIT)
    boxes = gui.form.controls["kappa"].native, gui.form.amount.number.native
    for box in boxes:
        assert not any(letter.isdigit() for letter in box.text().removesuffix(box.suffix()))
    assert gui.form.amount.others.value == ""
    assert states(gui) == (ValueState.MEASURING, ValueState.MEASURING)
    assert "Measuring" in gui.form.strength.sentence.value
    assert not gui.form.strength.slider.enabled
    assert not gui.form.reasons.visible
    assert gui.context.measuring
    assert gui.context.suggestion is None
    held.quick.set()
    qtbot.waitUntil(lambda: held.calls == [False, True], timeout=WAIT)
    quick = held.real(gui.form.settings())
    assert gui.form.controls["kappa"].value == quick.model.kappa
    assert float(boxes[0].text().removesuffix(boxes[0].suffix())) == quick.model.kappa
    assert states(gui) == (ValueState.SUGGESTED, ValueState.SUGGESTED)
    assert not gui.context.measuring
    held.thorough.set()
    wait_until_settled(qtbot, gui)
    thorough = held.real(gui.form.settings(), thorough=True)
    assert thorough != quick
    assert (gui.form.controls["kappa"].value, gui.form.amount.time) == (
        thorough.model.kappa,
        thorough.time,
    )
    assert gui.context.suggestion == thorough


def test_a_number_can_be_typed_over_the_measurement(open_widget, noisy, qtbot, held):
    viewer, gui = open_widget(NAME)
    gui.root_native_widget.window().show()
    viewer.add_image(noisy)
    qtbot.waitUntil(lambda: held.calls == [False], timeout=WAIT)
    box = gui.form.controls["kappa"].native
    box.selectAll()
    qtbot.keyClicks(box, "12.5")
    assert box.text() == f"12.5{box.suffix()}"
    held.quick.set()
    held.thorough.set()
    wait_until_settled(qtbot, gui)
    assert gui.form.controls["kappa"].value == 12.5
    assert states(gui) == (ValueState.YOURS, ValueState.SUGGESTED)
    assert gui.form.amount.time == suggestion_for(gui).time


@pytest.mark.usefixtures("widget_off_its_dock")
def test_a_measurement_ends_with_its_layer_and_its_widget(open_widget, noisy, qtbot, held):
    viewer, gui = open_widget(NAME)
    viewer.add_image(noisy)
    qtbot.waitUntil(lambda: held.calls == [False], timeout=WAIT)
    viewer.add_image(noisy * 3)
    qtbot.waitUntil(lambda: held.cancelled == 1, timeout=WAIT)
    qtbot.waitUntil(lambda: len(held.calls) == 2, timeout=WAIT)
    viewer.window.remove_dock_widget(gui.native)
    qtbot.waitUntil(lambda: held.cancelled == 2, timeout=WAIT)
    viewer.add_image(noisy * 5)
    wait_until_settled(qtbot, gui)
    assert len(held.calls) == 2  # nobody sees what it would measure


@pytest.mark.usefixtures("widget_off_its_dock")
@pytest.mark.parametrize("how", ["closed", "floated", "hidden", "behind"])
def test_a_widget_measures_when_it_is_on_screen_again(
    open_widget, noisy, qtbot, preview_at_opening, how
):
    preview_at_opening()
    viewer, gui = open_widget(NAME)
    window, dock = gui.native.window(), gui.native.parentWidget()
    window.show()
    assert isinstance(dock, QDockWidget)
    other = viewer.window.add_dock_widget(QLabel("another"), area="right")
    if how == "closed":
        viewer.window.remove_dock_widget(gui.native)
    elif how == "floated":
        dock.setFloating(True)
    elif how == "hidden":
        dock.hide()
    else:
        window.tabifyDockWidget(dock, bare(other))
        other.raise_()
    viewer.add_image(noisy, name="later")
    wait_until_settled(qtbot, gui)
    if how == "closed":
        assert gui.context.suggestion is None
        viewer.window.add_dock_widget(gui, area="right")
    elif how == "hidden":
        dock.show()
    elif how == "behind":
        dock.raise_()
    qtbot.waitUntil(gui.native.isVisible, timeout=WAIT)
    wait_for_preview(qtbot, gui)
    assert gui.context.suggestion is not None
    assert states(gui) == (ValueState.SUGGESTED, ValueState.SUGGESTED)
    assert gui.sections[PreviewSection].show.value
    assert gui.sections[PreviewSection].overlay.layer in viewer.layers


def test_one_sigma_and_one_unit_in_the_explanation(open_alone, noisy, qtbot):
    viewer, gui = open_alone(NAME)
    viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    wait_until_settled(qtbot, gui)
    kappa = gui.form.controls["kappa"].value
    assert f"Edge threshold {kappa:.3g} intensity/µm" in gui.form.reasons.text
    gui.form.unit.value = "nm"
    wait_until_settled(qtbot, gui)
    assert gui.form.controls["kappa"].value == pytest.approx(kappa / 1000)
    assert states(gui) == (ValueState.SUGGESTED, ValueState.SUGGESTED)
    text = gui.form.reasons.text
    assert f"Edge threshold {kappa / 1000:.3g} intensity/nm" in text
    assert "µm" not in text
    assert "sigma" not in text


def test_the_explanation_is_about_the_values_on_screen(open_alone, noisy, qtbot, held):
    viewer, gui = open_alone(NAME)
    held.quick.set()
    held.thorough.set()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    text = gui.form.reasons.text
    assert "You have set" not in text
    gui.form.controls["kappa"].value = 125.0
    assert "You have set: Edge threshold" in gui.form.reasons.text
    gui.form.controls.rows["kappa"].line.arrow.native.click()
    assert gui.form.reasons.text == text
    held.quick.clear()
    held.thorough.clear()
    gui.form.model.value = nd.MeanCurvature
    assert gui.form.reasons.text == ""
    held.quick.set()
    held.thorough.set()
    wait_until_settled(qtbot, gui)
    assert "Edge threshold" not in gui.form.reasons.text
    gui.form.model.value = nd.PeronaMalik
    assert gui.form.reasons.text == text


def test_the_amount_belongs_to_the_layer_in_the_isotropic_widget(open_alone, noisy, qtbot):
    viewer, gui = open_alone("Isotropic diffusion")
    one = viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    default = gui.form.amount.time
    assert gui.form.amount.line.state is ValueState.DEFAULT
    gui.form.amount.kind.value = TIME
    gui.form.amount.number.value = 9.0
    assert gui.form.amount.line.state is ValueState.YOURS
    viewer.add_image(noisy)
    assert (gui.form.amount.time, gui.form.amount.line.state) == (default, ValueState.DEFAULT)
    gui.form.layer.value = one
    assert (gui.form.amount.time, gui.form.amount.line.state) == (9.0, ValueState.YOURS)


def test_checked_axes_and_voxel_sizes_belong_to_the_layer(open_alone, noisy):
    viewer, gui = open_alone("Isotropic diffusion")
    one = viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    table = gui.form.table
    table.rows[0].smooth.value = False
    table.rows[1].size.value = 0.7
    viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    assert (table.axes, table.spacing) == ((0, 1, 2), (2, 0.5, 0.5))
    gui.form.layer.value = one
    assert (table.axes, table.spacing) == ((1, 2), (0.7, 0.5))


def test_an_image_is_measured_once(open_alone, noisy, qtbot, monkeypatch, held):
    """Data of several scales may make another array at each access."""
    monkeypatch.setattr(settings, "array_of", lambda layer: layer.data[...])
    held.quick.set()
    held.thorough.set()
    viewer, gui = open_alone(NAME)
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    for kappa in (5.0, 6.0):
        gui.form.controls["kappa"].value = kappa
        wait_until_settled(qtbot, gui)
    assert held.calls == [False, True]
