"""In a new installation, a worker process compiles the kernels of the widget's model."""

import json
import os
import subprocess
import sys

SCRIPT = """
import json, os, time
import numpy as np
from napari.components import ViewerModel
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication
from napari_diffusion.ui.run import task
from napari_diffusion.ui.run import kernels
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.widget import AnisotropicDiffusion
from napari_diffusion.workflows import warmup

app = QApplication([])
children = []
start = warmup._start
warmup._start = lambda: children.append(start()) or children[-1]
viewer = ViewerModel()
viewer.add_image(np.random.default_rng(0).random((8, 9, 10)).astype("f4"))
gui = AnisotropicDiffusion(viewer)
section = gui.sections[PreviewSection]
said, early, ordered = set(), False, False
assert section.show.value
while not kernels.compiled_keys or gui.panel.busy:
    app.processEvents()
    said.add(gui.panel.status.value)
    if gui.panel.status.value.startswith("First use") and not ordered:
        ordered = True
        gui.panel.button.native.click()
    is_prepared = kernels.is_prepared(gui.form.settings())
    early = early or section.overlay.layer is not None and not is_prepared
from napari_diffusion.backends.numba import jit
counts = {"cache_misses": 0, "cache_hits": 0}
for kernel in jit._compiled:
    for name in counts:
        counts[name] += sum(getattr(kernel.stats, name).values())
alive = [child.poll() is None for child in children]
gui.native.deleteLater()
app.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
ends = [child.wait(60) is not None for child in children]
while task.running():
    app.processEvents()
names = [layer.name for layer in viewer.layers]
report = {"early": early, "layers": names, "alive": alive, "ends": ends, "said": sorted(said)}
print(json.dumps(report | counts))
"""


def test_worker_compiles_the_shown_model_and_ends_with_the_widget(tmp_path):
    own = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | own, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["early"]  # the preview is shown before its kernels are compiled
    assert report["cache_misses"] == 0
    assert report["cache_hits"] > 0
    assert report["alive"] == [True]  # other models are still to be compiled
    assert report["ends"] == [True]
    # The result is that of a run that was ordered during the compilation.
    source, result = report["layers"]
    assert source == "Image"
    assert result.startswith("Image, edge-preserving κ ")
    said = report["said"]
    # The measurement of the noise needs the kernels, and the run its values.
    assert any("Waiting for the measurement" in text for text in said)
    assert any(text.startswith("First use: compiling Perona-Malik") for text in said)
