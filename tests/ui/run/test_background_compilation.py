"""Kernels are compiled in the background while the user sets the controls.

This happens once per kind of run and is announced.
"""

import threading

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.viewer import WAIT, wait_for_go, wait_until_settled
from napari_diffusion import backends
from napari_diffusion.ui import background_compilation
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.run import kernels, measurement
from napari_diffusion.ui.sections.batch import BatchSection


class FakeCompilation:
    """Replaces `compile_by_running`: records the model, and waits for ``go`` or a cancel."""

    def __init__(self):
        self.models, self.go, self.cancelled = [], threading.Event(), threading.Event()

    def __call__(self, problem, cancel):
        self.models.append(type(problem.recipe.model))
        try:
            wait_for_go(self.go, cancel)
        except nd.Cancelled:
            self.cancelled.set()
            raise


@pytest.fixture
def compilation(monkeypatch):
    fake, keys = FakeCompilation(), set()
    monkeypatch.setattr(background_compilation, "compile_by_running", fake)
    monkeypatch.setattr(kernels, "compiled_keys", keys)
    monkeypatch.setattr(background_compilation, "compiled_keys", keys)
    yield fake
    fake.go.set()


def test_kernels_are_compiled_once_per_kind_of_run(open_widget, qtbot, noisy, compilation):
    compilation.go.set()
    viewer, gui = open_widget()
    assert not compilation.models
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    # Classic Perona-Malik, and the regularised model where the suggestion has a presmoothing.
    assert 1 <= len(compilation.models) <= 2
    compilation.models.clear()
    gui.form.controls["kappa"].value *= 2
    viewer.dims.set_current_step(0, 1)
    wait_until_settled(qtbot, gui)
    assert not compilation.models
    gui.form.controls["diffusivity"].value = "exponential"
    wait_until_settled(qtbot, gui)
    gui.form.model.value = nd.EdgeEnhancing
    wait_until_settled(qtbot, gui)
    gui.form.model.value = nd.PeronaMalik
    wait_until_settled(qtbot, gui)
    # The exponential diffusivity is compiled with and without the presmoothing of the suggestion.
    assert set(compilation.models[:-1]) == {nd.PeronaMalik}
    assert compilation.models[-1] is nd.EdgeEnhancing
    count = len(compilation.models)
    assert count <= 3
    other, other_gui = open_widget()
    other.add_image(noisy.copy())
    wait_until_settled(qtbot, other_gui)
    assert len(compilation.models) == count


def test_kernels_are_looked_up_after_a_pause_in_the_changes(
    open_alone, qtbot, noisy, compilation, monkeypatch
):
    compilation.go.set()
    viewer, gui = open_alone()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    threads, looked_up = [], background_compilation.kernel_key

    def recorded(settings):
        threads.append(threading.current_thread())
        return looked_up(settings)

    monkeypatch.setattr(background_compilation, "kernel_key", recorded)
    gui._timer.setInterval(1000)  # shorter than all changes, longer than a stall between two
    for k in range(40):
        gui.form.controls["kappa"].value = 5.0 + k
        qtbot.wait(30)
    assert not threads
    wait_until_settled(qtbot, gui)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()  # it takes milliseconds


def test_compilation_is_announced_unless_a_run_is_under_way(
    open_widget, qtbot, noisy, compilation, fake_run, monkeypatch
):
    monkeypatch.setattr(backends, "is_compiling", lambda: True)
    viewer, gui = open_widget()
    viewer.add_image(noisy)
    qtbot.waitUntil(
        lambda: gui.panel.status.value.startswith("First use: compiling Perona-Malik"), timeout=WAIT
    )
    gui.panel.button.native.click()
    qtbot.waitUntil(fake_run.started.is_set, timeout=WAIT)
    qtbot.wait(2 * kernels.POLL_INTERVAL_MS)  # no announcement must appear
    assert gui.panel.status.value.startswith("Filtering")
    fake_run.go.set()
    qtbot.waitUntil(lambda: gui.panel.status.value.startswith("First use"), timeout=WAIT)
    compilation.go.set()
    qtbot.waitUntil(lambda: not gui.panel.status.value, timeout=WAIT)


def test_change_of_model_cancels_the_compilation(open_widget, qtbot, noisy, compilation):
    viewer, gui = open_widget()
    viewer.add_image(noisy)
    qtbot.waitUntil(lambda: bool(compilation.models), timeout=WAIT)
    # The kernels of the first model are compiled when that model is chosen again.
    for model in (nd.EdgeEnhancing, nd.PeronaMalik):
        compilation.cancelled.clear()
        gui.form.model.value = model
        qtbot.waitUntil(lambda model=model: compilation.models[-1] is model, timeout=WAIT)
        assert compilation.cancelled.wait(WAIT / 1000)
    # The fixture closes the viewer during the last compilation.


