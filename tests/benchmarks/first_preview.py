"""Waiting for a preview: from the opening of a widget, and from a click on another picture.

Run ``xvfb-run python tests/benchmarks/first_preview.py [--cold | --warm] [image ...]``. The images
are ``ball``, a plane of 256³ voxels, and ``confocal``, the sample. A window of napari is on screen.
A cold row has a new process and an empty cache of machine code, and its click follows the first
preview at once. For the warm rows, one process fills the cache, and new ones measure. The columns
are wall times [s] until a preview is shown, which may be a draft; until an exact one is; and until
the exact one with the thorough suggestion is. The last column is the processor time of napari [s]
until the first one, as other programs may be running.

With ``--first N``, only the first preview is waited for, in N new processes for each row. The
columns are medians of the wall time and of the processor time, then least and largest processor
time. The rows *floor* are for an empty dock widget of magicgui and a layer like that of a preview,
which are added to the same window: what napari and Qt take by themselves.
"""

from __future__ import annotations

import compileall
import importlib.util
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from timing import ball

#: Longest wait for a preview [s].
LIMIT = 300.0
IMAGES = ("ball", "confocal")
#: What begins the wait: the widget is opened, or a picture in it is clicked.
ISOTROPIC, EDGES = "isotropic", "edge-preserving"
TITLES = {
    ISOTROPIC: "Gaussian smoothing (isotropic diffusion)",
    EDGES: "Edge-preserving denoising (anisotropic diffusion)",
}
FLOOR = "floor"
PICTURES = ("flat regions", "fibres and sheets", "magnitude MRI", "cells and tissue")


class Shown(NamedTuple):
    """A preview that came on screen: its times [s], its model, and whether it is exact."""

    time: float
    processor_time: float
    model: Any
    exact: bool


def observe(events: list[Shown]) -> None:
    """Record every preview that comes on screen."""
    from napari_diffusion import ui

    _ = ui.AnisotropicDiffusion  # imported as by the menu
    from napari_diffusion.ui.sections.preview import PreviewSection

    compute, show = PreviewSection._compute, PreviewSection._show_state
    models: dict[int, Any] = {}

    def tagged(preview: Any, model: Any) -> Any:
        models[id(preview.picture)] = model
        refine = preview.refine
        if refine is None:
            return preview
        return replace(preview, refine=lambda cancel: tagged(refine(cancel), model))

    def computed(section: Any, settings: Any, *rest: Any) -> Any:
        return tagged(compute(section, settings, *rest), type(settings.model))

    def shown(section: Any, state: Any) -> None:
        show(section, state)
        if hasattr(state, "preview"):
            model, exact = models[id(state.preview.picture)], state.preview.refine is None
            events.append(Shown(time.perf_counter(), time.process_time(), model, exact))

    PreviewSection._compute, PreviewSection._show_state = computed, shown


def wait_longer() -> None:
    """Let the widget wait for its first preview as long as it takes on a busy machine."""
    with suppress(ImportError):  # a version to compare with
        from napari_diffusion.ui import opening
        from napari_diffusion.ui.qt import collector

        opening.LONGEST_MS = round(LIMIT * 1000)
        collector.COLLECTOR.longest = LIMIT


