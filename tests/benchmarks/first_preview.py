"""The very first preview of a new installation, of a plane of 256³: ``xvfb-run python tests/benchmarks/first_preview.py [models]``.

For each model a fresh process with an empty cache of machine code opens the widget, chooses the model, either at once or after as many
seconds as another process needs to compile all of them, and opens the preview. Printed are the seconds until something is shown, and
until the exact preview is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from timing import ball

LATER = 75.0
CHOSEN = ("perona-malik", "mean-curvature", "total-variation", "edge-enhancing", "vessel-enhancing")


def one(name: str, wait: float) -> None:
    """Open the widget and its preview; print two times."""
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    from napari_diffusion.ui.sections.preview import PreviewSection
    from napari_diffusion.ui.widget import AnisotropicDiffusion

    app, viewer = QApplication([]), ViewerModel()
    viewer.add_image(ball(256))
    viewer.dims.set_current_step(0, 128)
    gui = AnisotropicDiffusion(viewer)
    section, began = gui.sections[PreviewSection], time.perf_counter()
    while time.perf_counter() - began < wait:
        app.processEvents()
        time.sleep(0.005)
    began, first, said = time.perf_counter(), 0.0, ""
    gui.form.model.value = next(model for model in gui.form.model.choices if model.name == name)
    section.box.button.native.click()
    while (
        section.overlay.layer is None
        or section.overlay.pending
        or section.status.value.startswith(("Draft", "Comp"))
    ):
        app.processEvents()
        time.sleep(0.002)
        if not first and section.overlay.layer is not None:
            first, said = time.perf_counter() - began, section.status.value.partition(".")[0]
    told = [
        f"{seconds:6.2f}"
        for seconds in (first or time.perf_counter() - began, time.perf_counter() - began)
    ]
    print(
        f"{name:20s} chosen after {wait:3.0f} s: first shown after {told[0]} s ({said}), exact after {told[1]} s",
        flush=True,
    )
    os._exit(0)  # without waiting for what else is being compiled


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], float(sys.argv[3]))
    for model in sys.argv[1:] or CHOSEN:
        for seconds in (0.0, LATER):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                own = dict.fromkeys(("XDG_CACHE_HOME", "LOCALAPPDATA"), folder)
                subprocess.run(
                    [sys.executable, __file__, "--one", model, str(seconds)],
                    env=os.environ | own,
                    check=False,
                )
