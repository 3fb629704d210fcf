"""Fixtures of the widget tests: viewers on a (virtual) screen, and fakes of slow parts."""

import functools
import gc
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import qtpy
from magicgui.widgets import protocols
from napari.components import ViewerModel
from napari.settings import NapariSettings
from npe2 import PluginManager, PluginManifest

import napari_diffusion as nd
from helpers.remembered import remember
from helpers.viewer import (
    WAIT,
    FakeCompileClient,
    FakeRun,
    HeldPreviews,
    wait_for_preview,
    wait_until_settled,
)
from napari_diffusion.core.geometry import Domain, Geometry
from napari_diffusion.engine.problem import make_problem
from napari_diffusion.estimation.options import SuggestionOptions
from napari_diffusion.estimation.selection import suggest_for
from napari_diffusion.previewing.request import PreviewRequest
from napari_diffusion.ui import background_compilation
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.qt import slots
from napari_diffusion.ui.run import kernels, starting_values, task
from napari_diffusion.ui.sections import preview
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.widget import AnisotropicDiffusion, IsotropicDiffusion
from napari_diffusion.workflows import file_values, outputs
from napari_diffusion.workflows import warmup as compile_worker

#: Class and name in the menu of each widget.
WIDGETS = {
    "Anisotropic diffusion": (
        AnisotropicDiffusion,
        "Edge-preserving denoising (anisotropic diffusion)",
    ),
    "Isotropic diffusion": (IsotropicDiffusion, "Gaussian smoothing (isotropic diffusion)"),
}


@pytest.fixture(scope="session", autouse=True)
def once_for_all_windows():
    """Read the plugin manifests once, not for each window.

    The settings of napari are not written to their file, which a window does five times. magicgui
    checks the protocol of a kind of widget once, and not for each of thousands of widgets.
    """
    manifests = list(PluginManifest.discover())
    cached = classmethod(lambda cls, paths=(): iter(manifests))
    with (
        patch.object(PluginManifest, "discover", cached),
        patch.object(NapariSettings, "save", lambda self, *args, **kwargs: None),
        patch.object(protocols, "assert_protocol", functools.cache(protocols.assert_protocol)),
    ):
        yield


@pytest.fixture(scope="module", autouse=True)
def garbage_of_tests():
    """Let napari search for garbage in what tests make, and not in the modules of Qt and napari.

    It searches whenever a layer is deleted.
    """
    gc.collect()
    gc.freeze()


def _search_briefly(problems, model, options, cancel):
    return suggest_for(problems, model, replace(options, thorough=False), cancel)


#: Searches that remember their results: a suggestion depends on image and settings alone, most
#: tests use the same images, and the argument *cancel* does not count.
_SEARCHES = {
    is_thorough: remember(search, {}, lambda index: index != 3)
    for is_thorough, search in ((True, suggest_for), (False, _search_briefly))
}


@pytest.fixture(autouse=True)
def remembered_suggestions(request, monkeypatch):
    """Suggest values once, and by a brief search where a test uses them and does not judge them.

    A thorough search in some thousand voxels takes seconds. `thorough_suggestions` asks for it.
    """
    once = _SEARCHES["thorough_suggestions" in request.fixturenames]
    for module in (starting_values, file_values):
        monkeypatch.setattr(module, "suggest_for", once)


@pytest.fixture
def thorough_suggestions():
    """Search for values as for users."""


@pytest.fixture
def values_of_noisy(monkeypatch, noisy):
    """Suggest for every image the values of `noisy`, which are known: for tests of other things."""
    problem = make_problem(noisy, nd.Recipe(nd.PeronaMalik(), 1.0), Geometry(), Domain())
    suggest = starting_values.suggest_for
    monkeypatch.setattr(
        starting_values,
        "suggest_for",
        lambda problems, model, options, cancel: suggest(
            [problem], type(model)(), SuggestionOptions(), cancel
        ),
    )


@pytest.fixture(autouse=True)
def canvases_of_other_tests_collected():
    """Collect the canvases of closed windows in the GUI thread.

    With PySide6, a canvas of napari that is collected in another thread leaves its OpenGL context
    current in the GUI thread. Qt ends the process when the next window is destroyed. It happens
    without any widget of ours (PySide6 6.11, napari 0.9).
    """
    if qtpy.PYSIDE6:
        gc.collect()


@pytest.fixture(autouse=True)
def no_task_left(qtbot):
    """Wait for the end of every task that a test has started."""
    yield
    qtbot.waitUntil(lambda: task.running() == 0, timeout=WAIT)


@pytest.fixture(autouse=True)
def slot_errors(monkeypatch):
    """Record the errors that `slot` catches, and fail at the end unless the test clears them."""
    caught, show = [], slots.report

    def record(owner, error):
        caught.append(error)
        show(owner, error)

    monkeypatch.setattr(slots, "report", record)
    yield caught
    assert not caught, caught


@pytest.fixture(autouse=True)
def compile_in_test_process(monkeypatch):
    """Compile the kernels in the test process: a worker would outlast most tests."""

    def refuse():
        raise FileNotFoundError

    monkeypatch.setattr(compile_worker, "_start", refuse)


