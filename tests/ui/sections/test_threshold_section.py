"""The threshold by eye: the plot and the control are one number, and the picture shows what it keeps."""

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QMenu

import napari_diffusion as nd
from helpers.viewer import WAIT, wait_until_settled
from napari_diffusion.ui.sections import threshold
from napari_diffusion.ui.sections.threshold import ThresholdSection


@pytest.fixture
def opened(open_widget, qtbot, noisy):
    viewer, gui = open_widget()
    viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3, name="cells")
    gui.root_native_widget.window().show()
    wait_until_settled(qtbot, gui)
    section = gui.sections[ThresholdSection]
    section.box.button.native.click()
    follow(qtbot, gui)
    return viewer, gui, section


def follow(qtbot, gui):
    wait_until_settled(qtbot, gui)
    qtbot.waitUntil(lambda: not gui.sections[ThresholdSection].pending, timeout=WAIT)


def at(plot, value):
    """Pixel of a gradient in the plot."""
    return plot.mapFromScene(
        plot.getViewBox().mapViewToScene(QPointF(np.log10(value), 0.5 * plot._top))
    )


def drag(qtbot, plot, start, stop):
    port = plot.viewport()
    first, last = at(plot, start), at(plot, stop)
    qtbot.mouseMove(port, first)
    qtbot.mousePress(port, Qt.MouseButton.LeftButton, pos=first)
    for k in range(1, 11):
        where = QPoint(
            *(int(a + (b - a) * k / 10) for a, b in ((first.x(), last.x()), (first.y(), last.y())))
        )
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            QPointF(where),
            QPointF(port.mapToGlobal(where)),
            Qt.MouseButton.NoButton,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(port, event)
        qtbot.wait(5)
    qtbot.mouseRelease(port, Qt.MouseButton.LeftButton, pos=last)


def test_line_and_control_are_one_number(opened, qtbot):
    _, gui, section = opened
    kappa = gui.form.controls["kappa"]
    assert section.plot.threshold == pytest.approx(kappa.value)
    kappa.value = 40
    follow(qtbot, gui)
    assert section.plot.threshold == pytest.approx(40)
    assert not any(
        menu.isVisible() for menu in section.plot.findChildren(QMenu)
    )  # pyqtgraph's own would cover the plot
    drag(qtbot, section.plot, 40, 15)
    follow(qtbot, gui)
    # A pixel is a few per cent on a logarithmic axis of this width.
    assert kappa.value == pytest.approx(15, rel=0.1)
    assert section.plot.threshold == pytest.approx(kappa.value)
    assert "kappa" in gui.form.controls.edited


def test_what_is_told_is_what_is(opened, qtbot, noisy):
    _, gui, section = opened
    gui.form.controls["kappa"].value = 30
    follow(qtbot, gui)
    share = nd.gradients(noisy, spacing=(2, 0.5, 0.5), sigma=gui.form.controls.value().sigma).above(
        30
    )
    assert (
        f"{100 * share:.0f} % of the voxels are steeper than 30 intensity/µm" in section.share.value
    )
    x, y = section.plot.curve.getOriginalDataset()
    np.testing.assert_allclose(y / section.plot._top, 1 / (1 + (x / 30) ** 2), atol=1e-5)


def test_the_model_decides_whether_there_is_a_threshold(open_widget, qtbot, noisy):
    viewer, gui = open_widget("Isotropic diffusion")
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    assert not gui.sections[ThresholdSection].box.visible


def test_edges_are_marked_where_nothing_flows(opened, qtbot, noisy):
    viewer, gui, section = opened
    gui.form.controls["kappa"].value = 40
    section.mark.native.click()
    follow(qtbot, gui)
    layer = section.overlay.layer
    expected = nd.conductance(noisy, gui.form.controls.value(), spacing=(2, 0.5, 0.5))
    np.testing.assert_array_equal(layer.data, expected[2:3])
    assert layer.name == "cells [edges]"
    opacity = layer.colormap.map(np.array([0.0, 1.0]))[:, 3]
    assert opacity[0] > 0.5
    assert opacity[1] == 0
    gui.form.controls["kappa"].value = 4
    viewer.dims.set_current_step(0, 4)
    follow(qtbot, gui)
    expected = nd.conductance(noisy, gui.form.controls.value(), spacing=(2, 0.5, 0.5))
    np.testing.assert_array_equal(section.overlay.layer.data, expected[4:5])
    section.mark.native.click()
    assert [each.name for each in viewer.layers] == ["cells"]


