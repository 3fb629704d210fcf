"""The preview equals the run on the visible part, whatever happens to the viewer."""

import dask.array
import numpy as np
import pytest
from qtpy.QtCore import Qt

from helpers.viewer import WAIT, assert_shows_the_run, wait_for_preview, wait_until_settled
from napari_diffusion.ui.overlay.overlay_layer import REFRESH_DELAY_MS
from napari_diffusion.ui.overlay.visible_region import camera
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.sections import preview as module


def test_preview_of_a_plane_equals_the_run(open_preview, noisy):
    viewer, gui, section = open_preview(
        noisy, name="cells", scale=(2, 0.5, 0.5), units=("um",) * 3, translate=(5, 1, 2)
    )
    layer, source = section.overlay.layer, viewer.layers["cells"]
    assert layer.name == "cells [preview]"
    assert layer.colormap == source.colormap
    assert list(layer.contrast_limits) == list(source.contrast_limits)
    assert layer.units == source.units
    assert section.status.value.startswith("Exact preview of this slice (")
    region = assert_shows_the_run(viewer, gui)
    assert region == (slice(2, 3), slice(0, 16), slice(0, 20))
    # The preview is not offered as input and does not change the selection.
    assert gui.form.layer.value == source
    assert viewer.layers.selection.active == source


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 1, 0)])
def test_preview_follows_the_order_of_axes(open_preview, qtbot, noisy, order):
    viewer, gui, _ = open_preview(noisy, scale=(2, 0.5, 1))
    viewer.dims.order = order
    viewer.dims.set_current_step(order[0], 2)
    wait_for_preview(qtbot, gui)
    region = assert_shows_the_run(viewer, gui)
    assert region[order[0]] == slice(2, 3)
    assert [region[axis] for axis in order[1:]] == [
        slice(0, noisy.shape[axis]) for axis in order[1:]
    ]


def test_preview_follows_the_sliders_the_controls_and_the_layer(open_preview, qtbot, noisy):
    viewer, gui, section = open_preview(noisy)
    layer = section.overlay.layer
    viewer.dims.set_current_step(0, 5)
    wait_for_preview(qtbot, gui)
    region = assert_shows_the_run(viewer, gui)
    assert region[0] == slice(5, 6)
    before = layer.data
    gui.form.controls["kappa"].value *= 3
    wait_for_preview(qtbot, gui)
    assert_shows_the_run(viewer, gui)
    assert not np.array_equal(before, layer.data)
    gui.form.amount.number.value *= 2
    wait_for_preview(qtbot, gui)
    assert_shows_the_run(viewer, gui)
    viewer.layers[0].data = noisy * 2
    wait_for_preview(qtbot, gui)
    assert_shows_the_run(viewer, gui)
    # All pictures were shown in the same layer.
    assert section.overlay.layer == layer
    assert len(viewer.layers) == 2
    viewer.layers[0].contrast_limits = (3, 200)
    assert list(layer.contrast_limits) == [3, 200]
    other = viewer.add_image(noisy[:, ::-1] + 7, name="other")
    wait_for_preview(qtbot, gui)
    assert gui.form.layer.value == other
    assert section.overlay.layer.name == "other [preview]"
    assert_shows_the_run(viewer, gui)
    viewer.layers["noisy"].contrast_limits = (1, 2)
    assert list(section.overlay.layer.contrast_limits) != [1, 2]


def test_preview_is_hidden_while_the_button_is_held(open_preview, qtbot, noisy):
    viewer, gui, section = open_preview(noisy)
    button = section.compare.native
    qtbot.mousePress(button, Qt.MouseButton.LeftButton)
    assert not section.overlay.layer.visible
    viewer.dims.set_current_step(0, 1)
    wait_for_preview(qtbot, gui)
    assert not section.overlay.layer.visible
    qtbot.mouseRelease(button, Qt.MouseButton.LeftButton)
    assert section.overlay.layer.visible
    qtbot.keyPress(button, Qt.Key.Key_Space)
    assert not section.overlay.layer.visible
    qtbot.keyRelease(button, Qt.Key.Key_Space)
    assert section.overlay.layer.visible
    wait_for_preview(qtbot, gui)
    assert assert_shows_the_run(viewer, gui)[0] == slice(1, 2)


