"""What the tests of the widgets share: how long to wait, and stand-ins for the engine and the compile worker."""

import threading

import numpy as np

import napari_diffusion as nd
from napari_diffusion.previewing.region import PreviewRequest
from napari_diffusion.ui.run import task
from napari_diffusion.ui.sections.batch import BatchSection
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.workflows import outputs

WAIT = (
    120_000  # ms; a limit for what hangs, on a machine that compiles the kernels and has other work
)


def wait_until_settled(qtbot, widget):
    """Wait until suggestion and plan have been made."""
    qtbot.waitUntil(lambda: not widget.pending and task.running() == 0, timeout=WAIT)


def follow(qtbot, gui):
    """Wait until the preview is up to date."""
    wait_until_settled(qtbot, gui)
    qtbot.waitUntil(lambda: not gui.sections[PreviewSection].overlay.pending, timeout=WAIT)


def whole_run(gui):
    settings = gui.form.settings()
    rgb = settings.keywords["channel_axis"] is not None
    return nd.diffuse(
        np.asarray(settings.image),
        settings.model,
        **settings.keywords | ({"preserve_dtype": True} if rgb else {}),
    )


def shows_the_run(viewer, gui, step=0.0):
    """The preview layer lies where it belongs, and its voxels are those of the run there."""
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


def hold(go, cancel):
    """Wait until it is let go; raise where it is cancelled."""
    while not go.wait(0.01):
        if cancel.is_set():
            raise nd.Cancelled("Nobody waits any more.")


class Slow:
    """Stands in for the engine's run: reports half, then waits until it is let go, stopped or cancelled."""

    def __init__(self):
        self.started, self.go, self.cancelled = (
            threading.Event(),
            threading.Event(),
            threading.Event(),
        )

    def __call__(self, image, model, wanted, *, time, progress, cancel, stop, **keywords):
        progress(0.5)
        self.started.set()
        while not self.go.wait(0.01) and not stop.is_set():
            if cancel.is_set():
                self.cancelled.set()
                raise nd.Cancelled("The filter was cancelled.")
        return outputs.Outputs(
            np.zeros(image.shape, np.float32),
            (time / 2 if stop.is_set() else time,),
            0 if stop.is_set() else None,
        )


class Held:
    """Stands in for the making of previews: counts, and answers when let go; raises when cancelled."""

    def __init__(self):
        self.calls, self.ended, self.go, self.real = [], [], threading.Event(), PreviewRequest.run

    def __call__(self, excerpt, progress=None, cancel=None):
        self.calls.append(excerpt)
        while not self.go.wait(0.01):
            if cancel.is_set():
                raise nd.Cancelled("The filter was cancelled.")
        result = self.real(excerpt, progress, cancel)
        self.ended.append(excerpt)
        return result


class Elsewhere:
    """Stands in for the other process: all kernels are there when it is let go."""

    def __init__(self):
        self.go, self.waits, self.cancelled = threading.Event(), 0, 0

    @property
    def waiting(self):
        return self.waits > self.cancelled and not self.go.is_set()

    def has(self, kind):
        return self.go.is_set()

    def prepare(self, wanted, cancel, soon=(), later=(), rank=0):
        self.waits += 1
        try:
            hold(self.go, cancel)
        except nd.Cancelled:
            self.cancelled += 1
            raise

    def join(self):
        pass

    leave = join


def open_section(widget, kind):
    section = widget.sections[kind]
    section.box.button.native.click()
    return section


def ended(qtbot, widget):
    qtbot.waitUntil(lambda: not widget.panel.busy and task.running() == 0, timeout=WAIT)


def filter_folder(widget, folders):
    section = open_section(widget, BatchSection)
    section.source.line_edit.value, section.target.line_edit.value = map(str, folders)
    section.files.native.click()
