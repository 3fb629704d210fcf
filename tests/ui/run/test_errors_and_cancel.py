"""Errors, cancelled runs, and windows and layers that are closed or deleted during a run."""

import gc
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import psutil
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from helpers.viewer import WAIT, start_run, wait_until_settled
from napari_diffusion.ui import widget
from napari_diffusion.ui.run import starting_values, task
from napari_diffusion.ui.sections.outputs import OutputsSection
from napari_diffusion.workflows import outputs


def test_error_is_in_the_status_line_and_in_a_notification(open_widget, press_run, qtbot, noisy):
    noisy[1, 2, 3] = np.nan
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(noisy, contrast_limits=(0, 300))
    assert press_run(viewer, widget) is None
    assert widget.panel.status.value.endswith(
        "use “ignore, keep NaN” for NaN under Expert and history to diffuse around it."
    )
    assert notification_manager.records[-1].message == widget.panel.status.value
    assert str(notification_manager.records[-1].severity) == "error"
    assert widget.panel.button.text == "Run"
    viewer.add_image(np.zeros((4, 5), np.float32))
    wait_until_settled(qtbot, widget)
    assert widget.panel.status.value == ""  # the error was about another image


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the device fell over"),
        MemoryError(),
        nd.Cancelled("not by this button"),
        StopIteration(),
    ],
)
def test_errors_of_all_kinds_are_shown(open_alone, press_run, noisy, monkeypatch, error):
    def broken(*args, **keywords):
        raise error

    monkeypatch.setattr(outputs, "run_with_outputs", broken)
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    assert press_run(viewer, widget) is None
    assert widget.panel.status.value == (str(error) or f"{type(error).__name__}.")
    assert notification_manager.records[-1].message == widget.panel.status.value
    assert widget.panel.button.text == "Run"
    assert not widget.panel.bar.visible


def test_failure_to_show_a_result_is_reported(open_alone, press_run, noisy, monkeypatch):
    monkeypatch.setattr(
        outputs, "run_with_outputs", lambda *args, **keywords: outputs.Outputs("no array", (1.0,))
    )
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    assert press_run(viewer, widget) is None
    assert widget.panel.failed
    assert not widget.panel.busy


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (KeyError("planted"), True),
        (ValueError("what a user does"), False),
        (nd.Cancelled("a window that closes"), False),
    ],
    ids=["unexpected", "expected", "cancelled"],
)
def test_only_unexpected_errors_are_logged_with_their_traceback(qtbot, caplog, error, logged):
    failed = []

    def faulty_line(control):
        raise error

    task.Task(faulty_line, pytest.fail, failed.append).start()
    qtbot.waitUntil(lambda: len(failed) == 1, timeout=WAIT)
    assert ("faulty_line" in caplog.text) is logged
    assert failed[0].__traceback__ is None


def test_task_outlives_its_thread(qtbot):
    """Without a reference elsewhere, the thread would destroy a Qt object of the GUI thread."""
    ends = []

    class LateThread(task.Task):
        def _run(self):
            super()._run()
            time.sleep(0.2)  # the answer is on its way, but the thread still holds the task
            ends.append("thread")

    LateThread(lambda control: None, lambda _: ends.append("answer"), pytest.fail).start()
    qtbot.waitUntil(lambda: len(ends) == 2, timeout=WAIT)
    assert ends == ["thread", "answer"]


