"""A real viewer on a (virtual) screen, and the means to run a widget as a user does."""

import threading

import numpy as np
import pytest

import napari_diffusion as nd
from napari_diffusion.engine import outputs
from napari_diffusion.ui import worker
from napari_diffusion.ui.preferences import Preferences

WAIT = 120_000  # ms; a limit for what hangs, on a machine that compiles the kernels and has other work


@pytest.fixture(autouse=True)
def no_task_left(qtbot):
    """Every thread that a test starts must end and be forgotten."""
    yield
    qtbot.waitUntil(lambda: worker.running() == 0, timeout=WAIT)


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
