"""Real mouse and key events in a visible window: three clicks to a preview, four to a result.

Each event goes to the widget under the pointer, as Qt delivers that of a mouse or a keyboard.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialog

from helpers.viewer import WAIT, wait_for_preview
from napari_diffusion.io import samples
from napari_diffusion.ui.sections.preview import PreviewSection

LEFT = Qt.MouseButton.LeftButton
#: Largest error of the confocal sample after the default run, relative to that of the noisy stack.
MAX_CONFOCAL_ERROR = 0.5
#: Folder for a picture of the window after the third click; ``docs/make_screenshots.py`` sets it.
PICTURES = os.environ.get("NAPARI_DIFFUSION_PICTURES")


class Mouse:
    """Clicks and counts them."""

    def __init__(self, qtbot, window):
        self._qtbot, self._window, self.clicks = qtbot, window, 0

    def click(self, native, position=None):
        """Click on a widget, which must be on screen and enabled."""
        assert native.isVisible()
        assert native.isEnabled()
        position = position or native.rect().center()
        top = QApplication.widgetAt(native.mapToGlobal(position))
        assert top is native or native.isAncestorOf(top), f"{top} lies above {native}"
        QTest.mouseMove(native, position)
        QTest.mouseClick(native, LEFT, Qt.KeyboardModifier.NoModifier, position)
        self.clicks += 1

    def choose(self, *path):
        """Click through the menus; each name is the beginning of the text of an entry."""
        menu = self._window.menuBar()
        for name in path:
            self._qtbot.waitUntil(menu.isVisible, timeout=WAIT)
            action = next(a for a in menu.actions() if a.text().replace("&", "").startswith(name))
            self.click(menu, menu.actionGeometry(action).center())
            menu = action.menu()


def stack(shape=(8, 64, 64), seed=0):
    """Bright balls on a dark background, with noise of standard deviation 60."""
    rng = np.random.default_rng(seed)
    grid = np.ogrid[tuple(map(slice, shape))]
    values = np.full(shape, 100.0)
    for _ in range(18):
        centre = rng.uniform(0, 1, 3) * shape
        distance = sum(
            ((axis - c) / r) ** 2 for axis, c, r in zip(grid, centre, (4, 12, 12), strict=True)
        )
        values[distance < 1] = rng.uniform(400, 900)
    return np.clip(values + rng.normal(0, 60, shape), 0, 65535).astype(np.uint16)


def add_sample(name):
    return lambda viewer, folder: viewer.open_sample("napari-diffusion", name)


def add_channels_in_the_middle(viewer, folder):
    viewer.add_image(np.stack([stack(), stack(seed=1)], axis=1), name="zcyx")


def add_series(viewer, folder):
    series = np.stack([stack(seed=k) for k in range(3)])
    viewer.add_image(series, name="series", axis_labels=("t", "z", "y", "x"))


def add_colours(viewer, folder):
    planes = stack((3, 64, 64)).transpose(1, 2, 0)
    viewer.add_image((planes // 5).clip(0, 255).astype(np.uint8), rgb=True, name="colours")


def add_split_channels(viewer, folder):
    both = np.stack([stack(), stack(seed=1)], axis=1)
    viewer.add_image(both, channel_axis=1, name=["nuclei", "membrane"])


def add_memory_map(viewer, folder):
    """A file of 3 GB, of which the middle is written; the rest takes no space on the disk."""
    data = np.memmap(folder / "large.bin", np.uint16, "w+", shape=(480, 1800, 1800))
    data[204:276, 772:1028, 772:1028] = stack((72, 256, 256))
    viewer.add_image(data, name="large", contrast_limits=(0, 1000))


def add_rotated(viewer, folder):
    c, s = np.cos(0.5), np.sin(0.5)
    rotation = [[1, 0, 0], [0, c, -s], [0, s, c]]
    viewer.add_image(stack(), name="rotated", scale=(2, 1, 1), rotate=rotation)


@dataclass(frozen=True)
class Case:
    """An image, the name of its layer, and the axes that are filtered together."""

    add: Callable
    layer: str
    axes: tuple[int, ...]
    run: bool = True
    #: Largest roughness of the preview, relative to the image. A careful choice changes little.
    share: float = 0.97


SAMPLES = {
    "confocal": Case(add_sample("confocal"), "confocal", (0, 1, 2)),
    "simulated MRI": Case(add_sample("mri_simulated"), "simulated MRI", (0, 1, 2)),
    "real MRI": Case(add_sample("mri"), "MRI", (0, 1, 2), share=1.0),
    "real series": Case(add_sample("mri_4d"), "MRI time series", (1, 2, 3), share=1.0),
}
LAYERS = {
    "ZCYX": Case(add_channels_in_the_middle, "zcyx", (0, 2, 3)),
    "time series": Case(add_series, "series", (1, 2, 3)),
    "RGB": Case(add_colours, "colours", (0, 1)),
    "split channels": Case(add_split_channels, "membrane", (0, 1, 2)),
    "3 GB memmap": Case(add_memory_map, "large", (0, 1, 2), run=False),
    "rotated": Case(add_rotated, "rotated", (0, 1, 2)),
}


def roughness(values):
    """Mean difference of neighbouring pixels, which noise makes large."""
    return float(np.abs(np.diff(np.asarray(values, float), axis=1)).mean())


@pytest.fixture
def desk(make_napari_viewer, preview_at_opening, qtbot, tmp_path):
    """Return a function that shows a case in a window and opens the widget with the mouse."""

    preview_at_opening()

    def prepare(case):
        viewer = make_napari_viewer(show=True)
        window = viewer.window._qt_window
        window.resize(1280, 800)
        case.add(viewer, tmp_path)
        layer = viewer.layers[case.layer]
        shape = layer.data.shape[:-1] if layer.rgb else layer.data.shape
        for axis, size in enumerate(shape[:-2]):
            viewer.dims.set_current_step(axis, size // 2)
        qtbot.wait(200)
        mouse = Mouse(qtbot, window)
        mouse.choose("Layers", "Filter", "Edge-preserving denoising")
        (widget,) = viewer.window.dock_widgets.values()
        qtbot.waitUntil(widget.native.isVisible, timeout=WAIT)
        overlay = widget.sections[PreviewSection].overlay
        qtbot.waitUntil(lambda: overlay.layer is not None, timeout=WAIT)
        qtbot.waitUntil(lambda: not widget.context.measuring, timeout=WAIT)
        if case.run:  # of a large image, a draft is enough
            wait_for_preview(qtbot, widget)
        qtbot.waitUntil(lambda: widget.opening.over, timeout=WAIT)
        return viewer, widget, mouse

    return prepare


@pytest.mark.usefixtures("thorough_suggestions")
@pytest.mark.parametrize("name", SAMPLES)
def test_three_clicks_show_a_good_preview_and_the_fourth_gives_the_layer(desk, qtbot, name):
    check_the_clicks(desk, qtbot, name, SAMPLES[name])


@pytest.mark.parametrize("name", LAYERS)
def test_three_clicks_are_enough_for_a_layer_of_any_kind(desk, qtbot, name):
    check_the_clicks(desk, qtbot, name, LAYERS[name])


def check_the_clicks(desk, qtbot, name, case):
    """Click three times, look for a smoother preview, and click a fourth time for the layer."""
    viewer, widget, mouse = desk(case)
    source = viewer.layers[case.layer]
    assert mouse.clicks == 3
    window = viewer.window._qt_window
    assert not [d for d in window.findChildren(QDialog) if d.isVisible()]  # offer of a sample
    assert widget.form.layer.value is source
    assert widget.form.table.axes == case.axes
    preview = widget.sections[PreviewSection].overlay.layer
    assert preview in viewer.layers
    assert preview.visible
    shown = np.asarray(preview.data).reshape(preview.data.shape[-3 if source.rgb else -2 :])
    part = preview.data.shape
    start = np.rint(source.world_to_data(preview.data_to_world((0,) * preview.ndim))).astype(int)
    region = tuple(
        slice(int(s), int(s) + n) for s, n in zip(start, part[: preview.ndim], strict=True)
    )
    before = np.asarray(source.data[region]).reshape(shown.shape)
    assert roughness(shown) < case.share * roughness(before)
    if PICTURES:
        picture = window.grab()
        assert picture.save(os.path.join(PICTURES, f"{name.replace(' ', '_')}.png"))
    layers = set(viewer.layers)
    mouse.click(widget.panel.button.native)
    if not case.run:
        qtbot.waitUntil(lambda: widget.panel.busy, timeout=WAIT)
        mouse.click(widget.panel.cancel.native)
        qtbot.waitUntil(lambda: not widget.panel.busy, timeout=WAIT)
        assert {layer for layer in viewer.layers if layer not in layers} == set()
        return
    qtbot.waitUntil(lambda: not widget.panel.busy, timeout=WAIT)
    assert mouse.clicks == 4
    (result,) = set(viewer.layers) - layers
    assert result.data.shape == source.data.shape
    assert tuple(result.scale) == tuple(source.scale)
    assert roughness(result.data[..., 0] if source.rgb else result.data) <= roughness(
        source.data[..., 0] if source.rgb else source.data
    )
    if name == "confocal":
        truth = samples.confocal()[1]
        errors = [np.sqrt(np.mean((layer.data - truth) ** 2)) for layer in (result, source)]
        assert errors[0] < MAX_CONFOCAL_ERROR * errors[1]