def test_run_without_an_axis_gives_advice(open_alone, press_run, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    for row in widget.form.table.rows:
        row.smooth.value = False
    assert press_run(viewer, widget) is None
    assert "at least one axis" in widget.panel.status.value


def test_suggest_without_an_axis_gives_advice(open_alone, qtbot, noisy):
    viewer, gui = open_alone()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    for row in gui.form.table.rows:
        row.smooth.value = False
    gui.form.suggest.native.click()
    assert gui.panel.status.value == "Check at least one axis to smooth along."


@pytest.mark.parametrize("other", [nd.EdgeEnhancing, nd.MeanCurvature])
def test_suggestion_is_dropped_when_the_model_changes(open_alone, qtbot, noisy, monkeypatch, other):
    viewer, gui = open_alone()
    viewer.add_image(noisy)
    wait_until_settled(qtbot, gui)
    go = threading.Event()
    real = starting_values.suggest_values

    def slow(*args, thorough=False, **keywords):
        if thorough:
            go.wait(60)
        return real(*args, thorough=False, **keywords)

    monkeypatch.setattr(starting_values, "suggest_values", slow)
    gui.form.suggest.native.click()
    assert "Trying" in gui.panel.status.value
    gui.form.model.value = other
    qtbot.waitUntil(lambda: "Trying" not in gui.panel.status.value, timeout=WAIT)
    go.set()
    wait_until_settled(qtbot, gui)
    assert gui.panel.status.value == ""
    assert not gui.form.reasons.visible


def test_free_memory_is_the_default_limit(open_alone, qtbot, press_run):
    viewer, gui = open_alone("Isotropic diffusion")
    image = np.broadcast_to(np.float32(1), (1000, 1000, 1000))
    viewer.add_image(image, contrast_limits=(0, 1), cache=False)
    gui.sections[OutputsSection].snapshots.value = 200
    wait_until_settled(qtbot, gui)
    assert "are free" in gui.panel.status.value
    assert press_run(viewer, gui) is None
    assert "are free" in gui.panel.status.value


def test_plan_reports_an_impossible_run(open_alone, qtbot, noisy):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    viewer.add_labels(np.zeros((3, 3), int))
    widget.form.regions.value = viewer.layers["labels" if "labels" in viewer.layers else -1]
    wait_until_settled(qtbot, widget)
    assert "labels must have the shape" in widget.panel.status.value


def test_cancel_leaves_no_layer(open_widget, qtbot, noisy, fake_run, press_run):
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(noisy)
    start_run(qtbot, widget, fake_run)
    qtbot.waitUntil(lambda: "50%" in widget.panel.status.value, timeout=WAIT)
    assert widget.panel.bar.value == 500
    widget.panel.cancel.native.click()
    assert widget.panel.status.value == "Cancelled; no layer was added."
    assert not widget.panel.busy
    qtbot.waitUntil(fake_run.cancelled.is_set, timeout=WAIT)
    qtbot.waitUntil(lambda: task.running() == 0, timeout=WAIT)
    assert len(viewer.layers) == 1
    fake_run.go.set()
    assert press_run(viewer, widget) is not None


@pytest.mark.usefixtures("values_of_noisy")
def test_cancel_stops_the_engine(open_alone, qtbot):
    viewer, widget = open_alone("Anisotropic diffusion")
    viewer.add_image(np.random.default_rng(0).random((24, 64, 64), np.float32))
    wait_until_settled(qtbot, widget)
    widget.form.amount.number.value = 100  # some minutes
    widget.panel.button.native.click()
    qtbot.waitUntil(lambda: "%" in widget.panel.status.value, timeout=WAIT)
    widget.panel.cancel.native.click()
    qtbot.waitUntil(lambda: task.running() == 0, timeout=20_000)
    assert len(viewer.layers) == 1


@pytest.mark.parametrize("change", ["remove", "rename", "replace"])
def test_layer_may_change_during_a_run(open_widget, qtbot, noisy, fake_run, change):
    viewer, widget = open_widget("Isotropic diffusion")
    source = viewer.add_image(noisy, name="a", scale=(3, 1, 1))
    start_run(qtbot, widget, fake_run)
    if change == "remove":
        viewer.layers.remove(source)
    elif change == "rename":
        source.name = "b"
    else:
        source.data = np.zeros((4, 4))
    assert widget.panel.button.enabled
    fake_run.go.set()
    qtbot.waitUntil(lambda: not widget.panel.busy, timeout=WAIT)
    result = viewer.layers[-1]
    assert result.name.startswith("a, ")
    assert result.data.shape == noisy.shape
    assert tuple(result.scale) == (3, 1, 1)


def test_run_is_disabled_when_the_last_layer_is_removed(open_widget, noisy, qtbot):
    viewer, widget = open_widget("Isotropic diffusion")
    layer = viewer.add_image(noisy)
    wait_until_settled(qtbot, widget)
    assert widget.panel.button.enabled
    viewer.layers.remove(layer)
    wait_until_settled(qtbot, widget)
    assert widget.form.layer.value is None
    assert not widget.panel.button.enabled
    assert "Open an image" in widget.panel.button.tooltip


def test_run_ends_when_the_widget_is_destroyed(qtbot, noisy, fake_run):
    """The widget has no dock: taking it off the dock would cancel the run, too."""
    viewer = ViewerModel()
    gui = widget.IsotropicDiffusion(viewer)
    viewer.add_image(noisy)
    start_run(qtbot, gui, fake_run)
    gui.native.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    qtbot.waitUntil(fake_run.cancelled.is_set, timeout=WAIT)
    qtbot.waitUntil(lambda: task.running() == 0, timeout=WAIT)
    assert len(viewer.layers) == 1


@pytest.mark.usefixtures("widget_off_its_dock")
def test_run_ends_when_the_dock_is_closed_by_its_button(open_widget, qtbot, noisy, fake_run):
    """That button takes the widget off the dock and destroys nothing."""
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(noisy)
    start_run(qtbot, widget, fake_run)
    viewer.window.remove_dock_widget(widget.native)
    qtbot.waitUntil(fake_run.cancelled.is_set, timeout=WAIT)
    qtbot.waitUntil(lambda: task.running() == 0, timeout=WAIT)
    assert len(viewer.layers) == 1


CLOSED = """
import threading, time
import numpy as np
import napari
import napari_diffusion as nd
from napari_diffusion.workflows import outputs
from qtpy.QtCore import QTimer

started = threading.Event()

def slow(image, model, request, *, cancel, **keywords):
    started.set()
    while not cancel.is_set():
        time.sleep(0.01)
    print("cancelled\\n", end="", flush=True)
    raise nd.Cancelled("The filter was cancelled.")

outputs.run_with_outputs = slow
viewer = napari.Viewer()
name = "Gaussian smoothing (isotropic diffusion)"
_, widget = viewer.window.add_plugin_dock_widget("napari-diffusion", name)
viewer.add_image(np.zeros((5, 6), np.float32))
widget.panel.button.native.click()
started.wait(60)
QTimer.singleShot(200, viewer.close)
napari.run()
print("ended\\n", end="", flush=True)
"""


def test_viewer_may_be_closed_during_a_run():
    done = subprocess.run(
        [sys.executable, "-c", CLOSED], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["cancelled", "ended"]


FORGOTTEN = """
import gc, time, weakref
import numpy as np
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QApplication
from napari_diffusion.ui.run import kernels, task
from napari_diffusion.ui.widget import IsotropicDiffusion

kernels.client.join = int  # no worker process: a wait for it would keep the widget alive
app = QApplication([])

def forgotten():
    viewer = ViewerModel()
    widget = IsotropicDiffusion(viewer)
    viewer.layers.events.inserted.connect(widget.reset_choices)
    viewer.add_image(np.zeros((5, 6), np.float32))
    app.processEvents()
    return weakref.ref(widget)

widgets = []
for _ in range(4):
    widgets.append(forgotten())
    for _ in range(3):
        app.processEvents()
        gc.collect()
until = time.monotonic() + 20  # a widget lives until its timers have fired
while any(widget() is not None for widget in widgets) and time.monotonic() < until:
    app.processEvents()
    gc.collect()
print(sum(widget() is not None for widget in widgets), len(task._end_calls))
"""


def test_widget_without_references_is_collected_without_a_crash():
    """Such as a widget whose dock was closed. Nothing of it is left.

    Python empties the functions of the objects that it collects. Qt must not call them then.
    """
    done = subprocess.run(
        [sys.executable, "-c", FORGOTTEN], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "0"]


def test_two_runs_in_two_widgets(open_widget, qtbot, noisy, fake_run):
    viewer, one = open_widget("Isotropic diffusion")
    _, two = open_widget("Anisotropic diffusion", viewer)
    viewer.add_image(noisy, name="a")
    start_run(qtbot, one, fake_run)
    start_run(qtbot, two, fake_run)
    fake_run.go.set()
    qtbot.waitUntil(lambda: not one.panel.busy and not two.panel.busy, timeout=WAIT)
    assert len(viewer.layers) == 3
    assert one.form.layer.value.name == two.form.layer.value.name == "a"


@pytest.mark.parametrize("ending", ["done", "cancelled", "failed"])
def test_image_is_released_after_a_run(open_alone, qtbot, fake_run, monkeypatch, ending):
    viewer, widget = open_alone("Isotropic diffusion")
    # No local variable for the data: a copy of the frame's variables would keep the data alive.
    layer = viewer.add_image(np.random.default_rng(0).random((6, 16, 20), np.float32))
    kept = [weakref.ref(layer.data)]
    start_run(qtbot, widget, fake_run)
    if ending == "cancelled":
        widget.panel.cancel.native.click()
    if ending == "failed":
        monkeypatch.setattr(np, "zeros", lambda *args: 1 / 0)
    fake_run.go.set()
    qtbot.waitUntil(lambda: not widget.panel.busy and task.running() == 0, timeout=WAIT)
    monkeypatch.undo()
    assert len(viewer.layers) == (2 if ending == "done" else 1)
    layer.data = np.zeros((2, 2))
    if ending == "done":
        kept.append(weakref.ref(viewer.layers[-1].data))
        viewer.layers[-1].data = np.zeros((2, 2))
    qtbot.waitUntil(lambda: not widget.pending and task.running() == 0, timeout=WAIT)
    QApplication.processEvents()
    gc.collect()
    assert [ref() is None for ref in kept] == [True] * len(kept)


def test_window_responds_during_a_run(open_alone, qtbot, noisy, fake_run):
    viewer, widget = open_alone("Isotropic diffusion")
    viewer.add_image(noisy)
    # The run ends after a while in any case: a blocked window fails the test and does not hang it.
    latest_end = threading.Timer(30, fake_run.go.set)
    latest_end.start()
    start_run(qtbot, widget, fake_run)
    ticks = []
    timer = QTimer(widget.native)
    timer.timeout.connect(lambda: ticks.append(widget.panel.busy))
    timer.start(10)
    qtbot.waitUntil(lambda: len(ticks) >= 20, timeout=WAIT)
    timer.stop()
    assert all(ticks)  # the run was under way at each tick
    widget.form.amount.number.value = 3.0
    viewer.dims.set_current_step(0, 2)
    qtbot.waitUntil(lambda: "1 step" in widget.panel.plan.tooltip, timeout=WAIT)
    assert widget.panel.busy
    latest_end.cancel()


def test_fifty_runs_leak_no_memory(qtbot):
    """Memory may grow by 1 MB a run; a leaked image or result would take 2 MiB.

    The test has no window: napari takes half a second to build and remove the view of a layer.
    """
    viewer = ViewerModel()
    gui = widget.IsotropicDiffusion(viewer)
    qtbot.addWidget(gui.native)
    viewer.add_image(np.random.default_rng(0).random((8, 256, 256), np.float32))
    process, held = psutil.Process(), []
    for number in range(55):
        gui.panel.button.native.click()
        qtbot.waitUntil(lambda: not gui.panel.busy, timeout=WAIT)
        assert len(viewer.layers) == 2
        viewer.layers.remove(viewer.layers[-1])  # ends the measurement of what was removed
        qtbot.waitUntil(lambda: task.running() == 0, timeout=WAIT)
        if number % 10 == 4:  # the first five runs fill caches
            QApplication.processEvents()
            gc.collect()
            held.append(process.memory_info().rss)
    assert (held[-1] - held[0]) / 50 < 1e6
