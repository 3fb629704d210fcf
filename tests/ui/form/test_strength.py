"""The strength slider, the automatic model, and Suggest for a wanted noise reduction."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QLabel

import napari_diffusion as nd
from helpers.viewer import wait_until_settled
from napari_diffusion.ui.run import starting_values
from napari_diffusion.ui.structures.table import AUTOMATIC
from napari_diffusion.ui.values.strength import SCALE_WORDS
from napari_diffusion.ui.values.value_state import ValueState
from napari_diffusion.ui.values.words import OWN_VALUES

NAME = "Anisotropic diffusion"


@pytest.fixture
def measured(open_widget, noisy, qtbot):
    viewer, gui = open_widget(NAME)
    gui.root_native_widget.window().show()
    viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    wait_until_settled(qtbot, gui)
    return viewer, gui


def test_a_move_sets_the_time_at_once(measured, qtbot, monkeypatch):
    _, gui = measured
    suggested = gui.context.suggestion
    calls = []
    monkeypatch.setattr(starting_values, "suggest_values", lambda *a, **k: calls.append(a))
    slider = gui.form.strength.slider.native
    slider.setFocus()
    for key, expected in ((Qt.Key.Key_Home, -1.0), (Qt.Key.Key_End, 1.0)):
        qtbot.keyClick(slider, key)
        changed = suggested.with_strength(expected)
        assert gui.form.amount.time == changed.time != suggested.time
        assert gui.form.controls.value() == suggested.model
        assert gui.form.strength.sentence.value.startswith(changed.effect)
        assert gui.context.suggestion == changed
        assert gui.form.amount.line.state is ValueState.SUGGESTED
    wait_until_settled(qtbot, gui)
    assert gui.form.recipe().time == suggested.with_strength(1.0).time
    assert not calls
    gui.form.strength.arrow.native.click()
    assert (gui.form.strength.slider.value, gui.form.amount.time) == (0, suggested.time)


@pytest.mark.parametrize("width", [0, 500], ids=["narrow", "wide"])
def test_words_below_the_slider_are_at_its_ends_and_middle(measured, width):
    _, gui = measured
    strength = gui.form.strength
    strength.native.setMinimumWidth(width)
    for _ in range(5):
        QApplication.processEvents()
    slider = strength.slider.native
    labels = [n for n in strength.native.findChildren(QLabel) if n.text() in SCALE_WORDS]
    assert tuple(label.text() for label in labels) == SCALE_WORDS
    centres = []
    for label in labels:
        assert label.fontMetrics().horizontalAdvance(label.text()) <= label.contentsRect().width()
        picture = label.grab().toImage()
        columns = [
            {picture.pixel(x, y) for y in range(picture.height())} for x in range(picture.width())
        ]
        written = [x for x, colours in enumerate(columns) if len(colours) > 1]
        middle = round((written[0] + written[-1]) / 2 / picture.devicePixelRatio())
        centres.append(label.mapTo(slider.window(), QPoint(middle, 0)).x())
    left = slider.mapTo(slider.window(), QPoint(0, 0)).x()
    assert slider.width() > 170
    assert centres[0] < left + 40
    assert abs(centres[1] - (left + slider.width() / 2)) < 10
    assert centres[2] > left + slider.width() - 40


def luminance(colour):
    """Relative luminance of a colour, as in the Web Content Accessibility Guidelines."""
    channels = np.array([colour.redF(), colour.greenF(), colour.blueF()])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_marks_of_values_are_legible(open_widget, noisy, qtbot, theme):
    viewer, gui = open_widget("Isotropic diffusion")
    viewer.theme = theme
    gui.native.window().show()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    line = gui.form.amount.line
    for state in set(ValueState) - {ValueState.MEASURING}:  # that mark is empty
        line.show_state(state)
        QApplication.processEvents()
        picture = line.mark.native.grab().toImage()
        places = [(x, y) for x in range(picture.width()) for y in range(picture.height())]
        seen = [luminance(picture.pixelColor(*place)) for place in places]
        # 4.5 to 1 is the least contrast for texts in these guidelines.
        assert (max(seen) + 0.05) / (min(seen) + 0.05) >= 4.5, state


def test_keys_move_in_small_steps_from_the_middle(measured, qtbot):
    _, gui = measured
    slider = gui.form.strength.slider.native
    qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert gui.form.strength.slider.value == 1
    assert gui.form.amount.time == gui.context.suggestion.time


def test_the_wheel_moves_no_slider_without_focus(measured, qtbot):
    _, gui = measured
    form = gui.form
    for slider in (form.strength.slider, form.amount.line.slider):
        before, native = slider.value, slider.native
        native.clearFocus()
        centre = QPointF(native.rect().center())
        event = QWheelEvent(
            centre,
            QPointF(native.mapToGlobal(native.rect().center())),
            QPoint(0, 0),
            QPoint(0, -240),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(native, event)
        assert slider.value == before


def test_own_values_have_no_claim_and_a_way_back(measured, qtbot):
    _, gui = measured
    form, suggested = gui.form, gui.context.suggestion
    form.controls["kappa"].value *= 3
    assert form.strength.sentence.value == OWN_VALUES
    assert not form.strength.arrow.native.isHidden()
    form.strength.arrow.native.click()
    assert (form.controls.value(), form.amount.time) == (suggested.model, suggested.time)
    form.amount.number.value *= 2
    assert form.strength.sentence.value == OWN_VALUES
    form.strength.slider.value = 50  # moving the slider says how strong
    assert form.amount.time == suggested.with_strength(0.5).time
    assert form.strength.sentence.value.startswith(suggested.with_strength(0.5).effect)


def test_the_log_slider_of_a_value_sets_it(measured, qtbot):
    _, gui = measured
    row = gui.form.controls.rows["kappa"]
    before = row.control.value
    assert row.line.slider.value == pytest.approx(200, abs=1)
    qtbot.keyClick(row.line.slider.native, Qt.Key.Key_PageUp)
    assert row.control.value == pytest.approx(before * 100 ** (20 / 200), rel=0.03)
    assert row.line.state is ValueState.YOURS
    row.control.value = before
    assert row.line.slider.value == pytest.approx(200, abs=1)


def test_the_image_chooses_the_model(measured, qtbot):
    _, gui = measured
    gui.form.structure.value = AUTOMATIC
    wait_until_settled(qtbot, gui)
    suggested = starting_values.suggest_values(gui.form.settings(), thorough=True, model="auto")
    assert type(suggested.model) is gui.form.model.value
    assert gui.form.controls.value() == suggested.model
    assert gui.form.amount.time == suggested.time
    assert type(suggested.model).title in gui.form.strength.sentence.value
    assert gui.form.structure.value is AUTOMATIC


def test_suggest_reduces_the_noise_by_the_factor(open_widget, qtbot):
    image = np.random.default_rng(0).normal(100, 5, (32, 32, 32)).astype(np.float32)
    image[:, 16:] += 80
    viewer, gui = open_widget("Isotropic diffusion")
    viewer.add_image(image)
    wait_until_settled(qtbot, gui)
    form = gui.form
    for factor in (2, 4):
        form.reduction.value = factor
        form.suggest.native.click()
        wait_until_settled(qtbot, gui)
        assert form.amount.time == nd.suggest(image, nd.Linear(), noise_reduction=factor).time
        assert form.amount.line.state is ValueState.SUGGESTED
    assert form.effect.value == gui.context.suggestion.effect != ""
    noise = np.random.default_rng(1).normal(0, 5, image.shape).astype(np.float32)
    left = nd.diffuse(noise, nd.Linear(), time=form.amount.time).std() / noise.std()
    assert left == pytest.approx(1 / 4, rel=0.1)
    form.amount.number.value *= 2
    assert form.effect.value == ""


def test_a_careful_choice_says_so_on_the_mri_sample(open_widget, qtbot):
    viewer, gui = open_widget(NAME)
    viewer.open_sample("napari-diffusion", "mri")
    wait_until_settled(qtbot, gui)
    assert gui.context.suggestion.noise_left > 0.9
    assert "on purpose" in gui.form.strength.sentence.value
