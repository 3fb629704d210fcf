"""Layers with different units in one viewer, which napari converts to one of them or ignores."""

import numpy as np
import pytest

from helpers.viewer import assert_shows_the_run, wait_for_preview, wait_until_settled
from napari_diffusion.ui.overlay.visible_region import camera
from napari_diffusion.ui.sections.outputs import OutputsSection

#: Units and scale of the image, and units of another layer.
SCENES = {
    "cm among mm": (("cm",) * 3, (2, 0.5, 0.5), ("mm",) * 3),
    "um among mm": (("um",) * 3, (2, 0.5, 0.5), ("mm",) * 3),
    "mm among um": (("mm",) * 3, (2e-3, 5e-4, 5e-4), ("um",) * 3),
    "mixed": (("um", "nm", "nm"), (2, 500, 500), None),
}


def units_of_sliders(viewer, layer):
    """Return the units of the sliders of a viewer, of which a layer has all axes.

    They are common units since napari 0.9. Earlier releases show the numbers of each layer.
    """
    return getattr(viewer.layers.extent, "units", layer.units)


@pytest.mark.parametrize(
    ("scene", "first"),
    # An image alone is first.
    [(scene, first) for scene in SCENES for first in (True, False) if first or SCENES[scene][2]],
)
def test_preview_is_of_the_plane_on_screen(open_preview, qtbot, noisy, scene, first):
    units, scale, others = SCENES[scene]
    viewer, gui, _ = open_preview(noisy, units=units, scale=scale)
    image = viewer.layers[0]
    if others is not None:
        viewer.add_image(noisy + 1, name="other", units=others)
        viewer.layers.selection.active = image
        if first:
            viewer.layers.move(viewer.layers.index(image), len(viewer.layers))
    common = units_of_sliders(viewer, image)[0]
    for plane in (1, 4):
        viewer.dims.set_point(0, (plane * scale[0] * image.units[0]).to(common).magnitude)
        wait_for_preview(qtbot, gui)
        region = assert_shows_the_run(viewer, gui)
        assert region[0] == slice(plane, plane + 1)


def test_large_plane_in_another_unit_is_cut_at_the_view_centre(open_preview, qtbot, preferences):
    preferences[0] = type(preferences[0])(preview=40)
    viewer, gui, _ = open_preview(
        np.random.default_rng(1).random((20, 300), np.float32),
        units=("mm",) * 2,
        scale=(1e-3, 1e-3),
    )
    image = viewer.layers[0]
    viewer.add_image(np.zeros((8, 9)), units=("um",) * 2)
    viewer.layers.selection.active = image
    common = units_of_sliders(viewer, image)[1]
    middle = (0.2 * image.units[1]).to(common).magnitude
    camera(viewer).center = (0, 0, middle)
    wait_for_preview(qtbot, gui)
    region = assert_shows_the_run(viewer, gui)
    assert region[1] == slice(180, 220)


def test_preview_is_removed_before_its_empty_plane_is_drawn(open_preview_in_window, qtbot, noisy):
    """A layer that was drawn without a plane and is removed later ends napari.

    This is a fault of vispy 0.17.
    """
    viewer, gui, section = open_preview_in_window(noisy)
    viewer.add_image(np.zeros((30, *noisy.shape[1:]), np.float32), name="longer")
    viewer.layers.selection.active = viewer.layers[0]
    wait_for_preview(qtbot, gui)
    assert section.overlay.layer is not None
    viewer.dims.set_current_step(0, 20)
    assert section.overlay.layer is None  # at once
    wait_for_preview(qtbot, gui)
    assert section.status.value == "The chosen layer is not on screen here."
    viewer.dims.set_current_step(0, 3)
    wait_for_preview(qtbot, gui)
    region = assert_shows_the_run(viewer, gui)
    assert region[0] == slice(3, 4)


def test_snapshots_keep_the_units_of_the_viewer(open_widget, qtbot, press_run, noisy):
    viewer, gui = open_widget("Isotropic diffusion")
    volume = viewer.add_image(noisy, scale=(2, 0.5, 0.5), units=("um",) * 3)
    plane = viewer.add_image(noisy[0], scale=(50, 50), units=("nm",) * 2)
    wait_until_settled(qtbot, gui)
    before = units_of_sliders(viewer, volume)
    assert before is not None
    gui.sections[OutputsSection].box.open = True
    gui.sections[OutputsSection].snapshots.value = 3
    stack = press_run(viewer, gui)
    assert stack.data.shape == (3, *noisy.shape[1:])
    assert stack.axis_labels[0] == "diffusion time"
    assert stack.units[1:] == plane.units
    assert units_of_sliders(viewer, volume) == before
    gui.form.layer.value = stack
    assert gui.form.table.axes == (1, 2)