@pytest.fixture
def measured_at_once(monkeypatch):
    """The noise is measured without a wait for kernels; a run waits for the measurement first."""
    monkeypatch.setattr(measurement, "wait_for_suggestion", lambda settings, cancel: None)


@pytest.fixture
def waiting(open_widget, qtbot, noisy, fake_compile_client, fake_run, measured_at_once):
    """Open a viewer with an image and the widget, and start a run that waits for its kernels."""
    viewer, gui = open_widget()
    viewer.add_image(noisy, name="noisy")
    qtbot.waitUntil(lambda: gui.panel.button.enabled, timeout=WAIT)
    before = fake_compile_client.waits
    gui.panel.button.native.click()
    qtbot.waitUntil(
        lambda: fake_compile_client.waits > before and "First use" in gui.panel.status.value,
        timeout=WAIT,
    )
    return viewer, gui


def test_run_waits_for_the_worker_with_a_message(waiting, qtbot, fake_compile_client, fake_run):
    viewer, gui = waiting
    assert gui.panel.status.value.startswith("Filtering noisy… First use: compiling Perona-Malik")
    qtbot.wait(2 * kernels.POLL_INTERVAL_MS)  # the run must not start
    assert not fake_run.started.is_set()
    stop = gui.panel.stop
    assert not stop.enabled  # there is nothing to keep
    assert "Nothing has been filtered yet" in stop.tooltip
    fake_compile_client.go.set()
    qtbot.waitUntil(fake_run.started.is_set, timeout=WAIT)
    qtbot.waitUntil(lambda: gui.panel.status.value.startswith("Filtering noisy… 50%"), timeout=WAIT)
    assert stop.enabled
    assert "End after the step" in stop.tooltip
    fake_run.go.set()
    qtbot.waitUntil(lambda: not gui.panel.busy, timeout=WAIT)
    source, result = viewer.layers
    assert source.name == "noisy"
    assert result.name.startswith("noisy, edge-preserving κ ")


def test_filter_of_a_folder_waits_for_the_worker(
    open_widget, qtbot, noisy, fake_compile_client, tmp_path
):
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    np.save(tmp_path / "from" / "a.npy", noisy[0])
    viewer, gui = open_widget()
    viewer.add_image(noisy[0], name="noisy")
    qtbot.waitUntil(lambda: gui.panel.button.enabled, timeout=WAIT)
    section = gui.sections[BatchSection]
    section.source.value, section.target.value = tmp_path / "from", tmp_path / "to"
    before = fake_compile_client.waits
    section.files.native.click()
    qtbot.waitUntil(lambda: fake_compile_client.waits > before, timeout=WAIT)
    qtbot.waitUntil(
        lambda: gui.panel.status.value.startswith("Filtering a.npy… First use: compiling"),
        timeout=WAIT,
    )
    assert not list((tmp_path / "to").iterdir())
    fake_compile_client.go.set()
    qtbot.waitUntil(lambda: not gui.panel.busy, timeout=WAIT)
    assert (tmp_path / "to" / "a.npy").exists()


def test_waiting_run_can_be_cancelled_and_the_next_one_waits(
    waiting, qtbot, fake_compile_client, fake_run
):
    viewer, gui = waiting
    before = fake_compile_client.cancelled
    gui.panel.button.native.click()
    assert gui.panel.queued == 1
    gui.panel.cancel.native.click()
    qtbot.waitUntil(lambda: fake_compile_client.cancelled > before, timeout=WAIT)
    qtbot.waitUntil(lambda: "First use" in gui.panel.status.value, timeout=WAIT)
    gui.panel.cancel.native.click()
    assert not gui.panel.busy
    assert gui.panel.status.value == "0 done, 2 cancelled."
    qtbot.waitUntil(lambda: fake_compile_client.cancelled > before + 1, timeout=WAIT)
    assert not fake_run.started.is_set()
    assert [layer.name for layer in viewer.layers] == ["noisy"]


def test_refused_run_does_not_wait_for_kernels(
    open_widget, qtbot, noisy, fake_compile_client, preferences, measured_at_once
):
    viewer, gui = open_widget()
    viewer.add_image(noisy)
    preferences[0] = Preferences(memory=1)
    qtbot.waitUntil(lambda: gui.panel.button.enabled, timeout=WAIT)
    gui.panel.button.native.click()
    qtbot.waitUntil(lambda: not gui.panel.busy, timeout=WAIT)
    assert "at most 1 B are allowed" in gui.panel.status.value