def test_gradients_are_measured_when_the_image_changes_only(opened, qtbot, noisy, monkeypatch):
    viewer, gui, section = opened
    asked, real = [], nd.gradients
    monkeypatch.setattr(
        nd,
        "gradients",
        lambda image, **keywords: (asked.append(keywords["sigma"]), real(image, **keywords))[1],
    )
    for value in (3, 5, 8):
        gui.form.controls["kappa"].value = value
        follow(qtbot, gui)
    assert asked == []
    gui.form.controls["sigma"].value = 0.7  # the user's own from now on: no suggestion changes it
    follow(qtbot, gui)
    assert asked == [0.7]
    viewer.layers[0].data = noisy * 3
    follow(qtbot, gui)
    assert asked == [0.7, 0.7]
    assert section.plot.threshold == pytest.approx(gui.form.controls["kappa"].value)


def test_an_image_without_gradients_says_so(opened, qtbot, noisy):
    viewer, gui, section = opened
    for data, said in (
        (np.zeros_like(noisy), "flat"),
        (noisy * np.float32(1e30), "overflow"),
        (noisy, "are steeper than"),
    ):
        viewer.layers[0].data = data
        follow(qtbot, gui)
        assert said in section.share.value
        assert bool(section.plot.bars.getData()[1].any()) is (said == "are steeper than")


def test_light_and_dark(opened, qtbot):
    viewer, _, section = opened
    seen = []
    for theme in ("light", "dark"):
        viewer.theme = theme
        seen.append(section.plot.backgroundBrush().color().lightness())
    assert seen[0] > 128 > seen[1]


def test_a_threshold_beyond_the_histogram_stays_in_the_plot(opened, qtbot):
    _, gui, section = opened
    for kappa in (0.02, 40_000.0):
        gui.form.controls["kappa"].value = kappa
        follow(qtbot, gui)
        low, high = section.plot.viewRange()[0]
        assert low < np.log10(section.plot.threshold) < high
        assert low < section.plot._ends[0] < section.plot._ends[1] < high


def test_nothing_of_another_image_is_left_in_the_plot(opened, qtbot, noisy):
    viewer, gui, section = opened
    viewer.add_image(np.ones_like(noisy))
    follow(qtbot, gui)
    assert "flat" in section.share.value
    assert not section.plot.line.isVisible()
    assert not section.plot.curve.isVisible()
    viewer.layers.pop()
    viewer.layers.selection.active = viewer.layers[0]
    follow(qtbot, gui)
    assert section.plot.line.isVisible()
    viewer.layers.clear()
    follow(qtbot, gui)
    assert "Open an image" in section.share.value
    assert not section.plot.line.isVisible()


def test_new_values_at_an_old_address_are_measured(opened, qtbot, noisy, monkeypatch):
    _, gui, section = opened
    monkeypatch.setattr(
        threshold, "id", lambda _: 7, raising=False
    )  # Python may give a new array the number of one that is gone
    gui.form.layer.value.visible = False  # nothing is drawn that would tell
    for factor in (2, 100):
        gui.form.layer.value.data = new = noisy * factor
        follow(qtbot, gui)
        steep = nd.gradients(new, spacing=(2, 0.5, 0.5), sigma=gui.form.controls.value().sigma)
        assert section._gradients.magnitudes[-1] == pytest.approx(steep.magnitudes[-1])


def test_marked_edges_go_with_the_threshold_and_come_back_with_it(opened, qtbot):
    viewer, gui, section = opened
    section.mark.value = True
    follow(qtbot, gui)
    model = gui.form.model.value
    gui.form.model.value = nd.MeanCurvature
    follow(qtbot, gui)
    assert not any("[edges]" in layer.name for layer in viewer.layers)
    gui.form.model.value = model
    follow(qtbot, gui)
    assert any("[edges]" in layer.name for layer in viewer.layers)


def test_steep_noise_is_not_called_an_edge(opened, qtbot):
    _, gui, section = opened
    gui.form.controls["kappa"].value = 0.1
    follow(qtbot, gui)
    assert "kept as edges" not in section.share.value
    gui.form.controls["kappa"].value = 60
    follow(qtbot, gui)
    assert "kept as edges" in section.share.value