def test_preview_has_the_name_of_its_image(open_preview, noisy):
    viewer, _, section = open_preview(noisy)
    viewer.layers["noisy"].name = "other"
    assert section.overlay.layer.name == "other [preview]"
    section.show.value = False
    viewer.layers["other"].name = "noisy"
    assert [layer.name for layer in viewer.layers] == ["noisy"]


def test_preview_moves_with_its_image(open_preview, qtbot, noisy):
    viewer, gui, _ = open_preview(noisy)
    viewer.layers["noisy"].translate = (0, 15, 15)
    wait_until_settled(qtbot, gui)
    wait_for_preview(qtbot, gui)
    assert_shows_the_run(viewer, gui)


@pytest.mark.parametrize("bottom_first", [False, True])
def test_preview_deleted_with_its_image_shows_the_next_one(
    open_preview, qtbot, noisy, bottom_first
):
    viewer, gui, section = open_preview(noisy)
    for layer in list(viewer.layers) if bottom_first else list(viewer.layers)[::-1]:
        if layer in viewer.layers:  # the preview is removed with its image
            viewer.layers.remove(layer)
    wait_until_settled(qtbot, gui)
    assert len(viewer.layers) == 0
    viewer.add_image(noisy[::-1].copy(), name="next")
    wait_until_settled(qtbot, gui)
    wait_for_preview(qtbot, gui)
    assert section.show.value
    assert_shows_the_run(viewer, gui)


@pytest.mark.parametrize("how", ["check box", "layer"])
def test_preview_can_be_switched_off_and_on(open_preview, qtbot, noisy, how):
    viewer, gui, section = open_preview(noisy)
    if how == "check box":
        section.show.native.click()
    else:
        viewer.layers.remove(section.overlay.layer)
        qtbot.waitUntil(lambda: not section.show.value, timeout=WAIT)
    assert [layer.name for layer in viewer.layers] == ["noisy"]
    viewer.dims.set_current_step(0, 1)
    wait_until_settled(qtbot, gui)
    assert not section.overlay.pending
    assert len(viewer.layers) == 1
    section.show.native.click()
    wait_for_preview(qtbot, gui)
    assert_shows_the_run(viewer, gui)


def test_dragged_control_needs_at_most_three_previews(open_preview, qtbot, noisy, held_previews):
    held_previews.go.set()
    viewer, gui, _ = open_preview(noisy)
    held_previews.go.clear()
    held_previews.calls.clear()
    held_previews.ended.clear()
    kappa = gui.form.controls["kappa"]
    values = np.linspace(2, 40, 50)
    for value in values[:25]:
        kappa.value = value
        qtbot.wait(1)
    qtbot.waitUntil(lambda: len(held_previews.calls) == 1, timeout=WAIT)
    for value in values[25:]:
        kappa.value = value
        qtbot.wait(1)
    held_previews.go.set()
    wait_for_preview(qtbot, gui)
    assert len(held_previews.ended) <= 3
    assert len(held_previews.calls) <= 3
    assert held_previews.ended[-1].problem.recipe.model.kappa == 40
    assert_shows_the_run(viewer, gui)


def test_newer_preview_cancels_the_older_one(
    open_preview, qtbot, noisy, held_previews, monkeypatch
):
    held_previews.go.set()
    _, gui, _ = open_preview(noisy)
    held_previews.go.clear()
    held_previews.calls.clear()
    held_previews.ended.clear()
    monkeypatch.setattr("napari_diffusion.ui.overlay.coalescing_queue.GRACE_PERIOD_S", 0)
    for value in (3, 4, 5):
        gui.form.controls["kappa"].value = value
        qtbot.waitUntil(
            lambda value=value: (
                bool(held_previews.calls)
                and held_previews.calls[-1].problem.recipe.model.kappa == value
            ),
            timeout=WAIT,
        )
    held_previews.go.set()
    wait_for_preview(qtbot, gui)
    assert [preview.problem.recipe.model.kappa for preview in held_previews.ended] == [5]


