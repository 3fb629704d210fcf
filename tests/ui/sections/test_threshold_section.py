"""Threshold by eye: plot and control show one number, and the overlay shows the edges kept."""

import threading

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QMenu

import napari_diffusion as nd
from helpers.viewer import WAIT, wait_for_go, wait_until_settled
from napari_diffusion.ui.run import starting_values
from napari_diffusion.ui.sections import threshold
from napari_diffusion.ui.sections.threshold import ThresholdSection
from napari_diffusion.ui.values.words import MEASURING


@pytest.fixture
def opened(open_widget, qtbot, noisy):
    viewer, gui = open_widget()
    viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3, name="cells")
    gui.root_native_widget.window().show()
    wait_until_settled(qtbot, gui)
    section = gui.sections[ThresholdSection]
    section.drawer.button.native.click()
    wait_for_section(qtbot, gui)
    return viewer, gui, section


def wait_for_section(qtbot, gui):
    wait_until_settled(qtbot, gui)
    qtbot.waitUntil(lambda: not gui.sections[ThresholdSection].pending, timeout=WAIT)


def pixel_of(plot, gradient):
    """Return the pixel of a gradient, at half the height of the plot."""
    point = QPointF(np.log10(gradient), 0.5 * plot._top)
    return plot.mapFromScene(plot.getViewBox().mapViewToScene(point))


def drag(qtbot, plot, start, stop):
    port = plot.viewport()
    first, last = pixel_of(plot, start), pixel_of(plot, stop)
    qtbot.mouseMove(port, first)
    qtbot.mousePress(port, Qt.MouseButton.LeftButton, pos=first)
    for k in range(1, 11):
        x = int(first.x() + (last.x() - first.x()) * k / 10)
        y = int(first.y() + (last.y() - first.y()) * k / 10)
        position = QPoint(x, y)
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            QPointF(position),
            QPointF(port.mapToGlobal(position)),
            Qt.MouseButton.NoButton,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(port, event)
        qtbot.wait(5)
    qtbot.mouseRelease(port, Qt.MouseButton.LeftButton, pos=last)


def test_line_and_control_show_one_number(opened, qtbot):
    _, gui, section = opened
    kappa = gui.form.controls["kappa"]
    assert section.plot.threshold == pytest.approx(kappa.value)
    kappa.value = 40
    wait_for_section(qtbot, gui)
    assert section.plot.threshold == pytest.approx(40)
    # The menu of pyqtgraph would cover the plot.
    assert not any(menu.isVisible() for menu in section.plot.findChildren(QMenu))
    drag(qtbot, section.plot, 40, 15)
    wait_for_section(qtbot, gui)
    # One pixel is a few per cent on the logarithmic axis.
    assert kappa.value == pytest.approx(15, rel=0.1)
    assert section.plot.threshold == pytest.approx(kappa.value)
    assert "kappa" in gui.form.controls.edited


def test_a_click_sets_the_threshold(opened, qtbot):
    _, gui, section = opened
    kappa, port = gui.form.controls["kappa"], section.plot.viewport()
    kappa.value = 40
    wait_for_section(qtbot, gui)
    qtbot.mouseClick(port, Qt.MouseButton.RightButton, pos=pixel_of(section.plot, 12))
    assert kappa.value == 40
    qtbot.mouseClick(port, Qt.MouseButton.LeftButton, pos=pixel_of(section.plot, 12))
    wait_for_section(qtbot, gui)
    assert kappa.value == pytest.approx(12, rel=0.1)  # one pixel is a few per cent
    assert section.plot.threshold == pytest.approx(kappa.value)
    assert "kappa" in gui.form.controls.edited


def test_no_threshold_is_shown_before_it_is_measured(opened, qtbot, noisy, monkeypatch):
    viewer, gui, section = opened
    go, real = threading.Event(), starting_values.suggest_values

    def held(settings, thorough=False, cancel=None, **options):
        wait_for_go(go, cancel)
        return real(settings, thorough, cancel, **options)

    monkeypatch.setattr(starting_values, "suggest_values", held)
    section.mark.native.click()
    viewer.add_image(noisy * 3)
    qtbot.waitUntil(lambda: section.share.value == MEASURING, timeout=WAIT)
    assert not section.plot.line.isVisible()
    assert not section.overlay.on
    go.set()
    wait_for_section(qtbot, gui)
    assert section.plot.line.isVisible()
    assert section.overlay.on
    assert section.plot.threshold == pytest.approx(gui.form.controls["kappa"].value)


def test_shown_fraction_and_diffusivity_are_those_of_the_image(opened, qtbot, noisy):
    _, gui, section = opened
    gui.form.controls["kappa"].value = 30
    wait_for_section(qtbot, gui)
    sigma = gui.form.controls.value().sigma
    percent = 100 * nd.gradients(noisy, spacing=(2, 0.5, 0.5), sigma=sigma).above(30)
    message = f"{percent:.0f} % of voxels count as edges (gradient > 30 intensity/µm)"
    assert message in section.share.value
    x, y = section.plot.curve.getOriginalDataset()
    np.testing.assert_allclose(y / section.plot._top, 1 / (1 + (x / 30) ** 2), atol=1e-5)


def test_section_is_hidden_for_models_without_a_threshold(open_widget, qtbot, noisy):
    viewer, gui = open_widget("Isotropic diffusion")
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    assert not gui.sections[ThresholdSection].box.visible


