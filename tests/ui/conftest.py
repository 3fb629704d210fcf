"""A real viewer on a (virtual) screen, and the means to run a widget as a user does."""

import gc
from unittest.mock import patch

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest

from helpers.viewer import WAIT, Elsewhere, Held, Slow, follow, wait_until_settled
from napari_diffusion.previewing.region import PreviewRequest
from napari_diffusion.ui import warmup as widget_warmup
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.run import task, warmup
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.widget import AnisotropicDiffusion, IsotropicDiffusion
from napari_diffusion.workflows import outputs
from napari_diffusion.workflows import warmup as compile_worker


@pytest.fixture(scope="session", autouse=True)
def made_once():
    """What each window would do again, a quarter of its time: read the manifests of all plugins, search for garbage in all modules."""
    found = list(PluginManifest.discover())
    gc.collect()
    gc.freeze()
    with patch.object(PluginManifest, "discover", classmethod(lambda cls, paths=(): iter(found))):
        yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_task_left(qtbot):
    """Every thread that a test starts must end and be forgotten."""
    yield
    qtbot.waitUntil(lambda: task.running() == 0, timeout=WAIT)


@pytest.fixture(autouse=True)
def no_other_process(monkeypatch):
    """Tests compile where they run: another process would outlast most of them."""

    def refuse():
        raise FileNotFoundError

    monkeypatch.setattr(compile_worker, "_start", refuse)


@pytest.fixture(autouse=True)
def preferences(monkeypatch):
    """Hold the preferences of the tests, which are not those of whoever runs them: a list of one that a test may replace."""
    held = [Preferences()]
    monkeypatch.setattr(Preferences, "read", classmethod(lambda cls: held[0]))
    return held


@pytest.fixture
def open_widget(make_napari_viewer_proxy, qtbot):
    """Open a viewer with a widget docked by the manifest, as the menu does; returns both."""

    def open_one(name="Anisotropic diffusion", viewer=None):
        viewer = viewer or make_napari_viewer_proxy(strict_qt="raise")
        _, widget = viewer.window.add_plugin_dock_widget("napari-diffusion", name)
        return viewer, widget

    return open_one


@pytest.fixture
def open_alone(qtbot):
    """Open a widget for a viewer without a window, for what no window changes, in half the time; returns both."""

    def open_one(name="Anisotropic diffusion"):
        viewer = ViewerModel()
        made = {
            "Anisotropic diffusion": AnisotropicDiffusion,
            "Isotropic diffusion": IsotropicDiffusion,
        }[name](viewer)
        qtbot.addWidget(made.native)
        for event in ("inserted", "removed", "reordered", "renamed"):  # as a window does
            getattr(viewer.layers.events, event).connect(made.reset_choices)
        return viewer, made

    return open_one


@pytest.fixture
def run(qtbot):
    """Press the real Run button, wait for the end, and return the new layer or ``None``."""

    def run_it(viewer, widget):
        before = list(viewer.layers)
        wait_until_settled(qtbot, widget)
        assert widget.panel.button.text == "Run"
        widget.panel.button.native.click()
        qtbot.waitUntil(lambda: not widget.panel.busy, timeout=WAIT)
        new = [layer for layer in viewer.layers if layer not in before]
        assert len(new) <= 1
        return new[0] if new else None

    return run_it


@pytest.fixture
def folders(tmp_path):
    """Return two folders, for images and for results."""
    found = tmp_path / "in", tmp_path / "out"
    for folder in found:
        folder.mkdir()
    return found


@pytest.fixture
def settled(qtbot):
    return lambda widget: wait_until_settled(qtbot, widget)


@pytest.fixture
def slow(monkeypatch):
    stand_in = Slow()
    monkeypatch.setattr(outputs, "run_with_outputs", stand_in)
    yield stand_in
    stand_in.go.set()


@pytest.fixture
def noisy():
    """A small volume with an edge and noise."""
    values = np.random.default_rng(0).normal(100.0, 5.0, (6, 16, 20)).astype(np.float32)
    values[..., 10:] += 80.0
    return values


@pytest.fixture
def opened(open_widget, qtbot):
    """Open a viewer with an image, the widget and its preview; returns viewer, widget, section."""

    def open_one(image, **look):
        viewer, gui = open_widget()
        viewer.add_image(image, **{"name": "noisy"} | look)
        section = gui.sections[PreviewSection]
        wait_until_settled(qtbot, gui)
        section.box.button.native.click()
        follow(qtbot, gui)
        return viewer, gui, section

    return open_one


@pytest.fixture
def held(monkeypatch):
    stand_in = Held()
    monkeypatch.setattr(
        PreviewRequest, "run", lambda *args, **keywords: stand_in(*args, **keywords)
    )
    yield stand_in
    stand_in.go.set()


@pytest.fixture
def elsewhere(monkeypatch):
    stand_in, kinds = Elsewhere(), set()
    monkeypatch.setattr(warmup, "client", stand_in)
    monkeypatch.setattr(widget_warmup, "client", stand_in)
    monkeypatch.setattr(warmup, "compiled_kinds", kinds)
    monkeypatch.setattr(widget_warmup, "compiled_kinds", kinds)
    yield stand_in
    stand_in.go.set()
