"""Kernels are compiled in the background while the user sets the controls.

This happens once per kind of run and is announced.
"""

import threading

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.viewer import WAIT, hold, wait_until_settled
from napari_diffusion import backends
from napari_diffusion.ui import warmup as widget_warmup
from napari_diffusion.ui.preferences import Preferences
from napari_diffusion.ui.run import warmup
from napari_diffusion.ui.sections.batch import BatchSection


class FakeRehearsal:
    """Replaces `compile_by_running`: records the model, and waits for ``go`` or a cancel."""

    def __init__(self):
        self.models, self.go, self.cancelled = [], threading.Event(), threading.Event()

    def __call__(self, request, cancel):
        self.models.append(type(request.model))
        try:
            hold(self.go, cancel)
        except nd.Cancelled:
            self.cancelled.set()
            raise


@pytest.fixture
def rehearsal(monkeypatch):
    fake, kinds = FakeRehearsal(), set()
    monkeypatch.setattr(widget_warmup, "compile_by_running", fake)
    monkeypatch.setattr(warmup, "compiled_kinds", kinds)
    monkeypatch.setattr(widget_warmup, "compiled_kinds", kinds)
    yield fake
    fake.go.set()


def test_kernels_are_compiled_once_per_kind_of_run(open_widget, qtbot, noisy, rehearsal):
    rehearsal.go.set()
    viewer, gui = open_widget()
    assert not rehearsal.models
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    # Classic Perona-Malik, and the regularised model where the suggestion has a presmoothing.
    assert 1 <= len(rehearsal.models) <= 2
    rehearsal.models.clear()
    gui.form.controls["kappa"].value *= 2
    viewer.dims.set_current_step(0, 1)
    wait_until_settled(qtbot, gui)
    assert not rehearsal.models
    gui.form.controls["diffusivity"].value = "exponential"
    wait_until_settled(qtbot, gui)
    gui.form.model.value = nd.EdgeEnhancing
    wait_until_settled(qtbot, gui)
    gui.form.model.value = nd.PeronaMalik
    wait_until_settled(qtbot, gui)
    assert rehearsal.models == [nd.PeronaMalik, nd.EdgeEnhancing]
    other, other_gui = open_widget()
    other.add_image(noisy + 1)
    wait_until_settled(qtbot, other_gui)
    assert len(rehearsal.models) == 2


def test_compilation_is_announced_unless_a_run_is_under_way(
    open_widget, qtbot, noisy, rehearsal, slow, monkeypatch
):
    monkeypatch.setattr(backends, "is_compiling", lambda: True)
    viewer, gui = open_widget()
    viewer.add_image(noisy)
    qtbot.waitUntil(
        lambda: gui.panel.status.value.startswith("Preparing Perona-Malik"), timeout=WAIT
    )
    gui.panel.button.native.click()
    qtbot.waitUntil(slow.started.is_set, timeout=WAIT)
    qtbot.wait(2 * warmup.POLL_INTERVAL_MS)  # no announcement must appear
    assert gui.panel.status.value.startswith("Filtering")
    slow.go.set()
    qtbot.waitUntil(lambda: gui.panel.status.value.startswith("Preparing"), timeout=WAIT)
    rehearsal.go.set()
    qtbot.waitUntil(lambda: not gui.panel.status.value, timeout=WAIT)


def test_change_of_model_cancels_the_compilation(open_widget, qtbot, noisy, rehearsal):
    viewer, gui = open_widget()
    viewer.add_image(noisy)
    qtbot.waitUntil(lambda: bool(rehearsal.models), timeout=WAIT)
    # The kernels of the first model are compiled when that model is chosen again.
    for model in (nd.EdgeEnhancing, nd.PeronaMalik):
        rehearsal.cancelled.clear()
        gui.form.model.value = model
        qtbot.waitUntil(lambda model=model: rehearsal.models[-1] is model, timeout=WAIT)
        assert rehearsal.cancelled.wait(WAIT / 1000)
    # The fixture closes the viewer during the last compilation.


