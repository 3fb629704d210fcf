"""Delete images under our layers in a visible window: ``python delete_in_window.py KINDS``.

It is a program of its own: a fault of OpenGL ends the process. It prints each case that the process
has survived, in 2-D and in 3-D view.
"""

import gc
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `helpers`
os.environ["NAPARI_CONFIG"] = os.path.join(tempfile.mkdtemp(), "settings.yaml")

import napari
import numpy as np
from qtpy.QtCore import QCoreApplication, QEvent, Qt
from qtpy.QtWidgets import QApplication

import napari_diffusion as nd
from helpers.canvas import canvas_of, mouse, on_canvas
from napari_diffusion.ui.run import starting_values, task
from napari_diffusion.ui.sections.preview import PreviewSection
from napari_diffusion.ui.sections.threshold import ThresholdSection

#: Shape of an image, and one of another.
SHAPE, OTHER_SHAPE = (6, 20, 24), (4, 14, 16)


def image(seed, shape=SHAPE):
    return np.random.default_rng(seed).random(shape, np.float32)


def answer_at_once():
    """Let the widget suggest the same values for every image: a measurement takes seconds."""
    suggestion = nd.suggest(image(0), nd.PeronaMalik(), thorough=False)
    starting_values.suggest_for = lambda *arguments: suggestion


def draw(condition=lambda: True, seconds=0.15):
    """Process events, so that the window is drawn, until a condition holds."""
    began = time.monotonic()
    while not condition() or time.monotonic() < began + seconds:
        if time.monotonic() > began + 120:
            raise TimeoutError("The widget did not get ready.")
        QApplication.processEvents()
        time.sleep(0.005)


class Scene:
    """An image in a viewer with the widget, and a layer of ours over the image.

    A viewer takes seconds to open, so the scenes share one until a case closes it or its dock.
    """

    viewer = dock = widget = None

    def __init__(self, kind, ndisplay):
        if Scene.viewer is None:
            Scene.viewer = napari.Viewer(show=True)
            Scene.dock, Scene.widget = self.viewer.window.add_plugin_dock_widget(
                "napari-diffusion", "Edge-preserving denoising (anisotropic diffusion)"
            )
        self.viewer.layers.clear()
        self.image = self.viewer.add_image(image(0), name="image")
        self.viewer.dims.ndisplay = ndisplay
        self.section = self.widget.sections[ThresholdSection if kind == "edges" else PreviewSection]
        self.widget.sections[PreviewSection].show.value = kind != "edges"
        if kind == "edges":
            self.section.drawer.open = True
            self.section.mark.value = True
        self.wait()

    @property
    def overlay(self):
        return self.section.overlay

    def wait(self):
        """Wait until our layer is up to date, and draw it."""
        widget, overlay = self.widget, self.section.overlay
        draw(lambda: not (widget.pending or task.running() or overlay.pending) and overlay.layer)

    def gone(self):
        """Draw, and check that our layer is gone with its image."""
        draw()
        assert self.overlay.layer is None
        assert not self.viewer.layers, list(self.viewer.layers)

    def again(self):
        """Check that the next image gets our layer."""
        self.viewer.add_image(image(1), name="again")
        self.wait()
        assert len(self.viewer.layers) == 2


def removed(scene):
    scene.viewer.layers.remove(scene.image)
    scene.gone()
    scene.again()


def moved_below_its_image(scene):
    scene.viewer.layers.move(1, 0)
    draw()
    scene.viewer.layers.remove(scene.image)
    scene.gone()
    scene.again()


def trash_button(scene):
    scene.viewer.layers.selection = {scene.image}
    scene.viewer.layers.remove_selected()
    scene.gone()
    scene.again()


def all_selected(scene):
    scene.viewer.layers.select_all()
    scene.viewer.layers.remove_selected()
    scene.gone()
    scene.again()


def both_selected_among_three(scene):
    scene.viewer.add_image(image(2), name="other")
    scene.wait()
    scene.viewer.layers.selection = {scene.widget.form.layer.value, scene.overlay.layer}
    scene.viewer.layers.remove_selected()
    scene.wait()
    assert len(scene.viewer.layers) == 2


def cleared(scene):
    scene.viewer.layers.clear()
    scene.gone()
    scene.again()


def slice_deleted(scene):
    del scene.viewer.layers[:]
    scene.gone()
    scene.again()


