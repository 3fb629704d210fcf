"""A real viewer on a (virtual) screen, and the means to run a widget as a user does."""

import gc
import threading
from unittest.mock import patch

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest

import napari_diffusion as nd
from napari_diffusion.engine import beforehand, outputs
from napari_diffusion.engine.preview import Excerpt
from napari_diffusion.ui import preparation, worker
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.preview import PreviewSection
from napari_diffusion.ui.widget import AnisotropicDiffusion, IsotropicDiffusion

WAIT = 120_000  # ms; a limit for what hangs, on a machine that compiles the kernels and has other work


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
    qtbot.waitUntil(lambda: worker.running() == 0, timeout=WAIT)


@pytest.fixture(autouse=True)
def no_other_process(monkeypatch):
    """Tests compile where they run: another process would outlast most of them."""

    def refuse():
        raise FileNotFoundError

    monkeypatch.setattr(beforehand, "_start", refuse)


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
        made = {"Anisotropic diffusion": AnisotropicDiffusion, "Isotropic diffusion": IsotropicDiffusion}[name](viewer)
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
        settle(qtbot, widget)
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


def settle(qtbot, widget):
    """Wait until suggestion and plan have been made."""
    qtbot.waitUntil(lambda: not widget.pending and worker.running() == 0, timeout=WAIT)


@pytest.fixture
def settled(qtbot):
    return lambda widget: settle(qtbot, widget)


class Slow:
    """Stands in for the engine's run: reports half, then waits until it is let go, stopped or cancelled."""

    def __init__(self):
        self.started, self.go, self.cancelled = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, image, model, wanted, *, time, progress, cancel, stop, **keywords):
        progress(0.5)
        self.started.set()
        while not self.go.wait(0.01) and not stop.is_set():
            if cancel.is_set():
                self.cancelled.set()
                raise nd.Cancelled("The filter was cancelled.")
        return outputs.Outputs(np.zeros(image.shape, np.float32), (time / 2 if stop.is_set() else time,), 0 if stop.is_set() else None)


@pytest.fixture
def slow(monkeypatch):
    stand_in = Slow()
    monkeypatch.setattr(outputs, "run", stand_in)
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
        settle(qtbot, gui)
        section.box.button.native.click()
        follow(qtbot, gui)
        return viewer, gui, section

    return open_one


def follow(qtbot, gui):
    """Wait until the preview is up to date."""
    settle(qtbot, gui)
    qtbot.waitUntil(lambda: not gui.sections[PreviewSection].overlay.pending, timeout=WAIT)


def whole_run(gui):
    settings = gui.form.settings()
    rgb = settings.keywords["channel_axis"] is not None
    return nd.diffuse(np.asarray(settings.image), settings.model, **settings.keywords | ({"preserve_dtype": True} if rgb else {}))


def shows_the_run(viewer, gui, step=0.0):
    """The preview layer lies where it belongs, and its voxels are those of the run there."""
    overlay = gui.sections[PreviewSection].overlay.layer
    source = gui.form.layer.value
    assert overlay in viewer.layers
    run = whole_run(gui)
    start = np.rint(source.world_to_data(overlay.data_to_world((0,) * overlay.ndim))).astype(int)
    region = tuple(slice(int(s), int(s) + n) for s, n in zip(start, overlay.data.shape, strict=False))
    data = np.asarray(gui.form.settings().image)
    assert np.abs(np.asarray(overlay.data, float) - run[region]).max() <= 1e-3 * np.ptp(data) + step
    assert not np.array_equal(overlay.data, data[region])
    return region


class Held:
    """Stands in for the making of previews: counts, and answers when let go; raises when cancelled."""

    def __init__(self):
        self.calls, self.ended, self.go, self.real = [], [], threading.Event(), Excerpt.run

    def __call__(self, excerpt, progress=None, cancel=None):
        self.calls.append(excerpt)
        while not self.go.wait(0.01):
            if cancel.is_set():
                raise nd.Cancelled("The filter was cancelled.")
        result = self.real(excerpt, progress, cancel)
        self.ended.append(excerpt)
        return result


@pytest.fixture
def held(monkeypatch):
    stand_in = Held()
    monkeypatch.setattr(Excerpt, "run", lambda *args, **keywords: stand_in(*args, **keywords))
    yield stand_in
    stand_in.go.set()


def hold(go, cancel):
    """Wait until it is let go; raise where it is cancelled."""
    while not go.wait(0.01):
        if cancel.is_set():
            raise nd.Cancelled("Nobody waits any more.")


class Elsewhere:
    """Stands in for the other process: all kernels are there when it is let go."""

    def __init__(self):
        self.go, self.waits, self.cancelled = threading.Event(), 0, 0

    @property
    def waiting(self):
        return self.waits > self.cancelled and not self.go.is_set()

    def has(self, kind):
        return self.go.is_set()

    def prepare(self, wanted, cancel, soon=(), later=(), rank=0):
        self.waits += 1
        try:
            hold(self.go, cancel)
        except nd.Cancelled:
            self.cancelled += 1
            raise

    def join(self):
        pass

    leave = join


@pytest.fixture
def elsewhere(monkeypatch):
    stand_in = Elsewhere()
    monkeypatch.setattr(preparation, "helper", stand_in)
    monkeypatch.setattr(preparation, "_known", set())
    yield stand_in
    stand_in.go.set()
