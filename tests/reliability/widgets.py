"""Widgets that are opened, used and closed again and again, in a process without a screen.

In turn, a run ends, and layer, values or widget are taken away while it works. ``python widgets.py
COUNT`` is that process.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the process of `run` has no other path

from reliability.report import Figures

#: Cycles before the memory is measured for the first time, largest growth of a cycle [bytes], and
#: longest wait for the end of a run [s].
WARM, GROWTH, WAIT = 10, 1e6, 120.0


def until(condition):
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "a run does not end"
        QApplication.processEvents()
        time.sleep(0.002)


def cycle(number):
    """Open a viewer and a widget, run, and close both; each fourth run ends undisturbed."""
    import numpy as np
    from napari.components import ViewerModel
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    from napari_diffusion.ui import widget
    from napari_diffusion.ui.run import task

    viewer = ViewerModel()
    gui = widget.IsotropicDiffusion(viewer)
    layer = viewer.add_image(np.random.default_rng(number).random((8, 256, 256), np.float32))
    until(lambda: not gui.pending and task.running() == 0)
    gui.panel.button.native.click()
    if number % 4 == 1:
        viewer.layers.remove(layer)
    elif number % 4 == 2:
        layer.data = layer.data * 2
    if number % 4 != 3:
        until(lambda: not gui.panel.busy)
        assert number % 4 or len(viewer.layers) > 1, "no result"
    gui.native.close()
    gui.native.deleteLater()
    until(lambda: task.running() == 0)
    QApplication.sendPostedEvents(None, QEvent.DeferredDelete)


def child(count):
    """Print what the cycles have left, as JSON."""
    import psutil
    from qtpy.QtWidgets import QApplication

    app = QApplication([])  # kept
    warnings.simplefilter("error", RuntimeWarning)
    process, held, threads = psutil.Process(), [], []
    for number in range(WARM + count):
        cycle(number)
        app.processEvents()
        gc.collect()
        held.append(process.memory_info().rss)
        threads.append(threading.active_count())
    # Some memory is freed a little later.
    growth = min(held[-WARM:]) - min(held[WARM // 2 : WARM])
    left = threads[-1] - max(threads[:WARM])
    print(json.dumps({"bytes": growth / count, "threads": left}))
    sys.stdout.flush()
    os._exit(0)  # without the destructors of Qt


def run(count, folder):
    """Open and close ``count`` widgets."""
    figures = Figures()
    name = "growth of the memory with a widget that is opened and closed"
    if importlib.util.find_spec("napari") is None:
        figures.rows[name] = "left out: napari is not installed"
        return figures
    done = subprocess.run(
        [sys.executable, __file__, str(count)],
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        check=False,
    )
    figures.runs += count
    if done.returncode:
        figures.findings.append(f"the process ended with {done.returncode}: {done.stderr[-500:]}")
        return figures
    left = json.loads(done.stdout.splitlines()[-1])
    figures.check(left["bytes"] < GROWTH, f"a cycle leaves {left['bytes']:,.0f} bytes")
    figures.check(left["threads"] <= 0, f"{left['threads']} threads are left")
    figures.check("Traceback" not in done.stderr, f"printed {done.stderr[-500:]}")
    figures.rows[name] = f"{left['bytes'] / 1e6:.2f} MB each in {count} cycles"
    return figures


if __name__ == "__main__":
    child(int(sys.argv[1]))