def while_running(scene):
    scene.widget.panel.button.native.click()
    scene.viewer.layers.remove(scene.image)
    draw()
    # A fast run has ended already, and its result is the next image.
    assert scene.overlay.layer is None or not scene.widget.panel.busy
    draw(lambda: not scene.widget.panel.busy)
    scene.wait()  # the result is the next image


def another_image_left(scene):
    scene.viewer.add_image(image(2), name="other")
    scene.wait()
    chosen = scene.widget.form.layer.value
    scene.viewer.layers.remove(chosen)
    scene.wait()
    assert len(scene.viewer.layers) == 2


def our_layer_deleted(scene):
    scene.viewer.layers.remove(scene.overlay.layer)
    draw()
    assert list(scene.viewer.layers) == [scene.image]
    scene.viewer.layers.remove(scene.image)
    scene.gone()


def other_data(scene):
    scene.image.data = image(3, OTHER_SHAPE)
    scene.wait()
    scene.image.data = image(3, OTHER_SHAPE[1:])
    draw()
    scene.viewer.layers.clear()
    scene.gone()


def dock_closed(scene):
    scene.viewer.window.remove_dock_widget(scene.dock)
    draw()
    scene.viewer.layers.remove(scene.image)
    draw()
    viewer_closed(scene)


def closed_while_compared(scene):
    scene.section.comparison.begin()
    draw()
    viewer_closed(scene)


def closed_while_split(scene):
    scene.section.split.value = True
    scene.wait()
    canvas = canvas_of(scene.widget)
    place = on_canvas(scene.viewer, scene.widget, scene.image, (0, 0, SHAPE[2] / 2 - 0.5))
    place = place[0], canvas.height() / 2
    mouse(scene.widget, "move", place)
    mouse(scene.widget, "press", place)
    mouse(scene.widget, "move", (place[0] + 9, place[1]), held=True)
    assert canvas.cursor().shape() == Qt.CursorShape.SplitHCursor
    viewer_closed(scene)


def closed_while_computing(scene):
    scene.viewer.dims.set_current_step(0, 3)
    draw(lambda: scene.overlay.pending, 0)
    viewer_closed(scene)


def dock_closed_while_compared(scene):
    scene.section.comparison.begin()
    draw()
    scene.viewer.window.remove_dock_widget(scene.dock)
    draw()
    assert [layer.visible for layer in scene.viewer.layers] == [True]
    viewer_closed(scene)


def dock_destroyed(scene):
    scene.dock.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    assert list(scene.viewer.layers) == [scene.image]
    scene.viewer.add_image(image(4))
    draw()
    viewer_closed(scene)


def left_open(scene):
    """Leave the window to the end of Python, which destroys its parts in any order."""


def viewer_closed(scene):
    scene.viewer.close()
    Scene.viewer = None
    draw()


CASES = (
    removed,
    moved_below_its_image,
    both_selected_among_three,
    trash_button,
    all_selected,
    cleared,
    slice_deleted,
    while_running,
    another_image_left,
    our_layer_deleted,
    other_data,
    dock_closed,
    viewer_closed,
)
#: Cases in which the dock or the window is closed in the middle of something.
CLOSING_CASES = (
    dock_closed_while_compared,
    closed_while_compared,
    closed_while_split,
    closed_while_computing,
    dock_destroyed,
    left_open,
)
#: Cases that differ in what napari deletes.
DISTINCT_CASES = (removed, both_selected_among_three, cleared, dock_closed)


def cases_of(kind):
    """Return pairs of a view and a case: all cases for a preview in 2-D view."""
    if kind == "closing":
        return [(2, case) for case in CLOSING_CASES]
    in_2d = CASES if kind == "preview" else DISTINCT_CASES
    return [*((3, case) for case in DISTINCT_CASES), *((2, case) for case in in_2d)]


def main():
    kinds = sys.argv[1:]
    answer_at_once()
    gc.freeze()  # napari searches for garbage at every deletion
    for kind in kinds:
        for ndisplay, case in cases_of(kind):
            case(Scene(kind, ndisplay))
            sys.stdout.write(f"{kind} {ndisplay} {case.__name__}\n")
            sys.stdout.flush()
    if "closing" not in kinds:
        # At the end of Python, PyQt reads freed memory of layouts that Python owns, now and then.
        os._exit(0)


if __name__ == "__main__":
    main()
