"""Delay of the window: lateness of a 5 ms timer in the GUI thread.

Measured are the idle window, the compilation of a model, and a run on 256³ voxels. Needs a
display: ``xvfb-run -a -s "-screen 0 1280x900x24" python tests/benchmarks/timer.py``. For the
compilation, the cache of machine code (``XDG_CACHE_HOME``) must be empty. With the argument
``here``, kernels are compiled in a thread of this process, not by the compile worker.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import napari
import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from napari_diffusion.ui.run import kernels, task

#: Edge of the volume [voxel].
SIDE = 256
#: Period of the timer [ms].
PERIOD_MS = 5
#: Duration of the measurement of the idle window [s].
IDLE_TIME = 5.0


def lateness(until: Callable[[], bool]) -> np.ndarray:
    """Lateness of each tick of a timer [ms], until a condition holds."""
    ticks: list[float] = []
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(PERIOD_MS)
    while not until():
        QApplication.processEvents()
        time.sleep(0.0005)
    timer.stop()
    return np.maximum(np.diff(ticks) * 1e3 - PERIOD_MS, 0)


def report(name: str, late: np.ndarray) -> None:
    """Print a line of the table."""
    p50, p99 = np.quantile(late, (0.5, 0.99))
    print(
        f"{name:<34} {len(late):>6} ticks   "
        f"median {p50:6.1f}   99 % {p99:6.1f}   largest {late.max():6.1f} ms late"
    )


def no_worker(*_: object) -> None:
    """Replace the client of the compile worker: kernels compile in this process."""


def prepared(widget: object) -> bool:
    """Whether the kernels for the current settings have been loaded, and no task is running."""
    QApplication.processEvents()
    key = kernels.kernel_key(widget.form.settings())
    return key in kernels.compiled_keys and not widget.pending and task.running() == 0


def main(in_process: bool) -> None:
    """Measure and print."""
    if in_process:
        kernels.client.prepare = no_worker
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    name = "Edge-preserving denoising (anisotropic diffusion)"
    _, widget = viewer.window.add_plugin_dock_widget("napari-diffusion", name)
    viewer.add_image(
        np.random.default_rng(0).random((SIDE,) * 3, np.float32), contrast_limits=(0, 1)
    )
    for model in (nd.PeronaMalik, nd.EdgeEnhancing):
        began, widget.form.model.value = time.monotonic(), model
        report(f"{model.title}, prepared", lateness(lambda: prepared(widget)))
        print(f"  after {time.monotonic() - began:.1f} s")
    widget.form.model.value = nd.PeronaMalik
    while kernels.client.process is not None or not prepared(widget):
        time.sleep(0.01)
    end = time.monotonic() + IDLE_TIME
    report("idle", lateness(lambda: time.monotonic() > end))
    for sigma, name in ((0.0, "classic Perona-Malik"), (1.0, "regularised Perona-Malik")):
        widget.form.controls["kappa"].value, widget.form.controls["sigma"].value = 0.3, sigma
        widget.form.amount.number.value = 4.0
        for attempt in ("compiling", "compiled"):
            widget.panel.button.native.click()
            report(f"{name}, {attempt}", lateness(lambda: not widget.panel.busy))
            viewer.layers.remove(viewer.layers[-1])
    viewer.close()


if __name__ == "__main__":
    main("here" in sys.argv)