def test_edges_are_marked_where_the_conductance_is_low(opened, qtbot, noisy):
    viewer, gui, section = opened
    gui.form.controls["kappa"].value = 40
    section.mark.native.click()
    wait_for_section(qtbot, gui)
    layer = section.overlay.layer
    expected = nd.conductance(noisy, gui.form.controls.value(), spacing=(2, 0.5, 0.5))
    np.testing.assert_array_equal(layer.data, expected[2:3])
    assert layer.name == "cells [edges]"
    opacity = layer.colormap.map(np.array([0.0, 1.0]))[:, 3]
    assert opacity[0] > 0.5
    assert opacity[1] == 0
    gui.form.controls["kappa"].value = 4
    viewer.dims.set_current_step(0, 4)
    wait_for_section(qtbot, gui)
    expected = nd.conductance(noisy, gui.form.controls.value(), spacing=(2, 0.5, 0.5))
    np.testing.assert_array_equal(section.overlay.layer.data, expected[4:5])
    section.mark.native.click()
    assert [each.name for each in viewer.layers] == ["cells"]


def test_gradients_are_measured_only_when_the_image_changes(opened, qtbot, noisy, monkeypatch):
    viewer, gui, section = opened
    sigmas, sample_gradients = [], threshold.sample_gradients

    def recorded(problem, sigma, *arguments):
        sigmas.append(sigma)
        return sample_gradients(problem, sigma, *arguments)

    monkeypatch.setattr(threshold, "sample_gradients", recorded)
    for value in (3, 5, 8):
        gui.form.controls["kappa"].value = value
        wait_for_section(qtbot, gui)
    assert sigmas == []
    gui.form.controls["sigma"].value = 0.7  # set by the user: no suggestion changes it
    wait_for_section(qtbot, gui)
    assert sigmas == [0.7]
    viewer.layers[0].data = noisy * 3
    wait_for_section(qtbot, gui)
    assert sigmas == [0.7, 0.7]
    assert section.plot.threshold == pytest.approx(gui.form.controls["kappa"].value)


@pytest.mark.usefixtures("thorough_suggestions")
def test_image_without_measurable_gradients_is_reported(opened, qtbot, noisy):
    viewer, gui, section = opened
    for data, message in (
        (np.zeros_like(noisy), "flat"),
        (noisy * np.float32(1e36), "(gradient > "),
        (noisy, "(gradient > "),
    ):
        viewer.layers[0].data = data
        wait_for_section(qtbot, gui)
        assert message in section.share.value
        has_bars = bool(section.plot.bars.getData()[1].any())
        assert has_bars is (message == "(gradient > ")


def test_plot_follows_light_and_dark_theme(opened):
    viewer, _, section = opened
    lightness = []
    for theme in ("light", "dark"):
        viewer.theme = theme
        background = section.plot.backgroundBrush().color()
        lightness.append(background.lightness())
        line = section.plot.line.pen.color()
        assert contrast(line, background) > 3  # WCAG 2.1, parts of graphics
        assert contrast(line, section.plot.bars.opts["pen"].color()) > 2
    assert lightness[0] > 128 > lightness[1]


def contrast(one, other):
    """Return the contrast of two colours as WCAG 2.1 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = np.array(colour.getRgbF()[:3])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def test_a_threshold_beyond_the_histogram_stays_in_the_plot(opened, qtbot):
    _, gui, section = opened
    for kappa in (0.02, 40_000.0):
        gui.form.controls["kappa"].value = kappa
        wait_for_section(qtbot, gui)
        low, high = section.plot.viewRange()[0]
        assert low < np.log10(section.plot.threshold) < high
        assert low < section.plot._ends[0] < section.plot._ends[1] < high


def test_plot_keeps_nothing_of_another_image(opened, qtbot, noisy):
    viewer, gui, section = opened
    viewer.add_image(np.ones_like(noisy))
    wait_for_section(qtbot, gui)
    assert "flat" in section.share.value
    assert not section.plot.line.isVisible()
    assert not section.plot.curve.isVisible()
    viewer.layers.pop()
    viewer.layers.selection.active = viewer.layers[0]
    wait_for_section(qtbot, gui)
    assert section.plot.line.isVisible()
    viewer.layers.clear()
    wait_for_section(qtbot, gui)
    assert section.share.value == ""  # the first screen says that an image is needed
    assert not section.plot.line.isVisible()


def test_new_array_with_the_id_of_an_old_one_is_measured(opened, qtbot, noisy, monkeypatch):
    _, gui, section = opened
    # Python may reuse the id of an array that is gone. In the module, all objects have one id here:
    # a comparison of arrays by `id` would fail.
    monkeypatch.setattr(threshold, "id", lambda _: 7, raising=False)
    gui.form.layer.value.visible = False  # so that the layer is not redrawn
    for factor in (2, 100):
        gui.form.layer.value.data = new = noisy * factor
        wait_for_section(qtbot, gui)
        steep = nd.gradients(new, spacing=(2, 0.5, 0.5), sigma=gui.form.controls.value().sigma)
        assert section._gradients.magnitudes[-1] == pytest.approx(steep.magnitudes[-1])


def test_marked_edges_are_hidden_for_models_without_a_threshold(opened, qtbot):
    viewer, gui, section = opened
    section.mark.value = True
    wait_for_section(qtbot, gui)
    model = gui.form.model.value
    gui.form.model.value = nd.MeanCurvature
    wait_for_section(qtbot, gui)
    assert not any("[edges]" in layer.name for layer in viewer.layers)
    gui.form.model.value = model
    wait_for_section(qtbot, gui)
    assert any("[edges]" in layer.name for layer in viewer.layers)


def test_majority_of_steep_voxels_is_not_called_edges(opened, qtbot):
    _, gui, section = opened
    gui.form.controls["kappa"].value = 0.1
    wait_for_section(qtbot, gui)
    assert "count as edges" not in section.share.value
    gui.form.controls["kappa"].value = 60
    wait_for_section(qtbot, gui)
    assert "count as edges" in section.share.value
