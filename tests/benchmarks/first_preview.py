"""First preview of a new installation, of a plane of 256³ voxels.

Run ``xvfb-run python tests/benchmarks/first_preview.py [models]``. For each model, a new process
with an empty cache of machine code opens the widget, chooses the model and opens the preview. It
chooses the model at once, or after the time that the compile worker needs for all models. The
script prints the time [s] until a result is shown, and until the exact preview is shown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from timing import ball

#: Time in which the compile worker compiles all models [s].
COMPILE_TIME = 75.0
#: Models by default.
MODELS = ("perona-malik", "mean-curvature", "total-variation", "edge-enhancing", "vessel-enhancing")


def measure(name: str, wait: float) -> None:
    """Open the widget, wait [s], open the preview; print two times."""
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
    began, first, status = time.perf_counter(), 0.0, ""
    gui.form.model.value = next(model for model in gui.form.model.choices if model.name == name)
    section.show.value = True
    while (
        section.overlay.layer is None
        or section.overlay.pending
        or section.status.value.startswith(("Quick draft", "First use"))
    ):
        app.processEvents()
        time.sleep(0.002)
        if not first and section.overlay.layer is not None:
            first, status = time.perf_counter() - began, section.status.value.partition(".")[0]
    exact = time.perf_counter() - began
    print(
        f"{name:20s} chosen after {wait:3.0f} s: first shown after {first or exact:6.2f} s "
        f"({status}), exact after {exact:6.2f} s",
        flush=True,
    )
    os._exit(0)  # does not wait for kernels that are still being compiled


def main() -> None:
    """Measure every model in a process of its own."""
    for model in sys.argv[1:] or MODELS:
        for wait in (0.0, COMPILE_TIME):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                cache = dict.fromkeys(("XDG_CACHE_HOME", "LOCALAPPDATA"), folder)
                command = [sys.executable, __file__, "--one", model, str(wait)]
                subprocess.run(command, env=os.environ | cache, check=False)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], float(sys.argv[3]))
    else:
        main()
