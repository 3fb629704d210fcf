"""Shared helpers of the widget tests: waits, and fakes of the engine and the compile worker."""

import threading
from dataclasses import replace

import numpy as np

import napari_diffusion as nd
from napari_diffusion.previewing.request import PreviewRequest
from napari_diffusion.ui.run import task
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.workflows import outputs

#: Timeout of a wait [ms]. A busy machine may have to compile the kernels in the meantime.
WAIT = 120_000


def wait_until_settled(qtbot, widget):
    """Wait until the suggestion and the plan are made."""
    qtbot.waitUntil(lambda: not widget.pending and task.running() == 0, timeout=WAIT)


def wait_for_preview(qtbot, gui):
    """Wait until the preview is up to date."""
    wait_until_settled(qtbot, gui)
    qtbot.waitUntil(lambda: not gui.sections[PreviewSection].overlay.pending, timeout=WAIT)


def whole_run(gui):
    """Filter the whole image with the settings on screen."""
    settings = gui.form.settings()
    recipe = settings.recipe
    if recipe.channel_axis is not None:
        recipe = replace(recipe, preserve_dtype=True)
    return recipe.diffuse(np.asarray(settings.image), labels=settings.labels)


def assert_shows_the_run(viewer, gui, step=0.0):
    """Assert that the preview equals the run at its position; return its region of the image."""
    overlay = gui.sections[PreviewSection].overlay.layer
    source = gui.form.layer.value
    assert overlay in viewer.layers
    run = whole_run(gui)
    start = np.rint(source.world_to_data(overlay.data_to_world((0,) * overlay.ndim))).astype(int)
    region = tuple(
        slice(int(s), int(s) + n) for s, n in zip(start, overlay.data.shape, strict=False)
    )
    data = np.asarray(gui.form.settings().image)
    assert np.abs(np.asarray(overlay.data, float) - run[region]).max() <= 1e-3 * np.ptp(data) + step
    assert not np.array_equal(overlay.data, data[region])
    return region


def wait_for_go(go, cancel):
    """Wait until ``go`` is set; raise when ``cancel`` is set."""
    while not go.wait(0.01):
        if cancel.is_set():
            raise nd.Cancelled("Nobody waits any more.")


class FakeRun:
    """Replaces `run_with_outputs`: reports half, then waits for ``go``, a stop or a cancel."""

    def __init__(self):
        self.started, self.go = threading.Event(), threading.Event()
        self.cancelled = threading.Event()

    def __call__(self, problem, request, execution, *, progress, cancel, stop):
        progress(0.5)
        self.started.set()
        while not self.go.wait(0.01) and not stop.is_set():
            if cancel.is_set():
                self.cancelled.set()
                raise nd.Cancelled("The filter was cancelled.")
        time = problem.recipe.time
        reached, frame = (time / 2, 0) if stop.is_set() else (time, None)
        return outputs.Outputs(np.zeros(problem.shape, np.float32), (reached,), frame)


class HeldPreviews:
    """Replaces `PreviewRequest.run`: records each request, and computes it when ``go`` is set."""

    def __init__(self):
        self.calls, self.ended = [], []
        self.go, self.real = threading.Event(), PreviewRequest.run

    def __call__(self, request, progress=None, cancel=None):
        self.calls.append(request)
        wait_for_go(self.go, cancel)
        result = self.real(request, progress, cancel)
        self.ended.append(request)
        return result


class FakeCompileClient:
    """Replaces the client of the compile worker: all kernels are compiled when ``go`` is set."""

    def __init__(self):
        self.go, self.waits, self.cancelled = threading.Event(), 0, 0

    @property
    def waiting(self):
        return self.waits > self.cancelled and not self.go.is_set()

    def has(self, kind):
        return self.go.is_set()

    def prepare(self, task, cancel, soon=(), later=(), priority=0):
        self.waits += 1
        try:
            wait_for_go(self.go, cancel)
        except nd.Cancelled:
            self.cancelled += 1
            raise

    def join(self):
        pass

    leave = join


def open_section(widget, kind):
    """Open the drawer of a section of a widget, or switch the preview on; return the section."""
    section = widget.sections[kind]
    if section.drawer is None:
        section.show.value = True
    elif not section.open:
        section.drawer.button.native.click()
    return section


def wait_until_ended(qtbot, widget):
    """Wait until all runs of a widget have ended."""
    qtbot.waitUntil(lambda: not widget.panel.busy and task.running() == 0, timeout=WAIT)


def start_run(qtbot, widget, fake_run):
    """Press Run and wait until the engine, a `FakeRun`, has started."""
    widget.panel.button.native.click()
    qtbot.waitUntil(fake_run.started.is_set, timeout=WAIT)
    assert widget.panel.busy


def filter_folder(widget, folders):
    """Start the filter of a folder from the Batch section."""
    section = open_section(widget, BatchSection)
    section.source.line_edit.value, section.target.line_edit.value = map(str, folders)
    section.files.native.click()