def test_layer_may_be_deleted_or_changed_during_a_preview(
    open_preview, qtbot, noisy, held_previews
):
    held_previews.go.set()
    viewer, gui, section = open_preview(noisy, name="first")
    held_previews.go.clear()
    viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: section.overlay._queue.busy, timeout=WAIT)
    viewer.layers.remove("first")
    held_previews.go.set()
    wait_for_preview(qtbot, gui)
    assert len(viewer.layers) == 0
    assert section.status.value == ""
    viewer.add_image(noisy + 3, name="second")
    wait_for_preview(qtbot, gui)
    assert_shows_the_run(viewer, gui)
    held_previews.go.clear()
    held_previews.calls.clear()
    viewer.dims.set_current_step(0, 4)
    qtbot.waitUntil(lambda: len(held_previews.calls) == 1, timeout=WAIT)
    viewer.layers["second"].data = noisy[:, :12] * 3
    held_previews.go.set()
    wait_for_preview(qtbot, gui)
    assert section.overlay.layer.data.shape == (1, 12, 20)
    assert_shows_the_run(viewer, gui)


@pytest.mark.usefixtures("widget_off_its_dock")
def test_dock_or_viewer_may_be_closed_during_a_preview(
    open_preview_in_window, qtbot, noisy, held_previews
):
    held_previews.go.set()
    viewer, _, section = open_preview_in_window(noisy)
    held_previews.go.clear()
    viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: section.overlay._queue.busy, timeout=WAIT)
    viewer.window.remove_dock_widget("all")
    qtbot.waitUntil(lambda: [layer.name for layer in viewer.layers] == ["noisy"], timeout=WAIT)
    requests = len(held_previews.calls)
    viewer.dims.set_current_step(0, 2)
    qtbot.wait(3 * REFRESH_DELAY_MS)
    assert len(held_previews.calls) == requests  # the closed widget does not react
    assert not section.overlay.pending
    held_previews.go.set()
    other, _, section = open_preview_in_window(noisy)
    held_previews.go.clear()
    other.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: section.overlay._queue.busy, timeout=WAIT)
    # The fixture closes this viewer during the preview.


def test_previews_of_two_viewers_are_independent(open_preview_in_window, qtbot, noisy):
    one, gui_one, _ = open_preview_in_window(noisy)
    two, gui_two, _ = open_preview_in_window(noisy[:, ::-1] + 50)
    two.dims.set_current_step(0, 1)
    wait_for_preview(qtbot, gui_two)
    for viewer, gui, place in ((one, gui_one, 2), (two, gui_two, 1)):
        assert len(viewer.layers) == 2
        region = assert_shows_the_run(viewer, gui)
        assert region[0] == slice(place, place + 1)


def test_preview_in_3d_view_is_a_box_or_a_plane(open_preview, qtbot, noisy, preferences):
    preferences[0] = Preferences(preview=40)
    viewer, gui, section = open_preview(noisy)
    viewer.dims.ndisplay = 3
    wait_for_preview(qtbot, gui)
    region = assert_shows_the_run(viewer, gui)
    assert region == (slice(0, 6), slice(3, 13), slice(5, 15))
    section.solid.cut.value = 1
    section.solid.place.value = 4
    wait_for_preview(qtbot, gui)
    region = assert_shows_the_run(viewer, gui)
    assert region == (slice(0, 6), slice(4, 5), slice(0, 20))
    viewer.dims.ndisplay = 2
    wait_for_preview(qtbot, gui)
    plane = assert_shows_the_run(viewer, gui)[0]
    assert plane.stop - plane.start == 1


@pytest.mark.usefixtures("values_of_noisy")
def test_preview_of_a_lazy_series_reads_one_frame(open_preview, qtbot, noisy):
    series, read = np.stack([noisy, noisy[::-1] + 200, noisy[:, ::-1] + 400]), []

    def note(block, block_info=None):
        if block_info:
            read.append(block_info[0]["chunk-location"][0])
        return block

    lazy = dask.array.from_array(series, chunks=(1, 6, 16, 20)).map_blocks(note, dtype=series.dtype)
    viewer, gui, _ = open_preview(
        lazy, scale=(1, 2, 1, 1), units=("s", "um", "um", "um"), contrast_limits=(50, 700)
    )
    read.clear()
    viewer.dims.set_current_step(0, 2)
    wait_for_preview(qtbot, gui)
    assert set(read) == {2}
    region = assert_shows_the_run(viewer, gui)
    assert region[:2] == (slice(2, 3), slice(2, 3))


