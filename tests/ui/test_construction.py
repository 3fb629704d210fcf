"""Construction of a widget: what the user and Python's garbage collector see of it."""

import gc
import subprocess
import sys

import pytest
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication, QWidget

from napari_diffusion.ui import widget
from napari_diffusion.ui.qt.collector import CollectorPause, collects


class Windows(QObject):
    """Collects the windows that are shown while it filters the events of the application."""

    def __init__(self):
        super().__init__()
        self.names = []

    def eventFilter(self, watched, event):
        # The layouts of PySide6 pass through the filter, too.
        is_shown = event.type() == QEvent.Type.Show and isinstance(watched, QWidget)
        if is_shown and watched.isWindow():
            self.names.append(type(watched).__name__)
        return False


@pytest.mark.parametrize("name", ["Anisotropic diffusion", "Isotropic diffusion"])
def test_no_part_of_a_new_widget_is_shown_as_a_window(open_alone, name):
    windows = Windows()
    QApplication.instance().installEventFilter(windows)
    open_alone(name)
    QApplication.instance().removeEventFilter(windows)
    assert windows.names == []


def test_nothing_is_collected_while_a_widget_is_made(open_alone, monkeypatch):
    states, make = [], widget.Form
    monkeypatch.setattr(widget, "Form", lambda *args: states.append(collects()) or make(*args))
    open_alone()
    assert (states, collects()) == ([False], True)


@pytest.mark.parametrize("before", [True, False])
def test_collection_is_afterwards_as_before(before):
    @CollectorPause().during
    def fail(*args, **options):
        raise ValueError(args, options)

    thresholds = gc.get_threshold()
    if not before:
        gc.set_threshold(0)
    try:
        with pytest.raises(ValueError, match=r"\(1,\), {'a': 2}"):
            fail(1, a=2)
        assert collects() is before
    finally:
        gc.set_threshold(*thresholds)


IMPORT = """
import gc
from napari_diffusion.ui.qt.collector import CollectorPause
pause = CollectorPause(60.0)
pause.begin()
import dask.array
pause.end()
dask.array.ones(4)[1:]
assert gc.isenabled() and gc.get_threshold()[0] > 0
"""


def test_dask_imported_in_a_pause_leaves_the_collector_on():
    """dask disables the collector at each slicing if it was disabled at its import."""
    subprocess.run([sys.executable, "-c", IMPORT], check=True, timeout=100)
