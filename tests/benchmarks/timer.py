"""How late the window is while a filter runs: a 5 ms timer in the GUI thread, idle and during a run on 256³ voxels.

Needs a display: ``xvfb-run -a -s "-screen 0 1280x900x24" python tests/benchmarks/timer.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import napari
import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

SIDE, PERIOD, IDLE = 256, 5, 5.0


def lateness(until: Callable[[], bool]) -> np.ndarray:
    """Return how late each tick of a timer comes [ms], until a condition holds."""
    ticks: list[float] = []
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(PERIOD)
    while not until():
        QApplication.processEvents()
        time.sleep(0.0005)
    timer.stop()
    return np.maximum(np.diff(ticks) * 1e3 - PERIOD, 0)


def report(name: str, late: np.ndarray) -> None:
    """Print a line of the table."""
    p50, p99 = np.quantile(late, (0.5, 0.99))
    print(f"{name:<34} {len(late):>6} ticks   median {p50:6.1f}   99 % {p99:6.1f}   largest {late.max():6.1f} ms late")


def main() -> None:
    """Measure and print."""
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    _, widget = viewer.window.add_plugin_dock_widget("napari-diffusion", "Anisotropic diffusion")
    viewer.add_image(np.random.default_rng(0).random((SIDE,) * 3, np.float32), contrast_limits=(0, 1))
    end = time.monotonic() + 20
    while widget.pending or time.monotonic() < end:
        QApplication.processEvents()
    end = time.monotonic() + IDLE
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
    main()