@pytest.fixture
def waiting(open_widget, qtbot, noisy, elsewhere, slow):
    """Open a viewer with an image and the widget, and start a run that waits for its kernels."""
    viewer, gui = open_widget()
    viewer.add_image(noisy, name="noisy")
    qtbot.waitUntil(lambda: gui.panel.button.enabled, timeout=WAIT)
    before = elsewhere.waits
    gui.panel.button.native.click()
    qtbot.waitUntil(
        lambda: elsewhere.waits > before and "Preparing" in gui.panel.status.value, timeout=WAIT
    )
    return viewer, gui


def test_run_waits_for_the_worker_with_a_message(waiting, qtbot, elsewhere, slow):
    viewer, gui = waiting
    assert gui.panel.status.value.startswith(
        "Filtering noisy… Preparing Perona-Malik for this computer"
    )
    qtbot.wait(2 * warmup.POLL_INTERVAL_MS)  # the run must not start
    assert not slow.started.is_set()
    stop = gui.panel.stop
    assert not stop.enabled  # there is nothing to keep
    assert "Nothing has been filtered yet" in stop.tooltip
    elsewhere.go.set()
    qtbot.waitUntil(slow.started.is_set, timeout=WAIT)
    qtbot.waitUntil(lambda: gui.panel.status.value.startswith("Filtering noisy… 50%"), timeout=WAIT)
    assert stop.enabled
    assert "End after the step" in stop.tooltip
    slow.go.set()
    qtbot.waitUntil(lambda: not gui.panel.busy, timeout=WAIT)
    assert [layer.name for layer in viewer.layers] == ["noisy", "noisy [Perona-Malik]"]


def test_filter_of_a_folder_waits_for_the_worker(open_widget, qtbot, noisy, elsewhere, tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    np.save(tmp_path / "from" / "a.npy", noisy[0])
    viewer, gui = open_widget()
    viewer.add_image(noisy[0], name="noisy")
    qtbot.waitUntil(lambda: gui.panel.button.enabled, timeout=WAIT)
    section = gui.sections[BatchSection]
    section.source.value, section.target.value = tmp_path / "from", tmp_path / "to"
    before = elsewhere.waits
    section.files.native.click()
    qtbot.waitUntil(lambda: elsewhere.waits > before, timeout=WAIT)
    qtbot.waitUntil(
        lambda: gui.panel.status.value.startswith("Filtering a.npy… Preparing Perona-Malik"),
        timeout=WAIT,
    )
    assert not list((tmp_path / "to").iterdir())
    elsewhere.go.set()
    qtbot.waitUntil(lambda: not gui.panel.busy, timeout=WAIT)
    assert (tmp_path / "to" / "a.npy").exists()


def test_waiting_run_can_be_cancelled_and_the_next_one_waits(waiting, qtbot, elsewhere, slow):
    viewer, gui = waiting
    before = elsewhere.cancelled
    gui.panel.button.native.click()
    assert gui.panel.waiting == 1
    gui.panel.cancel.native.click()
    qtbot.waitUntil(lambda: elsewhere.cancelled > before, timeout=WAIT)
    qtbot.waitUntil(lambda: "Preparing" in gui.panel.status.value, timeout=WAIT)
    gui.panel.cancel.native.click()
    assert not gui.panel.busy
    assert gui.panel.status.value == "0 done, 2 cancelled."
    qtbot.waitUntil(lambda: elsewhere.cancelled > before + 1, timeout=WAIT)
    assert not slow.started.is_set()
    assert [layer.name for layer in viewer.layers] == ["noisy"]


def test_refused_run_does_not_wait_for_kernels(
    open_widget, qtbot, noisy, elsewhere, preferences, capsys
):
    viewer, gui = open_widget()
    viewer.add_image(noisy)
    preferences[0] = Preferences(memory=1)
    qtbot.waitUntil(lambda: gui.panel.button.enabled, timeout=WAIT)
    gui.panel.button.native.click()
    qtbot.waitUntil(lambda: not gui.panel.busy, timeout=WAIT)
    assert "the preferences allow 1 B" in capsys.readouterr().out