@pytest.mark.usefixtures("values_of_noisy")
def test_preview_of_a_colour_image_has_colours(open_preview, noisy):
    rgb = np.clip(np.stack([noisy, 255 - noisy, noisy / 2], -1), 0, 255).astype(np.uint8)
    viewer, gui, section = open_preview(rgb, rgb=True)
    assert section.overlay.layer.rgb
    assert section.overlay.layer.data.dtype == np.uint8
    assert_shows_the_run(viewer, gui, step=1)  # rounded to integers


@pytest.mark.usefixtures("values_of_noisy")
def test_preview_of_a_multiscale_layer_has_full_resolution(open_preview_in_window):
    full = np.random.default_rng(1).normal(100, 9, (40, 60)).astype(np.float32)
    viewer, gui, section = open_preview_in_window([full, full[::2, ::2]], multiscale=True)
    assert section.overlay.layer.data.shape == (40, 60)
    assert_shows_the_run(viewer, gui)


@pytest.mark.usefixtures("values_of_noisy")
def test_large_plane_is_cut_at_the_view_centre(open_preview_in_window, qtbot, preferences):
    preferences[0] = Preferences(preview=16)
    image = np.random.default_rng(1).normal(100, 9, (60, 80)).astype(np.float32)
    viewer, gui, section = open_preview_in_window(image, scale=(0.5, 0.5))
    region = assert_shows_the_run(viewer, gui)
    assert region == (slice(22, 38), slice(32, 48))
    assert "the central 16 × 16 pixels" in section.status.value
    camera(viewer).center = (0, 10, 35)
    wait_for_preview(qtbot, gui)
    region = assert_shows_the_run(viewer, gui)
    assert region == (slice(12, 28), slice(62, 78))


@pytest.mark.usefixtures("values_of_noisy")
def test_preview_of_a_rotated_layer_coincides_with_it(open_preview):
    image = np.random.default_rng(1).normal(100, 9, (30, 40)).astype(np.float32)
    viewer, _, section = open_preview(
        image,
        rotate=30,
        shear=[0.2],
        scale=(2, 1),
        translate=(4, 5),
        affine=[[1, 0.1, 3], [0, 1, 2], [0, 0, 1]],
    )
    layer, source = section.overlay.layer, viewer.layers[0]
    for corner in [(0, 0), (3, 17)]:
        np.testing.assert_allclose(layer.data_to_world(corner), source.data_to_world(corner))


def test_error_is_shown_in_the_section(open_preview, qtbot, noisy):
    noisy[2, 2, 2] = np.nan
    _, gui, section = open_preview(noisy, contrast_limits=(50, 250))
    assert "NaN" in section.status.value
    assert section.overlay.layer is None
    gui.form.run_options["nan"].value = "mask"
    wait_for_preview(qtbot, gui)
    assert np.isnan(section.overlay.layer.data).sum() == 1


def test_compilation_is_announced(open_preview, qtbot, noisy, held_previews, monkeypatch):
    held_previews.go.set()
    viewer, gui, section = open_preview(noisy)
    held_previews.go.clear()
    monkeypatch.setattr(module, "is_compiling", lambda: True)
    viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: "compiling" in section.status.value, timeout=WAIT)
    held_previews.go.set()
    wait_for_preview(qtbot, gui)
    assert section.status.value.startswith("Exact preview")


def test_line_of_a_preview_that_is_off_stays_empty(open_preview, noisy):
    _, gui, section = open_preview(noisy)
    assert section.status.value
    section.show.native.click()
    assert section.status.value == ""
    gui.context.suggestion_changed.emit()  # the image is measured later
    assert section.status.value == ""