@pytest.fixture(autouse=True)
def preferences(monkeypatch):
    """Replace the preferences of this machine by the defaults.

    It is a list of one item, which a test may replace.
    """
    current = [Preferences()]
    monkeypatch.setattr(Preferences, "read", classmethod(lambda cls: current[0]))
    return current


@pytest.fixture(autouse=True)
def preview_at_opening(monkeypatch):
    """Let the preview be off when a widget opens: most tests count the layers of a viewer.

    It is a function that switches it on, as it is for users.
    """
    for_users = preview.ON_AT_OPENING
    monkeypatch.setattr(preview, "ON_AT_OPENING", False)
    return lambda: monkeypatch.setattr(preview, "ON_AT_OPENING", for_users)


@pytest.fixture
def open_widget(make_napari_viewer_proxy):
    """Return a function that opens a viewer with a docked widget, as the menu does."""

    def open_one(name="Anisotropic diffusion", viewer=None):
        viewer = viewer or make_napari_viewer_proxy(strict_qt="raise")
        title = WIDGETS[name][1]
        _, widget = viewer.window.add_plugin_dock_widget("napari-diffusion", title)
        return viewer, widget

    return open_one


@pytest.fixture
def widget_off_its_dock(open_widget):
    """Delete a widget that a test takes off its dock.

    Garbage would be reported by napari 0.6 as a widget that the test has forgotten.
    """
    yield
    gc.collect()


@pytest.fixture
def open_alone(qtbot):
    """Return a function that opens a widget for a viewer without a window.

    It takes half the time of `open_widget`.
    """

    def open_one(name="Anisotropic diffusion", image=None):
        PluginManager.instance().discover()  # before napari 0.7, only a window registers readers
        viewer = ViewerModel()
        if image is not None:
            viewer.add_image(image)
        widget = WIDGETS[name][0](viewer)
        qtbot.addWidget(widget.native)
        for event in ("inserted", "removed", "reordered", "renamed"):  # as a window does
            if event in viewer.layers.events.emitters:  # "renamed" is missing before napari 0.7
                viewer.layers.events[event].connect(widget.reset_choices)
        return viewer, widget

    return open_one


@pytest.fixture
def press_run(qtbot):
    """Return a function that presses Run and waits for the end.

    It returns the new layer, ``None`` without one.
    """

    def press(viewer, widget):
        before = list(viewer.layers)
        wait_until_settled(qtbot, widget)
        assert widget.panel.button.text == "Run"
        widget.panel.button.native.click()
        qtbot.waitUntil(lambda: not widget.panel.busy, timeout=WAIT)
        new = [layer for layer in viewer.layers if layer not in before]
        assert len(new) <= 1
        return new[0] if new else None

    return press


@pytest.fixture
def folders(tmp_path):
    """Return two folders, for images and for results."""
    pair = tmp_path / "in", tmp_path / "out"
    for folder in pair:
        folder.mkdir()
    return pair


@pytest.fixture
def fake_run(monkeypatch):
    """Replace the engine: a run reports half, then waits until ``fake_run.go`` is set."""
    fake = FakeRun()
    monkeypatch.setattr(outputs, "run_with_outputs", fake)
    yield fake
    fake.go.set()


@pytest.fixture
def noisy():
    """A small volume with an edge and noise."""
    values = np.random.default_rng(0).normal(100.0, 5.0, (6, 16, 20)).astype(np.float32)
    values[..., 10:] += 80.0
    return values


def _with_preview(open_one, qtbot):
    def open_preview(image, **picture):
        viewer, gui = open_one()
        viewer.add_image(image, **{"name": "noisy"} | picture)
        section = gui.sections[PreviewSection]
        wait_until_settled(qtbot, gui)
        section.show.native.click()
        wait_for_preview(qtbot, gui)
        return viewer, gui, section

    return open_preview


@pytest.fixture
def open_preview(open_alone, qtbot):
    """Return a function that opens a viewer without a window, an image, and its preview."""
    return _with_preview(open_alone, qtbot)


@pytest.fixture
def open_preview_in_window(open_widget, qtbot):
    """Return a function that does it in a window, for tests of what a window draws or closes."""
    return _with_preview(open_widget, qtbot)


@pytest.fixture
def held_previews(monkeypatch):
    """Replace `PreviewRequest.run`: previews are computed when ``held_previews.go`` is set."""
    fake = HeldPreviews()
    monkeypatch.setattr(PreviewRequest, "run", lambda *args, **keywords: fake(*args, **keywords))
    yield fake
    fake.go.set()


@pytest.fixture
def fake_compile_client(monkeypatch):
    """Replace the compile worker: kernels are compiled when ``fake_compile_client.go`` is set."""
    fake, keys = FakeCompileClient(), set()
    monkeypatch.setattr(kernels, "client", fake)
    monkeypatch.setattr(background_compilation, "client", fake)
    monkeypatch.setattr(kernels, "compiled_keys", keys)
    monkeypatch.setattr(background_compilation, "compiled_keys", keys)
    yield fake
    fake.go.set()
