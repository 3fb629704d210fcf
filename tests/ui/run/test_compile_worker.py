"""In a new installation the widget has its model compiled by another process, and loads what that has made."""

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
from napari_diffusion.ui.run import warmup as kernels
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
section, said, early, ordered = gui.sections[PreviewSection], set(), False, False
section.box.button.native.click()
while not kernels.compiled_kinds or gui.panel.busy:
    app.processEvents()
    said.add(gui.panel.status.value)
    if gui.panel.status.value.startswith("Preparing") and not ordered:
        ordered = True
        gui.panel.button.native.click()
    early = early or section.overlay.layer is not None and not kernels.prepared(gui.form.settings())
from napari_diffusion.backends.numba import jit
compiled, loaded = (sum(sum(getattr(kernel.stats, which).values()) for kernel in jit._compiled) for which in ("cache_misses", "cache_hits"))
alive = [child.poll() is None for child in children]
gui.native.deleteLater()
app.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
ends = [child.wait(60) is not None for child in children]
while task.running():
    app.processEvents()
names = [layer.name for layer in viewer.layers]
found = {"early": early, "layers": names, "compiled": compiled, "loaded": loaded, "alive": alive, "ends": ends}
print(json.dumps(found | {"said": sorted(said)}))
"""


def test_the_shown_model_is_compiled_elsewhere_and_the_rest_ends_with_the_widget(tmp_path):
    own = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | own, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["early"]  # the preview is there before its kernels are
    assert found["compiled"] == 0
    assert found["loaded"] > 0
    assert found["alive"] == [True]  # the other models are still to come
    assert found["ends"] == [True]
    assert found["layers"] == [
        "Image",
        "Image [Perona-Malik]",
    ]  # of a run that was ordered meanwhile
    assert any(text.startswith("Filtering Image… Preparing Perona-Malik") for text in found["said"])
    assert any(text.startswith("Preparing Perona-Malik") for text in found["said"])