class Window:
    """A window of napari with an image, and the widget once it is opened."""

    def __init__(self, image: str) -> None:
        import napari

        from napari_diffusion.io import samples

        self.image, self.events, self.widget = image, [], None
        self.viewer = napari.Viewer()
        if image == "ball":
            self.viewer.add_image(ball(256))
        else:
            noisy, _, spacing, unit = samples.confocal()
            self.viewer.add_image(noisy, scale=spacing, units=[unit] * 3)
        self.viewer.dims.set_current_step(0, self.viewer.layers[0].data.shape[0] // 2)
        self.wait(lambda: False, 1.0)

    def wait(self, condition: Callable[[], bool], limit: float = LIMIT) -> None:
        """Process events until a condition holds, at most for some seconds."""
        from qtpy.QtWidgets import QApplication

        end = time.perf_counter() + limit
        while time.perf_counter() < end and not condition():
            QApplication.processEvents()
            time.sleep(0.002)

    def begin(self, action: str) -> None:
        """Open a widget as the menu does, or click on a picture."""
        if action in TITLES:
            wait_longer()
            observe(self.events)  # its imports are a part of the opening
            _, self.widget = self.viewer.window.add_plugin_dock_widget(
                "napari-diffusion", TITLES[action]
            )
        else:
            buttons = self.widget.form.structure.buttons
            next(button for each, button in buttons.items() if each.name == action).click()

    def add_dock_and_layer(self) -> None:
        """Add an empty dock widget, and a layer with one plane, as a preview is added."""
        from magicgui.widgets import Container
        from napari.layers import Image
        from qtpy.QtWidgets import QApplication

        layers = self.viewer.layers
        source = layers[0]
        self.viewer.window.add_dock_widget(Container(), name="empty")
        for _ in range(3):  # it is laid out and drawn
            QApplication.processEvents()
        middle = source.data.shape[0] // 2
        plane = source.data[middle : middle + 1].astype("float32")
        layer = Image(plane, scale=source.scale, units=source.units, name="plane")
        layers.insert(1, layer)
        layers.selection.active = source

    def measure_first(self, action: str) -> None:
        """Print wall and processor time [s] until the first preview."""
        began, began_processor = time.perf_counter(), time.process_time()
        if action == FLOOR:
            self.add_dock_and_layer()
            ended, ended_processor = time.perf_counter(), time.process_time()
        else:
            self.begin(action)
            self.wait(lambda: bool(self.events))
            ended, ended_processor = self.events[0].time, self.events[0].processor_time
        print(ended - began, ended_processor - began_processor, flush=True)

    def measure(self, action: str, kind: str, last: bool) -> None:
        """Begin, wait for the first preview, or for the final one if ``last``; print a row."""
        began, began_processor = time.perf_counter(), time.process_time()
        self.begin(action)
        from napari_diffusion.ui.sections.preview import PreviewSection

        model, before = self.widget.form.model.value, len(self.events)

        def new() -> list[Shown]:
            return [event for event in self.events[before:] if event.model is model]

        def is_final() -> bool:
            overlay = self.widget.sections[PreviewSection].overlay
            idle = not (overlay.pending or self.widget.pending or self.widget.suggesting.under_way)
            return idle and bool(new()) and new()[-1].exact

        self.wait(is_final if last else lambda: bool(new()))
        events = new()
        exact = next((event.time for event in events if event.exact), math.nan)
        final = events[-1].time if last else math.nan
        columns = [events[0].time - began, exact - began, final - began]
        columns.append(events[0].processor_time - began_processor)
        numbers = "".join(f"{number:8.2f}" for number in columns)
        print(f"{kind:6s}{self.image:10s}{action:18s}{numbers}", flush=True)


def measure(kind: str, image: str, actions: Sequence[str]) -> None:
    """Measure actions in this process; a cold click does not wait for the exact preview."""
    window = Window(image)
    if kind == "first":
        window.measure_first(actions[0])
        os._exit(0)
    for action in actions:
        window.measure(action, kind, last=kind != "cold" or action == actions[-1])
    os._exit(0)  # does not wait for kernels that are still being compiled


def measure_first(kinds: Sequence[str], images: Sequence[str], count: int) -> None:
    """Print medians over new processes of the time until the first preview."""
    heads = "".join(f"{name:>8s}" for name in ("wall", "cpu", "least", "most"))
    print(f"{'':6s}{'image':10s}{'action':18s}{heads}", flush=True)
    rows = [(image, action) for image in images for action in (FLOOR, ISOTROPIC, EDGES)]
    for kind in kinds:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
            for image, action in rows:
                if kind == "warm" and action != FLOOR:
                    run("fill", image, [action], cache, quiet=True)
            for image, action in rows:
                times = [first_times(kind, image, action, cache) for _ in range(count)]
                wall, processor = zip(*times, strict=True)
                columns = statistics.median(wall), statistics.median(processor)
                numbers = [*columns, min(processor), max(processor)]
                shown = "".join(f"{number:8.2f}" for number in numbers)
                print(f"{kind:6s}{image:10s}{action:18s}{shown}", flush=True)


def first_times(kind: str, image: str, action: str, cache: str) -> tuple[float, float]:
    """Return wall and processor time of a first preview in a new process; cold: without a cache."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as empty:
        folder = empty if kind == "cold" else cache
        folders = dict.fromkeys(("XDG_CACHE_HOME", "LOCALAPPDATA"), folder)
        command = [sys.executable, __file__, "--one", "first", image, action]
        done = subprocess.run(
            command, env=os.environ | folders, stdout=subprocess.PIPE, text=True, check=True
        )
    wall, processor = map(float, done.stdout.split()[-2:])
    return wall, processor


def run(kind: str, image: str, actions: Sequence[str], cache: str, quiet: bool = False) -> None:
    """Measure actions in a new process with a folder for its machine code."""
    folders = dict.fromkeys(("XDG_CACHE_HOME", "LOCALAPPDATA"), cache)
    command = [sys.executable, __file__, "--one", kind, image, *actions]
    out = subprocess.DEVNULL if quiet else None
    subprocess.run(command, env=os.environ | folders, stdout=out, check=False)


def main(options: Sequence[str]) -> None:
    """Measure the kinds and images that the options name, or all of them."""
    images = [name for name in options if name in IMAGES] or IMAGES
    kinds = [name for name in ("cold", "warm") if f"--{name}" in options] or ["cold", "warm"]
    specification = importlib.util.find_spec("napari_diffusion")
    assert specification is not None
    for folder in specification.submodule_search_locations or ():
        compileall.compile_dir(folder, quiet=2)  # as pip does at the installation
    if "--first" in options:
        measure_first(kinds, images, int(options[list(options).index("--first") + 1]))
        return
    columns = "".join(f"{name:>8s}" for name in ("first", "exact", "final", "cpu"))
    print(f"{'':6s}{'image':10s}{'action':18s}{columns}", flush=True)
    edges = [EDGES, *PICTURES]
    for image in images:
        if "cold" in kinds:
            for actions in ([ISOTROPIC], [EDGES], *([EDGES, each] for each in PICTURES[:-1])):
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
                    run("cold", image, actions, cache)
        if "warm" in kinds:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
                for actions in ([ISOTROPIC], edges):
                    run("fill", image, actions, cache, quiet=True)
                for actions in ([ISOTROPIC], edges):
                    run("warm", image, actions, cache)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        main(sys.argv[1:])
