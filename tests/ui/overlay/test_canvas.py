"""What the canvas of a visible window shows: preview, split, frame, Compare."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget

from helpers.canvas import canvas_of, drag, mouse, on_canvas, picture, wait_for_canvas
from helpers.viewer import WAIT, open_section, wait_for_preview, wait_until_settled
from napari_diffusion.ui.layers.new_layers import programmatic_selection
from napari_diffusion.ui.overlay.visible_region import camera, grid
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt.undocked import DELAY_MS
from napari_diffusion.ui.sections.preview import COMPARE_KEY, PreviewSection
from napari_diffusion.ui.sections.threshold import ThresholdSection

KEY = Qt.Key[f"Key_{COMPARE_KEY}"]


@pytest.fixture
def flat():
    """A noisy image with an edge."""
    values = np.random.default_rng(0).normal(100.0, 12.0, (40, 60)).astype(np.float32)
    values[:, 30:] += 60.0
    return values


@pytest.fixture
def show(open_widget, make_napari_viewer_proxy, qtbot):
    """Return a function that shows an image, with the preview on, in a visible window."""

    def show_one(image, **options):
        viewer = make_napari_viewer_proxy(show=True, strict_qt="raise")
        viewer.window.resize(1000, 560)
        layers = viewer.add_image(
            image, **{"name": "noisy", "contrast_limits": (50, 220)} | options
        )
        viewer, gui = open_widget(viewer=viewer)
        wait_for_canvas(qtbot, gui)
        section = gui.sections[PreviewSection]
        wait_until_settled(qtbot, gui)
        qtbot.wait(300)  # the docks get their final widths
        viewer.reset_view()
        before = picture(viewer)
        section.show.value = True
        wait_for_preview(qtbot, gui)
        source = layers[0] if isinstance(layers, list) else layers
        return viewer, gui, section, source, before

    return show_one


def wait_for_split(qtbot, section):
    """Wait until the split on screen is drawn, or removed."""
    qtbot.waitUntil(lambda: not section.overlay._redraw_timer.isActive(), timeout=WAIT)


def difference(one, other):
    return np.abs(one - other).mean()


def picture_of(viewer, *names):
    """Return the canvas with some layers alone."""
    visible = [layer.visible for layer in viewer.layers]
    for layer in viewer.layers:
        layer.visible = layer.name in names
    alone = picture(viewer)
    for layer, was_visible in zip(viewer.layers, visible, strict=True):
        layer.visible = was_visible
    return alone


def test_preview_is_on_when_the_widget_opens(open_widget, qtbot, flat, preview_at_opening):
    preview_at_opening()
    viewer, gui = open_widget()
    section = gui.sections[PreviewSection]
    assert section.show.value
    assert section.status.value == ""  # without an image there is nothing to say
    viewer.add_image(flat, name="noisy")
    qtbot.waitUntil(lambda: section.overlay.layer is not None, timeout=WAIT)
    assert [layer.name for layer in viewer.layers] == ["noisy", "noisy [preview]"]


def test_compare_shows_the_original_below_every_result(show, press_run, qtbot, flat):
    viewer, gui, section, source, original = show(flat)
    with_preview = picture(viewer)
    assert difference(with_preview, original) > 1
    press_run(viewer, gui)
    wait_for_preview(qtbot, gui)
    viewer.add_image(flat[::-1] * 0 + 100, name="opaque above")
    gui.form.layer.value = source
    wait_for_preview(qtbot, gui)
    qtbot.wait(300)  # the docks get their final widths
    visible = [layer.visible for layer in viewer.layers]
    original, before = picture_of(viewer, source.name), picture(viewer)
    assert difference(before, original) > 1
    button = section.compare.native
    qtbot.mousePress(button, Qt.MouseButton.LeftButton)
    assert difference(picture(viewer), original) == 0
    qtbot.mouseRelease(button, Qt.MouseButton.LeftButton)
    wait_for_preview(qtbot, gui)
    assert [layer.visible for layer in viewer.layers] == visible
    assert difference(picture(viewer), before) == 0
    # The same by the key, in the canvas and in the dock; a hidden original is shown, too.
    source.visible = False
    for native in (canvas_of(gui), gui.native):
        qtbot.keyPress(native, KEY)
        assert difference(picture(viewer), original) == 0
        qtbot.keyRelease(native, KEY)
        assert not section.comparison.held
        assert not source.visible
        wait_for_preview(qtbot, gui)


def test_layers_may_come_and_go_during_a_comparison(show, qtbot, flat):
    viewer, gui, section, source, original = show(flat)
    below = viewer.add_image(flat, name="below", blending="additive", visible=False)
    gui.form.layer.value = source
    wait_for_preview(qtbot, gui)
    section.comparison.begin()
    with programmatic_selection():  # such as a result that is ready now
        new = viewer.add_image(flat * 0, name="new")
    qtbot.waitUntil(lambda: not new.visible, timeout=WAIT)
    assert section.comparison.held
    assert difference(picture(viewer), original) == 0
    viewer.layers.remove("below")
    section.comparison.end()
    assert new.visible
    section.comparison.begin()
    viewer.layers.remove(source)
    assert not section.comparison.held
    assert new.visible
    assert below not in viewer.layers


def test_split_shows_original_and_preview_side_by_side(show, qtbot, flat, held_previews):
    held_previews.go.set()
    viewer, gui, section, source, original = show(flat)
    whole = picture(viewer)
    computed = len(held_previews.calls)
    section.split.value = True
    wait_for_split(qtbot, section)
    border = round(on_canvas(viewer, gui, source, (0, 29.5))[0])
    ratio, voxel = canvas_of(gui).devicePixelRatioF(), round(camera(viewer).zoom)
    shown, border = picture(viewer), round(border * ratio)
    left, beside = slice(0, border - voxel - 4), border + voxel + 4
    assert difference(shown[:, left], original[:, left]) == 0
    right = np.abs(shown - whole)[:, beside:].max(2)
    assert (right > 0).mean() < 0.1  # nothing but the frame
    # The mouse takes the line and moves it; nothing is computed, and the camera stays.
    centre = camera(viewer).center
    start, end = (
        on_canvas(viewer, gui, source, (20, 29.5)),
        on_canvas(viewer, gui, source, (9, 44.5)),
    )
    mouse(gui, "move", start)
    assert canvas_of(gui).cursor().shape() == Qt.CursorShape.SplitHCursor
    drag(gui, start, end)
    wait_for_split(qtbot, section)
    picture(viewer)
    assert camera(viewer).center == centre
    assert section.overlay.fraction == pytest.approx(0.75, abs=0.01)
    assert section.overlay.layer.data.shape == (40, 15)
    np.testing.assert_allclose(section.overlay.layer.data_to_world((0, 0)), (0, 45))
    moved = picture(viewer)
    left = slice(0, round(end[0] * ratio) - voxel - 4)
    assert difference(moved[:, left], original[:, left]) == 0
    assert len(held_previews.calls) == computed
    # Beside the line, the mouse pans as always.
    mouse(gui, "move", on_canvas(viewer, gui, source, (20, 10)))
    assert canvas_of(gui).cursor().shape() != Qt.CursorShape.SplitHCursor
    drag(gui, on_canvas(viewer, gui, source, (20, 10)), on_canvas(viewer, gui, source, (20, 16)))
    picture(viewer)  # napari reads the place of the camera when it draws
    assert camera(viewer).center != centre
    assert section.overlay.fraction == pytest.approx(0.75, abs=0.01)
    section.split.value = False
    wait_for_split(qtbot, section)
    assert section.overlay.layer.data.shape == (40, 60)


@pytest.mark.parametrize(
    "turn", [{"rotate": 90}, {"rotate": 200, "scale": (1, 2)}, {"order": (1, 0)}]
)
def test_split_line_crosses_the_screen_from_top_to_bottom(show, qtbot, flat, turn):
    order = turn.pop("order", (0, 1))
    viewer, gui, section, source, _ = show(flat, **turn)
    viewer.dims.order = order
    viewer.reset_view()
    wait_for_preview(qtbot, gui)
    section.split.value = True
    wait_for_split(qtbot, section)
    layer = section.overlay.layer
    ends = np.array(
        [layer.data_to_world((0, 0)), layer.data_to_world(np.array(layer.data.shape) - 1)]
    )
    horizontal = viewer.dims.displayed[-1]
    middle = source.data_to_world((19.5, 29.5))[horizontal]
    assert ends[:, horizontal].mean() > middle  # the preview is on the right
    assert layer.data.size == pytest.approx(flat.size / 2, rel=0.05)


def test_split_is_off_in_3d_and_in_grid_view(show, qtbot, noisy):
    viewer, gui, section, _, _ = show(noisy)
    section.split.value = True
    wait_for_split(qtbot, section)
    columns = section.overlay.layer.data.shape[2]
    assert columns == 10
    viewer.dims.ndisplay = 3
    wait_for_preview(qtbot, gui)
    assert not section.split.enabled
    assert "2-D" in section.split.tooltip
    assert section.overlay.layer.data.shape == noisy.shape
    assert "whole volume" in section.status.value
    viewer.dims.ndisplay = 2
    wait_for_preview(qtbot, gui)
    assert section.split.enabled
    assert section.overlay.layer.data.shape == (1, 16, 10)
    grid(viewer).enabled = True
    wait_for_split(qtbot, section)
    assert not section.split.enabled
    assert "grid" in section.split.tooltip
    assert section.overlay.layer.data.shape == (1, 16, 20)
    picture(viewer)


@pytest.mark.usefixtures("values_of_noisy")
def test_frame_surrounds_a_preview_of_a_part(show, qtbot, preferences):
    preferences[0] = Preferences(preview=16)
    image = np.random.default_rng(1).normal(100, 9, (60, 80)).astype(np.float32)
    viewer, gui, section, source, _ = show(image)
    y = round(on_canvas(viewer, gui, source, (29.5, 39.5))[1])
    left = round(on_canvas(viewer, gui, source, (29.5, 31.5))[0])
    shown = picture(viewer)
    near = shown[y, left - 3 : left + 4]
    orange = (near[:, 0] > near[:, 2] + 60).any()  # the picture itself is grey
    assert orange
    assert "central 16 × 16 pixels" in section.status.value
    preferences[0] = Preferences(preview=512)
    section.overlay.refresh()
    wait_for_preview(qtbot, gui)
    shown = picture(viewer)
    assert (np.ptp(shown, axis=2) < 12).all()  # grey everywhere
    assert "this image" in section.status.value


def test_preview_of_an_additive_channel_keeps_the_other_channels(show, press_run, qtbot, flat):
    channels = np.stack([flat, flat[::-1, ::-1]])
    viewer, gui, section, source, original = show(
        channels,
        channel_axis=0,
        name=["green", "magenta"],
        contrast_limits=[(50, 220)] * 2,
        colormap=["green", "magenta"],
        blending="additive",
    )
    gui.form.layer.value = source
    wait_for_preview(qtbot, gui)
    layer = section.overlay.layer
    assert layer.blending == "additive"
    assert not source.visible
    shown = picture(viewer)
    # Magenta (red and blue) is as before; green is smoother, and as bright as before.
    assert np.array_equal(shown[..., 0], original[..., 0])
    inside = original[..., 1] > 0
    assert shown[inside][:, 1].mean() == pytest.approx(original[inside][:, 1].mean(), rel=0.02)
    assert shown[inside][:, 1].std() < original[inside][:, 1].std()
    section.comparison.begin()
    assert difference(picture(viewer), original) == 0
    section.comparison.end()
    wait_for_preview(qtbot, gui)
    # The split, and a part of the plane: the original stays around it.
    section.split.value = True
    wait_for_split(qtbot, section)
    border = round(
        on_canvas(viewer, gui, source, (0, 29.5))[0] * canvas_of(gui).devicePixelRatioF()
    )
    split = picture(viewer)
    reach = round(3 * camera(viewer).zoom)
    assert difference(split[:, : border - reach], original[:, : border - reach]) == 0
    assert difference(split[:, border + reach :], shown[:, border + reach :]) == 0
    section.split.value = False
    # A result takes the place of the preview: nothing becomes brighter.
    result = press_run(viewer, gui)
    qtbot.waitUntil(lambda: section.overlay.layer is None, timeout=WAIT)
    wait_until_settled(qtbot, gui)
    assert result.visible
    assert not source.visible
    qtbot.wait(300)  # the docks get their final widths
    with_result = picture(viewer)
    assert difference(with_result, picture_of(viewer, "magenta", result.name)) == 0
    original = picture_of(viewer, "magenta", source.name)
    section.comparison.begin()
    assert difference(picture(viewer), original) == 0
    section.comparison.end()
    assert difference(picture(viewer), with_result) == 0
    gui.form.amount.number.value *= 2
    wait_for_preview(qtbot, gui)
    assert section.overlay.layer is not None
    assert not result.visible
    section.show.value = False
    assert result.visible


@pytest.mark.usefixtures("values_of_noisy")
def test_additive_preview_in_3d_keeps_the_other_channels(open_widget, qtbot, preferences):
    """In 3-D view the preview is a box, or a plane; the other channel is as before."""
    preferences[0] = Preferences(preview=64)
    rng = np.random.default_rng(0)
    volume = np.where(np.arange(24) < 12, 80.0, 160.0) + rng.normal(0, 12, (24, 24, 24))
    viewer, gui = open_widget()
    source, other = viewer.add_image(
        np.stack([volume, volume[::-1, ::-1, ::-1]]).astype(np.float32),
        channel_axis=0,
        name=["green", "magenta"],
        contrast_limits=[(50, 220)] * 2,
        colormap=["green", "magenta"],
        blending="additive",
    )
    gui.native.window().show()
    wait_for_canvas(qtbot, gui)
    viewer.dims.ndisplay = 3
    gui.form.layer.value = source
    wait_until_settled(qtbot, gui)
    original = picture(viewer)
    section = gui.sections[PreviewSection]
    section.show.value = True
    wait_for_preview(qtbot, gui)
    layer = section.overlay.layer
    assert layer.data.shape == volume.shape  # the original is around the box
    assert section.overlay.part.region == (slice(4, 20),) * 3
    assert layer.blending == "additive"
    assert other.visible
    assert not source.visible
    shown = picture(viewer)
    assert np.array_equal(shown[..., 0], original[..., 0])
    assert difference(shown[..., 1], original[..., 1]) > 0.5
    # The edges of the box are bright, its faces are not.
    bright = layer.data == source.contrast_limits[1]
    assert bright[3, 3, 4:20].all()
    assert not bright[3, 4:20, 4:20].any()
    section.solid.cut.value = 0
    wait_for_preview(qtbot, gui)
    assert section.overlay.layer.data.shape == (1, 24, 24)
    assert section.overlay.layer.blending == "additive"
    assert np.array_equal(picture(viewer)[..., 0], original[..., 0])
    section.show.value = False
    assert source.visible
    assert np.array_equal(picture(viewer), original)


def test_hidden_original_is_shown_again_when_its_preview_ends(show, qtbot, flat):
    _, gui, section, source, _ = show(flat, blending="additive")
    assert not source.visible
    section.show.value = False
    assert source.visible
    source.visible = False
    section.show.value = True
    wait_for_preview(qtbot, gui)
    section.show.value = False
    assert not source.visible  # as the user left it
    source.visible = True
    section.show.value = True
    wait_for_preview(qtbot, gui)
    source.blending = "translucent"
    wait_for_preview(qtbot, gui)
    assert source.visible
    assert section.overlay.layer.blending == "translucent_no_depth"


def test_a_hidden_widget_leaves_no_layer_and_has_it_again(show, qtbot, flat):
    viewer, gui, section, _, _ = show(flat)
    threshold = open_section(gui, ThresholdSection)
    threshold.mark.value = True
    qtbot.waitUntil(lambda: threshold.overlay.layer is not None, timeout=WAIT)
    preview = section.overlay.layer
    dock = gui.native.parentWidget()
    while not isinstance(dock, QDockWidget):
        dock = dock.parentWidget()
    for floating in (True, False):
        dock.setFloating(floating)
        qtbot.wait(2 * DELAY_MS)
        assert section.overlay.layer is preview  # it has stayed
    dock.hide()
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=WAIT)
    assert section.show.value
    dock.show()
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=WAIT)
    section.show.value = False
    dock.hide()
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=WAIT)
    dock.show()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=WAIT)
    assert section.overlay.layer is None  # as the user left it


def test_preview_lies_below_vectors_labels_and_shapes(show, qtbot, flat):
    viewer, gui, section, source, _ = show(flat)
    section.show.value = False
    others = [
        viewer.add_labels(np.zeros(flat.shape, np.uint8), name="labels"),
        viewer.add_vectors(np.zeros((1, 2, 2)), name="vectors"),
        viewer.add_shapes(name="shapes"),
    ]
    gui.form.layer.value = source
    section.show.value = True
    wait_for_preview(qtbot, gui)
    names = [layer.name for layer in viewer.layers]
    assert names == ["noisy", "noisy [preview]", "labels", "vectors", "shapes"]
    assert all(other in viewer.layers for other in others)


def test_thick_slice_is_followed(show, qtbot, noisy):
    viewer, gui, section, source, _ = show(noisy)
    source.projection_mode = "mean"
    viewer.dims.thickness = (3.0, 0.0, 0.0)
    viewer.dims.set_current_step(0, 2)
    wait_for_preview(qtbot, gui)
    layer = section.overlay.layer
    assert layer.projection_mode == "mean"
    assert "thick slice" in section.status.value
    shown = picture(viewer)
    source.data = gui.form.settings().recipe.diffuse(noisy)
    section.show.value = False
    assert difference(picture(viewer), shown) < 0.5
    source.data = noisy
    assert difference(picture(viewer), shown) > 1


def test_starting_values_are_called_so_until_the_noise_is_measured(show, qtbot, flat, monkeypatch):
    _, gui, section, _, _ = show(flat)
    assert "Starting values" not in section.status.value
    monkeypatch.setattr(type(gui.context), "measuring", True)
    section.overlay.refresh()
    wait_for_preview(qtbot, gui)
    assert section.status.value.endswith("Starting values.")
    monkeypatch.setattr(type(gui.context), "measuring", False)
    gui.context.suggestion_changed.emit()
    assert section.status.value.startswith("Exact preview")
    assert "Starting values" not in section.status.value


@pytest.mark.usefixtures("values_of_noisy")
def test_colours_time_series_and_multiscale_in_the_canvas(show, qtbot, noisy):
    """The split shows the right columns of each, and Compare the original."""
    colours = np.clip(np.stack([noisy[0], 255 - noisy[0], noisy[0] / 2], -1), 0, 255)
    large = np.random.default_rng(2).normal(100, 9, (200, 160)).astype(np.float32)
    kinds = {
        "colours": (colours.astype(np.uint8), {"rgb": True, "contrast_limits": None}),
        "series": (np.stack([noisy, noisy[::-1]]), {"scale": (1, 2, 1, 1)}),
        "multiscale": ([large, large[::2, ::2]], {"multiscale": True}),
    }
    viewer, gui, section, _, _ = show(noisy[0])
    for name, (data, options) in kinds.items():
        viewer.layers.clear()
        section.split.value = False
        source = viewer.add_image(data, name=name, **{"contrast_limits": (50, 220)} | options)
        viewer.reset_view()
        section.comparison.begin()
        original = picture(viewer)
        section.comparison.end()
        section.show.value = True
        wait_for_preview(qtbot, gui)
        assert difference(picture(viewer), original) > 0.1, name
        section.split.value = True
        wait_for_split(qtbot, section)
        width = source.data[0].shape[1] if name == "multiscale" else 20
        line = on_canvas(viewer, gui, source, (0,) * (source.ndim - 1) + (width / 2 - 0.5,))[0]
        left = slice(0, round(line - camera(viewer).zoom) - 4)
        assert difference(picture(viewer)[:, left], original[:, left]) == 0, name
        section.comparison.begin()
        assert difference(picture(viewer), original) == 0, name
        section.comparison.end()


def test_channels_added_to_a_base_channel_stay_above_its_preview(show, qtbot, flat):
    """napari splits channels into a translucent base and others that are added to it."""
    viewer, gui, section, source, _ = show(flat, name="base", colormap="green")
    section.show.value = False
    other = viewer.add_image(flat[::-1], name="other", colormap="magenta", blending="additive")
    gui.form.layer.value = source
    original = picture(viewer)
    section.show.value = True
    wait_for_preview(qtbot, gui)
    assert [layer.name for layer in viewer.layers] == ["base", "base [preview]", "other"]
    assert other.visible
    shown = picture(viewer)
    assert np.array_equal(shown[..., 0], original[..., 0])  # magenta is as before
    assert difference(shown[..., 1], original[..., 1]) > 1


def test_marked_edges_lie_above_the_preview(show, qtbot, flat):
    viewer, gui, section, _, _ = show(flat)
    threshold = open_section(gui, ThresholdSection)
    threshold.mark.value = True
    qtbot.waitUntil(lambda: threshold.overlay.layer is not None, timeout=WAIT)
    section.show.value = False
    section.show.value = True
    wait_for_preview(qtbot, gui)
    names = [layer.name for layer in viewer.layers]
    assert names == ["noisy", "noisy [preview]", "noisy [edges]"]
