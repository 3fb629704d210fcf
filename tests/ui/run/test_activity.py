"""Progress of a run in napari's activity dock, and Cancel there."""

import gc
import weakref

import numpy as np
import pytest
from napari._qt.widgets.qt_progress_bar import QtLabeledProgressBar
from napari.utils.progress import progress

from helpers.viewer import WAIT, start_run, wait_until_ended, wait_until_settled
from napari_diffusion.ui.run import panel as panels
from napari_diffusion.ui.run import run
from napari_diffusion.ui.run.activity import Activity


@pytest.fixture(autouse=True)
def no_bar_left():
    yield
    assert not progress._all_instances


@pytest.fixture
def at_once(monkeypatch):
    """Show runs in the dock from their start."""
    monkeypatch.setattr(panels, "MIN_SHOWN_S", 0.0)


@pytest.fixture
def running(open_widget, qtbot, fake_run, at_once, noisy):
    """A viewer whose run has reported half, and waits."""
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(noisy, name="a")
    wait_until_settled(qtbot, widget)
    start_run(qtbot, widget, fake_run)
    qtbot.waitUntil(lambda: bool(progress._all_instances), timeout=WAIT)
    return viewer, widget


def test_dock_shows_the_name_and_the_progress_of_a_run(running, fake_run, qtbot):
    _, widget = running
    (bar,) = progress._all_instances
    assert str(bar.desc).startswith("a")
    assert bar.n / bar.total == 0.5
    fake_run.go.set()
    wait_until_ended(qtbot, widget)
    assert not progress._all_instances
    assert "Done" in widget.panel.status.value


def test_cancel_in_the_dock_cancels_the_run(running, fake_run, qtbot):
    viewer, widget = running
    dialog = viewer.window.__wrapped__._qt_window._activity_dialog
    (bar,) = dialog.findChildren(QtLabeledProgressBar)
    assert not bar.cancel_button.isHidden()
    bar.cancel_button.click()
    wait_until_ended(qtbot, widget)
    assert fake_run.cancelled.wait(WAIT / 1000)
    assert widget.panel.status.value.startswith("Cancelled")
    assert len(viewer.layers) == 1
    assert not progress._all_instances


def test_no_bar_is_left_after_an_error(running, fake_run, qtbot, monkeypatch):
    _, widget = running

    def fail(*_, **__):
        raise ValueError("no place for the layer")

    monkeypatch.setattr(run, "add_result", fail)
    fake_run.go.set()
    wait_until_ended(qtbot, widget)
    assert not progress._all_instances
    assert "no place" in widget.panel.status.value


def test_no_bar_is_left_when_the_window_is_closed_during_a_run(running, fake_run, qtbot):
    viewer, _ = running
    viewer.close()
    assert fake_run.cancelled.wait(WAIT / 1000)
    qtbot.waitUntil(lambda: not progress._all_instances, timeout=WAIT)


def test_short_run_does_not_flash_in_the_dock(open_widget, press_run, noisy, monkeypatch):
    made = []
    monkeypatch.setattr("napari_diffusion.ui.run.activity._make_bar", lambda *_: made.append(1))
    monkeypatch.setattr(panels, "MIN_SHOWN_S", 60.0)
    viewer, widget = open_widget("Isotropic diffusion")
    viewer.add_image(noisy)
    press_run(viewer, widget)
    assert not made


class Owner:
    """Object with a method to call."""

    def __init__(self):
        self.cancelled = 0
        self.activity = Activity(self.cancel)

    def cancel(self):
        self.cancelled += 1


def test_bar_does_not_keep_its_owner_alive_and_is_closed_once():
    owner = Owner()
    owner.activity.show("a", 0.5)
    (bar,) = progress._all_instances
    bar.cancel()
    assert owner.cancelled == 1
    owner.activity.close()
    owner.activity.close()
    alive = weakref.ref(owner)
    del owner
    gc.collect()
    assert alive() is None
    bar.cancel()


def test_run_that_ends_while_its_bar_is_made_leaves_none(monkeypatch):
    owner = Owner()
    add = progress._all_instances.add

    def end(bar):
        add(bar)
        owner.activity.close()  # as pending events do, which napari handles while it draws

    monkeypatch.setattr(progress._all_instances, "add", end)
    owner.activity.show("a", 0.5)
    assert not owner.activity.is_shown
    assert not progress._all_instances


def test_nothing_is_written_to_the_terminal_without_a_window(capsys):
    owner = Owner()
    for fraction in np.linspace(0, 1, 20):
        owner.activity.show("a", fraction)
    owner.activity.close()
    assert capsys.readouterr() == ("", "")
